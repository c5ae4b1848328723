"""The training loop: maps in, checkpoints, sheets and a log out; goes on exactly after a kill.

| in the run's folder | |
|---|---|
| `state/` | the newest states, whole |
| `decoder/` | the averaged generator, as `facejax.texture.load_decoder` reads it |
| `sheets/` | maps of the averaged generator, always from the same latents; `real.png` |
| `log.csv` | the terms, averaged between two rows; the Frechet distance where it was measured |
| `recipe.json` | what is trained |
"""

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from facejax.atomic import write_text
from facejax.checkpoints import TrainingStore
from facejax.export.pictures import write_png
from facejax.multihost import first_host, gathered, spread
from facejax.nets.stylegan2 import apply_mapping, apply_synthesis, to_layers, truncate
from facejax.programs import jit
from facejax.texture import save_decoder, texture_decoder
from texture_gan import quality, training
from texture_gan.data import Source
from texture_gan.recipes import Recipe
from texture_gan.training import State

REFERENCE = 10**8  # steps from here on are batches for measuring
COLUMNS = (
    *("generator", "judge", "made", "real", "real sign", "slope", "path penalty", "path length"),
    *("augmentation", "reconstruction", "frechet"),
)
SHOWN = ("generator", "judge", "reconstruction", "frechet")


@dataclass(frozen=True)
class Intervals:
    """In steps."""

    log: int = 50
    save: int = 1000
    sheet: int = 1000
    measure: int = 2000  # 0: never
    measured: int = 2048  # maps
    shown: int = 32  # maps on a sheet


def run(
    out: Path,
    recipe: Recipe,
    source: Source,
    *,
    seed: int = 0,
    intervals: Intervals | None = None,
    features: quality.Features | None = None,
    devices: list[jax.Device] | None = None,  # type: ignore[valid-type]
) -> State:
    """Train to the recipe's end on all devices of all hosts, each of which takes its part of every batch."""
    every = intervals or Intervals()
    whole, parts = shardings(recipe.batch, devices)
    store = TrainingStore(out / "state", schema="facejax.texture_gan.training")
    key = jax.random.key(seed)
    state = training.init_state(recipe, jax.random.fold_in(key, 0))
    first, state = store.restore_latest(state) or (0, state)
    state = spread(state, whole)
    describe(out, recipe)
    log = Log(out / "log.csv", first, COLUMNS, SHOWN)
    step = compiled_step(replace(recipe, steps=0), parts)
    watch = Watch(out, recipe, source, every, features, parts)
    watch.real()
    with tqdm(total=recipe.steps, initial=first, unit="step", disable=not first_host()) as bar:
        for number in range(first, recipe.steps):
            maps = spread(source(number), parts)
            state, terms = step(state, number, jax.random.fold_in(key, number + 1), maps)
            log.add(terms)
            bar.update()
            done = number + 1
            last = done == recipe.steps
            if done % every.sheet == 0 or last:
                watch.sheet(state)
            if every.measure and (done % every.measure == 0 or last):
                log.add({"frechet": watch.distance(state)})
            if done % every.log == 0 or last:
                bar.set_postfix_str(log.write(done))
            if done % every.save == 0 or last:
                store.save(done, state)
                export(out / "decoder", recipe, state)
    return state


def shardings(batch: int, devices: list[jax.Device] | None) -> tuple[NamedSharding, NamedSharding]:  # type: ignore[valid-type]
    """Everything on each device, and a batch cut into equal parts."""
    devices = devices or jax.devices()
    if batch % (2 * len(devices)) and len(devices) > 1:
        raise ValueError(f"a batch of {batch} on {len(devices)} devices: use a multiple of {2 * len(devices)}")
    mesh = Mesh(np.array(devices), ("data",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))


class Step:
    """The phases of a step, compiled one by one; the state is handed on without copies."""

    def __init__(self, recipe: Recipe, parts: NamedSharding):
        def compiled(function: Callable[..., Any]) -> Any:
            return jit(function, donate_argnums=0)

        self.recipe = recipe
        self.generator = compiled(lambda state, key: training.generator_phase(recipe, state, key, parts))
        self.path = compiled(lambda state, key: training.path_phase(recipe, state, key, parts))
        self.judge = compiled(lambda state, key, maps: training.judge_phase(recipe, state, key, maps, parts))
        self.slope = compiled(lambda state, key, maps: training.slope_phase(recipe, state, key, maps))
        self.reconstruct = {
            side: compiled(functools.partial(training.reconstruction_phase, recipe, side=side))
            for side in {*(side for side, _ in recipe.grow), recipe.generator.resolution}
        }
        self.close = compiled(lambda state: training.close_step(recipe, state))

    def __call__(self, state: State, number: int, key: jax.Array, maps: jax.Array) -> tuple[State, dict[str, Any]]:
        recipe, terms = self.recipe, {}
        keys = jax.random.split(key, 5)
        if number >= recipe.adversaries_from:
            state, terms = self.play(state, number, keys, maps)
        if number < recipe.reconstruct:
            side = next((side for side, until in recipe.grow if number < until), recipe.generator.resolution)
            state, more = self.reconstruct[side](state, keys[4], maps)
            terms |= more
        return self.close(state), terms

    def play(self, state: State, number: int, keys: jax.Array, maps: jax.Array) -> tuple[State, dict[str, Any]]:
        """The adversaries' turns."""
        recipe = self.recipe
        state, terms = self.generator(state, keys[0])
        if recipe.path and number % recipe.path_interval == 0:
            state, more = self.path(state, keys[1])
            terms |= more
        state, more = self.judge(state, keys[2], maps)
        terms |= more
        if recipe.r1 and number % recipe.r1_interval == 0:
            state, more = self.slope(state, keys[3], maps)
            terms |= more
        if recipe.augment:
            terms["augmentation"] = jnp.copy(state.strength)
        return state, terms


@functools.cache
def compiled_step(recipe: Recipe, parts: NamedSharding) -> Step:
    """One for all lengths of a run: recipes that differ in their steps alone are one recipe here."""
    return Step(recipe, parts)


class Watch:
    """What is looked at while training: sheets of maps, and the distance from real ones."""

    def __init__(
        self,
        out: Path,
        recipe: Recipe,
        source: Source,
        every: Intervals,
        features: quality.Features | None,
        parts: NamedSharding,
    ):
        self.out, self.recipe, self.source, self.every = out, recipe, source, every
        self.features, self.parts, self._real = features, parts, None
        self.make = jit(lambda generator, z, psi: _make(recipe, generator, z, psi))

    def latents(self, count: int, seed: int) -> Iterator[jax.Array]:
        """Batches of z, the same at every call."""
        for number in range(-(-count // self.recipe.batch)):
            key = jax.random.fold_in(jax.random.key(seed), number)
            z = jax.random.normal(key, (self.recipe.batch, self.recipe.generator.latent))
            yield spread(z, self.parts)

    def sheet(self, state: State) -> None:
        maps = [gathered(self.make(training.averaged(state), z, 0.7)) for z in self.latents(self.every.shown, 1)]
        page = quality.sheet(np.concatenate(maps)[: self.every.shown], columns=8)
        if first_host():
            write_png(self.out / "sheets" / f"step_{int(state.step):09d}.png", page)

    def real(self) -> None:
        count = -(-self.every.shown // self.recipe.batch)
        maps = np.concatenate([self.source(REFERENCE + k) for k in range(count)])[: self.every.shown]
        if first_host():
            write_png(self.out / "sheets" / "real.png", quality.sheet(maps, columns=8))

    def distance(self, state: State) -> float:
        """Frechet distance of the averaged generator's maps from real ones."""
        features = self.features or quality.encoder_features()
        self.features = features
        if self._real is None:
            count = -(-self.every.measured // self.recipe.batch)
            shown = (training.from_bytes(jnp.asarray(self.source(REFERENCE + k))) for k in range(count))
            self._real = quality.moments(features, shown)
        made = (
            jnp.asarray(gathered(self.make(training.averaged(state), z, 1.0)))
            for z in self.latents(self.every.measured, 2)
        )
        return quality.frechet_distance(self._real, quality.moments(features, made))


def _make(recipe: Recipe, generator, z, psi):
    config = recipe.generator
    ws = truncate(to_layers(config, apply_mapping(config, generator, z)), generator.w_avg, psi)
    return apply_synthesis(config, generator, ws)


class Log:
    """Rows of a CSV file: the mean of each term since the last row."""

    def __init__(self, path: Path, first: int, columns: tuple[str, ...], shown: tuple[str, ...]):
        self.path, self.columns, self.shown = path, ("step", *columns), shown
        self.terms: dict[str, list[Any]] = {}
        old = path.read_text().splitlines()[1:] if path.exists() else []
        self.rows = [row for row in old if int(row.split(",")[0]) <= first]  # later ones are made again

    def add(self, terms: dict[str, Any]) -> None:
        for name, value in terms.items():
            self.terms.setdefault(name, []).append(value)

    def write(self, step: int) -> str:
        """Writes a row; returns what to show beside the bar."""
        mean = {name: float(np.mean(jax.device_get(values))) for name, values in self.terms.items()}
        self.terms = {}
        self.rows.append(",".join([str(step), *(f"{mean[k]:.6g}" if k in mean else "" for k in self.columns[1:])]))
        if first_host():
            write_text(self.path, "\n".join([",".join(self.columns), *self.rows]) + "\n")
        return ", ".join(f"{name} {mean[name]:.3g}" for name in self.shown if name in mean)


def export(path: Path, recipe: Recipe, state: State, *, count: int = 10_000) -> None:
    """The averaged generator as a texture decoder, in 16 bits."""
    weights = jax.tree.map(jnp.asarray, jax.device_get(training.averaged(state)))
    decoder = texture_decoder(recipe.generator, weights, count=count)
    save_decoder(path, decoder)


def describe(out: Path, recipe: Any) -> None:
    """Write recipe.json, or check that this run was begun with the same one; it may go on longer."""
    path, told = out / "recipe.json", json.loads(json.dumps(asdict(recipe)))
    if path.exists():
        old = json.loads(path.read_text())
        changed = [name for name, value in told.items() if name != "steps" and old.get(name) != value]
        if changed:
            raise ValueError(f"{path}: begun with another {changed[0]!r}; use a new folder, or the old setting")
    if first_host():
        write_text(path, json.dumps(told, indent=1) + "\n")

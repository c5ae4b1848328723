"""The training loop: pictures in, checkpoints, sheets and a log out; goes on exactly after a kill.

| in the run's folder | |
|---|---|
| `state/`, `normal_state/` | the newest states, whole, of the maker and judge, and of the reader of normals |
| `gar/` | the averaged weights, as `facejax.generative_renderer.load_gar` reads them |
| `sheets/` | pictures and their copies; the same normals with other codes, the same code on other normals |
| `log.csv`, `normals.csv` | the terms, averaged between two rows |
| `recipe.json` | what is trained |
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from texture_gan.loop import Log, describe, shardings
from tqdm import tqdm

from facejax.checkpoints import TrainingStore
from facejax.export.pictures import write_png
from facejax.generative_renderer import (
    GARWeights,
    GenerativeRenderer,
    generative_renderer,
    guess_latents,
    paint,
    save_gar,
    shrink_normals,
    to_ws,
)
from facejax.multihost import first_host, spread
from facejax.nets.stylegan2 import apply_mapping, to_layers
from facejax.programs import jit
from facejax.regression.regressor import Regressor
from gar import training
from gar.data import Pictures, Source
from gar.recipes import Recipe
from gar.training import NormalState, Onlookers, State

TERMS = ("reconstruction", "features", "adversarial", "normals", "landmarks", "identity", "crowding", "astray")
COLUMNS = (*TERMS, "judge", "real", "made", "slope", "path penalty", "path length")
LOG = 25  # steps between two rows


def run(
    out: Path,
    recipe: Recipe,
    source: Source,
    regressor: Regressor,
    *,
    seed: int = 0,
    save: int = 500,
    begun: GARWeights | None = None,
    reader: Any = None,
    recogniser: Any = None,
    devices: list[jax.Device] | None = None,  # type: ignore[valid-type]
) -> State:
    """Train to the recipe's end on all devices of all hosts, each of which takes its part of every batch.

    `begun`: weights of fewer pixels to go on from. `reader`: a trained reader of normals; None: one is trained first.
    `recogniser`: what persons are told apart by; None: the regressor.
    """
    whole, parts = shardings(recipe.batch, devices)
    describe(out, recipe)
    key = jax.random.key(seed)
    reader = train_normals(out, recipe, source, key, whole, parts).params if reader is None else reader
    onlookers = spread(Onlookers(regressor, reader, recogniser), whole)
    store = TrainingStore(out / "state", schema="facejax.gar.training")
    state = training.init_state(recipe, jax.random.fold_in(key, 0))
    state = state if begun is None else training.go_on(state, begun)
    first, state = store.restore_latest(state) or (0, state)
    state = spread(state, whole)
    log = Log(out / "log.csv", first, COLUMNS, (*TERMS[:2], "normals", "judge"))
    step = compiled_step(recipe)
    with tqdm(total=recipe.steps, initial=first, unit="step", disable=not first_host()) as bar:
        for number in range(first, recipe.steps):
            batch = spread(source(number), parts)
            state, terms = step(state, number, jax.random.fold_in(key, number + 1), batch, onlookers)
            log.add(terms)
            bar.update()
            done = number + 1
            last = done == recipe.steps
            if done % LOG == 0 or last:
                bar.set_postfix_str(log.write(done))
            if done % save == 0 or last:
                store.save(done, state)
                gar = export(out / "gar", recipe, state, reader)
                write_sheet(out / "sheets" / f"step_{done:09d}.png", gar, source, recipe.batch)
    return state


def train_normals(
    out: Path, recipe: Recipe, source: Source, key: jax.Array, whole: NamedSharding, parts: NamedSharding
) -> NormalState:
    """The network that reads normals from pictures: first, and then left as it is."""
    store = TrainingStore(out / "normal_state", schema="facejax.gar.normals", keep=1)
    state = training.init_normals(recipe, jax.random.fold_in(key, 10**6))
    first, state = store.restore_latest(state) or (0, state)
    state = spread(state, whole)
    log = Log(out / "normals.csv", first, ("normal gap", "cover"), ("normal gap", "cover"))
    step = jit(lambda state, batch: training.normal_phase(recipe, state, batch), donate_argnums=0)
    if first == recipe.normal_steps:
        return state
    share = recipe.normal_batch // recipe.batch
    with tqdm(total=recipe.normal_steps, initial=first, unit="step", desc="normals", disable=not first_host()) as bar:
        for number in range(first, recipe.normal_steps):
            several = [source(number * share + k) for k in range(share)]
            batch = jax.tree.map(lambda *leaves: np.concatenate(leaves), *several)
            state, terms = step(state, spread(batch, parts))
            log.add(terms)
            bar.update()
            if (number + 1) % LOG == 0:
                bar.set_postfix_str(log.write(number + 1))
            if number + 1 == recipe.normal_steps:
                store.save(number + 1, state)
    return state


class Step:
    """The phases of a step, compiled one by one; the state is handed on without copies."""

    def __init__(self, recipe: Recipe):
        def compiled(function: Callable[..., Any]) -> Any:
            return jit(function, donate_argnums=0)

        self.recipe = recipe
        self.maker = compiled(
            lambda state, key, batch, onlookers: training.maker_phase(recipe, state, key, batch, onlookers)
        )
        self.path = compiled(lambda state, key, batch: training.path_phase(recipe, state, key, batch))
        self.judge = {
            slope: compiled(
                lambda state, batch, made, s=slope: training.judge_phase(recipe, state, batch, made, slope=s)
            )
            for slope in (False, True)
        }
        self.close = compiled(lambda state: training.close_step(recipe, state))

    def __call__(
        self, state: State, number: int, key: jax.Array, batch: Pictures, onlookers: Onlookers
    ) -> tuple[State, dict[str, Any]]:
        recipe, keys = self.recipe, jax.random.split(key)
        state, terms, made = self.maker(state, keys[0], batch, onlookers)
        if recipe.path and number % recipe.path_interval == 0:
            state, more = self.path(state, keys[1], batch)
            terms |= more
        if recipe.weights.adversarial:
            state, more = self.judge[bool(recipe.r1) and number % recipe.r1_interval == 0](state, batch, made)
            terms |= more
        return self.close(state), terms


@functools.cache
def compiled_step(recipe: Recipe) -> Step:
    """One for all runs of a recipe in this process."""
    return Step(recipe)


def write_sheet(path: Path, gar: GenerativeRenderer, source: Source, batch: int, *, count: int = 8) -> None:
    """Always of the same pictures."""
    parts = [source(10**6 + k) for k in range(-(-count // batch))]
    some = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)
    if first_host():
        write_png(path, np.clip(np.asarray(_draw(gar, some)), 0, 1))


def sheet(gar: GenerativeRenderer, batch: Pictures) -> jax.Array:
    """Rows: pictures; their normals; their copies; the codes of the first two, and three random ones, on every head."""
    config, weights, count = gar.config, gar.weights, len(batch.image)
    real, normals = training.from_bytes(batch.image), jnp.asarray(batch.normals, jnp.float32)
    ws = to_ws(config, weights, guess_latents(config, weights, real))
    z = jax.random.normal(jax.random.key(1), (count, config.generator.latent))
    drawn = to_layers(config.generator, apply_mapping(config.generator, weights.generator, z))
    rows = [real, normals, paint(config, weights, ws, shrink_normals(normals))]
    for w in (*ws[:2], *drawn[:3]):
        rows.append(paint(config, weights, jnp.broadcast_to(w, ws.shape), shrink_normals(normals)))
    return jnp.concatenate([jnp.concatenate(list((row + 1) / 2), axis=1) for row in rows], axis=0)


_draw = jit(sheet)


def export(path: Path, recipe: Recipe, state: State, reader: Any) -> GenerativeRenderer:
    """The averaged weights, in 16 bits."""
    weights = jax.tree.map(jnp.asarray, jax.device_get(training.averaged(state)))
    gar = generative_renderer(recipe.config, weights, jax.device_get(reader))
    save_gar(path, gar)
    return gar

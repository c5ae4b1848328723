"""One training run of the texture generator; a killed run resumes exactly.

| in the run's folder | |
|---|---|
| `state/` | the newest states |
| `decoder/` | the averaged generator, as `facejax.texture.load_decoder` reads it |
| `sheets/` | maps of the averaged generator, always from the same latents; `real.png` |
| `log.csv` | the terms, averaged since the row before; the Frechet distance where measured |
| `recipe.json` | the recipe |
"""

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from training_loop import CsvLog, Event, describe, shardings, train

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
    """How often things happen, in steps."""

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
    """Train to the recipe's end on all devices of all hosts, each of which takes its part of every batch.

    Args:
      out: the run's folder.
      recipe: what to train and how.
      source: the maps.
      seed: of the run.
      intervals: how often to log, save and measure.
      features: in which the distance from real maps is measured; None: the shipped regressor's.
      devices: to use; None: all.

    Returns:
      The state after the last step.
    """
    every = intervals or Intervals()
    whole, parts = shardings(recipe.batch, devices)
    describe(out, recipe)
    key = jax.random.key(seed)
    step = compiled_step(replace(recipe, steps=0), parts)
    watch = Watch(out, recipe, source, every, features, parts)
    watch.real()
    return train(
        lambda state, number, maps: step(state, number, jax.random.fold_in(key, number + 1), maps),
        training.init_state(recipe, jax.random.fold_in(key, 0)),
        lambda number: spread(source(number), parts),
        steps=recipe.steps,
        store=TrainingStore(out / "state", schema="facejax.texture_gan.training"),
        log=CsvLog(out / "log.csv", COLUMNS),
        log_every=every.log,
        save_every=every.save,
        sharding=whole,
        events=(Event(every.sheet, watch.sheet), Event(every.measure, watch.measure)),
        saved=lambda state: export(out / "decoder", recipe, state),
        shown=SHOWN,
    )


class Step:
    """The phases of a step, compiled separately; each reuses the buffers of the state."""

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
        """The phases of generator and discriminator.

        Args:
          state: of the run.
          number: of the step.
          keys: consumed.
          maps: real ones.

        Returns:
          The next state and the terms.
        """
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
    """One for all lengths of a run: recipes that differ only in their steps share it."""
    return Step(recipe, parts)


class Watch:
    """What is watched during training: sheets of maps, and the distance from real ones."""

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

    def sheet(self, state: State) -> dict[str, float]:
        """Writes a sheet; logs nothing."""
        maps = [gathered(self.make(training.averaged(state), z, 0.7)) for z in self.latents(self.every.shown, 1)]
        page = quality.sheet(np.concatenate(maps)[: self.every.shown], columns=8)
        if first_host():
            write_png(self.out / "sheets" / f"step_{int(state.step):09d}.png", page)
        return {}

    def real(self) -> None:
        count = -(-self.every.shown // self.recipe.batch)
        maps = np.concatenate([self.source(REFERENCE + k) for k in range(count)])[: self.every.shown]
        if first_host():
            write_png(self.out / "sheets" / "real.png", quality.sheet(maps, columns=8))

    def measure(self, state: State) -> dict[str, float]:
        """The Frechet distance of the averaged generator's maps from real ones."""
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
        return {"frechet": quality.frechet_distance(self._real, quality.moments(features, made))}


def _make(recipe: Recipe, generator, z, psi):
    config = recipe.generator
    ws = truncate(to_layers(config, apply_mapping(config, generator, z)), generator.w_avg, psi)
    return apply_synthesis(config, generator, ws)


def export(path: Path, recipe: Recipe, state: State, *, count: int = 10_000) -> None:
    """The averaged generator as a texture decoder, in 16 bits.

    Args:
      path: folder to write.
      recipe: of the run.
      state: of the run.
      count: draws for the statistics of the latents.
    """
    weights = jax.tree.map(jnp.asarray, jax.device_get(training.averaged(state)))
    decoder = texture_decoder(recipe.generator, weights, count=count)
    save_decoder(path, decoder)

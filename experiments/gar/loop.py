"""One training run of the generative renderer; a killed run resumes exactly.

| in the run's folder | |
|---|---|
| `state/`, `normal_state/` | the newest states: generator and discriminator; the network for normals |
| `gar/` | the averaged weights, as `facejax.generative_renderer.load_gar` reads them |
| `sheets/` | pictures and their reconstructions; normals with other codes, codes on other normals |
| `log.csv`, `normals.csv` | the terms, averaged since the row before |
| `recipe.json` | the recipe |
"""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding
from training_loop import CsvLog, describe, shardings, train

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
from gar.training import FixedNetworks, NormalState, State

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

    Args:
      out: the run's folder.
      recipe: what to train and how.
      source: the pictures.
      regressor: estimates landmarks, and persons without a `recogniser`.
      seed: of the run.
      save: steps between two checkpoints.
      begun: weights of a lower resolution to start from.
      reader: a trained network for normals. None: one is trained first.
      recogniser: a network that tells people apart.
      devices: to use; None: all.

    Returns:
      The state after the last step.
    """
    whole, parts = shardings(recipe.batch, devices)
    describe(out, recipe)
    key = jax.random.key(seed)
    reader = train_normals(out, recipe, source, key, whole, parts).params if reader is None else reader
    fixed = spread(FixedNetworks(regressor, reader, recogniser), whole)
    state = training.init_state(recipe, jax.random.fold_in(key, 0))
    step = compiled_step(recipe)

    def saved(state: State) -> None:
        gar = export(out / "gar", recipe, state, reader)
        write_sheet(out / "sheets" / f"step_{int(state.step):09d}.png", gar, source, recipe.batch)

    return train(
        lambda state, number, batch: step(state, number, jax.random.fold_in(key, number + 1), batch, fixed),
        state if begun is None else training.start_from(state, begun),
        lambda number: spread(source(number), parts),
        steps=recipe.steps,
        store=TrainingStore(out / "state", schema="facejax.gar.training"),
        log=CsvLog(out / "log.csv", COLUMNS),
        log_every=LOG,
        save_every=save,
        sharding=whole,
        saved=saved,
        shown=(*TERMS[:2], "normals", "judge"),
    )


def train_normals(
    out: Path, recipe: Recipe, source: Source, key: jax.Array, whole: NamedSharding, parts: NamedSharding
) -> NormalState:
    """Train the network that estimates normals from pictures. It comes first and stays fixed afterwards.

    Args:
      out: the run's folder.
      recipe: sizes and numbers of steps.
      source: the pictures.
      key: the run's random key.
      whole, parts: placement of the state and of the batches, from `training_loop.shardings`.

    Returns:
      The state after the last step.
    """
    step = jit(lambda state, batch: training.normal_phase(recipe, state, batch), donate_argnums=0)
    share, columns = recipe.normal_batch // recipe.batch, ("normal gap", "cover")

    def batch(number: int) -> Pictures:
        several = [source(number * share + k) for k in range(share)]
        return spread(jax.tree.map(lambda *leaves: np.concatenate(leaves), *several), parts)

    return train(
        lambda state, number, batch: step(state, batch),
        training.init_normals(recipe, jax.random.fold_in(key, 10**6)),
        batch,
        steps=recipe.normal_steps,
        store=TrainingStore(out / "normal_state", schema="facejax.gar.normals", keep=1),
        log=CsvLog(out / "normals.csv", columns),
        log_every=LOG,
        save_every=recipe.normal_steps,
        sharding=whole,
        shown=columns,
        title="normals",
    )


class Step:
    """The phases of a step, compiled separately; each reuses the buffers of the state."""

    def __init__(self, recipe: Recipe):
        def compiled(function: Callable[..., Any]) -> Any:
            return jit(function, donate_argnums=0)

        self.recipe = recipe
        self.maker = compiled(lambda state, key, batch, fixed: training.maker_phase(recipe, state, key, batch, fixed))
        self.path = compiled(lambda state, key, batch: training.path_phase(recipe, state, key, batch))
        self.judge = {
            slope: compiled(
                lambda state, batch, made, s=slope: training.judge_phase(recipe, state, batch, made, slope=s)
            )
            for slope in (False, True)
        }
        self.close = compiled(lambda state: training.close_step(recipe, state))

    def __call__(
        self, state: State, number: int, key: jax.Array, batch: Pictures, fixed: FixedNetworks
    ) -> tuple[State, dict[str, Any]]:
        recipe, keys = self.recipe, jax.random.split(key)
        state, terms, made = self.maker(state, keys[0], batch, fixed)
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
    """Draw a sheet, always of the same pictures.

    Args:
      path: of the sheet.
      gar: the generative renderer.
      source: the pictures.
      batch: size of its batches.
      count: pictures on the sheet.
    """
    parts = [source(10**6 + k) for k in range(-(-count // batch))]
    some = jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *parts)
    if first_host():
        write_png(path, np.clip(np.asarray(_draw(gar, some)), 0, 1))


def sheet(gar: GenerativeRenderer, batch: Pictures) -> jax.Array:
    """Rows: pictures; their normals; their reconstructions; then the codes of the first two, and three random ones, on
    every head.
    """
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
    """The averaged weights, in 16 bits.

    Args:
      path: folder to write.
      recipe: of the run.
      state: of the run.
      reader: the network for normals.

    Returns:
      The generative renderer.
    """
    weights = jax.tree.map(jnp.asarray, jax.device_get(training.averaged(state)))
    gar = generative_renderer(recipe.config, weights, jax.device_get(reader))
    save_gar(path, gar)
    return gar

"""One training run of the regressor; a killed run resumes exactly."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from regressor import pool
from training_loop import TensorBoardLog, train

from facejax.checkpoints import TrainingStore, save
from facejax.face_model import FaceModel
from facejax.programs import jit
from facejax.regression.parameter_costs import CostRecipe, cost_space, cost_step, meta_cost_step
from facejax.regression.regressor import SCHEMA, VERSION, RegressorConfig, store_config
from facejax.regression.training import (
    Anchors,
    Example,
    Recipe,
    State,
    crop_example,
    init_state,
    start_state,
    train_step,
)
from facejax.regression.two_branch import (
    TwoBranchRecipe,
    TwoBranchState,
    WildExample,
    draw_views,
    init_two_branch,
    two_branch_step,
)
from facejax.synthetic.generate import Generator, generate

Source = Callable[[int], Example]  # the batch of a step
WHITENED = 1024  # pictures whose statistics whiten the coefficients for 3DDFA's costs


def shows_parsing(recipe: Recipe) -> bool:
    """Whether the recipe's pictures come with the class of each pixel."""
    return any(name == "parsing" for name, _ in recipe.terms)


def pool_source(folder: Path, recipe: Recipe, *, seed: int, limit: int | None = None) -> Source:
    """Batches from a pool of rendered pictures.

    Args:
      folder: of the pool.
      recipe: gives the batch size.
      seed: of the order.
      limit: number of files.
    """
    labels = ("parsing",) if shows_parsing(recipe) else ()
    arrays = pool.read_pool(folder, limit=limit, without={"surface", "normal", "parsing"} - set(labels))
    if labels and "parsing" not in arrays:
        raise ValueError(f"{folder}: no parsing maps; render the pool with --dense")

    def batch(step: int) -> Example:
        rows = np.sort(pool.batch_rows(len(arrays["image"]), recipe.batch, step, seed=seed))
        chosen = {name: jnp.asarray(array[rows]) for name, array in arrays.items()}
        return Example(chosen["image"], chosen["landmarks"], pool.to_params(chosen), chosen.get("parsing"))

    return batch


def live_source(model: FaceModel, generator: Generator, recipe: Recipe, *, size: int, seed: int) -> Source:
    """Batches rendered on the fly, for accelerators: no picture is used twice.

    Args:
      model: the face model.
      generator: what is in the pictures.
      recipe: gives the batch size.
      size: pixels per side.
      seed: of the pictures.
    """
    labels = shows_parsing(recipe)
    draw = jit(lambda keys, model: jax.vmap(lambda key: generate(key, model, size=size, generator=generator))(keys))

    def batch(step: int) -> Example:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), step), recipe.batch)
        pictures = draw(keys, model)
        image = jnp.round(pictures.image * 255).astype(jnp.uint8)
        return Example(image, pictures.landmarks, pictures.params, pictures.parsing if labels else None)

    return batch


def run(
    out: Path,
    config: RegressorConfig,
    recipe: Recipe,
    source: Source,
    anchors: Anchors,
    *,
    seed: int,
    start: Any = None,
    wild: Callable[[int], WildExample] | None = None,
    every: int = 500,
) -> State | TwoBranchState:
    """Train to the recipe's end. Called again after a kill, it resumes from the newest state.

    `out/state` holds the newest states, `out/regressor` the averaged weights, and `out/logs` the terms for TensorBoard.

    Args:
      out: the run's folder.
      config: sizes of the regressor.
      recipe: the loss and its length.
      source: the labelled pictures.
      anchors: of the model.
      seed: of the run.
      start: weights to start from; None: random ones.
      wild: pictures in the wild, for a recipe with two branches.
      every: steps between two checkpoints.

    Returns:
      The state after the last step.
    """
    if wild:
        assert isinstance(recipe, TwoBranchRecipe)
        state, views, step = _two_branches(config, recipe, anchors, seed, start)
    elif isinstance(recipe, CostRecipe):
        state, views, step = _parameter_costs(config, recipe, anchors, source, seed, start)
    else:
        state, views, step = one_branch(config, recipe, anchors, seed, start)
    key = jax.random.key(seed + 1)

    def draw(number: int) -> Any:
        batches = (source(number), wild(number)) if wild else (source(number),)
        return views(jax.random.fold_in(key, number), *batches)

    return train(
        lambda state, number, batch: step(state, batch),
        state,
        draw,
        steps=recipe.steps,
        store=TrainingStore(out / "state", schema="facejax.regressor.training"),
        log=TensorBoardLog(out / "logs"),
        log_every=50,
        save_every=every,
        saved=lambda state: export(out / "regressor", state, config, recipe),
        shown=("nme", "points"),
    )


def one_branch(config: RegressorConfig, recipe: Recipe, anchors: Anchors, seed: int, start: Any):
    """The first state, a function that makes a batch's views, and the step."""
    state = init_state(config, recipe, jax.random.key(seed))
    if start is not None:
        state = start_state(recipe, start)
    views = jit(lambda key, batch: _views(key, config, recipe, batch))
    step = jit(lambda state, views: train_step(config, recipe, anchors, state, views), donate_argnums=0)
    return state, views, step


def _parameter_costs(
    config: RegressorConfig, recipe: CostRecipe, anchors: Anchors, source: Source, seed: int, start: Any
):
    """The same with 3DDFA's costs, whitened by the first pictures."""
    state, views, _ = one_branch(config, recipe, anchors, seed, start)
    true = jit(lambda key, batch: _views(key, config, recipe, batch).coefficients)
    some = [true(jax.random.key(number), source(number)) for number in range(-(-WHITENED // recipe.batch))]
    space = cost_space(config, anchors, jnp.concatenate(some))
    take = meta_cost_step if recipe.look_ahead else cost_step
    step = jit(lambda state, views: take(config, recipe, anchors, space, state, views), donate_argnums=0)
    return state, views, step


def _two_branches(config: RegressorConfig, recipe: TwoBranchRecipe, anchors: Anchors, seed: int, start: Any):
    """The same with pictures in the wild."""
    state = init_two_branch(config, recipe, jax.random.key(seed), start=start)
    views = jax.jit(lambda key, batch, wild: draw_views(key, config, recipe, batch, wild))
    step = jax.jit(lambda state, views: two_branch_step(config, recipe, anchors, state, views), donate_argnums=0)
    return state, views, step


def _views(key, config: RegressorConfig, recipe: Recipe, batch: Example):
    keys = jax.random.split(key, recipe.batch)
    return jax.vmap(lambda key, example: crop_example(key, config, recipe.augmentation, example))(keys, batch)


def export(path: Path, state: State | TwoBranchState, config: RegressorConfig, recipe: Recipe) -> None:
    """The averaged weights in 16 bits, for `facejax.regression.load_regressor`.

    Args:
      path: folder to write.
      state: of the run.
      config: sizes of the regressor.
      recipe: of the run.
    """
    weights = jax.device_get(state.average)
    about = {"config": store_config(config), "recipe": recipe.name, "steps": int(state.step)}
    save(path, weights, schema=SCHEMA, version=VERSION, half=True, **about)

"""The training loop: pictures in, checkpoints and logs out; goes on exactly after a kill."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from regressor import pool
from tqdm import tqdm

from facejax.checkpoints import TrainingStore, save
from facejax.face_model import FaceModel
from facejax.programs import jit
from facejax.regression.regressor import SCHEMA, VERSION, RegressorConfig
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


def pool_source(folder: Path, recipe: Recipe, *, seed: int, limit: int | None = None) -> Source:
    """Batches from rendered pictures."""
    arrays = pool.read_pool(folder, limit=limit)

    def batch(step: int) -> Example:
        rows = np.sort(pool.batch_rows(len(arrays["image"]), recipe.batch, step, seed=seed))
        chosen = {name: jnp.asarray(array[rows]) for name, array in arrays.items()}
        return Example(chosen["image"], chosen["landmarks"], pool.to_params(chosen))

    return batch


def live_source(model: FaceModel, generator: Generator, recipe: Recipe, *, size: int, seed: int) -> Source:
    """Batches rendered on the fly, for accelerators: no picture is ever seen twice."""
    draw = jit(lambda keys, model: jax.vmap(lambda key: generate(key, model, size=size, generator=generator))(keys))

    def batch(step: int) -> Example:
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), step), recipe.batch)
        pictures = draw(keys, model)
        image = jnp.round(pictures.image * 255).astype(jnp.uint8)
        return Example(image, pictures.landmarks, pictures.params)

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
    """Train to the recipe's end. `out/state` holds the newest states, `out/regressor` the averaged weights, and
    `out/logs` the terms as TensorBoard reads them; called again after a kill it goes on at the newest state.
    A recipe with two branches takes the batches of its second one from `wild`.
    """
    store = TrainingStore(out / "state", schema="facejax.regressor.training")
    if wild:
        assert isinstance(recipe, TwoBranchRecipe)
        state, views, step = _two_branches(config, recipe, anchors, seed, start)
    else:
        state, views, step = _one_branch(config, recipe, anchors, seed, start)
    first, state = store.restore_latest(state) or (0, state)
    key = jax.random.key(seed + 1)
    recent: list[dict[str, Any]] = []

    def draw(number: int):
        batches = (source(number), wild(number)) if wild else (source(number),)
        return views(jax.random.fold_in(key, number), *batches)

    with _writer(out / "logs") as log, tqdm(total=recipe.steps, initial=first, unit="step") as bar:
        ready = draw(first)
        for number in range(first, recipe.steps):
            state, terms = step(state, ready)
            ready = draw(number + 1)  # on the host while the device takes the step
            jax.block_until_ready(recent[-1:])  # no more than two steps wait in the queue
            recent.append(terms)
            bar.update()
            if (number + 1) % 50 == 0:
                mean = jax.tree.map(lambda *values: float(np.mean(values)), *jax.device_get(recent))
                recent = []
                bar.set_postfix_str(f"nme {100 * mean['nme']:.2f} %, points {100 * mean['points']:.2f} %")
                for name, value in mean.items():
                    log(name, value, number + 1)
            if (number + 1) % every == 0 or number + 1 == recipe.steps:
                store.save(number + 1, state)
                export(out / "regressor", state, config, recipe)
    return state


def _one_branch(config: RegressorConfig, recipe: Recipe, anchors: Anchors, seed: int, start: Any):
    """The first state; a batch's views; the step."""
    state = init_state(config, recipe, jax.random.key(seed))
    if start is not None:
        state = start_state(recipe, start)
    views = jit(lambda key, batch: _views(key, config, recipe, batch))
    step = jit(lambda state, views: train_step(config, recipe, anchors, state, views), donate_argnums=0)
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
    """The averaged weights in 16 bits, as `facejax.regression.load_regressor` reads them."""
    weights = jax.device_get(state.average)
    about = {"config": asdict(config), "recipe": recipe.name, "steps": int(state.step)}
    save(path, weights, schema=SCHEMA, version=VERSION, half=True, **about)


class _writer:
    """Scalars for TensorBoard; without tensorboardX (extra `train`) they are not written."""

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ValueError("training logs need tensorboardX: pip install 'facejax[train]'") from None
        self.file = SummaryWriter(str(folder))

    def __enter__(self) -> Callable[[str, float, int], None]:
        return lambda name, value, step: self.file.add_scalar(name, value, step)

    def __exit__(self, *_: object) -> None:
        self.file.close()

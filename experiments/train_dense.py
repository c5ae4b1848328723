"""Train the dense network (parsing, surface coordinates, normals) on rendered pictures.

    python experiments/train_regressor.py render --dense --size 160 --seed 24 --shards 104 --pool POOL
    python experiments/train_dense.py train --pool POOL --out RUN      # resumes exactly after a kill
    python experiments/train_dense.py measure --pool POOL --checkpoint RUN/dense     # on the held-out pictures
    python experiments/train_dense.py ship --run RUN                   # into facejax/assets/dense

The pool's last four files are held out: training never reads them.
"""

import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from regressor import pool
from training_loop import TensorBoardLog, train

from facejax.checkpoints import TrainingStore, load, save
from facejax.nets.dense import DenseConfig, apply_dense
from facejax.programs import jit
from facejax.regression.dense import ASSET, SCHEMA, VERSION, load_dense
from facejax.regression.dense_training import (
    DenseExample,
    DenseRecipe,
    dense_losses,
    dense_step,
    dense_view,
    init_dense_state,
)
from facejax.regression.training import Augmentation, State
from facejax.synthetic.labels import CLASSES

HELD_OUT = 4  # files of the pool


@dataclass(frozen=True)
class Train:
    """Train the network."""

    pool: Path
    """rendered with --dense"""
    out: Path
    """folder of the run: state/, dense/, logs/"""
    steps: int | None = None
    """another length than the recipe's"""
    batch: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Measure:
    """Intersection over union of each class, and the errors of coordinates and normals, on the held-out pictures."""

    pool: Path
    checkpoint: Path = ASSET
    augmented: bool = False
    """crops that vary as in training, instead of exact ones"""


@dataclass(frozen=True)
class Ship:
    """Copy a run's checkpoint to where facejax loads it from."""

    run: Path


def main() -> None:
    command = tyro.cli(
        Annotated[Train, tyro.conf.subcommand("train")]
        | Annotated[Measure, tyro.conf.subcommand("measure")]
        | Annotated[Ship, tyro.conf.subcommand("ship")],  # type: ignore[arg-type]
        description=__doc__,
    )
    {Train: run, Measure: measure, Ship: ship}[type(command)](command)


class Shards:
    """Some files of a pool as one set of rows; each file is read when a row of it is first asked for, and kept."""

    def __init__(self, folder: Path, numbers: range):
        self.paths = [pool.shard_path(folder, number) for number in numbers]
        missing = [path for path in self.paths if not path.exists()]
        if missing:
            raise ValueError(f"{missing[0]}: not there; render it first (see experiments/train_dense.py --help)")
        self.read: dict[int, dict[str, np.ndarray]] = {}

    def __len__(self) -> int:
        return pool.SHARD * len(self.paths)

    def rows(self, rows: np.ndarray) -> DenseExample:
        """The examples of these rows, with a leading axis."""
        found = [self._row(int(row)) for row in rows]
        image, landmarks, parsing, surface, normal = (np.stack(part) for part in zip(*found, strict=True))
        coordinates = np.where(surface == pool.NOTHING, -1.0, surface / (pool.NOTHING - 1.0)).astype(np.float32)
        return DenseExample(*map(jnp.asarray, (image, landmarks, parsing, coordinates, normal / np.float32(127))))

    def _row(self, row: int):
        number, place = divmod(row, pool.SHARD)
        if number not in self.read:
            with np.load(self.paths[number]) as file:
                if "parsing" not in file:
                    raise ValueError(f"{self.paths[number]}: rendered without --dense")
                self.read[number] = {
                    name: file[name] for name in ("image", "landmarks", "parsing", "surface", "normal")
                }
        return [array[place] for array in self.read[number].values()]


def count_shards(folder: Path) -> int:
    return len(list(folder.glob("shard_*.npz")))


def run(command: Train) -> None:
    config, recipe = DenseConfig(), DenseRecipe()
    recipe = replace(recipe, steps=command.steps or recipe.steps, batch=command.batch or recipe.batch)
    shards = Shards(command.pool, range(count_shards(command.pool) - HELD_OUT))
    views = jit(lambda keys, batch: jax.vmap(lambda k, b: dense_view(k, config, recipe.augmentation, b))(keys, batch))
    step = jit(lambda state, batch: dense_step(config, recipe, state, batch), donate_argnums=0)
    key = jax.random.key(command.seed + 1)

    def draw(number: int):
        rows = pool.batch_rows(len(shards), recipe.batch, number, seed=command.seed)
        return views(jax.random.split(jax.random.fold_in(key, number), recipe.batch), shards.rows(rows))

    train(
        lambda state, number, batch: step(state, batch),
        init_dense_state(config, recipe, jax.random.key(command.seed)),
        draw,
        steps=recipe.steps,
        store=TrainingStore(command.out / "state", schema="facejax.dense.training"),
        log=TensorBoardLog(command.out / "logs"),
        log_every=25,
        save_every=250,
        saved=lambda state: export(command.out / "dense", state, config, recipe),
        shown=("accuracy", "coordinates", "degrees"),
    )


def export(path: Path, state: State, config: DenseConfig, recipe: DenseRecipe) -> None:
    """The averaged weights in 16 bits."""
    about = {"config": asdict(config), "recipe": recipe.name, "steps": int(state.step)}
    save(path, jax.device_get(state.average), schema=SCHEMA, version=VERSION, half=True, **about)


def measure(command: Measure) -> None:
    weights, about = load(command.checkpoint, schema=SCHEMA, version=VERSION)
    config = load_dense(command.checkpoint).config
    last = count_shards(command.pool)
    shards = Shards(command.pool, range(last - HELD_OUT, last))
    augmentation = DenseRecipe().augmentation if command.augmented else STILL

    @jit
    def look(keys, batch):
        views = jax.vmap(lambda k, b: dense_view(k, config, augmentation, b))(keys, batch)
        output = apply_dense(config, weights, views.image)
        said, count = jnp.argmax(output.logits, axis=-1), len(CLASSES)
        pairs = jnp.where(views.known, count * views.parsing + said, count * count)
        return jnp.bincount(pairs.reshape(-1), length=count * count + 1)[:-1], dense_losses(output, views)

    table, terms = 0, []
    for start in range(0, len(shards), 32):
        keys = jax.random.split(jax.random.key(start), 32)
        counts, found = look(keys, shards.rows(np.arange(start, start + 32)))
        table = table + np.asarray(counts, np.int64)
        terms.append(jax.device_get(found))
    confusion: Any = np.reshape(table, (len(CLASSES), len(CLASSES)))
    both = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - both
    for name, score in zip(CLASSES, both / np.maximum(union, 1), strict=True):
        print(f"{name:12s} {score:.3f}")
    means = {name: float(np.mean([one[name] for one in terms])) for name in terms[0]}
    print(
        f"mean IoU {np.mean(both / np.maximum(union, 1)):.3f}, accuracy {means['accuracy']:.3f}, coordinates "
        f"{means['coordinates']:.4f} texture widths, normals {means['degrees']:.1f} degrees ({about['steps']} steps)"
    )


STILL = Augmentation(shift=0.0, zoom=0.0, roll=0.0, stretch=0.0, bend=0.0, occluders=0.0, camera=0.0)


def ship(command: Ship) -> None:
    source = command.run / "dense"
    load(source, schema=SCHEMA, version=VERSION)  # check that it loads before it replaces anything
    if ASSET.exists():
        shutil.rmtree(ASSET)
    shutil.copytree(source, ASSET)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")

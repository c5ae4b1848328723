"""Train the regressor that facejax ships, on pictures that it renders itself.

    python experiments/train_regressor.py render --pool DIR --shards 100      # 25,600 labelled pictures; resumes
    python experiments/train_regressor.py train --pool DIR --out RUN          # resumes exactly after a kill
    python experiments/train_regressor.py train --live --out RUN              # an accelerator renders as it trains
    python experiments/train_regressor.py train --recipe 3ddfa_wpdc --pool DIR --out RUN          # or another cost
    python experiments/train_regressor.py train --recipe 2dasl --pool DIR --wild AFLW --out RUN   # never shipped
    python experiments/train_regressor.py profile --wild AFLW --checkpoint RUN/regressor --out turned.npz
    facejax evaluate aflw2000 --data DATA --checkpoint RUN/regressor
    python experiments/train_regressor.py ship --run RUN                      # into facejax/assets/regressor

Several `render --worker k/n` share the work. `tensorboard --logdir RUN/logs` shows the terms.
"""

import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from regressor import loop, pool, wild
from regressor.recipes import GENERATORS, RECIPES
from tqdm import tqdm

from facejax.checkpoints import load
from facejax.face_model.load import load_face_model
from facejax.nets.encoder import EncoderConfig
from facejax.regression.regressor import ASSET, SCHEMA, VERSION, RegressorConfig, load_regressor
from facejax.regression.training import model_anchors
from facejax.regression.two_branch import TwoBranchRecipe


@dataclass(frozen=True)
class Render:
    """Render a pool of labelled pictures, for machines where rendering is slower than reading."""

    pool: Path
    shards: int = 100
    """files of 256 pictures"""
    worker: str = "0/1"
    """k/n: this process renders every n-th file, starting with the k-th"""
    pictures: str = "full"
    """their contents: a name in experiments/regressor/recipes.py"""
    size: int = 176
    seed: int = 0
    views: int = 1
    """pictures per person"""
    dense: bool = False
    """keep what every pixel shows, for experiments/train_dense.py and --trunk lv_vit"""


@dataclass(frozen=True)
class Train:
    """Train a network."""

    out: Path
    """folder of the run: state/, regressor/, logs/"""
    pool: Path | None = None
    """rendered pictures; or --live"""
    live: bool = False
    """render every batch anew"""
    recipe: str = "synthetic"
    """a name in experiments/regressor/recipes.py"""
    steps: int | None = None
    """another length than the recipe's"""
    batch: int | None = None
    """another batch size than the recipe's"""
    start: Path | None = None
    """start from the weights of this checkpoint"""
    wild: Path | None = None
    """AFLW's crops with clicked points, for a recipe with two branches; its weights cannot be shipped"""
    profile: Path | None = None
    """turned copies of those crops, from the profile command"""
    wild_limit: int | None = None
    """only the first crops"""
    seed: int = 0


@dataclass(frozen=True)
class Profile:
    """Turn the pictures in the wild to larger yaws (face profiling), once for all runs."""

    wild: Path
    """AFLW's crops"""
    checkpoint: Path
    """a trained regressor, whose 68 points the heads are fitted to"""
    out: Path
    """npz file to write"""
    limit: int | None = None
    """only the first pictures"""
    seed: int = 0


@dataclass(frozen=True)
class Ship:
    """Copy a run's checkpoint to where facejax loads it from."""

    run: Path


def main() -> None:
    command = tyro.cli(
        Annotated[Render, tyro.conf.subcommand("render")]
        | Annotated[Train, tyro.conf.subcommand("train")]
        | Annotated[Profile, tyro.conf.subcommand("profile")]
        | Annotated[Ship, tyro.conf.subcommand("ship")],  # type: ignore[arg-type]
        description=__doc__,
    )
    {Render: render, Train: train, Profile: profile, Ship: ship}[type(command)](command)


def render(command: Render) -> None:
    first, every = (int(number) for number in command.worker.split("/"))
    shards = range(first, command.shards, every)
    model, generator = load_face_model(), named(GENERATORS, command.pictures)
    with tqdm(total=len(shards) * pool.SHARD, unit="picture") as bar:
        pool.render_pool(
            command.pool,
            model,
            generator,
            shards=shards,
            size=command.size,
            seed=command.seed,
            views=command.views,
            dense=command.dense,
            progress=bar.update,
        )


def train(command: Train) -> None:
    if (command.pool is None) == (not command.live):
        raise ValueError("pass one of --pool DIR (see the render command) and --live")
    recipe = named(RECIPES, command.recipe)
    steps = command.steps or recipe.steps
    warmup = min(recipe.warmup, steps // 5 + 1)
    recipe = replace(recipe, steps=steps, warmup=warmup, batch=command.batch or recipe.batch)
    two = isinstance(recipe, TwoBranchRecipe)
    if two != (command.wild is not None):
        raise ValueError(
            f"recipe {recipe.name}: pass --wild DIR with it" if two else f"{recipe.name} has no wild branch"
        )
    channels = recipe.channels if isinstance(recipe, TwoBranchRecipe) else 3
    model, config = load_face_model(), RegressorConfig(encoder=EncoderConfig(channels=channels))
    anchors = model_anchors(model)
    if command.pool is not None:
        source = loop.pool_source(command.pool, recipe, seed=command.seed)
    else:
        source = loop.live_source(model, GENERATORS["full"], recipe, size=176, seed=command.seed)
    start = None if command.start is None else load_regressor(command.start).weights
    photos = wild_photos(command, recipe) if isinstance(recipe, TwoBranchRecipe) else None
    loop.run(command.out, config, recipe, source, anchors, seed=command.seed, start=start, wild=photos)


def wild_photos(command: Train, recipe: TwoBranchRecipe):
    """The batches of the second branch."""
    assert command.wild is not None
    pictures = wild.read_wild(command.wild, limit=command.wild_limit)
    if command.profile is not None:
        pictures = wild.join_turned(pictures, command.profile)
    return wild.wild_source(pictures, recipe.wild, seed=command.seed + 2)


def profile(command: Profile) -> None:
    pictures = wild.read_wild(command.wild, limit=command.limit)
    regressor = load_regressor(command.checkpoint)
    with tqdm(total=len(pictures.image), unit="picture") as bar:
        turned = wild.turn_wild(regressor.model, regressor, pictures, seed=command.seed, progress=bar.update)
    wild.write_wild(command.out, turned)


def ship(command: Ship) -> None:
    source = command.run / "regressor"
    load_regressor(source)  # check that it loads before it replaces anything
    _, about = load(source, schema=SCHEMA, version=VERSION)
    if isinstance(RECIPES.get(about["recipe"]), TwoBranchRecipe):
        raise ValueError(f"{source}: trained on pictures that may not be passed on; ship a synthetic recipe")
    if ASSET.exists():
        shutil.rmtree(ASSET)
    shutil.copytree(source, ASSET)


def named(table: dict, name: str):
    if name not in table:
        raise ValueError(f"{name!r} is not one of {', '.join(table)}")
    return table[name]


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")

"""Train the texture decoder: StyleGAN2 on evenly lit albedo maps in the default head's UV layout.

    python experiments/train_texture_gan.py train --maps DIR --out RUN             # resumes exactly after a kill
    python experiments/train_texture_gan.py train --maps DIR --out RUN --recipe small
    python experiments/train_texture_gan.py sample --decoder RUN/decoder --out sheet.png
    python experiments/train_texture_gan.py export --run RUN                       # into facejax/assets/texture_decoder

`--maps` is a folder of experiments/make_texture_set.py, or any folder of .png maps; `--live` draws maps while training.
All devices of the machine share each batch. RUN/sheets shows generated maps, RUN/log.csv has the losses.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro
from texture_gan import data, loop, quality
from texture_gan.recipes import RECIPES, Recipe
from texture_set.compose import draw_map
from texture_set.ingredients import load_ingredients

from facejax.export.pictures import write_png
from facejax.face_model.load import load_face_model
from facejax.lighting import linear_to_srgb
from facejax.multihost import MultihostOptions
from facejax.texture import load_decoder, sample_textures, save_decoder, texture_decoder
from facejax.texture.decoder import ASSET

LIMIT = 15_000_000  # bytes that may be shipped


@dataclass(frozen=True)
class Train(MultihostOptions):
    """Train a generator."""

    out: Path
    """folder of the run"""
    maps: Path | None = None
    """folder of maps; or --live"""
    live: Path | None = None
    """ingredients of make_texture_set.py: each map is drawn when needed, for machines with many cores"""
    recipe: str = "light"
    """a name in experiments/texture_gan/recipes.py"""
    steps: int | None = None
    """another length than the recipe's"""
    batch: int | None = None
    """another batch size than the recipe's"""
    limit: int | None = None
    """only the first maps of the folder"""
    mirror: bool = False
    """mirror every other map left to right, so that asymmetries of faces are equally common on both sides"""
    augment: bool = False
    """augment the maps that the discriminator sees as much as it memorises them (ADA); for small sets"""
    regressor: Path | None = None
    """the network whose features measure the distance from real maps (default: the shipped one)"""
    save: int = 1000
    """steps between two checkpoints"""
    measure: int = 2000
    """steps between two measurements; 0 for none"""
    seed: int = 0


@dataclass(frozen=True)
class Sample:
    """Draw a sheet of random maps."""

    decoder: Path
    out: Path
    count: int = 32
    psi: float = 1.0
    """below 1: nearer to the mean"""
    seed: int = 0


@dataclass(frozen=True)
class Export:
    """Copy a run's decoder to where facejax loads it from, with statistics of 100,000 draws and a start for fits."""

    run: Path
    out: Path = ASSET
    glimpses: int = 2000
    """random maps from which an estimate of a map's latents is learned; 0 for none"""


def main() -> None:
    command = tyro.cli(
        Annotated[Train, tyro.conf.subcommand("train")]
        | Annotated[Sample, tyro.conf.subcommand("sample")]
        | Annotated[Export, tyro.conf.subcommand("export")],  # type: ignore[arg-type]
        description=__doc__,
    )
    {Train: train, Sample: sample, Export: export}[type(command)](command)


def train(command: Train) -> None:
    command.join()
    if command.recipe not in RECIPES:
        raise ValueError(f"--recipe {command.recipe}: not one of {', '.join(RECIPES)}")
    recipe = RECIPES[command.recipe]
    recipe = replace(
        recipe,
        steps=command.steps or recipe.steps,
        batch=command.batch or recipe.batch,
        mirror=command.mirror,
        augment=command.augment,
    )
    if command.mirror:
        data.check_mirror(load_face_model())
    source = map_source(command, recipe)
    intervals = loop.Intervals(save=command.save, sheet=command.save, measure=command.measure)
    features = quality.encoder_features(command.regressor) if command.measure else None
    loop.run(command.out, recipe, source, seed=command.seed, intervals=intervals, features=features)


def map_source(command: Train, recipe: Recipe) -> data.Source:
    size = recipe.generator.resolution
    if (command.maps is None) == (command.live is None):
        raise ValueError("pass one of --maps DIR and --live INGREDIENTS (see make_texture_set.py)")
    if command.maps is not None:
        maps = data.read_maps(command.maps, size, limit=command.limit)
        print(f"{len(maps)} maps, {len(jax.local_devices())} devices", file=sys.stderr)
        return data.folder_source(maps, recipe.batch, seed=command.seed)
    assert command.live is not None
    ingredients = load_ingredients(command.live)
    return data.drawn_source(
        lambda index: data.reduce(draw_map(ingredients, command.seed, index)[None], size)[0], recipe.batch
    )


def sample(command: Sample) -> None:
    decoder = load_decoder(command.decoder)
    maps = jax.jit(lambda key: sample_textures(decoder, key, 8, psi=command.psi))
    keys = jax.random.split(jax.random.key(command.seed), -(-command.count // 8))
    shown = np.concatenate([np.asarray(linear_to_srgb(maps(key))) for key in keys])[: command.count]
    write_png(command.out, quality.sheet(shown * 2 - 1, columns=8))


def export(command: Export) -> None:
    decoder = load_decoder(command.run / "decoder")
    save_decoder(command.out, texture_decoder(decoder.config, decoder.weights, glimpses=command.glimpses))
    size = sum(path.stat().st_size for path in command.out.rglob("*") if path.is_file())
    if size > LIMIT:
        raise ValueError(f"{command.out}: {size / 1e6:.1f} MB, more than the {LIMIT / 1e6:.0f} MB that may be shipped")
    print(f"{command.out}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")

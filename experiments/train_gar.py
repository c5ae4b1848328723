"""Train the generative renderer (GAR): normals of a posed head and a latent to a photograph.

    python experiments/train_regressor.py render --pool POOL --size 128 --shards 24     # rendered pictures; resumes
    python experiments/train_regressor.py render --pool PEOPLE --size 96 --shards 32 --views 4 --seed 1
    python experiments/train_gar.py recognise --people PEOPLE --out RECOGNISER          # tells people apart
    python experiments/train_gar.py train --pool POOL --recogniser RECOGNISER --out RUN # resumes exactly after a kill
    python experiments/train_gar.py train --photos DIR --out RUN --recipe small
    python experiments/train_gar.py ablate --pool POOL --recogniser A --judge B --out DIR   # with and without pairs
    python experiments/train_gar.py measure --pool POOL --judge B --runs RUN... --out DIR   # disentanglement, held out
    python experiments/train_gar.py ship --run RUN                                      # into facejax/assets
    python experiments/train_gar.py sheet --pool POOL --gar RUN/gar --out sheet.png

RUN/sheets shows pictures next to their reconstructions, one code on several heads, and several codes on one head.
RUN/log.csv has the losses. All devices of the machine share each batch.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from gar import data, loop, measure
from gar.recipes import RECIPES
from gar.recogniser import load_recogniser, read_people, save_recogniser, train_recogniser

from facejax.export import write_text
from facejax.export.pictures import write_png
from facejax.generative_renderer import generative_renderer, load_gar, save_gar
from facejax.generative_renderer.renderer import ASSET
from facejax.multihost import MultihostOptions
from facejax.programs import cache_compilations, jit
from facejax.regression.regressor import load_regressor

LIMIT = 15_000_000  # bytes that may be shipped
HELD_OUT = 256  # the last pictures of a pool, on which no run is trained


@dataclass(frozen=True)
class Recognise:
    """Train the network that tells people apart."""

    people: Path
    """pool with several views of everybody"""
    out: Path
    views: int = 4
    """pictures of each person in the pool"""
    steps: int = 3000
    seed: int = 0


@dataclass(frozen=True)
class Train(MultihostOptions):
    """Train a generator, its normal injection and the encoder of its latents."""

    out: Path
    """folder of the run"""
    pool: Path | None = None
    """rendered pictures; or --photos"""
    photos: Path | None = None
    """folder of photographs, whose geometry the regressor estimates"""
    recipe: str = "tiny"
    """a name in experiments/gar/recipes.py"""
    steps: int | None = None
    """another length than the recipe's"""
    batch: int | None = None
    """another batch size than the recipe's"""
    start: Path | None = None
    """checkpoint (RUN/gar) of a lower resolution to start from"""
    reader: Path | None = None
    """checkpoint (RUN/gar) whose network for normals is used, instead of training one"""
    recogniser: Path | None = None
    """network that tells people apart, for the identity loss (default: the regressor's coefficients)"""
    normal_steps: int | None = None
    """another length of the training of the network for normals"""
    limit: int | None = None
    """only the first files of the pool, of 256 pictures"""
    save: int = 500
    """steps between two checkpoints"""
    seed: int = 0


@dataclass(frozen=True)
class Ablate:
    """Train with and without the pairwise losses, some seeds each, and measure: the table of docs/gar.md."""

    pool: Path
    out: Path
    recogniser: Path
    """for the identity loss"""
    judge: Path
    """for the measurement: trained with another seed"""
    recipes: tuple[str, ...] = ("tiny", "unpaired")
    seeds: int = 3
    steps: int = 500
    reader: Path | None = None
    """as for training"""


@dataclass(frozen=True)
class Measure:
    """Measure how well normals and codes are disentangled, on pictures that no run was trained on."""

    pool: Path
    judge: Path
    """network that tells people apart"""
    runs: tuple[Path, ...]
    """runs or their gar/ folders; those that differ only in a final "_<seed>" are averaged"""
    out: Path
    """folder for table.md"""


@dataclass(frozen=True)
class Ship:
    """Copy a run's weights to where facejax loads them from, with statistics of 100,000 draws."""

    run: Path
    out: Path = ASSET


@dataclass(frozen=True)
class Sheet:
    """Draw held-out pictures, their normals and reconstructions, then one code per row on every head."""

    pool: Path
    gar: Path
    out: Path
    count: int = 8


def main() -> None:
    command = tyro.cli(
        Annotated[Recognise, tyro.conf.subcommand("recognise")]
        | Annotated[Train, tyro.conf.subcommand("train")]
        | Annotated[Ablate, tyro.conf.subcommand("ablate")]
        | Annotated[Measure, tyro.conf.subcommand("measure")]
        | Annotated[Ship, tyro.conf.subcommand("ship")]
        | Annotated[Sheet, tyro.conf.subcommand("sheet")],  # type: ignore[arg-type]
        description=__doc__,
    )
    run = {Recognise: recognise, Train: train, Ablate: ablate, Measure: measure_runs, Ship: ship, Sheet: sheet}
    run[type(command)](command)


def recognise(command: Recognise) -> None:
    people = read_people(command.people, command.views)
    params, found = train_recogniser(people, steps=command.steps, seed=command.seed)
    save_recogniser(command.out, params, found)
    print(f"{command.out}: " + ", ".join(f"{name} {value:.3f}" for name, value in found.items()))


def train(command: Train) -> None:
    command.join()
    recipe = RECIPES[command.recipe]
    changes = {name: getattr(command, name) for name in ("steps", "batch", "normal_steps")}
    recipe = replace(recipe, **{name: value for name, value in changes.items() if value is not None})
    regressor, side = load_regressor(), recipe.config.side
    if (command.pool is None) == (command.photos is None):
        raise ValueError("pass one of --pool DIR and --photos DIR")
    if command.pool is not None:
        pictures = data.read_rendered(command.pool, regressor.model, side, limit=command.limit)
        pictures, _ = data.split(pictures, HELD_OUT)
    else:
        assert command.photos is not None
        pictures = data.read_photos(command.photos, regressor, side)
    print(f"{len(pictures.image)} pictures", file=sys.stderr)
    source = data.batches(pictures, recipe.batch, seed=command.seed)
    begun, reader = (None if path is None else load_gar(path) for path in (command.start, command.reader))
    reader = begun if reader is None else reader
    loop.run(
        command.out,
        recipe,
        source,
        regressor,
        seed=command.seed,
        save=command.save,
        begun=None if begun is None else begun.weights,
        reader=None if reader is None else reader.reader,
        recogniser=None if command.recogniser is None else load_recogniser(command.recogniser),
    )


def ablate(command: Ablate) -> None:
    runs = []
    for seed in range(command.seeds):
        for name in command.recipes:
            runs.append(command.out / f"{name}_{seed}")
            train(
                Train(
                    runs[-1],
                    pool=command.pool,
                    recipe=name,
                    steps=command.steps,
                    reader=command.reader,
                    recogniser=command.recogniser,
                    save=command.steps,
                    seed=seed,
                )
            )
    measure_runs(Measure(command.pool, command.judge, tuple(runs), command.out))


def measure_runs(command: Measure) -> None:
    regressor, judge, found = load_regressor(), load_recogniser(command.judge), {}
    for path in command.runs:
        gar = load_gar(path / "gar" if (path / "gar").exists() else path)
        _, pictures = data.split(data.read_rendered(command.pool, regressor.model, gar.config.side), HELD_OUT)
        name, _, seed = path.name.rpartition("_")
        kinds = found.setdefault(name if seed.isdigit() else path.name, {"encoded": [], "random": []})
        for kind, several in kinds.items():
            several.append(measure.measure(gar, regressor, judge, pictures, codes=kind))
    text = measure.table(found)
    write_text(command.out / "table.md", text)
    print(text)


def ship(command: Ship) -> None:
    gar = load_gar(command.run / "gar")
    save_gar(command.out, generative_renderer(gar.config, gar.weights, gar.reader, count=100_000))
    size = sum(path.stat().st_size for path in command.out.rglob("*") if path.is_file())
    if size > LIMIT:
        raise ValueError(f"{command.out}: {size / 1e6:.1f} MB, more than the {LIMIT / 1e6:.0f} MB that may be shipped")
    print(f"{command.out}: {size / 1e6:.1f} MB")


def sheet(command: Sheet) -> None:
    gar, model = load_gar(command.gar), load_regressor().model
    _, pictures = data.split(data.read_rendered(command.pool, model, gar.config.side), HELD_OUT)
    some = data.take(pictures, slice(command.count))
    write_png(command.out, np.clip(np.asarray(jit(loop.sheet)(gar, some)), 0, 1))


if __name__ == "__main__":
    try:
        cache_compilations()
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")

"""How much each part of the regressor's training helps: the table of docs/regress.md, with one command.

    python experiments/ablate_regressor.py --pool DIR --wild AFLW --data AFLW2000 --out OUT [--network small]

Trains every row with the same budget from the same start, and measures it on AFLW2000-3D: the points of the landmark
head, and those of the regressed face model. `OUT/table.md` and `OUT/table.json` are written after each row; finished
rows are skipped, and a killed one is resumed. A row with two branches sees `--wild-batch` more pictures per step.
Nothing trained here may be shipped: AFLW's pictures may not be redistributed.
"""

import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro
from regressor import loop, wild
from regressor.recipes import RECIPES
from tqdm import tqdm

from facejax.camera import project, to_camera
from facejax.evaluation import AnnotatedFaces, read_aflw2000, report
from facejax.export import write_summary, write_text
from facejax.face_model import FaceParams, decode, landmarks
from facejax.face_model.load import load_face_model
from facejax.images import apply_crop
from facejax.nets.encoder import EncoderConfig
from facejax.regression.regressor import Regressor, RegressorConfig, box_crop, load_regressor, regress_crops
from facejax.regression.training import Recipe, model_anchors
from facejax.regression.two_branch import TwoBranchRecipe, WildExample

BINS = ("0-30", "30-60", "60-90")
NETWORKS = {  # the second takes a fifth of the time and is good enough to compare rows
    "shipped": EncoderConfig(),
    "small": EncoderConfig(size=64, widths=(32, 64, 160)),
}


@dataclass(frozen=True)
class Row:
    """One row of the table."""

    label: str
    recipe: str  # a name in experiments/regressor/recipes.py
    turned: bool = False  # whether the wild pictures are also turned to larger yaws
    start: str | None = None  # the row whose weights it starts from, instead of the common start
    head: bool = True  # whether its landmark head was trained


ROWS = {
    "bare": Row("synthetic pictures alone", "bare", head=False),
    "occluders": Row("+ occluders", "occluders", head=False),
    "camera": Row("+ camera effects", "no_landmark_head", head=False),
    "synthetic": Row("+ landmark head", "synthetic"),
    "wild": Row("+ clicked points in the wild (3 channels)", "synthetic_wild"),
    "profiling": Row("+ the same turned (face profiling)", "synthetic_wild", turned=True),
    "2dasl_none": Row("landmark head, fourth channel", "2dasl_none"),
    "2dasl_weighted": Row("+ weighted coefficient prediction", "2dasl_weighted"),
    "2dasl_2d": Row("+ 2D consistency", "2dasl_2d"),
    "2dasl_3d": Row("+ 3D consistency", "2dasl_3d"),
    "2dasl_cycle": Row("+ cycle", "2dasl_cycle"),
    "2dasl_critic": Row("+ self-critic", "2dasl_critic"),
    "2dasl": Row("all of 2DASL", "2dasl"),
    "2dasl_profiling": Row("all of 2DASL, with turned pictures", "2dasl", turned=True),
    "2dasl_stage2": Row("all of 2DASL, then the vertex distance", "2dasl_stage2", start="2dasl"),
}


@dataclass(frozen=True)
class Args:
    pool: Path
    """rendered pictures, see experiments/train_regressor.py render"""
    wild: Path
    """AFLW's crops"""
    data: Path
    """AFLW2000-3D"""
    out: Path
    steps: int = 1500
    """of every row; the last stage takes a quarter more"""
    batch: int = 32
    """rendered pictures a step"""
    wild_batch: int = 16
    """pictures in the wild a step, for the rows that have them"""
    network: Literal["shipped", "small"] = "shipped"
    """of every row"""
    start: Path | None = None
    """checkpoint of three channels that every row begins with (default: random weights)"""
    bare_pool: Path | None = None
    """another pool for the first row, rendered with --pictures bare: no hair, glasses or hands either"""
    rows: tuple[str, ...] = tuple(ROWS)
    """which rows, in their order"""
    shards: int | None = None
    """only the pool's first files of 256 pictures"""
    limit: int | None = None
    """only the first wild pictures and benchmark faces"""
    seed: int = 0


def main(args: Args) -> None:
    unknown = [name for name in args.rows if name not in ROWS]
    if unknown:
        raise ValueError(f"--rows {' '.join(unknown)}: not one of {', '.join(ROWS)}")
    check_settings(args)
    bench = Bench(args)
    for name in args.rows:
        path = args.out / "rows" / f"{name}.json"
        if not path.exists():
            print(f"{name}: {ROWS[name].label}", file=sys.stderr)
            write_summary(path, train_and_measure(args, bench, name))
        write_table(args)
    print((args.out / "table.md").read_text())


def check_settings(args: Args) -> None:
    """Check that the rows of one folder are comparable: the same budget, pictures and start."""
    chosen = {name: value for name, value in asdict(args).items() if name not in ("out", "rows")}
    chosen = {name: str(value) if isinstance(value, Path) else value for name, value in chosen.items()}
    path = args.out / "settings.json"
    if not path.exists():
        write_summary(path, chosen)
    elif json.loads(path.read_text()) != chosen:
        raise ValueError(f"{path}: these rows were trained with other settings; use another --out")


class Bench:
    """What the rows share, read when first needed."""

    def __init__(self, args: Args):
        self.args, self.model = args, load_face_model()
        self.anchors = model_anchors(self.model)
        self._cache: dict[str, Any] = {}

    def faces(self) -> AnnotatedFaces:
        def read() -> AnnotatedFaces:
            faces = read_aflw2000(self.args.data)
            return faces.rows(np.arange(len(faces)) < (self.args.limit or len(faces)))

        return self._once("faces", read)

    def crops(self, config: RegressorConfig) -> tuple[list, np.ndarray]:
        """A crop of every benchmark face, the same for all rows."""

        def cut() -> tuple[list, np.ndarray]:
            faces, size = self.faces(), config.side
            places = [box_crop(box, config) for box in faces.boxes]
            images = [apply_crop(faces.read(k), place, size)[0] for k, place in enumerate(tqdm(places, unit="face"))]
            return places, np.stack(images)

        return self._once("crops", cut)

    def wild(self) -> WildExample:
        return self._once("wild", lambda: wild.read_wild(self.args.wild, limit=self.args.limit))

    def turned(self) -> WildExample:
        """The wild pictures with their turned copies, made once from the points of the `synthetic` row or of the common
        start.
        """
        path = self.args.out / "turned.npz"
        if not path.exists():
            trained = self.args.start or self.args.out / "runs" / "synthetic" / "regressor"
            if not trained.exists():
                raise ValueError("turned pictures need a regressor: pass --start, or train the row 'synthetic' first")
            with tqdm(total=len(self.wild().image), unit="turn") as bar:
                made = wild.turn_wild(self.model, load_regressor(trained), self.wild(), progress=bar.update)
            wild.write_wild(path, made)
        return self._once("turned", lambda: wild.join_turned(self.wild(), path))

    def _once(self, name: str, make: Any) -> Any:
        if name not in self._cache:
            self._cache[name] = make()
        return self._cache[name]


def train_and_measure(args: Args, bench: Bench, name: str) -> dict[str, Any]:
    row = ROWS[name]
    recipe = RECIPES[row.recipe]
    steps = args.steps if row.start is None else args.steps // 4
    recipe = replace(recipe, steps=steps, batch=args.batch, warmup=min(recipe.warmup, steps // 5 + 1))
    folder = args.pool if row.recipe != "bare" or args.bare_pool is None else args.bare_pool
    source = loop.pool_source(folder, recipe, seed=args.seed, limit=args.shards)
    batches, channels = None, 3
    if isinstance(recipe, TwoBranchRecipe):
        recipe, channels = replace(recipe, wild=args.wild_batch), recipe.channels
        photos = bench.turned() if row.turned else bench.wild()
        batches = wild.wild_source(photos, recipe.wild, seed=args.seed + 2)
    config = RegressorConfig(encoder=replace(NETWORKS[args.network], channels=channels))
    run = args.out / "runs" / name
    start = args.start
    if row.start is not None:
        start = args.out / "runs" / row.start / "regressor"
        if not start.exists():
            raise ValueError(f"row {name} starts from the weights of {row.start}: train that row too")
    weights = None if start is None else load_regressor(start).weights
    state = loop.run(run, config, recipe, source, bench.anchors, seed=args.seed, start=weights, wild=batches)
    regressor = Regressor(bench.model, state.average, config)
    return {
        "row": name,
        "label": row.label,
        "steps": steps,
        "recipe": describe(recipe),
        **measure(regressor, bench, row),
    }


def describe(recipe: Recipe) -> dict[str, Any]:
    return {name: value for name, value in asdict(recipe).items() if name not in ("name", "steps")}


def measure(regressor: Regressor, bench: Bench, row: Row) -> dict[str, Any]:
    """NME (percent) on AFLW2000-3D of the landmark head (null where it was not trained) and of the face model."""
    places, images = bench.crops(regressor.config)
    predict = jax.jit(both_landmarks)
    batch, found = 32, []
    for first in range(0, len(images), batch):
        some = images[np.minimum(np.arange(first, first + batch), len(images) - 1)]
        found.append(np.stack(predict(regressor, some)))
    points = np.concatenate(found, axis=1)[:, : len(images)]
    result: dict[str, Any] = {}
    for name, marks in zip(("head", "model"), points, strict=True):
        if name == "head" and not row.head:
            result[name] = None
            continue
        in_photo = np.stack([place.invert_points(one) for place, one in zip(places, marks, strict=True)])
        tables = report(in_photo.astype(np.float64), bench.faces())
        result[name] = {number: asdict(one.table) for number, one in tables.items()}
    return result


def both_landmarks(regressor: Regressor, images: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The head's 68 landmarks and those of the regressed face model, in pixels of the crop."""
    seen, model = regress_crops(regressor, images), regressor.model

    def place(face: FaceParams) -> jax.Array:
        return project(face.camera, to_camera(face.pose, landmarks(model, decode(model, face))))[:, :2]

    return seen.landmarks, jax.vmap(place)(seen.params)


def write_table(args: Args) -> None:
    """table.md and table.json of the finished rows."""
    paths = [args.out / "rows" / f"{name}.json" for name in ROWS]
    rows = [json.loads(path.read_text()) for path in paths if path.exists()]
    head = ["trained with", *(f"{one}" for one in BINS), "mean", "21 points", "mean, face model"]
    budget = f"{args.network} network, {args.steps} steps of {args.batch} rendered pictures"
    lines = [f"{budget}; NME %, AFLW2000-3D, original labels", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for row in rows:
        shown = row["head"] or row["model"]  # without a trained head the model's points count
        numbers = [*(shown["68"]["bins"][name] for name in BINS), shown["68"]["mean"]]
        numbers += [shown["21"]["mean"] if "21" in shown else None, row["model"]["68"]["mean"]]
        lines.append("| " + " | ".join([row["label"], *map(cell, numbers)]) + " |")
    write_text(args.out / "table.md", "\n".join(lines) + "\n")
    write_summary(
        args.out / "table.json", {"settings": json.loads((args.out / "settings.json").read_text()), "rows": rows}
    )


def cell(number: float | None) -> str:
    return "-" if number is None else f"{number:.2f}"


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")

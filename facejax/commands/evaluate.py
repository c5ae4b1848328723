"""`facejax evaluate`: the landmark benchmarks; every choice of the protocol is printed with the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from facejax.engine.progress import progress
from facejax.evaluation.aflw import read_aflw
from facejax.evaluation.aflw2000 import read_aflw2000
from facejax.evaluation.annotated import AnnotatedFaces, Predictor, predict_faces
from facejax.evaluation.curve import draw_cumulative
from facejax.evaluation.tables import PointReport, format_offsets, format_tables, report
from facejax.export import versions, write_png, write_summary

MEAN = "of the three bins' means, and their standard deviation; a bin holds its upper end, the last all beyond 60"


@dataclass(frozen=True)
class Evaluate:
    """Measure the regressor's landmarks on a benchmark: a table, and OUT/<benchmark>.json and .png (error curve).

    Example:

        facejax evaluate aflw2000 --data AFLW2000 --per-group
    """

    benchmark: tyro.conf.Positional[Literal["aflw2000", "aflw"]]
    """aflw2000: AFLW2000-3D, 68 and 21 points; aflw: AFLW's crops, 21 points"""
    data: Path
    """folder of the benchmark, see docs/evaluation.md"""
    out: Path = Path("evaluation")
    """folder for the results"""
    checkpoint: str = "default"
    """the regressor: "default", or the folder of a checkpoint"""
    labels: Literal["original", "reannotated"] = "original"
    """AFLW2000-3D's own 68 points, or the re-annotated ones"""
    points: Literal["68", "21"] | None = None
    """which points the curve and --per-group show (default: 68 where there are any)"""
    keep_lookalikes: bool = False
    """keep the faces that the data mark as look-alikes of held-back ones"""
    drop_out_of_range: bool = False
    """leave out the faces with an angle beyond 99 degrees"""
    per_group: bool = False
    """print errors by group of points, and each point's mean offset in the head's own frame"""
    batch: int = 32
    """faces in one compiled program"""


def run_evaluate(command: Evaluate) -> int:
    """Reads, predicts, prints, writes; returns the exit status."""
    if command.batch < 1:
        raise ValueError(f"--batch {command.batch}: at least 1 face at once")
    faces = read_benchmark(command)
    shown = command.points or next(iter(faces.points))
    if shown not in faces.points:
        raise ValueError(f"{command.data}: has no {shown} points; use --points {next(iter(faces.points))}")
    predict = regressor_predictor(command.checkpoint)
    with progress(len(faces), unit="face") as bar:
        predicted = predict_faces(predict, faces, batch=command.batch, progress=bar.update)
    reports = report(predicted, faces)
    print(describe(faces, reports, command.checkpoint))
    if command.per_group:
        print("\n" + describe_groups(reports[shown], shown))
    write_summary(command.out / f"{command.benchmark}.json", summary(faces, reports, command.checkpoint))
    picture = draw_cumulative(curves(faces, reports[shown]), title=f"{command.benchmark}, {shown} points")
    write_png(command.out / f"{command.benchmark}.png", picture)
    print(f"\nwrote {command.out / command.benchmark}.json and .png")
    return 0


def read_benchmark(command: Evaluate) -> AnnotatedFaces:
    """The annotated faces that a command names."""
    if command.benchmark == "aflw":
        faces = read_aflw(command.data)
    else:
        faces = read_aflw2000(
            command.data,
            labels=command.labels,
            keep_lookalikes=command.keep_lookalikes,
            keep_out_of_range=not command.drop_out_of_range,
        )
    if not len(faces):
        raise ValueError(f"{command.data}: no face is left to measure on")
    return faces


def regressor_predictor(checkpoint: str) -> Predictor:
    """A function that predicts landmarks as `facejax regress` does for photos with given boxes."""
    from facejax.regression.photos import regress_photos
    from facejax.regression.regressor import load_regressor

    regressor = load_regressor(checkpoint)

    def predict(photos: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        seen = regress_photos(regressor, photos, boxes=list(boxes), batch=len(photos))
        if seen.failures:
            raise ValueError(seen.failures[0])
        return np.stack([face.regression.landmarks for face in seen.faces])

    return predict


def describe(faces: AnnotatedFaces, reports: dict[str, PointReport], checkpoint: str) -> str:
    """The choices of the protocol, then a table with one row per point set."""
    choices = faces.choices | {"mean": MEAN, "regressor": checkpoint}
    width = max(len(name) for name in choices) + 2
    counts = next(iter(reports.values())).table.counts
    lines = [f"{name:<{width}}{words}" for name, words in choices.items()]
    lines += [f"{'faces':<{width}}" + ", ".join(f"{count} at {name}" for name, count in counts.items()), ""]
    rows = {f"NME %, {name} points": one.table for name, one in reports.items()}
    return "\n".join([*lines, format_tables(rows)])


def describe_groups(one: PointReport, shown: str) -> str:
    """Errors by group of points, and the points' offsets if the benchmark has the heads' rotations."""
    text = format_tables({f"{name} ({shown} points)": table for name, table in one.groups.items()})
    return text if one.offsets is None else f"{text}\n\n{format_offsets(one.offsets)}"


def summary(faces: AnnotatedFaces, reports: dict[str, PointReport], checkpoint: str) -> dict[str, Any]:
    """Everything that is printed, and every face's errors, for the JSON file."""
    return {
        "protocol": faces.choices | {"mean": MEAN},
        "regressor": checkpoint,
        "versions": versions(),
        "points": {
            name: {"nme": one.table, "groups": one.groups, "mean_over_faces": float(np.nanmean(one.faces))}
            | ({} if one.offsets is None else {"offsets": one.offsets})
            for name, one in reports.items()
        },
        "faces": {
            "name": list(faces.names),
            "yaw_degrees": faces.yaw,
            **{f"nme{name}": one.faces for name, one in reports.items()},
        },
    }


def curves(faces: AnnotatedFaces, one: PointReport) -> dict[str, np.ndarray]:
    """The errors of all faces and of each bin, by a name that gives their number and mean."""
    angle = np.abs(faces.yaw)
    chosen = {"0-30": angle <= 30, "30-60": (angle > 30) & (angle <= 60), "60-90": angle > 60}
    named = {"all": np.ones(len(faces), bool), **chosen}
    return {
        f"{name}: {np.nanmean(one.faces[rows]):.2f} %, {int(rows.sum())} faces": one.faces[rows]
        for name, rows in named.items()
        if np.isfinite(one.faces[rows]).any()
    }

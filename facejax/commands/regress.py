"""`facejax regress`: finds faces, regresses them in one pass of the network, and writes one file for all."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from facejax.api import RegressResult, collect
from facejax.commands.runs import describe_doubts, note_unused
from facejax.engine.faces import boxes_of
from facejax.engine.progress import progress
from facejax.images.sources import photo_file
from facejax.regression.photos import Faces, RegressedPhotos, regress_photos
from facejax.regression.regressor import load_regressor


@dataclass(frozen=True)
class Regress:
    """Landmarks, pose and coefficients of the faces in photographs, by the network alone (seconds for many photos).

    Example:

        facejax regress one.jpg two.jpg --out faces.npz --faces all
    """

    photos: tyro.conf.Positional[tuple[Path, ...]]
    """photographs"""
    out: Path
    """file for the results, .npz"""
    boxes: Path | None = None
    """JSON file {file name: [left, top, right, bottom]} in pixels, or lists of such boxes; other photos are searched"""
    faces: Faces = "largest"
    """which of the faces found in a photo: the largest, or all"""
    checkpoint: str = "default"
    """the regressor: "default", or the folder of a trained one"""
    batch: int = 8
    """faces that the compiled program takes at once"""


def run_regress(command: Regress) -> int:
    """Returns the exit status: 0, or 1 when some photos failed. Without any face nothing is written."""
    check_command(command)
    photos = [photo_file(path) for path in command.photos]
    boxes = None if command.boxes is None else boxes_of(photos, command.boxes)
    note_unused(photos, landmarks=None, boxes=command.boxes)
    regressor = load_regressor(command.checkpoint)
    with progress(len(command.photos), 0) as bar:
        found = regress_photos(
            regressor, command.photos, boxes=boxes, faces=command.faces, batch=command.batch, progress=bar.update
        )
    result = collect(regressor, found) if found.faces else None
    report_photos(found, result, len(command.photos))
    if result is not None:
        print(f"{result.save(command.out)}: {len(result)} faces")
    return 1 if found.failures else 0


def check_command(command: Regress) -> None:
    """Check the options before anything is read. Raises ValueError."""
    if not command.photos:
        raise ValueError("no photos: name at least one")
    if command.out.suffix != ".npz":
        raise ValueError(f"--out {command.out}: name a .npz file")
    if command.batch < 1:
        raise ValueError(f"--batch {command.batch}: at least 1 face at once")


def report_photos(found: RegressedPhotos, result: RegressResult | None, count: int) -> None:
    """Print to stderr a line for each photo with a failure, and how many photos have a face, or a doubtful one."""
    for failure in found.failures:
        print(f"facejax: error: {failure}", file=sys.stderr)
    doubtful = [] if result is None else [result.images[k] for k in np.flatnonzero(result.doubtful)]
    if found.failures or doubtful:
        said = [f"{len({face.photo for face in found.faces})} of {count} photos regressed"]
        said += [describe_doubts(list(dict.fromkeys(doubtful)))] if doubtful else []
        print("; ".join(said), file=sys.stderr)

"""`facejax fit`: fits the faces of photographs, one folder each; a long run can be stopped and resumed."""

import sys
from dataclasses import dataclass
from typing import Literal

import tyro

from facejax.commands.photos import list_command_photos
from facejax.commands.runs import RunOptions, check_out, choose_engine, describe_doubts, finish_run, note_unused
from facejax.engine.cameras import CAMERAS, find_cameras
from facejax.engine.faces import check_source
from facejax.engine.fits import FitJob, FitOptions, count_fits, load_for_cameras
from facejax.engine.models import load_model
from facejax.engine.progress import progress
from facejax.engine.run import Run, parse_shard
from facejax.engine.signals import STOPPED
from facejax.export import write_summary
from facejax.export.fit_report import write_fit_report
from facejax.export.manifest import FAILED, OK, Line
from facejax.images import Photo
from facejax.images.sources import check_folders, is_collection

FEW = 20  # up to this many photos, each gets a line on the screen


@dataclass(frozen=True, kw_only=True)
class Fit(FitOptions, RunOptions):
    """Fit the faces of photographs: a textured 3D face, pose and light for each, under OUT/<stem of the photo>/.

    Without --landmarks the faces are found and a network gives the first landmarks and coefficients. OUT/manifest.jsonl
    has a line for every photo, OUT/report.html their pictures; --resume continues a run that was stopped. Example:

        facejax fit photos/ more.tar --out faces --files params mesh
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """photographs, folders of them, lists (.txt, a path a line), archives (.tar, .zip), tables with encoded images
    (.parquet), or URLs of those that fsspec can read"""
    batch: int | Literal["auto"] = "auto"
    """faces fitted at once in one compiled program; auto: as many as fit into the device's memory"""


def run_fit(command: Fit) -> int:
    """Returns the exit status: 0, 1 when photos or faces failed or photos were left out, 143 when asked to stop."""
    shard = parse_shard(command.shard)
    check_out(command.out, command.engine)  # an impossible URL fails before anything is read
    listing = list_command_photos(command.sources, command.out)
    photos = listing.photos
    check_command(command, photos)
    whole = any(map(is_collection, command.sources))  # else the landmarks may serve more photos than are named
    note_unused(photos, landmarks=command.landmarks if whole else None, boxes=command.boxes)
    batch = None if command.batch == "auto" else command.batch
    run = Run(FitJob(command), photos, batch=batch, shard=shard, resume=command.resume)
    if command.same_camera and not (run.resumed and CAMERAS in run.store.names()):
        with progress(len(photos)):
            find_cameras(*load_for_cameras(command), photos, run.store)
    done = finish_run(run, choose_engine(command), lambda line: describe(run, line))
    return report(run) or int(not listing.whole) if done else STOPPED


def describe(run: Run, line: Line) -> tuple[list[str], list[str]]:
    """The messages about a photo: a line for each face, and one for an error."""
    faces = line.get("faces", ()) if len(run.photos) <= FEW else ()
    said = [
        f"{run.store.address(face['folder'])}: landmarks {face['landmark_nme_percent']:.2f} % of the face, "
        f"pixels {'-' if face['psnr_face'] is None else format(face['psnr_face'], '.1f')} dB"
        + (f", doubtful: {face['doubtful']}" if "doubtful" in face else "")
        for face in faces
    ]
    return said, [f"facejax: error: {line['error']}"] if "error" in line else []


def report(run: Run) -> int:
    """Report how the photos ended, on the screen and in OUT/summary.json. Returns the exit status."""
    lines = run.lines()
    counts = count_fits(lines)
    with run.store.file(run.name("summary.json")) as path:
        write_summary(path, counts)
    with run.store.file(run.name("report.html")) as path:
        write_fit_report(path, lines, counts, read=run.store.read)
    doubtful = [line["file"] for line in lines if "doubtful" in line]
    if counts[FAILED] or counts["partly"] or doubtful or counts["photos"] > FEW:
        said = [f"{counts[OK]} of {counts['photos']} photos fitted, {counts['faces']} faces"]
        said += [f"{counts['partly']} with a face that failed"] if counts["partly"] else []
        said += [describe_doubts(doubtful)] if doubtful else []
        print("; ".join(said), file=sys.stderr)
        for cause, count in counts["failed_by"].items():
            print(f"  {count:6d} {cause}", file=sys.stderr)
    return 1 if counts[FAILED] or counts["partly"] else 0


def check_command(command: Fit, photos: list[Photo]) -> None:
    """Check the options before a photo is read. Raises ValueError."""
    check_source(
        photos,
        landmarks=command.landmarks,
        boxes=command.boxes,
        recipe=command.recipe,
        batch=1 if command.batch == "auto" else command.batch,
    )
    load_model(command.model)  # a model that cannot be fitted fails before a photo is read
    if command.fov is not None and not 0 < command.fov < 180:
        raise ValueError(f"--fov {command.fov}: an angle between 0 and 180 degrees")
    if command.fov is not None and command.same_camera:
        raise ValueError("--fov gives all photos their view already: leave out --same-camera")
    if command.landmarks is not None and command.faces == "all":
        raise ValueError("--landmarks says where the faces are: leave out --boxes and --faces, or --landmarks")
    if not any(map(is_collection, command.sources)):
        check_folders(photos, FitJob(command).folders)

"""`facejax fit`: photographs to folders of faces; a long run notes what is done and can be stopped and resumed."""

import sys
from dataclasses import dataclass
from typing import Literal

import tyro

from facejax.engine.faces import check_source
from facejax.engine.run import Engine, Run, face_counts, fit_here, parse_shard
from facejax.engine.signals import STOPPED, progress, stop_on_signal
from facejax.engine.store import open_store
from facejax.engine.worker import FAILED, FitOptions
from facejax.export import write_summary
from facejax.export.fit_report import write_fit_report
from facejax.export.manifest import Line
from facejax.images import Photo, box_of, list_photos, read_boxes
from facejax.images.sources import check_folders, is_collection

FEW = 20  # photos, of which each gets a line on the screen


@dataclass(frozen=True, kw_only=True)
class Fit(FitOptions):
    """Fit the faces of photographs: a textured 3D face, pose and light for each, under OUT/<stem of the photo>/.

    Without --landmarks the faces are found and a network gives the first landmarks and coefficients. OUT/manifest.jsonl
    has a line for every photo, OUT/report.html their pictures; a run that was stopped goes on with --resume. Example:

        facejax fit photos/ more.tar --out faces --files params mesh
    """

    sources: tyro.conf.Positional[tuple[str, ...]]
    """photographs, folders of them, lists (.txt, a path a line), archives (.tar), tables with encoded images
    (.parquet), or URLs of those that fsspec can read"""
    batch: int | Literal["auto"] = "auto"
    """faces fitted at once in one compiled program; auto: as many as the device's memory is good for"""
    resume: bool = False
    """go on with the run in OUT where it was stopped"""
    shard: str = "0/1"
    """k/n: only every n-th photo, beginning with the k-th, for several processes or a job array with one OUT"""
    engine: Literal["local", "ray"] = "local"
    """ray: spread over the workers of a Ray cluster, or those of this machine (pip install 'facejax[ray]')"""
    workers: int | None = None
    """of ray; default: one for each accelerator of the cluster, or one where there is none"""


def run_fit(command: Fit) -> int:
    """Returns the exit status: 0, 1 when some photos failed, 143 when it was asked to stop."""
    shard = parse_shard(command.shard)
    open_store(command.out)  # a URL that cannot be is known before anything is read
    if command.engine == "ray" and str(command.out).startswith("memory://"):
        raise ValueError(f"--out {command.out}: the memory of one process is no place for several: take another URL")
    photos = list_photos(command.sources, without=command.out)
    check_command(command, photos)
    run = Run(
        command,
        photos,
        batch=None if command.batch == "auto" else command.batch,
        shard=shard,
        resume=command.resume,
    )
    with stop_on_signal() as stopped, progress(len(run.photos), run.finished) as bar:
        for lines in run.go_on(choose_engine(command), lambda: bool(stopped)):
            for line in lines:
                if line["status"] == FAILED or "error" in line:
                    bar.write(f"facejax: error: {line['error']}", file=sys.stderr)
                if len(run.photos) <= FEW:
                    for text in describe(run, line):
                        bar.write(text, file=sys.stdout)
            bar.update(len(lines))
    return report(command, run)


def choose_engine(command: Fit) -> Engine:
    """Where the faces are fitted: in this process, or by Ray's workers."""
    if command.engine == "local":
        return fit_here
    from facejax.engine.ray_cluster import RayCluster

    return RayCluster(command.workers)


def describe(run: Run, line: Line) -> list[str]:
    """A line for each face of a photo."""
    return [
        f"{run.store.address(face['folder'])}: landmarks {face['landmark_nme_percent']:.2f} % of the face, "
        f"pixels {face['psnr_face'] or 0.0:.1f} dB"
        for face in line.get("faces", ())
    ]


def report(command: Fit, run: Run) -> int:
    """What became of the photos, on the screen and in OUT/summary.json; the exit status."""
    counts = run.counts()
    if run.finished < len(run.photos):
        print(f"stopped after {run.finished} of {len(run.photos)} photos; --resume goes on", file=sys.stderr)
        return STOPPED
    part = "" if command.shard == "0/1" else f".{command.shard.replace('/', '-of-')}"
    with run.store.file(f"summary{part}.json") as path:
        write_summary(path, counts)
    with run.store.file(f"report{part}.html") as path:
        write_fit_report(path, run.lines(), counts, read=run.store.read)
    if counts[FAILED] or counts["photos"] > FEW:
        print(f"{counts['ok']} of {counts['photos']} photos fitted, {counts['faces']} faces", file=sys.stderr)
        for cause, count in counts["failed_by"].items():
            print(f"  {count:6d} {cause}", file=sys.stderr)
    return 1 if counts[FAILED] else 0


def check_command(command: Fit, photos: list[Photo]) -> None:
    """What can be wrong before a photo is read."""
    check_source(
        photos,
        landmarks=command.landmarks,
        boxes=command.boxes,
        recipe=command.recipe,
        batch=1 if command.batch == "auto" else command.batch,
    )
    if command.fov is not None and not 0 < command.fov < 180:
        raise ValueError(f"--fov {command.fov}: an angle between 0 and 180 degrees")
    if command.landmarks is not None and command.faces == "all":
        raise ValueError("--landmarks says where the faces are: leave out --boxes and --faces, or --landmarks")
    if command.boxes is not None:
        boxes = read_boxes(command.boxes)
        if boxes and all(box_of(photo, boxes) is None for photo in photos):
            raise ValueError(f"{command.boxes}: names none of the photos; its keys are file names such as {photos[0]}")
    if not any(map(is_collection, command.sources)):
        check_folders(photos, face_counts(command))

"""Shared by the commands with a run: its options, its progress, and its end."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from facejax.engine.faces import unused_inputs
from facejax.engine.job import Engine, work_here
from facejax.engine.progress import progress
from facejax.engine.run import Run
from facejax.engine.signals import stop_on_signal
from facejax.engine.store import open_store
from facejax.export.manifest import Line
from facejax.images import Photo

NAMED = 5  # doubtful photos that are named; the manifest names all


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How a run goes through many photographs."""

    resume: bool = False
    """continue the run in OUT where it was stopped"""
    shard: str = "0/1"
    """k/n: only every n-th photo, beginning with the k-th, for several processes or a job array with one OUT"""
    engine: Literal["local", "ray"] = "local"
    """ray: spread over the workers of a Ray cluster, or those of this machine (pip install 'facejax[ray]')"""
    workers: int | None = None
    """number of Ray workers; default: one for each accelerator of the cluster, or one if there is none"""


def check_out(out: object, engine: str) -> None:
    """Raises ValueError if results cannot be written to `out`; nothing is read or written."""
    open_store(str(out))
    if engine == "ray" and str(out).startswith("memory://"):
        raise ValueError(f"--out {out}: the memory of one process is no place for several: take another URL")


def choose_engine(options: RunOptions) -> Engine:
    """The engine that does the work: this process, or Ray's workers."""
    if options.engine == "local":
        return work_here
    from facejax.engine.ray_cluster import RayCluster

    return RayCluster(options.workers)


def note_unused(photos: Sequence[Photo], *, landmarks: Path | None, boxes: Path | None) -> None:
    """Say on stderr which boxes and landmarks belong to none of the photos."""
    for line in unused_inputs(photos, landmarks=landmarks, boxes=boxes):
        print(f"facejax: note: {line}", file=sys.stderr)


def describe_doubts(names: Sequence[str]) -> str:
    """The photos with a doubtful face, in words."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} doubtful: {', '.join(names[:NAMED])}{more}"


def finish_run(run: Run, engine: Engine, tell: Callable[[Line], tuple[list[str], list[str]]]) -> bool:
    """Continue a run until everything is done (True), or until the process is asked to stop (False).

    `tell` turns a photograph's line into messages for stdout and for stderr.
    """
    with stop_on_signal() as stopped, progress(len(run.photos), run.finished) as bar:
        for lines in run.go_on(engine, lambda: bool(stopped)):
            for said, errors in map(tell, lines):
                for text in errors:
                    bar.write(text, file=sys.stderr)
                for text in said:
                    bar.write(text, file=sys.stdout)
            bar.update(len(lines), sum("error" in line for line in lines))
    if run.finished < len(run.photos):
        print(f"stopped after {run.finished} of {len(run.photos)} photos; --resume goes on", file=sys.stderr)
    return run.finished == len(run.photos)

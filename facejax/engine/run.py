"""Many photographs through a fit: in groups, noted in a manifest, here or on the workers of a Ray cluster."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from facejax.engine.batches import choose_batch, photo_bytes
from facejax.engine.pipeline import overlapped
from facejax.engine.store import open_store
from facejax.engine.worker import FAILED, OK, FitOptions, FitWorker, Group
from facejax.export.manifest import (
    MANIFEST,
    RUN,
    Line,
    check_begun,
    describe_run,
    parse_run,
)
from facejax.images import Photo, read_boxes
from facejax.images.box_files import box_count
from facejax.images.sources import taken_folders

SHARED = ("out",)  # options that a run may have otherwise when it is resumed


@runtime_checkable
class Engine(Protocol):
    """Fits groups and gives their lines, in whatever order they are done; stops early when `stopped` says so."""

    def __call__(
        self, options: FitOptions, groups: Sequence[Group], batch: int, stopped: Callable[[], bool]
    ) -> Iterator[tuple[int, list[Line]]]: ...


def fit_here(
    options: FitOptions, groups: Sequence[Group], batch: int, stopped: Callable[[], bool]
) -> Iterator[tuple[int, list[Line]]]:
    """In this process, on all of its devices: while one group is fitted the next is read and the last is written."""
    worker = FitWorker(options, batch)
    yield from overlapped((group for group in groups if not stopped()), worker.find, worker.fit, worker.write)


class Run:
    """A run in a folder or at a URL: its photographs, its groups, and what is done.

    `batch`: faces at once; None: that of the run that is resumed, or what the memory is good for. `shard`: this process
    takes every n-th photograph, beginning with the k-th (k, n), and keeps a manifest of its own.
    """

    def __init__(
        self,
        options: FitOptions,
        photos: Sequence[Photo],
        *,
        batch: int | None = None,
        shard: tuple[int, int] = (0, 1),
        resume: bool = False,
    ):
        first, every = shard
        self.options, self.photos = options, photos[first::every]
        taken = taken_folders(photos, face_counts(options))
        self.taken = {photo: taken[photo] for photo in self.photos if photo in taken}
        part = "" if every == 1 else f".{first}-of-{every}"
        self.store = open_store(options.out)
        self.manifest, self.about = (_with_part(name, part) for name in (MANIFEST, RUN))
        self.names = [photo.file for photo in self.photos]
        begun = self._begun()
        self.resumed = resume and begun is not None
        if batch is None:
            batch = int(begun["options"]["batch"]) if resume and begun else self._batch()
        elif options.faces == "largest":
            batch = min(batch, max(len(self.photos), 1))
        self.batch = batch
        if begun and resume:
            check_begun(begun, self._describe(), self.names, self.store.address())
        elif begun and 0 < (done := self._lines_there()) < len(begun["photos"]):
            raise ValueError(
                f"--out {self.store.address()}: holds a run that was stopped after {done} of "
                f"{len(begun['photos'])} photos: pass --resume to go on with it, or take another --out"
            )
        self.done = self.store.groups(self.manifest, self.names, self.batch) if self.resumed else {}

    def _batch(self) -> int:
        return choose_batch(self.options, len(self.photos), photo_bytes(self.photos))

    def _begun(self) -> dict[str, Any] | None:
        """What the run is that was begun here, if there is one."""
        try:
            return parse_run(self.store.read(self.about), self.store.address(self.about))
        except FileNotFoundError:
            return None

    def _begin(self) -> None:
        """Note what this run is: when its first group is done, so that a wrong command leaves an older run alone."""
        if not self.resumed:
            self.store.begin(self.manifest, self.names)
            with self.store.file(self.about) as path:
                describe_run(path, self._describe(), self.names)
        self.resumed = True

    def _describe(self) -> dict[str, Any]:
        options = {field.name: getattr(self.options, field.name) for field in fields(FitOptions)}
        options = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
        return {name: value for name, value in options.items() if name not in SHARED} | {"batch": self.batch}

    def _lines_there(self) -> int:
        """Of the run that was begun here, not of earlier ones."""
        return sum(b'"group": null' not in line for line in self.store.lines(self.manifest))

    @property
    def finished(self) -> int:
        """Photographs with a line."""
        return sum(map(len, self.done.values()))

    def rest(self) -> list[Group]:
        """What is still to do."""
        groups = []
        for number, begin in enumerate(range(0, len(self.photos), self.batch)):
            photos = self.photos[begin : begin + self.batch]
            taken = {photo.file: self.taken[photo].name for photo in photos if photo in self.taken}
            groups.append(Group(number, photos, taken))
        return [group for group in groups if group.number not in self.done]

    def go_on(self, engine: Engine, stopped: Callable[[], bool]) -> Iterator[list[Line]]:
        """Fit what is left; the lines of every group, when they are in the manifest."""
        rest = self.rest()
        if rest:
            self.store.check()
        for number, lines in engine(self.options, rest, self.batch, stopped) if rest else ():
            self._begin()
            # The name and the group come first in a line.
            self.done[number] = [{"file": line["file"], "group": number} | line for line in lines]
            self.store.append(self.manifest, number, self.done[number])
            yield self.done[number]
        if self.finished == len(self.photos):
            self.store.finish(self.manifest)

    def lines(self) -> list[Line]:
        """Of the photographs that are done, in their order."""
        return [line for number in sorted(self.done) for line in self.done[number]]

    def counts(self) -> dict[str, Any]:
        """Photographs by how they ended, and failures by cause."""
        lines = self.lines()
        causes = Counter(line["cause"] for line in lines if line["status"] == FAILED)
        return {
            "photos": len(lines),
            OK: sum(line["status"] == OK for line in lines),
            FAILED: sum(line["status"] == FAILED for line in lines),
            "faces": sum(len(line.get("faces", ())) for line in lines),
            "failed_by": dict(causes.most_common()),
        }


def face_counts(options: FitOptions) -> Callable[[Photo], int]:
    """How many faces of a photo share its name: with `faces="all"` each has a number, so that none meets another's."""
    boxes = {} if options.boxes is None or options.faces == "all" else read_boxes(options.boxes)
    return lambda photo: box_count(photo, boxes)


def _with_part(name: str, part: str) -> str:
    stem, _, suffix = name.partition(".")
    return f"{stem}{part}.{suffix}"


def parse_shard(text: str) -> tuple[int, int]:
    """ "2/8" to (2, 8). Raises ValueError."""
    try:
        first, every = (int(number) for number in text.split("/"))
    except ValueError:
        first, every = 0, 0
    if not 0 <= first < every:
        raise ValueError(f"--shard {text}: write k/n with 0 <= k < n, such as 0/8")
    return first, every

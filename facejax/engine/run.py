"""Run a job on many photographs: in groups, with a manifest, here or on the workers of a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from facejax.engine.batches import choose_batch, photo_bytes
from facejax.engine.job import Engine, Group, Job, make_groups
from facejax.engine.store import Store, open_store
from facejax.export.manifest import MANIFEST, RUN, Line, check_begun, describe_run, parse_run
from facejax.images import Photo
from facejax.images.sources import taken_folders


class Run:
    """A run in a folder or at a URL: its photographs, its groups, and which of them are done.

    Args:
        job: what is done with the photographs.
        photos: all of them, in an order that does not change.
        batch: photographs in a group, and faces at once; None: that of the resumed run, or as many as the memory
            allows.
        shard: (k, n): this process takes every n-th photograph, beginning with the k-th, and keeps its own manifest.
        resume: continue the run that was begun there, if there is one.

    Raises ValueError if there is an unfinished run and `resume` is not set, or if the resumed run is another one.
    """

    def __init__(
        self,
        job: Job,
        photos: Sequence[Photo],
        *,
        batch: int | None = None,
        shard: tuple[int, int] = (0, 1),
        resume: bool = False,
    ):
        first, every = shard
        self.job: Job = job
        self.photos: Sequence[Photo] = photos[first::every]
        taken = {photo: other.name for photo, other in taken_folders(photos, job.folders).items()}
        for photo in photos:
            if clash := set(job.folders(photo)) & set(job.reserved):
                taken[photo] = f"{min(clash)} of the set itself"
        self.taken: dict[Photo, str] = {photo: taken[photo] for photo in self.photos if photo in taken}
        self.part: str = "" if every == 1 else f".{first}-of-{every}"
        self.store: Store = open_store(job.options.out)
        self.manifest: str = self.name(MANIFEST)
        self.about: str = self.name(RUN)
        self.names: list[str] = [photo.file for photo in self.photos]
        begun = self._begun()
        self.resumed: bool = resume and begun is not None
        self.batch: int = self._batch(batch, begun if resume else None)
        if begun and resume:
            check_begun(begun, self._describe(), self.names, self.store.address())
        elif begun and 0 < (done := self._lines_there()) < len(begun["photos"]):
            raise ValueError(
                f"--out {self.store.address()}: holds a run that was stopped after {done} of "
                f"{len(begun['photos'])} photos: pass --resume to go on with it, or take another --out"
            )
        self.done: dict[int, list[Line]] = (
            self.store.groups(self.manifest, self.names, self.batch) if self.resumed else {}
        )

    def name(self, name: str) -> str:
        """The name of a file that each shard has: `a.json` is `a.0-of-2.json` in the first of two."""
        path = Path(name)
        return f"{path.stem}{self.part}{path.suffix}"

    def _batch(self, given: int | None, begun: dict[str, Any] | None) -> int:
        if begun is None:
            if given is not None:
                return given
            return choose_batch(self.job.options.recipe, len(self.photos), photo_bytes(self.photos))
        before, count = int(begun["options"]["batch"]), len(self.photos)
        return before if given is None or given > before == count else given  # all of them in one group, as before

    def _begun(self) -> dict[str, Any] | None:
        """The description of the run that was begun here, if there is one."""
        try:
            return parse_run(self.store.read(self.about), self.store.address(self.about))
        except FileNotFoundError:
            return None

    def _begin(self) -> None:
        """Write this run's description. Called after the first group, so that a wrong command spares an older run."""
        if not self.resumed:
            self.store.begin(self.manifest, self.names)
            with self.store.file(self.about) as path:
                describe_run(path, self._describe(), self.names)
        self.resumed = True

    def _describe(self) -> dict[str, Any]:
        options = self.job.describe() | {"batch": self.batch}
        return {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}

    def _lines_there(self) -> int:
        """The number of lines of the run that was begun here, without those of earlier runs."""
        return sum(b'"group": null' not in line for line in self.store.lines(self.manifest))

    @property
    def finished(self) -> int:
        """The number of photographs with a line."""
        return sum(map(len, self.done.values()))

    def rest(self) -> list[Group]:
        """The groups that are still to do."""
        return [one for one in make_groups(self.photos, self.batch, self.taken) if one.number not in self.done]

    def go_on(self, engine: Engine, stopped: Callable[[], bool]) -> Iterator[list[Line]]:
        """Do what is left; yields the lines of every group after they are in the manifest."""
        if rest := self.rest():
            self.store.check()
            together = self.batch if self.job.several else min(self.batch, len(self.photos))
            for number, lines in engine(self.job, rest, together, stopped):
                self._begin()
                # The name and the group come first in a line.
                self.done[number] = [{"file": line["file"], "group": number} | line for line in lines]
                self.store.append(self.manifest, number, self.done[number])
                yield self.done[number]
        if self.finished == len(self.photos):
            self.store.finish(self.manifest)

    def lines(self) -> list[Line]:
        """The lines of the photographs that are done, in their order."""
        return [line for number in sorted(self.done) for line in self.done[number]]


def parse_shard(text: str) -> tuple[int, int]:
    """ "2/8" to (2, 8). Raises ValueError."""
    try:
        first, every = (int(number) for number in text.split("/"))
    except ValueError:
        first, every = 0, 0
    if not 0 <= first < every:
        raise ValueError(f"--shard {text}: write k/n with 0 <= k < n, such as 0/8")
    return first, every

"""The work of a run is a job, which finds faces, works on them and writes results, one group after the other."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from facejax.engine.pipeline import overlapped
from facejax.export.manifest import FAILED, OK, Line
from facejax.images import Photo

TAKEN = "{}: its folder is taken (by {}); rename it"


class Group(NamedTuple):
    """Photographs that are processed together; a resumed run has the same groups."""

    number: int
    photos: Sequence[Photo]
    taken: Mapping[str, str]  # photographs whose folder is taken, by name, and by what


@runtime_checkable
class Job(Protocol):
    """What is done with photographs, such as fitting their faces.

    `find`, `work` and `write` pass a group from one to the next. Each runs in its own thread, so that one group is read
    and another written while a third is on the device. Before `load` a job consists only of its options, and can be
    sent to another process.
    """

    def __init__(self, options: Any): ...

    @property
    def options(self) -> Any:
        """A frozen dataclass; it has at least `out`, a folder or its URL, and `recipe`, a name or None."""
        ...

    @property
    def reserved(self) -> Collection[str]:
        """Names in `out` that no photograph's folder may have."""
        ...

    @property
    def several(self) -> bool:
        """Whether a photograph may have several faces, so that a group has more faces than photographs."""
        ...

    def describe(self) -> dict[str, Any]:
        """The options that must stay the same when a run is resumed."""
        ...

    def folders(self, photo: Photo) -> Sequence[str]:
        """The folders with a photograph's results, relative to `out`."""
        ...

    def load(self, together: int) -> None:
        """Load what the steps need. `together`: faces at once. Raises ValueError or OSError like the loaders."""
        ...

    def find(self, group: Group) -> Any:
        """Read the photographs and find their faces."""
        ...

    def work(self, found: Any) -> Any:
        """Do the work on the device."""
        ...

    def write(self, worked: Any) -> tuple[int, list[Line]]:
        """Write all files of the group. Returns its number, and the manifest's line of each photograph in order."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Runs a job on groups of photographs and yields their lines, in the order in which the groups are finished.

    `together` is the number of faces at once. No further group is begun once `stopped` returns True.
    """

    def __call__(
        self, job: Job, groups: Sequence[Group], together: int, stopped: Callable[[], bool]
    ) -> Iterator[tuple[int, list[Line]]]: ...


def work_here(
    job: Job, groups: Sequence[Group], together: int, stopped: Callable[[], bool] = lambda: False
) -> Iterator[tuple[int, list[Line]]]:
    """The `Engine` of this process, on all of its devices.

    Args:
        job: the job.
        groups: what to do, in this order.
        together: faces at once.
        stopped: once it returns True, no further group is begun.

    Yields: the number and lines of each group.
    """
    job.load(together)
    yield from overlapped((group for group in groups if not stopped()), job.find, job.work, job.write)


def describe_options(options: Any, kind: type) -> dict[str, Any]:
    """The options of a dataclass `kind`, without the results' place and the batch, which the run describes."""
    return {one.name: getattr(options, one.name) for one in fields(kind) if one.name not in ("out", "batch")}


def make_groups(photos: Sequence[Photo], size: int, taken: Mapping[Photo, str] | None = None) -> list[Group]:
    """Split photographs into groups of `size`. `taken` are those whose folder is taken, and by what."""
    some = [photos[begin : begin + size] for begin in range(0, len(photos), size)]
    mine = [{photo.file: (taken or {})[photo] for photo in each if photo in (taken or {})} for each in some]
    return [Group(number, *each) for number, each in enumerate(zip(some, mine, strict=True))]


def lines_of(
    group: Group, results: Mapping[Photo, Line], failures: Mapping[Photo, str], given: Mapping[str, Path | None]
) -> list[Line]:
    """The manifest's lines of a group, in the order of its photographs.

    Args:
        group: the group.
        results: the entries of photographs with results; those may have failures too.
        failures: a line of text for each of the others.
        given: options that name places, see `failure`.
    """
    lines = []
    for photo in group.photos:
        # A photograph with several faces may have results and a failure.
        line: Line = {"file": photo.file, "status": OK if photo in results else FAILED}
        if photo in failures:
            line |= failure(photo, failures[photo], given)
        lines.append(line | results.get(photo, {}))
    return lines


def failure(photo: Photo, error: str, given: Mapping[str, Path | None] | None = None) -> dict[str, str]:
    """The manifest's `error`, and its `cause`: the same without what is specific to this photo.

    Neither contains paths: the photo appears by its name, and places `given` by options appear as the option.
    """
    error = error.replace(str(photo), photo.file)
    for option, place in (given or {}).items():
        error = error if place is None else _named(error, place, option)
    cause = re.sub(r"^--[^:]*: ", "", error.removeprefix(f"{photo.file}: ")).replace(photo.name, "it")
    return {"cause": re.split(r"[;(:]", cause)[0].strip(), "error": error}


def _named(error: str, place: Path, option: str) -> str:
    """An error with an option in place of its path; a relative one may be a word of the text, such as "in"."""
    path = re.escape(str(place))
    return re.sub(path if place.is_absolute() else rf"(?<!\S){path}(?=[/:])", option, error)

"""What is done with the photographs of a run: a job, which finds, works and writes one group of them after another."""

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
    """Photographs that are worked on together, always the same ones."""

    number: int
    photos: Sequence[Photo]
    taken: Mapping[str, str]  # of those whose folder is something else's: their name to what has it


@runtime_checkable
class Job(Protocol):
    """What is done with photographs, such as fitting their faces.

    `find`, `work` and `write` hand a group from one to the next and are called in a thread each, so that one group is
    read and another written while a third is on the device. Before `load` a job is no more than its options, and can
    be sent to another process.
    """

    def __init__(self, options: Any): ...

    @property
    def options(self) -> Any:
        """A frozen dataclass; it has at least `out`, a folder or its URL, and `recipe`, a name or None."""
        ...

    @property
    def reserved(self) -> Collection[str]:
        """Names in `out` that no photograph's folder can have."""
        ...

    @property
    def several(self) -> bool:
        """Whether a photograph may give more faces than one, so that a group has more faces than photographs."""
        ...

    def describe(self) -> dict[str, Any]:
        """The options that must stay as they are when a run goes on."""
        ...

    def folders(self, photo: Photo) -> Sequence[str]:
        """Where the results of a photograph lie, relative to `out`."""
        ...

    def load(self, together: int) -> None:
        """Load what the steps need. `together`: faces at once. Raises ValueError or OSError like the loaders."""
        ...

    def find(self, group: Group) -> Any:
        """Read the photographs and find their faces."""
        ...

    def work(self, found: Any) -> Any:
        """What the device does."""
        ...

    def write(self, worked: Any) -> tuple[int, list[Line]]:
        """Write all files of the group; its number, and a line of the manifest for each photograph in their order."""
        ...


@runtime_checkable
class Engine(Protocol):
    """Does a job with groups of photographs and gives their lines, in whatever order the groups are done.

    `together`: faces at once. No more groups are begun when `stopped` says so.
    """

    def __call__(
        self, job: Job, groups: Sequence[Group], together: int, stopped: Callable[[], bool]
    ) -> Iterator[tuple[int, list[Line]]]: ...


def work_here(
    job: Job, groups: Sequence[Group], together: int, stopped: Callable[[], bool] = lambda: False
) -> Iterator[tuple[int, list[Line]]]:
    """The `Engine` of this process, on all of its devices."""
    job.load(together)
    yield from overlapped((group for group in groups if not stopped()), job.find, job.work, job.write)


def describe_options(options: Any, kind: type) -> dict[str, Any]:
    """The options that a dataclass `kind` has, but for where the results lie and the batch, which the run describes."""
    return {one.name: getattr(options, one.name) for one in fields(kind) if one.name not in ("out", "batch")}


def make_groups(photos: Sequence[Photo], size: int, taken: Mapping[Photo, str] | None = None) -> list[Group]:
    """All photographs, `size` to a group. `taken`: those that cannot have their folder, and what has it."""
    some = [photos[begin : begin + size] for begin in range(0, len(photos), size)]
    mine = [{photo.file: (taken or {})[photo] for photo in each if photo in (taken or {})} for each in some]
    return [Group(number, *each) for number, each in enumerate(zip(some, mine, strict=True))]


def lines_of(
    group: Group, results: Mapping[Photo, Line], failures: Mapping[Photo, str], given: Mapping[str, Path | None]
) -> list[Line]:
    """The manifest's lines of a group, in the order of its photographs.

    Args:
        results: what is said of the photographs that have results, which may have failures besides.
        failures: a line of text for each of the others.
        given: options that name places, see `failure`.
    """
    lines = []
    for photo in group.photos:
        line: Line = {"file": photo.file, "status": OK if photo in results else FAILED}
        if photo in failures:
            line |= failure(photo, failures[photo], given)
        lines.append(line | results.get(photo, {}))
    return lines


def failure(photo: Photo, error: str, given: Mapping[str, Path | None] | None = None) -> dict[str, str]:
    """`error` as a manifest has it, and its `cause`: the same without what is this photo's own.

    Nothing in it says where files lie: the photo goes by its name, and what options have `given` by the option.
    """
    error = error.replace(str(photo), photo.file)
    for option, place in (given or {}).items():
        error = error if place is None else error.replace(str(place), option)
    cause = re.sub(r"^--[^:]*: ", "", error.removeprefix(f"{photo.file}: ")).replace(photo.name, "it")
    return {"cause": re.split(r"[;(:]", cause)[0].strip(), "error": error}

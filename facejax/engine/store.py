"""Where the results of a run are written: in a folder, or at a URL (`facejax.engine.remote`)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from facejax.engine.remote import Remote
from facejax.export.fitted import is_face_file
from facejax.export.manifest import Line, append_group, keep_others, read_manifest
from facejax.images.sources import is_url


class Folder:
    """Results in a local or shared folder, written in place. Names are relative to it, with "/" between folders."""

    def __init__(self, place: Path):
        self.place = place

    def address(self, name: str = "") -> str:
        """The path of a file, or of the folder, for messages."""
        return str(self.place / name)

    def check(self) -> None:
        """Does nothing: a folder fails by itself when something is written. (A URL raises OSError after a trial.)"""

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is none."""
        return (self.place / name).read_bytes()

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A path to write one file to, atomically."""
        path = self.place / name
        for left in path.parent.glob(f".{path.stem}.{'?' * 8}.tmp{path.suffix}"):  # of a process that was killed
            left.unlink()
        yield path

    @contextmanager
    def face(self, name: str, own: Callable[[str], bool] = is_face_file) -> Iterator[Path]:
        """A folder to write a face's files to, without those of an earlier run; it is complete once it has
        `summary.json`. `own` says whether a name in the folder is one of a face's files."""
        self.remove_face(name, own)
        yield self.place / name

    def remove_face(self, name: str, own: Callable[[str], bool] = is_face_file) -> None:
        """Remove a face's files, and its folder where nothing else is in it."""
        folder = self.place / name
        (folder / "summary.json").unlink(missing_ok=True)  # first: it marks the folder as complete
        for path in (*folder.glob("stages/*/*"), *folder.glob("stages/*"), *folder.glob("*")):
            name = path.relative_to(folder).as_posix()
            left = path.parent == folder and path.match(".*.tmp*")  # by a process that was killed
            if (own(name) or left) and path.is_file():
                path.unlink()
            elif name.split("/")[0] == "stages" and path.is_dir():
                _remove_empty(path)
        _remove_empty(folder)

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder, relative to it, without hidden files."""
        place = self.place / folder
        return sorted(path.name for path in place.glob("*") if not path.name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove one file."""
        (self.place / name).unlink(missing_ok=True)

    def lines(self, manifest: str) -> list[bytes]:
        """The lines of a manifest as they are; the last may be incomplete. Empty if there is no manifest."""
        path = self.place / manifest
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    def groups(self, manifest: str, names: Sequence[str], batch: int) -> dict[int, list[Line]]:
        """The complete groups of a manifest, by number; see `facejax.export.manifest.read_manifest`."""
        return read_manifest(self.place / manifest, names, batch)

    def begin(self, manifest: str, names: Iterable[str]) -> None:
        """Begin a new manifest; keep only the lines of photographs that are not in `names`."""
        keep_others(self.place / manifest, names)

    def append(self, manifest: str, number: int, lines: Sequence[Line]) -> None:
        """Add the lines of a group whose files are all written."""
        append_group(self.place / manifest, lines)

    def finish(self, manifest: str) -> None:
        """Called when the lines of all groups are written."""


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # not empty, or not there
        folder.rmdir()


Store = Folder | Remote


def open_store(out: str | Path) -> Store:
    """The store for a path or URL; nothing is read or written. Raises ValueError for a URL unknown to fsspec."""
    return Remote(str(out)) if is_url(out) else Folder(Path(out))

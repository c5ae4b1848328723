"""Where the results of a run lie: in a folder, or at a URL (`facejax.engine.remote`)."""

from collections.abc import Iterable, Iterator, Sequence
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
        """Of a file, or of all, for people."""
        return str(self.place / name)

    def check(self) -> None:
        """Raises OSError where a trial shows that nothing can be written; a folder shows it by itself."""

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is none."""
        return (self.place / name).read_bytes()

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A path to write one file to, atomically."""
        yield self.place / name

    @contextmanager
    def face(self, name: str) -> Iterator[Path]:
        """A folder to write a face's files to, without those of an earlier fit; where it has its `summary.json`, it is
        whole."""
        folder = self.place / name
        remove_face(folder)
        for left in folder.glob(".*.tmp*"):  # of a process that was killed
            left.unlink()
        yield folder

    def lines(self, manifest: str) -> list[bytes]:
        """Of a manifest, as they are written; the last may be torn. None where there is no manifest."""
        path = self.place / manifest
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    def groups(self, manifest: str, names: Sequence[str], batch: int) -> dict[int, list[Line]]:
        """The whole groups of a manifest, by their number; see `facejax.export.manifest.read_manifest`."""
        return read_manifest(self.place / manifest, names, batch)

    def begin(self, manifest: str, names: Iterable[str]) -> None:
        """Begin a manifest anew: only lines of photographs that are not in `names` are kept."""
        keep_others(self.place / manifest, names)

    def append(self, manifest: str, number: int, lines: Sequence[Line]) -> None:
        """Note a group whose files are all written."""
        append_group(self.place / manifest, lines)

    def finish(self, manifest: str) -> None:
        """Called when all groups are noted."""


def remove_face(folder: Path) -> None:
    """Remove the files of a fit, and its folders of stages where nothing else is in them."""
    (folder / "summary.json").unlink(missing_ok=True)  # first: it says that the folder is whole
    for path in (*folder.glob("stages/*/*"), *folder.glob("stages/*"), *folder.glob("*")):
        name = path.relative_to(folder).as_posix()
        if is_face_file(name) and path.is_file():
            path.unlink()
        elif name.split("/")[0] == "stages" and path.is_dir():
            with suppress(OSError):  # not empty
                path.rmdir()


Store = Folder | Remote


def open_store(out: str | Path) -> Store:
    """Of a path or a URL; nothing is read or written. Raises ValueError for a URL that fsspec has nothing for."""
    return Remote(str(out)) if is_url(out) else Folder(Path(out))

"""Results at a URL that fsspec can write to: s3://, gs://, az://, sftp://, ... (fsspec comes with `facejax[ray]`).

An object store only takes whole files. So the files of a face are made in a temporary folder and then uploaded,
`summary.json` last. The manifest's lines of each group are a separate object, `manifest/<group>.jsonl`; a finished run
joins them into `manifest.jsonl`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from facejax.export.fitted import is_face_file
from facejax.export.manifest import Line, lines_to_text, other_lines, whole_groups

Result = TypeVar("Result")
TRIAL = ".facejax"  # an object that is written and removed again
REQUESTS = 16  # simultaneous requests for small objects


class Remote:
    """Like `facejax.engine.store.Folder`, at a URL. Every error of fsspec becomes an OSError that names the URL."""

    def __init__(self, url: str):
        if not url.partition("://")[2].strip("/"):
            raise ValueError(f"--out {url}: name a place there, such as s3://bucket/faces")
        try:
            from fsspec.core import url_to_fs

            self.system, root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise ValueError(
                f"--out {url}: {error}; install what it names (fsspec itself: pip install 'facejax[ray]'), "
                "or write to a folder"
            ) from None
        except Exception as error:
            raise OSError(f"--out {url}: {type(error).__name__}: {error}") from error
        self.url, self.root = url.rstrip("/"), root.rstrip("/")
        self.objects: bool = self.system.async_impl  # s3, gs, az: no folders, many requests at once
        self.turn: Any = nullcontext() if self.objects else threading.Lock()
        self.system.invalidate_cache()  # others write here too

    def address(self, name: str = "") -> str:
        """The URL of a file, or of the whole place."""
        return f"{self.url}/{name}" if name else self.url

    def check(self) -> None:
        """Writes and removes an object. Raises OSError."""
        try:
            self._write(TRIAL, b"")
            with suppress(FileNotFoundError):  # another process tries too
                self._remove(TRIAL)
        except OSError as error:
            raise OSError(f"--out {error}; files must be written and removed there") from error

    def read(self, name: str) -> bytes:
        """Raises FileNotFoundError where there is none."""
        return self._call(name, self.system.cat_file, self._path(name))

    @contextmanager
    def file(self, name: str) -> Iterator[Path]:
        """A temporary path; the file is uploaded if the block ends without an error."""
        with TemporaryDirectory() as temporary:
            path = Path(temporary, name)
            yield path
            self._send([path], Path(temporary), "")

    @contextmanager
    def face(self, name: str, own: Callable[[str], bool] = is_face_file) -> Iterator[Path]:
        """A temporary folder; its files replace an earlier run's if the block ends without an error, `summary.json`
        last. `own` says whether a name in the folder is one of a face's files."""
        with TemporaryDirectory() as temporary:
            folder = Path(temporary)
            yield folder
            last = folder / "summary.json"
            with suppress(FileNotFoundError):
                self._remove(f"{name}/summary.json")  # of an earlier run: it would mark the folder as complete
            files = sorted(path for path in folder.rglob("*") if path.is_file())
            left = self._earlier(name, own) - {path.relative_to(folder).as_posix() for path in files}
            self._each(self._remove, [f"{name}/{one}" for one in sorted(left)])
            self._send([path for path in files if path != last], folder, f"{name}/")
            self._send([last], folder, f"{name}/")

    def remove_face(self, name: str, own: Callable[[str], bool] = is_face_file) -> None:
        """Remove a face's files."""
        left = self._earlier(name, own)
        for one in sorted(left, key=lambda one: one != "summary.json"):  # first
            self._remove(f"{name}/{one}")

    def names(self, folder: str = "") -> list[str]:
        """The names in a folder, relative to it, without hidden files."""
        place = self._path(folder).rstrip("/")
        found = {str(path)[len(place) + 1 :].split("/")[0] for path in self._call(folder, self.system.find, place)}
        return sorted(name for name in found if not name.startswith("."))

    def remove(self, name: str) -> None:
        """Remove one file."""
        with suppress(FileNotFoundError):
            self._remove(name)

    def lines(self, manifest: str) -> list[bytes]:
        """The lines of a manifest, joined or not; after an interrupted join some appear twice."""
        contents = self._contents(manifest)
        lines = (line for content in contents for line in content.splitlines(keepends=True) if line.endswith(b"\n"))
        return list(dict.fromkeys(lines))

    def groups(self, manifest: str, names: Sequence[str], batch: int) -> dict[int, list[Line]]:
        """The complete groups of a manifest, by number."""
        groups: dict[int, list[Line]] = {}
        for content in self._contents(manifest):
            groups |= whole_groups(content, names, batch)[0]
        return groups

    def begin(self, manifest: str, names: Iterable[str]) -> None:
        """Begin a new manifest; keep only the lines of photographs that are not in `names`."""
        self.finish(manifest)  # of an earlier run that was killed just before
        if before := b"".join(self.lines(manifest)):
            self._write(manifest, other_lines(before, names).encode())

    def append(self, manifest: str, number: int, lines: Sequence[Line]) -> None:
        """Add the lines of a group whose files are all written."""
        self._write(f"{_folder(manifest)}/{number:08d}.jsonl", lines_to_text(lines).encode())

    def finish(self, manifest: str) -> None:
        """Join the groups; if it is interrupted it can be repeated."""
        if parts := self._parts(manifest):
            self._write(manifest, b"".join(self.lines(manifest)))
            self._each(self._remove, parts)
            if not self.objects:
                with suppress(OSError):  # results of a photograph of that name are in it
                    self._call("", self.system.rmdir, self._path(_folder(manifest)))

    def _contents(self, manifest: str) -> list[bytes]:
        """The contents of the joined manifest, then of each group's object."""
        try:
            joined = [self.read(manifest)]
        except FileNotFoundError:
            joined = []
        return joined + self._each(self.read, self._parts(manifest))

    def _parts(self, manifest: str) -> list[str]:
        folder = _folder(manifest)
        found = [path.rpartition("/")[2] for path in self._call(folder, self.system.find, self._path(folder))]
        return sorted(f"{folder}/{name}" for name in found if name.endswith(".jsonl"))

    def _earlier(self, name: str, own: Callable[[str], bool]) -> set[str]:
        """The names of a face's files that are in its folder."""
        place = self._path(name)
        found = [str(path)[len(place) + 1 :] for path in self._call(name, self.system.find, place)]
        return set(filter(own, found))

    def _write(self, name: str, content: bytes) -> None:
        self._make_folders([self._path(name)])
        self._call(name, self.system.pipe_file, self._path(name), content)

    def _remove(self, name: str) -> None:
        self._call(name, self.system.rm_file, self._path(name))

    def _send(self, files: Sequence[Path], base: Path, prefix: str) -> None:
        """Upload local files; their names are the prefix and their paths relative to `base`."""
        to = [self._path(prefix + path.relative_to(base).as_posix()) for path in files]
        self._make_folders(to)
        self._call(prefix, self.system.put, [str(path) for path in files], to)

    def _make_folders(self, paths: Sequence[str]) -> None:
        """Make the folders of files; not in an object store, which has none and would create a bucket for a typo."""
        for folder in set() if self.objects else {path.rpartition("/")[0] for path in paths}:
            self._call("", self.system.makedirs, folder, exist_ok=True)

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _each(self, function: Callable[[str], Result], names: Sequence[str]) -> list[Result]:
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(pool.map(function, names))

    def _call(self, name: str, function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        try:
            with self.turn:
                return function(*arguments, **options)
        except Exception as error:
            kinds = (FileNotFoundError, PermissionError, OSError)
            kind = next((kind for kind in kinds if isinstance(error, kind)), OSError)
            raise kind(f"{self.address(name)}: {type(error).__name__}: {error}") from error


def _folder(manifest: str) -> str:
    return manifest.removesuffix(".jsonl")

"""Sources of photographs: files, folders, lists, tar archives (WebDataset) and Parquet tables.

Everything is listed first, which reads names only, so that a run knows its photographs and their order. Pixels are read
one photograph at a time, where they are needed. A URL (s3://, gs://, https://, ...) is read through fsspec.
"""

import io
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
ARCHIVES = (".tar", ".parquet")
IMAGE_COLUMNS = ("image", "jpg", "jpeg", "png", "webp", "bytes", "image_bytes", "content")
NAME_COLUMNS = ("file_name", "filename", "path", "key", "__key__", "id")


@dataclass(frozen=True)
class Photo:
    """The place of one photograph. Small, so it can be sent to another process in place of pixels."""

    file: str  # its name in its collection, with "/" between folders
    source: str  # path or URL of the file that contains it
    offset: int = 0  # of its bytes in a tar archive
    size: int | None = None  # number of its bytes; None: the whole file
    row: int | None = None  # its row in a Parquet table

    @property
    def name(self) -> str:
        return PurePosixPath(self.file).name

    @property
    def stem(self) -> str:
        return PurePosixPath(self.folder).name

    @property
    def folder(self) -> str:
        """The folder of its results: its name with subfolders, without suffix, never outside the output folder."""
        path = PurePosixPath(self.file)
        parts = [*path.parent.parts, path.stem]
        return "/".join(part for part in parts if part not in ("", ".", "..", path.anchor)) or "photo"

    def folders(self, faces: int) -> list[str]:
        """The folder of each face's results; several faces get <stem>_0, <stem>_1, ..."""
        return [self.folder] if faces == 1 else [f"{self.folder}_{k}" for k in range(faces)]

    def __str__(self) -> str:
        return self.source if self.size is None and self.row is None else f"{self.source}: {self.file}"

    def open(self) -> Any:
        """Its bytes as a file. Raises OSError, or ValueError when the table has none."""
        if self.row is not None:
            return io.BytesIO(_table(self.source).image(self.row))
        if self.size is None:
            return open_file(self.source)
        with open_file(self.source) as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))


def photo_file(path: str | Path) -> Photo:
    """A photograph that is a single file, named by its file name."""
    return Photo(_readable(PurePosixPath(Path(path).as_posix()).name), str(path))


def list_photos(sources: Sequence[str | Path], *, without: str | Path | None = None) -> list[Photo]:
    """All photographs of some sources, in the order of the sources; those of a folder in the order of their names.

    A source is a photo, a folder (with its subfolders, without hidden files), a `.txt` list (a path or URL per line,
    relative to the list's folder), a `.tar` archive or a `.parquet` table. Folders and lists may contain archives and
    tables. A missing photo is only found when it is read.

    `without` is the folder of results; it is left out of a folder that contains it. Raises ValueError or
    FileNotFoundError for a collection that is missing or empty or is `without` itself, and when two photographs have
    one name.
    """
    photos = [photo for source in sources for photo in _photos_of(str(source), without)]
    seen: dict[str, Photo] = {}
    for photo in photos:
        if (other := seen.setdefault(photo.file, photo)) is not photo:
            raise ValueError(f"{photo} and {other} would both write to {photo.folder}/: rename one, or take it alone")
    return photos


def taken_folders(
    photos: Iterable[Photo], folders_of: Callable[[Photo], Sequence[str]] = lambda photo: [photo.folder]
) -> dict[Photo, Photo]:
    """Those that would write where an earlier one does already, and that earlier one."""
    first: dict[str, Photo] = {}
    taken: dict[Photo, Photo] = {}
    for photo in photos:
        folders = folders_of(photo)
        other = next((first[folder] for folder in folders if first.get(folder, photo) != photo), None)
        if other is None:
            first |= dict.fromkeys(folders, photo)
        else:
            taken[photo] = other
    return taken


def check_folders(
    photos: Iterable[Photo], folders_of: Callable[[Photo], Sequence[str]] = lambda photo: [photo.folder]
) -> None:
    """Raises ValueError where two photographs would write into one folder, see `taken_folders`."""
    for photo, other in taken_folders(photos, folders_of).items():
        folder = next(one for one in folders_of(photo) if one in folders_of(other))
        raise ValueError(f"{photo} and {other} would both write to {folder}/: rename one, or take it alone")


def _readable(name: str) -> str:
    """A file's name without bytes that are not text, which a manifest could not hold."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def is_collection(source: str | Path) -> bool:
    """Whether the source is something other than a single photograph."""
    suffix = PurePosixPath(str(source)).suffix.lower()
    return suffix in (*ARCHIVES, ".txt") or (not is_url(source) and Path(source).is_dir()) or str(source).endswith("/")


def is_url(source: str | Path) -> bool:
    """Whether it has a scheme, such as s3://bucket/a.jpg."""
    return "://" in str(source)


def open_file(path: str) -> Any:
    """Open a local file or a URL for reading."""
    return _fsspec(path).open(path, "rb") if is_url(path) else open(path, "rb")


def _photos_of(source: str, without: str | Path | None) -> list[Photo]:
    suffix = PurePosixPath(source).suffix.lower()
    if not is_url(source) and suffix not in SUFFIXES and not Path(source).exists():
        raise FileNotFoundError(f"{source}: no such photo, folder, list, archive or table")
    if suffix == ".txt":
        found = _photos_of_list(source)
    elif suffix in ARCHIVES:
        found = _photos_of_archive(source)
    elif source.lower().endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")):
        raise ValueError(f"{source}: photos are read in place, which a compressed archive does not allow: unpack it")
    elif is_collection(source):
        found = list(_photos_of_folder(source, without))
    else:
        return [photo_file(source)]
    if not found:
        raise ValueError(f"{source}: holds no photographs ({', '.join(SUFFIXES)})")
    return found


def _photos_of_folder(folder: str, without: str | Path | None) -> Iterator[Photo]:
    """Its photographs, and those in its archives and tables."""
    folder = folder.removeprefix("file://")
    found = _remote_files(folder, without) if is_url(folder) else _local_files(Path(folder), without)
    for name in sorted(found):
        suffix = PurePosixPath(name).suffix.lower()
        if any(part.startswith(".") for part in name.split("/")):
            continue
        if suffix in SUFFIXES:
            yield Photo(_readable(name), found[name])
        elif suffix in ARCHIVES:
            yield from _photos_of_archive(found[name])


def _local_files(folder: Path, without: str | Path | None) -> dict[str, str]:
    """Paths of the files in a folder, except results, by their names in it."""
    found = {path.relative_to(folder).as_posix(): str(path) for path in folder.rglob("*") if path.is_file()}
    if without is None:
        return found
    root, out = folder.resolve(), Path(str(without).removeprefix("file://")).resolve()
    if out.is_relative_to(root):
        _check_apart(out == root, without)
        return {name: path for name, path in found.items() if not Path(path).resolve().is_relative_to(out)}
    if root.is_relative_to(out):  # the output folder lies inside, so a subfolder may be named like it
        below = f"{root.relative_to(out).as_posix()}/"
        _check_apart(any(name.startswith(below) for name in found), without)
    return found


def _remote_files(folder: str, without: str | Path | None) -> dict[str, str]:
    """The same for the URL of a folder."""
    folder, out = folder.rstrip("/"), str(without).rstrip("/")
    _check_apart(out == folder, without)
    system = _fsspec(folder)
    root = system._strip_protocol(folder).rstrip("/")
    urls = {name: f"{folder}/{name}" for name in (str(path)[len(root) + 1 :] for path in system.find(root))}
    if out.startswith(f"{folder}/"):
        return {name: url for name, url in urls.items() if not url.startswith(f"{out}/")}
    return urls


def _check_apart(same: bool, out: str | Path | None) -> None:
    """Refuse an output folder among the photographs: the next run would take results for photographs."""
    if same:
        raise ValueError(f"--out {out}: results would lie among the photographs; use another folder")


def _photos_of_list(path: str) -> list[Photo]:
    with open_file(path) as file:
        lines = [line.strip() for line in file.read().decode("utf-8", "replace").splitlines()]
    base = path.rpartition("/")[0] if is_url(path) else str(Path(path).parent)
    photos = []
    for line in (line for line in lines if line and not line.startswith("#")):
        place = line if is_url(line) or line.startswith("/") else f"{base}/{line}" if base else line
        if PurePosixPath(line).suffix.lower() in ARCHIVES:
            photos += _photos_of_archive(place)
        else:
            photos.append(Photo(line.rpartition("://")[2].lstrip("/"), place))
    return photos


def _photos_of_archive(path: str) -> list[Photo]:
    return list(_photos_of_tar(path) if PurePosixPath(path).suffix.lower() == ".tar" else _photos_of_table(path))


def _photos_of_tar(path: str) -> Iterator[Photo]:
    """The members with a photo's suffix; reads headers only."""
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                name = _readable(member.name.removeprefix("./"))
                if member.isfile() and PurePosixPath(name).suffix.lower() in SUFFIXES:
                    yield Photo(name, path, member.offset_data, member.size)
    except tarfile.TarError as error:
        raise ValueError(f"{path}: not a whole tar archive ({error}); pack it again, without compression") from error


def _photos_of_table(path: str) -> list[Photo]:
    return [Photo(name, path, row=row) for row, name in enumerate(_table(path).names)]


class Table:
    """A Parquet file with encoded images in one column: bytes, or the {bytes, path} of Hugging Face data sets."""

    def __init__(self, path: str):
        self.path: str = path
        with self._opened() as table:
            schema, metadata = table.schema_arrow, table.metadata
            column = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
            if column is None:
                raise ValueError(f"{path}: no column of images; name one of its columns {IMAGE_COLUMNS[0]!r}")
            self.column: str = column
            self.names = self._names(table, str(schema.field(column).type))
            counts = [metadata.row_group(k).num_rows for k in range(table.num_row_groups)]
        self.starts: list[int] = [sum(counts[:k]) for k in range(len(counts) + 1)]
        self.images: Any = lru_cache(2)(self._images)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            import pyarrow.parquet as parquet
        except ImportError:
            raise ValueError(f"{self.path}: reading Parquet needs pyarrow: pip install 'facejax[parquet]'") from None
        with open_file(self.path) as file:
            try:
                table = parquet.ParquetFile(file)
            except Exception as error:
                raise ValueError(f"{self.path}: not a whole Parquet file ({str(error).splitlines()[0]})") from error
            yield table

    def _names(self, table: Any, kind: str) -> list[str]:
        """Names of all rows, from a column of names or else numbers."""
        column = next((name for name in NAME_COLUMNS if name in table.schema_arrow.names), None)
        stem, count = PurePosixPath(self.path).stem, table.metadata.num_rows
        if column is not None:
            found = _texts(table.read([column]).column(0))
        elif kind.startswith("struct") and "path" in kind:
            found = _texts(table.read([f"{self.column}.path"]).flatten().column(0))
        else:
            found = [None] * count
        names = [f"{stem}/{row:08d}" if name is None else name for row, name in enumerate(found)]
        return names if len(set(names)) == len(names) else [f"{stem}/{row:08d}" for row in range(count)]

    def image(self, row: int) -> bytes:
        group = max(k for k, start in enumerate(self.starts[:-1]) if start <= row)
        found = self.images(group)[row - self.starts[group]]
        # leaves out its path, which may not be text
        found = found.get("bytes") if isinstance(found, Mapping) else found
        value = None if found is None else found.as_py()
        if not value:
            raise ValueError(f"{self.path}: {self.names[row]}: the table holds no image there")
        return value

    def _images(self, group: int) -> Any:
        with self._opened() as table:
            return table.read_row_group(group, [self.column]).column(0)


_table = lru_cache(8)(Table)


def _texts(column: Any) -> list[str | None]:
    """The values of a column as readable text; None where there is none."""
    if str(column.type) in ("string", "large_string"):  # pyarrow itself rejects bytes that are not text
        column = column.cast(str(column.type).replace("string", "binary"))
    values = column.to_pylist()
    values = [value.decode("utf-8", "replace") if isinstance(value, bytes) else value for value in values]
    return [None if value is None else str(value) for value in values]


def _fsspec(url: str) -> Any:
    """The file system of a URL."""
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)[0]
    except ImportError as error:
        raise ValueError(f"{url}: {error}; install what it names, or copy the files here first") from None

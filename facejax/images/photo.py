"""The place of one photograph: a file, a URL, or an entry of an archive or table."""

import os
import unicodedata
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Photo:
    """The place of one photograph. Small, so it can be sent to another process in place of pixels."""

    file: str  # its name in its collection, with "/" between folders
    source: str  # path or URL of the file that contains it
    offset: int = 0  # of its bytes in a tar archive
    size: int | None = None  # number of its bytes; None: the whole file
    row: int | None = None  # its row in a Parquet table, or its number in a zip archive
    shard: str = ""  # its archive's name, where `file` begins with it to tell photographs of several archives apart

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

    @property
    def packed(self) -> bool:
        """Whether it lies in an archive or a table."""
        return self.size is not None or self.row is not None

    def __str__(self) -> str:
        return f"{self.source}: {self.file}" if self.packed else self.source

    def open(self) -> Any:
        """Its bytes as a file. Raises OSError, or ValueError when its archive or table does not give them."""
        if self.row is not None:
            from facejax.images import archives, tables

            zipped = place_suffix(self.source) == ".zip"
            return BytesIO((archives.read_zip if zipped else tables.read_row)(self.source, self.row))
        if self.size is None:
            return open_file(self.source)
        with open_file(self.source) as file:
            file.seek(self.offset)
            return BytesIO(file.read(self.size))


def photo_file(path: str | Path) -> Photo:
    """A photograph that is a single file, named by its file name."""
    return Photo(readable(PurePosixPath(Path(path).as_posix()).name), str(path))


def readable(name: str) -> str:
    """A file's name without bytes that are not text, which a manifest could not hold."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def name_forms(name: str) -> list[str]:
    """A name, and the same with accents as other systems write them: in one with their letters, or apart."""
    return list(dict.fromkeys([name, *(unicodedata.normalize(form, name) for form in ("NFC", "NFD"))]))


def is_url(source: str | Path) -> bool:
    """Whether it has a scheme, such as s3://bucket/a.jpg."""
    return "://" in str(source)


def place_suffix(place: str | Path) -> str:
    """The suffix of a path or URL in lower case; of a web address without its query."""
    text = str(place)
    return PurePosixPath(urlsplit(text).path if text.startswith(("http://", "https://")) else text).suffix.lower()


def open_file(path: str) -> Any:
    """Open a local file or a URL for reading."""
    return file_system(path).open(path, "rb") if is_url(path) else open(path, "rb")


def file_stamp(path: str) -> tuple[int, int] | None:
    """What changes when a local file is written anew; None for a URL. Raises OSError."""
    if is_url(path):
        return None
    status = os.stat(path)
    return status.st_mtime_ns, status.st_size


def read_head(photo: Photo, count: int = 64) -> bytes:
    """The first bytes of a photograph; none where they cannot be read."""
    try:
        if photo.row is not None:
            return photo.open().read(count)
        with open_file(photo.source) as file:
            file.seek(photo.offset)
            return file.read(count if photo.size is None else min(count, photo.size))
    except (OSError, ValueError):
        return b""


def file_system(url: str) -> Any:
    """fsspec's file system of a URL."""
    try:
        import fsspec

        return fsspec.core.url_to_fs(url)[0]
    except ImportError as error:
        raise ValueError(f"{url}: {error}; install what it names, or copy the files here first") from None

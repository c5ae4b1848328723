"""Photographs in tar and zip archives. Only their directories are read to list them; the archives are not unpacked."""

import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from facejax.images.kinds import ENCRYPTED, LINK, Why, sort_files
from facejax.images.photo import Photo, file_stamp, is_url, open_file, read_head, readable

Listed = tuple[list[Photo], list[tuple[str, Why]]]  # the photographs of a collection, and what is left out of it


def list_tar(path: str) -> Listed:
    """The photographs in a tar archive, in its order. Raises ValueError for a damaged or compressed one."""
    members: dict[int, tuple[Photo | None, str, str]] = {}  # (where its bytes are, its name, what it links to)
    places: dict[str, Photo] = {}
    try:
        with open_file(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            for number, member in enumerate(archive):
                name = readable(member.name.removeprefix("./"))
                if member.isfile():
                    places[name] = Photo(name, path, member.offset_data, member.size)
                    members[number] = (places[name], name, "")
                elif member.islnk() or member.issym():
                    base = posixpath.dirname(name) if member.issym() else ""
                    members[number] = (None, name, posixpath.normpath(posixpath.join(base, readable(member.linkname))))
    except tarfile.TarError as error:
        raise ValueError(f"{path}: not a whole tar archive ({error}); pack it again, without compression") from error
    found: list[Photo] = []
    links: list[str] = []
    for photo, name, target in members.values():
        if photo is None and target in places:
            photo = replace(places[target], file=name)
        if photo is None:
            links.append(name)
        else:
            found.append(photo)
    photos, left = _sorted(found, lambda photo: read_head(photo))
    return photos, [*left, *((name, LINK) for name in sort_files(links)[0])]


def list_zip(path: str) -> Listed:
    """The photographs in a zip archive, in its order. Raises ValueError for a damaged one."""
    archive = _zip(path)
    found, closed = [], []
    for number, member in enumerate(archive.infolist()):
        name = readable(member.filename.replace("\\", "/").removeprefix("./"))
        if member.is_dir():
            continue
        if member.flag_bits & 1:
            closed.append(name)
        else:
            found.append(Photo(name, path, row=number))
    photos, left = _sorted(found, lambda photo: _zip_head(path, photo))
    return photos, [*left, *((name, ENCRYPTED) for name in sort_files(closed)[0])]


def read_zip(path: str, number: int) -> bytes:
    """The bytes of a member of a zip archive. Raises OSError or ValueError."""
    archive = _zip(path)
    member = archive.infolist()[number]
    try:
        return archive.read(member)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{path}: {readable(member.filename)}: cannot be unpacked ({reason})") from error


def _sorted(found: list[Photo], head: Callable[[Photo], bytes]) -> Listed:
    """Sort an archive's files; a name that is there twice stays there twice."""
    first = {photo.file: photo for photo in reversed(found)}
    names = [photo.file for photo in found]
    kept, left = sort_files(names, archives=False, head=lambda name: head(first[name]), place=lambda name: first[name])
    chosen = set(kept)
    return [photo for photo in found if photo.file in chosen], left


def _zip_head(path: str, photo: Photo) -> bytes:
    archive = _zip(path)
    try:
        with archive.open(archive.infolist()[photo.row or 0]) as file:
            return file.read(64)
    except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError):
        return b""


def _zip(path: str) -> zipfile.ZipFile:
    """An opened archive; it is kept, because its directory would be read again for every photograph."""
    path = path.removeprefix("file://")
    return _opened_zip(path, file_stamp(path))


@lru_cache(8)
def _opened_zip(path: str, stamp: object) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(open_file(path) if is_url(path) else path)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: not a whole zip archive ({error}); pack it again") from error

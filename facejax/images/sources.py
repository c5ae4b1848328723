"""Sources of photographs: files, folders, lists, tar and zip archives, and Parquet tables.

Everything is listed first, which reads names only, so that a run knows its photographs and their order. Pixels are read
one photograph at a time, where they are needed. A URL (s3://, gs://, https://, ...) is read through fsspec.
"""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from facejax.images.archives import Listed, list_tar, list_zip
from facejax.images.kinds import ARCHIVES, PACKED, Why, is_photo_name, sort_files, suffix_of
from facejax.images.photo import (
    Photo,
    file_system,
    is_url,
    name_forms,
    open_file,
    photo_file,
    place_suffix,
    read_head,
    readable,
)
from facejax.images.tables import list_table
from facejax.text_files import decode_text, text_lines

__all__ = ["LeftOut", "Listing", "Photo", "check_folders", "is_collection", "is_url", "list_photos", "list_sources"]
__all__ += ["open_file", "photo_file", "taken_folders"]

log: logging.Logger = logging.getLogger(__name__)

NO_LISTS = (".csv", ".tsv", ".lst", ".list", ".json", ".jsonl")  # suffixes of lists that are not read
_READERS = {".tar": list_tar, ".zip": list_zip, ".parquet": list_table}


@dataclass(frozen=True)
class LeftOut:
    """What is left out of one source. As text it is one line."""

    source: str
    files: tuple[tuple[str, Why], ...]  # their names, and why

    @property
    def photographs(self) -> bool:
        """Whether photographs are among them, or may be."""
        return any(why.photographs for _, why in self.files)

    def __str__(self) -> str:
        counts = Counter(why for _, why in self.files)
        first = {why: name for name, why in reversed(self.files)}
        return f"left out of {self.source}: " + ", ".join(
            f"{count} {_words(why, first[why])}"
            for why, count in sorted(counts.items(), key=lambda one: (not one[0].photographs, -one[1]))
        )


@dataclass(frozen=True)
class Listing:
    """The photographs of some sources, and what is left out of each."""

    photos: list[Photo]
    left_out: list[LeftOut]

    @property
    def whole(self) -> bool:
        """Whether no photograph is left out."""
        return not any(one.photographs for one in self.left_out)


def list_photos(sources: Sequence[str | Path], *, without: str | Path | None = None) -> list[Photo]:
    """The photographs of some sources, see `list_sources`; what is left out is logged as a warning."""
    listing = list_sources(sources, without=without)
    for one in listing.left_out:
        log.warning("%s", one)
    return listing.photos


def list_sources(sources: Sequence[str | Path], *, without: str | Path | None = None) -> Listing:
    """All photographs of some sources, in the order of the sources; those of a folder in the order of their names.

    A source is a photo, a folder (with its subfolders, without hidden files), a `.txt` list (a path or URL per line,
    relative to the list's folder), a `.tar` or `.zip` archive or a `.parquet` table. Folders and lists may contain
    archives and tables. A missing photo is only found when it is read.

    Photographs of several archives or tables that would share a folder of results get their archive's name as a folder
    in front of their own, and so do all others of those archives. Of photographs that still have one name the later
    ones are renamed to `name#2` and so on; their folder of results stays taken.

    `without` is the folder of results; it is left out of a folder that contains it. Raises ValueError or
    FileNotFoundError for a collection that is missing or empty or is `without` itself.
    """
    photos: list[Photo] = []
    left_out: list[LeftOut] = []
    for source in map(str, sources):
        found, left = _photos_of(source, without)
        photos += found
        left_out += [LeftOut(source, tuple(left))] if left else []
    return Listing(_unique(_apart(photos)), left_out)


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


def is_collection(source: str | Path) -> bool:
    """Whether the source is something other than a single photograph."""
    if place_suffix(source) in (*ARCHIVES, ".txt") or str(source).endswith("/"):
        return True
    return not is_url(source) and Path(source).is_dir()


def _photos_of(source: str, without: str | Path | None) -> Listed:
    suffix = place_suffix(source)
    if not is_url(source) and not is_photo_name(source) and not Path(source).exists():
        raise FileNotFoundError(f"{source}: no such photo, folder, list, archive or table")
    if suffix in NO_LISTS and not is_url(source) and Path(source).is_file():
        raise ValueError(f"{source}: a list of photographs is a .txt file, with a path on each line")
    if not is_url(source) and Path(source).is_dir():
        found, left = _photos_of_folder(source, without)
    elif suffix == ".txt":
        found, left = _photos_of_list(source)
    elif suffix in ARCHIVES:
        found, left = _READERS[suffix](source)
    elif suffix_of(source) in PACKED:
        raise ValueError(f"{source}: photos are read in place, which a compressed archive does not allow: unpack it")
    elif is_collection(source):
        found, left = _photos_of_folder(source, without)
    else:
        return [photo_file(source)], []
    if not found:
        raise ValueError(f"{source}: holds no photographs" + (f"; {LeftOut(source, tuple(left))}" if left else ""))
    return found, left


def _photos_of_folder(folder: str, without: str | Path | None) -> Listed:
    """Its photographs, and those in its archives and tables."""
    folder = folder.removeprefix("file://")
    if is_url(folder):
        places, left = _remote_files(folder, without), []
    else:
        places, left = _local_files(Path(folder), without)
    if is_url(folder):
        kept, others = sort_files(sorted(places))
    else:
        here = {name: photo_file(path) for name, path in places.items()}
        kept, others = sort_files(
            sorted(places), head=lambda name: read_head(here[name]), place=lambda name: here[name]
        )
    photos: list[Photo] = []
    left += others
    for name in kept:
        if suffix_of(name) in ARCHIVES:
            found, inner = _inner(places[name], name)
            photos += found
            left += inner
        else:
            photos.append(Photo(readable(name), places[name]))
    return photos, left


def _local_files(folder: Path, without: str | Path | None) -> tuple[dict[str, str], list[tuple[str, Why]]]:
    """Paths of the files in a folder, except results, by their names in it; and subfolders that cannot be read."""
    found: dict[str, str] = {}
    closed: list[tuple[str, Why]] = []
    known: set[str] = set()

    def refuse(error: OSError) -> None:
        closed.append((str(error.filename), Why(f"not readable ({error.strerror})", "", True)))

    for root, folders, files in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(root)
        if real in known:  # by a link; each folder is read once, so no circle of links is endless
            folders.clear()
            continue
        known.add(real)
        folders.sort()
        for path in (Path(root, file) for file in files):
            if path.is_file() or path.is_symlink():  # a link without a file fails by its name when it is read
                found[path.relative_to(folder).as_posix()] = str(path)
    if without is None:
        return found, closed
    root, out = folder.resolve(), Path(str(without).removeprefix("file://")).resolve()
    if out.is_relative_to(root):
        _check_apart(out == root, without)
        return {name: path for name, path in found.items() if not Path(path).resolve().is_relative_to(out)}, closed
    if root.is_relative_to(out):  # the output folder lies inside, so a subfolder may be named like it
        below = f"{root.relative_to(out).as_posix()}/"
        _check_apart(any(name.startswith(below) for name in found), without)
    return found, closed


def _remote_files(folder: str, without: str | Path | None) -> dict[str, str]:
    """The same for the URL of a folder."""
    folder, out = folder.rstrip("/"), str(without).rstrip("/")
    _check_apart(out == folder, without)
    system = file_system(folder)
    root = system._strip_protocol(folder).rstrip("/")
    urls = {name: f"{folder}/{name}" for name in (str(path)[len(root) + 1 :] for path in system.find(root))}
    if out.startswith(f"{folder}/"):
        return {name: url for name, url in urls.items() if not url.startswith(f"{out}/")}
    return urls


def _check_apart(same: bool, out: str | Path | None) -> None:
    """Refuse an output folder among the photographs: the next run would take results for photographs."""
    if same:
        raise ValueError(f"--out {out}: results would lie among the photographs; use another folder")


def _photos_of_list(path: str) -> Listed:
    with open_file(path) as file:
        lines = [_unquoted(line) for line in text_lines(decode_text(file.read(), path))]
    base = path.rpartition("/")[0] if is_url(path) else str(Path(path).parent)
    lines = [line for line in lines if line and not line.startswith("#")]
    kept, left = sort_files(lines, listed=True, place=lambda line: photo_file(_listed_place(line, base)[1]))
    wanted, photos = set(kept), []
    for line in (line for line in lines if line in wanted):
        line, place = _listed_place(line, base)
        if place_suffix(place) in ARCHIVES:
            found, inner = _inner(place, line)
            photos += found
            left += inner
        else:
            photos.append(Photo(readable(line.rpartition("://")[2].lstrip("/")), place))
    return photos, left


def _unquoted(line: str) -> str:
    """A line without the quotation marks that Windows and shells put around a path."""
    return line[1:-1] if len(line) > 2 and line[0] == line[-1] and line[0] in "\"'" else line


def _listed_place(line: str, base: str) -> tuple[str, str]:
    """A line of a list, and where it leads.

    Where there is no such file, the line is tried with the slashes of Windows turned, with accents as other systems
    write them (apart from their letters, or in one), and with its bytes as they stand in the list, for names that are
    not Unicode.
    """

    def place(text: str) -> str:
        return text if is_url(text) or text.startswith("/") else f"{base}/{text}" if base else text

    tries = [line, line.replace("\\", "/"), *name_forms(line)]
    for encoding in ("cp1252", "latin-1"):
        try:
            tries.append(os.fsdecode(line.encode(encoding)))
        except UnicodeEncodeError:
            continue
    if is_url(place(line)):
        return line, place(line)
    found = next((text for text in tries if os.path.exists(place(text))), line)
    return found, place(found)


def _inner(place: str, name: str) -> Listed:
    """The photographs of an archive or table in a folder or list; one that cannot be read is left out of it."""
    try:
        found, left = _READERS[place_suffix(place)](place)
    except (ValueError, OSError) as error:
        reason = " ".join(str(error).removeprefix(f"{place}: ").split())
        return [], [(name, Why(f"{place_suffix(place)} ({name}: {reason})", "", True))]
    return found, [(f"{name}/{file}", why) for file, why in left]


def _apart(photos: list[Photo]) -> list[Photo]:
    """Photographs of archives that would share a folder, with the archive's name in front of their own."""
    users: dict[str, set[str]] = {}
    for photo in photos:
        users.setdefault(photo.folder, set()).add(photo.source if photo.packed else "")
    shared = {source for sources in users.values() if len(sources) > 1 for source in sources if source}
    names = _archive_names(sorted(shared))

    def named(photo: Photo) -> Photo:
        shard = names[photo.source]
        return replace(photo, file=f"{shard}/{photo.file.lstrip('/')}", shard=shard)

    return [named(one) if one.source in shared else one for one in photos]


def _archive_names(sources: Sequence[str]) -> dict[str, str]:
    """The archives' names; with their suffix and the folders around them as far as it takes to tell them apart."""
    paths = {source: PurePosixPath(source if is_url(source) else os.path.abspath(source)) for source in sources}
    names: dict[str, str] = {}
    for count in range(1, max((len(path.parts) for path in paths.values()), default=0) + 1):
        for end in ("stem", "name"):
            parts = {source: [*path.parts[1:-1], getattr(path, end)] for source, path in paths.items()}
            names = {source: readable("/".join(one[-count:])) for source, one in parts.items()}
            if len(set(names.values())) == len(names):
                return names
    return names


def _unique(photos: list[Photo]) -> list[Photo]:
    """Photographs whose names differ; a later one of the same name keeps its folder of results, which is then taken."""
    count: Counter[str] = Counter()
    unique: list[Photo] = []
    for photo in photos:
        count[photo.file] += 1
        if count[photo.file] > 1:
            dot = "" if PurePosixPath(photo.file).suffix else "."  # so that its stem stays what it was
            photo = replace(photo, file=f"{photo.file}{dot}#{count[photo.file]}")
        unique.append(photo)
    return unique


def _words(why: Why, name: str) -> str:
    """A kind of files in words, with what helps, or with an example where the kind does not tell."""
    if why.hint:
        return f"{why.kind} ({why.hint})"
    return why.kind if why.kind.startswith(".") or "(" in why.kind else f"{why.kind} (such as {name})"

"""`facejax build-uv-dataset`: a folder of photographs to a set of textures; killed and started again it goes on."""

import json
import re
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tyro
from tqdm import tqdm

from facejax.commands.regress import boxes_of
from facejax.commands.textures import (
    Fitted,
    Setup,
    TextureOptions,
    about,
    check_options,
    cut,
    find_portraits,
    fit_figures,
    fit_portraits,
    set_up,
    texture_figures,
    unwrap_fitted,
    write_texture,
)
from facejax.export import versions, write_summary
from facejax.export.uv_dataset import write_crop, write_index, write_sheets
from facejax.unwrap.dataset import (
    FAILED,
    FILTERED,
    OK,
    Filters,
    Line,
    append_group,
    count_lines,
    difference,
    read_manifest,
)
from facejax.unwrap.photos import Unwrapped

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
RESERVED = ("filtered", "sheets", "manifest.jsonl", "run.json", "summary.json", "index.html")
STOPPED = 128 + signal.SIGTERM


@dataclass(frozen=True, kw_only=True)
class BuildUvDataset(TextureOptions, Filters):
    """A set of textures from all photos of a folder: OUT/<stem>/albedo.png, filled.png, photo.jpg and summary.json.

    Also OUT/manifest.jsonl (every photo with its figures), index.html, sheets/ to look through, and summary.json with
    the counts. What the filters leave out goes to OUT/filtered/. The same command goes on where it was stopped.
    """

    folder: tyro.conf.Positional[Path]
    """folder of photographs, and of folders of them"""
    out: Path
    """folder for the results"""
    size: int = 512
    """texels a side: a power of two from 64 to 4096"""


def run_build_uv_dataset(command: BuildUvDataset) -> int:
    """Returns the exit status: 0, 1 when the set is empty, 143 when it was asked to stop."""
    photos = list_photos(command.folder, command.out)
    check_options(photos, command)
    boxes = [None] * len(photos) if command.boxes is None else boxes_of(tuple(photos), command.boxes)
    names = [path.relative_to(command.folder).as_posix() for path in photos]
    open_run(command, names)
    manifest = command.out / "manifest.jsonl"
    lines = read_manifest(manifest, names, command.batch)
    setup = set_up(command) if len(lines) < len(photos) else None
    taken = taken_names(photos)
    with stop_on_signal() as stopped, progress(len(photos), len(lines)) as bar:
        for begin in range(len(lines), len(photos), command.batch):
            assert setup is not None
            some = slice(begin, begin + command.batch)
            group = build_group(setup, command, photos[some], names[some], boxes[some], taken)
            group = [{"file": line.pop("file"), "group": begin // command.batch, **line} for line in group]
            append_group(manifest, group)
            lines += group
            bar.update(len(group))
            if stopped:
                break
    if len(lines) < len(photos):
        print(f"stopped after {len(lines)} of {len(photos)} photos; the same command goes on", file=sys.stderr)
        return STOPPED
    return finish(command.out, lines)


def list_photos(folder: Path, out: Path) -> list[Path]:
    """All files with a photo's suffix, hidden ones and the results left out, in the order of their names."""
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of photographs")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    kept = [
        path
        for path in found
        if not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and not path.resolve().is_relative_to(out.resolve())
    ]
    if not kept:
        raise ValueError(f"{folder}: holds no photographs ({', '.join(SUFFIXES)})")
    return sorted(kept, key=lambda path: path.relative_to(folder).as_posix())


def open_run(command: BuildUvDataset, names: list[str]) -> None:
    """Note what this run is in OUT/run.json; where one was begun, check that it is the same."""
    options = {field.name: getattr(command, field.name) for field in fields(command)}
    options = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    del options["folder"], options["out"]
    path = command.out / "run.json"
    if not path.exists():
        if command.out.exists() and any(not one.name.startswith(".") for one in command.out.iterdir()):
            raise ValueError(f"--out {command.out}: holds other files, but no run.json of a set: name an empty folder")
        write_summary(path, {"options": options, "versions": versions(), "photos": names})
        return
    begun = json.loads(path.read_text(encoding="utf-8"))
    for part, new in (("options", options), ("versions", versions())):
        if (words := difference(begun[part], new)) is not None:
            raise ValueError(f"{command.out}: was begun otherwise: {words}; take that again, or another --out")
    if begun["photos"] != names:
        changed = sorted(set(begun["photos"]) ^ set(names))
        raise ValueError(
            f"{command.out}: was begun with {len(begun['photos'])} photos, now {len(names)}, such as "
            f"{changed[0]}: bring the folder back, or take another --out"
        )
    for left in command.out.glob(".*.tmp*"):  # of a process that was killed
        left.unlink()


def taken_names(photos: Sequence[Path]) -> dict[Path, str]:
    """For photos that cannot have a folder of their own: what is in its place."""
    first: dict[str, Path] = {}
    for path in photos:
        first.setdefault(path.stem, path)
    taken = {path: str(first[path.stem].name) for path in photos if first[path.stem] != path}
    return taken | {path: f"{path.stem} of the set itself" for path in photos if path.stem in RESERVED}


def build_group(
    setup: Setup,
    command: BuildUvDataset,
    photos: Sequence[Path],
    names: Sequence[str],
    boxes: Sequence[Any],
    taken: dict[Path, str],
) -> list[Line]:
    """Make and write all textures of one group; its lines of the manifest."""
    free = [k for k, path in enumerate(photos) if path not in taken]
    for path in (photos[k] for k in free):  # of a run that was killed in this group
        for place in (command.out / path.stem, command.out / "filtered" / path.stem):
            shutil.rmtree(place, ignore_errors=True)
    failures = {path: f"{path}: its folder is taken (by {taken[path]}); rename it" for path in photos if path in taken}
    portraits, unread = find_portraits(setup, [photos[k] for k in free], [boxes[k] for k in free])
    fitted, unsound = fit_portraits(setup, portraits, command.batch)
    failures |= unread | unsound
    lines: dict[Path, Line] = {
        path: _failed(command, path, name, failures[path])
        for path, name in zip(photos, names, strict=True)
        if path in failures
    }
    name_of = dict(zip(photos, names, strict=True))
    with ThreadPoolExecutor(2) as pool:
        jobs = []
        for one in fitted:
            path = one.portrait.face.path
            unwrapped = unwrap_fitted(setup, [one])
            figures = fit_figures(one) | texture_figures(unwrapped)
            reasons = command.reasons(figures)
            folder = f"filtered/{path.stem}" if reasons else path.stem
            lines[path] = {"file": name_of[path], "status": FILTERED if reasons else OK, "folder": folder}
            lines[path] |= {"reasons": reasons} if reasons else {}
            lines[path] |= {"figures": figures}
            jobs.append(pool.submit(write_one, setup, command.out / folder, one, unwrapped, lines[path]))
        for job in jobs:
            job.result()
    return [lines[path] for path in photos]


def write_one(setup: Setup, folder: Path, one: Fitted, unwrapped: Unwrapped, line: Line) -> None:
    """The folder of one texture."""
    write_crop(folder / "photo.jpg", cut(setup, one).image)
    pictures = {"albedo": unwrapped.completed.texture, "filled": unwrapped.completed.filled}
    known = {name: value for name, value in line.items() if name != "folder"}
    write_texture(folder, pictures, known | about(setup))


def _failed(command: BuildUvDataset, path: Path, name: str, error: str) -> Line:
    """The manifest's line of a photo without a texture: nothing in it says where the files lie.

    `cause` is the error without what is this photo's own.
    """
    error = error.replace(str(path), name)
    for option, given in (("--landmarks", command.landmarks), ("--masks", command.masks)):
        error = error if given is None else error.replace(str(given), option)
    cause = re.sub(r"^--[^:]*: ", "", error.removeprefix(f"{name}: ")).replace(path.name, "it")
    cause = re.split(r"[;(:]", cause)[0].strip()
    return {"file": name, "status": FAILED, "cause": cause, "error": error}


def finish(out: Path, lines: list[Line]) -> int:
    """Sheets, index and summary of a set whose photos are all accounted for."""
    counts = count_lines(lines)
    write_sheets(out, lines)
    write_index(out / "index.html", lines, counts)
    write_summary(out / "summary.json", counts)
    why = Counter(counts["filtered_by"]) + Counter(counts["failed_by"])
    print(
        f"{out}: {counts['ok']} textures from {counts['photos']} photos; {counts['filtered']} filtered, "
        f"{counts['failed']} failed" + "".join(f"\n  {count:5d} {name}" for name, count in why.most_common())
    )
    return 0 if counts["ok"] else 1


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Filled when the process is asked to end (SIGTERM, or Ctrl-C once): the group at hand is finished first."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def progress(total: int, done: int) -> tqdm:
    """A bar with the rate of this run."""
    return tqdm(total=total, initial=done, unit="photo", disable=not sys.stderr.isatty(), leave=False)

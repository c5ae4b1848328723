"""`facejax build-uv-dataset`: a folder of photographs to a set of textures; killed and started again it goes on."""

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tyro

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
from facejax.engine.faces import TAKEN, failure
from facejax.engine.signals import STOPPED, progress, stop_on_signal
from facejax.export import write_summary
from facejax.export.manifest import MANIFEST, RUN, Line, append_group, check_run, describe_run, read_manifest
from facejax.export.uv_dataset import write_crop, write_index, write_sheets
from facejax.images import Photo, list_photos
from facejax.images.sources import is_url
from facejax.unwrap.dataset import FAILED, FILTERED, OK, Filters, count_lines
from facejax.unwrap.photos import Unwrapped

RESERVED = ("filtered", "sheets", MANIFEST, RUN, "summary.json", "index.html")


@dataclass(frozen=True, kw_only=True)
class BuildUvDataset(TextureOptions, Filters):
    """A set of textures from all photos of a folder: OUT/<stem>/albedo.png, filled.png, photo.jpg and summary.json.

    Also OUT/manifest.jsonl (every photo with its figures), index.html, sheets/ to look through, and summary.json with
    the counts. What the filters leave out goes to OUT/filtered/. The same command goes on where it was
    stopped. Example:

        facejax build-uv-dataset photos --out set --size 1024
    """

    folder: tyro.conf.Positional[Path]
    """folder of photographs, and of folders of them"""
    out: Path
    """folder for the results"""
    size: int = 512
    """texels a side: a power of two from 64 to 4096"""


def run_build_uv_dataset(command: BuildUvDataset) -> int:
    """Returns the exit status: 0, 1 when the set is empty, 143 when it was asked to stop."""
    if is_url(command.folder) or not command.folder.is_dir():
        raise ValueError(f"{command.folder}: no such folder of photographs")
    photos = list_photos([command.folder], without=command.out)
    check_options(photos, command)
    boxes = [None] * len(photos) if command.boxes is None else boxes_of(photos, command.boxes)
    names = [photo.file for photo in photos]
    open_run(command, names)
    manifest = command.out / MANIFEST
    groups = read_manifest(manifest, names, command.batch)
    starts = range(0, len(photos), command.batch)
    setup = set_up(command) if len(groups) < len(starts) else None
    taken = taken_names(photos)
    done = sum(map(len, groups.values()))
    with stop_on_signal() as stopped, progress(len(photos), done) as bar:
        for number, begin in enumerate(starts):
            if number in groups:
                continue
            if stopped:
                break
            assert setup is not None
            some = slice(begin, begin + command.batch)
            group = build_group(setup, command, photos[some], boxes[some], taken)
            groups[number] = [{"file": line.pop("file"), "group": number, **line} for line in group]
            append_group(manifest, groups[number])
            bar.update(len(group))
    lines = [line for number in sorted(groups) for line in groups[number]]
    if len(lines) < len(photos):
        print(f"stopped after {len(lines)} of {len(photos)} photos; the same command goes on", file=sys.stderr)
        return STOPPED
    return finish(command.out, lines)


def open_run(command: BuildUvDataset, names: list[str]) -> None:
    """Note what this run is in OUT/run.json; where one was begun, check that it is the same."""
    options = {field.name: getattr(command, field.name) for field in fields(command)}
    options = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    del options["folder"], options["out"]
    path = command.out / RUN
    if path.exists():
        check_run(path, options, names)
    elif command.out.exists() and any(not one.name.startswith(".") for one in command.out.iterdir()):
        raise ValueError(f"--out {command.out}: holds other files, but no run.json of a set: name an empty folder")
    else:
        describe_run(path, options, names)
    for left in command.out.glob(".*.tmp*"):  # of a process that was killed
        left.unlink()


def taken_names(photos: Sequence[Photo]) -> dict[Photo, str]:
    """For photos that cannot have a folder of their own: what is in its place."""
    first: dict[str, Photo] = {}
    for photo in photos:
        first.setdefault(photo.stem, photo)
    taken = {photo: first[photo.stem].name for photo in photos if first[photo.stem] != photo}
    return taken | {photo: f"{photo.stem} of the set itself" for photo in photos if photo.stem in RESERVED}


def build_group(
    setup: Setup, command: BuildUvDataset, photos: Sequence[Photo], boxes: Sequence[Any], taken: dict[Photo, str]
) -> list[Line]:
    """Make and write all textures of one group; its lines of the manifest."""
    free = [k for k, photo in enumerate(photos) if photo not in taken]
    for photo in (photos[k] for k in free):  # of a run that was killed in this group
        for place in (command.out / photo.stem, command.out / "filtered" / photo.stem):
            shutil.rmtree(place, ignore_errors=True)
    failures = {one: TAKEN.format(one, taken[one]) for one in photos if one in taken}
    portraits, unread = find_portraits(setup, [photos[k] for k in free], [boxes[k] for k in free])
    fitted, unsound = fit_portraits(setup, portraits, command.batch)
    failures |= unread | unsound
    lines: dict[Photo, Line] = {one: _failed(command, one, failures[one]) for one in photos if one in failures}
    with ThreadPoolExecutor(2) as pool:
        jobs = []
        for one in fitted:
            photo = one.portrait.face.photo
            unwrapped = unwrap_fitted(setup, [one])
            figures = fit_figures(one) | texture_figures(unwrapped)
            reasons = command.reasons(figures)
            folder = f"filtered/{photo.stem}" if reasons else photo.stem
            lines[photo] = {"file": photo.file, "status": FILTERED if reasons else OK, "folder": folder}
            lines[photo] |= {"reasons": reasons} if reasons else {}
            lines[photo] |= {"figures": figures}
            jobs.append(pool.submit(write_one, setup, command.out / folder, one, unwrapped, lines[photo]))
        for job in jobs:
            job.result()
    return [lines[photo] for photo in photos]


def write_one(setup: Setup, folder: Path, one: Fitted, unwrapped: Unwrapped, line: Line) -> None:
    """The folder of one texture."""
    write_crop(folder / "photo.jpg", cut(setup, one).image)
    pictures = {"albedo": unwrapped.completed.texture, "filled": unwrapped.completed.filled}
    known = {name: value for name, value in line.items() if name != "folder"}
    write_texture(folder, pictures, known | about(setup))


def _failed(command: BuildUvDataset, photo: Photo, error: str) -> Line:
    """The manifest's line of a photo without a texture: nothing in it says where the files lie."""
    given = {"--landmarks": command.landmarks, "--masks": command.masks}
    return {"file": photo.file, "status": FAILED, **failure(photo, error, given)}


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

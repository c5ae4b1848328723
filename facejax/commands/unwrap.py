"""`facejax unwrap`: the texture of each photograph's face, or one texture from several views of one face."""

import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from tqdm import tqdm

from facejax.commands.regress import boxes_of
from facejax.commands.textures import (
    Setup,
    TextureOptions,
    about,
    check_options,
    find_portraits,
    fit_figures,
    fit_portraits,
    set_up,
    texture_figures,
    unwrap_fitted,
    write_texture,
)
from facejax.images import Photo
from facejax.images.sources import check_folders, photo_file
from facejax.unwrap.agreement import LEAST_AGREEMENT, find_stranger, view_agreement_jit
from facejax.unwrap.photos import Unwrapped


@dataclass(frozen=True, kw_only=True)
class Unwrap(TextureOptions):
    """Textures in the UV layout of the face model: of each photo's largest face, or of one face seen in --views.

    Writes OUT/<stem>/albedo.png, filled.png and repaired.png, seen.png (or seen_<stem>.png of each view) and
    summary.json. Of --views the folder bears the first one's stem; a view without a face, or of another person,
    refuses them all. Example:

        facejax unwrap --views front.jpg left.jpg right.jpg --out textures
    """

    photos: tyro.conf.Positional[tuple[Path, ...]] = ()
    """photographs, a face each"""
    views: tuple[Path, ...] = ()
    """photographs of one face, such as front, left and right, instead"""
    out: Path
    """folder for the results"""
    least_agreement: float = LEAST_AGREEMENT
    """how far the skin in --views must agree to be one person's (a correlation); -1 does not ask"""


def run_unwrap(command: Unwrap) -> int:
    """Returns the exit status: 0, or 1 when some photos failed."""
    photos = check_command(command)
    boxes = [None] * len(photos) if command.boxes is None else boxes_of(photos, command.boxes)
    setup = set_up(command)
    if command.views:
        failures = unwrap_views(setup, photos, boxes, command)
        for failure in failures:
            print(f"facejax: error: {failure}", file=sys.stderr)
        return 1 if failures else 0
    failed = 0
    size = min(command.batch, len(photos))
    with tqdm(total=len(photos), unit="photo", disable=not sys.stderr.isatty(), leave=False) as bar:
        for begin in range(0, len(photos), size):
            some = slice(begin, begin + size)
            lines, failures = unwrap_group(setup, photos[some], boxes[some], size, command.out)
            for line in lines:
                bar.write(line, file=sys.stdout)
            for failure in failures:
                bar.write(f"facejax: error: {failure}", file=sys.stderr)
            failed += len(failures)
            bar.update(len(photos[some]))
    if failed:
        print(f"{len(photos) - failed} of {len(photos)} photos unwrapped", file=sys.stderr)
    return 1 if failed else 0


def check_command(command: Unwrap) -> list[Photo]:
    """What can be wrong before anything is read; returns the photographs."""
    if command.photos and command.views:
        raise ValueError("photos and --views: name photos of a face each, or --views of one face, not both")
    photos = [photo_file(path) for path in command.views or command.photos]
    check_options(photos, command)
    check_folders(photos)
    return photos


def unwrap_group(
    setup: Setup, photos: Sequence[Photo], boxes: Sequence[Any], size: int, out: Path
) -> tuple[list[str], list[str]]:
    """Unwrap and write at most `size` photos; a line for each that went well, and for each that did not."""
    begin = time.perf_counter()
    portraits, failures = find_portraits(setup, photos, boxes)
    fitted, unsound = fit_portraits(setup, portraits, size)
    shared = (time.perf_counter() - begin) / max(len(portraits), 1)
    lines = []
    for one in fitted:
        begin = time.perf_counter()
        face = one.portrait.face
        unwrapped = unwrap_fitted(setup, [one])
        quality = texture_figures(unwrapped)
        summary = {
            "image": face.photo.name,
            **about(setup),
            "fit": fit_figures(one),
            "quality": quality,
            "seconds": {"fit": shared, "unwrap": time.perf_counter() - begin},
        }
        write_texture(out / face.folder, pictures(unwrapped, ["seen"]), summary)
        lines.append(describe(out / face.folder, quality))
    return lines, [*failures.values(), *unsound.values()]


def unwrap_views(setup: Setup, photos: Sequence[Photo], boxes: Sequence[Any], command: Unwrap) -> list[str]:
    """Unwrap and write one face from all of the photos, or return a line for each that stands in the way."""
    begin = time.perf_counter()
    portraits, failures = find_portraits(setup, photos, boxes)
    fitted, unsound = fit_portraits(setup, portraits, len(photos)) if not failures else ([], {})
    if failures or unsound:
        return [*failures.values(), *unsound.values()]
    unwrapped = unwrap_fitted(setup, fitted)
    agreement = np.asarray(view_agreement_jit(unwrapped.views, setup.layout.regions))
    stranger = find_stranger(agreement, command.least_agreement)
    if stranger is not None:
        return [f"{photos[stranger.view]}: {stranger.reason}"]
    quality = texture_figures(unwrapped)
    summary = {
        "images": [photo.name for photo in photos],
        **about(setup),
        "fit": {one.portrait.face.photo.name: fit_figures(one) for one in fitted},
        "quality": quality,
        "agreement": np.round(agreement, 4),
        "seconds": {"all": time.perf_counter() - begin},
    }
    folder = command.out / photos[0].stem
    write_texture(folder, pictures(unwrapped, [f"seen_{photo.stem}" for photo in photos]), summary)
    print(describe(folder, quality))
    return []


def pictures(unwrapped: Unwrapped, seen: Sequence[str]) -> dict[str, Any]:
    """The files of one texture by name; `seen` names those of the views."""
    completed = unwrapped.completed
    views = {name: unwrapped.views.valid[k] for k, name in enumerate(seen)}
    return {"albedo": completed.texture, "filled": completed.filled, "repaired": completed.repaired, **views}


def describe(folder: Path, quality: dict[str, float | None]) -> str:
    """One line for people."""
    known = {name: math.nan if value is None else value for name, value in quality.items()}
    return (
        f"{folder}: {100 * known['seen']:.0f} % of the face from photos, {100 * known['strange']:.0f} % of what they "
        f"show is no skin, BS error {known['bs_photo']:.1f} as unwrapped, {known['bs']:.1f} in the end"
    )

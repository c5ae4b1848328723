"""Pages for looking at a set of textures: contact sheets, and an index that can be sorted."""

import html
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from facejax.atomic import atomic_path
from facejax.export.manifest import FAILED, FILTERED, OK
from facejax.export.page import Row, write_page
from facejax.export.pictures import to_uint8

CELL = 128  # side of each picture on a sheet, pixels
ROWS, COLUMNS = 8, 8  # faces on a sheet, two pictures each
PICTURES = ("photo.jpg", "albedo.png")
STATUSES = (FAILED, FILTERED, OK)
READERS = 8  # faces that are read at once


def sheet_folders(lines: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """The folders of the textures on each sheet, by the sheet's name: 00, 01, ...

    Textures that the filters left out are on separate sheets: filtered_00, ...
    """
    sheets = {}
    for status, prefix in ((OK, ""), (FILTERED, "filtered_")):
        folders = [line["folder"] for line in lines if line["status"] == status]
        for k, begin in enumerate(range(0, len(folders), ROWS * COLUMNS)):
            sheets[f"{prefix}{k:02d}"] = folders[begin : begin + ROWS * COLUMNS]
    return sheets


def write_sheet(path: Path, folders: Sequence[str], read: Callable[[str], bytes]) -> None:
    """Write a sheet of at most `ROWS * COLUMNS` faces, row by row: photo and albedo, labelled with the folder.

    `read` gives the content of a file of the set by its name.
    """
    with atomic_path(path) as temporary:
        draw_sheet(folders, read).save(temporary, format="JPEG", quality=88)


def draw_sheet(folders: Sequence[str], read: Callable[[str], bytes]) -> Image.Image:
    """The picture of `write_sheet`."""
    rows = -(-len(folders) // COLUMNS)
    canvas = Image.new("RGB", (COLUMNS * (2 * CELL + 6), rows * (CELL + 20)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)

    def cells(folder: str) -> list[Image.Image]:
        return [_cell(read(f"{folder}/{name}")) for name in PICTURES]

    with ThreadPoolExecutor(READERS) as pool:
        for k, (folder, pictures) in enumerate(zip(folders, pool.map(cells, folders), strict=True)):
            left, top = (k % COLUMNS) * (2 * CELL + 6), (k // COLUMNS) * (CELL + 20)
            pen.text((left + 2, top + 2), PurePosixPath(folder).name[:34], fill=(30, 30, 30), font=font)
            for place, picture in enumerate(pictures):
                canvas.paste(picture, (left + place * CELL, top + 18))
    return canvas


def _cell(content: bytes) -> Image.Image:
    with Image.open(io.BytesIO(content)) as picture:
        return picture.convert("RGB").resize((CELL, CELL), Image.Resampling.BOX)


def small_picture(image: Float[np.ndarray, "P P 3"], side: int = 2 * CELL) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """A small picture of the face in the photo, for sheets and index."""
    return np.asarray(Image.fromarray(to_uint8(image)).resize((side, side), Image.Resampling.BOX))


def write_index(path: Path, lines: Sequence[dict[str, Any]], counts: dict[str, Any], sheets: Sequence[str]) -> None:
    """Write the index page: one row per photo, failures first.

    Args:
        path: of the page.
        lines: of the manifest.
        counts: the result of `facejax.engine.uv_dataset.count_textures`.
        sheets: their names in the set.
    """
    figures = list(dict.fromkeys(name for line in lines for name in line.get("figures", {})))
    ordered = sorted(lines, key=lambda line: STATUSES.index(line["status"]))  # stable: by name within a status
    why = {**counts["filtered_by"], **counts["failed_by"]}
    links = " ".join(f'<a href="{quote(one)}">{html.escape(PurePosixPath(one).stem)}</a>' for one in sorted(sheets))
    write_page(
        path,
        title="UV textures",
        heading=f"{counts['photos']} photos: " + ", ".join(f"{counts[name]} {name}" for name in reversed(STATUSES)),
        notes=["; ".join(f"{html.escape(name)}: {count}" for name, count in why.items()), f"sheets: {links}"],
        pictures=2,
        texts=("file", "status", "why"),
        numbers=[name.replace("_", " ") for name in figures],
        rows=[_row(line, figures) for line in ordered],
    )


def _row(line: dict[str, Any], figures: Sequence[str]) -> Row:
    folder, values = line.get("folder"), line.get("figures", {})
    places = [] if folder is None else [f"{folder}/{name}" for name in PICTURES]
    why = line.get("error") or ", ".join(line.get("reasons", ()))
    texts = line["file"], line["status"], why
    return Row(line["status"], [(at, at) for at in places], texts, [values.get(name) for name in figures])

"""What people look at in a set of textures: contact sheets, and an index page that can be sorted."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facejax.atomic import atomic_path
from facejax.export.page import Row, write_page

CELL = 128  # pixels a side of each picture on a sheet
ROWS, COLUMNS = 8, 8  # faces on a sheet, two pictures each
STATUSES = ("failed", "filtered", "ok")


def write_sheets(out: Path, lines: Sequence[dict[str, Any]]) -> list[Path]:
    """OUT/sheets/00.jpg and so on: the photo beside the albedo of every texture of the set, named by its folder.

    Those that the filters left out are on sheets of their own, filtered_00.jpg and so on. Older sheets go.
    """
    folder = out / "sheets"
    for old in folder.glob("*.jpg"):
        old.unlink()
    sheets = []
    for status, prefix in (("ok", ""), ("filtered", "filtered_")):
        folders = [line["folder"] for line in lines if line["status"] == status]
        for k, begin in enumerate(range(0, len(folders), ROWS * COLUMNS)):
            path = folder / f"{prefix}{k:02d}.jpg"
            with atomic_path(path) as temporary:
                draw_sheet(out, folders[begin : begin + ROWS * COLUMNS]).save(temporary, format="JPEG", quality=88)
            sheets.append(path)
    return sheets


def draw_sheet(out: Path, folders: Sequence[str]) -> Image.Image:
    """At most `ROWS * COLUMNS` faces, row by row."""
    rows = -(-len(folders) // COLUMNS)
    canvas = Image.new("RGB", (COLUMNS * (2 * CELL + 6), rows * (CELL + 20)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(12)
    for k, folder in enumerate(folders):
        left, top = (k % COLUMNS) * (2 * CELL + 6), (k // COLUMNS) * (CELL + 20)
        pen.text((left + 2, top + 2), Path(folder).name[:34], fill=(30, 30, 30), font=font)
        for place, name in enumerate(("photo.jpg", "albedo.png")):
            with Image.open(out / folder / name) as picture:
                small = picture.convert("RGB").resize((CELL, CELL), Image.Resampling.BOX)
            canvas.paste(small, (left + place * CELL, top + 18))
    return canvas


def write_crop(path: Path, image: np.ndarray, side: int = 2 * CELL) -> None:
    """A small picture of the photo around the face, for sheets and index."""
    bytes_ = np.rint(np.clip(np.nan_to_num(image), 0.0, 1.0) * 255).astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(bytes_).resize((side, side), Image.Resampling.BOX).save(temporary, format="JPEG", quality=90)


def write_index(path: Path, lines: Sequence[dict[str, Any]], counts: dict[str, Any]) -> None:
    """One row a photo, failures first."""
    figures = list(dict.fromkeys(name for line in lines for name in line.get("figures", {})))
    ordered = sorted(lines, key=lambda line: STATUSES.index(line["status"]))  # stable: by name within a status
    why = {**counts["filtered_by"], **counts["failed_by"]}
    sheets = " ".join(
        f'<a href="sheets/{quote(one.name)}">{html.escape(one.stem)}</a>'
        for one in sorted((path.parent / "sheets").glob("*.jpg"))
    )
    write_page(
        path,
        title="UV textures",
        heading=f"{counts['photos']} photos: " + ", ".join(f"{counts[name]} {name}" for name in reversed(STATUSES)),
        notes=["; ".join(f"{html.escape(name)}: {count}" for name, count in why.items()), f"sheets: {sheets}"],
        pictures=2,
        texts=("file", "status", "why"),
        numbers=[name.replace("_", " ") for name in figures],
        rows=[_row(line, figures) for line in ordered],
    )


def _row(line: dict[str, Any], figures: Sequence[str]) -> Row:
    folder, values = line.get("folder"), line.get("figures", {})
    places = [] if folder is None else [f"{folder}/{name}" for name in ("photo.jpg", "albedo.png")]
    why = line.get("error") or ", ".join(line.get("reasons", ()))
    texts = line["file"], line["status"], why
    return Row(line["status"], [(at, at) for at in places], texts, [values.get(name) for name in figures])

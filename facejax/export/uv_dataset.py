"""What people look at in a set of textures: contact sheets, and an index page that can be sorted."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facejax.export.atomic import atomic_path, write_text

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
    """One row a photo, failures first; a click on a column's name sorts by it. Needs no network."""
    figures = list(dict.fromkeys(name for line in lines for name in line.get("figures", {})))
    ordered = sorted(lines, key=lambda line: STATUSES.index(line["status"]))  # stable: by name within a status
    heads = ["", "", "file", "status", "why", *(name.replace("_", " ") for name in figures)]
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    rows = "\n".join(_row(line, figures) for line in ordered)
    total = ", ".join(f"{counts[name]} {name}" for name in reversed(STATUSES))
    why = {**counts["filtered_by"], **counts["failed_by"]}
    causes = "; ".join(f"{html.escape(name)}: {count}" for name, count in why.items())
    sheets = " ".join(
        f'<a href="sheets/{quote(one.name)}">{html.escape(one.stem)}</a>'
        for one in sorted((path.parent / "sheets").glob("*.jpg"))
    )
    page = _PAGE.format(total=f"{counts['photos']} photos: {total}", causes=causes, sheets=sheets, head=head, rows=rows)
    write_text(path, page)


def _row(line: dict[str, Any], figures: Sequence[str]) -> str:
    folder, values = line.get("folder"), line.get("figures", {})
    pictures = "<td></td><td></td>"
    if folder is not None:
        at = quote(folder)
        pictures = "".join(
            f'<td><a href="{at}/{name}"><img loading="lazy" src="{at}/{name}" alt=""></a></td>'
            for name in ("photo.jpg", "albedo.png")
        )
    why = line.get("error") or ", ".join(line.get("reasons", ()))
    texts = "".join(f"<td>{html.escape(text)}</td>" for text in (line["file"], line["status"], why))
    numbers = "".join(
        '<td data-v=""></td>'
        if values.get(name) is None
        else f'<td class="n" data-v="{values[name]}">{values[name]:.4g}</td>'
        for name in figures
    )
    return f'<tr class="{line["status"]}">{pictures}{texts}{numbers}</tr>'


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>UV textures</title>
<style>
body {{ font: 14px sans-serif; margin: 1.5em; color: #222; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: 4px 8px; border-bottom: 1px solid #ddd; text-align: left; vertical-align: middle; }}
th {{ position: sticky; top: 0; background: #fff; cursor: pointer; }}
td.n {{ text-align: right; font-variant-numeric: tabular-nums; }}
td img {{ width: 96px; height: 96px; display: block; }}
tr.failed {{ background: #fdeaea; }} tr.filtered {{ background: #fdf6e3; }}
</style></head><body>
<h1>{total}</h1>
<p>{causes}</p>
<p>sheets: {sheets}</p>
<table><thead><tr>{head}</tr></thead><tbody>
{rows}
</tbody></table>
<script>
const body = document.querySelector("tbody");
document.querySelectorAll("th").forEach((head, column) => {{
  let up = false;
  head.addEventListener("click", () => {{
    up = !up;
    const value = row => row.cells[column].dataset.v ?? row.cells[column].textContent;
    const compare = (a, b) => {{
      const x = value(a), y = value(b);
      if (x === "" || y === "") return (x === "") - (y === "");
      const order = isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y;
      return up ? order : -order;
    }};
    body.append(...[...body.rows].sort(compare));
  }});
}});
</script></body></html>
"""

"""`report.html` of a run of `facejax fit`: every face's pictures and figures on one page, failures first."""

import base64
import html
import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from facejax.export.page import Row, write_page

WIDTH = 720  # pixels of a face's panels on the page
MANY = 300  # faces from which on the panels are half as wide
NUMBERS = ("landmarks, %", "pixels, dB", "seconds")


def write_fit_report(path: Path, lines: Sequence[dict[str, Any]], counts: dict[str, Any]) -> None:
    """From the lines of a manifest, whose folders lie beside `path`; the pictures are inside of the page."""
    width = WIDTH if counts["faces"] <= MANY else WIDTH // 2
    ordered = sorted(lines, key=lambda line: line["status"] != "failed")  # stable: by name within a status
    causes = "; ".join(f"{cause}: {count}" for cause, count in counts["failed_by"].items())
    write_page(
        path,
        title="facejax fit",
        heading=f"{counts['photos']} photos: {counts['ok']} fitted, {counts['failed']} failed",
        notes=[html.escape(causes), "A click on a column's name sorts by it; a click on a picture opens its folder."],
        pictures=1,
        texts=("photo", "status", "stages that still fell, or why"),
        numbers=NUMBERS,
        rows=[row for line in ordered for row in _rows(path.parent, line, width)],
        width=width,
    )


def _rows(out: Path, line: dict[str, Any], width: int) -> Iterator[Row]:
    """A row for each face of a photo, or one that says why there is none."""
    if not line.get("faces"):
        yield Row("failed", [], (line["file"], "failed", line.get("error", "")), [None, None, line.get("seconds")])
    for face in line.get("faces", ()):
        folder = out / face["folder"]
        figures = [face["landmark_nme_percent"], face["psnr_face"], line.get("seconds")]
        pictures = [(_panels(folder / "overlay.png", width), f"{face['folder']}/")]
        yield Row(line["status"], pictures if pictures[0][0] else [], _texts(line, folder), figures)


def _texts(line: dict[str, Any], folder: Path) -> tuple[str, str, str]:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    moving = [name for name, flat in summary["converged"].items() if not flat]
    return line["file"], line["status"], line.get("error", ", ".join(moving))


def _panels(path: Path, width: int) -> str:
    """A smaller copy of the picture as a data address; empty where it was not written."""
    if not path.exists():
        return ""
    with Image.open(path) as picture:
        height = max(round(picture.height * width / picture.width), 1)
        small = picture.convert("RGB").resize((width, height), Image.Resampling.BOX)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

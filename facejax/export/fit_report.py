"""`report.html` of a run of `facejax fit`: pictures and figures of all faces on a page, failures and doubts first."""

import base64
import html
import io
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from PIL import Image

from facejax.export.fitted import PICTURES
from facejax.export.page import Row, write_page

WIDTH = 720  # pixels of a face's panels on the page
MANY = 300  # from this number of faces on, the panels are half as wide
READERS = 8  # lines of the manifest that are read at once
NUMBERS = ("landmarks, %", "pixels, dB", "seconds")


def write_fit_report(
    path: Path, lines: Sequence[dict[str, Any]], counts: dict[str, Any], *, read: Callable[[str], bytes]
) -> None:
    """Write the page from the lines of a manifest, with its pictures embedded.

    Args:
        path: of the page.
        lines: of the manifest.
        counts: the result of `facejax.engine.fits.count_fits`.
        read: gives the content of a file by its name relative to the manifest's folder, or raises FileNotFoundError.
    """
    width = WIDTH if counts["faces"] <= MANY else WIDTH // 2
    ordered = sorted(lines, key=lambda line: ("failed", "doubtful", "ok").index(_status(line)))  # stable: then by name
    with ThreadPoolExecutor(READERS) as pool:
        rows = [row for rows in pool.map(lambda line: list(_rows(read, line, width)), ordered) for row in rows]
    causes = "; ".join(f"{cause}: {count}" for cause, count in counts["failed_by"].items())
    write_page(
        path,
        title="facejax fit",
        heading=f"{counts['photos']} photos: {counts['ok']} fitted, {counts['failed']} failed, "
        f"{counts['partly']} with a face that failed, {counts['doubtful']} doubtful",
        notes=[html.escape(causes), "A click on a column's name sorts by it; a click on a picture opens its folder."],
        pictures=1,
        texts=("photo", "status", "doubt, not converged, or error"),
        numbers=NUMBERS,
        rows=rows,
        width=width,
    )


def _rows(read: Callable[[str], bytes], line: dict[str, Any], width: int) -> Iterator[Row]:
    """One row per face of a photo, and one that says why there is none, or one less."""
    if not line.get("faces") or "error" in line:
        yield Row("failed", [], (line["file"], "failed", line.get("error", "")), [None, None, line.get("seconds")])
    for face in line.get("faces", ()):
        figures = [face["landmark_nme_percent"], face["psnr_face"], line.get("seconds")]
        pictures = [(_panels(read, face["folder"], width), f"{face['folder']}/")]
        status = "doubtful" if "doubtful" in face else line["status"]
        texts = line["file"], status, _remark(read, face)
        yield Row(status, pictures if pictures[0][0] else [], texts, figures)


def _status(line: dict[str, Any]) -> str:
    """Failed also if only one of several faces did."""
    return "failed" if "error" in line else "doubtful" if "doubtful" in line else "ok"


def _remark(read: Callable[[str], bytes], face: dict[str, Any]) -> str:
    """What there is to say about a face."""
    summary = json.loads(read(f"{face['folder']}/summary.json"))
    moving = ", ".join(name for name, flat in summary["converged"].items() if not flat)
    return "; ".join(filter(None, [face.get("doubtful"), moving]))


def _panels(read: Callable[[str], bytes], folder: str, width: int) -> str:
    """A smaller copy of a face's pictures, one below the other, as a data URL; empty if none was written."""
    parts = []
    for name in PICTURES:
        try:
            content = read(f"{folder}/{name}")
        except FileNotFoundError:
            continue
        with Image.open(io.BytesIO(content)) as picture:
            height = max(round(picture.height * width / picture.width), 1)
            parts.append(picture.convert("RGB").resize((width, height), Image.Resampling.BOX))
    if not parts:
        return ""
    whole = Image.new("RGB", (width, sum(part.height for part in parts)))
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    buffer = io.BytesIO()
    whole.save(buffer, format="JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()

"""Markdown tables, and sheets of square pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from texture_gan.quality import sheet

from facejax.export import atomic_path, to_uint8


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table; numbers get two decimals, missing ones a dash."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def cell(value: object) -> str:
    if value is None or (isinstance(value, float) and not np.isfinite(value)):
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of those that are present."""
    found = [value for value in values if value is not None]
    return float(np.mean(found)) if found else None


def caption(picture: np.ndarray, text: str, side: int) -> np.ndarray:
    """A picture (display values) as bytes, `side` pixels per side, with a line of text in its corner."""
    small = Image.fromarray(to_uint8(picture)).resize((side, side), Image.Resampling.LANCZOS)
    if text:
        ImageDraw.Draw(small).text((3, 1), text, fill="white", stroke_width=1, stroke_fill="black")
    return np.asarray(small)


def write_sheet(path: Path, cells: Sequence[np.ndarray], columns: int) -> None:
    """Write cells (bytes, of one size) row by row as one picture."""
    page = Image.fromarray(to_uint8(sheet(np.stack(cells), columns)))
    with atomic_path(path) as temporary:
        page.save(temporary, quality=90)

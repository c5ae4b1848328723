"""Cumulative error curves, drawn with Pillow: a plot with two axes does not need a plotting library."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 720, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 40, 52
_FINE = 3  # drawn this many times larger, then reduced: smooth lines
_COLOURS = ("#1f5fa8", "#c8442b", "#2f8f4e", "#8a5bb5", "#a87b1f", "#4a4a4a")


def cumulative(errors: Float[np.ndarray, " N"], limits: Float[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    """Percent of the errors at or below each limit."""
    known = np.sort(np.asarray(errors, np.float64)[np.isfinite(errors)])
    return 100.0 * np.searchsorted(known, limits, side="right") / max(len(known), 1)


def draw_cumulative(
    curves: Mapping[str, Float[np.ndarray, " N"]], *, title: str = "", limit: float = 10.0
) -> Float[np.ndarray, "480 720 3"]:
    """A picture of the cumulative distributions of errors (percent), by name, up to `limit`; steeper is better."""
    canvas = Image.new("RGB", (WIDTH * _FINE, HEIGHT * _FINE), "white")
    pen = ImageDraw.Draw(canvas)
    small, large = (ImageFont.load_default(points * _FINE) for points in (13, 15))

    def place(x, y):
        """Pixels of a point of the plot."""
        across, up = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return (_LEFT + across * x / limit) * _FINE, (_TOP + up * (1.0 - y / 100.0)) * _FINE

    for share in range(0, 101, 20):
        pen.line([place(0, share), place(limit, share)], fill="#dddddd", width=_FINE)
        x, y = place(0, share)
        pen.text((x - 8 * _FINE, y), f"{share}", fill="#333333", font=small, anchor="rm")
    for value in np.linspace(0, limit, 6):
        pen.line([place(value, 0), place(value, 100)], fill="#dddddd", width=_FINE)
        x, y = place(value, 0)
        pen.text((x, y + 8 * _FINE), f"{value:g}", fill="#333333", font=small, anchor="mt")
    pen.line([place(0, 100), place(0, 0), place(limit, 0)], fill="#333333", width=_FINE)
    middle = (_LEFT + WIDTH - _RIGHT) * _FINE / 2
    pen.text((middle, 12 * _FINE), title, fill="black", font=large, anchor="mt")
    pen.text((middle, (HEIGHT - 10) * _FINE), "NME, percent", fill="black", font=small, anchor="mb")
    pen.text((8 * _FINE, (_TOP - 8) * _FINE), "faces, percent", fill="black", font=small, anchor="lb")

    limits = np.linspace(0.0, limit, 401)
    for index, (name, errors) in enumerate(curves.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        line = [place(x, y) for x, y in zip(limits, cumulative(errors, limits), strict=True)]
        pen.line(line, fill=colour, width=2 * _FINE, joint="curve")
        x, y = place(limit, 0)
        row = y - (18 * (len(curves) - index) + 4) * _FINE
        pen.text((x - 10 * _FINE, row), name, fill=colour, font=small, anchor="ra")
    return np.asarray(canvas.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), np.float32) / 255.0

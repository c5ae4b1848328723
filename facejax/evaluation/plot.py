"""Line plots, drawn with Pillow: a plot with two axes does not need a plotting library."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont

WIDTH, HEIGHT = 720, 480
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 24, 40, 52
_FINE = 3  # drawn this many times larger, then reduced: smooth lines
Numbers = Sequence[Any] | np.ndarray | jax.Array
_COLOURS = ("#1f5fa8", "#c8442b", "#2f8f4e", "#8a5bb5", "#a87b1f", "#4a4a4a", "#3aa6a6", "#c05a9a")


def draw_lines(
    lines: Mapping[str, tuple[Numbers, Numbers]],
    *,
    across: Numbers,
    up: Numbers,
    title: str = "",
    x_label: str = "",
    y_label: str = "",
    log: bool = False,
    corner: str = "bottom",
) -> Float[np.ndarray, "480 720 3"]:
    """A plot of lines.

    Args:
      lines: {name: (x, y)}.
      across, up: ticks; the first and last are the ends of the axes.
      title, x_label, y_label: texts.
      log: whether the y axis is logarithmic.
      corner: where the names are, on the right: "bottom" or "top".

    Returns:
      The picture, bytes (H, W, 3).
    """
    canvas = Image.new("RGB", (WIDTH * _FINE, HEIGHT * _FINE), "white")
    pen = ImageDraw.Draw(canvas)
    small, large = (ImageFont.load_default(points * _FINE) for points in (13, 15))
    across, up = np.asarray(across), np.asarray(up)
    scale = np.log if log else np.asarray
    low, high = scale(up[0]), scale(up[-1])

    def place(x, y) -> tuple[float, float]:
        """Pixels of a point of the plot."""
        right = (x - across[0]) / (across[-1] - across[0])
        above = (scale(y) - low) / (high - low)
        wide, tall = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
        return float((_LEFT + wide * right) * _FINE), float((_TOP + tall * (1.0 - above)) * _FINE)

    for value in up:
        pen.line([place(across[0], value), place(across[-1], value)], fill="#dddddd", width=_FINE)
        x, y = place(across[0], value)
        pen.text((x - 8 * _FINE, y), f"{value:g}", fill="#333333", font=small, anchor="rm")
    for value in across:
        pen.line([place(value, up[0]), place(value, up[-1])], fill="#dddddd", width=_FINE)
        x, y = place(value, up[0])
        pen.text((x, y + 8 * _FINE), f"{value:g}", fill="#333333", font=small, anchor="mt")
    axes = [place(across[0], up[-1]), place(across[0], up[0]), place(across[-1], up[0])]
    pen.line(axes, fill="#333333", width=_FINE)
    middle = (_LEFT + WIDTH - _RIGHT) * _FINE / 2
    pen.text((middle, 12 * _FINE), title, fill="black", font=large, anchor="mt")
    pen.text((middle, (HEIGHT - 10) * _FINE), x_label, fill="black", font=small, anchor="mb")
    pen.text((8 * _FINE, (_TOP - 8) * _FINE), y_label, fill="black", font=small, anchor="lb")

    for index, (name, (xs, ys)) in enumerate(lines.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        values = np.clip(np.asarray(ys), up[0], up[-1])
        pen.line(
            [place(x, y) for x, y in zip(np.asarray(xs), values, strict=True)],
            fill=colour,
            width=2 * _FINE,
            joint="curve",
        )
        x, y = place(across[-1], up[0] if corner == "bottom" else up[-1])
        row = y - (18 * (len(lines) - index) + 4) * _FINE if corner == "bottom" else y + (18 * index + 4) * _FINE
        pen.text((x - 10 * _FINE, row), name, fill=colour, font=small, anchor="ra")
    return np.asarray(canvas.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS), np.float32) / 255.0

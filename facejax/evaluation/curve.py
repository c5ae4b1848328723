"""Cumulative error curves."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from facejax.evaluation.plot import draw_lines


def cumulative(errors: Float[np.ndarray, " N"], limits: Float[np.ndarray, " M"]) -> Float[np.ndarray, " M"]:
    """Percent of the errors at or below each limit."""
    known = np.sort(np.asarray(errors, np.float64)[np.isfinite(errors)])
    return 100.0 * np.searchsorted(known, limits, side="right") / max(len(known), 1)


def draw_cumulative(
    curves: Mapping[str, Float[np.ndarray, " N"]], *, title: str = "", limit: float = 10.0
) -> Float[np.ndarray, "480 720 3"]:
    """A plot of the cumulative distributions of errors (percent), by name, up to `limit`."""
    limits = np.linspace(0.0, limit, 401)
    return draw_lines(
        {name: (limits, cumulative(errors, limits)) for name, errors in curves.items()},
        across=np.linspace(0.0, limit, 6),
        up=np.arange(0, 101, 20),
        title=title,
        x_label="NME, percent",
        y_label="faces, percent",
    )

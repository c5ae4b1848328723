"""Normalised mean error of landmarks, in percent."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float


def nme(
    predicted: Float[Array | np.ndarray, "*B N C"], truth: Float[Array | np.ndarray, "*B N D"]
) -> Float[np.ndarray, "*B"]:
    """Mean 2D distance of points over sqrt(width * height) of the true points' box, in percent.

    The protocol of AFLW2000-3D (Zhu et al., "Face alignment across large poses", CVPR 2016): 68 points, only x and y.
    Both sets must be in the same pixels, with y in the same direction. Raises ValueError when the true points' box is
    empty.

    >>> truth = np.array([[0.0, 0.0], [100.0, 100.0]])
    >>> float(nme(truth + [3.0, 4.0], truth))
    5.0
    """
    found, true = np.asarray(predicted, np.float64)[..., :2], np.asarray(truth, np.float64)[..., :2]
    size = np.sqrt(np.prod(np.ptp(true, axis=-2), axis=-1))
    if not np.all(size > 0):
        raise ValueError("the true landmarks lie on one line or point: their box has no area to normalise by")
    return np.asarray(100.0 * np.linalg.norm(found - true, axis=-1).mean(axis=-1) / size)


def point_errors(
    predicted: Float[Array | np.ndarray, "N L 2"],
    truth: Float[Array | np.ndarray, "N L 2"],
    sizes: Float[Array | np.ndarray, " N"],
) -> Float[np.ndarray, "N L"]:
    """2D distance of every point over its face's size, in percent; NaN where the true point is NaN (not annotated).

    If `sizes` are `sqrt(width * height)` of the boxes of the true 68 points, the mean over a face's points is `nme`.
    """
    distance = np.linalg.norm(np.asarray(predicted, np.float64) - np.asarray(truth, np.float64), axis=-1)
    return 100.0 * distance / np.asarray(sizes, np.float64)[:, None]


@dataclass(frozen=True)
class YawTable:
    """Errors by pose: one row of the literature's tables."""

    bins: dict[str, float]  # mean error of each bin
    counts: dict[str, int]  # number of images in each bin
    mean: float  # of the bins
    std: float  # of the bins


def nme_by_yaw(errors: Float[np.ndarray, " N"], yaw_degrees: Float[Array | np.ndarray, " N"]) -> YawTable:
    """Errors of the images, averaged over |yaw| in [0, 30], (30, 60] and above 60 degrees.

    Mean and standard deviation are over the three bins' means, not over images: profile views count as much as frontal
    ones, however few they are. An empty bin is NaN, and so is then the mean, since a mean of fewer bins is not
    comparable.
    """
    angle, errors = np.abs(np.asarray(yaw_degrees, np.float64)), np.asarray(errors, np.float64)
    inside = {"0-30": angle <= 30.0, "30-60": (angle > 30.0) & (angle <= 60.0), "60-90": angle > 60.0}
    bins = {name: float(errors[chosen].mean()) if chosen.any() else float("nan") for name, chosen in inside.items()}
    means = np.array(list(bins.values()))
    counts = {name: int(chosen.sum()) for name, chosen in inside.items()}
    return YawTable(bins, counts, float(means.mean()), float(means.std()))

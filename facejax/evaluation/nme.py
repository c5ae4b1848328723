"""Normalised mean error of landmarks, in percent."""

import numpy as np
from jaxtyping import Array, Float

BINS = ((0.0, 30.0), (30.0, 60.0), (60.0, 90.0))  # degrees of |yaw|; the last one is open above


def nme(
    predicted: Float[Array | np.ndarray, "*B N C"], truth: Float[Array | np.ndarray, "*B N D"]
) -> Float[np.ndarray, "*B"]:
    """Mean 2D distance of points over sqrt(width * height) of the box of the true points, in percent.

    The protocol of AFLW2000-3D (Zhu et al., "Face alignment across large poses", CVPR 2016): 68 points, only x and y.
    Both sets in the same pixels, with y in the same direction. Raises ValueError when the true points have no box.
    """
    found, true = np.asarray(predicted, np.float64)[..., :2], np.asarray(truth, np.float64)[..., :2]
    size = np.sqrt(np.prod(np.ptp(true, axis=-2), axis=-1))
    if not np.all(size > 0):
        raise ValueError("the true landmarks lie on one line or point: their box has no area to normalise by")
    return 100.0 * np.linalg.norm(found - true, axis=-1).mean(axis=-1) / size


def nme_by_yaw(
    errors: Float[np.ndarray, " N"], yaw_degrees: Float[Array | np.ndarray, " N"]
) -> dict[str, float | dict[str, int]]:
    """Errors of the images averaged over |yaw| in [0, 30], (30, 60] and above 60 degrees.

    "mean" is the mean of the three bins' means and "std" their standard deviation (not over images), so that profile
    views count as much as frontal ones however few they are. An empty bin is NaN and so is then the mean: a number
    over fewer bins is not comparable.
    """
    angle, errors = np.abs(np.asarray(yaw_degrees, np.float64)), np.asarray(errors, np.float64)
    inside = [angle <= 30.0, (angle > 30.0) & (angle <= 60.0), angle > 60.0]
    means = np.array([errors[chosen].mean() if chosen.any() else np.nan for chosen in inside])
    names = [f"{low:.0f}-{high:.0f}" for low, high in BINS]
    return {
        **{name: float(value) for name, value in zip(names, means, strict=True)},
        "mean": float(means.mean()),
        "std": float(means.std()),
        "counts": {name: int(chosen.sum()) for name, chosen in zip(names, inside, strict=True)},
    }

"""Whether 68 landmarks can be those of a face in the photo: in pixels, y downward, in the iBUG order, not mirrored.

The mean face's landmarks are laid over the points with a scaled-orthographic camera. A face that is seen from behind
was written down mirrored in one way or another, and which way shows in how the face then stands in the photo. The
head may be rolled by any angle: turned photos are accepted.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facejax.face_model import FaceModel
from facejax.face_model.surface_landmarks import MIRROR68
from facejax.fitting.landmarks import JAW

COUNT = 68
SMALLEST = 4.0  # pixels: a face that spans less was given in other units
BEHIND = -0.45  # cosine of the angle between nose and camera: 117 degrees
MISFIT = 0.45  # of the points' spread; at most 0.28 in 2,000 annotations, 0.39 in made-up grimaces; wrong orders: 0.8
REVERSED = -0.15  # of a feature's length, along its direction; -0.012 and -0.126 there; wrong orders: -1

# What points look like that were written down wrongly, and the fix.
MIRRORED = (
    "its landmarks look mirrored, with left and right exchanged: points 0 and 36 belong to the person's right, on the "
    "left of an upright photo"
)
UPWARD = "its landmarks look as if y pointed upward: y points down from the photo's top, so give {height} - y"
EXCHANGED = "its landmarks look as if x and y were exchanged: give (x, y), which is (column, row)"

# fmt: off
FEATURES = np.array([(0, 16), (17, 21), (22, 26), (17, 26), (27, 30), (31, 35), (36, 39), (42, 45), (36, 45), (48, 54),
                     (60, 64), (8, 27), (51, 27)])
# fmt: on
"""Ends of features that keep their direction in any pose: brows, nose, eyes, lips and so on."""


class HeadPose(NamedTuple):
    """A scaled-orthographic camera over some landmarks."""

    rotation: Float[np.ndarray, "3 3"]
    scale: float  # pixels per mm
    placed: Float[np.ndarray, "68 2"]  # the mean face's landmarks, pixels


def check_landmarks(points: np.ndarray, shape: tuple[int, ...], mean: Float[np.ndarray, "68 3"], name: str) -> None:
    """Check landmarks that somebody gave for a photo.

    Args:
        points: (68, 2), finite, pixels.
        shape: height and width of the photo, pixels.
        mean: the mean face's landmarks, mm, see `mean_landmarks`.
        name: what the error calls the photo.

    Raises ValueError, one line that says what the points look like, and how to mend them.
    """
    points = np.asarray(points, np.float64)[:, :2]
    problem = _wrong_unit(points, *shape[:2]) or _wrong_direction(points, shape[0], mean)
    if problem is not None:
        raise ValueError(f"{name}: {problem}")


def mean_landmarks(model: FaceModel) -> Float[np.ndarray, "L 3"]:
    """The landmarks of a model's mean face as fixed points of the surface, mm."""
    corners = np.asarray(model.faces)[np.asarray(model.topology.landmark_faces)]
    return np.einsum("lk,lkd->ld", np.asarray(model.landmark_weights), np.asarray(model.mean)[corners])


def place_head(points: Float[np.ndarray, "68 2"], mean: Float[np.ndarray, "68 3"]) -> HeadPose:
    """Lay the mean face over landmarks: weighted least squares for the affine camera, its rows made orthonormal.

    As `facejax.fitting.landmarks.scaled_orthographic`, on the host.
    """
    weight = np.where(np.arange(len(mean)) < JAW, 0.1, 1.0)[:, None]
    weight /= weight.sum()
    centre, middle, root = (weight * mean).sum(axis=0), (weight * points).sum(axis=0), np.sqrt(weight)
    target = (points - middle) * [1.0, -1.0]
    affine = np.linalg.lstsq((mean - centre) * root, target * root, rcond=None)[0].T
    u, singular, vt = np.linalg.svd(affine, full_matrices=False)
    rows, scale = u @ vt, float(singular.mean())
    placed = middle + scale * ((mean - centre) @ rows.T) * [1.0, -1.0]
    return HeadPose(np.vstack([rows, np.cross(rows[0], rows[1])]), scale, placed)


def _wrong_unit(points: Float[np.ndarray, "68 2"], height: int, width: int) -> str | None:
    """What is wrong with the points' size or place, if anything is."""
    low, high = float(points.min()), float(points.max())
    if np.ptp(points, axis=0).max() < SMALLEST:
        within = f"its landmarks lie between {low:.3g} and {high:.3g}"
        if low < -0.05 and max(-low, high) < 2.0:
            ways = f"give pixels: x = (x + 1) / 2 * {width}, y = (y + 1) / 2 * {height}"
            return f"its landmarks look normalised to -1..1 ({within}): {ways}"
        if low >= -0.05 and high < 2.0:
            return f"its landmarks look like fractions of the photo ({within}): multiply x by {width} and y by {height}"
        return f"its landmarks are too close together ({within}): give all 68 in pixels"
    inside = ((points >= 0) & (points <= [width, height])).all(axis=1)
    if inside.mean() < 0.5:
        return (
            f"most of its landmarks lie outside of the photo ({width} x {height} pixels), as those of another size or "
            "crop do: give those of this very file"
        )
    return None


def _wrong_direction(points: Float[np.ndarray, "68 2"], height: int, mean: Float[np.ndarray, "68 3"]) -> str | None:
    """What is wrong with the points' order or their axes, if anything is."""
    head = place_head(points, mean)
    mirrored = head.rotation[2, 2] < BEHIND
    if mirrored:
        points = points[MIRROR68]
        head = place_head(points, mean)
    if not _in_order(points, head, mean):
        return (
            "its landmarks do not look like a face in the iBUG order of 68 points: 0-16 jaw, 17-26 brows, 27-35 nose, "
            "36-47 eyes, 48-67 lips, each from the left of an upright photo"
        )
    if not mirrored:
        return None
    roll = abs(np.degrees(np.arctan2(head.rotation[1, 0], head.rotation[1, 1])))  # of the face when mirrored back
    if roll > 135:
        return UPWARD.format(height=height)
    return EXCHANGED if roll > 45 else MIRRORED


def _in_order(points: Float[np.ndarray, "68 2"], head: HeadPose, mean: Float[np.ndarray, "68 3"]) -> bool:
    """Whether every point is near the place it has on the mean face, and no feature runs backwards."""
    inner = slice(JAW, None)
    spread = np.sqrt(np.mean(np.sum((points[inner] - points[inner].mean(axis=0)) ** 2, axis=1)))
    misfit = np.sqrt(np.mean(np.sum((head.placed[inner] - points[inner]) ** 2, axis=1)))
    first, last = FEATURES.T
    length = head.scale * np.linalg.norm(mean[last] - mean[first], axis=1)
    along = np.sum((points[last] - points[first]) * (head.placed[last] - head.placed[first]), axis=1)
    return bool(misfit <= MISFIT * spread and np.all(along >= REVERSED * length**2))

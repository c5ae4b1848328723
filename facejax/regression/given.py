"""Given landmarks compared with the faces that the network sees in the photo: are they mirrored, or of another size?"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facejax.evaluation.normalized_error import nme
from facejax.images import as_photo
from facejax.regression.candidates import LEAST_CONFIDENCE, Portrait, landmark_box, portraits, regress_portraits
from facejax.regression.direction import check_direction
from facejax.regression.photos import compile_regressor, regress_photos
from facejax.regression.regressor import Regression, Regressor

CORNER = 0.65  # of the photo's width and height: points that all lie in such a corner may be of another size
BEYOND = 0.03  # of them: points so far outside of the photo may be of another size
ALIKE = 20.0  # percent of the face's size: landmarks of one face
THERE = 40.0  # percent of the face's size: landmarks in one place
FACTORS = np.exp(np.linspace(np.log(1 / 8), np.log(8), 19))  # other sizes of the photo that are tried,
SQUARES = (112, 128, 224, 256, 450, 512, 1024)  # and sides of squares that photos of any shape are resized to
SAME_SIZE = 0.1  # a factor nearer to 1 is no other size
SAME_SHAPE = 0.2  # log of the ratio of width and height


def doubt_given(load: Callable[[], Regressor], image: np.ndarray, points: Float[np.ndarray, "68 2"]) -> str | None:
    """Why given landmarks are doubtful, None if they are not.

    The network is asked only about profiles (`facejax.regression.direction`), and where the points' place in the photo
    is unusual, as it is for those of another size.

    Args:
      load: loads the regressor.
      image: the photo.
      points: pixels of the photo.

    Raises ValueError, one line, if they match a face of the photo but for its size, or but for left and right or the
    direction of the axes.
    """
    check_direction(load, image, points)
    if not _unusual(points, image.shape[:2]):
        return None
    regressor = load()
    here = regress_photos(regressor, [image], boxes=[landmark_box(points)], batch=1, blend=False).faces
    seen = [_landmarks(one.regression) for one in here if np.mean(one.regression.confidence) >= LEAST_CONFIDENCE]
    if seen and float(nme(points, seen[0])) < THERE:
        return None
    faces = [*_scaled_back(regressor, image, points), *_found(regressor, image)]
    others = [_other_size(points, one, image.shape[1::-1]) for one in faces]
    if not (known := [one for one in others if one is not None]):
        return "the network sees no face where its landmarks are"
    (x, y), (height, width) = min(known, key=lambda one: one.misfit).factors, image.shape[:2]
    raise ValueError(
        f"its landmarks look like those of another size of the photo: multiply x by {1 / x:.3g} and y by {1 / y:.3g}, "
        f"about, which makes {width * x:.0f} x {height * y:.0f} pixels {width} x {height}"
    )


class _Size(NamedTuple):
    """Points as those of a face in a photo of another size."""

    factors: np.ndarray  # x, y: of the other size
    misfit: float  # percent of the face's size


def _other_size(
    points: Float[np.ndarray, "68 2"], found: Float[np.ndarray, "68 2"], size: tuple[int, ...]
) -> _Size | None:
    """The size of the photo in which a face would have the points, None if there is no other such size.

    It has the shape of the photo of `size` (width, height), or is a square.
    """
    factors = (points * found).sum(axis=0) / (found * found).sum(axis=0)
    if factors.min() <= 0 or np.abs(factors - 1).max() < SAME_SIZE:
        return None
    if all(np.ptp(np.log(shape)) > SAME_SHAPE for shape in (factors, factors * size)):
        return None
    misfit = float(nme(points, found * factors))
    return _Size(factors, misfit) if misfit < ALIKE else None


def _unusual(points: Float[np.ndarray, "68 2"], shape: tuple[int, ...]) -> bool:
    """Whether points lie outside of the photo, or all in its upper left or lower right corner."""
    low, high = points.min(axis=0) / shape[1::-1], points.max(axis=0) / shape[1::-1]
    outside = low.min() < -BEYOND or high.max() > 1 + BEYOND
    return bool(outside or high.max() < CORNER or low.min() > 1 - CORNER)


def _scaled_back(regressor: Regressor, image: np.ndarray, points: Float[np.ndarray, "68 2"]) -> list[np.ndarray]:
    """The landmarks of the faces that the network is sure of where the points would be in photos of other sizes."""
    size = np.array(image.shape[1::-1], float)
    factors = [*(np.full(2, factor) for factor in FACTORS), *(size / side for side in SQUARES)]
    boxes = np.stack([landmark_box(points * factor) for factor in factors])
    inside = [one for one in portraits(regressor, as_photo(image), 0, boxes, 0) if isinstance(one, Portrait)]
    seen = regress_portraits(compile_regressor(regressor, 1), regressor, inside, 1)
    return [_landmarks(one.regression) for one in seen if one.sure]


def _found(regressor: Regressor, image: np.ndarray) -> list[np.ndarray]:
    """The landmarks of the faces that are found in the photo, and that the network trusts."""
    found = [one.regression for one in regress_photos(regressor, [image], faces="all", batch=1, blend=False).faces]
    return [_landmarks(one) for one in found if np.mean(one.confidence) >= LEAST_CONFIDENCE]


def _landmarks(one: Regression) -> Float[np.ndarray, "68 2"]:
    return np.asarray(one.landmarks, np.float64)

"""Given landmarks compared with the faces that the network sees in the photo: are they of another size of it?"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from facejax.evaluation.normalized_error import nme
from facejax.regression.candidates import LEAST_CONFIDENCE, landmark_box
from facejax.regression.photos import RegressedFace, regress_photos
from facejax.regression.regressor import Regressor

CORNER = 0.65  # of the photo's width and height: points that all lie in such a corner may be of another size
BEYOND = 0.03  # of them: points so far outside of the photo may be of another size
ALIKE = 10.0  # percent of the face's size: landmarks of one face
SAME_SIZE = 0.1  # a factor nearer to 1 is no other size


def doubt_given(load: Callable[[], Regressor], image: np.ndarray, points: Float[np.ndarray, "68 2"]) -> str | None:
    """Why given landmarks are doubtful, None if they are not.

    The network is asked only where the points' place in the photo is unusual, as it is for those of another size.

    Args:
      load: loads the regressor.
      image: the photo.
      points: pixels of the photo.

    Raises ValueError, one line, if they match a face of the photo but for its size.
    """
    if not _unusual(points, image.shape[:2]):
        return None
    regressor = load()
    here = regress_photos(regressor, [image], boxes=[landmark_box(points)], batch=1).faces
    known = bool(here) and float(np.mean(here[0].regression.confidence)) >= LEAST_CONFIDENCE
    if known and _alike(points, _landmarks(here[0])):
        return None
    for face in regress_photos(regressor, [image], faces="all", batch=1).faces:
        found = _landmarks(face)
        factors = (points * found).sum(axis=0) / (found * found).sum(axis=0)
        if np.abs(factors - 1).max() > SAME_SIZE and factors.min() > 0 and _alike(points, found * factors):
            width, height = image.shape[1], image.shape[0]
            raise ValueError(
                f"its landmarks look like those of another size of the photo, about {width * factors[0]:.0f} x "
                f"{height * factors[1]:.0f} pixels: multiply x by {1 / factors[0]:.3g} and y by {1 / factors[1]:.3g}"
            )
    return None if known else "the network sees no face where its landmarks are"


def _unusual(points: Float[np.ndarray, "68 2"], shape: tuple[int, ...]) -> bool:
    """Whether points lie outside of the photo, or all in its upper left or lower right corner."""
    low, high = points.min(axis=0) / shape[1::-1], points.max(axis=0) / shape[1::-1]
    outside = low.min() < -BEYOND or high.max() > 1 + BEYOND
    return bool(outside or high.max() < CORNER or low.min() > 1 - CORNER)


def _alike(points: Float[np.ndarray, "68 2"], found: Float[np.ndarray, "68 2"]) -> bool:
    return float(nme(points, found)) < ALIKE


def _landmarks(face: RegressedFace) -> Float[np.ndarray, "68 2"]:
    return np.asarray(face.regression.landmarks, np.float64)

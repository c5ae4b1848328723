"""Given landmarks of profiles: are they mirrored, upside down or with exchanged axes? The network tells.

Of a face that looks at the camera the points alone tell, see `facejax.fitting.landmark_check`. In a profile left and
right lie so close together that the points of either side look like a face.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facejax.evaluation.normalized_error import nme
from facejax.face_model.load import load_face_model
from facejax.face_model.surface_landmarks import MIRROR68
from facejax.fitting.landmark_check import EXCHANGED, MIRRORED, UPWARD, check_landmarks, mean_landmarks, place_head
from facejax.regression.candidates import LEAST_CONFIDENCE, landmark_box
from facejax.regression.photos import regress_photos
from facejax.regression.regressor import Regressor

Points = Float[np.ndarray, "68 2"]

PROFILE = 0.7  # cosine of the angle between nose and camera below which the network is asked: 45 degrees
SAME = 10.0  # percent of the face's size: points of the face that the network sees
WORSE = 1.5  # times: an honest set of 500 profiles was at most 1.3 times as far from the network's as when exchanged


class Way(NamedTuple):
    """A way to write landmarks down wrongly."""

    line: str  # what is wrong, and the fix; may name the photo's {width} and {height}
    undo: Callable[[Points, int, int], Points]  # of points, width and height


WAYS = (
    Way(MIRRORED, lambda points, width, height: points[MIRROR68]),
    Way("its landmarks look mirrored: give {width} - x", lambda points, width, height: points * [-1, 1] + [width, 0]),
    Way(
        "its landmarks look like those of the mirrored photo: give {width} - x, and exchange left and right",
        lambda points, width, height: (points * [-1, 1] + [width, 0])[MIRROR68],
    ),
    Way(UPWARD, lambda points, width, height: points * [1, -1] + [0, height]),
    Way(EXCHANGED, lambda points, width, height: points[:, ::-1]),
)


def check_direction(load: Callable[[], Regressor], image: np.ndarray, points: Points) -> None:
    """Check the landmarks of a profile against what the network sees in the photo.

    The network looks where the points are; only if it sees something else there, also where they would be if they were
    written down wrongly in each of some ways.

    Args:
      load: loads the regressor; called for profiles only.
      image: the photo.
      points: pixels of the photo.

    Raises ValueError, one line, for points that match the network's clearly better in one of these ways.
    """
    height, width = image.shape[:2]
    try:
        check_landmarks(points, (height, width), _mean(), "")
    except ValueError:
        return  # the fit says so
    if place_head(points, _mean()).rotation[2, 2] > PROFILE:
        return
    regressor = load()
    (here,) = _seen(regressor, image, [points])
    if here is None:
        here = np.full((68, 2), np.inf)
    own = float(nme(here, points))
    meant = [way.undo(points, width, height) for way in WAYS]
    seen = [here, *(_seen(regressor, image, meant[1:]) if own > SAME else [None] * len(meant[1:]))]
    misfits = [np.inf if one is None else float(nme(one, other)) for one, other in zip(seen, meant, strict=True)]
    best = int(np.argmin(misfits))
    if misfits[best] < SAME and own > WORSE * misfits[best]:
        raise ValueError(WAYS[best].line.format(width=width, height=height))


@cache
def _mean() -> Float[np.ndarray, "68 3"]:
    return mean_landmarks(load_face_model())


def _seen(regressor: Regressor, image: np.ndarray, places: Sequence[Points]) -> list[Points | None]:
    """The landmarks that the network sees in the place of others; None where it sees no face."""
    boxes = np.stack([landmark_box(points) for points in places])
    found: list[Points | None] = [None] * len(places)
    for one in regress_photos(regressor, [image], boxes=[boxes], batch=1, blend=False).faces:
        if np.mean(one.regression.confidence) >= LEAST_CONFIDENCE:
            found[one.number] = np.asarray(one.regression.landmarks, np.float64)
    return found

"""Face detection with OpenCV's cascades, which come with its wheel, in several passes over a photo.

Cascades (Viola and Jones, "Rapid object detection using a boosted cascade of simple features", CVPR 2001) are old,
small and quick. They miss turned and tilted faces, so further passes look at a mirrored, rotated or larger copy of the
photo. They mistake leaves and folds for faces, so each candidate has a score, and `facejax.regress` lets the network's
own confidence decide between candidates.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from facejax.lighting import luma

SURE = 0.65  # with a score above this the quick passes are enough
MIN_SIDE = 20  # smallest face in a shrunken copy, pixels: the cascades' training size
SAME_FACE = 0.3  # candidates whose boxes overlap by this share of their union are one face


class Candidate(NamedTuple):
    """A possible face."""

    box: Float[np.ndarray, " 4"]  # estimated box of its 68 landmarks: left, top, right, bottom, pixels
    score: float  # the sum over the passes that found it of 0 to about 1 each; higher is more certain


@dataclass(frozen=True)
class _Look:
    """One pass of one cascade over a copy of the photo."""

    cascade: str
    side: int  # longer side of the copy, pixels
    weight: tuple[float, float]  # OpenCV's weights of a detection that score 0 and 1
    size: float  # side of the landmarks' box, as a share of the detection's square
    drop: float  # how far the box's centre lies below the square's, in the same unit
    mirrored: bool = False
    degrees: float = 0.0  # counter-clockwise


# size and drop: medians over rendered faces, experiments/detector_boxes.py (see docs/regress.md).
_FRONTAL = _Look("haarcascade_frontalface_alt2", 512, (54.0, 56.0), size=0.84, drop=0.15)
_SECOND = _Look("haarcascade_frontalface_default", 512, (0.0, 8.0), size=0.83, drop=0.14)
_PROFILE = _Look("haarcascade_profileface", 384, (-2.0, 3.0), size=0.77, drop=0.16)


def _change(look: _Look, **changes: Any) -> _Look:
    return _Look(**(vars(look) | changes))


QUICK = (_FRONTAL, _PROFILE, _change(_PROFILE, mirrored=True))
THOROUGH = (
    _SECOND,
    *(_change(_FRONTAL, side=384, degrees=turn) for turn in (-22.0, 22.0, -40.0, 40.0)),
    _change(_PROFILE, degrees=-20.0),
    _change(_PROFILE, degrees=20.0, mirrored=True),
    _change(_FRONTAL, side=1024),
)


def detect_faces(image: Float[np.ndarray, "H W 3"]) -> list[Candidate]:
    """Candidates for faces in a photo (display values in [0, 1]), the largest first; empty when there are none.

    The photo is shrunk first, so its size matters little. Three quick passes; eight more when none of them is certain.
    A candidate's box estimates that of the 68 landmarks and may reach beyond the photo.
    """
    finest = _shrink(image, max(look.side for look in THOROUGH))
    found = [one for look in QUICK for one in _search(finest, look)]
    if max((one.score for one in _merged(found)), default=0.0) < SURE:
        found += [one for look in THOROUGH for one in _search(finest, look)]
    scale = np.array([image.shape[1], image.shape[0]] * 2) / np.array([finest.shape[1], finest.shape[0]] * 2)
    faces = [Candidate(one.box * scale, one.score) for one in _merged(found)]
    return sorted(faces, key=lambda face: -box_area(face.box))


def box_area(box: Float[np.ndarray, " 4"]) -> float:
    """Area in square pixels; 0 for an empty box."""
    return float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0))


def box_overlap(one: Float[np.ndarray, " 4"], other: Float[np.ndarray, " 4"]) -> float:
    """Intersection over union of two boxes."""
    both = np.concatenate([np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])])
    shared = box_area(both)
    return shared / max(box_area(one) + box_area(other) - shared, 1e-9)


def _merged(found: list[Candidate]) -> list[Candidate]:
    """One candidate per group of overlapping ones: scores add up, boxes are averaged by score."""
    groups: list[list[Candidate]] = []
    for one in sorted(found, key=lambda one: -one.score):
        home = next((group for group in groups if box_overlap(group[0].box, one.box) > SAME_FACE), None)
        groups.append([one]) if home is None else home.append(one)
    merged = []
    for group in groups:
        scores = np.array([one.score for one in group])
        boxes = np.stack([one.box for one in group])
        merged.append(Candidate(scores @ boxes / scores.sum(), float(scores.sum())))
    return merged


def _search(grey: UInt8[np.ndarray, "H W"], look: _Look) -> Iterator[Candidate]:
    """The detections of one pass, in pixels of `grey`."""
    copy = _resized(grey, look.side)
    scale = max(grey.shape) / max(copy.shape)
    turned, inverse = _turned(copy, look.degrees)
    flip = turned.shape[1] if look.mirrored else None
    view = np.ascontiguousarray(turned[:, ::-1]) if look.mirrored else turned
    squares, _, weights = _cascade(look.cascade).detectMultiScale3(
        view, scaleFactor=1.1, minNeighbors=2, minSize=(MIN_SIDE, MIN_SIDE), outputRejectLevels=True
    )
    low, high = look.weight
    for (x, y, side, _), weight in zip(np.reshape(squares, (-1, 4)).astype(float), np.ravel(weights), strict=True):
        middle = x + side / 2
        centre = np.array([middle if flip is None else flip - middle, y + side * (0.5 + look.drop), 1.0])
        half = side * look.size / 2
        box = np.concatenate([inverse @ centre - half, inverse @ centre + half]) * scale
        yield Candidate(box, float(np.clip((weight - low) / (high - low), 0.1, 1.0)))


def _turned(grey: UInt8[np.ndarray, "H W"], degrees: float) -> tuple[np.ndarray, Float[np.ndarray, "2 3"]]:
    """The whole picture rotated about its centre, and the affine map from its pixels back to the original ones."""
    if degrees == 0:
        return grey, np.eye(2, 3)
    import cv2

    height, width = grey.shape
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    size = np.array([width * abs(c) + height * abs(s), width * abs(s) + height * abs(c)])
    back = np.array([[c, -s], [s, c]])  # y points down
    shift = np.array([width, height]) / 2 - back @ size / 2
    inverse = np.column_stack([back, shift])
    # warpAffine has the first pixel's centre at 0, this project the picture's corner.
    centres = np.column_stack([back, shift + back @ [0.5, 0.5] - 0.5])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    shape = (int(size[0]), int(size[1]))
    return cv2.warpAffine(grey, centres, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE), inverse


def _shrink(image: Float[np.ndarray, "H W 3"], side: int) -> UInt8[np.ndarray, "h w"]:
    """The photo in grey bytes, no side longer than `side`; shrunk first, so a large photo is never copied whole."""
    small = _resized(np.asarray(image, np.float32), side)
    return np.clip(luma(small) * 255 + 0.5, 0, 255).astype(np.uint8)


def _resized(pixels: np.ndarray, side: int) -> np.ndarray:
    import cv2

    height, width = pixels.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return pixels
    shape = (max(round(width * scale), 1), max(round(height * scale), 1))
    return cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)


@lru_cache
def _cascade(name: str) -> Any:
    """A cascade from the OpenCV wheel. Imported here, since only photos without boxes or landmarks need OpenCV."""
    try:
        import cv2

        path = Path(cv2.data.haarcascades) / f"{name}.xml"  # pyright: ignore[reportAttributeAccessIssue]
        cascade = cv2.CascadeClassifier(str(path)) if path.is_file() else None
    except (ImportError, AttributeError):
        cascade = None
    if cascade is None or cascade.empty():
        raise ValueError(
            "face detection needs OpenCV 4 with its cascades: pip install 'opencv-python-headless>=4.10,<5'"
        )
    return cascade

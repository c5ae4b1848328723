"""Places in a photo that may show a face: cut out, regressed in two passes, and chosen by the network's confidence."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from facejax.images import apply_crop
from facejax.images.crop import Crop
from facejax.images.detect import box_area, box_overlap, detect_faces
from facejax.regression.regressor import Regression, Regressor, box_crop
from facejax.regression.turned import turn_box, turn_regression, turned_shape

Program = Callable[[np.ndarray, np.ndarray, np.ndarray], Regression]  # crops, scales, offsets -> in photo pixels

PASSES = 2
SURROUNDINGS = 2.0  # size of the part of a photo kept for the second pass, in sides of the first crop
KEPT_PIXELS = 4  # the kept part is shrunk to at most this many pixels per pixel of a crop, along a side
# Mean confidences over the 68 landmarks, see docs/regress.md for the measurement.
LEAST_CONFIDENCE = 0.45  # below it a detection is no face
SURE_CONFIDENCE = 0.6  # below it the face is doubtful, and the photo is also looked at turned
LEAST_INSIDE = 0.1  # share of a given box that must lie in the photo
SAME_FACE = 0.4  # overlap above which two landmark boxes are one face


class Portrait(NamedTuple):
    """A candidate with its surroundings, so that the photo itself need not be kept."""

    photo: int
    number: int  # of the box among those given for the photo
    box: Float[np.ndarray, " 4"]  # pixels of the turned photo
    turn: int  # quarter turns of the photo, see `facejax.regression.turned`
    shape: tuple[int, int]  # height and width of the photo as it is
    pixels: Float[np.ndarray, "h w 3"]
    place: Crop  # of `pixels` in the turned photo


class Seen(NamedTuple):
    """A regressed candidate, in pixels of the photo as it is."""

    photo: int
    number: int
    box: Float[np.ndarray, " 4"]
    turn: int
    regression: Regression

    @property
    def confidence(self) -> float:
        return float(np.mean(self.regression.confidence))

    @property
    def sure(self) -> bool:
        return self.confidence >= SURE_CONFIDENCE

    @property
    def landmark_box(self) -> Float[np.ndarray, " 4"]:
        return landmark_box(np.asarray(self.regression.landmarks))


def landmark_box(landmarks: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, " 4"]:
    """[left, top, right, bottom] of the points."""
    return np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)]).astype(np.float64)


def portraits(
    regressor: Regressor, image: np.ndarray, photo: int, given: Float[np.ndarray, "K 4"] | None, turn: int
) -> Iterator[Portrait | ValueError]:
    """The candidates of one photo that is turned first; for a box outside of the photo the error in its place.

    Args:
      regressor: says how large a crop is.
      image: the photo, display values.
      photo: its index.
      given: boxes in pixels of the photo as it is; None: the detector looks for faces.
      turn: quarter turns.
    """
    turned = np.rot90(image, turn)
    height, width = image.shape[:2]
    boxes = [one.box for one in detect_faces(turned)] if given is None else list(given)
    for number, box in enumerate(boxes):
        try:
            if given is not None:
                check_inside(box, (height, width))
                box = turn_box(box, (height, width), turn)
            yield Portrait(photo, number, box, turn, (height, width), *cut(regressor, turned, box))
        except ValueError as error:
            yield error


def check_inside(box: Float[np.ndarray, " 4"], shape: tuple[int, int]) -> None:
    """Raises ValueError for a box that is outside of a photo of `shape`: its centre, or all but a corner of it."""
    height, width = shape
    middle = (box[:2] + box[2:]) / 2
    part = np.concatenate([np.maximum(box[:2], 0), np.minimum(box[2:], [width, height])])
    near = -0.5 * width < middle[0] < 1.5 * width and -0.5 * height < middle[1] < 1.5 * height
    if not near or box_area(part) < LEAST_INSIDE * min(box_area(box), width * height):
        numbers = [round(float(number), 1) for number in box]
        raise ValueError(f"its box lies outside of the photo ({width} x {height} pixels): {numbers}")


def cut(regressor: Regressor, image: np.ndarray, box: Float[np.ndarray, " 4"]) -> tuple[np.ndarray, Crop]:
    """A copy of the photo around a box, shrunk where it has far more pixels than the network sees."""
    height, width = image.shape[:2]
    middle = (box[:2] + box[2:]) / 2
    size = regressor.config.side
    first = box_crop(box, regressor.config)
    half = SURROUNDINGS * size / float(first.scale) / 2
    shape = np.array([width, height])
    low = np.clip(np.floor(middle - half), 0, shape - 1).astype(int)
    high = np.clip(np.ceil(middle + half), low + 1, shape).astype(int)
    pixels = image[low[1] : high[1], low[0] : high[0]]
    side, limit = max(pixels.shape[:2]), int(SURROUNDINGS * KEPT_PIXELS * size)
    if side <= limit:
        return pixels.copy(), Crop(np.asarray(1.0, np.float32), -low.astype(np.float32))
    scale = limit / side
    small, _ = apply_crop(pixels, Crop(np.asarray(scale, np.float32), np.zeros(2, np.float32)), limit)
    small = small[: max(int(pixels.shape[0] * scale), 1), : max(int(pixels.shape[1] * scale), 1)]
    return small, Crop(np.asarray(scale, np.float32), (-scale * low).astype(np.float32))


def regress_portraits(program: Program, regressor: Regressor, portraits: Sequence[Portrait], batch: int) -> list[Seen]:
    """Both passes over all candidates; the crops of the second are laid around the landmarks of the first."""
    boxes = [portrait.box for portrait in portraits]
    regressed: list[Regression] = []
    for _ in range(PASSES):
        crops = [box_crop(box, regressor.config) for box in boxes]
        regressed = []
        for start in range(0, len(portraits), batch):
            some = slice(start, start + batch)
            regressed += _regress_batch(program, regressor.config.side, portraits[some], crops[some], batch)
        boxes = [_next_box(box, one) for box, one in zip(boxes, regressed, strict=True)]
    return [_turned_back(*one) for one in zip(portraits, regressed, strict=True)]


def _turned_back(portrait: Portrait, one: Regression) -> Seen:
    """A regressed candidate in pixels of the photo as it is."""
    shape, back = turned_shape(portrait.shape, portrait.turn), -portrait.turn % 4
    box, regression = turn_box(portrait.box, shape, back), turn_regression(one, shape, back)
    return Seen(portrait.photo, portrait.number, box, portrait.turn, regression)


def _next_box(box: Float[np.ndarray, " 4"], one: Regression) -> Float[np.ndarray, " 4"]:
    """The landmarks' box; if the landmarks left their crop or collapsed, the same box again."""
    better = landmark_box(np.asarray(one.landmarks))
    usual = 0.3 < np.sqrt(box_area(better) / max(box_area(box), 1e-6)) < 3.0
    return better if np.isfinite(better).all() and usual else box


def _regress_batch(
    program: Program, size: int, portraits: Sequence[Portrait], crops: list[Crop], batch: int
) -> list[Regression]:
    """At most `batch` faces, in pixels of their photos; the program's batch is padded with empty crops."""
    images = np.zeros((batch, size, size, 3), np.float32)
    scale, offset = np.ones(batch, np.float32), np.zeros((batch, 2), np.float32)
    for k, (portrait, crop) in enumerate(zip(portraits, crops, strict=True)):
        zoom = crop.scale / portrait.place.scale
        seen = Crop(np.asarray(zoom), np.asarray(crop.offset - zoom * portrait.place.offset))
        images[k] = apply_crop(portrait.pixels, seen, size)[0]
        scale[k], offset[k] = crop.scale, crop.offset
    seen = jax.tree.map(np.asarray, program(images, scale, offset))
    return [jax.tree.map(lambda leaf, k=k: leaf[k], seen) for k in range(len(crops))]


def distinct_faces(seen: Sequence[Seen]) -> list[Seen]:
    """The faces among detections, the largest first: without what the network does not trust, and each face once.

    Of two detections of one face the more confident is kept. They are one face where their landmarks' boxes overlap by
    `SAME_FACE`, or where the centre of one lies in the other, as for a pair of eyes inside a face.
    """
    kept: list[Seen] = []
    for one in sorted(seen, key=lambda one: -one.confidence):
        if one.confidence >= LEAST_CONFIDENCE and not any(_same_face(one, other) for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: -box_area(one.landmark_box))


def _same_face(one: Seen, other: Seen) -> bool:
    a, b = one.landmark_box, other.landmark_box
    return box_overlap(a, b) > SAME_FACE or _holds_centre(a, b) or _holds_centre(b, a)


def _holds_centre(box: Float[np.ndarray, " 4"], other: Float[np.ndarray, " 4"]) -> bool:
    middle = (other[:2] + other[2:]) / 2
    return bool(np.all(middle > box[:2]) and np.all(middle < box[2:]))

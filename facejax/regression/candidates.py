"""Places in a photo that may show a face: cut out, regressed in two passes, and chosen by the network's confidence."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from facejax.images import apply_crop
from facejax.images.boxes import box_area, box_overlap
from facejax.images.crop import Crop
from facejax.regression.detector import detect_faces
from facejax.regression.regressor import Regression, Regressor, box_crop
from facejax.regression.turned import angle_transform, roll_angle, turn_box, turn_regression, turned_shape

Program = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], Regression]
"""Pictures, scales, offsets and angles, see `facejax.regression.photos.regress_in_photo`, to faces in photo pixels."""

PASSES = 2
SURROUNDINGS = 2.0  # size of the part of a photo kept for the second pass, in sides of the first crop
LEAST_ANGLE, MOST_ANGLE = math.radians(15), math.radians(60)  # less needs no turn; more is left to the quarter turns
SAME_CROP = 0.85  # overlap above which another crop would show the same
KEPT_PIXELS = 4  # the kept part is shrunk to at most this many pixels per pixel of a crop, along a side
# Mean confidences over the 68 landmarks, see docs/regress.md for the measurement.
LEAST_CONFIDENCE = 0.45  # below it a detection is no face, unless it is all there is
LEAST_SCORE = 0.55  # probability, by the detector, of a face that is all there is
SURE_CONFIDENCE = 0.6  # below it the face is doubtful, and the photo is also looked at turned
LEAST_INSIDE = 0.1  # share of a given box that must lie in the photo
SAME_FACE = 0.4  # overlap above which two landmark boxes are one face


class Portrait(NamedTuple):
    """A candidate with its surroundings, so that the photo itself need not be kept."""

    photo: int
    number: int  # of the box among those given for the photo
    box: Float[np.ndarray, " 4"]  # pixels of the turned photo
    score: float  # the detector's probability of a face in the whole photo; 0 in a tile of it; 1 for a given box
    turn: int  # quarter turns of the photo, see `facejax.regression.turned`
    shape: tuple[int, int]  # height and width of the photo as it is
    pixels: Float[np.ndarray, "h w 3"]
    place: Crop  # of `pixels` in the turned photo


class Seen(NamedTuple):
    """A regressed candidate, in pixels of the photo as it is."""

    photo: int
    number: int
    box: Float[np.ndarray, " 4"]
    score: float  # of the detector
    turn: int
    regression: Regression
    portrait: Portrait | None = None

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
    regressor: Regressor,
    image: np.ndarray,
    photo: int,
    given: Float[np.ndarray, "K 4"] | None,
    turn: int,
    *,
    every: bool = False,
) -> Iterator[Portrait | ValueError]:
    """The candidates of one photo that is turned first; for a box outside of the photo the error in its place.

    Args:
      regressor: says how large a crop is.
      image: the photo, display values.
      photo: its index.
      given: boxes in pixels of the photo as it is; None: the detector looks for faces.
      turn: quarter turns.
      every: look for the small faces of a crowd too.
    """
    turned = np.rot90(image, turn)
    height, width = image.shape[:2]
    found = [(one.box, one.score * one.whole) for one in detect_faces(turned, every=every)] if given is None else []
    for number, (box, score) in enumerate(found if given is None else [(box, 1.0) for box in given]):
        try:
            if given is not None:
                check_inside(box, (height, width))
                box = turn_box(box, (height, width), turn)
            yield Portrait(photo, number, box, score, turn, (height, width), *cut(regressor, turned, box))
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


class Place(NamedTuple):
    """Where a picture for the network is cut."""

    crop: Crop  # before the turn
    angle: float  # by which it is turned about its centre, see `facejax.regression.turned`


def picture_side(regressor: Regressor) -> int:
    """Pixels per side of what is cut out around a crop: enough to turn it by any angle."""
    side = regressor.config.side
    return side + 2 * math.ceil((math.sqrt(2) - 1) / 2 * side)


def regress_portraits(program: Program, regressor: Regressor, portraits: Sequence[Portrait], batch: int) -> list[Seen]:
    """Both passes over all candidates. The crops of the second are laid around the landmarks of the first, and turned
    so that the head is upright. Where that would show the same again, there is no second."""
    places = [Place(box_crop(portrait.box, regressor.config), 0.0) for portrait in portraits]
    regressed: list[Regression] = [None] * len(portraits)  # type: ignore[list-item]
    left = list(range(len(portraits)))  # whose place has changed
    for _ in range(PASSES):
        for start in range(0, len(left), batch):
            rows = left[start : start + batch]
            some = [portraits[k] for k in rows], [places[k] for k in rows]
            for k, one in zip(rows, _regress_batch(program, regressor, *some, batch), strict=True):
                regressed[k] = one
        before, places = places, [_next_place(regressor, *one) for one in zip(places, regressed, strict=True)]
        left = [k for k in left if places[k] is not before[k]]
    return [_turned_back(*one) for one in zip(portraits, regressed, strict=True)]


def _turned_back(portrait: Portrait, one: Regression) -> Seen:
    """A regressed candidate in pixels of the photo as it is."""
    shape, back = turned_shape(portrait.shape, portrait.turn), -portrait.turn % 4
    box, regression = turn_box(portrait.box, shape, back), turn_regression(one, shape, back)
    return Seen(portrait.photo, portrait.number, box, portrait.score, portrait.turn, regression, portrait)


def _next_place(regressor: Regressor, place: Place, one: Regression) -> Place:
    """The upright crop around the landmarks; the same place if that is about the same crop, or if the landmarks left
    their crop or collapsed."""
    points, config = np.asarray(one.landmarks, np.float64), regressor.config
    if not np.isfinite(points).all():
        return place
    angle = roll_angle(one.params.pose.rotation)
    angle = angle if LEAST_ANGLE < abs(angle) < MOST_ANGLE else 0.0
    turn = np.asarray(angle_transform(np.asarray(angle), np.zeros(2), np.zeros(2)), np.float64)[:, :2]
    box = landmark_box(points @ turn.T)
    middle, half = (box[:2] + box[2:]) / 2 @ turn, (box[2:] - box[:2]) / 2
    usual = 0.3 < np.sqrt(4 * half.prod()) * place.crop.scale * config.margin / config.side < 3.0
    if not usual:
        return place
    following = Place(box_crop(np.concatenate([middle - half, middle + half]), config), angle)
    alike = box_overlap(*(_square(some.crop, config.side) for some in (place, following))) > SAME_CROP
    return place if alike and angle == place.angle else following


def _square(crop: Crop, side: int) -> Float[np.ndarray, " 4"]:
    """The box of a crop that is not turned, in pixels of the photo."""
    return np.asarray(crop.invert_points(np.array([[0.0, 0.0], [side, side]]))).reshape(4)


def _regress_batch(
    program: Program, regressor: Regressor, portraits: Sequence[Portrait], places: Sequence[Place], batch: int
) -> list[Regression]:
    """At most `batch` faces, in pixels of their photos; the program's batch is padded with empty crops."""
    side = picture_side(regressor)
    edge = (side - regressor.config.side) // 2
    pictures = np.zeros((batch, side, side, 3), np.float32)
    scale, offset, angle = np.ones(batch, np.float32), np.zeros((batch, 2), np.float32), np.zeros(batch, np.float32)
    for k, (portrait, place) in enumerate(zip(portraits, places, strict=True)):
        pictures[k] = view(portrait, Crop(place.crop.scale, place.crop.offset + np.float32(edge)), side)
        scale[k], offset[k], angle[k] = place.crop.scale, place.crop.offset, place.angle
    seen = jax.tree.map(np.asarray, program(pictures, scale, offset, angle))
    return [jax.tree.map(lambda leaf, k=k: leaf[k], seen) for k in range(len(places))]


def view(portrait: Portrait, crop: Crop, side: int) -> Float[np.ndarray, "side side 3"]:
    """A crop of the turned photo, from the part of it that was kept."""
    zoom = crop.scale / portrait.place.scale
    seen = Crop(np.asarray(zoom), np.asarray(crop.offset - zoom * portrait.place.offset))
    return apply_crop(portrait.pixels, seen, side)[0]


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

"""Face detection with two BlazeFace nets: one for faces that fill much of a photo, one for smaller ones.

Both look at the whole photo, shrunk. Faces that are smaller than a twentieth of it are looked for in overlapping tiles.
A detection is MediaPipe's box of a face, which is converted to the box of the 68 landmarks by its usual size and place.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from PIL import Image

from facejax.checkpoints import load
from facejax.images.boxes import box_area, box_overlap
from facejax.images.read import Pixels
from facejax.nets.blazeface import CONFIGS, apply_blazeface, decode_anchors
from facejax.programs import compile_cached

SCHEMA, VERSION = "facejax.face_detector", 1
ASSET = Path(__file__).parents[1] / "assets" / "face_detector"

SURE = 0.5  # probability above which an anchor is a face
SAME_FACE = 0.3  # candidates whose boxes overlap by this share of their union are one face
TILES = 4  # a photo is searched in tiles down to this part of its longer side
LEAST_TILE = 96  # pixels; a smaller tile would only be enlarged

# Side of the landmarks' box as a share of the detection's, and how far its centre lies below, in the same unit: medians
# over 1,000 rendered faces, experiments/detector_boxes.py.
LANDMARK_BOX = {"short": (0.96, 0.051), "full": (0.93, 0.083)}


class Candidate(NamedTuple):
    """A possible face."""

    box: Float[np.ndarray, " 4"]  # estimated box of its 68 landmarks: left, top, right, bottom, pixels
    score: float  # probability that it is a face
    points: Float[np.ndarray, "6 2"]  # right and left eye, tip of the nose, mouth, right and left ear, pixels
    net: str  # that found it first
    whole: bool = True  # in the whole photo, not in a tile of it


class Detections(NamedTuple):
    """What one net sees in some square pictures; shares of their side."""

    score: Float[Array, "N A"]  # probability of a face at each anchor
    points: Float[Array, "N A 8 2"]  # corners of the box, then the key points


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FaceDetector:
    """The weights of both nets, by name."""

    weights: dict[str, Any]


@lru_cache
def load_detector() -> FaceDetector:
    """The shipped detector: MediaPipe's nets, converted by experiments/convert_mediapipe.py."""
    weights, _ = load(ASSET, schema=SCHEMA, version=VERSION)
    return FaceDetector(jax.device_put(weights))


def look_for_faces(detector: FaceDetector, pictures: dict[str, Float[Array, "N S S 3"]]) -> dict[str, Detections]:
    """All anchors of both nets. Pure. `pictures`: the same ones for each net, of its own size, values in [-1, 1]."""
    seen = {}
    for name, config in CONFIGS.items():
        logits, raw = apply_blazeface(config, detector.weights[name], pictures[name])
        seen[name] = Detections(jax.nn.sigmoid(jnp.clip(logits, -80, 80)), decode_anchors(config, raw))
    return seen


def detect_faces(image: Pixels, *, every: bool = False, detector: FaceDetector | None = None) -> list[Candidate]:
    """Candidates for faces in a photo, the largest first; empty when there are none.

    Args:
        image: (H, W, 3), bytes, or display values in [0, 1].
        every: search in tiles too, for the small faces of a crowd. Otherwise tiles are only searched where the whole
            photo shows no face.
        detector: the shipped one by default.

    A candidate's box estimates that of the 68 landmarks and may reach beyond the photo.
    """
    detector = load_detector() if detector is None else detector
    height, width = image.shape[:2]
    found = search_parts(detector, image, [(0, 0, width, height)])
    if every or not found:
        found += search_parts(detector, image, tiles(width, height))
    return sorted(merge(found), key=lambda face: -box_area(face.box))


def tiles(width: int, height: int) -> list[tuple[int, int, int, int]]:
    """Squares (left, top, right, bottom) that cover a photo, each by half over the next: first large, then small."""
    boxes = []
    part = 2
    while part <= TILES and (side := max(width, height) // part) >= LEAST_TILE:
        steps = [
            np.linspace(0, max(length - side, 0), -(-2 * length // side)).astype(int) for length in (width, height)
        ]
        boxes += [(int(x), int(y), min(int(x) + side, width), min(int(y) + side, height))
                  for y in np.unique(steps[1]) for x in np.unique(steps[0])]  # fmt: skip
        part *= 2
    return boxes


def merge(found: Sequence[Candidate]) -> list[Candidate]:
    """One candidate for each group of overlapping ones: the mean of those by score, with the best score."""
    groups: list[list[Candidate]] = []
    for one in sorted(found, key=lambda one: -one.score):
        home = next((group for group in groups if box_overlap(group[0].box, one.box) > SAME_FACE), None)
        groups.append([one]) if home is None else home.append(one)
    merged = []
    for group in groups:
        scores = np.array([one.score for one in group])
        weights = scores / scores.sum()
        mean = [np.einsum("n,n...->...", weights, np.stack([one[k] for one in group])) for k in (0, 2)]
        merged.append(group[0]._replace(box=mean[0], points=mean[1]))
    return merged


def search_parts(detector: FaceDetector, image: Pixels, parts: Sequence[tuple[int, int, int, int]]) -> list[Candidate]:
    """What each net takes for a face in some parts (left, top, right, bottom) of a photo, in its pixels."""
    found = []
    for left, top, right, bottom in parts:
        view = image[top:bottom, left:right]
        whole = view.shape == image.shape
        side = max(view.shape[:2])  # of the square around the part, pixels of the photo
        corner = np.array([left, top]) - (side - np.array([view.shape[1], view.shape[0]])) / 2
        pictures = {name: _square(view, config.side)[None] for name, config in CONFIGS.items()}
        for name, seen in _program(detector)(detector, pictures).items():
            score, points = np.asarray(seen.score[0]), np.asarray(seen.points[0], np.float64)
            for k in np.flatnonzero(score > SURE):
                placed = points[k] * side + corner
                found.append(Candidate(_landmark_box(name, placed[:2]), float(score[k]), placed[2:], name, whole))
    return found


def _landmark_box(name: str, corners: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, " 4"]:
    size, drop = LANDMARK_BOX[name]
    side = np.sqrt(box_area(corners.reshape(4)))
    centre = corners.mean(axis=0) + np.array([0, drop * side])
    return np.concatenate([centre - size * side / 2, centre + size * side / 2])


def _program(detector: FaceDetector) -> Any:
    shapes = {name: jax.ShapeDtypeStruct((1, one.side, one.side, 3), jnp.float32) for name, one in CONFIGS.items()}
    return compile_cached(look_for_faces, detector, shapes, name="face-detector", results=(Detections,))


def _square(view: np.ndarray, side: int) -> Float[np.ndarray, "S S 3"]:
    """A picture in the middle of a black square of `side` pixels, values in [-1, 1]."""
    height, width = view.shape[:2]
    scale = side / max(height, width)
    step = max(int(0.25 / scale), 1)  # four pixels for one are enough to resample a large photo
    thin = view[step // 2 :: step, step // 2 :: step]
    if thin.dtype != np.uint8:
        thin = (np.clip(thin, 0, 1) * 255 + 0.5).astype(np.uint8)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    small = np.asarray(Image.fromarray(np.ascontiguousarray(thin)).resize(size, Image.Resampling.BILINEAR))
    square = np.full((side, side, 3), -1, np.float32)
    x, y = (side - size[0]) // 2, (side - size[1]) // 2
    square[y : y + size[1], x : x + size[0]] = small / np.float32(127.5) - 1
    return square

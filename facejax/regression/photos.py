"""Faces in whole photos: detect, regress each from a crop, again from a better crop, and answer in photo pixels."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import PerspectiveCamera, Pose, transform_camera
from facejax.face_model import FaceParams
from facejax.images import apply_crop, as_photo, read_image
from facejax.images.box_files import check_boxes
from facejax.images.crop import Crop
from facejax.images.detect import box_area, box_overlap, detect_faces
from facejax.programs import compile_cached
from facejax.regression.regressor import Regression, Regressor, box_crop, regress_crops

log: logging.Logger = logging.getLogger(__name__)

Faces = Literal["largest", "all"]
Source = str | Path | np.ndarray | jax.Array
ARRAYS = np.ndarray, jax.Array
Boxes = Mapping[str, Any] | Sequence[Any] | np.ndarray  # by file name, or one entry per photo
Program = Callable[[np.ndarray, np.ndarray, np.ndarray], Regression]  # crops, scales, offsets -> in photo pixels

PASSES = 2
SURROUNDINGS = 2.0  # size of the part of a photo kept for the second pass, in sides of the first crop
KEPT_PIXELS = 4  # the kept part is shrunk to at most this many pixels per pixel of a crop, along a side
LEAST_CONFIDENCE = 0.25  # mean over the 68 landmarks below which a detection is dropped
SAME_FACE = 0.4  # overlap above which two landmark boxes are one face

NOT_FOUND = (
    "no face found: give its place with --boxes FILE, or its 68 points with --landmarks "
    "(in Python: fit's start=regress(..., boxes=...))"
)


class RegressedFace(NamedTuple):
    """One face of one photo, as numpy arrays."""

    photo: int  # index in the list of photos
    box: Float[np.ndarray, " 4"]  # from the detector or the caller: left, top, right, bottom; pixels
    regression: Regression  # in pixels of the photo


@dataclass(frozen=True)
class RegressedPhotos:
    """The faces of a list of photos, in its order and the largest first, and one line for each photo without a face."""

    names: list[str]  # of the photos
    faces: list[RegressedFace]
    failures: list[str]
    failed: list[int]  # index of the photo of each failure


class _Portrait(NamedTuple):
    """A candidate with its surroundings, so that the photo itself need not be kept."""

    photo: int
    box: Float[np.ndarray, " 4"]  # pixels of the photo
    given: bool  # by the caller, so it is not checked
    pixels: Float[np.ndarray, "h w 3"]
    place: Crop  # of `pixels` in the photo


def regress_photos(
    regressor: Regressor,
    photos: Sequence[Source],
    *,
    boxes: Boxes | None = None,
    faces: Faces = "largest",
    names: Sequence[str] | None = None,
    batch: int = 8,
    progress: Callable[[int], object] | None = None,
) -> RegressedPhotos:
    """Find and regress the faces of photos.

    A photo that cannot be read or shows no face becomes a line of `failures` and does not stop the others. The detector
    finds candidates; one whose landmarks the network itself does not trust is dropped.

    Args:
      regressor: the network.
      photos: files, or arrays (H, W, 3) of display values or bytes.
      boxes: [left, top, right, bottom] or rows of them, in pixels: for some photos by file name, or for each photo in
        order (None: look for the face). Each encloses the 68 landmarks.
      faces: "largest" for only the largest face of a photo, or "all". All given boxes are used.
      names: of the photos; by default the files' names, and "photo 0" and so on for arrays.
      batch: faces that a compiled program takes at once; smaller batches are padded.
      progress: called with the number of photos done since the last call.

    Returns:
      The faces.
    """
    if faces not in ("largest", "all"):
        raise ValueError(f"faces={faces!r}: pass 'largest' or 'all'")
    if batch < 1:
        raise ValueError(f"batch={batch}: at least 1 face at once")
    if names is None:
        names = [f"photo {k}" if isinstance(one, ARRAYS) else Path(one).name for k, one in enumerate(photos)]
    names = list(names)
    given = _boxes_by_photo(boxes, names)
    program = compile_regressor(regressor, batch)
    found: list[RegressedFace] = []
    failures: list[str] = []
    failed: list[int] = []
    for start in range(0, len(photos), batch):
        group = range(start, min(start + batch, len(photos)))
        portraits: list[_Portrait] = []
        for index in group:
            try:
                portraits += _portraits(regressor, photos[index], names[index], index, given[index])
            except (ValueError, OSError) as error:
                failures.append(_named(error, photos[index], names[index]))
                failed.append(index)
        regressed = _regress_portraits(program, regressor, portraits, batch)
        for index in group:
            mine = [k for k, portrait in enumerate(portraits) if portrait.photo == index]
            chosen = _choose([portraits[k] for k in mine], [regressed[k] for k in mine], faces)
            found += chosen
            if mine and not chosen:
                failures.append(_named(ValueError(NOT_FOUND), photos[index], names[index]))
                failed.append(index)
        if progress is not None:
            progress(len(group))
    for failure in failures:
        log.info("%s", failure)
    return RegressedPhotos(names, found, failures, failed)


def regress_in_photo(
    regressor: Regressor, images: Float[Array, "N S S 3"], scale: Float[Array, " N"], offset: Float[Array, "N 2"]
) -> Regression:
    """`regress_crops`, with results in pixels of the photos. Pure.

    Args:
      regressor: the network.
      images: crops.
      scale, offset: of the crops: `crop = scale * photo + offset`.

    Returns:
      The faces.
    """
    seen = regress_crops(regressor, images)
    camera = jax.vmap(transform_camera)(seen.params.camera, 1 / scale, -offset / scale[:, None])
    points = (seen.landmarks - offset[:, None]) / scale[:, None, None]
    return replace(seen, params=replace(seen.params, camera=camera), landmarks=points)


def compile_regressor(regressor: Regressor, batch: int) -> Program:
    """`regress_in_photo` of this regressor compiled for `batch` crops; remembered, so it is compiled once."""
    size = regressor.config.side
    shapes = [(batch, size, size, 3), (batch,), (batch, 2)]
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    parts = (Regression, FaceParams, Pose, PerspectiveCamera)
    program = compile_cached(regress_in_photo, regressor, *arrays, name="regressor", results=parts)
    return partial(program, regressor)


def stack_regressions(faces: Sequence[Regression]) -> Regression:
    """Faces stacked along a leading axis N."""
    return jax.device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *faces))


def landmark_box(landmarks: Float[np.ndarray, "68 2"]) -> Float[np.ndarray, " 4"]:
    """[left, top, right, bottom] of the points."""
    return np.concatenate([landmarks.min(axis=0), landmarks.max(axis=0)]).astype(np.float64)


def _boxes_by_photo(boxes: Boxes | None, names: list[str]) -> list[np.ndarray | None]:
    if boxes is None:
        return [None] * len(names)
    if isinstance(boxes, Mapping):
        boxes = [boxes.get(name) for name in names]
    if isinstance(boxes, np.ndarray) and boxes.ndim == 1:
        boxes = [boxes]
    if len(boxes) != len(names):
        raise ValueError(
            f"{len(boxes)} boxes for {len(names)} photos: pass one entry a photo (None: look for the face)"
        )
    return [None if one is None else check_boxes(one, name) for one, name in zip(boxes, names, strict=True)]


def _named(error: Exception, photo: Source, name: str) -> str:
    """One line that begins with the photo's name, which errors of reading already do."""
    line = " ".join(str(error).split()) or type(error).__name__
    label = name if isinstance(photo, ARRAYS) else str(photo)
    return line if line.startswith((label, name)) else f"{label}: {line}"


def _portraits(regressor: Regressor, photo: Source, name: str, index: int, given: np.ndarray | None) -> list[_Portrait]:
    """The candidates of one photo."""
    image = as_photo(photo, name) if isinstance(photo, ARRAYS) else read_image(photo)
    boxes = [one.box for one in detect_faces(image)] if given is None else list(given)
    if not boxes:
        raise ValueError(NOT_FOUND)
    return [_Portrait(index, box, given is not None, *_cut(regressor, image, box)) for box in boxes]


def _cut(regressor: Regressor, image: np.ndarray, box: Float[np.ndarray, " 4"]) -> tuple[np.ndarray, Crop]:
    """A copy of the photo around a box, shrunk where it has far more pixels than the network sees."""
    height, width = image.shape[:2]
    middle = (box[:2] + box[2:]) / 2
    if not (-0.5 * width < middle[0] < 1.5 * width and -0.5 * height < middle[1] < 1.5 * height):
        raise ValueError(f"the box {np.round(box, 1).tolist()} lies outside of the photo of {width} x {height} pixels")
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


def _regress_portraits(
    program: Program, regressor: Regressor, portraits: list[_Portrait], batch: int
) -> list[Regression]:
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
    return regressed


def _next_box(box: Float[np.ndarray, " 4"], one: Regression) -> Float[np.ndarray, " 4"]:
    """The landmarks' box; if the landmarks left their crop or collapsed, the same box again."""
    better = landmark_box(np.asarray(one.landmarks))
    usual = 0.3 < np.sqrt(box_area(better) / max(box_area(box), 1e-6)) < 3.0
    return better if np.isfinite(better).all() and usual else box


def _regress_batch(
    program: Program, size: int, portraits: list[_Portrait], crops: list[Crop], batch: int
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


def _choose(portraits: list[_Portrait], regressed: list[Regression], faces: Faces) -> list[RegressedFace]:
    """The faces among one photo's candidates, the largest first; all boxes that the caller gave."""
    pairs = list(zip(portraits, regressed, strict=True))
    if any(portrait.given for portrait in portraits):
        return [RegressedFace(portrait.photo, portrait.box, one) for portrait, one in pairs]
    sure = sorted(pairs, key=lambda pair: -float(np.mean(pair[1].confidence)))
    kept: list[tuple[_Portrait, Regression]] = []
    for portrait, one in sure:
        box = landmark_box(np.asarray(one.landmarks))
        doubled = any(box_overlap(box, landmark_box(np.asarray(other.landmarks))) > SAME_FACE for _, other in kept)
        if float(np.mean(one.confidence)) >= LEAST_CONFIDENCE and not doubled:
            kept.append((portrait, one))
    kept.sort(key=lambda pair: -box_area(landmark_box(np.asarray(pair[1].landmarks))))
    kept = kept[:1] if faces == "largest" else kept
    return [RegressedFace(portrait.photo, portrait.box, one) for portrait, one in kept]

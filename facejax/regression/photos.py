"""Faces in whole photos: detect, regress each from a crop, again from a better crop, and answer in photo pixels."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from facejax.images import as_photo, read_image
from facejax.images.align import warp
from facejax.images.box_files import check_boxes
from facejax.programs import compile_cached
from facejax.regression.blend import blend_seen
from facejax.regression.candidates import (
    LEAST_SCORE,
    Portrait,
    Program,
    Seen,
    distinct_faces,
    picture_side,
    portraits,
    regress_portraits,
)
from facejax.regression.regressor import Regression, Regressor, regress_crops
from facejax.regression.turned import TURNS, angle_transform, turn_by_angle

log: logging.Logger = logging.getLogger(__name__)

Faces = Literal["largest", "all"]
Source = str | Path | np.ndarray | jax.Array
ARRAYS = np.ndarray, jax.Array
Boxes = Mapping[str, Any] | Sequence[Any] | np.ndarray  # by file name, or one entry per photo

NOT_FOUND = (
    "no face found: give its place with --boxes FILE, or its 68 points with --landmarks "
    "(in Python: fit's start=regress(..., boxes=...))"
)


class RegressedFace(NamedTuple):
    """One face of one photo, as numpy arrays."""

    photo: int  # index in the list of photos
    box: Float[np.ndarray, " 4"]  # from the detector or the caller: left, top, right, bottom; pixels
    regression: Regression  # in pixels of the photo
    number: int  # which of the boxes given for the photo, or which of the faces found in it
    turn: int  # quarter turns counter-clockwise after which the network saw the face; 0: the photo as it is


@dataclass(frozen=True)
class RegressedPhotos:
    """The faces of a list of photos, in its order and the largest first, and one line for each photo with a failure."""

    names: list[str]  # of the photos
    faces: list[RegressedFace]
    failures: list[str]
    failed: list[int]  # index of the photo of each failure; it may have other faces


def regress_photos(
    regressor: Regressor,
    photos: Sequence[Source],
    *,
    boxes: Boxes | None = None,
    faces: Faces = "largest",
    names: Sequence[str] | None = None,
    batch: int = 8,
    blend: bool = True,
    progress: Callable[[int, int], object] | None = None,
) -> RegressedPhotos:
    """Find and regress the faces of photos.

    A photo that cannot be read, shows no face or has a wrong box becomes a line of `failures` and does not stop the
    others. The detector finds candidates; one whose landmarks the network itself does not trust is dropped. Where the
    network is sure of nothing in a photo, or doubts a given box, the photo is also looked at turned by 90, 180 and 270
    degrees, and a turned view is taken if the network is sure there.

    Args:
      regressor: the network.
      photos: files, or arrays (H, W, 3) of display values or bytes.
      boxes: [left, top, right, bottom] or rows of them, in pixels: for some photos by file name, or for each photo in
        order (None: look for the face). Each encloses the 68 landmarks.
      faces: "largest" for only the largest face of a photo, or "all". All given boxes are used.
      names: of the photos; by default the files' names, and "photo 0" and so on for arrays.
      batch: faces that a compiled program takes at once; smaller batches are padded.
      blend: blend the landmarks with those of the face mesh (`facejax.regression.blend`). They are closer to annotated
        points then; but fits to the regressor's own points are closer to the true shape, so fits go without.
      progress: called with the numbers of photos done, and of those that failed, since the last call.

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
    found: list[RegressedFace] = []
    given, failures = _boxes_by_photo(boxes, names)
    search = _Search(regressor, compile_regressor(regressor, batch), photos, names, given, batch, faces == "all")
    for start in range(0, len(photos), batch):
        group = range(start, min(start + batch, len(photos)))
        seen = search.look([index for index in group if index not in failures], (0,), failures)
        doubted = [index for index, mine in seen.items() if not _sure(mine, given[index])]
        for index, turned in search.look(doubted, TURNS, {}).items():
            seen[index] += turned
        chosen: list[Seen] = []
        for index, mine in seen.items():
            kept = _choose(mine, faces) if given[index] is None else _choose_given(mine)
            chosen += kept
            if not kept and index not in failures:
                failures[index] = _named(ValueError(NOT_FOUND), photos[index], names[index])
        chosen = blend_seen(chosen, batch) if blend else chosen
        found += [RegressedFace(one.photo, one.box, one.regression, one.number, one.turn) for one in chosen]
        if progress is not None:
            progress(len(group), sum(index in failures for index in group))
    for failure in failures.values():
        log.info("%s", failure)
    failed = sorted(failures)
    return RegressedPhotos(names, found, [failures[index] for index in failed], failed)


def regress_in_photo(
    regressor: Regressor,
    pictures: Float[Array, "N P P 3"],
    scale: Float[Array, " N"],
    offset: Float[Array, "N 2"],
    angle: Float[Array, " N"],
) -> Regression:
    """`regress_crops` of crops that are turned first, with results in pixels of the photos. Pure.

    Args:
      regressor: the network.
      pictures: the crops with what a turn may bring into them, `picture_side` pixels.
      scale, offset: of the crops before the turn: `crop = scale * photo + offset`.
      angle: by which each is turned about its centre, counter-clockwise, radians.

    Returns:
      The faces.
    """
    side, centre = regressor.config.side, jnp.full(2, regressor.config.side / 2)
    middle = jnp.full(2, pictures.shape[1] / 2)
    turns = jax.vmap(lambda one: angle_transform(one, middle, centre))(angle)
    seen = regress_crops(regressor, jax.vmap(lambda picture, turn: warp(picture, turn, side))(pictures, turns))
    seen = jax.vmap(lambda one, back: turn_by_angle(one, back, centre))(seen, -angle)
    camera = jax.vmap(transform_camera)(seen.params.camera, 1 / scale, -offset / scale[:, None])
    points = (seen.landmarks - offset[:, None]) / scale[:, None, None]
    return replace(seen, params=replace(seen.params, camera=camera), landmarks=points)


def compile_regressor(regressor: Regressor, batch: int) -> Program:
    """`regress_in_photo` of this regressor compiled for `batch` crops; remembered, so it is compiled once."""
    size = picture_side(regressor)
    shapes = [(batch, size, size, 3), (batch,), (batch, 2), (batch,)]
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    parts = (Regression, FaceParams, Pose, PerspectiveCamera)
    program = compile_cached(regress_in_photo, regressor, *arrays, name="regressor", results=parts)
    return partial(program, regressor)


def stack_regressions(faces: Sequence[Regression]) -> Regression:
    """Faces stacked along a leading axis N."""
    return jax.device_put(jax.tree.map(lambda *leaves: np.stack(leaves), *faces))


@dataclass(frozen=True)
class _Search:
    """What is needed to look at photos; each is read again for every look, since few are looked at twice."""

    regressor: Regressor
    program: Program
    photos: Sequence[Source]
    names: Sequence[str]
    given: Sequence[np.ndarray | None]
    batch: int
    every: bool  # look for the small faces of a crowd too

    def look(self, indices: Iterable[int], turns: Sequence[int], failures: dict[int, str]) -> dict[int, list[Seen]]:
        """What the network sees in photos that are turned first; adds lines to `failures`.

        A photo that cannot be read has no entry.
        """
        found: list[Portrait] = []
        read: dict[int, list[Seen]] = {}
        for index in indices:
            photo, name = self.photos[index], self.names[index]
            try:
                image = as_photo(photo, name) if isinstance(photo, ARRAYS) else read_image(photo)
                for turn in turns:
                    for one in portraits(self.regressor, image, index, self.given[index], turn, every=self.every):
                        if isinstance(one, Portrait):
                            found.append(one)
                        else:
                            failures.setdefault(index, _named(one, photo, name))
                read[index] = []
            except (ValueError, OSError) as error:
                failures[index] = _named(error, photo, name)
        for one in regress_portraits(self.program, self.regressor, found, self.batch):
            read[one.photo].append(one)
        return read


def _sure(seen: Sequence[Seen], given: np.ndarray | None) -> bool:
    """Whether the network needs no further look at a photo: it trusts a detection, or every given box."""
    return any(one.sure for one in seen) if given is None else all(one.sure for one in seen)


def _choose(seen: Sequence[Seen], faces: Faces) -> list[Seen]:
    """The faces among the detections in a photo, the largest first.

    Those of the turned photo only if the network is sure of them. The largest face is one of which the network is sure,
    if there is any. Where the network trusts none, but the detector sees a face in the whole photo, it is that one;
    it is doubtful then.
    """
    turns = [distinct_faces([one for one in seen if one.turn == turn]) for turn in (0, *TURNS)]
    best = max(turns[1:], key=lambda some: max((one.confidence for one in some), default=0.0))
    upright = any(one.sure for one in turns[0]) or not any(one.sure for one in best)
    kept = turns[0] if upright else best
    if not kept:
        likely = [one for one in seen if one.turn == 0 and one.score >= LEAST_SCORE]
        kept = sorted(likely, key=lambda one: -one.confidence)[:1]
    if faces == "largest":
        kept = ([one for one in kept if one.sure] or sorted(kept, key=lambda one: -one.confidence))[:1]
    return [one._replace(number=k) for k, one in enumerate(kept)]


def _choose_given(seen: Sequence[Seen]) -> list[Seen]:
    """A face for each given box, in their order: of the turned photo only if the network is sure there, not here."""
    chosen: dict[int, Seen] = {}
    for one in sorted(seen, key=lambda one: (one.turn != 0, -one.confidence)):
        known = chosen.setdefault(one.number, one)
        if not known.sure and one.sure:
            chosen[one.number] = one
    return [one for _, one in sorted(chosen.items())]


def _boxes_by_photo(boxes: Boxes | None, names: list[str]) -> tuple[list[np.ndarray | None], dict[int, str]]:
    """The boxes of each photo, and a line for each photo with a wrong one."""
    if boxes is None:
        return [None] * len(names), {}
    if isinstance(boxes, Mapping):
        boxes = [boxes.get(name) for name in names]
    if isinstance(boxes, np.ndarray) and boxes.ndim == 1:
        boxes = [boxes]
    if len(boxes) != len(names):
        raise ValueError(
            f"{len(boxes)} boxes for {len(names)} photos: pass one entry a photo (None: look for the face)"
        )
    checked: list[np.ndarray | None] = [None] * len(names)
    failures: dict[int, str] = {}
    for index, (one, name) in enumerate(zip(boxes, names, strict=True)):
        try:
            checked[index] = None if one is None else check_boxes(one, name)
        except ValueError as error:
            failures[index] = str(error)
    return checked, failures


def _named(error: Exception, photo: Source, name: str) -> str:
    """One line that begins with the photo's name, which errors of reading already do."""
    line = " ".join(str(error).split()) or type(error).__name__
    label = name if isinstance(photo, ARRAYS) else str(photo)
    return line if line.startswith((label, name)) else f"{label}: {line}"

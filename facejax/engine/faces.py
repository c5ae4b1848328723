"""Find the faces in photographs; each photograph that cannot be used gets a line of text that says why."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from facejax.api import RegressResult, collect
from facejax.engine.job import TAKEN, Group
from facejax.fitting import RECIPES
from facejax.images import Photo, box_of, find_landmarks, read_boxes, read_image, read_landmarks
from facejax.images.box_files import Boxes, entry_of, unused_boxes
from facejax.images.boxes import box_area
from facejax.images.lens import Lens
from facejax.images.photo import name_forms
from facejax.images.read import Pixels, read_with_lens
from facejax.regression.given import doubt_given
from facejax.regression.photos import Faces, regress_photos
from facejax.regression.regressor import Regressor, load_regressor

POINTS_ONLY = (".pts", ".npy", ".ljson")  # suffixes of files that hold landmarks and nothing else


class Face(NamedTuple):
    """One face to fit."""

    photo: Photo
    folder: str  # of its results
    image: Pixels  # bytes if the file has bytes, because it is held in memory until its results are written
    landmarks: np.ndarray
    start: RegressResult | None  # of this face alone; None: the landmarks were given
    mask: Float[np.ndarray, "H W"] | None = None  # 1 where the photograph shows skin that may be used; None: everywhere
    lens: Lens | None = None  # what the file says of it
    doubt: str | None = None  # why its landmarks are doubtful, if they are


class Found(NamedTuple):
    """A group that was read."""

    group: Group
    faces: list[Face]
    failures: dict[Photo, str]
    seconds: float  # for reading


class _Inputs(NamedTuple):
    """The inputs of one photograph."""

    image: Pixels
    landmarks: np.ndarray | None
    boxes: np.ndarray | None
    mask: np.ndarray | None
    lens: Lens | None
    doubt: str | None  # about given landmarks


@dataclass(frozen=True, kw_only=True)
class FaceFinder:
    """Reads photographs with their inputs, and finds their faces."""

    regressor: Regressor | None = None
    """finds the faces if there are no `landmarks`"""
    landmarks: Path | None = None
    """one file, or a folder of them"""
    landmark_group: str | None = None
    """which group of landmark files with several"""
    boxes: Mapping[str, Boxes] = field(default_factory=dict)
    """by the names of photographs, see `facejax.images.box_of`"""
    masks: Path | None = None
    """folder with the photographs' masks"""
    faces: Faces = "largest"
    """which of the faces found in a photo: the largest, or all"""
    single: bool = False
    """use only the largest of several boxes of a photo"""
    batch: int = 1
    """faces that the regressor takes at once"""

    def find(self, group: Group) -> Found:
        """The faces of a group's photographs, and a line for each photograph that has none or cannot be used."""
        begin = time.perf_counter()
        photos = [photo for photo in group.photos if photo.file not in group.taken]
        faces, failures = self.find_faces(photos)
        for photo in (photo for photo in group.photos if photo.file in group.taken):
            failures[photo] = TAKEN.format(photo, group.taken[photo.file])
        return Found(group, faces, failures, time.perf_counter() - begin)

    def find_faces(self, photos: Sequence[Photo]) -> tuple[list[Face], dict[Photo, str]]:
        """Like `find`, for photographs without a group."""
        read: dict[Photo, _Inputs] = {}
        failures: dict[Photo, str] = {}
        for photo in photos:
            try:
                read[photo] = self._read(photo)
            except (ValueError, OSError) as error:
                line = " ".join(str(error).split())
                failures[photo] = line if photo.name in line else f"{photo}: {line}"
        if self.regressor is None:
            return [_given(photo, inputs) for photo, inputs in read.items()], failures
        faces, unseen = _regress(read, self.regressor, self.faces, self.batch)
        return faces, failures | unseen

    def _read(self, photo: Photo) -> _Inputs:
        """Read one photograph's inputs. Errors are raised here, and only that photograph fails."""
        image, lens = read_with_lens(photo)
        points, doubt = None, None
        if self.landmarks is not None:
            points = read_landmarks(find_landmarks(self.landmarks, photo), group=self.landmark_group)
            doubt = doubt_given(load_regressor, image, points)
        boxes = box_of(photo, self.boxes)
        if self.single and boxes is not None:
            boxes = boxes[[np.argmax([box_area(box) for box in boxes])]]
        mask = None if self.masks is None else read_mask(self.masks, photo, image.shape[:2])
        return _Inputs(image, points, boxes, mask, lens, doubt)


def about_doubt(face: Face) -> dict[str, str]:
    """The entry of a summary or a manifest that says why a face is doubtful; empty if it is not."""
    return {} if face.doubt is None else {"doubtful": face.doubt}


def load_finder(
    *,
    landmarks: Path | None,
    landmark_group: str | None = None,
    boxes: Path | None,
    masks: Path | None = None,
    faces: Faces = "largest",
    single: bool = False,
    batch: int,
) -> FaceFinder:
    """A `FaceFinder` for these files. Without `landmarks` it uses the shipped regressor.

    Args:
        landmarks: one file, or a folder of them; None: the faces are looked for.
        landmark_group: which group of landmark files with several; None: the only one with 68 points.
        boxes: a JSON file of boxes.
        masks: folder with the photographs' masks.
        faces: which of the faces found in a photograph: the "largest", or "all".
        single: use only the largest of several boxes of a photograph.
        batch: faces that the regressor takes at once.
    """
    return FaceFinder(
        regressor=load_regressor() if landmarks is None else None,
        landmarks=landmarks,
        landmark_group=landmark_group,
        boxes={} if boxes is None else read_boxes(boxes),
        masks=masks,
        faces=faces,
        single=single,
        batch=batch,
    )


def check_source(
    photos: Sequence[Photo], *, landmarks: Path | None, boxes: Path | None, recipe: str | None, batch: int
) -> None:
    """Check the options that the commands share, before any photograph is read.

    Args:
        photos: all of them.
        landmarks, boxes: files, as for `load_finder`.
        recipe: its name; None: the default.
        batch: faces at once.

    Raises ValueError, one line.
    """
    if not photos:
        raise ValueError("no photos: name at least one")
    if recipe is not None and recipe not in RECIPES:
        raise ValueError(f"--recipe {recipe}: not one of {', '.join(RECIPES)}")
    if batch < 1:
        raise ValueError(f"--batch {batch}: at least 1 face at once")
    if landmarks is not None and boxes is not None:
        raise ValueError("--landmarks says where the faces are: leave out --boxes and --faces, or --landmarks")
    if landmarks is not None and landmarks.is_file() and len(photos) > 1:
        raise ValueError(f"{landmarks} is one file for {len(photos)} photos: pass a folder of files")
    if landmarks is not None and not landmarks.exists():
        raise ValueError(f"--landmarks {landmarks}: no such file or folder")
    if boxes is not None:
        boxes_of(photos, boxes)


def boxes_of(photos: Sequence[Photo], file: Path) -> list[Boxes | None]:
    """The boxes of each photo, None if the file does not name it. Raises ValueError for a file that names none."""
    boxes = read_boxes(file)
    mine = [entry_of(photo, boxes) for photo in photos]
    if boxes and all(one is None for one in mine):
        raise ValueError(f"{file}: names none of the photos; its keys are file names such as {photos[0].name}")
    return mine


def unused_inputs(photos: Sequence[Photo], *, landmarks: Path | None, boxes: Path | None) -> list[str]:
    """A line for each source of boxes or landmarks that has some for other photos too.

    Args:
        photos: all of them.
        landmarks, boxes: files, as for `load_finder`.
    """
    lines = []
    if boxes is not None and (others := unused_boxes(photos, read_boxes(boxes))):
        lines.append(f"{boxes}: {len(others)} of its names are none of the photos, such as {others[0]}")
    if landmarks is not None and landmarks.is_dir():
        known = {form for photo in photos for name in (photo.folder, photo.stem) for form in name_forms(name)}
        files = (path.relative_to(landmarks) for path in landmarks.rglob("*") if path.suffix.lower() in POINTS_ONLY)
        others = sorted(path.as_posix() for path in files if path.with_suffix("").as_posix() not in known)
        if others:
            lines.append(f"{landmarks}: {len(others)} of its files belong to none of the photos, such as {others[0]}")
    return lines


def read_mask(folder: Path, photo: Photo, shape: tuple[int, ...]) -> Float[np.ndarray, "H W"]:
    """The mask of a photograph of `shape` (height, width).

    Raises FileNotFoundError, or ValueError for one of another size or without any white.
    """
    paths = [folder / f"{name}.png" for name in (*name_forms(photo.folder), *name_forms(photo.stem))]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{photo}: has no mask; add {folder / photo.stem}.png, or leave out --masks")
    mask = read_image(path)[..., 0]
    if not mask.max():
        raise ValueError(f"{photo}: its mask is black everywhere: white marks the skin that may be used")
    if mask.max() <= 1 / 255:  # of zeros and ones
        mask = np.minimum(255.0 * mask, 1.0)
    if mask.shape != shape:
        size, wanted = (f"{one[1]} x {one[0]}" for one in (mask.shape, shape))
        raise ValueError(f"{photo}: its mask is of another size ({size} pixels): give one of {wanted}, as the photo")
    return mask


def _given(photo: Photo, inputs: _Inputs) -> Face:
    """The face of a photograph whose landmarks were given."""
    assert inputs.landmarks is not None
    return Face(photo, photo.folder, inputs.image, inputs.landmarks, None, inputs.mask, inputs.lens, inputs.doubt)


def _regress(
    read: Mapping[Photo, _Inputs], regressor: Regressor, faces: Faces, batch: int
) -> tuple[list[Face], dict[Photo, str]]:
    """Regress the faces of photos that were read, each photo's largest first; a line for each photo with a failure."""
    photos, inputs = list(read), list(read.values())
    names, boxes = [photo.name for photo in photos], [one.boxes for one in inputs]
    images = [one.image for one in inputs]
    seen = regress_photos(regressor, images, boxes=boxes, faces=faces, names=names, batch=batch, blend=False)
    failures = {photos[k]: line for k, line in zip(seen.failed, seen.failures, strict=True)}
    result = collect(regressor, seen) if seen.faces else None
    found = []
    for row, face in enumerate(seen.faces):
        assert result is not None
        photo, mine, one = photos[face.photo], inputs[face.photo], result[row]
        given = 1 if mine.boxes is None else len(mine.boxes)
        folder = f"{photo.folder}_{face.number}" if faces == "all" else photo.folders(given)[face.number]
        found.append(Face(photo, folder, mine.image, result.landmarks[row], one, mine.mask, mine.lens, _doubt(one)))
    return found, failures


def _doubt(one: RegressResult) -> str | None:
    """Why a regressed face is doubtful, if it is."""
    if not one.doubtful[0]:
        return None
    return f"the network doubts its landmarks (confidence {np.mean(one.confidence):.2f})"

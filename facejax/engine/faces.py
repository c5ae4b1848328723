"""The faces of photographs, and the fit of a group of them; a photo that cannot be used becomes a line of text."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facejax.api import FitResult, RegressResult, collect, fit, join
from facejax.camera import focal_from_fov
from facejax.face_model import FaceModel
from facejax.fitting import RECIPES, Ingredients, Recipe
from facejax.images import Photo, find_landmarks, read_landmarks
from facejax.images.read import Pixels, read_pixels
from facejax.regression.photos import Faces, regress_photos
from facejax.regression.regressor import Regressor

TAKEN = "{}: its folder is taken (by {}); rename it"
UNSOUND = "{}: the fit did not stay finite; check that the landmarks are its own"


class Face(NamedTuple):
    """One face to fit."""

    photo: Photo
    folder: str  # of its results
    image: Pixels  # bytes where its file has bytes: it is held until its results are written
    landmarks: np.ndarray
    start: RegressResult | None  # of this face alone; None: the landmarks were given


def check_source(
    photos: Sequence[Photo], *, landmarks: Path | None, boxes: Path | None, recipe: str | None, batch: int
) -> None:
    """What can be wrong with what these commands share, before anything is read."""
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


def find_faces(
    photos: Sequence[Photo],
    boxes: Sequence[np.ndarray | None],
    regressor: Regressor | None,
    *,
    landmarks: Path | None = None,
    faces: Faces = "largest",
    batch: int = 1,
) -> tuple[list[Face], dict[Photo, str]]:
    """The faces of the photos that can be read, and a line for each photo that cannot or has none.

    Without a regressor `landmarks` says where their points are. `batch`: faces that the regressor takes at once.
    """
    found, failures = [], {}
    images: dict[Photo, np.ndarray] = {}
    for photo in photos:
        try:
            images[photo] = read_pixels(photo)
            if landmarks is not None:
                points = _inside(read_landmarks(find_landmarks(landmarks, photo)), images[photo])
                found.append(Face(photo, photo.folder, images[photo], points, None))
        except (ValueError, OSError) as error:
            images.pop(photo, None)
            line = " ".join(str(error).split())
            failures[photo] = line if photo.name in line else f"{photo}: {line}"
    if regressor is not None:
        known = [box for photo, box in zip(photos, boxes, strict=True) if photo in images]
        found, unseen = regress_faces(images, known, regressor, faces, batch)
        failures |= unseen
    return found, failures


def failure(photo: Photo, error: str, options: Mapping[str, Path | None] | None = None) -> dict[str, str]:
    """`error` as a manifest has it, and its `cause`: the same without what is this photo's own.

    Nothing in it says where files lie: the photo goes by its name, folders that `options` gave by the option.
    """
    error = error.replace(str(photo), photo.file)
    for option, given in (options or {}).items():
        error = error if given is None else error.replace(str(given), option)
    cause = re.sub(r"^--[^:]*: ", "", error.removeprefix(f"{photo.file}: ")).replace(photo.name, "it")
    return {"cause": re.split(r"[;(:]", cause)[0].strip(), "error": error}


def _inside(points: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The points, if most of them lie in the photo; others were made for it at another size."""
    height, width = image.shape[:2]
    inside = ((points >= 0) & (points <= [width, height])).all(axis=1)
    if inside.mean() < 0.5:
        raise ValueError(
            f"most of its landmarks lie outside of the photo ({width} x {height} pixels): give those of this very file"
        )
    return points


def regress_faces(
    images: Mapping[Photo, np.ndarray],
    boxes: Sequence[np.ndarray | None],
    regressor: Regressor,
    faces: Faces,
    batch: int,
) -> tuple[list[Face], dict[Photo, str]]:
    """The faces of photos that were read, each photo's largest first, and a line for each photo without one."""
    photos = list(images)
    names = [photo.name for photo in photos]
    seen = regress_photos(regressor, list(images.values()), boxes=boxes, faces=faces, names=names, batch=batch)
    failures = {photos[k]: line for k, line in zip(seen.failed, seen.failures, strict=True)}
    result = collect(regressor, seen) if seen.faces else None
    found, count = [], Counter(face.photo for face in seen.faces)
    number: Counter[int] = Counter()
    for row, face in enumerate(seen.faces):
        assert result is not None
        photo, k = photos[face.photo], number[face.photo]
        number[face.photo] += 1
        folder = f"{photo.folder}_{k}" if faces == "all" else photo.folders(count[face.photo])[k]
        found.append(Face(photo, folder, images[photo], result.landmarks[row], result[row]))
    return found, failures


def fit_padded(
    model: FaceModel, faces: list[Face], size: int, fov: float | None, recipe: Recipe, ingredients: Ingredients
) -> FitResult:
    """Fit a group of at most `size` faces; the last one fills up the rest, so that every group compiles alike."""
    faces = faces + faces[-1:] * (size - len(faces))
    focal = None
    if fov is not None:
        focal = [focal_from_fov(fov, max(face.image.shape[:2])) for face in faces]
    starts = [face.start for face in faces if face.start is not None]
    if starts:
        return fit(
            model,
            [face.image for face in faces],
            recipe=recipe,
            focal=focal,
            start=join(starts),
            ingredients=ingredients,
        )
    images, points = [face.image for face in faces], [face.landmarks for face in faces]
    return fit(model, images, points, recipe=recipe, focal=focal, ingredients=ingredients)


def about_start(face: Face) -> dict[str, object] | None:
    """What the summary says of a face that was found, not given."""
    if face.start is None:
        return None
    return {"regressed": {"box": face.start.boxes[0], "confidence": face.start.confidence[0]}}

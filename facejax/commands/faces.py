"""What the commands that fit share: the faces of photographs, and the fit of a group of them."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from facejax.api import FitResult, RegressResult, collect, fit, join
from facejax.camera import focal_from_fov
from facejax.face_model import FaceModel
from facejax.fitting import RECIPES, Recipe, Tools
from facejax.images import find_landmarks, read_image, read_landmarks
from facejax.regress.photos import Faces, regress_photos
from facejax.regress.regressor import Regressor


class Face(NamedTuple):
    """One face to fit."""

    path: Path  # of its photo
    name: str  # of its folder
    image: np.ndarray
    landmarks: np.ndarray
    start: RegressResult | None  # of this face alone; None: the landmarks were given


def check_source(
    photos: Sequence[Path], *, landmarks: Path | None, boxes: Path | None, recipe: str | None, batch: int
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


def check_names(photos: tuple[Path, ...]) -> None:
    """Two photos of one stem would write into one folder."""
    seen: dict[str, Path] = {}
    for path in photos:
        if path.stem in seen:
            raise ValueError(
                f"{path} and {seen[path.stem]} would both write to {path.stem}/: rename one, or fit it alone"
            )
        seen[path.stem] = path


def find_faces(
    photos: Sequence[Path],
    boxes: Sequence[np.ndarray | None],
    regressor: Regressor | None,
    *,
    landmarks: Path | None = None,
    faces: Faces = "largest",
) -> tuple[list[Face], dict[Path, str]]:
    """The faces of the photos that can be read, and a line for each photo that cannot or has none.

    Without a regressor `landmarks` says where their points are.
    """
    found, failures = [], {}
    for path, box in zip(photos, boxes, strict=True):
        try:
            image = read_image(path)
            if regressor is None:
                assert landmarks is not None
                points = _inside(read_landmarks(find_landmarks(landmarks, path)), image)
                found.append(Face(path, path.stem, image, points, None))
            else:
                found += regress_faces(path, image, box, regressor, faces)
        except (ValueError, OSError) as error:
            line = " ".join(str(error).split())
            failures[path] = line if path.name in line else f"{path}: {line}"
    return found, failures


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
    path: Path, image: np.ndarray, box: np.ndarray | None, regressor: Regressor, faces: Faces
) -> list[Face]:
    """The faces of one photo, the largest first."""
    seen = regress_photos(regressor, [image], boxes=[box], faces=faces, names=[path.name], batch=1)
    if not seen.faces:
        raise ValueError(seen.failures[0])
    result = collect(regressor, seen)
    several = len(result) > 1 or faces == "all"
    names = [f"{path.stem}_{k}" if several else path.stem for k in range(len(result))]
    return [Face(path, name, image, result.landmarks[k], result[k]) for k, name in enumerate(names)]


def fit_padded(
    model: FaceModel, faces: list[Face], size: int, fov: float | None, recipe: Recipe, tools: Tools
) -> FitResult:
    """Fit a group of at most `size` faces; the last one fills up the rest, so that every group compiles alike."""
    faces = faces + faces[-1:] * (size - len(faces))
    focal = None
    if fov is not None:
        focal = [focal_from_fov(fov, max(face.image.shape[:2])) for face in faces]
    starts = [face.start for face in faces if face.start is not None]
    if starts:
        return fit(model, [face.image for face in faces], recipe=recipe, focal=focal, start=join(starts), tools=tools)
    images, points = [face.image for face in faces], [face.landmarks for face in faces]
    return fit(model, images, points, recipe=recipe, focal=focal, tools=tools)


def about_start(face: Face) -> dict[str, object] | None:
    """What the summary says of a face that was found, not given."""
    if face.start is None:
        return None
    return {"regressed": {"box": face.start.boxes[0], "confidence": face.start.confidence[0]}}

"""`facejax fit`: read, fit in batches, write a folder a photo. One bad photo does not stop the others."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tyro
from tqdm import tqdm

from facejax.api import FitResult, fit
from facejax.camera import focal_from_fov
from facejax.face_model import FaceModel
from facejax.face_model.load import load_face_model
from facejax.fitting import RECIPES
from facejax.images import find_landmarks, read_image, read_landmarks

NO_LANDMARKS = (
    "no landmarks: pass --landmarks FILE or FOLDER with 68 points a photo (.pts, .npy, .npz, .json); "
    "this version does not detect them"
)


@dataclass(frozen=True)
class Fit:
    """Fit the faces of photographs: a textured 3D face, pose and light for each, under OUT/<stem of the photo>/."""

    photos: tyro.conf.Positional[tuple[Path, ...]]
    """photographs, one face each"""
    out: Path
    """folder for the results; each photo gets a folder of its own in it"""
    landmarks: Path | None = None
    """68 points in the iBUG order: one file (.pts, .npy, .npz, .json), or a folder with <stem>.npy and so on"""
    model: str = "default"
    """face model: "default", or the path of a model file or folder (see docs/models.md)"""
    recipe: Literal["linear", "landmarks"] = "linear"
    """what is fitted: landmarks and pixels, or landmarks only"""
    contour: Literal["auto", "static", "moving"] = "auto"
    """jaw points: fixed on the surface (3D annotations), on the visible outline (2D detectors), or what fits better"""
    fov: float | None = None
    """angle in degrees that the longer side of the photos spans, if you know it"""
    batch: int = 8
    """faces fitted at once in one compiled program"""


class Photo(NamedTuple):
    path: Path
    image: np.ndarray
    landmarks: np.ndarray


def run_fit(command: Fit) -> int:
    """Returns the exit status: 0, or 1 when some photos failed."""
    landmarks = check_command(command)
    model = load_face_model(command.model)
    command.out.mkdir(parents=True, exist_ok=True)
    size = min(command.batch, len(command.photos))
    done = 0
    with tqdm(total=len(command.photos), unit="face", disable=not sys.stderr.isatty(), leave=False) as bar:
        for start in range(0, len(command.photos), size):
            photos, failures = read_photos(command.photos[start : start + size], landmarks)
            result = fit_padded(model, photos, size, command) if photos else None
            for index, photo in enumerate(photos):
                assert result is not None
                if not bool(result.faces.finite[index]):
                    failures.append(f"{photo.path}: the fit did not stay finite; check that the landmarks are its own")
                    continue
                folder = result.save_one(index, command.out / photo.path.stem, image=photo.path.name)
                quality = float(result.faces.psnr_face[index])
                line = f"{folder}: landmarks {result.landmark_nme(index):.2f} % of the face, pixels {quality:.1f} dB"
                bar.write(line, file=sys.stdout)
                done += 1
            for failure in failures:
                bar.write(f"facejax: error: {failure}", file=sys.stderr)
            bar.update(len(photos) + len(failures))
    if done < len(command.photos):
        print(f"{done} of {len(command.photos)} photos fitted", file=sys.stderr)
    return 0 if done == len(command.photos) else 1


def fit_padded(model: FaceModel, photos: list[Photo], size: int, command: Fit) -> FitResult:
    """Fit a group of at most `size` photos; the last one fills up the rest, so that every group compiles alike."""
    photos = photos + photos[-1:] * (size - len(photos))
    focal = None
    if command.fov is not None:
        focal = [focal_from_fov(command.fov, max(photo.image.shape[:2])) for photo in photos]
    recipe = replace(RECIPES[command.recipe], contour=command.contour)
    images, points = [photo.image for photo in photos], [photo.landmarks for photo in photos]
    return fit(model, images, points, recipe=recipe, focal=focal)


def check_command(command: Fit) -> Path:
    """What can be wrong before anything is read; returns where the landmarks are."""
    if not command.photos:
        raise ValueError("no photos: name at least one")
    if command.landmarks is None:
        raise ValueError(NO_LANDMARKS)
    if command.batch < 1:
        raise ValueError(f"--batch {command.batch}: at least 1 face at once")
    if command.fov is not None and not 0 < command.fov < 180:
        raise ValueError(f"--fov {command.fov}: an angle between 0 and 180 degrees")
    if command.landmarks.is_file() and len(command.photos) > 1:
        raise ValueError(f"{command.landmarks} is one file for {len(command.photos)} photos: pass a folder of files")
    if not command.landmarks.exists():
        raise ValueError(f"--landmarks {command.landmarks}: no such file or folder")
    check_names(command.photos)
    return command.landmarks


def check_names(photos: tuple[Path, ...]) -> None:
    """Two photos of one stem would write into one folder."""
    seen: dict[str, Path] = {}
    for path in photos:
        if path.stem in seen:
            raise ValueError(
                f"{path} and {seen[path.stem]} would both write to {path.stem}/: rename one, or fit it alone"
            )
        seen[path.stem] = path


def read_photos(paths: Sequence[Path], landmarks: Path) -> tuple[list[Photo], list[str]]:
    """The photos that can be read, with their landmarks, and a line for each that cannot."""
    photos, failures = [], []
    for path in paths:
        try:
            photos.append(Photo(path, read_image(path), read_landmarks(find_landmarks(landmarks, path))))
        except (ValueError, OSError) as error:
            failures.append(" ".join(str(error).split()))
    return photos, failures

"""`facejax fit`: read, fit in batches, write a folder a photo. One bad photo does not stop the others."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from tqdm import tqdm

from facejax.api import fit
from facejax.camera import focal_from_fov
from facejax.face_model.load import load_face_model
from facejax.fitting import RECIPES
from facejax.images import find_landmarks, read_image, read_landmarks

if TYPE_CHECKING:
    from facejax.cli import Fit

NO_LANDMARKS = (
    "no landmarks: pass --landmarks FILE or FOLDER with 68 points a photo (.pts, .npy, .npz, .json); "
    "this version does not detect them"
)


class Photo(NamedTuple):
    path: Path
    image: np.ndarray
    landmarks: np.ndarray


def run_fit(command: "Fit") -> int:
    """Returns the exit status: 0, or 1 when some photos failed."""
    if not command.photos:
        raise ValueError("no photos: name at least one")
    if command.landmarks is None:
        raise ValueError(NO_LANDMARKS)
    if command.batch < 1:
        raise ValueError(f"--batch {command.batch}: at least 1 face at once")
    if command.landmarks.is_file() and len(command.photos) > 1:
        raise ValueError(f"{command.landmarks} is one file for {len(command.photos)} photos: pass a folder of files")
    check_names(command.photos)
    command.out.mkdir(parents=True, exist_ok=True)
    model = load_face_model(command.model)
    recipe = replace(RECIPES[command.recipe], contour=command.contour)

    photos, failures = read_photos(command.photos, command.landmarks)
    done = 0
    size = min(command.batch, len(photos))
    with tqdm(total=len(photos), unit="face", disable=not sys.stderr.isatty(), leave=False) as bar:
        for group in in_groups(photos, size):
            focal = None
            if command.fov is not None:
                focal = [focal_from_fov(command.fov, max(photo.image.shape[:2])) for photo in group]
            padded = group + group[-1:] * (size - len(group))  # one batch size: one compilation
            if focal is not None:
                focal += focal[-1:] * (size - len(group))
            result = fit(model, [p.image for p in padded], [p.landmarks for p in padded], recipe=recipe, focal=focal)
            for index, photo in enumerate(group):
                if not bool(result.faces.finite[index]):
                    failures.append(f"{photo.path}: the fit did not stay finite; check that the landmarks are its own")
                    continue
                folder = result.save_one(index, command.out / photo.path.stem, image=str(photo.path.name))
                done += 1
                bar.write(report(folder, result, index), file=sys.stdout)
                bar.update()
    for failure in failures:
        print(f"facejax: error: {failure}", file=sys.stderr)
    if failures:
        print(f"{done} of {len(command.photos)} photos fitted, {len(failures)} failed", file=sys.stderr)
    return 1 if failures else 0


def check_names(photos: tuple[Path, ...]) -> None:
    """Two photos of one stem would write into one folder."""
    seen: dict[str, Path] = {}
    for path in photos:
        if path.stem in seen:
            raise ValueError(
                f"{path} and {seen[path.stem]} would both write to {path.stem}/: rename one, or fit it alone"
            )
        seen[path.stem] = path


def read_photos(paths: tuple[Path, ...], landmarks: Path) -> tuple[list[Photo], list[str]]:
    """The photos that can be read, with their landmarks, and a line for each that cannot."""
    photos, failures = [], []
    for path in paths:
        try:
            photos.append(Photo(path, read_image(path), read_landmarks(find_landmarks(landmarks, path))))
        except (ValueError, OSError) as error:
            failures.append(" ".join(str(error).split()))
    return photos, failures


def in_groups(photos: list[Photo], size: int) -> Iterator[list[Photo]]:
    for start in range(0, len(photos), max(size, 1)):
        yield photos[start : start + size]


def report(folder: Path, result, index: int) -> str:
    nme, quality = result.landmark_nme(index), float(result.faces.psnr_face[index])
    return f"{folder}: landmarks {nme:.2f} % of the face, pixels {quality:.1f} dB"

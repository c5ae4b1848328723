"""Photographs of one camera: same-sized photographs of one folder share a focal length (`--same-camera`)."""

import json
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath

import numpy as np

from facejax.camera import PerspectiveCamera
from facejax.engine.faces import Face, FaceFinder
from facejax.engine.fitter import Fitter, fit_faces
from facejax.engine.store import Store
from facejax.export import write_summary
from facejax.images import Photo
from facejax.images.read import image_size

log: logging.Logger = logging.getLogger(__name__)

CAMERAS = "cameras.json"
LOOK = 8  # photographs of each camera that its focal length is estimated from


def read_cameras(store: Store) -> dict[str, float]:
    """The focal length (pixels) of each camera of a run with `--same-camera`, see `camera_name`."""
    found = json.loads(store.read(CAMERAS).decode("utf-8"))
    return {name: float(one["focal_pixels"]) for name, one in found.items()}


def camera_name(photo: Photo, width: int, height: int) -> str:
    """The camera of a photograph: its folder and its size, upright or not."""
    folder = PurePosixPath(photo.file).parent.as_posix()
    return f"{folder}: {max(width, height)} x {min(width, height)}"


def find_cameras(finder: FaceFinder, fitter: Fitter, photos: Sequence[Photo], store: Store) -> None:
    """Estimate the focal length of each camera, from at most `LOOK` photographs spread over its own; write `CAMERAS`.

    A camera without a face that can be fitted in these photographs is left out. Its photographs each have their own
    focal length then.

    Args:
        finder, fitter: find the faces and fit them; the landmarks alone are enough.
        photos: of all cameras.
        store: where to write.
    """
    groups: defaultdict[str, list[Photo]] = defaultdict(list)
    sizes: dict[str, tuple[int, int]] = {}
    for photo in photos:
        try:
            size = image_size(photo)
        except (ValueError, OSError):
            continue  # the run reports it
        groups[name := camera_name(photo, *size)].append(photo)
        sizes[name] = size
    cameras = {}
    for name, mine in groups.items():
        spread = np.unique(np.linspace(0, len(mine) - 1, LOOK).round().astype(int))
        faces, _ = finder.find_faces([mine[k] for k in spread])
        try:
            focal, count = _shared_focal(fitter, faces)
        except ValueError:
            continue  # no face, or none that can be fitted; the run reports it
        fov = math.degrees(2 * math.atan(max(sizes[name]) / (2 * focal)))
        cameras[name] = {"focal_pixels": focal, "faces": count, "fov_degrees": fov}
        log.info("%s: focal length %.0f pixels, from %d faces", name, focal, count)
    with store.file(CAMERAS) as path:
        write_summary(path, cameras)


def _shared_focal(fitter: Fitter, faces: Sequence[Face]) -> tuple[float, int]:
    """The focal length (pixels) that all these faces like best, and how many of them tell it.

    Raises ValueError if none of them can be fitted.
    """
    if not faces:
        raise ValueError("no face")
    camera = fit_faces(fitter, faces, cameras=[0] * len(faces)).params.camera
    assert isinstance(camera, PerspectiveCamera)
    return float(np.median(np.asarray(camera.focal))), len(np.asarray(camera.focal))  # all the same

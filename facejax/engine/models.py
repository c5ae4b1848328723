"""The face model that a command works with, checked before a photograph is read."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from facejax.face_model import FaceModel
from facejax.face_model.load import load_face_model
from facejax.face_model.regions import has_face_frame
from facejax.face_model.surface_landmarks import landmarks

COUNT = 68


def load_model(source: str) -> FaceModel:
    """The model of a file or folder, or "default"; it is kept, so that checking it first costs nothing.

    Raises ValueError or OSError, one line, for a file that cannot be loaded or a model that cannot be fitted.
    """
    place = Path(source).expanduser()
    return _load(source, place.stat().st_mtime_ns if place.exists() else 0)


@lru_cache(maxsize=1)
def _load(source: str, changed: int) -> FaceModel:
    model = load_face_model(source)
    check_model(model, source)
    return model


def check_model(model: FaceModel, source: str) -> None:
    """Raises ValueError, one line with the fix, for a model without triangles, the 68 landmarks, or a face.

    Args:
        model: the face model.
        source: what errors call it.
    """
    count = len(model.topology.landmark_faces)
    add = "add them with facejax convert model IN OUT.npz --landmarks FILE (docs/models.md), and pass OUT.npz"
    if not len(model.faces):
        raise ValueError(f"--model {source}: the model has no triangles: give one with a mesh")
    if count != COUNT:
        has = f"{count} landmarks, not the 68 of the iBUG order" if count else "no landmarks, and a face is found by 68"
        raise ValueError(f"--model {source}: the model has {has}: {add}")
    if not has_face_frame(np.asarray(landmarks(model, model.mean))):
        raise ValueError(f"--model {source}: its 68 landmarks are not those of a face in the iBUG order: {add}")
    if "face" in model.regions and float(np.max(np.asarray(model.regions["face"]))) <= 0.5:
        raise ValueError(f"--model {source}: its region 'face' is empty: give a mask of it, or leave the region out")

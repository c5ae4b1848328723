"""The .npz file of regressed faces: plain arrays, one row a face."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facejax.atomic import atomic_path
from facejax.camera import PerspectiveCamera, quaternion_to_euler
from facejax.regression.regressor import Regression

SCHEMA = "facejax.regression"
VERSION = 1


def save_regression(
    path: str | Path, faces: Regression, images: Sequence[str], boxes: Float[np.ndarray, "N 4"], model_name: str
) -> None:
    """Write N faces to one .npz, atomically.

    Its arrays have a leading axis N: image, box, landmarks68, confidence, pose_degrees (pitch, yaw, roll), and the
    blocks of `FaceParams`: identity, expression, albedo, light, rotation, translation, focal, principal.

    Args:
      path: of the file.
      faces: leading axis N, in pixels of their photos.
      images: names of the photos' files.
      boxes: of the faces.
      model_name: of the face model.
    """
    params = faces.params
    if not isinstance(params.camera, PerspectiveCamera):
        raise ValueError("only faces with a perspective camera can be saved")
    arrays = {
        "schema": np.array(SCHEMA),
        "version": np.array(VERSION),
        "model": np.array(model_name),
        "image": np.array(list(images), dtype=str),
        "box": boxes.astype(np.float32),
        "landmarks68": faces.landmarks,
        "confidence": faces.confidence,
        "pose_degrees": quaternion_to_euler(params.pose.rotation),
        "identity": params.identity,
        "expression": params.expression,
        "albedo": params.appearance["albedo"],
        "light": params.light,
        "rotation": params.pose.rotation,
        "translation": params.pose.translation,
        "focal": params.camera.focal,
        "principal": params.camera.principal,
    }
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()})

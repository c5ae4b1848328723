"""Small photographs of the toy head with their landmarks as files, for tests of commands with `--model`."""

from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from toy import toy_model

from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion
from facejax.export import save_face_model, write_png
from facejax.face_model import FaceModel, FaceParams, neutral_params
from facejax.fitting.scene import project_landmarks
from facejax.lighting import uniform_light
from facejax.rendering import render

SIDE = 128  # pixels


def write_toy_model(folder: Path) -> Path:
    """The head as a file for `--model`."""
    return save_face_model(folder / "toy.npz", toy_model())


def write_toy_photo(folder: Path, name: str, seed: int, *, yaw: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """`<name>.png` and `<name>.npy` of the person that the seed draws; returns both."""
    model = toy_model()
    camera = PerspectiveCamera(jnp.asarray(5.0 * SIDE), jnp.full(2, SIDE / 2))
    face = neutral_params(model, camera, distance=1100.0)
    shape = np.random.default_rng(seed).normal(size=face.identity.shape)
    turned = Pose(euler_to_quaternion(jnp.array([0.0, yaw, 0.0])), face.pose.translation)
    face = replace(face, identity=jnp.asarray(0.5 * shape, jnp.float32), pose=turned, light=uniform_light(1.0))
    image, points = map(np.asarray, _photograph(model, face))
    write_png(folder / f"{name}.png", image)
    np.save(folder / f"{name}.npy", points)
    return image, points


@jax.jit
def _photograph(model: FaceModel, face: FaceParams) -> tuple[jax.Array, jax.Array]:
    picture = render(model, face, size=(SIDE, SIDE), background=jnp.array([0.3, 0.5, 0.3]))
    return jnp.clip(picture.color, 0, 1), project_landmarks(model, face, jnp.asarray(False))

"""Light from all sides onto a head that shades itself: which directions each vertex sees."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import Pose, WeakPerspectiveCamera, matrix_to_quaternion, project, to_camera
from facejax.face_model import FaceModel
from facejax.mesh import safe_normalize
from facejax.programs import jit
from facejax.rendering import interpolate, rasterize

DIRECTIONS = 192
_SIDE, _SPAN = 256, 420.0  # pixels and mm of the depth map of a direction
_BIAS = 2.5  # mm


class Sky(NamedTuple):
    """Directions spread evenly over the sphere, and which of them the mean head's vertices see."""

    direction: Float[Array, "D 3"]  # unit, model space, away from the head
    sees: Float[Array, "V D"]  # 1 where nothing of the head is in the way


def make_sky(model: FaceModel) -> Sky:
    """The sky of a model's mean face, from one depth map a direction. Some seconds; keep it."""
    return _make_sky(model, jnp.asarray(spiral(DIRECTIONS), jnp.float32))


def spiral(count: int) -> Float[np.ndarray, "D 3"]:
    """Unit vectors spread almost evenly over the sphere: Fibonacci's spiral."""
    turn, height = np.pi * (3 - 5**0.5) * np.arange(count), 1 - (2 * np.arange(count) + 1) / count
    radius = np.sqrt(1 - height**2)
    return np.stack([radius * np.cos(turn), height, radius * np.sin(turn)], axis=1)


@jit
def _make_sky(model: FaceModel, directions: Float[Array, "D 3"]) -> Sky:
    def seen(direction: Float[Array, " 3"]) -> Float[Array, " V"]:
        side = safe_normalize(jnp.cross(jnp.array([0.31, 0.87, 0.38]), direction))
        turn = matrix_to_quaternion(jnp.stack([side, jnp.cross(direction, side), direction]))
        pose = Pose(turn, jnp.array([0.0, 0.0, -1000.0]))
        camera = WeakPerspectiveCamera(jnp.float32(_SIDE / _SPAN), jnp.full(2, _SIDE / 2))
        points = project(camera, to_camera(pose, model.mean))
        triangle = rasterize(points, model.faces, size=(_SIDE, _SIDE), perspective=False)
        drawn = interpolate(points, points[:, :0], model.faces, triangle, perspective=False)
        nearest = jnp.where(triangle >= 0, drawn.depth, jnp.inf)
        column, row = jnp.clip(points[:, :2], 0, _SIDE - 1).astype(jnp.int32).T
        # The farthest of a pixel's neighbours: a vertex at an outline is not hidden by its own slope.
        around = jax.lax.reduce_window(nearest, -jnp.inf, jax.lax.max, (3, 3), (1, 1), "SAME")
        return (points[:, 2] <= around[row, column] + _BIAS).astype(jnp.float32)

    return Sky(directions, jax.lax.map(seen, directions).T)


def irradiance(sky: Sky, normals: Float[Array, "V 3"], radiance: Float[Array, "D C"]) -> Float[Array, "V C"]:
    """Irradiance over pi at the vertices (1 in uniform light of radiance 1 that nothing blocks).

    Args:
      sky: of `make_sky`.
      normals: unit, model space.
      radiance: from each direction.
    """
    cosine = jnp.maximum(normals @ sky.direction.T, 0.0) * sky.sees
    return 4.0 / len(sky.direction) * (cosine @ radiance)

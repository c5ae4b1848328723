"""Photos turned by quarter turns: points, boxes and regressed faces in the pixels of the photo before or after a turn.

A turn is a number of quarter turns counter-clockwise, as in `numpy.rot90(photo, turn)`.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from facejax.camera import (
    PerspectiveCamera,
    Pose,
    axis_angle_to_quaternion,
    quaternion_multiply,
    quaternion_to_matrix,
)
from facejax.lighting import rotate_light
from facejax.regression.regressor import Regression

TURNS = (1, 2, 3)


def turned_shape(shape: tuple[int, int], turn: int) -> tuple[int, int]:
    """Height and width of a photo of `shape` (height, width) after a turn."""
    height, width = shape
    return (height, width) if turn % 2 == 0 else (width, height)


def turn_points(points: Float[np.ndarray, "*N 2"], shape: tuple[int, int], turn: int) -> Float[np.ndarray, "*N 2"]:
    """Points (x, y) of a photo of `shape` (height, width), in pixels of the turned photo."""
    (x, y), (height, width) = np.moveaxis(np.asarray(points), -1, 0), shape
    return np.stack([(x, y), (y, width - x), (width - x, height - y), (height - y, x)][turn % 4], axis=-1)


def turn_box(box: Float[np.ndarray, " 4"], shape: tuple[int, int], turn: int) -> Float[np.ndarray, " 4"]:
    """A box [left, top, right, bottom] of a photo of `shape`, in pixels of the turned photo."""
    corners = turn_points(np.reshape(box, (2, 2)), shape, turn)
    return np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def turn_regression(one: Regression, shape: tuple[int, int], turn: int) -> Regression:
    """A face regressed in a photo of `shape`, as the turned photo shows it: turned about the camera's axis.

    One face, numpy arrays.
    """
    if turn % 4 == 0:
        return one
    params = jax.tree.map(jnp.asarray, one.params)
    camera = params.camera
    assert isinstance(camera, PerspectiveCamera)
    about = axis_angle_to_quaternion(jnp.array([0.0, 0.0, turn * np.pi / 2]))
    matrix = jnp.round(quaternion_to_matrix(about))  # a quarter turn's holds only 0, 1 and -1
    pose = Pose(quaternion_multiply(about, params.pose.rotation), matrix @ params.pose.translation)
    principal = jnp.asarray(turn_points(np.asarray(camera.principal), shape, turn), jnp.float32)
    light = rotate_light(params.light, matrix)
    params = replace(params, pose=pose, camera=replace(camera, principal=principal), light=light)
    landmarks = jnp.asarray(turn_points(np.asarray(one.landmarks), shape, turn), jnp.float32)
    return jax.tree.map(np.asarray, replace(one, params=params, landmarks=landmarks))

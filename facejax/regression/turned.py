"""Turned pictures: points, boxes and regressed faces in the pixels before or after a turn.

A turn is a number of quarter turns counter-clockwise, as in `numpy.rot90(photo, turn)`. An angle is any turn, in
radians, also counter-clockwise as one looks at the picture.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import (
    PerspectiveCamera,
    Pose,
    axis_angle_to_quaternion,
    quaternion_multiply,
    quaternion_to_matrix,
)
from facejax.face_model import FaceParams
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
    assert isinstance(params.camera, PerspectiveCamera)
    about = axis_angle_to_quaternion(jnp.array([0.0, 0.0, turn * np.pi / 2]))
    matrix = jnp.round(quaternion_to_matrix(about))  # a quarter turn's holds only 0, 1 and -1
    principal = jnp.asarray(turn_points(np.asarray(params.camera.principal), shape, turn), jnp.float32)
    landmarks = jnp.asarray(turn_points(np.asarray(one.landmarks), shape, turn), jnp.float32)
    turned = replace(one, params=_turn_params(params, about, matrix, principal), landmarks=landmarks)
    return jax.tree.map(np.asarray, turned)


def angle_transform(
    angle: Float[Array | np.ndarray, ""], start: Float[Array | np.ndarray, " 2"], end: Float[Array | np.ndarray, " 2"]
) -> Float[Array, "2 3"]:
    """The affine transform of a picture's points that turns by an angle and brings the point `start` to `end`."""
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    matrix = jnp.stack([jnp.stack([cosine, sine]), jnp.stack([-sine, cosine])])
    return jnp.concatenate([matrix, (end - matrix @ start)[:, None]], axis=1)


def turn_by_angle(one: Regression, angle: Float[Array, ""], centre: Float[Array, " 2"]) -> Regression:
    """One face as a picture shows it that is turned about a centre (pixels) by an angle. Pure."""
    turn = angle_transform(angle, centre, centre)
    move = lambda point: turn[:, :2] @ point + turn[:, 2]  # noqa: E731
    about = axis_angle_to_quaternion(angle * jnp.array([0.0, 0.0, 1.0]))
    assert isinstance(one.params.camera, PerspectiveCamera)
    params = _turn_params(one.params, about, quaternion_to_matrix(about), move(one.params.camera.principal))
    return replace(one, params=params, landmarks=jax.vmap(move)(one.landmarks))


def roll_angle(rotation: Float[Array | np.ndarray, " 4"]) -> float:
    """The angle by which a picture must be turned so that the head's upward axis points up in it."""
    matrix = np.asarray(quaternion_to_matrix(jnp.asarray(rotation)))
    return float(np.arctan2(matrix[0, 1], matrix[1, 1]))


def _turn_params(
    params: FaceParams, about: Float[Array, " 4"], matrix: Float[Array, "3 3"], principal: Float[Array, " 2"]
) -> FaceParams:
    """A face turned about the camera's axis, with the optical centre where the turn brings it."""
    pose = Pose(quaternion_multiply(about, params.pose.rotation), matrix @ params.pose.translation)
    light = rotate_light(params.light, matrix)
    return replace(params, pose=pose, camera=replace(params.camera, principal=principal), light=light)

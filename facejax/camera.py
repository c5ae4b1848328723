"""Poses and cameras. Camera space: x to the viewer's right, y up, the camera at the origin looking along -z.

Pixels: x right, y down, (0, 0) the top-left corner of the image, so the first pixel's centre is (0.5, 0.5).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

NEAR = 1.0  # mm; points nearer than this (or behind the camera) are projected as if they were at this depth


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pose:
    """Model space to camera space: `R(rotation) @ x + translation`. An upright frontal face has the identity."""

    rotation: Float[Array, "*B 4"]  # unit quaternion (w, x, y, z)
    translation: Float[Array, "*B 3"]  # mm; (0, 0, -distance) puts the model's origin on the view axis


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PerspectiveCamera:
    """Pinhole: `x = cx + focal * X / depth`, `y = cy - focal * Y / depth`, with depth = -Z."""

    focal: Float[Array, "*B"]  # pixels
    principal: Float[Array, "*B 2"]  # (cx, cy), pixels
    perspective: ClassVar[bool] = True


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class WeakPerspectiveCamera:
    """Scaled orthographic: `x = cx + scale * X`, `y = cy - scale * Y`; depth is -Z and does not shrink anything."""

    scale: Float[Array, "*B"]  # pixels per millimetre
    principal: Float[Array, "*B 2"]  # (cx, cy), pixels
    perspective: ClassVar[bool] = False


Camera = PerspectiveCamera | WeakPerspectiveCamera


def quaternion_to_matrix(quaternion: Float[Array, "... 4"]) -> Float[Array, "... 3 3"]:
    """Rotation matrix of a quaternion (w, x, y, z); it is normalised first, so gradients stay on the sphere."""
    square = jnp.sum(quaternion * quaternion, axis=-1)
    w, x, y, z = jnp.moveaxis(quaternion, -1, 0)
    s = 2.0 / jnp.maximum(square, 1e-12)
    rows = [
        [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
        [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
        [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def matrix_to_quaternion(matrix: Float[Array, "... 3 3"]) -> Float[Array, "... 4"]:
    """Unit quaternion (w >= 0) of a rotation matrix, well conditioned for every rotation.

    The matrix determines q q^T; its row with the largest diagonal entry is used.
    """
    m = matrix
    d = [m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]]
    a, b, c = m[..., 2, 1], m[..., 0, 2], m[..., 1, 0]
    p, q, r = m[..., 1, 2], m[..., 2, 0], m[..., 0, 1]
    outer = jnp.stack(
        [
            jnp.stack([1 + d[0] + d[1] + d[2], a - p, b - q, c - r], -1),
            jnp.stack([a - p, 1 + d[0] - d[1] - d[2], c + r, b + q], -1),
            jnp.stack([b - q, c + r, 1 - d[0] + d[1] - d[2], a + p], -1),
            jnp.stack([c - r, b + q, a + p, 1 - d[0] - d[1] + d[2]], -1),
        ],
        axis=-2,
    )
    best = jnp.argmax(jnp.diagonal(outer, axis1=-2, axis2=-1), axis=-1)
    row = jnp.take_along_axis(outer, best[..., None, None], axis=-2)[..., 0, :]
    row = row / jnp.linalg.norm(row, axis=-1, keepdims=True)
    return row * jnp.where(row[..., :1] < 0, -1.0, 1.0)


def quaternion_multiply(left: Float[Array, "... 4"], right: Float[Array, "... 4"]) -> Float[Array, "... 4"]:
    """Hamilton product: the rotation `right` followed by `left`."""
    w, v = left[..., :1], left[..., 1:]
    u, s = right[..., :1], right[..., 1:]
    return jnp.concatenate(
        [w * u - jnp.sum(v * s, -1, keepdims=True), w * s + u * v + jnp.cross(v, s)],
        axis=-1,
    )


def axis_angle_to_quaternion(axis_angle: Float[Array, "... 3"]) -> Float[Array, "... 4"]:
    """Unit quaternion of a rotation vector (radians); smooth, with a finite gradient, at zero."""
    square = jnp.sum(axis_angle * axis_angle, axis=-1, keepdims=True)
    small = square < 1e-8
    angle = jnp.sqrt(jnp.where(small, 1.0, square))
    half_sinc = jnp.where(small, 0.5 - square / 48.0, jnp.sin(0.5 * angle) / angle)
    cosine = jnp.where(small, 1.0 - square / 8.0, jnp.cos(0.5 * angle))
    return jnp.concatenate([cosine, half_sinc * axis_angle], axis=-1)


def euler_to_quaternion(degrees: Float[Array, "... 3"]) -> Float[Array, "... 4"]:
    """Quaternion of R = Ry(yaw) Rx(pitch) Rz(roll) from (pitch, yaw, roll) in degrees."""
    pitch, yaw, roll = jnp.moveaxis(jnp.deg2rad(degrees) / 2, -1, 0)
    zero = jnp.zeros_like(pitch)
    qx = jnp.stack([jnp.cos(pitch), jnp.sin(pitch), zero, zero], -1)
    qy = jnp.stack([jnp.cos(yaw), zero, jnp.sin(yaw), zero], -1)
    qz = jnp.stack([jnp.cos(roll), zero, zero, jnp.sin(roll)], -1)
    return quaternion_multiply(qy, quaternion_multiply(qx, qz))


@jax.jit  # one program instead of a dozen small ones
def quaternion_to_euler(quaternion: Float[Array, "... 4"]) -> Float[Array, "... 3"]:
    """(pitch, yaw, roll) in degrees with R = Ry(yaw) Rx(pitch) Rz(roll). For display; it has no safe gradient."""
    r = quaternion_to_matrix(quaternion)
    pitch = jnp.arcsin(jnp.clip(-r[..., 1, 2], -1.0, 1.0))
    yaw = jnp.arctan2(r[..., 0, 2], r[..., 2, 2])
    roll = jnp.arctan2(r[..., 1, 0], r[..., 1, 1])
    return jnp.rad2deg(jnp.stack([pitch, yaw, roll], axis=-1))


def facing(direction: Float[Array, "... 3"]) -> Float[Array, "... 4"]:
    """The quaternion of the smallest rotation from the view axis (0, 0, -1) to a direction in front of the camera."""
    x, y, z = jnp.moveaxis(direction, -1, 0)
    length = jnp.sqrt(jnp.maximum(x * x + y * y + z * z, 1e-12))
    quaternion = jnp.stack([length - z, y, -x, jnp.zeros_like(x)], axis=-1)
    return quaternion / jnp.sqrt(jnp.sum(quaternion * quaternion, axis=-1, keepdims=True))


def seen_rotation(pose: Pose) -> Float[Array, "*B 4"]:
    """The rotation as seen along the ray to the model's origin; at the centre of a picture it is the pose's own.

    A face at the side of a picture that looks into the camera is turned against the camera's axis; this is not.
    """
    back = facing(pose.translation) * jnp.array([1.0, -1.0, -1.0, -1.0])
    return quaternion_multiply(back, pose.rotation)


def to_camera(pose: Pose, points: Float[Array, "N 3"]) -> Float[Array, "N 3"]:
    """Model space (mm) to camera space (mm)."""
    return points @ quaternion_to_matrix(pose.rotation).T + pose.translation[None]


def project(camera: Camera, points: Float[Array, "N 3"]) -> Float[Array, "N 3"]:
    """Camera space (mm) to (x, y, depth): pixels, pixels, mm in front of the camera.

    With a perspective camera a point nearer than `NEAR` is projected as if at that depth, so that the result stays
    finite. Its true depth is still returned, and the renderer culls by it.

    >>> camera = PerspectiveCamera(focal=jnp.array(1000.0), principal=jnp.array([112.0, 112.0]))
    >>> project(camera, jnp.array([[10.0, 20.0, -1000.0]])).tolist()  # right of the axis and above it
    [[122.0, 92.0, 1000.0]]
    """
    x, y, z = jnp.unstack(points, axis=1)
    depth = -z
    factor = camera.focal / jnp.maximum(depth, NEAR) if isinstance(camera, PerspectiveCamera) else camera.scale
    return jnp.stack([camera.principal[0] + factor * x, camera.principal[1] - factor * y, depth], axis=1)


def focal_from_fov(degrees: float, side: int) -> float:
    """Focal length (pixels) with which `side` pixels span `degrees`."""
    return 0.5 * side / math.tan(math.radians(degrees) / 2)


def transform_camera(
    camera: Camera, scale: Float[Array | np.ndarray, ""], offset: Float[Array | np.ndarray, " 2"]
) -> Camera:
    """The camera of a resampled image whose pixels are `new = scale * old + offset` (a crop, a resize)."""
    principal = camera.principal * scale + offset
    if isinstance(camera, PerspectiveCamera):
        return PerspectiveCamera(camera.focal * scale, principal)
    return WeakPerspectiveCamera(camera.scale * scale, principal)

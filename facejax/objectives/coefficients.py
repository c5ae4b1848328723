"""The coefficient vector of the regression literature: a pose of 12 or 7 numbers, identity, expression, whitened.

3DDFA (Zhu et al., "Face alignment in full pose range: a 3D total solution", TPAMI 2019) and 2DASL (Tu et al.,
"3D face reconstruction from a single image assisted by 2D face images in the wild", TMM 2021) describe a face
by 62 numbers: the rows of [f R | t], 40 identity and 10 expression coefficients. The points are

    V = f R S + t,   S = mean + sum_k coefficient_k * basis_k

in pixels of a crop with x right, y UP and z to the viewer; `to_pixels` turns y over. Networks predict the whitened
vector (p - mean) / std. Everything here works on any linear model and any number of coefficients.
"""

from dataclasses import dataclass, field, replace
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from facejax.camera import (
    Pose,
    WeakPerspectiveCamera,
    euler_to_quaternion,
    matrix_to_quaternion,
    quaternion_to_euler,
    quaternion_to_matrix,
)
from facejax.face_model import FaceModel
from facejax.mesh import points_on_faces
from facejax.promotion import along_last

PoseForm = Literal["affine", "euler"]
POSE_SIZE: dict[str, int] = {"affine": 12, "euler": 7}
DEPTH_ENTRY: dict[str, int] = {"affine": 11, "euler": 6}  # z translation: no image determines it
TINY = 1e-12


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Whitening:
    """Mean and standard deviation of every coefficient over a training set."""

    mean: Float[Array, " P"]
    std: Float[Array, " P"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Coefficients:
    """One face, unpacked."""

    pose: Float[Array, "3 4"]  # [f R | t], pixels
    shape: Float[Array, " C"]  # identity, then expression


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class CoefficientSpace:
    """What the parameter costs need to know: points that are linear in the coefficients, whitening, the pose's form."""

    mean: Float[Array, "N 3"]
    basis: Float[Array, "C N 3"]  # identity, then expression; standard deviations folded in
    whitening: Whitening
    gram: Float[Array, "F F"]  # see `_gram`; F = 3 (C + 1) + 1
    pose: PoseForm = field(metadata={"static": True})


def coefficient_space(
    mean: Float[Array, "N 3"],
    basis: Float[Array, "C N 3"],
    whitening: Whitening | None = None,
    *,
    pose: PoseForm = "affine",
) -> CoefficientSpace:
    """A space from a model's mean and bases (any unit). Without `whitening` coefficients stay as they are.

    Raises ValueError when the whitening does not have as many entries as the pose and the bases.
    """
    size = POSE_SIZE[pose] + basis.shape[0]
    if whitening is None:
        whitening = Whitening(jnp.zeros(size, mean.dtype), jnp.ones(size, mean.dtype))
    if whitening.mean.shape != (size,):
        raise ValueError(
            f"the whitening has {whitening.mean.shape[0]} entries, the space {size}: "
            f"{POSE_SIZE[pose]} of the pose and {basis.shape[0]} coefficients"
        )
    return CoefficientSpace(mean, basis, whitening, _gram(mean, basis), pose)


def face_model_points(
    model: FaceModel, *, identity: int | None = None, expression: int | None = None, vertices: bool = False
) -> tuple[Float[Array, "N 3"], Float[Array, "C N 3"]]:
    """Mean (mm) and bases (mm per coefficient) of a model's 68 landmarks, followed by all its vertices if asked for."""

    def points(values: Float[Array, "V 3"]) -> Float[Array, "N 3"]:
        marks = points_on_faces(values, model.faces, model.topology.landmark_faces, model.landmark_weights)
        return jnp.concatenate([marks, values]) if vertices else marks

    first = model.identity_basis[:identity] * model.identity_std[:identity, None, None]
    second = model.expression_basis[:expression] * model.expression_std[:expression, None, None]
    return points(model.mean), jax.vmap(points)(jnp.concatenate([first, second]))


def at_points(space: CoefficientSpace, rows: Int[Array, " M"]) -> CoefficientSpace:
    """The space on some of its points only."""
    mean, basis = space.mean[rows], space.basis[:, rows]
    return replace(space, mean=mean, basis=basis, gram=_gram(mean, basis))


def fit_whitening(samples: Float[Array, "N P"]) -> Whitening:
    """Mean and standard deviation of the samples; an entry that never changes gets the deviation 1."""
    std = jnp.std(samples, axis=0)
    return Whitening(jnp.mean(samples, axis=0), jnp.where(std > 0, std, 1.0))


def whiten(whitening: Whitening, raw: Float[Array, "... P"]) -> Float[Array, "... P"]:
    """Raw coefficients in standard deviations from their mean."""
    return (raw - along_last(whitening.mean, raw)) / along_last(whitening.std, raw)


def unwhiten(whitening: Whitening, white: Float[Array, "... P"]) -> Float[Array, "... P"]:
    """The inverse of `whiten`."""
    return white * along_last(whitening.std, white) + along_last(whitening.mean, white)


def pack(pose: Float[Array, "3 4"], identity: Float[Array, " I"], expression: Float[Array, " E"]) -> Float[Array, " P"]:
    """The raw vector of the 12-number form: the pose row by row, identity, expression."""
    return jnp.concatenate([pose.reshape(12), identity, expression])


def pack_seven(
    pose: Float[Array, " 7"], identity: Float[Array, " I"], expression: Float[Array, " E"]
) -> Float[Array, " P"]:
    """The raw vector of the 7-number form."""
    return jnp.concatenate([pose, identity, expression])


def unpack(space: CoefficientSpace, raw: Float[Array, " P"]) -> Coefficients:
    """Pose and coefficients of a raw (un-whitened) vector; a 7-number pose comes back as the matrix it stands for."""
    size = POSE_SIZE[space.pose]
    head = raw[:size]
    pose = head.reshape(3, 4) if space.pose == "affine" else matrix_from_seven(head)
    return Coefficients(pose, raw[size:])


def matrix_from_seven(seven: Float[Array, " 7"]) -> Float[Array, "3 4"]:
    """[f R | t] of (f, pitch, yaw, roll, tx, ty, tz).

    Angles in radians with this project's order R = Ry(yaw) Rx(pitch) Rz(roll), so that they are what people read;
    3DDFA's own 7 numbers multiply the three rotations in another order.
    """
    rotation = quaternion_to_matrix(euler_to_quaternion(jnp.rad2deg(seven[1:4])))
    return jnp.concatenate([seven[0] * rotation, seven[4:, None]], axis=1)


def seven_from_matrix(pose: Float[Array, "3 4"]) -> Float[Array, " 7"]:
    """The 7 numbers of the scaled rotation closest to the 3x3 part; for labels, not for gradients."""
    scale, rotation = _nearest_rotation(pose[:, :3])
    angles = jnp.deg2rad(quaternion_to_euler(matrix_to_quaternion(rotation)))
    return jnp.concatenate([scale[None], angles, pose[:, 3]])


def shape_points(space: CoefficientSpace, shape: Float[Array, " C"]) -> Float[Array, "N 3"]:
    """S: the points before the pose, in the model's unit."""
    return space.mean + jnp.tensordot(shape, space.basis, axes=1)


def posed_points(space: CoefficientSpace, white: Float[Array, " P"]) -> Float[Array, "N 3"]:
    """V = f R S + t of a whitened vector: x right, y up, z to the viewer, pixels."""
    face = unpack(space, unwhiten(space.whitening, white))
    return shape_points(space, face.shape) @ face.pose[:, :3].T + face.pose[None, :, 3]


def to_pixels(points: Float[Array, "N 3"], height: float) -> Float[Array, "N 3"]:
    """y up to y down, for a picture of `height` pixels: (x, height - y, z) with (0, 0) the top-left corner.

    Vectors that follow the released weights of 3DDFA and 2DASL count pixels from 1 and turn y over as 121 - y in their
    120 pixels: for those pass `height` 121 and subtract 0.5 from x and y.
    """
    return points * jnp.array([[1.0, -1.0, 1.0]], points.dtype) + jnp.array([[0.0, height, 0.0]], points.dtype)


def pose_from_camera(pose: Pose, camera: WeakPerspectiveCamera, height: float) -> Float[Array, "3 4"]:
    """[f R | t] whose `to_pixels` are the pixels of a scaled-orthographic camera in a picture of `height` pixels."""
    principal = jnp.concatenate([camera.principal, jnp.zeros_like(camera.principal[:1])])
    middle = to_pixels(principal[None], height)[0]
    translation = middle + camera.scale * pose.translation
    return jnp.concatenate([camera.scale * quaternion_to_matrix(pose.rotation), translation[:, None]], axis=1)


def camera_from_pose(matrix: Float[Array, "3 4"], height: float) -> tuple[Pose, WeakPerspectiveCamera]:
    """The pose and camera of the scaled rotation closest to the 3x3 part; the inverse of `pose_from_camera`.

    The place in the picture goes into the camera's principal point, so the pose's translation has only a depth.
    """
    scale, rotation = _nearest_rotation(matrix[:, :3])
    place = to_pixels(matrix[None, :, 3], height)[0]
    translation = jnp.zeros_like(place).at[2].set(place[2] / scale)
    return Pose(matrix_to_quaternion(rotation), translation), WeakPerspectiveCamera(scale, place[:2])


def _nearest_rotation(matrix: Float[Array, "3 3"]) -> tuple[Float[Array, ""], Float[Array, "3 3"]]:
    """The scale and rotation closest to a matrix in the least-squares sense."""
    u, singular, vt = jnp.linalg.svd(matrix)
    sign = jnp.ones_like(singular).at[2].set(jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vt)))
    return jnp.mean(singular * sign), (u * sign[None]) @ vt


def _gram(mean: Float[Array, "N 3"], basis: Float[Array, "C N 3"]) -> Float[Array, "F F"]:
    """Inner products over the points of all their coordinates: what distances between posed faces need to know.

    Posed coordinate r of all points is a combination of F columns: for every mode k (0 the mean) and axis c its values,
    with factor A[r, c] * coefficient_k at 3 k + c, and a column of ones for the translation. So the squared distance of
    two faces is a quadratic form in their parameters whose cost does not grow with the number of points.
    """
    modes = jnp.concatenate([mean[None], basis])
    columns = jnp.concatenate([jnp.moveaxis(modes, 1, 2).reshape(-1, mean.shape[0]), jnp.ones((1, len(mean)))])
    return columns @ columns.T

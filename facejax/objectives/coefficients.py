"""The coefficient vector of the regression literature: a pose of 12 numbers, identity and expression, whitened.

3DDFA (Zhu et al., "Face alignment in full pose range: a 3D total solution", TPAMI 2019) and 2DASL (Tu et al.,
"3D face reconstruction from a single image assisted by 2D face images in the wild", TMM 2021) describe a face
by 62 numbers: the rows of [f R | t], 40 identity and 10 expression coefficients. The points are

    V = f R S + t,   S = mean + sum_k coefficient_k * basis_k

in pixels of a crop with x right, y UP and z to the viewer; `to_pixels` turns y over. Networks predict the whitened
vector (p - mean) / std. All of this works on any linear model and any number of coefficients.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.camera import (
    Pose,
    WeakPerspectiveCamera,
    quaternion_to_matrix,
)
from facejax.programs.promotion import along_last

POSE_SIZE = 12
DEPTH_ENTRY = 11  # z translation: no image determines it
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
    """What the parameter costs need: points that are linear in the coefficients, and the whitening."""

    mean: Float[Array, "N 3"]
    basis: Float[Array, "C N 3"]  # identity, then expression; standard deviations folded in
    whitening: Whitening
    gram: Float[Array, "F F"]  # see `_gram`; F = 3 (C + 1) + 1


def coefficient_space(
    mean: Float[Array, "N 3"], basis: Float[Array, "C N 3"], whitening: Whitening | None = None
) -> CoefficientSpace:
    """A space from a model's mean and bases (any unit). Without `whitening` the coefficients are used as they are.

    Raises ValueError when the whitening does not have as many entries as the pose and the bases.
    """
    size = POSE_SIZE + basis.shape[0]
    if whitening is None:
        whitening = Whitening(jnp.zeros(size, mean.dtype), jnp.ones(size, mean.dtype))
    if whitening.mean.shape != (size,):
        raise ValueError(
            f"the whitening has {whitening.mean.shape[0]} entries, the space {size}: "
            f"{POSE_SIZE} of the pose and {basis.shape[0]} coefficients"
        )
    return CoefficientSpace(mean, basis, whitening, _gram(mean, basis))


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
    """The raw vector: the pose row by row, identity, expression."""
    return jnp.concatenate([pose.reshape(12), identity, expression])


def unpack(raw: Float[Array, " P"]) -> Coefficients:
    """Pose and coefficients of a raw (un-whitened) vector."""
    return Coefficients(raw[:POSE_SIZE].reshape(3, 4), raw[POSE_SIZE:])


def shape_points(space: CoefficientSpace, shape: Float[Array, " C"]) -> Float[Array, "N 3"]:
    """S: the points before the pose, in the model's unit."""
    return space.mean + jnp.tensordot(shape, space.basis, axes=1)


def posed_points(space: CoefficientSpace, white: Float[Array, " P"]) -> Float[Array, "N 3"]:
    """V = f R S + t of a whitened vector: x right, y up, z to the viewer, pixels."""
    face = unpack(unwhiten(space.whitening, white))
    return shape_points(space, face.shape) @ face.pose[:, :3].T + face.pose[None, :, 3]


def to_pixels(points: Float[Array, "N 3"], height: float) -> Float[Array, "N 3"]:
    """Flip y from up to down, for a picture of `height` pixels: (x, height - y, z) with (0, 0) the top-left corner.

    The released weights of 3DDFA and 2DASL count pixels from 1 and flip y to 121 - y in their 120 pixels. For such
    vectors pass `height` 121 and subtract 0.5 from x and y.
    """
    return points * jnp.array([[1.0, -1.0, 1.0]], points.dtype) + jnp.array([[0.0, height, 0.0]], points.dtype)


def pose_from_camera(pose: Pose, camera: WeakPerspectiveCamera, height: float) -> Float[Array, "3 4"]:
    """The pose [f R | t] for which `to_pixels` gives the pixels of a scaled-orthographic camera, in a picture of
    `height` px.
    """
    principal = jnp.concatenate([camera.principal, jnp.zeros_like(camera.principal[:1])])
    middle = to_pixels(principal[None], height)[0]
    translation = middle + camera.scale * pose.translation
    return jnp.concatenate([camera.scale * quaternion_to_matrix(pose.rotation), translation[:, None]], axis=1)


def _gram(mean: Float[Array, "N 3"], basis: Float[Array, "C N 3"]) -> Float[Array, "F F"]:
    """Inner products of the points' coordinates, from which distances between posed faces follow.

    Posed coordinate r of all points is a combination of F columns. For each mode k (0 the mean) and axis c, column 3 k
    + c holds coordinate c of that mode and has the factor A[r, c] * coefficient_k; a last column of ones is for the
    translation. So the squared distance of two faces is a quadratic form in their parameters, and its cost does not
    grow with the number of points.
    """
    modes = jnp.concatenate([mean[None], basis])
    columns = jnp.concatenate([jnp.moveaxis(modes, 1, 2).reshape(-1, mean.shape[0]), jnp.ones((1, len(mean)))])
    return columns @ columns.T

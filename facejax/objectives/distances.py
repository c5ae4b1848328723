"""Distances of coefficient vectors: as they are (PDC), and as the faces that they make (VDC).

Zhu et al., "Face alignment across large poses: a 3D solution", CVPR 2016, on the cost function. The z translation
cannot be seen in the picture and is taken from the truth in every cost.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.objectives.coefficients import DEPTH_ENTRY, CoefficientSpace, posed_points, unpack, unwhiten


def with_true_depth(predicted: Float[Array, " P"], true: Float[Array, " P"]) -> Float[Array, " P"]:
    """The predicted vector with the z translation of the true one."""
    return predicted.at[DEPTH_ENTRY].set(true[DEPTH_ENTRY])


def parameter_distance(
    space: CoefficientSpace, predicted: Float[Array, " P"], true: Float[Array, " P"]
) -> Float[Array, ""]:
    """PDC: the mean squared difference of whitened vectors (mean as in the released code; the paper: sum)."""
    return jnp.mean((with_true_depth(predicted, true) - true) ** 2)


def vertex_distance(
    space: CoefficientSpace, predicted: Float[Array, " P"], true: Float[Array, " P"]
) -> Float[Array, ""]:
    """VDC: the mean over all coordinates of the squared distance of the posed points, pixels^2.

    Whitened vectors. The mean is over 3 N coordinates as in the released code, so it is a third of the mean squared
    distance of the points.
    """
    found = posed_points(space, with_true_depth(predicted, true))
    return jnp.mean((found - posed_points(space, true)) ** 2)


def fast_vertex_distance(
    space: CoefficientSpace, predicted: Float[Array, " P"], true: Float[Array, " P"]
) -> Float[Array, ""]:
    """VDC from the points' inner products: the same number, at a cost independent of the number of points.

    The distance is a quadratic form in the difference of the two faces' column factors (see `coefficients._gram`), so
    nothing large cancels and float32 is enough.
    """
    difference = column_factors(space, with_true_depth(predicted, true)) - column_factors(space, true)
    return jnp.sum((difference @ space.gram) * difference) / (3 * space.mean.shape[0])


def column_factors(space: CoefficientSpace, white: Float[Array, " P"]) -> Float[Array, "3 F"]:
    """Row r holds the factors by which the columns behind the Gram matrix combine to coordinate r of the posed points.

    `white` is whitened.
    """
    face = unpack(unwhiten(space.whitening, white))
    modes = jnp.concatenate([jnp.ones_like(face.shape[:1]), face.shape])
    linear = face.pose[:, None, :3] * modes[None, :, None]
    return jnp.concatenate([linear.reshape(3, -1), face.pose[:, 3:]], axis=1)

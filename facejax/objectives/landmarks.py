"""Landmarks and other points of the surface: their distances in the picture."""

import chex
import jax.numpy as jnp
from jaxtyping import Array, Float


def landmark_distance(
    projected: Float[Array, "L 2"], observed: Float[Array, "L 2"], weights: Float[Array, " L"], size: Float[Array, ""]
) -> Float[Array, ""]:
    """Weighted mean of the squared distances, in units of the face's size.

    Deep3DFaceRecon's landmark loss (Deng et al., CVPR-W 2019, eq. 2), made independent of the image's resolution.

    Args:
      projected, observed: (68, 2), pixels.
      weights: of the points.
      size: of the face, pixels of the landmarks' box.

    Returns:
      The mean.

    >>> points = jnp.zeros((68, 2))
    >>> round(float(landmark_distance(points + jnp.array([3.0, 4.0]), points, jnp.ones(68), jnp.array(100.0))), 6)
    0.0025
    """
    chex.assert_equal_shape([projected, observed])
    square = jnp.sum((projected - observed) ** 2, axis=-1)
    chex.assert_equal_shape([square, weights])
    return jnp.sum(square * weights) / (jnp.sum(weights) * size * size)


def surface_point_distance(
    projected: Float[Array, "N 2"],
    observed: Float[Array, "N 2"],
    weights: Float[Array, " N"],
    size: Float[Array, ""],
    *,
    scale: float = 0.03,
) -> Float[Array, ""]:
    """Weighted sum of robust squared distances, in units of the face's size.

    Geman and McClure's function, d^2 / (1 + (d / scale)^2): near its target a point pulls like a landmark of
    `landmark_distance`, and a point that is far off hardly pulls at all. The sum is not divided by the weights', so
    that few seen points count less than many.

    Args:
      projected, observed: pixels.
      weights: of the points, 0 where one is not seen.
      size: of the face, pixels of the landmarks' box.
      scale: the distance at which a point counts half of its square, as a share of the face's size.

    Returns:
      The sum.

    >>> there, weight = jnp.zeros((2, 2)), jnp.array([1.0, 0.0])
    >>> away = jnp.array([[3.0, 0.0], [90.0, 0.0]])  # a point at `scale`, and one that is not seen
    >>> round(float(surface_point_distance(away, there, weight, jnp.array(100.0))), 6)
    0.00045
    """
    chex.assert_equal_shape([projected, observed])
    square = jnp.sum((projected - observed) ** 2, axis=-1) / (size * size)
    chex.assert_equal_shape([square, weights])
    return jnp.sum(weights * square / (1.0 + square / scale**2))


def deep3d_landmark_weights() -> Float[Array, " 68"]:
    """20 on the nose (28-30) and the inner mouth (60-67), 1 elsewhere: where errors of a fit are most visible."""
    return jnp.ones(68).at[28:31].set(20.0).at[60:68].set(20.0)


def deep3d_landmark_distance(projected: Float[Array, "68 2"], observed: Float[Array, "68 2"]) -> Float[Array, ""]:
    """sum_n w_n |p_n - q_n|^2 / 68 in pixels^2 of a 224-pixel image, the form to which the published factor 1.6e-3
    applies.

    Deng et al., CVPR-W 2019. `landmark_distance` with the same weights is this times 68 / 277 / size^2.
    """
    chex.assert_shape([projected, observed], (68, 2))
    square = jnp.sum((projected - observed) ** 2, axis=-1)
    return jnp.mean(square * deep3d_landmark_weights().astype(square.dtype))

"""Landmarks with an uncertainty that the network predicts.

Wood et al., "3D face reconstruction with dense landmarks", ECCV 2022, section 3.1: each landmark is a circular Gaussian
in the picture, and the network is trained with its negative log-likelihood. Lengths are in face sizes.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def landmark_likelihood(
    predicted: Float[Array, "L 2"],
    log_sigma: Float[Array, " L"],
    true: Float[Array, "L 2"],
    size: float | Float[Array, ""],
    weights: Float[Array, " L"] | None = None,
) -> Float[Array, ""]:
    """Weighted mean of log sigma^2 + d^2 / (2 sigma^2), the negative log-likelihood up to log 2 pi.

    For a point that is always off by d the best sigma is d / sqrt(2).

    Args:
      predicted, true: landmarks, pixels.
      log_sigma: of each landmark, in face sizes.
      size: of the face, pixels.
      weights: of the points; 0 ignores a point.

    Returns:
      The mean.
    """
    square = jnp.sum((predicted - true) ** 2, axis=-1) / size**2
    nll = 2.0 * log_sigma + 0.5 * square * jnp.exp(-2.0 * log_sigma)
    return jnp.mean(nll) if weights is None else jnp.sum(weights * nll) / jnp.maximum(jnp.sum(weights), 1e-6)


def chance_within(log_sigma: Float[Array, "*B"], radius: float = 0.05) -> Float[Array, "*B"]:
    """The predicted probability that a landmark lies within `radius` face sizes of the truth: 1 - exp(-r^2 / (2
    sigma^2)).
    """
    return -jnp.expm1(-0.5 * radius**2 * jnp.exp(-2.0 * log_sigma))

"""Landmarks with an uncertainty each, as the network that predicts them states it.

Wood et al., "3D face reconstruction with dense landmarks", ECCV 2022, section 3.1: every landmark is a circular
Gaussian in the picture, and the network is trained with its negative log-likelihood. Lengths are in units of the face's
size.
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
    """Weighted mean of log sigma^2 + d^2 / (2 sigma^2), d and sigma as shares of the face's size (pixels).

    The negative log-likelihood up to log 2 pi. For a point that is always off by d the best sigma is d / sqrt(2). With
    `weights` 0 a point counts nothing.
    """
    square = jnp.sum((predicted - true) ** 2, axis=-1) / size**2
    nll = 2.0 * log_sigma + 0.5 * square * jnp.exp(-2.0 * log_sigma)
    return jnp.mean(nll) if weights is None else jnp.sum(weights * nll) / jnp.maximum(jnp.sum(weights), 1e-6)


def chance_within(log_sigma: Float[Array, "*B"], radius: float = 0.05) -> Float[Array, "*B"]:
    """The stated chance that a landmark lies within `radius` face sizes of the truth: 1 - exp(-r^2 / (2 sigma^2))."""
    return -jnp.expm1(-0.5 * radius**2 * jnp.exp(-2.0 * log_sigma))

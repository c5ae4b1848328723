"""Priors on the parameters themselves."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.lighting import sh_basis


def mean_square(coefficients: Float[Array, " N"]) -> Float[Array, ""]:
    """Mean of the squared coefficients: the negative log of a standard normal prior, per component."""
    return jnp.sum(coefficients * coefficients) / max(coefficients.shape[0], 1)


def light_colour(light: Float[Array, "9 3"]) -> Float[Array, ""]:
    """How far the three channels of the light are from their mean, relative to its strength.

    Deep3DFaceRecon's gamma loss: without it a warm light and pale skin could explain ruddy skin.
    """
    grey = jnp.mean(light, axis=-1, keepdims=True)
    return jnp.mean((light - grey) ** 2) / jnp.maximum(jnp.mean(light[0]) ** 2, 1e-6)


def light_below_zero(light: Float[Array, "9 3"]) -> Float[Array, ""]:
    """Mean square of the negative part of the irradiance over the sphere: light cannot be taken away."""
    shading = sh_basis(light_directions()) @ light
    return jnp.mean(jnp.minimum(shading, 0.0) ** 2)


def light_directions() -> Float[Array, "64 3"]:
    """The 64 unit vectors, on a Fibonacci spiral, at which `light_below_zero` looks."""
    k = jnp.arange(64, dtype=jnp.float32) + 0.5
    z, angle = 1 - 2 * k / 64, k * jnp.pi * (3 - 5**0.5)
    radius = jnp.sqrt(1 - z * z)
    return jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle), z], axis=-1)


def gamma_spread(light: Float[Array, "9 3"]) -> Float[Array, ""]:
    """Deep3DFaceRecon's gamma loss as in its code: mean squared deviation of the light's channels from their mean.

    `light_colour` is the same relative to the light's strength. Not in the paper (Deng et al., CVPR-W 2019).
    """
    return jnp.mean((light - jnp.mean(light, axis=-1, keepdims=True)) ** 2)

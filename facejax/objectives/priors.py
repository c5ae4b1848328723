"""Priors on the parameters themselves."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.lighting import sh_basis


def mean_square(coefficients: Float[Array, " N"]) -> Float[Array, ""]:
    """Mean of the squared coefficients: the negative log of a standard normal prior, per component."""
    return jnp.sum(coefficients * coefficients) / max(coefficients.shape[0], 1)


def light_colour(light: Float[Array, "9 3"]) -> Float[Array, ""]:
    """How far the three channels of the light are from their mean, relative to its strength.

    Deep3DFaceRecon's gamma loss: without it a warm light and a pale skin explain a ruddy one.
    """
    grey = jnp.mean(light, axis=-1, keepdims=True)
    return jnp.mean((light - grey) ** 2) / jnp.maximum(jnp.mean(light[0]) ** 2, 1e-6)


def light_below_zero(light: Float[Array, "9 3"]) -> Float[Array, ""]:
    """Mean square of what the light would take away from surfaces: irradiance below zero over the sphere."""
    shading = sh_basis(_directions()) @ light
    return jnp.mean(jnp.minimum(shading, 0.0) ** 2)


def _directions() -> Float[Array, "64 3"]:
    """A Fibonacci spiral of unit vectors."""
    k = jnp.arange(64, dtype=float) + 0.5
    z, angle = 1 - 2 * k / 64, k * jnp.pi * (3 - 5**0.5)
    radius = jnp.sqrt(1 - z * z)
    return jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle), z], axis=-1)


def gamma_spread(light: Float[Array, "9 3"]) -> Float[Array, ""]:
    """Deep3DFaceRecon's gamma loss as its code has it: mean squared deviation of the channels from their mean.

    `light_colour` is this relative to the light's strength. Not in the paper (Deng et al., CVPR-W 2019).
    """
    return jnp.mean((light - jnp.mean(light, axis=-1, keepdims=True)) ** 2)


def deep3d_coefficients(
    identity: Float[Array, " K"],
    expression: Float[Array, " E"],
    albedo: Float[Array, " A"],
    *,
    weights: tuple[float, float, float] = (1.0, 0.8, 0.017),
) -> Float[Array, ""]:
    """Weighted sum of the squared coefficients of one face (Deng et al., CVPR-W 2019).

    The weights are those of the released code; the paper has 1.7e-3 for the albedo.
    """
    squares = [jnp.sum(block * block) for block in (identity, expression, albedo)]
    return sum((w * square for w, square in zip(weights, squares, strict=True)), jnp.zeros(()))


def reflectance_variance(albedo: Float[Array, "*S 3"], region: Float[Array, "*S"]) -> Float[Array, ""]:
    """Variance of the albedo over a skin region (weights in [0, 1]), averaged over the channels.

    Deng et al., CVPR-W 2019, after Tewari et al., "MoFA", ICCV 2017: without it shadows become dark skin. On vertices
    or texels.
    """
    weight = region[..., None] / jnp.maximum(jnp.sum(region), 1e-6)
    axes = tuple(range(albedo.ndim - 1))
    mean = jnp.sum(weight * albedo, axis=axes, keepdims=True)
    return jnp.mean(jnp.sum(weight * (albedo - mean) ** 2, axis=axes))

"""Priors on the latents of a StyleGAN2 decoder, one vector for each of its layers."""

import jax.numpy as jnp
from jaxtyping import Array, Float

_EPS = 1e-9


def geodesic_cross(latents: Float[Array, "L D"]) -> Float[Array, ""]:
    """512 / 8 times the mean squared angle between the layers' vectors, over all pairs including each with itself.

    It keeps the vectors close to each other, so that the decoder makes maps like those it was trained on. Menon et al.,
    "PULSE", CVPR 2020, as in FFHQ-UV's code: the angle is 2 atan2(|x - y|, |x + y|), with 1e-9 added to each squared
    length. The 512 is StyleGAN2's number of channels; it is kept for all decoders, so that the published weight 0.05
    means the same. Zero, up to the 1e-9, for a single vector or equal ones.
    """
    x, y = latents[:, None], latents[None]
    difference = jnp.sqrt(jnp.sum((x - y) ** 2, axis=-1) + _EPS)
    total = jnp.sqrt(jnp.sum((x + y) ** 2, axis=-1) + _EPS)
    angle = 2.0 * jnp.arctan2(difference, total)
    return jnp.mean(angle * angle) * (512 / 8)

"""Photometric terms: how far the rendered face is from the photograph."""

import chex
import jax.numpy as jnp
from jaxtyping import Array, Float

EPS = 1e-6
LEAST_COVERED = 0.01  # share of an image below which `psnr` says nothing


def robust_photometric(
    rendered: Float[Array, "H W 3"], image: Float[Array, "H W 3"], mask: Float[Array, "H W"]
) -> Float[Array, ""]:
    """Mean over the mask of the colour distance sqrt(|a - b|^2 + eps), display values.

    The L2,1 norm of Deep3DFaceRecon (Deng et al., CVPR-W 2019, eq. 1): a pixel counts by its distance, not by its
    square, so hair and glasses have less influence. A photograph saturates at 1, so rendered values above 1 count as 1.
    """
    _check(rendered, image, mask)
    difference = jnp.minimum(rendered, 1.0) - image
    distance = jnp.sqrt(jnp.sum(difference * difference, axis=-1) + EPS)
    return jnp.sum(distance * mask) / jnp.maximum(jnp.sum(mask), 1.0)


def absolute_photometric(
    rendered: Float[Array, "H W 3"], image: Float[Array, "H W 3"], mask: Float[Array, "H W"]
) -> Float[Array, ""]:
    """sum |a - b| mask / sum mask, summed over channels: FFHQ-UV's pixel loss as in its code, display values.

    The paper (Bai et al., CVPR 2023) has the L2 norm of each pixel, which is `robust_photometric`. There the mask is
    that of the render times those of face parsing and skin, and carries no gradient: pass it through `stop_gradient`.
    """
    _check(rendered, image, mask)
    total = jnp.sum(jnp.abs(rendered - image) * mask[..., None])
    return total / jnp.maximum(jnp.sum(mask), 1.0)


def psnr(rendered: Float[Array, "H W 3"], image: Float[Array, "H W 3"], mask: Float[Array, "H W"]) -> Float[Array, ""]:
    """Peak signal-to-noise ratio (dB) over the mask, both images clipped to [0, 1].

    NaN for a mask that covers less than `LEAST_COVERED` of the image: so few pixels say nothing.
    """
    _check(rendered, image, mask)
    difference = jnp.clip(rendered, 0.0, 1.0) - jnp.clip(image, 0.0, 1.0)
    mean_square = jnp.sum(difference * difference * mask[..., None]) / jnp.maximum(3.0 * jnp.sum(mask), 1e-6)
    ratio = -10.0 * jnp.log10(jnp.maximum(mean_square, 1e-10))
    return jnp.where(jnp.mean(mask) < LEAST_COVERED, jnp.nan, ratio)


def _check(rendered: Array, image: Array, mask: Array) -> None:
    """Pictures that are broadcast would give a number too, and a wrong one."""
    chex.assert_equal_shape([rendered, image])
    chex.assert_equal_shape_prefix([rendered, mask], 2)
    chex.assert_rank(mask, 2)

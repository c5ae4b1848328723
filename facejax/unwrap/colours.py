"""Colour matching between maps by the statistics of luma and chroma (FFHQ-UV, Bai et al., CVPR 2023, section 3.2).

Textures hold display values. The paper's YUV is `facejax.lighting.rgb_to_ycbcr` up to the scale of the two colour
differences, which does not matter: each channel is standardised.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.lighting import rgb_to_ycbcr, ycbcr_to_rgb

OMEGA = 1.5  # the paper's value: the contrast of the matched map is divided by it
FLAT = 1e-3  # standard deviation, a quarter of an 8-bit level, below which a channel has no contrast to scale


def match_colours(
    source: Float[Array, "H W 3"],
    target: Float[Array, "H W 3"],
    source_mask: Float[Array, "H W"],
    target_mask: Float[Array, "H W"] | None = None,
    *,
    omega: float = OMEGA,
) -> Float[Array, "H W 3"]:
    """`source` with the mean of `target`'s colours and their spread divided by `omega`, clipped to [0, 1].

    `(source - mu_s) / (omega * sigma_s) * sigma_t + mu_t` for each channel of YCbCr. The source is the map that lies
    underneath (the template, or the result of earlier views). The target is the view about to be pasted on it, which so
    keeps its own colours.

    Args:
      source: the map whose colours change.
      target: the map whose colours are matched.
      source_mask: weights of the source's texels. Texels outside count for nothing, whatever they hold.
      target_mask: weights of the target's texels (default: `source_mask`).
      omega: divides the contrast.

    Returns:
      The matched map. With an empty mask, the source as it is. A channel that is flat in the source is only shifted.
    """
    target_mask = source_mask if target_mask is None else target_mask
    yuv = rgb_to_ycbcr(source)
    mean_s, spread_s = _statistics(yuv, source_mask)
    mean_t, spread_t = _statistics(rgb_to_ycbcr(target), target_mask)
    flat = spread_s < FLAT
    scale = jnp.where(flat, 1.0, spread_t / (omega * jnp.where(flat, 1.0, spread_s)))
    matched = jnp.clip(ycbcr_to_rgb((yuv - mean_s[None, None]) * scale[None, None] + mean_t[None, None]), 0.0, 1.0)
    known = (jnp.sum(source_mask) > 0) & (jnp.sum(target_mask) > 0)
    return jnp.where(known, matched, source)


def _statistics(
    values: Float[Array, "H W 3"], weight: Float[Array, "H W"]
) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
    """Weighted mean and standard deviation of each channel; zeros where nothing has weight."""
    weight = weight[..., None]
    values = jnp.where(weight > 0, values, 0.0)  # keeps out NaN among the masked texels
    total = jnp.sum(weight)
    total = jnp.where(total > 0, total, 1.0)
    mean = jnp.sum(weight * values, axis=(0, 1)) / total
    variance = jnp.sum(weight * (values - mean[None, None]) ** 2, axis=(0, 1)) / total
    flat = variance < FLAT**2  # the square root's slope at zero is infinite
    return mean, jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, variance)))

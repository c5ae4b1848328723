"""One map's colours brought to another's: statistics of luma and chroma (FFHQ-UV, Bai et al., CVPR 2023, section 3.2).

Textures hold display values. YUV is ITU-R BT.601 at full range: Y in [0, 1], U (blue) and V (red) in [-0.5, 0.5] around
zero. Matching is the same for any other scale of U and V, since each channel is standardised.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.texture.metrics import LUMA

OMEGA = 1.5  # the paper's: how much of the contrast the matched map loses
FLAT = 1e-3  # standard deviation, a quarter of an 8-bit level, below which a channel has no contrast to scale

_RED, _GREEN, _BLUE = LUMA


def rgb_to_yuv(rgb: Float[Array, "*S 3"]) -> Float[Array, "*S 3"]:
    """Luma and the two colour differences, each scaled to its full range."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    luma = _RED * red + _GREEN * green + _BLUE * blue
    return jnp.stack([luma, 0.5 * (blue - luma) / (1 - _BLUE), 0.5 * (red - luma) / (1 - _RED)], axis=-1)


def yuv_to_rgb(yuv: Float[Array, "*S 3"]) -> Float[Array, "*S 3"]:
    """The inverse of `rgb_to_yuv`, in closed form; not clipped."""
    luma, u, v = yuv[..., 0], yuv[..., 1], yuv[..., 2]
    red, blue = luma + 2 * (1 - _RED) * v, luma + 2 * (1 - _BLUE) * u
    green = (luma - _RED * red - _BLUE * blue) / _GREEN
    return jnp.stack([red, green, blue], axis=-1)


def match_colours(
    source: Float[Array, "H W 3"],
    target: Float[Array, "H W 3"],
    source_mask: Float[Array, "H W"],
    target_mask: Float[Array, "H W"] | None = None,
    *,
    omega: float = OMEGA,
) -> Float[Array, "H W 3"]:
    """All of `source` with the mean and, divided by `omega`, the spread of `target`'s colours; clipped to [0, 1].

    `(source - mu_s) / (omega * sigma_s) * sigma_t + mu_t` for each channel of YUV, where means and deviations weigh the
    texels by `source_mask` and `target_mask` (default: `source_mask`). Direction: the map that lies underneath (the
    template, or what earlier views left) is the source, and the view about to be pasted on it the target, so that the
    pasted view keeps its own colours.

    Texels outside the masks count for nothing, whatever they hold. An empty mask returns the source as it is; a channel
    that is flat in the source is shifted to the target's mean and not stretched.
    """
    target_mask = source_mask if target_mask is None else target_mask
    yuv = rgb_to_yuv(source)
    mean_s, spread_s = _statistics(yuv, source_mask)
    mean_t, spread_t = _statistics(rgb_to_yuv(target), target_mask)
    flat = spread_s < FLAT
    scale = jnp.where(flat, 1.0, spread_t / (omega * jnp.where(flat, 1.0, spread_s)))
    matched = jnp.clip(yuv_to_rgb((yuv - mean_s[None, None]) * scale[None, None] + mean_t[None, None]), 0.0, 1.0)
    known = (jnp.sum(source_mask) > 0) & (jnp.sum(target_mask) > 0)
    return jnp.where(known, matched, source)


def _statistics(
    values: Float[Array, "H W 3"], weight: Float[Array, "H W"]
) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
    """Weighted mean and standard deviation of each channel; zeros where nothing has weight."""
    weight = weight[..., None]
    values = jnp.where(weight > 0, values, 0.0)  # NaN among the texels left out must not come through
    total = jnp.sum(weight)
    total = jnp.where(total > 0, total, 1.0)
    mean = jnp.sum(weight * values, axis=(0, 1)) / total
    variance = jnp.sum(weight * (values - mean[None, None]) ** 2, axis=(0, 1)) / total
    flat = variance < FLAT**2  # the square root's slope at zero is infinite
    return mean, jnp.where(flat, 0.0, jnp.sqrt(jnp.where(flat, 1.0, variance)))

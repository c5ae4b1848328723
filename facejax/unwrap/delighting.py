"""The fitted light divided out of a texture: how the same face looks when it is lit evenly."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.lighting import linear_to_srgb, srgb_to_linear

FLOOR = 0.2  # share of the mean shading; darker shading is divided out only down to this, or noise would grow


def mean_shading(shading: Float[Array, "S S 3"], where: Float[Array, "S S"] | None = None) -> Float[Array, " 3"]:
    """The mean of each channel, weighted by `where` (default: where the shading is not 0 in all channels)."""
    weight = jnp.any(shading != 0, axis=-1).astype(shading.dtype) if where is None else where
    total = jnp.einsum("hw,hwc->c", weight, shading)
    return jnp.maximum(total / jnp.maximum(weight.sum(), 1e-6), 1e-3)


def delight(
    texture: Float[Array, "S S 3"],
    shading: Float[Array, "S S 3"],
    *,
    where: Float[Array, "S S"] | None = None,
    level: Float[Array, " 3"] | float | None = None,
    floor: float = FLOOR,
) -> Float[Array, "S S 3"]:
    """The texture under even light, in linear light: `texture * level / shading`. Not clipped above.

    A photograph does not tell bright skin from bright light, nor red skin from red light; the fit's answer depends on
    its prior. So by default only the variation of the light is removed, and its mean stays: the result keeps the
    photograph's own brightness and tone.

    Args:
      texture: display values (S, S, 3).
      shading: the linear irradiance that lit it.
      where: weights for the mean shading.
      level: intensity of the even light. None: the mean of the shading, channel by channel. 1.0 gives the albedo as the
        fit sees it.
      floor: shading below this share of its mean is divided out only down to there, so that dark texels stay too dark
        rather than become noise.

    Returns:
      The texture under even light, display values.
    """
    mean = mean_shading(shading, where)
    even = mean if level is None else jnp.broadcast_to(jnp.asarray(level, shading.dtype), (3,))
    even, least = even[None, None], floor * mean[None, None]
    return linear_to_srgb(srgb_to_linear(texture) * even / jnp.maximum(shading, least))

"""The fitted light divided out of a texture: what the same face shows when it is lit evenly."""

from dataclasses import replace

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.lighting import linear_to_srgb, srgb_to_linear
from facejax.unwrap.views import View

FLOOR = 0.2  # share of the mean shading below which no more is divided out: noise would grow with it


def mean_shading(shading: Float[Array, "S S 3"], where: Float[Array, "S S"] | None = None) -> Float[Array, " 3"]:
    """The mean of each channel, weighted by `where` (by default where the shading is not 0 in all channels)."""
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
    """The texture (display values) under even light of intensity `level`, given the linear irradiance that lit it.

    In linear light: `texture * level / shading`. A photograph does not tell a bright skin from a bright light, nor a
    red one from a red light, and a fit's answer leans on its prior. So `level` is by default the mean of the shading,
    channel by channel, over `where`: the variation of the light goes, its mean stays, and with it the photograph's own
    brightness and tone. `level=1.0` gives the albedo as the fit sees it. Shading below `floor` times its mean is
    divided out only up to there, so that dark texels stay too dark rather than become noise. Not clipped above.
    """
    mean = mean_shading(shading, where)
    even = mean if level is None else jnp.broadcast_to(jnp.asarray(level, shading.dtype), (3,))
    even, least = even[None, None], floor * mean[None, None]
    return linear_to_srgb(srgb_to_linear(texture) * even / jnp.maximum(shading, least))


def delight_view(view: View, *, floor: float = FLOOR) -> View:
    """One view under even light of the mean shading of its valid texels; its `shading` becomes that."""
    color = delight(view.color, view.shading, where=view.valid, floor=floor)
    covered = jnp.any(view.shading != 0, axis=-1, keepdims=True)
    return replace(view, color=color, shading=jnp.where(covered, mean_shading(view.shading, view.valid), 0.0))

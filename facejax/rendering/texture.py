"""Texture lookup."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facejax.kernels import gather_rows


def sample_texture(
    texture: Float[Array, "T S C"], uv: Float[Array, "*N 2"], seen: Bool[Array, "*N"] | None = None
) -> Float[Array, "*N C"]:
    """Bilinear lookup: u right, v up, (0, 0) the lower-left corner of the image, whose row 0 is on top.

    Texel centres are at half-integers; beyond the outermost centres the border texel is repeated. Differentiable in the
    texture and in uv (piecewise; zero beyond the border). Where `seen` is false the result is zero and the texture gets
    no gradient: else all pixels beside a head would send their gradients to the one texel at uv (0, 0), which on an
    accelerator costs ten times as much as everything else.
    """
    height, width, channels = texture.shape
    limit = jnp.array([width - 1, height - 1], uv.dtype).reshape((1,) * (uv.ndim - 1) + (2,))
    scaled = jnp.stack([uv[..., 0] * width, (1 - uv[..., 1]) * height], axis=-1) - 0.5
    position = jnp.clip(scaled, 0, limit)
    low = jnp.minimum(jnp.floor(position), jnp.maximum(limit - 1, 0))
    fx, fy = jnp.moveaxis(position - low, -1, 0)
    column, row = jnp.moveaxis(low.astype(jnp.int32), -1, 0)
    right, below = jnp.minimum(column + 1, width - 1), jnp.minimum(row + 1, height - 1)
    flat = texture.reshape(-1, channels)

    def tap(y, x, weight):
        index = y * width + x
        return weight[..., None] * gather_rows(flat, index if seen is None else jnp.where(seen, index, height * width))

    top = tap(row, column, (1 - fx) * (1 - fy)) + tap(row, right, fx * (1 - fy))
    return top + tap(below, column, (1 - fx) * fy) + tap(below, right, fx * fy)

"""The picture of the landmarks that 2DASL's network sees as a fourth channel."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def draw_landmarks(
    points: Float[Array, "L 2"],
    side: int,
    *,
    background: float = -1.0,
    visible: Bool[Array, " L"] | None = None,
) -> Float[Array, "S S"]:
    """1 in the pixel of each landmark, `background` elsewhere; points outside go to the nearest border pixel.

    Points in pixels, y down, (0, 0) the corner of the picture, so the pixel is the floor. Background: -1 in 2DASL's
    released code, 0 in its paper. Any number of points: the code draws `eighteen_points`, the paper all 68. Those
    that are not `visible` are not drawn. No gradient.
    """
    points = jax.lax.stop_gradient(points)
    columns, rows = jnp.clip(jnp.floor(points), 0, side - 1).astype(jnp.int32).T
    light = 1.0 if visible is None else jnp.where(visible, 1.0, background)
    return jnp.full((side, side), background, points.dtype).at[rows, columns].max(light)

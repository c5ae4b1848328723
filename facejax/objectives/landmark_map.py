"""2DASL's landmark map, the fourth channel of its network's input."""

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
    """1 in the pixel of each landmark, `background` elsewhere. No gradient.

    Points outside go to the nearest border pixel. Any number of points: 2DASL's code draws `eighteen_points`, its paper
    all 68.

    Args:
      points: pixels, y down, (0, 0) the corner of the picture; the pixel is the floor.
      side: of the map, pixels.
      background: -1 in 2DASL's released code, 0 in its paper.
      visible: points that are False are not drawn.

    Returns:
      The map (S, S).
    """
    points = jax.lax.stop_gradient(points)
    columns, rows = jnp.clip(jnp.floor(points), 0, side - 1).astype(jnp.int32).T
    light = 1.0 if visible is None else jnp.where(visible, 1.0, background)
    return jnp.full((side, side), background, points.dtype).at[rows, columns].max(light)

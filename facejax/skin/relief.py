"""Fine relief of the skin as a normal map.

"Dark is deep": fine detail that is darker than its surroundings is taken as lying deeper (Beeler et al., "High-quality
single-shot capture of facial geometry", SIGGRAPH 2010, section 6.2). `add_detail` makes the heights so; here they
become normals.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facejax.mesh import safe_normalize


def detail_normals(
    height: Float[Array, "S S"], pitch: Float[Array, "S S 2"], covered: Bool[Array, "S S"]
) -> Float[Array, "S S 3"]:
    """Unit normals of a relief in the tangent space of the layout: x along +u, y along +v, z out of the surface.

    The axes of u and v are taken as perpendicular. Slopes are central differences; at the border of the layout they are
    one-sided, so that what lies outside has no influence.

    Args:
      height: mm out of the surface, row 0 on top.
      pitch: mm from texel to texel along u and v, `Grain.pitch`.
      covered: where the layout has a surface; elsewhere the normal is (0, 0, 1).
    """
    right = _slope(height, covered, axis=1) / jnp.maximum(pitch[..., 0], 1e-3)
    up = -_slope(height, covered, axis=0) / jnp.maximum(pitch[..., 1], 1e-3)
    flat = jnp.zeros_like(height)
    tilt = jnp.stack([jnp.where(covered, -right, flat), jnp.where(covered, -up, flat), flat + 1.0], axis=-1)
    return safe_normalize(tilt)


def _slope(height: Float[Array, "S S"], covered: Bool[Array, "S S"], axis: int) -> Float[Array, "S S"]:
    """The difference to the next texel, averaged over the covered ones of the two neighbours."""
    count = height.shape[axis]
    place = jnp.arange(count).reshape((-1, 1) if axis == 0 else (1, -1))
    total, sides = jnp.zeros_like(height), jnp.zeros_like(height)
    for step in (1, -1):
        there = jnp.roll(covered, -step, axis) & (place + step >= 0) & (place + step < count)
        total = total + jnp.where(there, step * (jnp.roll(height, -step, axis) - height), 0.0)
        sides = sides + jnp.where(there, 1.0, 0.0)
    return total / jnp.maximum(sides, 1.0)

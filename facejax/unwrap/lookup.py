"""Averages of an image over elliptical footprints: four taps into a pyramid of halved images, in a row or in a square.

Williams, "Pyramidal parametrics", SIGGRAPH 1983 (the pyramid, trilinear lookup); McCormack et al., "Feline: fast
elliptical lines for anisotropic texture mapping", SIGGRAPH 1999 (taps along the long axis).
"""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.kernels import gather_rows


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Pyramid:
    """An image and its halvings, one after another in one table."""

    table: Float[Array, "N C"]
    sizes: tuple[tuple[int, int], ...] = field(metadata={"static": True})  # (height, width) of each level


def build_pyramid(image: Float[Array, "H W C"]) -> Pyramid:
    """All levels down to one pixel, each the 2 x 2 means of the one before; an odd last row or column is repeated.

    A point (x, y) of the image is at (x, y) / 2^l in level l.
    """
    levels = [image]
    while max(levels[-1].shape[:2]) > 1:
        height, width, channels = levels[-1].shape
        even = jnp.pad(levels[-1], ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        levels.append(even.reshape(-(-height // 2), 2, -(-width // 2), 2, channels).mean(axis=(1, 3)))
    sizes = tuple((level.shape[0], level.shape[1]) for level in levels)
    return Pyramid(jnp.concatenate([level.reshape(-1, image.shape[-1]) for level in levels]), sizes)


def footprint_axes(
    across: Float[Array, "N 2"], down: Float[Array, "N 2"]
) -> tuple[Float[Array, "N 2"], Float[Array, " N"]]:
    """The ellipse that a unit square maps to: its long axis as a vector, and the length of its short axis.

    `across` and `down` are the derivatives of the mapping. A pure scaling by s gives s for both lengths.
    """
    xx, yy = across[:, 0] ** 2 + down[:, 0] ** 2, across[:, 1] ** 2 + down[:, 1] ** 2
    xy = across[:, 0] * across[:, 1] + down[:, 0] * down[:, 1]
    angle = 0.5 * jnp.arctan2(2 * xy, xx - yy)
    half, spread = 0.5 * (xx + yy), jnp.sqrt(0.25 * (xx - yy) ** 2 + xy**2)
    long = jnp.sqrt(half + spread)
    area = jnp.abs(across[:, 0] * down[:, 1] - across[:, 1] * down[:, 0])
    short = area / jnp.maximum(long, 1e-12)  # from the area, since the difference half - spread would cancel
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1) * long[:, None], short


def sample_pyramid(
    pyramid: Pyramid, place: Float[Array, "N 2"], long: Float[Array, "N 2"], short: Float[Array, " N"]
) -> Float[Array, "N C"]:
    """The mean of the image over ellipses.

    Footprints of a pixel or less are looked up bilinearly. Footprints more than four times as long as wide are blurred
    across. Beyond the outermost pixel centres the border pixel is repeated.

    Args:
      pyramid: of the image.
      place: centres of the ellipses in pixels, (0, 0) the top-left corner.
      long, short: the axes, from `footprint_axes`.

    Returns:
      One value per ellipse and channel.
    """
    length = jnp.linalg.norm(long, axis=-1)
    along = long / jnp.maximum(length, 1e-12)[:, None]
    across = jnp.stack([-along[:, 1], along[:, 0]], axis=-1)
    thin = length > 2 * short
    # side of the area that one tap averages
    side = jnp.maximum(jnp.where(thin, jnp.maximum(short, length / 4), length / 2), 1.0)
    level = jnp.clip(jnp.log2(side), 0.0, len(pyramid.sizes) - 1.0)
    low = level.astype(jnp.int32)
    rest = (level - low.astype(level.dtype))[:, None]
    along = along * jnp.maximum(length - side, 0.0)[:, None]
    across = across * jnp.where(thin, 0.0, jnp.maximum(short - side, 0.0))[:, None]

    def one_tap(total, step):
        row, grid = step
        at = place + jnp.where(thin, row, grid[0])[:, None] * along + grid[1] * across
        fine, coarse = _bilinear(pyramid, at, low), _bilinear(pyramid, at, low + 1)
        return total + fine + rest * (coarse - fine), None

    start = jnp.zeros((place.shape[0], pyramid.table.shape[1]), pyramid.table.dtype)
    steps = jnp.linspace(-0.5, 0.5, 4), jnp.array([(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)])
    total, _ = jax.lax.scan(one_tap, start, steps)
    return total / 4


def _bilinear(pyramid: Pyramid, place: Float[Array, "N 2"], level: Int[Array, " N"]) -> Float[Array, "N C"]:
    """Bilinear lookup of each place (pixels of level 0) in its own level."""
    level = jnp.minimum(level, len(pyramid.sizes) - 1)
    sides = np.array(pyramid.sizes)
    begins = np.concatenate([[0], np.cumsum(sides.prod(axis=1))[:-1]])
    begin, height, width = jnp.asarray(np.column_stack([begins, sides]), jnp.int32)[level].T
    limit = jnp.stack([width, height], axis=-1) - 1
    position = jnp.clip(place / jnp.exp2(level.astype(place.dtype))[:, None] - 0.5, 0, limit.astype(place.dtype))
    first = jnp.minimum(position.astype(jnp.int32), jnp.maximum(limit - 1, 0))
    (fx, fy), (column, row) = (position - first.astype(position.dtype)).T, first.T
    right, below = jnp.minimum(column + 1, width - 1), jnp.minimum(row + 1, height - 1)

    def tap(y, x, weight):
        return weight[:, None] * gather_rows(pyramid.table, begin + y * width + x)

    top = tap(row, column, (1 - fx) * (1 - fy)) + tap(row, right, fx * (1 - fy))
    return top + tap(below, column, (1 - fx) * fy) + tap(below, right, fx * fy)

"""Textures of strands: noise stretched along the hair's fall, and the ragged ends of locks."""

from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_INSIDE = "promise_in_bounds"  # no gather below goes out of bounds


def noise_cells(key: Array, *shapes: tuple[int, int]) -> list[Array]:
    """Uniform numbers in [-1, 1] of several shapes, from one draw."""
    ends = [rows * columns for rows, columns in shapes]
    numbers = jax.random.uniform(key, (sum(ends),), minval=-1.0, maxval=1.0)
    starts = [sum(ends[:i]) for i in range(len(ends))]
    return [
        numbers[start : start + count].reshape(shape) for start, count, shape in zip(starts, ends, shapes, strict=True)
    ]


def smooth(cells: Float[Array, "R N"], size: tuple[int, int]) -> Float[Array, "H W"]:
    """Noise cells interpolated to `size`; the columns wrap around."""
    down, across = _between(cells.shape[0], size[0], wrap=False), _between(cells.shape[1], size[1], wrap=True)
    return jnp.asarray(down) @ cells @ jnp.asarray(across.T)


@lru_cache
def _between(cells: int, count: int, *, wrap: bool) -> Float[np.ndarray, "C N"]:
    """Linear interpolation of `cells` values to `count`, as a matrix."""
    place = np.linspace(0.0, cells if wrap else cells - 1, count, endpoint=not wrap)
    low = np.floor(place).astype(int)
    matrix = np.zeros((count, cells), np.float32)
    np.add.at(matrix, (np.arange(count), low % cells), 1 - (place - low))
    np.add.at(matrix, (np.arange(count), (low + 1) % cells), place - low)
    return matrix


def strand_noise(
    key: Array, size: tuple[int, int], curl: Float[Array, ""], sweep: Float[Array, ""]
) -> Float[Array, "H W"]:
    """Light and dark locks and strands along the rows' direction (v), about -1 to 1.

    Args:
      key: consumed.
      size: (rows, columns).
      curl: how much blotches without direction are mixed in.
      sweep: how far the strands lean from top to end, as a share of the width.

    Returns:
      The noise.
    """
    height, width = size
    fine, lock, blob, bend = noise_cells(key, (6, width), (4, 40), (height // 3, width // 3), (1, 2))
    strands = smooth(0.55 * fine, size) + smooth(0.45 * lock, size)
    mixed = strands * (1 - 0.8 * curl) + 0.9 * curl * smooth(blob, size)
    rows = np.linspace(0.0, 1.0, height, dtype=np.float32)
    shift = 0.25 * sweep * rows + 0.03 * bend[0, 0] * jnp.sin(9.0 * rows + 3.14 * bend[0, 1])
    place = np.arange(width, dtype=np.float32)[None] + width * shift[:, None]
    low = jnp.floor(place).astype(jnp.int32)
    share = place - low.astype(place.dtype)
    left, right = (jnp.take_along_axis(mixed, (low + k) % width, axis=1, mode=_INSIDE) for k in (0, 1))
    return left * (1 - share) + right * share


def ragged(key: Array, distance: Float[Array, "H W"], depth: Float[Array, "H W"]) -> Float[Array, "H W"]:
    """Opacity that ends in locks: `distance` to the end and the locks' `depth`, both mm."""
    size = distance.shape[1]
    lock, strand = noise_cells(key, (1, 28), (1, size))
    jitter = 0.6 * smooth(lock, (1, size)) + 0.4 * strand
    start = depth * (0.5 + 0.5 * jitter)
    return jnp.clip((distance - start) / (0.35 * depth + 1.0), 0.0, 1.0)


def index_of(values: Float[Array, "*S N"], grid: Float[Array, "*S G"]) -> Float[Array, "*S N"]:
    """Fractional indices of values on rising grids with the same leading axes, clipped to the ends."""
    below = jnp.sum(values[..., None] >= grid[..., None, 1:-1], axis=-1)
    low, high = (jnp.take_along_axis(grid, below + k, axis=-1, mode=_INSIDE) for k in (0, 1))
    return below.astype(values.dtype) + jnp.clip((values - low) / jnp.maximum(high - low, 1e-6), 0.0, 1.0)


def value_at(place: Float[Array, "*S N"], values: Float[Array, "*S G"]) -> Float[Array, "*S N"]:
    """Values at fractional indices along the last axis: the inverse of `index_of`."""
    low = jnp.clip(jnp.floor(place).astype(jnp.int32), 0, values.shape[-1] - 2)
    before, after = (jnp.take_along_axis(values, low + k, axis=-1, mode=_INSIDE) for k in (0, 1))
    return before + (place - low.astype(place.dtype)) * (after - before)

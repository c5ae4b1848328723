"""Textures of strands: noise stretched along the fall of the hair, and the ragged ends of locks."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def smooth_noise(key: Array, size: tuple[int, int], cells: tuple[int, int]) -> Float[Array, "H W"]:
    """Uniform noise of `cells` values (rows, columns) interpolated to `size`, about -1 to 1; its columns wrap."""
    rows, columns = cells
    values = jax.random.uniform(key, (rows, columns), minval=-1.0, maxval=1.0)
    return _stretch(_stretch(values, size[0], wrap=False).T, size[1], wrap=True).T


def _stretch(values: Float[Array, "R N"], count: int, *, wrap: bool) -> Float[Array, "C N"]:
    """Linear interpolation along the first axis."""
    rows = values.shape[0]
    place = jnp.linspace(0.0, rows if wrap else rows - 1, count, endpoint=not wrap)
    low = jnp.floor(place).astype(jnp.int32)
    share = (place - low)[:, None]
    return values[low % rows] * (1 - share) + values[(low + 1) % rows] * share


def strand_noise(key: Array, size: int, curl: Float[Array, ""], sweep: Float[Array, ""]) -> Float[Array, "T T"]:
    """Light and dark locks and strands along the rows' direction (v), about -1 to 1.

    `curl` mixes in blotches without a direction; `sweep` leans the strands by that share of the width from top to end.
    """
    fine, lock, blob, bend = jax.random.split(key, 4)
    strands = 0.55 * smooth_noise(fine, (size, size), (6, size)) + 0.45 * smooth_noise(lock, (size, size), (4, 40))
    curls = smooth_noise(blob, (size, size), (size // 3, size // 3))
    mixed = strands * (1 - 0.8 * curl) + 0.9 * curls * curl
    rows = jnp.linspace(0.0, 1.0, size)
    wave = jax.random.uniform(bend, (2,), minval=0.0, maxval=1.0) * jnp.array([0.03, 6.28])
    shift = 0.25 * sweep * rows + wave[0] * jnp.sin(9.0 * rows + wave[1])
    place = jnp.arange(size)[None] + size * shift[:, None]
    low = jnp.floor(place).astype(jnp.int32)
    share = place - low
    left, right = (jnp.take_along_axis(mixed, (low + k) % size, axis=1) for k in (0, 1))
    return left * (1 - share) + right * share


def ragged(key: Array, size: int, distance: Float[Array, "T T"], depth: Float[Array, "T T"]) -> Float[Array, "T T"]:
    """Opacity that ends in locks: `distance` to the end and the locks' `depth`, both mm."""
    lock, strand = jax.random.split(key)
    jitter = 0.6 * smooth_noise(lock, (2, size), (2, 28))[:1] + 0.4 * smooth_noise(strand, (2, size), (2, size))[:1]
    start = depth * (0.5 + 0.5 * jitter)
    return jnp.clip((distance - start) / (0.35 * depth + 1.0), 0.0, 1.0)

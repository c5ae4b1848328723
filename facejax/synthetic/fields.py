"""Building blocks of pictures: white and cloudy noise, soft shapes, grids, and plausible colours.

Lengths are fractions of the picture's side, with (0, 0) its top-left corner. All functions make one picture, by matrix
products and plain arithmetic without gathers, so that a vmapped batch stays cheap on a CPU.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt32

_SKIN = np.array([[0.27, 0.16, 0.11], [0.50, 0.33, 0.24], [0.76, 0.56, 0.44], [0.94, 0.78, 0.68]])  # dark to light


def uniform(
    key: Key[Array, ""], shape: tuple[int, ...] = (), low: float | Array = 0.0, high: float | Array = 1.0
) -> Float[Array, "..."]:
    """Independent uniform values, multiples of 2^-24.

    Args:
      key: consumed.
      shape: of the result.
      low, high: the half-open range [low, high).

    Returns:
      The values.
    """
    return low + (high - low) * (_words(key, shape) >> jnp.uint32(8)).astype(jnp.float32) * 2.0**-24


def normal(key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Float[Array, "..."]:
    """Independent, almost normal values of mean 0 and variance 1, within 3.5: sums of four random bytes."""
    word = _words(key, shape)
    total = sum((((word >> jnp.uint32(s)) & jnp.uint32(255)).astype(jnp.float32) for s in (0, 8, 16)), start=0.0)
    total = total + (word >> jnp.uint32(24)).astype(jnp.float32)
    return (total - 510.0) / (4 * (256**2 - 1) / 12) ** 0.5


def chance(
    key: Key[Array, ""], probability: float | Array | np.ndarray, shape: tuple[int, ...] = ()
) -> Float[Array, "..."]:
    """1 with the given probability, else 0."""
    return (uniform(key, shape) < probability).astype(jnp.float32)


def choice(key: Key[Array, ""], shares: tuple[float, ...]) -> Int[Array, ""]:
    """A random index with the given probabilities, which sum to 1."""
    return jnp.sum(uniform(key) >= np.cumsum(shares[:-1]).astype(np.float32))


def _words(key: Key[Array, ""], shape: tuple[int, ...]) -> UInt32[Array, "..."]:
    """32 random bits each, from a counter and the key by MurmurHash3's finaliser.

    Threefry costs some ten times as much on a CPU, and most of a program's compilation; `jax.random.split` still uses
    it, so that every key gives its own stream.
    """
    seed, step = jax.random.key_data(key)[-2:]
    word = jax.lax.iota(jnp.uint32, math.prod(shape)) * (step | jnp.uint32(1)) + seed
    for factor, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13)):
        word = (word ^ (word >> jnp.uint32(shift))) * jnp.uint32(factor)
    return jax.lax.optimization_barrier(word ^ (word >> jnp.uint32(16))).reshape(shape)


def stretch(size: int, cells: int) -> Float[Array, "{size} {cells}"]:
    """The matrix that interpolates `cells` values (at cell centres) linearly to `size` pixel centres."""
    position = (jnp.arange(size, dtype=float) + 0.5) * (cells / size) - 0.5
    position = jnp.clip(position, 0.0, cells - 1.0)
    return jnp.maximum(0.0, 1.0 - jnp.abs(position[:, None] - jnp.arange(cells, dtype=float)[None, :]))


def separable(
    rows: Float[Array, "S A"], columns: Float[Array, "T B"], grid: Float[Array, "A B C"]
) -> Float[Array, "S T C"]:
    """`rows` applied to the first axis of `grid` and `columns` to its second."""
    return jnp.einsum("sa,abc,tb->stc", rows, grid, columns)


def clouds(
    key: Key[Array, ""], size: int, channels: int, roughness: Float[Array, ""], *, finest: int = 32
) -> Float[Array, "{size} {size} {channels}"]:
    """Noise of many scales with about unit variance: grids of 2, 4, ... `finest` cells, interpolated and summed.

    Args:
      key: consumed.
      size: pixels per side.
      channels: of the result.
      roughness: strength of each octave relative to the one before: 0.5 gives soft clouds, 1 gives rough stone.
      finest: cells per side of the last grid.

    Returns:
      (S, S, C).
    """
    total, power, weight = jnp.zeros((finest, finest, channels)), 0.0, jnp.ones(())
    octaves = finest.bit_length() - 1
    for octave, here in enumerate(jax.random.split(key, octaves), start=1):
        cells = 2**octave
        spread = stretch(finest, cells)
        total = total + weight * separable(spread, spread, normal(here, (cells, cells, channels)))
        power, weight = power + 0.5 * weight**2, weight * roughness  # interpolation halves the variance, roughly
    spread = stretch(size, finest)
    return jax.lax.optimization_barrier(separable(spread, spread, total / jnp.sqrt(power)))


def cells(
    key: Key[Array, ""],
    size: int,
    count: int,
    softness: Float[Array, ""],
    even: Float[Array, ""],
    zoom: Float[Array, ""],
) -> Float[Array, "{size} {count}"]:
    """A matrix that spreads values over a row of pixels, each over a stretch of random width.

    Args:
      key: consumed.
      size: pixels.
      count: number of values.
      softness: width of the ramps between stretches, as a share of the row.
      even: 0 for stretches of all widths, 1 for equal ones.
      zoom: the share of the stretches that the row shows.

    Returns:
      The matrix.
    """
    width = even + 0.05 - (1.0 - even) * jnp.log(1.0 - uniform(key, (count,)))
    edges = jnp.cumsum(width)[:-1] / (jnp.sum(width) * zoom)
    beyond = ramp((jnp.arange(size, dtype=float)[:, None] + 0.5) / size - edges, softness)  # 1 beyond the edge
    first, last = jnp.ones((size, 1)), jnp.zeros((size, 1))
    return jnp.concatenate([first, beyond], 1) - jnp.concatenate([beyond, last], 1)


def ramp(distance: Float[Array, "..."], softness: Float[Array, "..."]) -> Float[Array, "..."]:
    """0 below -softness/2, 1 above softness/2, linear between."""
    return jnp.clip(0.5 + distance / softness, 0.0, 1.0)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Shapes:
    """Soft shapes to paint, bottom first; the leading axis of every leaf is the shapes'."""

    centre: Float[Array, "K 2"]  # (x, y)
    half: Float[Array, "K 2"]  # half width and height
    angle: Float[Array, " K"]  # radians
    square: Float[Array, " K"]  # 0 an ellipse, 1 a rectangle, between them a rounded shape
    softness: Float[Array, " K"]  # width of the edge's ramp
    opacity: Float[Array, " K"]
    colour: Float[Array, "K 3"]

    def __add__(self, other: "Shapes") -> "Shapes":
        """Both sets, the other one on top."""
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), self, other)


def pixel_centres(size: int) -> tuple[Float[Array, "1 {size}"], Float[Array, "{size} 1"]]:
    """x as a row and y as a column, which broadcast."""
    at = (jnp.arange(size, dtype=float) + 0.5) / size
    return at[None, :], at[:, None]


def coverage(shape: Shapes, size: int) -> Float[Array, "{size} {size}"]:
    """How much of each pixel one shape (leaves without the leading axis) covers, in [0, opacity]."""
    x, y = pixel_centres(size)
    c, s = jnp.cos(shape.angle), jnp.sin(shape.angle)
    dx, dy = x - shape.centre[0], y - shape.centre[1]
    u, v = jnp.abs(c * dx + s * dy), jnp.abs(c * dy - s * dx)
    ellipse = (1.0 - jnp.sqrt((u / shape.half[0]) ** 2 + (v / shape.half[1]) ** 2)) * jnp.min(shape.half)
    rectangle = jnp.minimum(shape.half[0] - u, shape.half[1] - v)
    return shape.opacity * ramp(ellipse + shape.square * (rectangle - ellipse), shape.softness)


def paint(image: Float[Array, "S S 3"], shapes: Shapes) -> Float[Array, "S S 3"]:
    """The shapes painted over the image, one after the other."""

    def add(image, shape):
        return image + coverage(shape, image.shape[0])[..., None] * (shape.colour - image), None

    return jax.lax.scan(add, image, shapes)[0]


def skin_colours(key: Key[Array, ""], count: int) -> Float[Array, "{count} 3"]:
    """Display colours of skin, dark to light, in all kinds of light."""
    k1, k2, k3 = jax.random.split(key, 3)
    tone = uniform(k1, (count, 1)) * (len(_SKIN) - 1)
    weight = jnp.maximum(0.0, 1.0 - jnp.abs(tone - jnp.arange(len(_SKIN), dtype=tone.dtype)))
    tint = 1.0 + 0.08 * normal(k2, (count, 3))
    return jnp.clip(weight @ _SKIN * tint * uniform(k3, (count, 1), low=0.6, high=1.15), 0.0, 1.0)


def object_colours(key: Key[Array, ""], count: int) -> Float[Array, "{count} 3"]:
    """Display colours of objects: any brightness, mostly muted, sometimes vivid, black or white."""
    value, vivid, *hue = jnp.split(uniform(key, (count, 5)), 5, axis=1)
    vivid = 0.7 * vivid**3
    hue = 2.0 * jnp.concatenate(hue, axis=1) - 1.0
    return jnp.clip(value * (1.0 + vivid * hue) + 0.15 * vivid * hue, 0.0, 1.0)

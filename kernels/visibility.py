"""Which triangle is seen at each pixel centre: hard visibility, without a gradient, in plain XLA.

Every triangle's pixel box is cut into square tiles; the (triangle, tile) pairs form one work list, made without
sorting, and each pair tests its tile's pixel centres and competes for them with a 32-bit key (nearness above, triangle
number below) through a scatter-min. Triangles that span many tiles use a second list with larger tiles. A list longer
than its capacity is worked off in passes, so the result never depends on the capacity.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

EMPTY = -1
SMALL_TILE, LARGE_TILE = 4, 32  # pixels
LARGE_TILES_PER_PASS = 16
MAX_SMALL_TILES = 48  # a triangle with more tiles than this goes to the list of large ones
MIN_AREA = 1e-5  # square pixels (twice the area); thinner triangles are not seen
SLACK = 1e-5  # barycentric tolerance, so that no centre falls between two triangles that share an edge


class _Setup(NamedTuple):
    """Per triangle: corner a, and the affine functions of (pixel - a)."""

    plane: Float[Array, "F 9"]  # a.x, a.y, grad w_b (2), grad w_c (2), nearness at a, its grad (2)
    box: Int[Array, "F 4"]  # first and last pixel column, first and last pixel row
    drawn: Bool[Array, " F"]


def default_capacity(size: tuple[int, int], triangles: int) -> int:
    """Length of the list of small tiles: one pass for a head that fills the image, rounded up to a power of two / 4."""
    wanted = triangles + size[0] * size[1] // 4
    step = max(1024, 1 << max(wanted.bit_length() - 2, 0))
    return -(-wanted // step) * step


def nearest_triangle(
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    *,
    size: tuple[int, int],
    perspective: bool,
    near: float,
    capacity: int | None = None,
) -> Int[Array, "H W"]:
    """The front-facing triangle nearest to the camera at each pixel centre, `EMPTY` where there is none.

    `points` are (x, y, depth): pixels, y down, and depth in front of the camera. Front faces are counter-clockwise to
    the viewer. Not drawn: back faces, triangles thinner than `MIN_AREA`, with a corner that is not finite, or, with
    `perspective`, with a corner nearer than `near`. Depths that agree to about 2^-(32 - bits of the triangle count) of
    the range in view count as equal; then the lower triangle number wins. `capacity` is the number of (triangle, tile)
    pairs a pass handles: memory and time, never the result.
    """
    count = faces.shape[0]
    id_bits = count.bit_length()
    if id_bits > 24:
        raise ValueError(f"{count} triangles leave too few bits for depth: render at most {2**24 - 1} at a time")
    if count == 0:
        return jnp.full(size, EMPTY, jnp.int32)
    setup = _setup(jax.lax.stop_gradient(points), faces, size, perspective, near, id_bits)
    tiles = _tile_counts(setup, SMALL_TILE)
    small = tiles <= MAX_SMALL_TILES
    keys = jnp.full(size[0] * size[1], 2**32 - 1, jnp.uint32)
    chunk = capacity or default_capacity(size, count)
    draw = partial(_draw_list, setup, size=size, id_bits=id_bits)
    keys = draw(keys, setup.drawn & small, tile=SMALL_TILE, chunk=chunk)
    keys = draw(keys, setup.drawn & ~small, tile=LARGE_TILE, chunk=LARGE_TILES_PER_PASS)
    triangle = (keys & jnp.uint32(2**id_bits - 1)).astype(jnp.int32)
    return jnp.where(keys == jnp.uint32(2**32 - 1), EMPTY, triangle).reshape(size)


def _setup(points, faces, size, perspective, near, id_bits) -> _Setup:
    corners = jnp.asarray(points)[faces]
    a = corners[:, 0, :2]
    ab, ac = corners[:, 1, :2] - a, corners[:, 2, :2] - a
    area = ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]
    depth = corners[..., 2]
    # Front faces turn clockwise in pixels (y down), so their signed area is negative; NaN compares false.
    drawn = (area < -MIN_AREA) & jnp.isfinite(corners).all(axis=(1, 2))
    if perspective:
        drawn &= (depth > near).all(axis=1)
    low, high = corners[..., :2].min(axis=1), corners[..., :2].max(axis=1)
    height, width = size
    limit = jnp.array([width, height], points.dtype)
    first = jnp.ceil(jnp.clip(low - 0.5, 0, limit)).astype(jnp.int32)
    last = jnp.floor(jnp.clip(high - 0.5, -1, limit - 1)).astype(jnp.int32)
    drawn &= (first <= last).all(axis=1)
    safe = jnp.where(drawn, area, -1.0)[:, None]
    grad_b = jnp.stack([ac[:, 1], -ac[:, 0]], axis=1) / safe
    grad_c = jnp.stack([-ab[:, 1], ab[:, 0]], axis=1) / safe
    # Inverse depth is affine in the image under perspective, depth itself without.
    far = -1.0 / jnp.where(drawn[:, None], depth, 1.0) if perspective else jnp.where(drawn[:, None], depth, 0.0)
    lowest = jnp.min(jnp.where(drawn[:, None], far, jnp.inf))
    highest = jnp.max(jnp.where(drawn[:, None], far, -jnp.inf))
    # The largest key is left free for "empty"; one unit is kept on each side for the edges' slack.
    steps = 2.0 ** (32 - id_bits) - 4
    spread = highest - lowest
    level = 1 + (far - lowest) * jnp.where(spread > 0, steps / jnp.where(spread > 0, spread, 1.0), 0.0)
    slope = grad_b * (level[:, 1:2] - level[:, :1]) + grad_c * (level[:, 2:] - level[:, :1])
    plane = jnp.concatenate([a, grad_b, grad_c, level[:, :1], slope], axis=1)
    return _Setup(plane, jnp.concatenate([first[:, :1], last[:, :1], first[:, 1:], last[:, 1:]], axis=1), drawn)


def _tile_counts(setup: _Setup, tile: int) -> Int[Array, " F"]:
    x0, x1, y0, y1 = (setup.box // tile).T
    return jnp.where(setup.drawn, (x1 - x0 + 1) * (y1 - y0 + 1), 0)


def _draw_list(setup: _Setup, keys: Array, chosen: Array, *, size, id_bits: int, tile: int, chunk: int) -> Array:
    """Compete for the pixels with all tiles of the chosen triangles, `chunk` (triangle, tile) pairs a pass."""
    counts = jnp.where(chosen, _tile_counts(setup, tile), 0)
    ends = jnp.cumsum(counts)
    starts, total = ends - counts, ends[-1]
    order = jnp.arange(counts.shape[0], dtype=jnp.int32)
    offsets = jnp.arange(tile * tile, dtype=jnp.int32)
    dx, dy = offsets % tile, offsets // tile
    height, width = size

    def one_pass(state):
        begin, keys = state
        # The triangle of list entry i is the last one that starts at or before i: mark the starts, running maximum.
        slot = jnp.where((counts > 0) & (ends > begin), jnp.maximum(starts - begin, 0), chunk)
        marked = jnp.zeros(chunk, jnp.int32).at[slot].max(order, mode="drop")
        owner = jax.lax.optimization_barrier(jax.lax.cummax(marked))
        entry = begin + jnp.arange(chunk, dtype=jnp.int32)
        box = jax.lax.optimization_barrier(setup.box[owner])
        plane = jax.lax.optimization_barrier(setup.plane[owner])
        x0, x1, y0, y1 = box.T
        across = x1 // tile - x0 // tile + 1
        local = entry - starts[owner]
        column = (x0 // tile + local % across) * tile
        row = (y0 // tile + local // across) * tile
        x, y = column[:, None] + dx, row[:, None] + dy
        px = x.astype(plane.dtype) + 0.5 - plane[:, :1]
        py = y.astype(plane.dtype) + 0.5 - plane[:, 1:2]
        wb = plane[:, 2:3] * px + plane[:, 3:4] * py
        wc = plane[:, 4:5] * px + plane[:, 5:6] * py
        level = plane[:, 6:7] + plane[:, 7:8] * px + plane[:, 8:9] * py
        inside = (wb >= -SLACK) & (wc >= -SLACK) & (wb + wc <= 1 + SLACK)
        inside &= (x < width) & (y < height) & (entry < total)[:, None]
        level = jnp.clip(level, 0, 2.0 ** (32 - id_bits) - 2)
        key = (level.astype(jnp.uint32) << id_bits) | owner[:, None].astype(jnp.uint32)
        pixel = jnp.where(inside, y * width + x, height * width)
        return begin + chunk, keys.at[pixel.reshape(-1)].min(key.reshape(-1), mode="drop")

    return jax.lax.while_loop(lambda state: state[0] < total, one_pass, (jnp.int32(0), keys))[1]

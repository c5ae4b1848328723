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

once = jax.lax.optimization_barrier  # keeps XLA:CPU from repeating a step inside each of its uses
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
    """Pairs a pass handles: enough for one pass over a head that fills the image."""
    return 16384 * -(-(triangles + size[0] * size[1] // 8) // 16384)


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
    height, width = size
    x, y, depth = once([[plane[faces[:, k]] for k in range(3)] for plane in points.T])
    bx, by, cx, cy = x[1] - x[0], y[1] - y[0], x[2] - x[0], y[2] - y[0]
    area = bx * cy - by * cx
    # Front faces turn clockwise in pixels (y down), so their signed area is negative; NaN compares false.
    drawn = area < -MIN_AREA
    for value in (*x, *y, *depth):
        drawn &= jnp.isfinite(value)
    if perspective:
        drawn &= _lowest(depth) > near
    box = [_first(_lowest(x), width), _last(_highest(x), width), _first(_lowest(y), height), _last(_highest(y), height)]
    drawn &= (box[0] <= box[1]) & (box[2] <= box[3])
    safe = jnp.where(drawn, area, -1.0)
    grad_b, grad_c = (cy / safe, -cx / safe), (-by / safe, bx / safe)
    # Inverse depth is affine in the image under perspective, depth itself without.
    far = [jnp.where(drawn, z, 1.0) for z in depth]
    far = [-1.0 / z for z in far] if perspective else far
    lowest = jnp.min(jnp.where(drawn, _lowest(far), jnp.inf))
    spread = jnp.max(jnp.where(drawn, _highest(far), -jnp.inf)) - lowest
    # The largest key is left free for "empty", and one unit on each side for the edges' slack.
    scale = jnp.where(spread > 0, (_levels(id_bits) - 4) / jnp.where(spread > 0, spread, 1.0), 0.0)
    la, lb, lc = (1 + (z - lowest) * scale for z in far)
    slope = [b * (lb - la) + c * (lc - la) for b, c in zip(grad_b, grad_c, strict=True)]
    plane = jnp.stack([x[0], y[0], *grad_b, *grad_c, la, *slope], axis=1)
    return _Setup(*once((plane, jnp.stack(box, axis=1), drawn)))


def _lowest(corners):
    return jnp.minimum(jnp.minimum(corners[0], corners[1]), corners[2])


def _highest(corners):
    return jnp.maximum(jnp.maximum(corners[0], corners[1]), corners[2])


def _first(low, side):
    """First pixel whose centre is not below `low`, within the image."""
    return jnp.ceil(jnp.clip(low - 0.5, 0, side)).astype(jnp.int32)


def _last(high, side):
    """Last pixel whose centre is not above `high`, within the image; -1 where there is none."""
    return jnp.floor(jnp.clip(high - 0.5, -1, side - 1)).astype(jnp.int32)


def _levels(id_bits: int) -> float:
    """Depth levels above the triangle number in a key; no more than float32 counts exactly."""
    return 2.0 ** min(32 - id_bits, 24)


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
        owner = once(jax.lax.cummax(marked))
        entry = begin + jnp.arange(chunk, dtype=jnp.int32)
        box, plane, start = once((setup.box[owner], setup.plane[owner], starts[owner]))
        first_column, across = box[:, 0] // tile, box[:, 1] // tile - box[:, 0] // tile + 1
        local = entry - start
        column, row = once(((first_column + local % across) * tile, (box[:, 2] // tile + local // across) * tile))
        x, y = column[:, None] + dx, row[:, None] + dy
        px = x.astype(plane.dtype) + 0.5 - plane[:, :1]
        py = y.astype(plane.dtype) + 0.5 - plane[:, 1:2]
        wb = plane[:, 2:3] * px + plane[:, 3:4] * py
        wc = plane[:, 4:5] * px + plane[:, 5:6] * py
        level = plane[:, 6:7] + plane[:, 7:8] * px + plane[:, 8:9] * py
        inside = (wb >= -SLACK) & (wc >= -SLACK) & (wb + wc <= 1 + SLACK)
        inside &= (x < width) & (y < height) & (entry < total)[:, None]
        level = jnp.clip(level, 0, _levels(id_bits) - 2)
        key = (level.astype(jnp.uint32) << id_bits) | owner[:, None].astype(jnp.uint32)
        pixel, key = once((jnp.where(inside, y * width + x, height * width), key))
        return begin + chunk, keys.at[pixel.reshape(-1)].min(key.reshape(-1), mode="drop")

    return jax.lax.while_loop(lambda state: state[0] < total, one_pass, (jnp.int32(0), keys))[1]

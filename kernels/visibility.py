"""Which triangle is visible at each pixel centre: hard visibility, without a gradient, in plain XLA.

Every triangle's pixel box is cut into square tiles. The (triangle, tile) pairs form one work list, made without
sorting. Each pair tests its tile's pixel centres and competes for them through a scatter-min, with a 31-bit key that
has depth in its high bits and the triangle number in its low bits. Triangles that span many tiles use a second list
with larger tiles. A list longer than its capacity is processed in passes, so the result never depends on the capacity.

NVIDIA GPUs have a program of their own in `visibility_triton`, which shares the mathematics below.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from facejax.kernels.barrier import once

Implementation = Literal["xla", "triton", "interpreted"]
EMPTY = -1
NO_KEY = 0x7F800000  # keys are smaller, so that their bits, read as floats, are finite, positive and in the same order
SMALL_TILE, LARGE_TILE = 4, 32  # pixels
LARGE_TILES_PER_PASS = 16
MAX_SMALL_TILES = 48  # a triangle with more tiles than this goes to the list of large ones
MIN_AREA = 1e-5  # square pixels (twice the area); thinner triangles are not seen
SLACK = 1e-5  # barycentric tolerance, so that no centre falls between two triangles that share an edge


Corners = Sequence[Float[Array, "*F"]]  # one coordinate of the three corners of triangles, or of one
Box = tuple[Int[Array, "*F"], ...]  # first and last pixel column, first and last pixel row


class _View(NamedTuple):
    """Everything that decides visibility besides the triangles themselves."""

    size: tuple[int, int]
    perspective: bool
    near: float
    id_bits: int  # of a key, for the triangle's number


class _Setup(NamedTuple):
    """Per triangle: corner a, and the affine functions of (pixel - a)."""

    plane: tuple[Float[Array, "*F"], ...]  # a.x, a.y, grad w_b (2), grad w_c (2), nearness at a, its grad (2)
    box: Box
    drawn: Bool[Array, "*F"]


def default_capacity(size: tuple[int, int], triangles: int) -> int:
    """Number of pairs per pass: enough for a single pass over a head that fills the image."""
    return 16384 * -(-(triangles + size[0] * size[1] // 8) // 16384)


def nearest_triangle(
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    *,
    size: tuple[int, int],
    perspective: bool,
    near: float,
    capacity: int | None = None,
    implementation: Implementation | None = None,
) -> Int[Array, "H W"]:
    """The front-facing triangle nearest to the camera at each pixel centre, `EMPTY` where there is none.

    Front faces are counter-clockwise to the viewer. Not drawn: back faces, triangles thinner than `MIN_AREA`, with a
    corner that is not finite, or, with `perspective`, with a corner nearer than `near`. Depths that agree to about
    2^-(31 - bits of the triangle count) of the range in view count as equal; then the lower triangle number wins.

    Args:
      points: (x, y, depth): pixels, y down, and depth in front of the camera.
      faces: triangles.
      size: height and width of the picture, pixels.
      perspective: whether the camera is a perspective one.
      near: smallest depth with `perspective`.
      capacity: (triangle, tile) pairs in a pass; affects memory and time, never the result.
      implementation: "triton" (NVIDIA GPUs), "xla" (all platforms), or "interpreted" ("triton" step by step, for
        tests). None: "triton" if the program is lowered for a GPU, else "xla".

    Raises ValueError for too many triangles.
    """
    count = faces.shape[0]
    id_bits = count.bit_length()
    if id_bits > 24:
        raise ValueError(f"{count} triangles leave too few bits for depth: render at most {2**24 - 1} at a time")
    if count == 0:
        return jnp.full(size, EMPTY, jnp.int32)
    view = _View(size, perspective, near, id_bits)
    chunk = capacity or default_capacity(size, count)
    find = _merging(partial(_nearest, view=view, chunk=chunk, implementation=implementation))
    return find(jax.lax.stop_gradient(points)[None], faces[None])[0]


def _merging(find: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
    """Make vmap of `find(points (B, V, 3), faces (B or 1, F, 3))` one call with a longer batch.

    By default vmap would give every gather and scatter one more index, for which processors and GPUs have slower code
    than for a longer table.
    """
    batch = jax.custom_batching.custom_vmap(find)

    @batch.def_vmap
    def longer(count, batched, points, faces):
        points = points if batched[0] else jnp.broadcast_to(points, (count, *points.shape))
        if batched[1]:
            faces = jnp.broadcast_to(faces, (*points.shape[:2], *faces.shape[2:])).reshape(-1, *faces.shape[2:])
        found = batch(points.reshape(-1, *points.shape[2:]), faces)
        return found.reshape(*points.shape[:2], *found.shape[1:]), True

    return batch


def _nearest(points: Array, faces: Array, *, view: _View, chunk: int, implementation) -> Int[Array, "B H W"]:
    """Process all meshes as one, with their vertices, triangles and pixels concatenated."""
    images, vertices, _ = points.shape
    own = faces + vertices * jnp.arange(images, dtype=jnp.int32)[:, None, None]
    mesh = points.reshape(-1, 3), own.reshape(-1, 3).astype(jnp.int32)
    by_lists = partial(_draw_lists, images=images, view=view, chunk=images * chunk)
    by_lanes = partial(_draw_lanes, images=images, view=view)
    if implementation is None and _has_triton():
        keys = jax.lax.platform_dependent(*mesh, cuda=by_lanes, default=by_lists)
    elif implementation in (None, "xla"):
        keys = by_lists(*mesh)
    else:
        keys = by_lanes(*mesh, interpret=implementation == "interpreted")
    return jnp.where(keys == NO_KEY, EMPTY, keys & (2**view.id_bits - 1)).reshape(images, *view.size)


@cache
def _has_triton() -> bool:
    """Whether jax has Pallas through Triton, deprecated since 0.11; without it GPUs run the plain program."""
    try:
        import facejax.kernels.visibility_triton  # noqa: F401
    except (ImportError, AttributeError):
        return False
    return True


def _corners(points: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> tuple[Corners, Corners, Corners]:
    x, y, z = once([[plane[faces[:, k]] for k in range(3)] for plane in points.T])
    return x, y, z


def _in_view(x: Corners, y: Corners, z: Corners, view: _View) -> tuple[Array, Array, Box]:
    """Twice the signed areas of triangles, whether they can be visible, and their pixel boxes."""
    height, width = view.size
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    # Front faces turn clockwise in pixels (y down), so their signed area is negative; NaN compares false.
    drawn = area < -MIN_AREA
    for value in (*x, *y, *z):
        drawn &= jnp.abs(value) < jnp.inf
    if view.perspective:
        drawn &= _lowest(z) > view.near
    box = _first(_lowest(x), width), _last(_highest(x), width), _first(_lowest(y), height), _last(_highest(y), height)
    return area, drawn & (box[0] <= box[1]) & (box[2] <= box[3]), box


def _far(z: Corners, drawn: Array, view: _View) -> list[Array]:
    """A measure of distance that is affine in the image: minus inverse depth under perspective, else depth."""
    z = [jnp.where(drawn, one, 1.0) for one in z]
    return [-1.0 / one for one in z] if view.perspective else z


def _levels_in_view(x: Corners, y: Corners, z: Corners, images: int, view: _View) -> tuple[Array, Array]:
    """For each image the least `_far` in view, and the number of key levels per unit of it."""
    _, drawn, _ = _in_view(x, y, z, view)
    far = _far(z, drawn, view)
    lowest = jnp.min(jnp.where(drawn, _lowest(far), jnp.inf).reshape(images, -1), axis=1)
    spread = jnp.max(jnp.where(drawn, _highest(far), -jnp.inf).reshape(images, -1), axis=1) - lowest
    # The largest key is left free for "empty", and one unit on each side for the edges' slack.
    return lowest, jnp.where(spread > 0, (_levels(view.id_bits) - 4) / jnp.where(spread > 0, spread, 1.0), 0.0)


def _setup(x: Corners, y: Corners, z: Corners, lowest: Array, scale: Array, *, view: _View) -> _Setup:
    """Prepare triangles for `cover`; `lowest` and `scale` come from `_levels_in_view`."""
    area, drawn, box = _in_view(x, y, z, view)
    safe = jnp.where(drawn, area, -1.0)
    grad_b = (y[2] - y[0]) / safe, -(x[2] - x[0]) / safe
    grad_c = -(y[1] - y[0]) / safe, (x[1] - x[0]) / safe
    la, lb, lc = (1 + (far - lowest) * scale for far in _far(z, drawn, view))
    slope = [b * (lb - la) + c * (lc - la) for b, c in zip(grad_b, grad_c, strict=True)]
    return _Setup((x[0], y[0], *grad_b, *grad_c, la, *slope), box, drawn)


def _lowest(corners):
    return jnp.minimum(jnp.minimum(corners[0], corners[1]), corners[2])


def _highest(corners):
    return jnp.maximum(jnp.maximum(corners[0], corners[1]), corners[2])


def _first(low, side):
    """The first pixel in the image whose centre is not below `low`."""
    return jnp.ceil(jnp.clip(low - 0.5, 0, side)).astype(jnp.int32)


def _last(high, side):
    """The last pixel in the image whose centre is not above `high`; -1 if there is none."""
    return jnp.floor(jnp.clip(high - 0.5, -1, side - 1)).astype(jnp.int32)


def _levels(id_bits: int) -> float:
    """Number of depth levels in a key; no more than float32 counts exactly."""
    return float(min(NO_KEY >> id_bits, 2**24))


def _empty_keys(images: int, size: tuple[int, int]) -> Array:
    return jnp.full(images * size[0] * size[1], NO_KEY, jnp.int32)


def cover(plane: Sequence[Any], x: Array, y: Array, *, id_bits: int) -> tuple[Array, Array]:
    """Whether triangles cover pixel centres, and their depth levels there.

    Args:
      plane: `_Setup.plane`.
      x, y: columns and rows of the pixels.
      id_bits: bits of a key for the triangle's number.
    """
    px, py = x.astype(jnp.float32) + 0.5 - plane[0], y.astype(jnp.float32) + 0.5 - plane[1]
    wb = plane[2] * px + plane[3] * py
    wc = plane[4] * px + plane[5] * py
    level = plane[6] + plane[7] * px + plane[8] * py
    inside = (wb >= -SLACK) & (wc >= -SLACK) & (wb + wc <= 1 + SLACK)
    return inside, jnp.clip(level, 0, _levels(id_bits) - 2)


def _draw_lanes(points: Array, faces: Array, *, images: int, view: _View, interpret: bool = False) -> Array:
    from facejax.kernels.visibility_triton import draw_triangles

    levels = _levels_in_view(*_corners(points, faces), images, view)
    by_lane = partial(_setup, view=view), partial(cover, id_bits=view.id_bits)
    keys = _empty_keys(images, view.size)
    return draw_triangles(
        points, faces, levels, keys, *by_lane, size=view.size, id_bits=view.id_bits, interpret=interpret
    )


def _draw_lists(points: Array, faces: Array, *, images: int, view: _View, chunk: int) -> Array:
    corners = _corners(points, faces)
    levels = [jnp.repeat(level, faces.shape[0] // images) for level in _levels_in_view(*corners, images, view)]
    found = _setup(*corners, *levels, view=view)
    plane, box, drawn = once((jnp.stack(found.plane, axis=1), jnp.stack(found.box, axis=1), found.drawn))
    counts = [jnp.where(drawn, _tile_counts(box, tile), 0) for tile in (SMALL_TILE, LARGE_TILE)]
    small = counts[0] <= MAX_SMALL_TILES
    draw = partial(_draw_list, plane, box, images=images, view=view)
    keys = draw(_empty_keys(images, view.size), jnp.where(small, counts[0], 0), tile=SMALL_TILE, chunk=chunk)
    return draw(keys, jnp.where(small, 0, counts[1]), tile=LARGE_TILE, chunk=images * LARGE_TILES_PER_PASS)


def _tile_counts(box: Int[Array, "F 4"], tile: int) -> Int[Array, " F"]:
    x0, x1, y0, y1 = (box // tile).T
    return (x1 - x0 + 1) * (y1 - y0 + 1)


def _draw_list(
    planes: Array, boxes: Array, keys: Array, counts: Array, *, images: int, view: _View, tile: int, chunk: int
) -> Array:
    """Compete for the pixels with `counts` tiles of each triangle, `chunk` (triangle, tile) pairs per pass."""
    ends = jnp.cumsum(counts)
    starts, total = ends - counts, ends[-1]
    order = jnp.arange(counts.shape[0], dtype=jnp.int32)
    offsets = jnp.arange(tile * tile, dtype=jnp.int32)
    dx, dy = offsets % tile, offsets // tile
    height, width = view.size

    def one_pass(state):
        begin, keys = state
        # The triangle of list entry i is the last one that starts at or before i: mark the starts, running maximum.
        slot = jnp.where((counts > 0) & (ends > begin), jnp.maximum(starts - begin, 0), chunk)
        marked = jnp.zeros(chunk, jnp.int32).at[slot].max(order, mode="drop")
        owner = once(jax.lax.cummax(marked))
        entry = begin + jnp.arange(chunk, dtype=jnp.int32)
        box, plane, start = once((boxes[owner], planes[owner], starts[owner]))
        first_column, across = box[:, 0] // tile, box[:, 1] // tile - box[:, 0] // tile + 1
        local = entry - start
        column, row = once(((first_column + local % across) * tile, (box[:, 2] // tile + local // across) * tile))
        x, y = column[:, None] + dx[None], row[:, None] + dy[None]
        inside, level = cover([plane[:, k : k + 1] for k in range(9)], x, y, id_bits=view.id_bits)
        inside &= (x < width) & (y < height) & (entry < total)[:, None]
        image, number = (part[:, None] for part in jnp.divmod(owner, counts.shape[0] // images))
        key = (level.astype(jnp.int32) << view.id_bits) | number
        pixel = jnp.where(inside, (image * height + y) * width + x, keys.shape[0])
        pixel, key = once((pixel, key))
        return begin + chunk, keys.at[pixel.reshape(-1)].min(key.reshape(-1), mode="drop")

    return jax.lax.while_loop(lambda state: state[0] < total, one_pass, (jnp.int32(0), keys))[1]

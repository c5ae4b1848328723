"""Soft edges: where an outline passes between two pixel centres, its exact place blends the two pixels.

The idea is the analytic antialiasing of Laine et al., "Modular primitives for high-performance differentiable
rendering", SIGGRAPH Asia 2020, section 3.6, with the outline's edges taken from the mesh rather than from the triangles
that the two pixels happen to show: at portrait sizes a triangle is smaller than a pixel.

An outline edge has a face turned to the camera on one side and none on the other. It crosses each pixel row (column)
that it spans once, between two horizontally (vertically) neighbouring centres: a crossing. Crossings are found without
a gradient; their positions, differentiable in the edge's two vertices, move colour and alpha across the pixel boundary.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from facejax.camera import NEAR
from facejax.kernels import gather_rows
from facejax.kernels.barrier import once


class Crossings(NamedTuple):
    """A fixed list of outline crossings; entries that are not `used` are harmless fillers."""

    start: Int[Array, " K"]  # the edge's vertices, the surface on the left of start -> end (y up)
    end: Int[Array, " K"]
    first: Int[Array, " K"]  # flat index of the left (upper) pixel of the pair
    vertical: Bool[Array, " K"]  # the pair is one above the other
    used: Bool[Array, " K"]
    overflow: Int[Array, ""]  # crossings that found no room in the list


def find_crossings(
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    neighbors: Int[Array, "F 3"],
    triangle: Int[Array, "H W"],
    depth: Float[Array, "H W"],
    *,
    perspective: bool,
    capacity: int | None = None,
) -> Crossings:
    """All visible outline crossings between neighbouring pixel centres, at most one per pair.

    A crossing is visible when the two pixels show different triangles, the pixel on the surface's side is the nearer
    one, and the edge is in front of what the other pixel shows. Only steep edges move horizontal pairs, and only
    shallow ones vertical pairs, so that no stretch of the outline counts twice.

    Args:
      points: (x, y, depth) as from `camera.project`.
      faces: triangles.
      neighbors: as from `facejax.mesh.face_neighbors`.
      triangle: the visible triangle of each pixel, as from `rasterize`.
      depth: of each pixel, mm.
      perspective: whether the camera is a perspective one.
      capacity: length of the list; None: 16 x the longer side of the image.
    """
    height, width = triangle.shape
    capacity = capacity or 16 * max(height, width)
    points, depth = jax.lax.stop_gradient((points, depth))
    x, y, z = once([[plane[faces[:, k]] for k in range(3)] for plane in points.T])
    counts = _row_and_column_counts(x, y, z, neighbors, triangle.shape, perspective)  # (6, F): rows, then columns
    counts, ends = once((counts, jnp.cumsum(counts.sum(axis=0))))
    owner, entry = _list(counts.sum(axis=0), ends, capacity)
    face_counts = jnp.cumsum(counts, axis=0)[:, owner]  # (6, K)
    kind = jnp.sum(entry[None] >= face_counts, axis=0)
    kind = jnp.minimum(kind, 5)
    local = entry - jnp.where(kind > 0, jnp.take_along_axis(face_counts, jnp.maximum(kind - 1, 0)[None], axis=0)[0], 0)
    side, vertical = kind % 3, kind >= 3
    corners = faces[owner]
    start = jnp.take_along_axis(corners, side[:, None], axis=1)[:, 0]
    end = jnp.take_along_axis(corners, (side + 1)[:, None] % 3, axis=1)[:, 0]
    start, end, vertical, local = once((start, end, vertical, local))
    a, b = once((points[start], points[end]))
    return _visible(
        a, b, start, end, vertical, local, jnp.arange(capacity) < ends[-1], triangle, depth, perspective
    )._replace(overflow=jnp.maximum(ends[-1] - capacity, 0).astype(jnp.int32))


def _row_and_column_counts(x, y, z, neighbors, shape, perspective) -> Int[Array, "6 F"]:
    """How many pixel rows, then columns, the outline edges of each face cross."""
    area = (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])
    front = area < 0
    for value in (*x, *y, *z):
        front &= jnp.isfinite(value)
    if perspective:
        front &= jnp.minimum(jnp.minimum(z[0], z[1]), z[2]) > NEAR
    open_side = front[:, None] & ~((neighbors >= 0) & once(front)[jnp.maximum(neighbors, 0)])
    counts = []
    for values, side in ((y, shape[0]), (x, shape[1])):
        for k in range(3):
            lines = _lines_below(values[(k + 1) % 3], side) - _lines_below(values[k], side)
            counts.append(jnp.where(open_side[:, k], jnp.abs(lines), 0))
    return jnp.stack(counts)


def _lines_below(value: Array, side: int | Array) -> Array:
    """How many of the image's pixel-centre lines 0.5, 1.5, ... lie at or below a coordinate; 0 for NaN."""
    return jnp.floor(jnp.clip(jnp.nan_to_num(value) + 0.5, 0, side)).astype(jnp.int32)


def _list(counts: Array, ends: Array, capacity: int) -> tuple[Array, Array]:
    """(owner, entry within owner) of each slot of a list in which row i has counts[i] slots, without sorting."""
    starts = ends - counts
    order = jnp.arange(counts.shape[0], dtype=jnp.int32)
    marked = jnp.zeros(capacity, jnp.int32).at[jnp.where(counts > 0, starts, capacity)].max(order, mode="drop")
    owner = once(jax.lax.cummax(marked))
    return owner, once(jnp.arange(capacity, dtype=jnp.int32) - starts[owner])


def _visible(a, b, start, end, vertical, local, exists, triangle, depth, perspective) -> Crossings:
    height, width = triangle.shape
    # u runs along the pair, v across it: a horizontal pair is crossed on a row, where v = y is a pixel centre.
    ua, va, ub, vb = _along_across(a, b, vertical)
    line = _lines_below(jnp.minimum(va, vb), jnp.where(vertical, width, height)) + local
    share = _share(va, vb, line.astype(va.dtype) + 0.5)
    place = ua + share * (ub - ua)
    length = jnp.where(vertical, height, width)
    lower = jnp.floor(jnp.clip(place - 0.5, -1, length)).astype(jnp.int32)
    exists &= (lower >= 0) & (lower < length - 1)
    lower = jnp.where(exists, lower, 0)
    line = jnp.where(exists, line, 0)
    first = jnp.where(vertical, lower * width + line, line * width + lower)
    second = first + jnp.where(vertical, width, 1)
    far = jnp.where(triangle >= 0, -1.0 / jnp.where(triangle >= 0, depth, 1.0) if perspective else depth, jnp.inf)
    far, flat = far.reshape(-1), triangle.reshape(-1)
    far_a, far_b = (-1.0 / a[:, 2], -1.0 / b[:, 2]) if perspective else (a[:, 2], b[:, 2])
    far_edge = far_a + share * (far_b - far_a)
    # Left of a -> b (y up) is the lower x when the edge goes up the image, the upper pixel when it goes right.
    inside_first = jnp.where(vertical, vb > va, vb < va)
    far_first, far_second = far[first], far[second]
    inside = jnp.where(inside_first, far_first, far_second)
    outside = jnp.where(inside_first, far_second, far_first)
    seen = exists & (flat[first] != flat[second]) & (inside < outside) & (far_edge < outside)
    beyond = place - 0.5 - lower.astype(place.dtype)
    reach = jnp.where(inside_first, 1 - beyond, beyond)  # from the far pixel's centre
    outermost = _least_of_pair(reach, seen, 2 * first + vertical.astype(first.dtype), 2 * height * width)
    steep = jnp.abs(vb - va) >= jnp.abs(ub - ua)
    # A tie at exactly 45 degrees belongs to the horizontal pairs.
    steep &= ~(vertical & (jnp.abs(vb - va) == jnp.abs(ub - ua)))
    return Crossings(start, end, first, vertical, seen & outermost & steep, jnp.int32(0))


def _least_of_pair(reach: Array, seen: Array, pair: Array, pairs: int) -> Array:
    """Whether each entry has the least reach (0 to 1) of its pair, by a 32-bit key with the list position below it."""
    bits = reach.shape[0].bit_length()
    level = jnp.clip(reach, 0, 1) * (2.0 ** min(32 - bits, 24) - 2)  # float32 counts to 2^24 exactly
    key = (level.astype(jnp.uint32) << bits) | jnp.arange(reach.shape[0], dtype=jnp.uint32)
    key, target = once((key, jnp.where(seen, pair, pairs)))
    keys = once(jnp.full(pairs, 2**32 - 1, jnp.uint32).at[target].min(key, mode="drop"))
    return keys[jnp.where(seen, pair, 0)] == key


def _along_across(a, b, vertical):
    ua, ub = jnp.where(vertical, a[:, 1], a[:, 0]), jnp.where(vertical, b[:, 1], b[:, 0])
    va, vb = jnp.where(vertical, a[:, 0], a[:, 1]), jnp.where(vertical, b[:, 0], b[:, 1])
    return ua, va, ub, vb


def _share(va, vb, line):
    """The position between the edge's ends (0 to 1) at which it crosses the line; 0 for an edge along it."""
    span = vb - va
    flat = jnp.abs(span) < 1e-9
    return jnp.where(flat, 0.0, (line - va) / jnp.where(flat, 1.0, span))


def antialias(
    images: Sequence[Float[Array, "H W _"]], points: Float[Array, "V 3"], crossings: Crossings
) -> list[Float[Array, "H W _"]]:
    """Blend pixels across the outline; differentiable in the images and, through the crossings, in `points`.

    Between the centres of a pair the first pixel's colour reaches to the crossing at t in [0, 1], the second's from
    there on, and the pixels meet at 1/2. So the second pixel takes t - 1/2 of the first's colour, or the first takes
    1/2 - t of the second's. Where the shares taken from a pixel would exceed 1, they are scaled down.
    """
    height, width = images[0].shape[:2]
    vertical, used = crossings.vertical, crossings.used
    a, b = gather_rows(points, crossings.start), gather_rows(points, crossings.end)
    ua, va, ub, vb = _along_across(a, b, vertical)
    row, column = jnp.divmod(crossings.first, width)
    lower = jnp.where(vertical, row, column).astype(points.dtype) + 0.5
    line = jnp.where(vertical, column, row).astype(points.dtype) + 0.5
    place = ua + _share(va, vb, line) * (ub - ua)
    shift = jnp.where(used, jnp.clip(place - lower, 0, 1) - 0.5, 0.0)
    second = crossings.first + jnp.where(vertical, width, 1)
    outside = height * width
    taker = jnp.where(used, jnp.where(shift > 0, second, crossings.first), outside)
    giver = jnp.where(used, jnp.where(shift > 0, crossings.first, second), outside)
    weight = jnp.abs(shift)[:, None]
    total = jnp.zeros((outside, 1), points.dtype).at[taker].add(weight, mode="drop")
    weight = weight / jnp.maximum(gather_rows(total, taker), 1.0)
    blended = []
    for image in images:
        flat = once(image.reshape(outside, -1))
        given, taken = jnp.split(gather_rows(flat, jnp.concatenate([giver, taker])), 2)
        change = weight * (given - taken)
        blended.append(flat.at[taker].add(change, mode="drop").reshape(image.shape))
    return blended

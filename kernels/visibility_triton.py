"""The visibility pass as one program on GPUs (Pallas through Triton): each lane walks through one triangle's pixels.

A triangle of a face covers a handful of pixels, so a lane finishes after about twenty steps, and no list is needed. All
lanes of a block walk through larger boxes together.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float, Int

LANES = 128  # triangles of a block
ALONE = 256  # pixels of a box that one lane walks through by itself

Setup = Callable[..., Any]
Cover = Callable[[Any, Array, Array], tuple[Array, Array]]


def draw_triangles(
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    levels: tuple[Float[Array, " B"], Float[Array, " B"]],
    keys: Int[Array, " P"],
    setup: Setup,
    cover: Cover,
    *,
    size: tuple[int, int],
    id_bits: int,
    interpret: bool = False,
) -> Int[Array, " P"]:
    """Let every triangle compete for the pixels of its box; the nearest one (the least key) wins.

    The B images have equal numbers of triangles and of pixels, and are concatenated.

    Args:
      points: (x, y, depth) of the vertices.
      faces: triangles.
      levels: the arguments of `setup` for each image, see `visibility._levels_in_view`.
      keys: of the pixels before.
      setup: `setup(x, y, z, *levels)` prepares a triangle from its corners (`visibility._setup`).
      cover: `cover(plane, x, y)` says whether a triangle covers a pixel centre, and its level there
        (`visibility.cover`).
      size: height and width of the pictures, pixels.
      id_bits: bits of a key for the triangle's number.
      interpret: run in Pallas's interpreter, for tests.

    Returns:
      The keys after.
    """
    planes = [*points.T, *faces.T, *levels]
    walk = partial(_walk, setup=setup, cover=cover, size=size, id_bits=id_bits, interpret=interpret)
    found = pl.pallas_call(
        walk,
        out_shape=jax.ShapeDtypeStruct(keys.shape, jnp.float32),
        grid=(pl.cdiv(faces.shape[0], LANES),),
        input_output_aliases={len(planes): 0},
        compiler_params=None if interpret else plgpu.CompilerParams(num_warps=LANES // 32),
        interpret=interpret,
        name="draw_triangles",
    )(*planes, jax.lax.bitcast_convert_type(keys, jnp.float32))
    return jax.lax.bitcast_convert_type(found, jnp.int32)


def _walk(*refs, setup: Setup, cover: Cover, size: tuple[int, int], id_bits: int, interpret: bool):
    *point_refs, a, b, c, lowest_ref, scale_ref, _, keys_ref = refs
    count, each = a.shape[0], a.shape[0] // lowest_ref.shape[0]
    height, width = size
    minimum = _written_minimum if interpret else _atomic_minimum
    lane = jnp.arange(LANES, dtype=jnp.int32)
    first = pl.program_id(0) * LANES

    def triangles(which):
        place = jnp.minimum(which, count - 1)
        image, corners = place // each, [corner[place] for corner in (a, b, c)]
        x, y, z = ([ref[corner] for corner in corners] for ref in point_refs)
        plane, box, drawn = setup(x, y, z, lowest_ref[image], scale_ref[image])
        x0, x1, y0, y1 = box
        return plane, box, jnp.where(drawn & (which < count), (x1 - x0 + 1) * (y1 - y0 + 1), 0)

    def compete(plane, triangle, x, y, exists):
        inside, level = cover(plane, x, y)
        key = (level.astype(jnp.int32) << id_bits) | (triangle % each)
        minimum(keys_ref, (triangle // each * height + y) * width + x, key, inside & exists)

    plane, (x0, x1, y0, _), area = triangles(first + lane)

    def alone(count, at):
        x, y = at
        compete(plane, first + lane, x, y, (count < area) & (area <= ALONE))
        end = x == x1
        return jnp.where(end, x0, x + 1), jnp.where(end, y + 1, y)

    def together(k, _):
        own, (left, right, top, _), pixels = triangles(first + k)
        across = right - left + 1

        def some(n, _):
            at = n * LANES + lane
            compete(own, first + k, left + at % across, top + at // across, at < pixels)

        rounds = (pixels + LANES - 1) // LANES
        jax.lax.fori_loop(0, (pixels > ALONE).astype(jnp.int32) * rounds, some, None)

    jax.lax.fori_loop(0, jnp.max(jnp.where(area <= ALONE, area, 0)), alone, (x0, y0))
    jax.lax.fori_loop(0, (jnp.max(area) > ALONE).astype(jnp.int32) * LANES, together, None)


def _atomic_minimum(ref, index, key, mask):
    """An atomic minimum on the bits as floats, because Pallas has none for vectors of integers."""
    plgpu.atomic_min(ref, (index,), jax.lax.bitcast_convert_type(key, jnp.float32), mask=mask)


def _written_minimum(ref, index, key, mask):
    """The same for lanes that run one after the other, because the interpreter has no masked atomics."""
    keys = jax.lax.bitcast_convert_type(ref[...], jnp.int32)
    keys = keys.at[jnp.where(mask, index, keys.shape[0])].min(key, mode="drop")
    ref[...] = jax.lax.bitcast_convert_type(keys, jnp.float32)

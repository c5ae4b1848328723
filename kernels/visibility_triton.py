"""The visibility pass as one program on GPUs (Pallas through Triton): a lane a triangle, walking through its pixels.

A triangle of a face covers a handful of pixels, so a lane is done after some twenty steps and no list has to be made.
Boxes of more pixels are walked by all lanes of a block together.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array, Float, Int

LANES = 128  # triangles of a block
ALONE = 256  # pixels of a box that one lane walks through by itself

Cover = Callable[[Sequence[Any], Array, Array], tuple[Array, Array]]


def draw_triangles(
    plane: Sequence[Float[Array, " F"]],
    box: Sequence[Int[Array, " F"]],
    keys: Int[Array, " P"],
    *,
    width: int,
    id_bits: int,
    cover: Cover,
    interpret: bool = False,
) -> Int[Array, " P"]:
    """`keys` after every triangle competed for the pixels of its box, the nearest one (the least key) winning.

    `plane` and `box` are those of `visibility._Setup`, the boxes of what is not drawn empty; `cover(plane, x, y)` says
    whether a triangle covers a pixel centre, and its level there.
    """
    blocks = pl.cdiv(len(box[0]), LANES)
    fill = (*(0 for _ in plane), 0, -1, 0, -1)
    spare = (0, blocks * LANES - len(box[0]))
    setup = [jnp.pad(one, spare, constant_values=value) for one, value in zip((*plane, *box), fill, strict=True)]
    found = pl.pallas_call(
        partial(_walk, width=width, id_bits=id_bits, cover=cover, interpret=interpret),
        out_shape=jax.ShapeDtypeStruct(keys.shape, jnp.float32),
        grid=(blocks,),
        input_output_aliases={len(setup): 0},
        compiler_params=None if interpret else plgpu.CompilerParams(num_warps=LANES // 32),
        interpret=interpret,
        name="draw_triangles",
    )(*setup, jax.lax.bitcast_convert_type(keys, jnp.float32))
    return jax.lax.bitcast_convert_type(found, jnp.int32)


def _walk(*refs, width: int, id_bits: int, cover: Cover, interpret: bool):
    *setup_refs, _, keys_ref = refs
    plane_refs, box_refs = setup_refs[:-4], setup_refs[-4:]
    minimum = _written_minimum if interpret else _atomic_minimum
    first = pl.program_id(0) * LANES
    lane = jnp.arange(LANES, dtype=jnp.int32)
    here = pl.ds(first, LANES)
    plane = [ref[here] for ref in plane_refs]
    x0, x1, y0, y1 = (ref[here] for ref in box_refs)
    area = (x1 - x0 + 1) * (y1 - y0 + 1)

    def compete(plane, triangle, x, y, exists):
        inside, level = cover(plane, x, y)
        key = (level.astype(jnp.int32) << id_bits) | triangle
        minimum(keys_ref, y * width + x, key, inside & exists)

    def alone(count, at):
        x, y = at
        compete(plane, first + lane, x, y, (count < area) & (area <= ALONE))
        end = x == x1
        return jnp.where(end, x0, x + 1), jnp.where(end, y + 1, y)

    def together(k, _):
        triangle = first + k
        left, right, top, bottom = (ref[triangle] for ref in box_refs)
        across = right - left + 1
        pixels = across * (bottom - top + 1)
        own = [ref[triangle] for ref in plane_refs]

        def some(n, _):
            at = n * LANES + lane
            compete(own, triangle, left + at % across, top + at // across, at < pixels)

        rounds = (pixels + LANES - 1) // LANES
        jax.lax.fori_loop(0, (pixels > ALONE).astype(jnp.int32) * rounds, some, None)

    jax.lax.fori_loop(0, jnp.max(jnp.where(area <= ALONE, area, 0)), alone, (x0, y0))
    jax.lax.fori_loop(0, (jnp.max(area) > ALONE).astype(jnp.int32) * LANES, together, None)


def _atomic_minimum(ref, index, key, mask):
    """By the bits of floats: for vectors of integers Pallas has no atomic minimum."""
    plgpu.atomic_min(ref, (index,), jax.lax.bitcast_convert_type(key, jnp.float32), mask=mask)


def _written_minimum(ref, index, key, mask):
    """The same where lanes run one after the other: the interpreter has no masked atomics."""
    keys = jax.lax.bitcast_convert_type(ref[...], jnp.int32)
    keys = keys.at[jnp.where(mask, index, keys.shape[0])].min(key, mode="drop")
    ref[...] = jax.lax.bitcast_convert_type(keys, jnp.float32)

"""Convolutions whose gradients are convolutions and matrix products that processors have programs for.

JAX writes both gradients of a convolution as convolutions of unusual axes. XLA:CPU brings those into the usual order,
for which it has library calls, in the entry computation of a program only: inside a loop (a `jax.lax.scan` of steps)
they become plain nests of loops, 20 to 75 times slower. Here the axes are brought into order first.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Shaped

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv_general_dilated(
    lhs: Shaped[Array, "_ _ _ _"],
    rhs: Shaped[Array, "_ _ _ _"],
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = _LAYOUT,
    feature_group_count: int = 1,
    precision: Any = None,
) -> Shaped[Array, "_ _ _ _"]:
    """`jax.lax.conv_general_dilated`, its gradients as quick in a loop as outside of one; for flax's `nn.Conv` too.

    Pictures (N, H, W, I) and a kernel (K, L, I, O) to (N, H', W', O); with other axes, dilations, groups or precisions,
    and on accelerators, it is JAX's own, and so are its errors. It can be differentiated forward, backward, and again.
    """
    whole = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    usual = whole == jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, _LAYOUT)
    spread = {*(lhs_dilation or ()), *(rhs_dilation or ())} - {1}
    if jax.default_backend() != "cpu" or spread or feature_group_count != 1 or precision is not None or not usual:
        return jax.lax.conv_general_dilated(
            lhs,
            rhs,
            window_strides,
            padding,
            lhs_dilation=lhs_dilation,
            rhs_dilation=rhs_dilation,
            dimension_numbers=whole,
            feature_group_count=feature_group_count,
            precision=precision,
        )
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(lhs.shape[1:3], rhs.shape[:2], window_strides, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    return _conv.bind(jnp.asarray(lhs), jnp.asarray(rhs), strides=tuple(window_strides), pads=pads)


_conv = Primitive("conv")


@_conv.def_impl
def _conv_now(x, kernel, *, strides, pads):
    return jax.lax.conv_general_dilated(x, kernel, strides, pads, dimension_numbers=_LAYOUT)


@_conv.def_abstract_eval
def _conv_shape(x, kernel, *, strides, pads):
    found = jax.eval_shape(lambda x, kernel: _conv_now(x, kernel, strides=strides, pads=pads), x, kernel)
    return x.update(shape=found.shape, dtype=found.dtype, weak_type=False)


def _by_x(cotangent, x, kernel, *, strides, pads):
    """Zeros between the pixels of the cotangent, correlation with the kernel turned by half a turn."""
    sides = zip(x.aval.shape[1:3], kernel.shape[:2], cotangent.shape[1:3], strides, pads, strict=True)
    spread = []
    for side, taps, seen, stride, (low, _) in sides:
        before = taps - 1 - low
        spread.append((before, side + taps - 1 - before - ((seen - 1) * stride + 1), stride - 1))
    wide = jax.lax.pad(cotangent, jnp.zeros((), cotangent.dtype), [(0, 0, 0), *spread, (0, 0, 0)])
    turned = jnp.swapaxes(jnp.flip(kernel, (0, 1)), 2, 3)
    return _conv.bind(wide, turned, strides=(1, 1), pads=((0, 0), (0, 0)))


def _by_kernel(cotangent, x, kernel, *, strides, pads):
    """For each tap, the pixels it met times the cotangent: a matrix product over all pixels."""
    wide = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)])
    height, width, inputs, outputs = kernel.aval.shape
    rows, columns = cotangent.shape[1:3]
    rest = cotangent.reshape(-1, outputs)

    def tap(row: int, column: int):
        limits = wide.shape[0], row + (rows - 1) * strides[0] + 1, column + (columns - 1) * strides[1] + 1, inputs
        met = jax.lax.slice(wide, (0, row, column, 0), limits, (1, *strides, 1))
        return met.reshape(-1, inputs).T @ rest

    return jnp.stack([tap(k, j) for k in range(height) for j in range(width)]).reshape(height, width, inputs, outputs)


def _conv_batched(values, axes, **how):
    """A batch of pictures is one longer list of them; kernels that differ are JAX's to deal with."""
    (x, kernel), (of_x, of_kernel) = values, axes
    if of_kernel is not None:
        return jax.vmap(lambda x, kernel: _conv_now(x, kernel, **how), axes)(x, kernel), 0
    x = jnp.moveaxis(x, of_x, 0)
    found = _conv.bind(x.reshape(-1, *x.shape[2:]), kernel, **how)
    return found.reshape(*x.shape[:2], *found.shape[1:]), 0


mlir.register_lowering(_conv, mlir.lower_fun(_conv_now, multiple_results=False))
ad.defbilinear(_conv, _by_x, _by_kernel)
batching.primitive_batchers[_conv] = _conv_batched

"""Convolutions whose gradients run fast inside loops on processors.

JAX writes both gradients of a convolution as convolutions with an unusual order of axes. XLA:CPU has library calls for
the usual order, and restores it only in the entry computation of a program: inside a loop (a `jax.lax.scan` of steps)
the gradients become plain nests of loops, 20 to 75 times slower. Here programs lowered for a processor put the axes in
order first; in others the gradients are JAX's own.

A convolution of pictures x with a kernel k, multiplied with a cotangent y and summed, is linear in each of the three.
So there are three primitives, the derivatives by y, by x and by k. Each is linear in both of its arguments, and the
transposes of each are the other two.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Shaped

_LAYOUT = ("NHWC", "HWIO", "NHWC")


class _How(NamedTuple):
    """What a convolution and its gradients depend on besides the arrays."""

    strides: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    side: tuple[int, ...]  # pixels of the pictures: rows, columns
    window: tuple[int, ...]  # of the kernel
    precision: str | None  # jax's setting when the program is traced, not when it is lowered


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
    """`jax.lax.conv_general_dilated`, with gradients as fast inside a loop as outside; also for flax's `nn.Conv`.

    With other axes, dilations, groups or precisions than the defaults it is JAX's own function. Errors are JAX's own
    too. It can be differentiated forward, backward, and again.

    Args:
      lhs: pictures (N, H, W, I).
      rhs: a kernel (K, L, I, O).
      window_strides, padding, lhs_dilation, rhs_dilation, dimension_numbers, feature_group_count, precision: as for
        `jax.lax.conv_general_dilated`.

    Returns:
      Pictures (N, H', W', O).
    """
    whole = jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, dimension_numbers)
    usual = whole == jax.lax.conv_dimension_numbers(lhs.shape, rhs.shape, _LAYOUT)
    spread = {*(lhs_dilation or ()), *(rhs_dilation or ())} - {1}
    if spread or feature_group_count != 1 or precision is not None or not usual:
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
    precise = jax.config.jax_default_matmul_precision  # type: ignore[attr-defined]
    how = _How(tuple(window_strides), pads, lhs.shape[1:3], rhs.shape[:2], precise)
    return _conv.bind(jnp.asarray(lhs), jnp.asarray(rhs), how=how)


_conv, _by_x, _by_kernel = Primitive("conv"), Primitive("conv_by_pictures"), Primitive("conv_by_kernel")


@_conv.def_impl
def _convolved(x, kernel, *, how):
    return jax.lax.conv_general_dilated(
        x, kernel, how.strides, how.pads, dimension_numbers=_LAYOUT, precision=how.precision
    )


@_by_x.def_impl
def _jaxs_by_x(y, kernel, *, how):
    x = jax.ShapeDtypeStruct((y.shape[0], *how.side, kernel.shape[2]), y.dtype)
    return jax.linear_transpose(lambda x: _convolved(x, kernel, how=how), x)(y)[0]


@_by_kernel.def_impl
def _jaxs_by_kernel(x, y, *, how):
    kernel = jax.ShapeDtypeStruct((*how.window, x.shape[3], y.shape[3]), y.dtype)
    return jax.linear_transpose(lambda kernel: _convolved(x, kernel, how=how), kernel)(y)[0]


def _ordered_by_x(y, kernel, *, how):
    """Put zeros between the pixels of the cotangent, and correlate with the kernel rotated by 180 degrees."""
    spread = []
    for side, taps, seen, stride, (low, _) in zip(
        how.side, how.window, y.shape[1:3], how.strides, how.pads, strict=True
    ):
        before = taps - 1 - low
        spread.append((before, side + taps - 1 - before - ((seen - 1) * stride + 1), stride - 1))
    wide = jax.lax.pad(y, jnp.zeros((), y.dtype), [(0, 0, 0), *spread, (0, 0, 0)])
    turned = jnp.swapaxes(jnp.flip(kernel, (0, 1)), 2, 3)
    return _convolved(wide, turned, how=how._replace(strides=(1, 1), pads=((0, 0), (0, 0))))


def _ordered_by_kernel(x, y, *, how):
    """For each tap, its input pixels times the cotangent: a matrix product over all pixels."""
    wide = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*pad, 0) for pad in how.pads), (0, 0, 0)])
    (height, width), inputs, outputs = how.window, x.shape[3], y.shape[3]
    rows, columns = y.shape[1:3]
    down, right = how.strides
    rest = y.reshape(-1, outputs)

    def tap(row: int, column: int):
        limits = wide.shape[0], row + (rows - 1) * down + 1, column + (columns - 1) * right + 1, inputs
        met = jax.lax.slice(wide, (0, row, column, 0), limits, (1, down, right, 1))
        return met.reshape(-1, inputs).T @ rest

    return jnp.stack([tap(k, j) for k in range(height) for j in range(width)]).reshape(height, width, inputs, outputs)


@_conv.def_abstract_eval
def _shape(x, kernel, *, how):
    found = jax.eval_shape(partial(_convolved, how=how), x, kernel)
    return x.update(shape=found.shape, dtype=found.dtype, weak_type=False)


@_by_x.def_abstract_eval
def _shape_of_x(y, kernel, *, how):
    return y.update(shape=(y.shape[0], *how.side, kernel.shape[2]), weak_type=False)


@_by_kernel.def_abstract_eval
def _shape_of_kernel(x, y, *, how):
    return x.update(shape=(*how.window, x.shape[3], y.shape[3]), weak_type=False)


def _long_batch(primitive: Primitive, on_each):
    """Under vmap, concatenate pictures that share a kernel into one longer batch; leave different kernels to JAX."""

    def batched(values, axes, *, how):
        (pictures, kernel), (of_pictures, of_kernel) = values, axes
        if of_kernel is not None:
            return jax.vmap(partial(on_each, how=how), axes)(pictures, kernel), 0
        pictures = jnp.moveaxis(pictures, of_pictures, 0)
        found = primitive.bind(pictures.reshape(-1, *pictures.shape[2:]), kernel, how=how)
        return found.reshape(*pictures.shape[:2], *found.shape[1:]), 0

    return batched


def _chosen(ordered, jaxs):
    """Choose one of two programs when it is lowered for its platform."""
    return lambda *pair, how: jax.lax.platform_dependent(
        *pair, cpu=partial(ordered, how=how), default=partial(jaxs, how=how)
    )


def _kernel_of_each(values, axes, *, how):
    """The kernel's gradient for each element of a batch."""
    return jax.vmap(partial(_chosen(_ordered_by_kernel, _jaxs_by_kernel), how=how), axes)(*values), 0


batching.primitive_batchers[_conv] = _long_batch(_conv, _convolved)
batching.primitive_batchers[_by_x] = _long_batch(_by_x, _chosen(_ordered_by_x, _jaxs_by_x))
batching.primitive_batchers[_by_kernel] = _kernel_of_each


def _lower(primitive: Primitive, program, platform: str | None = None) -> None:
    mlir.register_lowering(primitive, mlir.lower_fun(program, multiple_results=False), platform=platform)


_lower(_conv, _convolved)
_lower(_by_x, _jaxs_by_x)
_lower(_by_x, _ordered_by_x, "cpu")
_lower(_by_kernel, _jaxs_by_kernel)
_lower(_by_kernel, _ordered_by_kernel, "cpu")
ad.defbilinear(
    _conv,
    lambda y, x, kernel, how: _by_x.bind(y, kernel, how=how),
    lambda y, x, kernel, how: _by_kernel.bind(x, y, how=how),
)
ad.defbilinear(
    _by_x,
    lambda x, y, kernel, how: _conv.bind(x, kernel, how=how),
    lambda x, y, kernel, how: _by_kernel.bind(x, y, how=how),
)
ad.defbilinear(
    _by_kernel,
    lambda kernel, x, y, how: _by_x.bind(y, kernel, how=how),
    lambda kernel, x, y, how: _conv.bind(x, kernel, how=how),
)

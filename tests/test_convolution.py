"""facejax.kernels.conv_general_dilated beside jax.lax's: values, derivatives of every kind, and how it is compiled."""

import re
from functools import partial
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.kernels import conv_general_dilated, convolution

LAYOUT = ("NHWC", "HWIO", "NHWC")


def theirs(x, kernel, strides, padding):
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize(
    "window, strides, padding",
    [
        ((3, 3), (1, 1), [(1, 1), (1, 1)]),
        ((1, 1), (1, 1), "VALID"),
        ((2, 2), (2, 2), "SAME"),
        ((3, 3), (2, 2), [(1, 1), (1, 1)]),
        ((3, 2), (2, 3), [(0, 2), (3, 1)]),  # wider than the window, pixels left over
        ((5, 3), (1, 2), "SAME"),
    ],
)
def test_values_and_derivatives_are_jaxs(window, strides, padding, float64):
    """Forward, backward, forward over backward and backward over backward, of pictures and of kernels."""
    x, kernel = normal(0, 2, 9, 8, 3), normal(1, *window, 3, 4)
    changes = normal(2, *x.shape), normal(3, *kernel.shape)

    @partial(jax.jit, static_argnums=0)  # without it every step is JAX's own
    def derivatives(conv, *at):
        cost = lambda x, kernel: jnp.sum(conv(x, kernel, strides, padding) ** 3)  # noqa: E731
        slopes = jax.grad(cost, (0, 1))
        along = lambda *at: sum(jnp.vdot(*pair) for pair in zip(slopes(*at), changes, strict=True))  # noqa: E731
        return jax.jvp(cost, at, changes), jax.jvp(slopes, at, changes), jax.grad(along, (0, 1))(*at)

    mine, true = derivatives(conv_general_dilated, x, kernel), derivatives(theirs, x, kernel)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), mine, true)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), mine[1][1], mine[2])


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, 4)])
def test_batches_of_pictures_and_of_kernels(axes, float64):
    x, kernel = normal(0, 2, 6, 6, 3), normal(1, 3, 3, 3, 4)
    x = x if axes[0] is None else jnp.stack([x, 2 * x, x + 1], axes[0])
    kernel = kernel if axes[1] is None else jnp.stack([kernel, -kernel, kernel + 1], axes[1])

    @partial(jax.jit, static_argnums=0)
    def slopes(conv):
        some = jax.vmap(lambda x, kernel: conv(x, kernel, (2, 2), "SAME"), axes)
        return some(x, kernel), jax.grad(lambda x, kernel: jnp.sum(some(x, kernel) ** 2), (0, 1))(x, kernel)

    chex.assert_trees_all_close(slopes(conv_general_dilated), slopes(theirs), rtol=1e-7)


def test_a_gradient_for_each_of_a_batch(float64):
    x, kernels = normal(0, 3, 2, 6, 6, 3), normal(1, 3, 3, 3, 3, 4)

    @partial(jax.jit, static_argnums=0)
    def slopes(conv):
        one = jax.grad(lambda x, kernel: jnp.sum(conv(x, kernel, (1, 1), "SAME") ** 2), (0, 1))
        return jax.vmap(one, (0, None))(x, kernels[0]), jax.vmap(one)(x, kernels)

    chex.assert_trees_all_close(slopes(conv_general_dilated), slopes(theirs), rtol=1e-7)


def test_layers_of_flax_with_dilations_and_groups():
    x = normal(0, 2, 9, 9, 4)
    dilations = {"kernel_dilation": 2}, {"input_dilation": 2, "padding": 1}
    options: dict[str, Any]
    for options in ({}, {"strides": 2}, {"feature_group_count": 2}, *dilations):
        plain = nn.Conv(6, (3, 3), **options)
        params = plain.init(jax.random.key(1), x)
        own = nn.Conv(6, (3, 3), conv_general_dilated=conv_general_dilated, **options)
        np.testing.assert_array_equal(own.apply(params, x), plain.apply(params, x))


def test_other_axes_are_jaxs():
    x, kernel = normal(0, 2, 3, 8, 8), normal(1, 4, 3, 3, 3)
    found = conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
    np.testing.assert_array_equal(found, jax.lax.conv(x, kernel, (1, 1), "SAME"))


def test_every_platforms_gradients_are_the_same_step_by_step(float64):
    """Without jit they are JAX's own; the others are the ordered ones."""
    x, kernel, y = normal(0, 2, 7, 6, 3), normal(1, 3, 2, 3, 4), normal(2, 2, 4, 3, 4)
    how = convolution._How((2, 2), ((1, 1), (0, 0)), (7, 6), (3, 2), None)
    by_x, by_kernel = jax.vjp(lambda x, kernel: theirs(x, kernel, how.strides, how.pads), x, kernel)[1](y)
    for program in (convolution._jaxs_by_x, convolution._ordered_by_x):
        np.testing.assert_allclose(program(y, kernel, how=how), by_x)
    for program in (convolution._jaxs_by_kernel, convolution._ordered_by_kernel):
        np.testing.assert_allclose(program(x, y, how=how), by_kernel)


def test_the_precision_is_that_of_the_place_where_a_program_is_written():
    """Not of the place where it is lowered."""
    x, kernel = normal(0, 1, 8, 8, 4), normal(1, 3, 3, 4, 4)

    def cost(x, kernel):
        with jax.default_matmul_precision("highest"):
            return jnp.sum(conv_general_dilated(x, kernel, (1, 1), "SAME") ** 2)

    text = jax.jit(jax.grad(cost, (0, 1))).trace(x, kernel).lower(lowering_platforms=("cuda",)).as_text()
    lines = [line for line in text.splitlines() if "stablehlo.convolution" in line]
    assert len(lines) == 3 and all("HIGHEST" in line for line in lines)


def test_gradients_in_a_loop_are_in_the_order_that_libraries_take():
    """XLA:CPU 0.10 and 0.11 leave the gradients of JAX's own convolution as they are inside of loops."""
    x, kernel = normal(0, 1, 8, 8, 4), normal(1, 3, 3, 4, 4)

    cost = lambda x, kernel: jnp.sum(conv_general_dilated(x, kernel, (1, 1), "SAME") ** 2)  # noqa: E731
    step = lambda at, _: (jax.tree.map(jnp.subtract, at, jax.grad(cost, (0, 1))(*at)), None)  # noqa: E731
    program = jax.jit(lambda x, kernel: jax.lax.scan(step, (x, kernel), length=3)[0]).lower(x, kernel).compile()
    assert set(re.findall(r"dim_labels=([\w>-]+)", str(program.as_text()))) == {"b01f_01io->b01f"}

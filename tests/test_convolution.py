"""facejax.kernels.conv_general_dilated beside jax.lax's: values, derivatives of every kind, and how it is compiled."""

import re
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.kernels import conv_general_dilated

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
    """Forward, backward, and forward over backward, of pictures and of kernels."""
    x, kernel = normal(0, 2, 9, 8, 3), normal(1, *window, 3, 4)
    changes = normal(2, *x.shape), normal(3, *kernel.shape)
    cost = lambda conv: lambda x, kernel: jnp.sum(conv(x, kernel, strides, padding) ** 3)  # noqa: E731
    slopes = lambda conv: jax.grad(cost(conv), (0, 1))  # noqa: E731
    for derivative in (cost, slopes):
        mine, true = (jax.jvp(derivative(conv), (x, kernel), changes) for conv in (conv_general_dilated, theirs))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9), mine, true)


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (0, 0), (2, 4)])
def test_batches_of_pictures_and_of_kernels(axes, float64):
    x, kernel = normal(0, 2, 6, 6, 3), normal(1, 3, 3, 3, 4)
    x = x if axes[0] is None else jnp.stack([x, 2 * x, x + 1], axes[0])
    kernel = kernel if axes[1] is None else jnp.stack([kernel, -kernel, kernel + 1], axes[1])

    def slopes(conv):
        some = jax.vmap(lambda x, kernel: conv(x, kernel, (2, 2), "SAME"), axes)
        return some(x, kernel), jax.grad(lambda x, kernel: jnp.sum(some(x, kernel) ** 2), (0, 1))(x, kernel)

    chex.assert_trees_all_close(slopes(conv_general_dilated), slopes(theirs), rtol=1e-7)


def test_a_gradient_for_each_of_a_batch(float64):
    x, kernel = normal(0, 3, 2, 6, 6, 3), normal(1, 3, 3, 3, 4)

    def slopes(conv):
        one = jax.grad(lambda x, kernel: jnp.sum(conv(x, kernel, (1, 1), "SAME") ** 2), (0, 1))
        return jax.vmap(one, (0, None))(x, kernel)

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


def test_gradients_in_a_loop_are_in_the_order_that_libraries_take():
    """XLA:CPU 0.10 and 0.11 leave the gradients of JAX's own convolution as they are inside of loops."""
    x, kernel = normal(0, 1, 8, 8, 4), normal(1, 3, 3, 4, 4)

    cost = lambda x, kernel: jnp.sum(conv_general_dilated(x, kernel, (1, 1), "SAME") ** 2)  # noqa: E731
    step = lambda at, _: (jax.tree.map(jnp.subtract, at, jax.grad(cost, (0, 1))(*at)), None)  # noqa: E731
    program = jax.jit(lambda x, kernel: jax.lax.scan(step, (x, kernel), length=3)[0]).lower(x, kernel).compile()
    assert set(re.findall(r"dim_labels=([\w>-]+)", str(program.as_text()))) == {"b01f_01io->b01f"}

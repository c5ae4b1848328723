"""The networks of the literature: sizes, heads, frozen normalisation, errors. Numbers against PyTorch are
in test_checkpoints_released.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_networks import random_network

from facejax.nets import (
    DEEP3D,
    TWODASL,
    MobileNetConfig,
    apply_mobilenet,
    apply_resnet,
    split_heads,
    to_bgr_input,
)
from facejax.nets.mobilenet import mobilenet_shapes
from facejax.nets.resnet import resnet_shapes

TINY = MobileNetConfig(widen=0.25, size=32)


def count(tree):
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def bottlenecks(blocks):
    """Parameters of ResNet-50's body, from the table of its paper."""
    total, inputs = 0, 64
    for stage, number in enumerate(blocks):
        width = 64 * 2**stage
        for block in range(number):
            total += inputs * width + 9 * width**2 + 4 * width**2 + 2 * (width + width + 4 * width)
            total += (inputs * 4 * width + 8 * width) if block == 0 else 0
            inputs = 4 * width
    return total


@pytest.mark.parametrize(("config", "outputs"), [(TWODASL, 62), (DEEP3D, 257)])
def test_resnet_has_the_parameters_of_the_paper(config, outputs):
    stem = 49 * config.channels * 64 + 128
    shapes = resnet_shapes(config)
    assert count(shapes.params) == stem + bottlenecks((3, 4, 6, 3)) + 2049 * outputs
    images = jax.ShapeDtypeStruct((2, config.size, config.size, config.channels), jnp.float32)
    assert jax.eval_shape(lambda n, x: apply_resnet(config, n, x), shapes, images).shape == (2, outputs)


def test_mobilenet_has_the_parameters_3ddfa_v2_states():
    assert round(count(mobilenet_shapes(MobileNetConfig()).params) / 1e6, 2) == 3.27
    assert round(count(mobilenet_shapes(MobileNetConfig(widen=0.5)).params) / 1e6, 2) == 0.85


def test_frozen_normalisation_keeps_pictures_apart():
    network = random_network(mobilenet_shapes(TINY))
    images = jax.random.uniform(jax.random.key(1), (3, 32, 32, 3))
    apply = jax.jit(apply_mobilenet, static_argnums=0)
    batch, alone = apply(TINY, network, images), apply(TINY, network, images[:1])
    scale = np.abs(batch).max()
    np.testing.assert_allclose(batch[:1], alone, atol=1e-5 * scale)
    assert np.abs(batch[0] - batch[1]).max() > 1e-2 * scale


def test_the_windowed_pooling_sees_the_first_seven_cells_only():
    """2DASL's map of 8 x 8 cells loses its last row and column, as PyTorch's 7 x 7 pooling of stride 2 does."""
    from facejax.nets.resnet import _pool

    cells = jnp.zeros((1, 8, 8, 2)).at[0, 7, :, 0].set(1.0).at[0, 6, 6, 1].set(49.0)
    np.testing.assert_allclose(_pool(cells, TWODASL), [[0.0, 1.0]], rtol=1e-6)
    with pytest.raises(ValueError, match="14 x 14 cells for a window of 7: pass pictures of 120 px"):
        _pool(jnp.zeros((1, 14, 14, 2)), TWODASL)


def test_pictures_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"shape \(1, 120, 120, 3\): this network takes \(N, H, W, 4\)"):
        apply_resnet(TWODASL, resnet_shapes(TWODASL), jnp.zeros((1, 120, 120, 3)))


def test_outputs_split_by_name():
    blocks = split_heads(DEEP3D.heads, jnp.arange(2 * 257.0).reshape(2, 257))
    assert {name: value.shape[1] for name, value in blocks.items()} == dict(DEEP3D.heads)
    assert blocks["angles"][0].tolist() == [224, 225, 226] and blocks["translation"][1, -1] == 513
    with pytest.raises(ValueError, match="62 outputs, but heads of 257"):
        split_heads(DEEP3D.heads, jnp.zeros((2, 62)))


def test_3ddfa_input_is_bgr_around_zero():
    pixel = to_bgr_input(jnp.asarray([[[1.0, 0.5, 0.0]]]))[0, 0]
    np.testing.assert_allclose(pixel, [-127.5 / 128, 0, 127.5 / 128], atol=1e-7)

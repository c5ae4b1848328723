"""The networks of the literature: sizes, heads, frozen and trained normalisation, errors. Numbers against PyTorch are
in test_checkpoints_released.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.nets import (
    DEEP3D,
    TWODASL,
    MobileNetConfig,
    ResNetConfig,
    apply_mobilenet,
    apply_resnet,
    init_mobilenet,
    init_resnet,
    split_heads,
    to_bgr_input,
    train_mobilenet,
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


def test_heads_that_start_at_zero_give_zero_and_learn():
    config = ResNetConfig(size=32, heads=(("identity", 5), ("angles", 3)), zero_heads=True, blocks=(1, 1, 1, 1))
    network = init_resnet(config, jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))

    def loss(heads):
        outputs = apply_resnet(config, network._replace(params=network.params | {"heads": heads}), images)
        return jnp.sum((outputs - 1) ** 2), outputs

    grads, outputs = jax.jit(jax.grad(loss, has_aux=True))(network.params["heads"])
    assert outputs.shape == (2, 8) and not np.any(outputs)
    assert np.all(np.asarray(grads["angles"]["bias"]) == -4) and np.any(grads["identity"]["kernel"] != 0)


def test_start_values_keep_the_scale_and_differ_between_keys():
    network = init_mobilenet(TINY, jax.random.key(0))
    kernel = np.asarray(network.params["dw5_1"]["pointwise"]["conv"]["kernel"])
    assert abs(kernel.std() / np.sqrt(2 / 128) - 1) < 0.03
    assert not np.array_equal(kernel, network.params["dw5_2"]["pointwise"]["conv"]["kernel"])
    other = init_mobilenet(TINY, jax.random.key(1)).params["dw5_1"]["pointwise"]["conv"]["kernel"]
    assert abs(np.corrcoef(kernel.ravel(), np.asarray(other).ravel())[0, 1]) < 0.05
    assert all(np.all(leaf == 1) for leaf in jax.tree.leaves(network.statistics["conv1"]["norm"]["var"]))


def test_frozen_normalisation_keeps_pictures_apart_and_training_does_not():
    network = init_mobilenet(TINY, jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (3, 32, 32, 3))
    # Averages as after training on these pictures, so that the frozen network tells them apart.
    _, statistics = jax.jit(train_mobilenet, static_argnums=0)(TINY, network, images)
    moved = jax.tree.map(lambda new, old: old + 10 * (new - old), statistics, network.statistics)
    network = network._replace(statistics=moved)
    apply = jax.jit(apply_mobilenet, static_argnums=0)
    batch, alone = apply(TINY, network, images), apply(TINY, network, images[:1])
    scale = np.abs(batch).max()
    np.testing.assert_allclose(batch[:1], alone, atol=1e-5 * scale)
    assert np.abs(batch[0] - batch[1]).max() > 1e-2 * scale
    train = jax.jit(train_mobilenet, static_argnums=0)
    outputs = train(TINY, network, images)[0]
    assert np.abs(outputs[:1] - train(TINY, network, images[:1])[0]).max() > 1e-2 * np.abs(outputs).max()


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

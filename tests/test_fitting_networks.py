"""Networks that a fit compares pictures through: what they see and what they answer, with tiny random weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_networks import random_network

from facejax import checkpoints, nets
from facejax.fitting import networks
from facejax.images.align import ARCFACE_POINTS
from facejax.nets.iresnet import iresnet_shapes
from facejax.nets.vgg16 import vgg16_shapes

VGG = nets.VGG16Config(widths=(3, 4, 4, 4, 4), depths=(1, 1, 1, 1, 1))
IRESNET = nets.IResNetConfig(blocks=(1, 1, 1, 1), width=4, size=32, features=6)
ENCODER = nets.EncoderConfig(outputs=3, size=32, widths=(4, 4, 8), blocks=(0, 1, 0), hidden=8, code=2)


def lpips():
    return networks.lpips_network(checkpoints.Released(random_network(vgg16_shapes(VGG)), None, VGG))


def arcface():
    return networks.arcface_network(checkpoints.Released(random_network(iresnet_shapes(IRESNET)), None, IRESNET))


def encoder():
    return networks.encoder_network(ENCODER, nets.init_encoder(ENCODER, jax.random.key(0)))


def landmarks():
    points = np.zeros((68, 2), "f4")
    for places, target in zip(([36, 39], [42, 45], [30], [48], [54]), ARCFACE_POINTS, strict=True):
        points[places] = np.array(target) * 32 / 112
    return jnp.asarray(points)


@jax.jit
def distance(network, image, photo, points, mask):
    seen = [network.apply(network.weights, picture, points) for picture in (image, photo)]
    return network.compare(*seen, mask)


@pytest.mark.parametrize("build", [lpips, arcface, encoder])
def test_a_network_tells_pictures_apart_and_pulls_them_together(build):
    """Zero for the same picture; a step against the gradient brings another one nearer.

    The weights are arguments of the compiled program, so another object of the same network makes no new one.
    """
    network = build()
    photo, image = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    mask = jnp.ones((32, 32))
    assert abs(float(distance(network, photo, photo, landmarks(), mask))) < 1e-5
    before, gradient = jax.value_and_grad(distance, 1)(network, image, photo, landmarks(), mask)
    step = 0.02 / float(jnp.abs(gradient).max())
    after = distance(network, image - step * gradient, photo, landmarks(), mask)
    assert 0 < after < before
    again = jax.tree.unflatten(jax.tree.structure(build()), jax.tree.leaves(network))
    compiled = distance._cache_size()  # type: ignore[attr-defined]
    np.testing.assert_allclose(distance(again, image, photo, landmarks(), mask), before, rtol=1e-5)
    assert distance._cache_size() == compiled  # type: ignore[attr-defined]


def test_arcface_sees_the_aligned_face():
    """Landmarks that lie where they shall: the crop is the picture."""
    network, image = arcface(), jax.random.uniform(jax.random.key(2), (32, 32, 3))
    expected = nets.apply_iresnet(IRESNET, network.weights.network, image[None])[0]
    np.testing.assert_allclose(network.apply(network.weights, image, landmarks()), expected, atol=1e-4)


def test_networks_are_not_mixed_up():
    released = checkpoints.Released(nets.Network({}, {}), None, VGG)
    with pytest.raises(ValueError, match=r"another network's: give what facejax.checkpoints.import_arcface returns"):
        networks.arcface_network(released)
    with pytest.raises(ValueError, match="import_lpips"):
        networks.lpips_network(checkpoints.Released(nets.Network({}, {}), None, IRESNET))

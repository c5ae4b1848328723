"""The networks that losses look through: sizes, inputs, masks, peaks, errors. Numbers against PyTorch are in
test_checkpoints_loss_networks.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_networks import random_network

from facejax import nets
from facejax.nets import bisenet, dpr_light
from facejax.nets.encoder import GAIN
from facejax.nets.vgg16 import vgg16_shapes

VGG = nets.VGG16Config(widths=(3, 4, 4, 4, 4), depths=(1, 1, 1, 1, 1))
NOTHING = nets.Network({}, {})


# --- LPIPS ------------------------------------------------------------------------------------------------------------


def test_lpips_features_are_finite_where_nothing_is_seen():
    """All maps zero: PyTorch's form has no gradient there, this one has zero."""
    network = jax.tree.map(jnp.zeros_like, random_network(vgg16_shapes(VGG)))
    images = jnp.full((1, 32, 32, 3), 0.5)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(nets.lpips_features(VGG, network, x))))(images)
    assert np.all(np.asarray(gradient) == 0)


def test_pictures_above_256_px_are_looked_at_smaller():
    network = random_network(vgg16_shapes(VGG))
    shapes = [
        jax.eval_shape(lambda x: nets.lpips_features(VGG, network, x), jax.ShapeDtypeStruct((1, side, side, 3), "f4"))
        for side in (256, 400)
    ]
    assert shapes[0].shape == shapes[1].shape == (1, 256**2 * 3 + 4 * (128**2 + 64**2 + 32**2 + 16**2))


# --- sizes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: nets.apply_vgg16(VGG, NOTHING, jnp.zeros((1, 32, 32, 1))), r"takes \(N, H, W, 3\)"),
        (lambda: nets.apply_iresnet(nets.IResNetConfig(), NOTHING, jnp.zeros((1, 96, 96, 3))), "takes 112: align them"),
        (lambda: nets.apply_bisenet(nets.BiSeNetConfig(), NOTHING, jnp.zeros((1, 500, 512, 3))), "multiples of 32"),
        (lambda: nets.apply_dpr(nets.DPRConfig(), NOTHING, jnp.zeros((1, 500, 512, 3))), "multiples of 16"),
        (lambda: nets.apply_fan(nets.FANConfig(), NOTHING, jnp.zeros((1, 224, 224, 3))), "multiples of 64"),
        (lambda: nets.encoder_features(nets.EncoderConfig(), {}, jnp.zeros((1, 100, 96, 3))), "multiples of 16"),
    ],
)
def test_pictures_that_do_not_fit_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- parsing ----------------------------------------------------------------------------------------------------------


def test_the_face_mask_is_skin_brows_nose_and_lips():
    labels = jnp.arange(19).reshape(1, 19)
    found = np.asarray(nets.parts_mask(labels))[0]
    assert np.flatnonzero(found).tolist() == [1, 2, 3, 10, 12, 13]  # of face-parsing.PyTorch's numbers
    assert np.flatnonzero(nets.parts_mask(labels, ("hair", "hat"))).tolist() == [17, 18]
    with pytest.raises(ValueError, match=r"no part 'beard' of the face: there are background, skin"):
        nets.parts_mask(labels, ("beard",))


def test_parsing_gives_a_class_for_each_pixel_of_any_size(monkeypatch):
    """A network in whose place the red of a pixel says the class: resizing there and back keeps the halves."""
    config = nets.BiSeNetConfig(classes=2, width=4, size=64)
    logits = lambda config, network, x: jnp.stack([1 - x[..., 0], x[..., 0]], axis=-1)  # noqa: E731
    monkeypatch.setattr(bisenet, "apply_bisenet", logits)
    image = jnp.zeros((1, 20, 30, 3)).at[:, :, 15:].set(1.0)
    labels = nets.parse_faces(config, nets.Network({}, {}), image)
    np.testing.assert_array_equal(labels, image[..., 0].astype(int))


def test_corners_stay_in_place_when_logits_are_resized():
    ramp = jnp.arange(4.0)[None, :, None, None] * jnp.ones((1, 4, 3, 1))
    found = bisenet._resize_corners(ramp, (7, 5))
    np.testing.assert_allclose(found[0, :, 2, 0], np.arange(7) / 2, atol=1e-6)


# --- light ------------------------------------------------------------------------------------------------------------


def test_lightness_of_known_colours():
    """CIE's own: a luminance of 0.184 has L* 50, sRGB's primaries 53.24, 87.73, 32.30; dark ones are linear."""
    grey = 1.055 * 0.184186 ** (1 / 2.4) - 0.055
    colours = jnp.array([[1.0, 1, 1], [grey] * 3, [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0], [0.02] * 3])
    expected = [100, 50, 53.24, 87.73, 32.30, 0, 903.3 * 0.02 / 12.92]
    np.testing.assert_allclose(100 * dpr_light.lightness(colours), expected, atol=0.03)


def test_lightness_is_opencvs():
    import cv2

    image = np.random.default_rng(0).uniform(size=(5, 7, 3)).astype("f4")
    expected = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)[..., 0] / 100
    np.testing.assert_allclose(dpr_light.lightness(jnp.asarray(image)), expected, atol=2e-3)  # OpenCV's table is coarse
    gradient = jax.grad(lambda x: jnp.sum(dpr_light.lightness(x)))(jnp.zeros((2, 3)))
    assert np.all(np.isfinite(gradient))


# --- landmarks --------------------------------------------------------------------------------------------------------


def test_peaks_move_towards_the_higher_neighbour():
    """Cells of 4 px: the peak of row 2, column 5 has its centre at (22, 10), a quarter of a cell is one pixel."""
    maps = np.zeros((1, 8, 8, 3), "f4")
    maps[0, 2, 5] = 1.0
    maps[0, 2, 4, 0], maps[0, 3, 5, 0] = 0.5, 0.5  # left, below
    maps[0, 2, 6, 1] = 0.5  # right
    maps[0, :, :, 2] = 0
    maps[0, 0, 3, 2] = 2.0  # at the border: stays in the middle of its cell
    found = jax.jit(nets.heatmap_landmarks)(jnp.asarray(maps))
    np.testing.assert_allclose(found.landmarks[0], [[21, 11], [23, 10], [14, 2]])
    np.testing.assert_allclose(found.peaks[0], [1, 1, 2])


# --- the project's own ------------------------------------------------------------------------------------------------


def test_encoder_features_are_those_that_the_encoder_goes_through():
    """The last map, summarised by the encoder's own layers, gives the encoder's features; larger pictures work."""
    config = nets.EncoderConfig(outputs=3, size=32, widths=(4, 4, 8), blocks=(0, 1, 1), hidden=8, code=2)
    params = nets.init_encoder(config, jax.random.key(0))
    images = jax.random.uniform(jax.random.key(1), (2, 32, 32, 3))
    maps = jax.jit(nets.encoder_features, static_argnums=0)(config, params, images)
    assert [m.shape for m in maps] == [(2, 8, 8, 4), (2, 4, 4, 4), (2, 2, 2, 8)]

    def unit(layer):  # standardised weights, as the paper has them
        w = np.asarray(layer["kernel"])
        fan_in = w[..., 0].size
        w = (w - w.mean((0, 1, 2))) * np.asarray(layer["gain"]) / np.sqrt(w.var((0, 1, 2)) * fan_in + 1e-4)
        return w[0, 0], np.asarray(layer["bias"])

    weight, bias = unit(params["code"])
    code = np.maximum(np.asarray(maps[2]) @ weight + bias, 0).reshape(2, -1)
    summary = code @ np.asarray(params["summary"]["kernel"]) + np.asarray(params["summary"]["bias"])
    expected = np.maximum(summary, 0) * GAIN
    found = jax.jit(nets.apply_encoder, static_argnums=0)(config, params, images).features
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    larger = jax.eval_shape(lambda x: nets.encoder_features(config, params, x), jnp.zeros((1, 64, 48, 3)))
    assert [m.shape[1:3] for m in larger] == [(16, 12), (8, 6), (4, 3)]

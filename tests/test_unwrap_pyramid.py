"""Blending by Laplacian pyramids, against OpenCV's pyramids and what must hold for any pyramid."""

from itertools import pairwise

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from facejax.unwrap.pyramid import collapse, double, gaussian_pyramid, halve, laplacian_pyramid, pyramid_blend

blend = jax.jit(pyramid_blend, static_argnames="levels")
bands_of = jax.jit(laplacian_pyramid, static_argnames="levels")


def image(seed=0, height=64, width=96):
    return np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)


def test_halving_is_opencvs():
    np.testing.assert_allclose(halve(jnp.asarray(image())), cv2.pyrDown(image()), atol=1e-6)


def test_doubling_is_opencvs():
    np.testing.assert_allclose(double(jnp.asarray(image())), cv2.pyrUp(image()), atol=1e-6)


def test_the_bands_give_the_image_back():
    bands = bands_of(jnp.asarray(image()), 5)
    assert [band.shape[:2] for band in bands] == [(64 >> k, 96 >> k) for k in range(6)]
    np.testing.assert_allclose(jax.jit(collapse)(bands), image(), atol=1e-6)


def test_a_constant_lives_in_the_last_band_only():
    bands = bands_of(jnp.full((64, 64, 3), 0.7), 5)
    assert all(float(jnp.abs(band).max()) < 1e-6 for band in bands[:-1])
    np.testing.assert_allclose(bands[-1], 0.7, atol=1e-6)


def textbook(first, second, mask, levels):
    """Two pyramids, each with its weights, made and put together with OpenCV."""

    def bands(image):
        fine = [image]
        for _ in range(levels):
            fine.append(cv2.pyrDown(fine[-1]))
        return [a - cv2.pyrUp(b) for a, b in pairwise(fine)] + fine[-1:]

    weights = [mask]
    for _ in range(levels):
        weights.append(cv2.pyrDown(weights[-1]))
    mixed = [
        (1 - m[..., None]) * a + m[..., None] * b for a, b, m in zip(bands(first), bands(second), weights, strict=True)
    ]
    result = mixed[-1]
    for band in mixed[-2::-1]:
        result = cv2.pyrUp(result) + band
    return result


@pytest.mark.parametrize("levels", [1, 3, 5])
def test_blending_is_the_textbooks_of_two_pyramids(levels):
    first, second = image(0).astype(np.float64), image(1).astype(np.float64)
    mask = np.zeros((64, 96))
    mask[20:50, 30:70] = 1
    got = blend(*(jnp.asarray(x, jnp.float32) for x in (first, second, mask)), levels=levels)
    np.testing.assert_allclose(got, textbook(first, second, mask, levels), atol=2e-6)


def test_a_mask_of_zeros_or_ones_takes_one_map():
    first, second = jnp.asarray(image(0)), jnp.asarray(image(1))
    np.testing.assert_array_equal(blend(first, second, jnp.zeros((64, 96))), first)
    np.testing.assert_allclose(blend(first, second, jnp.ones((64, 96))), second, atol=1e-6)


def test_far_from_the_edge_each_map_is_itself():
    first, second = image(0, 32, 256), image(1, 32, 256)
    mask = np.zeros((32, 256), np.float32)
    mask[:, 128:] = 1
    got = np.asarray(blend(*map(jnp.asarray, (first, second, mask)), levels=3))
    np.testing.assert_allclose(got[:, :96], first[:, :96], atol=1e-6)
    np.testing.assert_allclose(got[:, 160:], second[:, 160:], atol=1e-6)


def test_a_step_of_brightness_becomes_a_slope():
    mask = np.zeros((64, 256), np.float32)
    mask[:, 128:] = 1
    row = np.asarray(blend(jnp.zeros((64, 256, 3)), jnp.ones((64, 256, 3)), jnp.asarray(mask)))[32, :, 0]
    assert np.abs(np.diff(row)).max() < 0.05  # the step was 1
    assert row[60] < 0.05 and row[200] > 0.95


@pytest.mark.parametrize("shape", [(48, 64), (64, 33)])
def test_sides_that_cannot_be_halved_are_refused(shape):
    with pytest.raises(ValueError, match="divisible by 32"):
        pyramid_blend(jnp.zeros((*shape, 3)), jnp.zeros((*shape, 3)), jnp.zeros(shape))


def test_the_smallest_maps_blend():
    assert blend(jnp.zeros((32, 32, 3)), jnp.ones((32, 32, 3)), jnp.ones((32, 32))).shape == (32, 32, 3)
    assert gaussian_pyramid(jnp.ones((32, 32, 1)), 5)[-1].shape == (1, 1, 1)


def test_a_batch_equals_its_members():
    first, second = np.stack([image(0), image(1)]), np.stack([image(2), image(3)])
    masks = (np.random.default_rng(4).random((2, 64, 96)) > 0.5).astype(np.float32)
    batch = jax.jit(jax.vmap(pyramid_blend))(first, second, masks)
    for got, *one in zip(batch, first, second, masks, strict=True):
        np.testing.assert_allclose(got, blend(*map(jnp.asarray, one)), atol=1e-6)


def test_gradients_are_right(float64):
    first, second, mask = (
        jnp.asarray(x, jnp.float64) for x in (image(0, 8, 8), image(1, 8, 8), image(2, 8, 8)[..., 0])
    )
    check_grads(jax.jit(lambda *xs: pyramid_blend(*xs, levels=2)), (first, second, mask), 1, ["rev"], 1e-5, 1e-5)

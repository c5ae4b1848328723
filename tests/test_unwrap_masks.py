"""Erosion, blur and soft weights of masks, against OpenCV and scipy."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from facejax.unwrap.masks import box_blur, dilate, erode, scaled_kernel, soft_weight


def random_mask(seed=0, shape=(37, 50)):
    return np.random.default_rng(seed).random(shape).astype(np.float32)


def box(size, top, bottom, left, right):
    mask = np.zeros((size, size), np.float32)
    mask[top:bottom, left:right] = 1
    return jnp.asarray(mask)


@pytest.mark.parametrize("kernel", [1, 3, 5, 11])
def test_erosion_and_dilation_are_opencvs(kernel):
    mask, square = random_mask(), np.ones((kernel, kernel), np.uint8)
    np.testing.assert_array_equal(erode(jnp.asarray(mask), kernel), cv2.erode(mask, square))
    np.testing.assert_array_equal(dilate(jnp.asarray(mask), kernel), cv2.dilate(mask, square))


@pytest.mark.parametrize("kernel", [1, 3, 9, 31])
def test_the_blur_is_opencvs(kernel):
    mask = random_mask()
    np.testing.assert_allclose(
        box_blur(jnp.asarray(mask), kernel), cv2.boxFilter(mask, -1, (kernel, kernel)), atol=2e-6
    )


def test_the_blur_is_scipys():
    mask = random_mask()
    want = scipy.ndimage.uniform_filter(mask.astype(np.float64), 7, mode="mirror")
    np.testing.assert_allclose(box_blur(jnp.asarray(mask), 7), want, atol=1e-6)


def test_where_a_blurred_mask_is_one_it_is_eroded():
    mask = scipy.ndimage.binary_opening(random_mask() > 0.3, np.ones((3, 3))).astype(np.float32)
    blurred = cv2.blur(mask.astype(np.float64), (3, 3))
    np.testing.assert_array_equal(erode(jnp.asarray(mask), 3), blurred > 1 - 1e-9)


@pytest.mark.parametrize("operation", [erode, dilate, box_blur])
@pytest.mark.parametrize("kernel", [0, 4, -3])
def test_a_kernel_without_a_centre_is_refused(operation, kernel):
    with pytest.raises(ValueError, match="odd"):
        operation(jnp.zeros((8, 8)), kernel)


def test_a_blur_wider_than_the_map_is_refused():
    with pytest.raises(ValueError, match="smaller kernel"):
        box_blur(jnp.zeros((8, 8)), 17)


def test_kernels_scale_with_the_map_and_stay_odd():
    assert [scaled_kernel(51, size) for size in (256, 512, 1024, 2048, 4096)] == [13, 25, 51, 101, 205]
    assert [scaled_kernel(3, size) for size in (256, 1024)] == [1, 3]
    assert scaled_kernel(3, 256, least=3) == 3
    for texels in range(1, 60):
        for size in (64, 512, 1000, 1024, 4096):
            kernel = scaled_kernel(texels, size)
            assert kernel % 2 == 1 and (kernel == 1 or abs(kernel - texels * size / 1024) <= 1)


def paper_weight(mask, major, minor, mouth):
    """The steps with OpenCV, at 1024 texels."""

    def eroded(image, kernel):
        return (cv2.blur(image, (kernel, kernel)) > 1 - 1e-9).astype(np.float64)

    mask, major, minor = (np.asarray(x, np.float64) for x in (mask, major, minor))
    at_mouth = eroded(eroded(mask, 3), 5)
    inside = np.where(mouth > 0.5, at_mouth, eroded(at_mouth, 9))
    weight = 0.8 * cv2.blur(minor, (51, 51)) * minor
    weight[major > 0] = 1
    weight = cv2.blur(weight, (31, 31)) * inside
    return cv2.blur(weight, (21, 21)) * mask


def test_soft_weights_are_the_papers_at_1024():
    mask, minor, major = box(1024, 200, 800, 150, 900), box(1024, 150, 700, 100, 820), box(1024, 300, 650, 300, 700)
    mask = mask.at[500:560, 400:600].set(0)
    mouth = box(1024, 480, 580, 380, 620)
    got = jax.jit(soft_weight)(mask, major, minor, mouth=mouth)
    np.testing.assert_allclose(got, paper_weight(mask, major, minor, np.asarray(mouth)), atol=1e-5)


def test_soft_weights_are_one_where_the_view_is_best_and_zero_outside_its_mask():
    mask, minor, major = box(256, 30, 200, 30, 200), box(256, 30, 220, 30, 180), box(256, 60, 150, 60, 120)
    weight = np.asarray(soft_weight(mask, major, minor))
    assert (weight[np.asarray(mask) == 0] == 0).all()
    assert weight.min() >= 0 and weight.max() <= 1 + 1e-6
    np.testing.assert_allclose(weight[80:130, 80:100], 1, atol=1e-5)
    assert weight[100, 150] == pytest.approx(0.8, abs=1e-5)  # minor, far from any edge


def test_a_view_that_shows_nothing_weighs_nothing():
    weight = soft_weight(jnp.zeros((256, 256)), jnp.ones((256, 256)), jnp.ones((256, 256)))
    assert (np.asarray(weight) == 0).all()


def test_a_batch_of_masks_equals_its_members():
    masks = jnp.asarray(random_mask(3, (3, 64, 64)) > 0.2, jnp.float32)
    major, minor = masks * 0.0 + 1.0, masks * 0.0 + 1.0
    batch = jax.jit(jax.vmap(soft_weight))(masks, major, minor)
    for got, *one in zip(batch, masks, major, minor, strict=True):
        np.testing.assert_allclose(got, soft_weight(*one), atol=1e-6)

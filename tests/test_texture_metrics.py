"""The metrics of a texture set on maps whose answer is known."""

import jax.numpy as jnp
import numpy as np
import pytest

from facejax.texture.metrics import brightness_symmetry_error, identity_spread


def halves(left, right, size=8):
    image = np.zeros((size, size, 3), np.float32)
    image[:, : size // 2], image[:, size // 2 :] = left, right
    return jnp.asarray(image)


def test_a_map_that_equals_its_mirror_image_has_no_error():
    image = np.random.default_rng(0).random((16, 16, 3), np.float32)
    assert brightness_symmetry_error(jnp.asarray(image + image[:, ::-1]) / 2, kernel=5) == pytest.approx(0, abs=1e-4)


def test_without_blur_the_error_is_the_mean_difference_in_luma():
    # 0.2 against 0.6 of red alone: 255 * 0.299 * 0.4 at every texel.
    image = halves([0.2, 0.5, 0.5], [0.6, 0.5, 0.5])
    assert brightness_symmetry_error(image, kernel=1) == pytest.approx(255 * 0.299 * 0.4, rel=1e-5)


def test_one_bright_texel_counts_twice_in_the_mean():
    image = np.zeros((4, 4, 3), np.float32)
    image[1, 0] = 1.0  # differs at its own place and at its mirror image's
    assert brightness_symmetry_error(jnp.asarray(image), kernel=1) == pytest.approx(2 * 255 / 16, rel=1e-6)


def test_where_leaves_texels_out_on_both_sides():
    image = np.zeros((4, 4, 3), np.float32)
    image[1, 0] = 1.0
    where = np.ones((4, 4), bool)
    where[1, 3] = False
    assert brightness_symmetry_error(jnp.asarray(image), kernel=1, where=jnp.asarray(where)) == 0
    assert brightness_symmetry_error(jnp.asarray(image), kernel=1, where=jnp.zeros((4, 4), bool)) == 0


def test_the_blur_is_opencvs():
    cv2 = pytest.importorskip("cv2")
    image = np.random.default_rng(1).random((70, 64, 3)).astype(np.float32)
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2YUV)[..., 0] * 255
    blurred = cv2.GaussianBlur(luma, (55, 55), 0)
    want = np.abs(blurred - blurred[:, ::-1]).mean()
    assert brightness_symmetry_error(jnp.asarray(image)) == pytest.approx(want, rel=1e-3)


def test_an_even_or_too_large_kernel_is_refused():
    for kernel in (4, 17):
        with pytest.raises(ValueError, match="kernel"):
            brightness_symmetry_error(halves(0.0, 1.0), kernel=kernel)


def test_identity_spread_is_the_mean_of_the_deviations():
    # Deviations 1, 0 and 3: their mean is 4/3.
    vectors = jnp.array([[1.0, 5.0, 0.0], [3.0, 5.0, 6.0]])
    assert identity_spread(vectors) == pytest.approx(4 / 3)
    assert identity_spread(vectors + 7.0) == pytest.approx(4 / 3)
    assert identity_spread(2.0 * vectors) == pytest.approx(8 / 3)

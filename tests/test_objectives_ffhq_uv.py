"""FFHQ-UV's terms, and the comparison of maps, by hand and in plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives_tools import check_batch, check_gradient

from facejax import objectives as ob


def test_absolute_photometric_adds_channels_and_weighs_pixels():
    rendered = jnp.array([[[0.5, 0.5, 0.5], [1.0, 0.0, 0.0]]])
    image = jnp.array([[[0.4, 0.7, 0.5], [0.0, 0.0, 0.5]]])
    found = ob.absolute_photometric(rendered, image, jnp.array([[1.0, 0.5]]))
    np.testing.assert_allclose(found, (0.3 * 1 + 1.5 * 0.5) / 1.5, rtol=1e-6)
    assert ob.absolute_photometric(rendered, image, jnp.zeros((1, 2))) == 0  # no face: no error, and no division by 0


def test_absolute_photometric_has_the_gradient_of_its_differences(float64):
    rng = np.random.default_rng(0)
    rendered, image, mask = rng.uniform(size=(3, 4, 3)), rng.uniform(size=(3, 4, 3)), rng.uniform(size=(3, 4))
    check_gradient(lambda r: ob.absolute_photometric(r, jnp.asarray(image), jnp.asarray(mask)), rendered)
    check_batch(ob.absolute_photometric, *(jnp.stack([a, 0.9 * a]) for a in (rendered, image, mask)))


def test_lpips_distance_is_the_sum_of_squares(float64):
    a, b = np.array([1.0, 2.0, -1.0]), np.array([0.0, 2.0, 1.0])
    assert ob.lpips_distance(jnp.asarray(a), jnp.asarray(b)) == 5
    check_gradient(lambda x: ob.lpips_distance(x, jnp.asarray(b)), a)


# --- latents ----------------------------------------------------------------------------------------------------------


def test_geodesic_cross_of_right_angles():
    """Two of four ordered pairs are 90 degrees apart: the mean square is pi^2 / 8, times 512 / 8."""
    np.testing.assert_allclose(ob.geodesic_cross(jnp.eye(2)), (np.pi / 2) ** 2 / 2 * 64, rtol=1e-6)
    opposite = jnp.array([[0.0, 2.0], [0.0, -2.0]])
    np.testing.assert_allclose(ob.geodesic_cross(opposite), np.pi**2 / 2 * 64, rtol=1e-4)
    assert ob.geodesic_cross(jnp.ones((5, 3))) < 1e-6


def test_geodesic_cross_is_the_mean_over_pairs_of_squared_angles(float64):
    """Against arccos, which holds for vectors of one length; the code's form goes on for others."""
    latents = np.random.default_rng(0).normal(size=(4, 6))
    latents /= np.linalg.norm(latents, axis=1, keepdims=True)
    total = 0.0
    for x in latents:
        for y in latents:
            total += np.arccos(np.clip(x @ y, -1, 1)) ** 2
    np.testing.assert_allclose(ob.geodesic_cross(jnp.asarray(latents)), total / 16 * 512 / 8, rtol=1e-5)
    check_gradient(ob.geodesic_cross, latents, tolerance=1e-5)
    check_batch(ob.geodesic_cross, jnp.asarray(np.stack([latents, latents[::-1] * 2])))


def test_geodesic_cross_of_the_published_size_matches_its_definition():
    """StyleGAN2's 18 x 512 with lengths that differ: 2 atan2 of the two lengths, pair by pair."""
    latents = np.random.default_rng(1).normal(size=(18, 512)) * np.linspace(0.5, 2, 18)[:, None]
    angles = [
        2 * np.arctan2(np.sqrt(((x - y) ** 2).sum() + 1e-9), np.sqrt(((x + y) ** 2).sum() + 1e-9))
        for x in latents
        for y in latents
    ]
    found = ob.geodesic_cross(jnp.asarray(latents, jnp.float32))
    np.testing.assert_allclose(found, np.mean(np.square(angles)) * 512 / 8, rtol=1e-5)


# --- maps of any network ----------------------------------------------------------------------------------------------


def test_feature_distance_compares_directions_where_the_mask_is():
    """One map of 1 x 2 cells: the first cells at right angles (squared distance 2), the second ones alike."""
    a = jnp.array([[[3.0, 0.0], [0.0, 5.0]]])
    b = jnp.array([[[0.0, 0.1], [0.0, 2.0]]])
    whole, first, second = jnp.ones((2, 4)), jnp.ones((2, 4)).at[:, 2:].set(0), jnp.ones((2, 4)).at[:, :2].set(0)
    np.testing.assert_allclose(ob.feature_distance([a], [b], whole), 1.0, rtol=1e-6)
    np.testing.assert_allclose(ob.feature_distance([a], [b], first), 2.0, rtol=1e-6)
    np.testing.assert_allclose(ob.feature_distance([a], [b], second), 0.0, atol=1e-6)
    np.testing.assert_allclose(ob.feature_distance([a, a], [b, a], whole), 0.5, rtol=1e-6)  # the mean over maps
    half = whole.at[0, :2].set(0)  # half of the first cell: it weighs half
    np.testing.assert_allclose(ob.feature_distance([a], [b], half), 2.0 * 0.5 / 1.5, rtol=1e-6)
    with pytest.raises(ValueError, match=r"mask of \(3, 4\) for maps of \(1, 3\)"):
        ob.feature_distance([jnp.ones((1, 3, 2))], [jnp.ones((1, 3, 2))], jnp.ones((3, 4)))


def test_feature_distance_has_finite_gradients_everywhere(float64):
    rng = np.random.default_rng(2)
    a, b, mask = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4)), jnp.asarray(rng.uniform(size=(4, 6)))
    check_gradient(lambda x: ob.feature_distance([x], [jnp.asarray(b)], mask), a)
    check_batch(lambda x, y: ob.feature_distance([x], [y], mask), jnp.stack([a, b]), jnp.stack([b, a + 0.1]))
    nothing = jax.grad(lambda x: ob.feature_distance([x], [jnp.asarray(b)], mask))(jnp.zeros_like(a))
    assert np.all(np.asarray(nothing) == 0)

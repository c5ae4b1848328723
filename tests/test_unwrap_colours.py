"""Colours of one map brought to another's, against OpenCV and statistics in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from facejax.unwrap.colours import match_colours

matched = jax.jit(match_colours, static_argnames="omega")


def maps(seed, size=24):
    """Colours in the middle of the range, so that nothing clips."""
    values = np.random.default_rng(seed).uniform(0.4, 0.6, (size, size, 3))
    return values.astype(np.float32)


def soft_mask(seed, size=24):
    return np.random.default_rng(seed).uniform(0, 1, (size, size)).astype(np.float32)


def in_float64(source, target, source_mask, target_mask, omega=1.5):
    """The formula with numpy's weighted statistics and the matrix of BT.601."""
    matrix = np.array([[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]])
    result = np.empty(source.shape)
    for channel in range(3):
        a, b = (image.astype(np.float64) @ matrix[channel] for image in (source, target))
        mean_a, mean_b = np.average(a, weights=source_mask), np.average(b, weights=target_mask)
        sigma_a = np.sqrt(np.average((a - mean_a) ** 2, weights=source_mask))
        sigma_b = np.sqrt(np.average((b - mean_b) ** 2, weights=target_mask))
        result[..., channel] = (a - mean_a) / (omega * sigma_a) * sigma_b + mean_b
    return np.clip(result @ np.linalg.inv(matrix).T, 0, 1)


@pytest.mark.parametrize("omega", [1.0, 1.5])
def test_matching_follows_the_formula(omega):
    source, target = maps(0), 0.5 * maps(1) + 0.2
    masks = soft_mask(2), soft_mask(3)
    got = matched(*map(jnp.asarray, (source, target, *masks)), omega=omega)
    np.testing.assert_allclose(got, in_float64(source, target, *masks, omega=omega), atol=2e-6)


def test_the_mask_serves_for_both_maps_where_one_is_given():
    source, target, mask = maps(0), maps(1), soft_mask(2)
    got = matched(jnp.asarray(source), jnp.asarray(target), jnp.asarray(mask))
    np.testing.assert_allclose(got, in_float64(source, target, mask, mask), atol=2e-6)


def test_matching_undoes_a_change_of_brightness_and_contrast():
    target = maps(0)
    source = 0.3 + 0.5 * target
    got = matched(jnp.asarray(source), jnp.asarray(target), jnp.ones((24, 24)), omega=1.0)
    np.testing.assert_allclose(got, target, atol=2e-6)


def test_texels_outside_the_masks_do_not_count_whatever_they_hold():
    source, target, mask = maps(0), maps(1), (soft_mask(2) > 0.5).astype(np.float32)
    want = np.asarray(matched(*map(jnp.asarray, (source, target, mask))))
    source[mask == 0] = np.nan
    target[mask == 0] = 7.0
    got = np.asarray(matched(*map(jnp.asarray, (source, target, mask))))
    np.testing.assert_array_equal(got[mask > 0], want[mask > 0])


@pytest.mark.parametrize("empty", ["source", "target", "both"])
def test_an_empty_mask_leaves_the_source_alone(empty):
    full, none = jnp.ones((24, 24)), jnp.zeros((24, 24))
    masks = {"source": (none, full), "target": (full, none), "both": (none, none)}[empty]
    source = jnp.asarray(maps(0)) * 3.0  # beyond 1: not even clipped
    np.testing.assert_array_equal(matched(source, jnp.asarray(maps(1)), *masks), source)


def test_a_flat_source_is_shifted_and_not_stretched():
    target = maps(1)
    source = np.full((24, 24, 3), 0.25, np.float32)
    source[0, 0] += 0.125  # outside the mask: what is seen is flat
    mask = np.ones((24, 24), np.float32)
    mask[0, 0] = 0
    got = np.asarray(matched(*map(jnp.asarray, (source, target, mask))))
    mean = target[mask > 0].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose(got[1, 1], mean, atol=1e-6)
    np.testing.assert_allclose(got[0, 0], mean + 0.125, atol=1e-6)


def test_a_flat_target_takes_the_contrast_away():
    got = matched(jnp.asarray(maps(0)), jnp.full((24, 24, 3), 0.25), jnp.ones((24, 24)))
    np.testing.assert_allclose(got, 0.25, atol=1e-6)


def test_results_stay_in_the_display_range():
    source = np.random.default_rng(0).random((24, 24, 3)).astype(np.float32) * 0.1 + 0.45
    target = np.random.default_rng(1).choice([0.0, 1.0], (24, 24, 3)).astype(np.float32)
    got = np.asarray(matched(jnp.asarray(source), jnp.asarray(target), jnp.ones((24, 24)), omega=0.5))
    assert got.min() == 0 and got.max() == 1


def test_a_batch_equals_its_members():
    sources, targets = np.stack([maps(0), 0.5 * maps(1)]), np.stack([maps(2), 0.7 * maps(3)])
    masks = np.stack([soft_mask(4), np.zeros((24, 24), np.float32)])
    batch = jax.jit(jax.vmap(match_colours))(sources, targets, masks)
    for got, *one in zip(batch, sources, targets, masks, strict=True):
        np.testing.assert_allclose(got, matched(*map(jnp.asarray, one)), atol=1e-6)


@pytest.mark.parametrize("flat", [False, True])
def test_gradients_are_finite_and_right(float64, flat):
    target, mask = (jnp.asarray(x, jnp.float64) for x in (maps(1, 6), soft_mask(2, 6)))
    source = jnp.full((6, 6, 3), 0.5) if flat else jnp.asarray(maps(0, 6), jnp.float64)
    weight = np.random.default_rng(3).normal(size=(6, 6, 3))

    @jax.jit
    def loss(source, target):
        return jnp.sum(weight * match_colours(source, target, mask))

    gradients = jax.grad(loss, (0, 1))(source, target)
    assert all(bool(jnp.isfinite(gradient).all()) for gradient in gradients)
    if not flat:
        check_grads(loss, (source, target), order=1, modes=["rev"], atol=1e-4, rtol=1e-4)

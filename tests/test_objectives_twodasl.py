"""2DASL's self-supervision, its drawing of landmarks and its critic, by hand and against plain numpy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives_tools import check_batch, check_gradient

from facejax.objectives import adversarial, draw_landmarks, eighteen_points, eighteen_weights
from facejax.objectives.consistency import shape_consistency
from facejax.objectives.totals import TwoDASLWeights, weighted_sum


def points(seed=0, axes=2):
    return np.random.default_rng(seed).uniform(10, 110, size=(68, axes))


# --- the 18 points ----------------------------------------------------------------------------------------------------


def test_centres_are_means_of_opposite_lids_and_lips(float64):
    p = points(axes=3)
    brows, rest = [p[17], p[19], p[21], p[22], p[24], p[26]], [p[31], p[30], p[35], p[48], (p[62] + p[66]) / 2, p[54]]
    eyes = [p[36], (p[37] + p[40]) / 2, p[39], p[42], (p[43] + p[46]) / 2, p[45]]
    np.testing.assert_allclose(eighteen_points(jnp.asarray(p)), np.array(brows + eyes + rest))


def test_nearest_are_single_landmarks(float64):
    one_based = [18, 20, 22, 23, 25, 27, 37, 41, 40, 43, 48, 46, 32, 34, 36, 49, 63, 55]
    p = points()
    np.testing.assert_allclose(eighteen_points(jnp.asarray(p), "nearest"), p[np.array(one_based) - 1])


def test_no_point_of_the_outline_is_used(float64):
    p = points()
    moved = p.copy()
    moved[:17] += 50
    for variant in ("centres", "nearest"):
        np.testing.assert_array_equal(
            eighteen_points(jnp.asarray(p), variant), eighteen_points(jnp.asarray(moved), variant)
        )


def test_weights_sum_to_one_with_nose_and_mouth_at_four():
    weights = np.asarray(eighteen_weights())
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-6)
    np.testing.assert_allclose(weights * 28, [1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 2, 1, 1, 4, 1, 2, 4, 2], rtol=1e-6)


# --- the landmark map -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("background", [-1.0, 0.0])
def test_a_landmark_lights_the_pixel_that_it_lies_in(background):
    """x is the column; an edge belongs to the pixel after it; outside goes to the border."""
    marks = jnp.array([[0.0, 0.0], [2.9, 1.0], [7.999, 7.999], [8.0, 3.2], [-5.0, 99.0]])
    expected = np.full((8, 8), background)
    for row, column in [(0, 0), (1, 2), (7, 7), (3, 7), (7, 0)]:
        expected[row, column] = 1
    np.testing.assert_array_equal(draw_landmarks(marks, 8, background=background), expected)


def test_all_68_points_and_18_can_be_drawn_in_batches():
    marks = jnp.asarray(np.stack([points(0), points(1)]), jnp.float32)
    drawn = np.asarray(jax.vmap(lambda p: draw_landmarks(p, 120))(marks))
    for picture, p in zip(drawn, np.asarray(marks), strict=True):
        assert {tuple(place) for place in np.argwhere(picture == 1)} == {(int(y), int(x)) for x, y in p}
    few = draw_landmarks(eighteen_points(marks[0]), 120)
    assert np.sum(np.asarray(few) == 1) == 18


def test_drawing_has_no_gradient_and_survives_nan():
    marks = jnp.asarray(points(), jnp.float32).at[3].set(jnp.nan)
    assert np.isfinite(np.asarray(draw_landmarks(marks, 120))).all()
    gradient = jax.grad(lambda p: jnp.sum(draw_landmarks(p, 120) ** 2))(marks)
    assert np.all(np.asarray(gradient) == 0)


# --- consistency ------------------------------------------------------------------------------------------------------


def test_shape_consistency_by_hand(float64):
    first = points(axes=3)
    second = first + np.array([1.0, 2.0, 2.0]) * (np.arange(68) < 17)[:, None]
    np.testing.assert_allclose(shape_consistency(jnp.asarray(first), jnp.asarray(second), size=2.0), 9 / 4 / 4)


def test_consistency_gradients_and_batches(float64):
    loss, axes = shape_consistency, 3
    a, b, c = points(0, axes), points(1, axes), points(2, axes)
    check_gradient(lambda p: loss(p, jnp.asarray(b)) / 1e3, a)
    check_gradient(lambda p: loss(jnp.asarray(a), p) / 1e3, b)
    check_batch(loss, jnp.stack([a, b]), jnp.stack([c, a]))


# --- the critic -------------------------------------------------------------------------------------------------------


def test_critic_losses_are_the_logs_of_probabilities(float64):
    real, fake = np.array([1.5, -0.3, 0.2]), np.array([0.7, -2.0])
    chance = lambda logit: 1 / (1 + np.exp(-logit))  # noqa: E731
    expected = -np.mean(np.log(chance(real))) - np.mean(np.log(1 - chance(fake)))
    np.testing.assert_allclose(adversarial.critic_loss(jnp.asarray(real), jnp.asarray(fake)), expected)
    np.testing.assert_allclose(
        adversarial.fooling_loss(jnp.asarray(fake), "saturating"), np.mean(np.log(1 - chance(fake)))
    )
    np.testing.assert_allclose(adversarial.fooling_loss(jnp.asarray(fake)), -np.mean(np.log(chance(fake))))


def test_a_critic_that_knows_nothing_loses_two_bits_and_a_sure_one_stays_finite():
    assert adversarial.critic_loss(jnp.zeros(3), jnp.zeros(5)) == pytest.approx(2 * np.log(2))
    sure = jnp.array([1e4, -1e4])
    for loss in (lambda x: adversarial.critic_loss(x, x), adversarial.fooling_loss):
        value, gradient = jax.value_and_grad(loss)(sure)
        assert np.isfinite(value) and np.isfinite(np.asarray(gradient)).all()
    saturated = jax.grad(lambda x: adversarial.fooling_loss(x, "saturating"))(jnp.array([-50.0]))
    assert abs(float(saturated[0])) < 1e-9 and jax.grad(adversarial.fooling_loss)(jnp.array([-50.0]))[0] == -1


def test_critic_gradients(float64):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=4)
    check_gradient(lambda x: adversarial.critic_loss(x, jnp.array([0.3, -1.0])), logits)
    check_gradient(lambda x: adversarial.critic_loss(jnp.array([0.3, -1.0]), x), logits)
    check_gradient(lambda x: adversarial.fooling_loss(x, "saturating"), logits)
    check_gradient(adversarial.fooling_loss, logits)
    check_batch(adversarial.critic_loss, jnp.asarray(rng.normal(size=(3, 5))), jnp.asarray(rng.normal(size=(3, 2))))


# --- the total --------------------------------------------------------------------------------------------------------


def test_the_total_is_the_published_weighted_sum():
    names = ["coefficients", "landmarks", "shape", "cycle", "critic"]
    terms = {name: jnp.asarray(10.0**k) for k, name in enumerate(names)}
    total = 1 + 0.005 * 10 + 0.005 * 100 + 1000 + 0.005 * 10000
    assert weighted_sum(terms, TwoDASLWeights()) == pytest.approx(total)
    wild = {name: value for name, value in terms.items() if name != "coefficients"}
    assert weighted_sum(wild, TwoDASLWeights()) == pytest.approx(total - 1)
    assert weighted_sum(terms, replace(TwoDASLWeights(), cycle=0.0)) == pytest.approx(total - 1000)
    assert weighted_sum({"a": jnp.asarray(2.0)}, {"a": 3.0}) == 6


def test_a_term_without_a_weight_is_refused():
    with pytest.raises(ValueError, match="no weight for the term 'identity': the weights name coefficients, landmarks"):
        weighted_sum({"identity": jnp.zeros(())}, TwoDASLWeights())

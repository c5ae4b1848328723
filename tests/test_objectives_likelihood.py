"""The landmark likelihood against scipy's normal density, and the chance that it implies against drawn samples."""

import jax
import jax.numpy as jnp
import numpy as np
from objectives_tools import check_batch, check_gradient
from scipy.stats import multivariate_normal

from facejax.objectives import chance_within, landmark_likelihood

RNG = np.random.default_rng(0)
PREDICTED, TRUE = RNG.uniform(0, 100, size=(5, 2)), RNG.uniform(0, 100, size=(5, 2))
LOG_SIGMA = RNG.normal(size=5) - 1.0
SIZE = 80.0


def test_it_is_the_normal_density_in_face_sizes(float64):
    found = landmark_likelihood(jnp.asarray(PREDICTED), jnp.asarray(LOG_SIGMA), jnp.asarray(TRUE), SIZE)
    densities = [
        multivariate_normal.logpdf(t / SIZE, p / SIZE, np.exp(s) ** 2 * np.eye(2))
        for p, s, t in zip(PREDICTED, LOG_SIGMA, TRUE, strict=True)
    ]
    np.testing.assert_allclose(found, -np.mean(densities) - np.log(2 * np.pi))


def test_weights_leave_points_out(float64):
    p, s, t = jnp.asarray(PREDICTED), jnp.asarray(LOG_SIGMA), jnp.asarray(TRUE)
    found = landmark_likelihood(p, s, t, SIZE, jnp.array([1.0, 0.0, 1.0, 0.0, 0.0]))
    few = jnp.array([0, 2])
    np.testing.assert_allclose(found, landmark_likelihood(p[few], s[few], t[few], SIZE))
    assert landmark_likelihood(p, s, t, SIZE, jnp.zeros(5)) == 0


def test_gradients_and_batches(float64):
    p, s, t = jnp.asarray(PREDICTED), jnp.asarray(LOG_SIGMA), jnp.asarray(TRUE)
    check_gradient(lambda x: landmark_likelihood(x, s, t, SIZE), PREDICTED)
    check_gradient(lambda x: landmark_likelihood(p, x, t, SIZE), LOG_SIGMA)
    check_batch(lambda a, b, c: landmark_likelihood(a, b, c, SIZE), *(jnp.stack([a, 2 * a]) for a in (p, s, t)))


def test_the_best_sigma_of_a_constant_error_is_that_error_over_root_two(float64):
    grid = np.linspace(-6, 1, 7001)
    p, t = jnp.array([[3.0, 4.0]]), jnp.zeros((1, 2))
    losses = jax.vmap(lambda s: landmark_likelihood(p, s[None], t, 50.0))(jnp.asarray(grid))
    np.testing.assert_allclose(np.exp(grid[int(np.argmin(losses))]), 0.1 / np.sqrt(2), rtol=2e-3)


def test_the_chance_is_the_share_of_samples_inside_the_circle():
    samples = np.random.default_rng(1).normal(size=(200_000, 2))
    for sigma in (0.01, 0.03, 0.1):
        share = np.mean(np.linalg.norm(samples * sigma, axis=1) < 0.05)
        np.testing.assert_allclose(chance_within(jnp.log(sigma)), share, atol=4e-3)
    assert chance_within(jnp.asarray(-20.0)) == 1 and chance_within(jnp.asarray(20.0)) < 1e-6
    assert np.isfinite(jax.grad(chance_within)(jnp.asarray(-20.0)))

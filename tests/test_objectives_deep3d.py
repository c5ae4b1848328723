"""Deep3DFaceRecon's terms by hand and in plain numpy; the skin classifier against scipy's densities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives_tools import check_batch, check_gradient
from scipy.stats import multivariate_normal
from toy import toy_model

from facejax import objectives as ob
from facejax.objectives import skin


def two_mixtures(seed=0):
    rng = np.random.default_rng(seed)

    def mixture(centre):
        spread = rng.normal(size=(2, 3, 3)) * 0.1
        weights = rng.uniform(0.2, 0.8)
        return skin.GaussianMixture(
            jnp.array([weights, 1 - weights]),
            jnp.asarray(centre + 0.1 * rng.normal(size=(2, 3))),
            jnp.asarray(spread @ spread.transpose(0, 2, 1) + 0.01 * np.eye(3)),
        )

    return skin.SkinModel(mixture([0.6, -0.05, 0.1]), mixture([0.4, 0.0, 0.0]), jnp.asarray(0.8))


def density(mixture, colour):
    return sum(
        float(w) * multivariate_normal.pdf(colour, m, c)
        for w, m, c in zip(*map(np.asarray, (mixture.weights, mixture.means, mixture.covariances)), strict=True)
    )


# --- photometric ------------------------------------------------------------------------------------------------------


def test_the_photometric_term_weighs_pixels_by_attention_and_front(float64):
    rng = np.random.default_rng(0)
    rendered, image = rng.uniform(size=(4, 5, 3)), rng.uniform(size=(4, 5, 3))
    attention, front = rng.uniform(0.5, 1, size=(4, 5)), (rng.uniform(size=(4, 5)) > 0.2).astype(float)
    total, weight = 0.0, 0.0
    for y, x in np.ndindex(4, 5):
        distance = np.sqrt(1e-6 + sum((rendered[y, x, c] - image[y, x, c]) ** 2 for c in range(3)))
        total, weight = total + distance * attention[y, x] * front[y, x], weight + attention[y, x] * front[y, x]
    arrays = jnp.asarray(rendered), jnp.asarray(image), jnp.asarray(attention), jnp.asarray(front)
    np.testing.assert_allclose(ob.skin_photometric(*arrays), total / weight)
    check_gradient(lambda r: ob.skin_photometric(r, arrays[1], arrays[2], arrays[3]), rendered)
    check_batch(ob.skin_photometric, *(jnp.stack([a, 0.7 * a]) for a in arrays))
    masks = jax.grad(lambda a, f: ob.skin_photometric(arrays[0], arrays[1], a, f), argnums=(0, 1))(*arrays[2:])
    assert all(np.all(np.asarray(g) == 0) for g in masks)  # or the fit would push its mask off the hard pixels


# --- skin -------------------------------------------------------------------------------------------------------------


def test_skin_probability_is_bayes_rule_with_scipys_densities(float64):
    model, image = two_mixtures(), np.random.default_rng(1).uniform(size=(3, 2, 3))
    found = np.asarray(jax.jit(ob.skin_probability)(model, jnp.asarray(image)))
    for y, x in np.ndindex(3, 2):
        r, g, b = image[y, x]
        luma = 0.299 * r + 0.587 * g + 0.114 * b
        colour = [luma, 0.5 * (b - luma) / (1 - 0.114), 0.5 * (r - luma) / (1 - 0.299)]
        chances = 0.8 * density(model.skin, colour), 0.2 * density(model.other, colour)
        np.testing.assert_allclose(found[y, x], chances[0] / sum(chances), rtol=1e-9)
    check_gradient(lambda p: jnp.sum(ob.skin_probability(model, p)), image, tolerance=1e-7)
    check_batch(lambda p: ob.skin_probability(model, p), jnp.asarray(image))


def test_far_colours_stay_finite():
    model = two_mixtures()
    value, gradient = jax.jit(jax.value_and_grad(lambda c: ob.skin_probability(model, c).sum()))(
        jnp.array([[90.0, -50, 3]])
    )
    assert 0 <= value <= 1 and np.isfinite(np.asarray(gradient)).all()


def test_attention_is_the_probability_or_the_papers_threshold(float64):
    model, image = two_mixtures(), jnp.asarray(np.random.default_rng(1).uniform(size=(20, 20, 3)))
    chance = np.asarray(jax.jit(ob.skin_probability)(model, image))
    assert chance.min() < 0.5 < chance.max()
    plain, papers = jax.jit(lambda p: (ob.skin_attention(model, p), ob.skin_attention(model, p, threshold=0.5)))(image)
    np.testing.assert_allclose(plain, chance)
    np.testing.assert_allclose(papers, np.where(chance > 0.5, 1, chance))
    assert np.all(np.asarray(jax.jit(jax.grad(lambda p: ob.skin_attention(model, p).sum()))(image)) == 0)


def test_expectation_maximisation_finds_the_mixture_that_made_the_samples():
    rng = np.random.default_rng(2)
    a = rng.multivariate_normal([0.2, 0.1], [[0.002, 0.001], [0.001, 0.003]], size=3000)
    b = rng.multivariate_normal([0.7, -0.2], [[0.004, -0.001], [-0.001, 0.001]], size=1000)
    fit = jax.jit(lambda samples: skin.fit_mixture(samples, components=2, floor=0.0))
    found = fit(jnp.asarray(np.concatenate([a, b]), jnp.float32))
    np.testing.assert_allclose(found.weights, [0.75, 0.25], atol=0.01)
    np.testing.assert_allclose(found.means, [a.mean(0), b.mean(0)], atol=5e-3)
    np.testing.assert_allclose(found.covariances, [np.cov(a.T), np.cov(b.T)], atol=3e-4)


def test_a_component_on_one_colour_does_not_collapse():
    same = jax.jit(skin.fit_mixture)(jnp.full((100, 3), 0.5))
    assert all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(same))
    assert np.isfinite(skin.log_density(same, jnp.full(3, 0.5)))


def test_skin_of_the_face_model_is_told_from_colours_that_are_none():
    """A model fitted to the toy head's own albedo under random lights, against all colours."""
    draw = jax.jit(lambda key: skin.model_skin_colours(toy_model(), key, count=2000))
    colours = draw(jax.random.key(0))
    assert colours.shape == (2000, 3) and float(colours.min()) >= 0 and float(colours.max()) <= 1
    model = jax.jit(ob.fit_skin_model)(colours, skin.any_colours(jax.random.key(1), count=2000))
    held = draw(jax.random.key(2))
    assert float(jnp.mean(ob.skin_probability(model, held))) > 0.9
    assert float(jnp.max(ob.skin_probability(model, jnp.array([[0.1, 0.8, 0.1], [0.1, 0.2, 0.9]])))) < 0.1


# --- the others -------------------------------------------------------------------------------------------------------


def test_the_perceptual_term_is_one_minus_the_cosine(float64):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=8), rng.normal(size=8)
    cosine = a @ b / np.sqrt((a @ a) * (b @ b))
    np.testing.assert_allclose(ob.cosine_distance(jnp.asarray(a), jnp.asarray(b)), 1 - cosine)
    np.testing.assert_allclose(ob.cosine_distance(jnp.asarray(a), jnp.asarray(-3 * a)), 2)
    check_gradient(lambda x: ob.cosine_distance(x, jnp.asarray(b)), a)
    check_batch(ob.cosine_distance, jnp.stack([a, b]), jnp.stack([b, a + b]))
    value, gradient = jax.value_and_grad(ob.cosine_distance)(jnp.zeros(8), jnp.asarray(b))
    assert value == 1 and np.all(np.asarray(gradient) == 0)


def test_landmark_weights_are_20_on_nose_and_inner_mouth(float64):
    heavy = {28, 29, 30, 60, 61, 62, 63, 64, 65, 66, 67}
    np.testing.assert_array_equal(ob.deep3d_landmark_weights(), [20 if k in heavy else 1 for k in range(68)])
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 224, size=(68, 2)), rng.uniform(0, 224, size=(68, 2))
    total = sum((20 if k in heavy else 1) * ((a[k] - b[k]) ** 2).sum() for k in range(68)) / 68
    found = ob.deep3d_landmark_distance(jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_allclose(found, total)
    plain = ob.landmark_distance(jnp.asarray(a), jnp.asarray(b), ob.deep3d_landmark_weights(), jnp.asarray(1.0))
    np.testing.assert_allclose(plain, total * 68 / 277)
    check_gradient(lambda p: ob.deep3d_landmark_distance(p, jnp.asarray(b)) / 1e4, a)
    check_batch(ob.deep3d_landmark_distance, jnp.stack([a, b]), jnp.stack([b, 2 * a]))


def test_coefficient_prior_by_hand(float64):
    """1.0 * (1 + 4) + 0.8 * 9 + 0.017 * 100."""
    i, e, a = np.array([1.0, 2.0]), np.array([3.0]), np.array([10.0, 0.0])
    found = ob.deep3d_coefficients(jnp.asarray(i), jnp.asarray(e), jnp.asarray(a))
    np.testing.assert_allclose(found, 5 + 7.2 + 1.7)
    paper = ob.deep3d_coefficients(jnp.asarray(i), jnp.asarray(e), jnp.asarray(a), weights=(1.0, 0.8, 1.7e-3))
    np.testing.assert_allclose(paper, 5 + 7.2 + 0.17)
    check_gradient(lambda x: ob.deep3d_coefficients(x, jnp.asarray(e), jnp.asarray(a)), i)


def test_gamma_spread_by_hand(float64):
    light = np.zeros((9, 3))
    light[0], light[4] = [3, 0, 0], [1, 2, 3]  # deviations 2 -1 -1 and -1 0 1
    np.testing.assert_allclose(ob.gamma_spread(jnp.asarray(light)), (4 + 1 + 1 + 1 + 0 + 1) / 27)
    check_gradient(ob.gamma_spread, light)
    check_batch(ob.gamma_spread, jnp.stack([light, light * 2]))


@pytest.mark.parametrize("shape", [(30,), (6, 5)])
def test_reflectance_is_the_variance_over_the_region(float64, shape):
    rng = np.random.default_rng(0)
    albedo, region = rng.uniform(size=(*shape, 3)), (rng.uniform(size=shape) > 0.4).astype(float)
    expected = np.mean([albedo[..., c][region == 1].var() for c in range(3)])
    np.testing.assert_allclose(ob.reflectance_variance(jnp.asarray(albedo), jnp.asarray(region)), expected)
    check_gradient(lambda a: ob.reflectance_variance(a, jnp.asarray(region)), albedo)
    albedos, regions = jnp.stack([albedo, albedo**2]), jnp.stack([region, 1 - region])
    check_batch(ob.reflectance_variance, albedos, regions)
    assert ob.reflectance_variance(jnp.asarray(albedo), jnp.zeros(shape)) == 0

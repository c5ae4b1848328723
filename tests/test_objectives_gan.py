"""The losses and the bookkeeping of StyleGAN2's training, and the changes of pictures in front of the discriminator."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.ndimage import map_coordinates

from facejax.nets.stylegan2 import augment
from facejax.objectives import gan

RNG = np.random.default_rng(0)


def test_slope_penalty_of_a_quadratic_form(float64):
    a, x = RNG.standard_normal((4, 4, 3)), RNG.standard_normal((2, 4, 4, 3))
    penalty, logits = gan.slope_penalty(lambda x: jnp.sum(a[None] * x**2, axis=(1, 2, 3)), jnp.asarray(x))
    np.testing.assert_allclose(logits, (a * x**2).sum((1, 2, 3)))
    np.testing.assert_allclose(penalty, ((2 * a * x) ** 2).sum((1, 2, 3)))


def test_path_lengths_of_a_linear_generator(float64):
    jacobian = RNG.standard_normal((4 * 4 * 3, 5, 6))  # texels and channels; layers; latents
    noise = RNG.standard_normal((2, 4, 4, 3))
    ws = RNG.standard_normal((2, 5, 6))

    def synthesis(ws):
        return jnp.einsum("plw,nlw->np", jacobian, ws).reshape(-1, 4, 4, 3)

    moved = np.einsum("plw,np->nlw", jacobian, noise.reshape(2, -1) / np.sqrt(16))
    expected = np.sqrt((moved**2).sum(2).mean(1))
    np.testing.assert_allclose(gan.path_lengths(synthesis, jnp.asarray(ws), jnp.asarray(noise)), expected)


def test_path_penalty_knows_this_batch_already(float64):
    lengths = np.array([1.0, 4.0])
    penalty, mean = gan.path_penalty(jnp.asarray(lengths), jnp.asarray(2.0))
    fresh = 0.99 * 2.0 + 0.01 * 2.5
    np.testing.assert_allclose(mean, fresh)
    np.testing.assert_allclose(penalty, (lengths - fresh) ** 2)
    gradient = jax.grad(lambda x: jnp.sum(gan.path_penalty(x, jnp.asarray(2.0)).penalty))(jnp.asarray(lengths))
    expected = 2 * (lengths - fresh) - 0.005 * np.sum(2 * (lengths - fresh))  # each length moves the mean by 0.01 / 2
    np.testing.assert_allclose(gradient, expected)


@pytest.mark.parametrize(("interval", "rate"), [(4, 0.0016), (16, 0.00188235)])
def test_lazy_adam_takes_the_corrected_steps(float64, interval, rate):
    gradients = RNG.standard_normal((3, 5))
    adam = gan.lazy_adam(0.002, interval=interval)
    value, state = jnp.zeros(5), adam.init(jnp.zeros(5))
    moment, expected, beta = np.zeros(5), np.zeros(5), 0.99 ** (interval / (interval + 1))
    for step, gradient in enumerate(gradients, 1):
        updates, state = adam.update(jnp.asarray(gradient), state)
        value = optax.apply_updates(value, updates)
        moment = beta * moment + (1 - beta) * gradient**2
        expected -= rate * gradient / (np.sqrt(moment / (1 - beta**step)) + 1e-8)
    np.testing.assert_allclose(np.asarray(value), expected, rtol=1e-5)


def test_bookkeeping():
    assert gan.average_decay(32) == pytest.approx(0.99778, abs=1e-5)
    adapt = [float(gan.adapt_strength(jnp.float32(0.5), jnp.float32(s), images=128)) for s in (0.8, 0.2)]
    np.testing.assert_allclose(adapt, [0.5 + 128 / 500_000, 0.5 - 128 / 500_000], rtol=1e-6)
    assert float(gan.adapt_strength(jnp.float32(0.0), jnp.float32(0.1), images=128)) == 0.0
    bad = {"a": jnp.array([jnp.nan, jnp.inf, -jnp.inf, 1.0])}
    np.testing.assert_array_equal(gan.finite_gradients(bad)["a"], [0.0, 1e5, -1e5, 1.0])


def test_augmentation_of_no_strength_changes_nothing():
    images = jnp.asarray(RNG.standard_normal((3, 8, 8, 3)), jnp.float32)
    run = jax.jit(augment.augment)
    key = jax.random.key(0)
    np.testing.assert_allclose(run(key, images, jnp.float32(0.0)), images, atol=1e-6)
    changed = np.asarray(run(key, images, jnp.float32(1.0)))
    assert np.isfinite(changed).all() and np.all(np.abs(changed - images).max((1, 2, 3)) > 0.1)


def test_pictures_are_turned_and_mirrored_at_their_border(float64):
    image = RNG.standard_normal((8, 8, 2))
    affine = np.array([[0.9, -0.7, 0.2], [0.6, 1.1, -0.4]])
    line = (np.arange(8) + 0.5) / 4 - 1
    x, y = np.meshgrid(line, line)
    column = (affine[0, 0] * x + affine[0, 1] * y + affine[0, 2] + 1) * 4 - 0.5
    row = (affine[1, 0] * x + affine[1, 1] * y + affine[1, 2] + 1) * 4 - 0.5
    expected = [map_coordinates(image[..., c], [row, column], order=1, mode="reflect") for c in range(2)]
    result = augment._sample(jnp.asarray(image), jnp.asarray(affine))
    np.testing.assert_allclose(result, np.stack(expected, -1), atol=1e-12)


def test_colours_change_about_the_axis_of_greys():
    matrices = jax.jit(jax.vmap(lambda key: augment.random_colours(key, jnp.float32(1.0))))(
        jax.random.split(jax.random.key(0), 16)
    )
    for matrix in np.asarray(matrices, np.float64):
        linear = matrix[:3, :3]
        contrast = (linear @ np.ones(3)).mean()
        np.testing.assert_allclose(linear @ np.ones(3), contrast, rtol=1e-4)  # greys stay grey
        across = linear - contrast / 3
        saturation = np.linalg.norm(across) / np.sqrt(2)
        np.testing.assert_allclose(across @ across.T, saturation**2 * (np.eye(3) - 1 / 3), atol=1e-4 * saturation**2)
        np.testing.assert_allclose(matrix[:3, 3], matrix[0, 3], atol=1e-6)


def test_strength_is_the_share_of_pictures_that_change():
    keys = jax.random.split(jax.random.key(1), 400)
    matrices = jax.jit(jax.vmap(lambda key: augment.random_affine(key, jnp.float32(0.2))))(keys)
    same = np.all(np.asarray(matrices) == np.eye(2, 3), axis=(1, 2)).mean()
    assert same == pytest.approx(0.8**5 * 0.9, abs=0.07)  # five changes, and a flip every other time it is chosen

"""Deep3DFaceRecon's terms by hand and in plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
from objectives_tools import check_batch, check_gradient

from facejax import objectives as ob

# --- photometric ------------------------------------------------------------------------------------------------------


def test_the_photometric_term_is_the_mean_colour_distance_over_the_mask(float64):
    rng = np.random.default_rng(0)
    rendered, image = rng.uniform(size=(4, 5, 3)), rng.uniform(size=(4, 5, 3))
    mask = rng.uniform(0.5, 1, size=(4, 5)) * (rng.uniform(size=(4, 5)) > 0.2)
    total = 0.0
    for y, x in np.ndindex(4, 5):
        total += np.sqrt(1e-6 + sum((rendered[y, x, c] - image[y, x, c]) ** 2 for c in range(3))) * mask[y, x]
    arrays = jnp.asarray(rendered), jnp.asarray(image), jnp.asarray(mask)
    np.testing.assert_allclose(ob.robust_photometric(*arrays), total / mask.sum())
    check_gradient(lambda r: ob.robust_photometric(r, arrays[1], arrays[2]), rendered)
    check_batch(ob.robust_photometric, *(jnp.stack([a, 0.7 * a]) for a in arrays))


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


def test_gamma_spread_by_hand(float64):
    light = np.zeros((9, 3))
    light[0], light[4] = [3, 0, 0], [1, 2, 3]  # deviations 2 -1 -1 and -1 0 1
    np.testing.assert_allclose(ob.gamma_spread(jnp.asarray(light)), (4 + 1 + 1 + 1 + 0 + 1) / 27)
    check_gradient(ob.gamma_spread, light)
    check_batch(ob.gamma_spread, jnp.stack([light, light * 2]))

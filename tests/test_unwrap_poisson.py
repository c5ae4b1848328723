"""Poisson editing against dense solutions in float64 and harmonic functions; one implementation against the other."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from jax.test_util import check_grads

from facejax.unwrap.poisson import mask_window, poisson_edit, poisson_relax, solvable
from facejax.unwrap.poisson import poisson_relax_jit as relax

BOTH = pytest.mark.parametrize("implementation", ["direct", "iterative"])


def pair(size=48, seed=0):
    return tuple(np.random.default_rng(seed).random((2, size, size, 3)).astype(np.float32))


def blob(size=48, seed=1, spread=3.0):
    """A ragged mask with holes and several parts."""
    noise = np.random.default_rng(seed).normal(size=(size, size))
    return scipy.ndimage.gaussian_filter(noise, spread) > 0


def dense(texture, template, mask):
    """Every texel an unknown, as the equations are written; dense, in float64."""
    width = mask.shape[1]
    inside = mask.copy()
    inside[:2] = inside[-2:] = inside[:, :2] = inside[:, -2:] = False
    matrix, right = np.eye(mask.size), texture.astype(np.float64).copy()
    for row, column in zip(*np.nonzero(inside), strict=True):
        at = row * width + column
        matrix[at, at] = 4
        matrix[at, [at - width, at + width, at - 1, at + 1]] = -1
        around = template[[row - 1, row + 1, row, row], [column, column, column - 1, column + 1]].astype(np.float64)
        right[row, column] = 4 * template[row, column].astype(np.float64) - around.sum(axis=0)
    return np.linalg.solve(matrix, right.reshape(-1, 3)).reshape(texture.shape)


@BOTH
@pytest.mark.parametrize("mask", [blob(), blob(spread=1.0), np.ones((48, 48), bool)], ids=["blob", "ragged", "all"])
def test_the_result_solves_the_equations(implementation, mask):
    texture, template = pair()
    got = poisson_edit(*map(jnp.asarray, (texture, template, mask)), implementation=implementation)
    tolerance = 1e-6 if implementation == "direct" else 5e-4
    np.testing.assert_allclose(got, dense(texture, template, mask), atol=tolerance)


@BOTH
def test_outside_the_mask_nothing_changes(implementation):
    texture, template = pair()
    mask = blob()
    got = np.asarray(poisson_edit(texture, template, mask, implementation=implementation))
    np.testing.assert_array_equal(got[~solvable(mask)], texture[~solvable(mask)])
    assert solvable(mask).any() and not solvable(np.ones((48, 48)))[[1, -2]].any()


@BOTH
def test_a_harmonic_texture_is_restored_from_its_edge(implementation):
    # x^2 - y^2, xy and x are harmonic also for the five-point Laplacian; the template has no detail.
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    texture = np.stack([x**2 - y**2, x * y, x], axis=-1).astype(np.float32)
    mask = (x**2 + y**2 < 0.7) & ~((np.abs(x) < 0.1) & (y > 0))
    got = poisson_edit(texture, np.full_like(texture, 0.3), mask, implementation=implementation)
    np.testing.assert_allclose(got, texture, atol=1e-6 if implementation == "direct" else 1e-4)


@BOTH
def test_the_template_plus_a_harmonic_function_gives_itself_back(implementation):
    y, x = np.mgrid[-1:1:64j, -1:1:64j]
    template = np.random.default_rng(0).random((64, 64, 3)).astype(np.float32)
    texture = template + (0.2 + 0.1 * x * y)[..., None].astype(np.float32)
    got = poisson_edit(texture, template, x**2 + y**2 < 0.8, implementation=implementation)
    np.testing.assert_allclose(got, texture, atol=1e-6 if implementation == "direct" else 1e-4)


@BOTH
def test_what_the_texture_holds_inside_the_mask_does_not_matter(implementation):
    texture, template = pair()
    mask = np.zeros((48, 48), bool)
    mask[10:30, 12:40] = True
    want = np.asarray(poisson_edit(texture, template, mask, implementation=implementation))
    texture[mask] = np.nan
    got = np.asarray(poisson_edit(texture, template, mask, implementation=implementation))
    np.testing.assert_array_equal(got, want)
    assert np.isfinite(got).all()


@BOTH
def test_colours_of_the_template_do_not_matter_but_its_detail_does(implementation):
    texture, template = pair()
    mask = blob()
    edit = partial(poisson_edit, texture, mask=mask, implementation=implementation)
    np.testing.assert_allclose(edit(template), edit(template + np.array([0.5, -0.2, 0.1], np.float32)), atol=1e-4)
    assert np.abs(edit(template) - edit(template[:, ::-1])).max() > 0.1


def test_the_implementations_agree_on_regions_like_an_eyes():
    size = 256
    y, x = np.mgrid[:size, :size]
    smooth = scipy.ndimage.gaussian_filter(np.random.default_rng(3).random((2, size, size, 3)), (0, 4, 4, 0)) * 4 - 1.5
    texture, template = smooth.astype(np.float32)
    mask = ((y - 120) / 75) ** 2 + ((x - 130) / 100) ** 2 < 1  # 150 x 200 texels
    mask &= blob(size, 4, 6.0) | (y < 100)
    exact = np.asarray(poisson_edit(texture, template, mask))
    relaxed = relax(*map(jnp.asarray, (texture, template, mask)), window=mask_window(mask))
    assert np.abs(exact - relaxed.texture).max() < 1e-3
    assert int(relaxed.iterations) <= 12 and float(relaxed.error) <= 1e-5


def test_too_few_iterations_are_told():
    texture, template = map(jnp.asarray, pair())
    relaxed = relax(texture, template, jnp.asarray(blob()), max_iterations=1)
    assert int(relaxed.iterations) == 1 and float(relaxed.error) > 1e-3


def test_the_window_does_not_change_the_result():
    texture, template = map(jnp.asarray, pair())
    mask = np.zeros((48, 48), bool)
    mask[20:31, 8:37] = blob()[20:31, 8:37]
    whole = relax(texture, template, jnp.asarray(mask), window=(0, 48, 0, 48))
    window = mask_window(mask, step=4)
    cut = relax(texture, template, jnp.asarray(mask), window=window)
    assert window[1] - window[0] < 20
    np.testing.assert_allclose(cut.texture, whole.texture, atol=1e-5)


def test_windows_hold_the_mask_and_its_ring():
    mask = np.zeros((2, 100, 100), bool)
    assert mask_window(mask) == (0, 64, 0, 64)
    mask[0, 40:50, 2:10] = True
    mask[1, 60, 97] = True
    top, bottom, left, right = mask_window(mask, step=8)
    assert top <= 39 and bottom >= 62 and (bottom - top) % 8 == 0
    assert left <= 1 and right >= 99 and right - left == 100 - left
    assert mask_window(mask, step=64) == (18, 82, 0, 100)


def test_a_batch_equals_its_members_and_an_empty_mask_changes_nothing():
    textures, templates = (jnp.stack(x) for x in zip(pair(seed=0), pair(seed=5), pair(seed=6), strict=True))
    masks = jnp.asarray(np.stack([blob(seed=1), blob(seed=2), np.zeros((48, 48), bool)]))
    batch = jax.jit(jax.vmap(poisson_relax))(textures, templates, masks)
    for index in range(3):
        one = relax(textures[index], templates[index], masks[index], window=(0, 48, 0, 48))
        np.testing.assert_allclose(batch.texture[index], one.texture, atol=1e-5)
        assert int(batch.iterations[index]) == int(one.iterations)
    np.testing.assert_array_equal(batch.texture[2], textures[2])
    assert int(batch.iterations[2]) == 0 and float(batch.error[2]) == 0


def test_gradients_pass_through_the_solution(float64):
    texture, template = (jnp.asarray(x, jnp.float64) for x in pair(12))
    mask = jnp.asarray(blob(12, spread=1.5))

    @jax.jit
    def edit(texture, template):
        return poisson_relax(texture, template, mask, tolerance=1e-10).texture

    check_grads(edit, (texture, template), order=1, modes=["rev"], atol=1e-6, rtol=1e-6)


def test_wrong_input_is_named():
    texture, template = map(jnp.asarray, pair(16))
    mask = jnp.zeros((16, 16)).at[5:9, 5:9].set(1)
    with pytest.raises(ValueError, match="one size"):
        poisson_edit(texture, template[:8], mask)
    for empty in (jnp.zeros((16, 16)), jnp.zeros((16, 16)).at[:2].set(1)):
        with pytest.raises(ValueError, match="nothing to edit"):
            poisson_edit(texture, template, empty)
    with pytest.raises(ValueError, match="'direct' or 'iterative'"):
        poisson_edit(texture, template, mask, implementation="guess")
    with pytest.raises(ValueError, match="inside a map"):
        poisson_relax(texture, template, mask, window=(0, 17, 0, 8))

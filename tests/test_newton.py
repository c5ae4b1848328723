"""Gauss-Newton on pixels: its derivatives against automatic ones, and fits against known truth."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from test_fitting import observation, photograph, truth
from test_stages import Layers
from toy import toy_model

import facejax.camera as cam
from facejax.appearance import SurfaceAppearance
from facejax.face_model import decode
from facejax.fitting import LINEAR, Ingredients, Newton, Stage, fit_crops, newton, prepare_crops, run_newton
from facejax.fitting.newton import SQUARES
from facejax.fitting.priors import PRIORS
from facejax.fitting.terms import TERMS, Term
from facejax.fitting.visible import blur_photo, difference_slopes, differences, find_visible
from facejax.lighting import uniform_light
from facejax.programs import jit

STAGE: Any = LINEAR.stages[0]
SHORT: Any = replace(STAGE, blurs=(0.0,), size=64, samples=700)
SOME: Any = replace(STAGE, blurs=(2.0, 1.0, 0.0, 0.0, 0.0), size=64, samples=1500)


def wrong(params):
    """Not the face that is seen."""
    turned = cam.quaternion_multiply(cam.axis_angle_to_quaternion(jnp.array([0.02, -0.03, 0.01])), params.pose.rotation)
    return replace(
        params,
        identity=-params.identity,
        expression=jnp.array([0.4, 0.1, 0.3]),
        appearance={"albedo": jnp.array([0.2, -0.3, 0.1])},
        light=uniform_light(0.8),
        pose=cam.Pose(turned, params.pose.translation + jnp.array([1.5, -1.0, 6.0])),
    )


def in_double(tree):
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def test_gradients_are_the_automatic_ones(float64):
    """Under even light the normals do not matter, and on a picture of one slope bilinear lookup has no kinks."""
    seen, params = in_double(observation(truth())), in_double(wrong(truth()))
    across, down = np.linspace(0.2, 0.8, 128), np.linspace(0.0, 0.1, 128)
    ramp = jnp.asarray(across[None, :, None] * np.array([1.0, 0.7, 0.5]) + down[:, None, None])
    model = in_double(toy_model())
    seen, params = newton.resize(replace(seen, image=ramp), params, SHORT.size)
    problem = newton._problem(model, params, seen, SHORT, PRIORS, dict(SHORT.weights), lambda params: {})
    photo = jax.tree.map(lambda leaf: leaf[0], problem.photos)
    vertices = decode(model, params)
    pixels = find_visible(model, params, cam.to_camera(params.pose, vertices), seen.comparable, SHORT.samples)
    assert float(jnp.sum(pixels.weight)) == pytest.approx(1.0)

    def total(step):
        moved = problem.moved(params, step)
        return sum(newton._values(problem, moved, pixels, differences(model, moved, pixels, photo)).values())

    _, squares = newton._expand(problem, params, vertices, pixels, photo)
    expected = np.asarray(jax.grad(total)(jnp.zeros(problem.at.total))) / 2
    found, scale = np.asarray(squares.gradient), np.abs(expected)
    at = problem.at
    for block in ("rotation", "translation", "identity", "expression", "albedo", "light"):
        rows = getattr(at, block)
        np.testing.assert_allclose(found[rows], expected[rows], atol=2e-3 * scale[rows].max(), err_msg=block)


def test_bent_normals_follow_the_triangles(float64):
    """Under a lamp from the side, what the coefficients do to the shading is nearly what differences say."""
    model, params = in_double(toy_model()), in_double(truth())
    seen = replace(in_double(observation(truth())), image=jnp.full((128, 128, 3), 0.5))
    seen, params = newton.resize(seen, params, SHORT.size)
    problem = newton._problem(model, params, seen, SHORT, PRIORS, dict(SHORT.weights), lambda params: {})
    photo = jax.tree.map(lambda leaf: leaf[0], problem.photos)
    vertices = decode(model, params)
    pixels = find_visible(model, params, cam.to_camera(params.pose, vertices), seen.comparable, SHORT.samples)
    jacobian = difference_slopes(model, params, vertices, pixels, photo, problem.table)

    def residual(step):
        return differences(model, problem.moved(params, step), pixels, photo)

    exact = jax.jacfwd(residual)(jnp.zeros(problem.at.total))
    used = np.asarray(pixels.weight) > 0
    for block in ("rotation", "light", "albedo"):
        rows = getattr(problem.at, block)
        np.testing.assert_allclose(jacobian[used][..., rows], exact[used][..., rows], atol=1e-6, err_msg=block)
    rows = problem.at.coefficients
    a, b = np.asarray(jacobian[used][..., rows]).ravel(), np.asarray(exact[used][..., rows]).ravel()
    assert np.corrcoef(a, b)[0, 1] > 0.9 and 0.8 < np.linalg.norm(a) / np.linalg.norm(b) < 1.25


def test_a_stage_finds_the_face_that_is_seen():
    true = truth()
    seen, start = observation(true), wrong(true)
    light = tuple(
        (name, 0.01 * by if name in ("squared_identity", "expression", "albedo") else by) for name, by in SOME.weights
    )
    stage = replace(SOME, weights=light)  # light priors: the toy head's few modes are all seen
    found, trace = jit(lambda params, seen: run_newton(toy_model(), params, seen, stage=stage))(start, seen)
    assert trace.losses.shape == (5,) and set(trace.terms) == set(SQUARES) - {"identity"}
    pixels = np.asarray(trace.terms["pixels"])
    assert pixels[-1] < 0.3 * pixels[0], pixels
    far = lambda one: np.linalg.norm(np.asarray(decode(toy_model(), one) - decode(toy_model(), true)), axis=1)  # noqa: E731
    assert far(found).mean() < 0.6 * far(start).mean(), (far(found).mean(), far(start).mean())
    assert bool((found.expression >= 0).all()) and bool((found.expression <= 1).all())
    jax.tree.map(np.testing.assert_array_equal, found.camera, start.camera)


def test_a_step_that_makes_things_worse_is_not_taken():
    true = truth()
    seen = replace(observation(true), image=jnp.full((128, 128, 3), jnp.nan))
    found, trace = jit(lambda params, seen: run_newton(toy_model(), params, seen, stage=SOME))(true, seen)
    jax.tree.map(np.testing.assert_array_equal, found, true)
    assert int(trace.diverged_at) == -1


def test_terms_of_ones_own_pull_too():
    true = truth()
    seen = observation(true)
    mine = Term(lambda scene: (scene.params.pose.translation[0] - 9.0) ** 2)
    stage = replace(SOME, weights=(("mine", 1.0), *((name, 0.01 * weight) for name, weight in SOME.weights)))
    terms = {**TERMS, "mine": mine}
    run = jit(lambda params, seen: run_newton(toy_model(), params, seen, stage=stage, terms=terms))
    found, trace = run(true, seen)
    assert float(trace.terms["mine"][-1]) < 0.05 * float(trace.terms["mine"][0])
    assert abs(float(found.pose.translation[0]) - 9.0) < 1.0


def test_faces_of_a_batch_are_fitted_as_if_alone():
    people = [truth(seed=seed) for seed in (0, 1)]
    seen, start = [observation(one) for one in people], [wrong(one) for one in people]
    run = lambda params, seen: run_newton(toy_model(), params, seen, stage=SOME)[0]  # noqa: E731
    together = jit(jax.vmap(run))(*(jax.tree.map(lambda *leaves: jnp.stack(leaves), *some) for some in (start, seen)))
    alone = jit(run)(start[1], seen[1])
    np.testing.assert_allclose(together.identity[1], alone.identity, atol=2e-2)
    np.testing.assert_allclose(together.pose.translation[1], alone.pose.translation, atol=0.1)


@jax.tree_util.register_dataclass
class Wide(Layers):
    """As large as the toy head's own map."""

    def decode(self, blocks):
        return jnp.broadcast_to(super().decode(blocks)[0, 0], (32, 32, 3))


def test_photographs_are_blurred_like_scipy_does():
    image = np.random.default_rng(0).uniform(size=(40, 40, 3)).astype(np.float32)
    for blur in (0.0, 1.5):
        photo = blur_photo(jnp.asarray(image), blur)
        expected = gaussian_filter(image, (blur, blur, 0), mode="nearest")
        np.testing.assert_allclose(photo.color, expected, atol=1e-5)
        np.testing.assert_allclose(photo.slope[..., :3], np.gradient(expected, axis=1), atol=1e-5)
        np.testing.assert_allclose(photo.slope[..., 3:], np.gradient(expected, axis=0), atol=1e-5)


def test_a_stage_may_follow_one_with_another_appearance():
    """The albedo of the other one is carried over."""
    painted = Stage("painted", 1, (("latents", 0.01),), (("pixels", 1.0),), appearance="layers")
    recipe = replace(LINEAR, size=64, stages=(painted, SOME))
    points = np.asarray(observation(truth()).landmarks)
    crops = prepare_crops([photograph(truth())], [points], recipe=recipe)
    ingredients = Ingredients(appearances={"layers": SurfaceAppearance(Wide(jnp.asarray(1.5)))})
    shapes = jax.eval_shape(lambda crops: fit_crops(toy_model(), crops, recipe=recipe, ingredients=ingredients), crops)
    assert set(shapes.params.appearance) == {"albedo"}


def test_wrong_stages_are_refused():
    recipe = replace(LINEAR, stages=(replace(STAGE, weights=(("pixel", 1.0),)),))
    points = np.asarray(observation(truth()).landmarks)
    crops = prepare_crops([np.zeros((128, 128, 3))], [points], recipe=recipe)
    with pytest.raises(ValueError, match="stage 'pixels' names the unknown loss term 'pixel'"):
        fit_crops(toy_model(), crops, recipe=recipe)
    assert isinstance(STAGE, Newton) and STAGE.steps == len(STAGE.blurs)

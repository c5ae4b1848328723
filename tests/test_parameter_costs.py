"""3DDFA's costs on the regressor: the vector places points where the camera does, and steps on it learn."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax.camera import quaternion_to_matrix
from facejax.nets.encoder import EncoderConfig, EncoderOutput
from facejax.objectives import posed_points, to_pixels, whiten
from facejax.regression.parameter_costs import (
    CostRecipe,
    affine_vector,
    cost_losses,
    cost_space,
    cost_step,
    meta_cost_step,
)
from facejax.regression.regressor import RegressorConfig, to_params
from facejax.regression.training import View, init_state, model_anchors, project_anchors

SIZE = 64
ENCODER = EncoderConfig(outputs=49, size=SIZE, widths=(4, 8, 8), blocks=(0, 0, 1), hidden=16, code=4)
CONFIG = RegressorConfig(identity=6, expression=3, albedo=3, encoder=ENCODER)
RECIPE = CostRecipe(steps=40, batch=6, rate=3e-3, warmup=2)


@pytest.fixture(scope="module")
def anchors():
    return model_anchors(toy_model(), extra=8)


@pytest.fixture(scope="module")
def views(anchors):
    """6 pictures of noise with random faces."""
    random = np.random.default_rng(0)
    coefficients = jnp.asarray(random.normal(0, 0.15, (6, 49)), jnp.float32)
    landmarks = jax.vmap(lambda one: project_anchors(CONFIG, anchors, one)[:68])(coefficients)
    return View(jnp.asarray(random.uniform(0, 1, (6, SIZE, SIZE, 3)), jnp.float32), landmarks, coefficients)


@pytest.fixture(scope="module")
def space(anchors, views):
    return cost_space(CONFIG, anchors, views.coefficients)


def test_the_vector_places_points_where_the_camera_does_at_the_heads_depth(anchors, views, space):
    one = views.coefficients[2]
    white = whiten(space.whitening, affine_vector(CONFIG, one))
    found = np.asarray(to_pixels(posed_points(space, white), float(SIZE)))[:, :2]
    params = to_params(CONFIG, one)
    rotation = np.asarray(quaternion_to_matrix(params.pose.rotation), np.float64)
    points = np.asarray(anchors.mean, np.float64)
    for block, basis in ((one[10:16], anchors.identity), (one[16:19], anchors.expression)):
        points = points + np.tensordot(np.asarray(block, np.float64), np.asarray(basis, np.float64), 1)
    camera: Any = params.camera
    scale = float(camera.focal) / -float(params.pose.translation[2])
    wanted = scale * (points @ rotation.T)[:, :2] * [1, -1] + np.asarray(camera.principal)
    np.testing.assert_allclose(found, wanted, atol=1e-3)
    everyone = jax.vmap(lambda one: whiten(space.whitening, affine_vector(CONFIG, one)))(views.coefficients)
    np.testing.assert_allclose(np.mean(everyone, axis=0), 0, atol=1e-4)


def test_steps_lower_the_vertex_error(anchors, views, space):
    recipe = replace(RECIPE, cost="joint", regularize=True)
    step = jax.jit(lambda state: cost_step(CONFIG, recipe, anchors, space, state, views))
    state = init_state(CONFIG, recipe, jax.random.key(0))
    seen = []
    for _ in range(40):
        state, terms = step(state)
        seen.append(float(terms["points"]))
    assert int(state.step) == 40 and seen[-1] < 0.7 * seen[0]


def test_the_truth_costs_nothing(anchors, views, space):
    output = EncoderOutput(views.coefficients, views.landmarks, jnp.zeros((6, 68)), jnp.zeros((6, 1)))
    for cost in ("pdc", "vdc", "wpdc", "joint"):
        _, terms = cost_losses(CONFIG, replace(RECIPE, cost=cost), anchors, space, output, views)
        assert abs(float(terms["cost"])) < 1e-8


@pytest.mark.slow
def test_a_round_of_the_meta_joint_takes_its_steps_and_says_which_cost_won(anchors, views, space):
    recipe = replace(RECIPE, look_ahead=2, regularize=True)
    step = jax.jit(lambda state, views: meta_cost_step(CONFIG, recipe, anchors, space, state, views))
    state, terms = step(init_state(CONFIG, recipe, jax.random.key(0)), views)
    assert int(state.step) == 2 and float(terms["branch"]) in (0.0, 1.0) and np.isfinite(float(terms["points"]))
    part = jax.tree.map(lambda leaf: leaf.reshape(3, 2, *leaf.shape[1:]), views)
    wanted = init_state(CONFIG, recipe, jax.random.key(0))
    rounds = replace(recipe, steps=80, warmup=4, cost=("fwpdc", "vdc-fast")[int(terms["branch"])])
    for k in range(2):
        batch = jax.tree.map(lambda leaf: leaf[k], part)  # noqa: B023
        wanted, _ = jax.jit(lambda s, v: cost_step(CONFIG, rounds, anchors, space, s, v))(wanted, batch)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), state.params, wanted.params)
    with pytest.raises(ValueError, match="a batch of 6 for 4 parts"):
        meta_cost_step(CONFIG, replace(recipe, look_ahead=3), anchors, space, state, views)

"""Costs on coefficient vectors against their definitions, entry by entry in float64 numpy, and scipy's solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives_tools import NumpyFace, check_batch, check_gradient
from scipy.optimize import lsq_linear

from facejax.objectives import weights as wd
from facejax.objectives.parameter_costs import PARAMETER_COSTS
from facejax.objectives.prediction import prediction_weights

DEPTH = 11


def cost_of(name, face: NumpyFace, predicted, true):
    return jax.jit(PARAMETER_COSTS[name])(face.space(), jnp.asarray(predicted), jnp.asarray(true))


def weights_of(rule, face: NumpyFace, predicted, true, **options):
    weigh = jax.jit(lambda space, p, t: rule(space, p, t, **options))
    return np.asarray(weigh(face.space(), jnp.asarray(predicted), jnp.asarray(true)))


def one_wrong(face: NumpyFace, predicted, true, axes: int = 3):
    """||V(only entry i wrong) - V(true)|| for each i, by posing a face for each."""
    errors = []
    for k in range(len(true)):
        wrong = true.copy()
        wrong[k] = predicted[k]
        errors.append(np.sqrt(np.sum((face.posed(wrong) - face.posed(true))[:, :axes] ** 2)))
    return np.array(errors)


def wpdc_weights(face: NumpyFace, predicted, true):
    errors = one_wrong(face, predicted, true)
    errors[DEPTH] = 0
    weights = (errors + 1e-6) / (errors + 1e-6).max()
    weights[DEPTH] = 0
    return weights


def with_depth(face, predicted, true):
    fixed = predicted.copy()
    fixed[DEPTH] = true[DEPTH]
    return fixed


def test_pdc_is_the_mean_square_without_depth(float64):
    face = NumpyFace()
    predicted, true = face.vectors()
    found = cost_of("pdc", face, predicted, true)
    total = sum((p - t) ** 2 for k, (p, t) in enumerate(zip(predicted, true, strict=True)) if k != DEPTH)
    np.testing.assert_allclose(found, total / len(true))


@pytest.mark.parametrize("name", ["vdc", "vdc-fast"])
def test_vdc_is_the_mean_square_of_the_posed_points_difference(float64, name):
    face = NumpyFace()
    predicted, true = face.vectors()
    distance = face.posed(with_depth(face, predicted, true)) - face.posed(true)
    found = cost_of(name, face, predicted, true)
    np.testing.assert_allclose(found, np.mean(distance**2), rtol=1e-10)


def test_fast_vdc_is_accurate_in_float32():
    """Inner products of thousands of points are large numbers; the difference of two close faces must survive them."""
    face = NumpyFace(points=2000)
    predicted, true = face.vectors(spread=1e-3)
    distance = np.mean((face.posed(with_depth(face, predicted, true)) - face.posed(true)) ** 2)
    found = cost_of("vdc-fast", face, predicted, true)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, distance, rtol=2e-3)


@pytest.mark.parametrize("name", ["wpdc", "wpdc-definition", "fwpdc"])
def test_all_forms_of_wpdc_are_the_definition(float64, name):
    """Rotation, translation and shape are each linear, so the closed form loses nothing."""
    face = NumpyFace()
    predicted, true = face.vectors()
    weights = wpdc_weights(face, predicted, true)
    found = cost_of(name, face, predicted, true)
    np.testing.assert_allclose(found, np.mean(weights * (predicted - true) ** 2), rtol=1e-9)


def test_the_closed_form_by_hand(float64):
    """One point (3, 4, 0) and one mode (0, 0, 2), no whitening, f = 10: raw errors listed entry by entry."""
    face = NumpyFace(points=1)
    face.mean, face.basis = np.array([[3.0, 4.0, 0.0]]), np.array([[[0.0, 0.0, 2.0]]])
    face.centre, face.spread = np.zeros(13), np.ones(13)
    true = np.array([10, 0, 0, 5, 0, 10, 0, 5, 0, 0, 10, 5, 0], float)
    step = np.array([1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 0.5])
    raw = np.array([3, 4, 0, 1, 6, 8, 0, 2, 9, 12, 0, 0, 0.5 * 10 * 2])
    expected = (raw + 1e-6) / (12 + 1e-6)
    expected[11] = 0
    found = weights_of(wd.closed_form_weights, face, true + step, true)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    raw[12] = 0.5 * 0.001 * 2  # a constant in place of f, as in the released code
    expected = (raw + 1e-6) / (12 + 1e-6)
    expected[11] = 0
    found = weights_of(wd.closed_form_weights, face, true + step, true, scale=0.001)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_fast_form_never_looks_at_the_points():
    face = NumpyFace(points=500)
    p = jnp.zeros(19)
    for name, looks in [("fwpdc", False), ("vdc-fast", False), ("wpdc", True)]:
        program = str(jax.make_jaxpr(PARAMETER_COSTS[name])(face.space(), p, p).eqns)
        assert ("500,3]" in program) == looks, name


def test_owpdc_weights_are_scipys_bounded_least_squares(float64):
    face = NumpyFace()
    predicted, true = face.vectors(spread=0.5)
    change = true - with_depth(face, predicted, true)
    step = 1e-6
    columns = [
        (face.posed(true + step * unit) - face.posed(true - step * unit)).ravel() / (2 * step) * d
        for unit, d in zip(np.eye(19), change, strict=True)
    ]
    moved = np.stack(columns, 1)
    for penalty in (1e-3, 0.1, 3.0):
        matrix = np.concatenate(
            [moved / np.linalg.norm(moved), np.diag(np.sqrt(penalty) * change / np.linalg.norm(change))]
        )
        target = np.concatenate([moved.sum(1) / np.linalg.norm(moved), np.zeros(19)])
        best = lsq_linear(matrix, target, bounds=(0, 1), tol=1e-14)
        found = weights_of(wd.optimal_weights, face, predicted, true, penalty=penalty)
        assert found.min() >= 0 and found.max() <= 1 and found[11] == 0
        cost = 0.5 * np.sum((matrix @ found - target) ** 2)
        assert cost <= best.cost * (1 + 1e-4) + 1e-9
        keep = np.arange(19) != 11
        np.testing.assert_allclose(found[keep], best.x[keep], atol=0.02)


def test_owpdc_gives_everything_without_a_penalty_and_nothing_under_a_huge_one(float64):
    face = NumpyFace()
    predicted, true = face.vectors()
    keep = np.arange(19) != 11
    free = weights_of(wd.optimal_weights, face, predicted, true, penalty=0.0, steps=20000)
    np.testing.assert_allclose(np.asarray(free)[keep], 1.0, atol=1e-2)
    held = weights_of(wd.optimal_weights, face, predicted, true, penalty=1e6)
    np.testing.assert_allclose(held, 0.0, atol=1e-4)


def test_owpdc_spares_the_lesser_of_two_errors_that_cancel(float64):
    """x translation 2 too far right, a mode that shifts all points 1 too far left: going right in the mode makes the
    face worse unless the translation goes too. WPDC weighs both by size alone."""
    face = NumpyFace(points=5)
    face.basis = np.tile(np.array([1.0, 0.0, 0.0]), (1, 5, 1))
    face.centre, face.spread = np.zeros(13), np.ones(13)
    true = np.array([1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0], float)
    predicted = true.copy()
    predicted[3], predicted[12] = 2.0, -1.0
    # Net error 1 to the right. By hand: minimise (2 u - v - 1)^2 / 5 + penalty (4 u^2 + v^2) / 5 over [0, 1]:
    # v wants to be negative, so v = 0 and u = 2 / (4 + 4 penalty).
    found = weights_of(wd.optimal_weights, face, predicted, true, penalty=0.1)
    np.testing.assert_allclose(found[[3, 12]], [0.5 / 1.1, 0.0], atol=1e-4)
    np.testing.assert_allclose(wpdc_weights(face, predicted, true)[[3, 12]], [1.0, 0.5], atol=1e-5)


@pytest.mark.parametrize("name", sorted(PARAMETER_COSTS))
def test_gradients_hold_the_weights_fixed_and_batches_are_independent(float64, name):
    face = NumpyFace()
    space, (predicted, true) = face.space(), face.vectors()
    cost, target = PARAMETER_COSTS[name], jnp.asarray(true)
    rules = {
        "wpdc": wd.closed_form_weights,
        "fwpdc": wd.fast_weights,
        "wpdc-definition": wd.definition_weights,
        "owpdc": wd.optimal_weights,
    }
    frozen = None
    if name in rules:
        weights = weights_of(rules[name], face, predicted, true)
        frozen = lambda p: jnp.mean(weights * (p - true) ** 2)  # noqa: E731
    if name == "2dasl":
        errors = one_wrong(face, predicted, true, axes=2)
        frozen = lambda p: jnp.sum(errors / errors.sum() * (p - true) ** 2)  # noqa: E731
    check_gradient(lambda p: cost(space, p, target), predicted, frozen=frozen)
    other, truth = face.vectors(seed=5)
    check_batch(lambda p, t: cost(space, p, t), jnp.stack([predicted, other]), jnp.stack([true, truth]))


def test_weights_carry_no_gradient_by_themselves_nor_in_the_distance(float64):
    face = NumpyFace()
    space, (predicted, true) = face.space(), [jnp.asarray(v) for v in face.vectors()]
    rules = [wd.closed_form_weights, wd.fast_weights, wd.definition_weights, wd.optimal_weights, prediction_weights]
    for rule in rules:
        total = jax.jit(jax.grad(lambda p: jnp.sum(rule(space, p, true) ** 2)))  # noqa: B023
        assert np.all(np.asarray(total(predicted)) == 0), rule
    pull = jax.grad(lambda w: wd.weighted_distance(w, predicted, true))(jnp.ones(19))
    assert np.all(np.asarray(pull) == 0)


@pytest.mark.parametrize("name", sorted(PARAMETER_COSTS))
def test_the_truth_costs_nothing_and_its_gradient_is_finite(name):
    face = NumpyFace()
    true = jnp.asarray(face.vectors()[1], jnp.float32)
    space = face.space()
    value, gradient = jax.jit(jax.value_and_grad(lambda p: PARAMETER_COSTS[name](space, p, true)))(true)
    assert abs(value) < 1e-9 and np.abs(np.asarray(gradient)).max() < 1e-3  # float32; costs of `vectors` are above 0.01


def test_coefficient_prediction_weighs_by_projected_landmarks(float64):
    face = NumpyFace(points=68)
    predicted, true = face.vectors()
    errors = one_wrong(face, predicted, true, axes=2)
    assert np.all(errors[8:12] == 0)  # the third row of the pose is depth
    found = cost_of("2dasl", face, predicted, true)
    np.testing.assert_allclose(found, np.sum(errors / errors.sum() * (predicted - true) ** 2), rtol=1e-10)

"""Several losses at once: equal magnitudes; look-ahead branches on quadratic bowls where the better one is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives_tools import check_batch, check_gradient

from facejax.objectives import landmark_regression, match_magnitude, meta_joint_step, regularize, vanilla_joint


def test_a_matched_term_has_the_references_size_and_its_own_direction(float64):
    x = np.array([0.3, -0.7])
    term, reference = (lambda p: jnp.sum(p**2)), (lambda p: 5 + jnp.sum(p))
    matched = lambda p: match_magnitude(term(p), reference(p))  # noqa: E731
    factor = (5 - 0.4) / 0.58
    np.testing.assert_allclose(matched(jnp.asarray(x)), 4.6)
    check_gradient(matched, x, frozen=lambda p: factor * term(p))
    assert match_magnitude(jnp.asarray(-2.0), jnp.asarray(6.0)) == -6  # magnitudes; the sign stays
    value, gradient = jax.value_and_grad(lambda p: match_magnitude(p**2, 3.0 + 0 * p))(jnp.asarray(0.0))
    assert value == 0 and gradient == 0


def test_landmark_regression_is_the_mean_square_in_face_sizes(float64):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    expected = sum((p - q) ** 2 for p, q in zip(a.ravel(), b.ravel(), strict=True)) / 10 / 4
    np.testing.assert_allclose(landmark_regression(jnp.asarray(a), jnp.asarray(b), 2.0), expected)
    check_gradient(lambda p: landmark_regression(p, jnp.asarray(b), 2.0), a)
    check_batch(landmark_regression, jnp.stack([a, b]), jnp.stack([b, 2 * a]))


def test_the_regulariser_pulls_as_hard_as_the_main_loss(float64):
    """Main 8, extra 2: the extra's gradient is multiplied by 4 whatever its units."""
    value, pulls = jax.value_and_grad(lambda m, e: regularize(m, e), argnums=(0, 1))(jnp.asarray(8.0), jnp.asarray(2.0))
    assert value == 16 and pulls == (1, 4)


def test_vanilla_joint_by_hand(float64):
    """beta 0.25, fWPDC 4, VDC 10: 0.25 * 4 + 0.75 * (4 / 10) * 10 = 4, whose VDC part has the gradient 0.75 * 0.4."""
    value, pulls = jax.value_and_grad(vanilla_joint, argnums=(0, 1))(jnp.asarray(4.0), jnp.asarray(10.0), 0.25)
    np.testing.assert_allclose(value, 4.0)
    np.testing.assert_allclose(pulls, [0.25, 0.3])


# --- meta-joint -------------------------------------------------------------------------------------------------------


def descend(goal, rate=0.2):
    """Gradient descent on |x - goal - batch|^2 / 2, counting its steps."""

    def step(state, batch):
        return {"x": state["x"] - rate * (state["x"] - jnp.asarray(goal) - batch), "steps": state["steps"] + 1}

    return step


def squared_error(state, batch):
    return jnp.sum((state["x"] - batch) ** 2)


def start():
    return {"x": jnp.zeros(2), "steps": jnp.asarray(0)}


@pytest.mark.parametrize("test_at, best", [([1.0, 0.0], 0), ([0.0, 1.0], 1)])
def test_the_branch_that_ends_nearer_the_test_batch_is_kept(test_at, best):
    train = jnp.asarray(np.random.default_rng(0).normal(size=(10, 2)) * 0.01, jnp.float32)
    goals = ([1.0, 0.0], [0.0, 1.0])
    play = jax.jit(lambda s, a, b: meta_joint_step([descend(g) for g in goals], squared_error, s, a, b))
    state, chosen, errors = play(start(), train, jnp.array(test_at))
    assert chosen == best and errors[best] < errors[1 - best]
    x = np.zeros(2)
    for batch in np.asarray(train):  # all ten look-ahead steps are kept, in the batches' order
        x = x - 0.2 * (x - np.array(goals[best]) - batch)
    np.testing.assert_allclose(state["x"], x, rtol=1e-5)
    assert state["steps"] == 10
    np.testing.assert_allclose(errors[best], np.sum((x - test_at) ** 2), rtol=1e-4)


def test_both_branches_leave_from_the_same_start():
    """Goals +1 and -1 on one axis: after a round each, errors are the same from either order of the branches."""
    train, test = jnp.zeros((3, 2)), jnp.array([1.0, 0.0])
    one = meta_joint_step([descend([1.0, 0.0]), descend([-1.0, 0.0])], squared_error, start(), train, test)
    two = meta_joint_step([descend([-1.0, 0.0]), descend([1.0, 0.0])], squared_error, start(), train, test)
    assert one[1] == 0 and two[1] == 1
    np.testing.assert_allclose(one[2], two[2][::-1])
    np.testing.assert_allclose(one[0]["x"], two[0]["x"])


def test_rounds_switch_branches_as_the_nearer_goal_changes():
    """A fast rule that overshoots its mark and a slow exact one: the fast one wins far away, the slow one close by."""
    fast, slow = descend([1.2, 0.0], rate=0.5), descend([1.0, 0.0], rate=0.1)
    state, chosen = start(), []
    for _ in range(8):
        state, branch, _ = meta_joint_step([fast, slow], squared_error, state, jnp.zeros((2, 2)), jnp.array([1.0, 0.0]))
        chosen.append(int(branch))
    assert chosen[0] == 0 and chosen[-1] == 1
    assert abs(float(state["x"][0]) - 1) < 0.1  # fast alone would end at 1.2


def test_a_branch_that_diverges_is_never_taken_and_without_any_the_state_stays():
    def blow_up(state, batch):
        return {"x": state["x"] / 0.0, "steps": state["steps"] + 1}

    train, test = jnp.zeros((2, 2)), jnp.array([9.0, 9.0])
    state, chosen, errors = meta_joint_step([blow_up, descend([-1.0, 0.0])], squared_error, start(), train, test)
    assert chosen == 1 and np.isnan(errors[0]) and np.isfinite(np.asarray(state["x"])).all()
    state, chosen, _ = meta_joint_step([blow_up, blow_up], squared_error, start(), train, test)
    assert chosen == -1 and state["steps"] == 0 and np.all(np.asarray(state["x"]) == 0)


def test_states_may_hold_keys_and_rounds_batch():
    def noisy(goal):
        def step(state, batch):
            key, use = jax.random.split(state["key"])
            return {"x": state["x"] + 0.5 * (goal + batch - state["x"]) + 1e-3 * jax.random.normal(use), "key": key}

        return step

    def play(x):
        state = {"x": x, "key": jax.random.key(0)}
        end, chosen, _ = meta_joint_step(
            [noisy(1.0), noisy(-1.0)], lambda s, b: (s["x"] - b) ** 2, state, jnp.zeros(1), jnp.asarray(0.2)
        )
        return end["x"], chosen

    # From -1.2 the first ends at -0.1, the second at -1.1; from 3 at 2 and at 1.
    ends, chosen = jax.vmap(play)(jnp.array([-1.2, 3.0]))
    np.testing.assert_array_equal(chosen, [0, 1])
    np.testing.assert_allclose(ends, [-0.1, 1.0], atol=5e-3)

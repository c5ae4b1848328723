"""Levenberg-Marquardt with bounds in a scan of a fixed number of steps, so that it works under jit and vmap."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

ACTIVE_SET_ROUNDS = 4


class Solution(NamedTuple):
    """The result of `levenberg_marquardt`."""

    x: Float[Array, " N"]
    cost: Float[Array, ""]  # half the sum of squared residuals at x
    costs: Float[Array, " S"]  # after every step
    converged: Bool[Array, ""]  # the last quarter of the steps lowered the cost by less than 1 %


def levenberg_marquardt(
    residuals: Callable[[Float[Array, " N"]], Float[Array, " M"]],
    start: Float[Array, " N"],
    *,
    steps: int,
    lower: Float[Array, " N"] | None = None,
    upper: Float[Array, " N"] | None = None,
    jacobian: Callable[[Float[Array, " N"]], Float[Array, "M N"]] | None = None,
    held: Bool[Array, " N"] | None = None,
    hold: int = 0,
) -> Solution:
    """Minimise half the squared norm of `residuals(x)` inside a box.

    Marquardt's diagonal damping; a step is accepted only if it lowers the true cost. Each step is, nearly, the minimum
    of the damped quadratic in the box (active sets, after Bertsekas, "Projected Newton methods", SIAM J. Control 1982).
    The normal equations are dense, so this is meant for hundreds of unknowns. A step that is not finite is refused, so
    the start is never lost.

    Args:
        residuals: r(x).
        start: where x begins.
        steps: how many.
        lower, upper: the box; None: unbounded.
        jacobian: dr/dx, where its structure saves work; None: forward differentiation.
        held: which unknowns stay at their start during the first `hold` steps; None: none of them.
        hold: a number of steps.
    """
    lower = jnp.full_like(start, -jnp.inf) if lower is None else lower
    upper = jnp.full_like(start, jnp.inf) if upper is None else upper
    jacobian = jax.jacfwd(residuals) if jacobian is None else jacobian

    def half_square(r):
        return 0.5 * jnp.sum(r * r)

    def step(carry, holds):
        x, cost, damping = carry
        r, j = residuals(x), jacobian(x)
        hessian = j.T @ j
        hessian = hessian + jnp.diag(damping * jnp.diagonal(hessian) + 1e-9)
        fixed = jnp.zeros_like(x, bool) if held is None else held & holds
        within = (jnp.where(fixed, x, lower), jnp.where(fixed, x, upper))
        trial = minimum_in_box(x, j.T @ r, hessian, *within)
        trial_cost = half_square(residuals(trial))
        better = trial_cost < cost  # False for NaN
        x = jnp.where(better, trial, x)
        cost = jnp.where(better, trial_cost, cost)
        damping = jnp.clip(jnp.where(better, damping / 5.0, damping * 4.0), 1e-7, 1e7)
        return (x, cost, damping), cost

    start = jnp.clip(start, lower, upper)
    cost = half_square(residuals(start))
    first = (
        start,
        cost,
        jnp.where(jnp.isfinite(cost), 1e-2, 1e-2),
    )  # one per face under vmap, so that the scan is traced once
    (x, cost, _), costs = jax.lax.scan(step, first, jnp.arange(steps) < hold)
    converged = jnp.isfinite(cost) & (costs[-1 - steps // 4] - cost <= 0.01 * cost + 1e-9)
    return Solution(x, cost, costs, converged)


def minimum_in_box(
    x: Float[Array, " N"],
    gradient: Float[Array, " N"],
    hessian: Float[Array, "N N"],
    lower: Float[Array, " N"],
    upper: Float[Array, " N"],
) -> Float[Array, " N"]:
    """Minimise the quadratic model around x inside the box, in a few rounds that fix what would leave it."""

    def fix_and_solve(carry, _):
        step, fixed = carry
        pull = -(gradient + hessian @ jnp.where(fixed, step, 0.0))
        reduced = jnp.where(fixed[:, None] | fixed[None, :], jnp.diag(jnp.ones_like(x)), hessian)
        solved = jax.scipy.linalg.solve(reduced, jnp.where(fixed, step, pull), assume_a="pos")
        inside = jnp.clip(x + solved, lower, upper) - x
        return (inside, fixed | (inside != solved)), None

    held = ((x <= lower) & (gradient > 0)) | ((x >= upper) & (gradient < 0))
    (step, _), _ = jax.lax.scan(fix_and_solve, (jnp.zeros_like(x), held), None, length=ACTIVE_SET_ROUNDS)
    return x + step

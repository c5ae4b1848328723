"""Levenberg-Marquardt with bounds, as a fixed number of scanned steps: jit, vmap and batches cost nothing extra."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


class Solution(NamedTuple):
    x: Float[Array, " N"]
    cost: Float[Array, ""]  # half the sum of squared residuals at x
    costs: Float[Array, " S"]  # after every step
    converged: Bool[Array, ""]  # the last accepted step lowered the cost by less than one part in 1e4


def levenberg_marquardt(
    residuals: Callable[[Float[Array, " N"]], Float[Array, " M"]],
    start: Float[Array, " N"],
    *,
    steps: int,
    lower: Float[Array, " N"] | None = None,
    upper: Float[Array, " N"] | None = None,
) -> Solution:
    """Minimise half the squared norm of `residuals(x)` inside a box.

    Marquardt's diagonal damping, accepted or refused by the true cost; a variable that sits on a bound with its
    gradient pointing outwards is left out of the step (projected Newton, Bertsekas 1982). Dense normal equations, so
    meant for hundreds of unknowns. A step that is not finite is refused: the start is never lost.
    """
    lower = jnp.full_like(start, -jnp.inf) if lower is None else lower
    upper = jnp.full_like(start, jnp.inf) if upper is None else upper
    jacobian = jax.jacfwd(residuals)

    def half_square(r):
        return 0.5 * jnp.sum(r * r)

    def step(carry, _):
        x, cost, damping, gain = carry
        r, j = residuals(x), jacobian(x)
        gradient, hessian = j.T @ r, j.T @ j
        held = ((x <= lower) & (gradient > 0)) | ((x >= upper) & (gradient < 0))
        gradient = jnp.where(held, 0.0, gradient)
        hessian = jnp.where(held[:, None] | held[None, :], 0.0, hessian)
        diagonal = jnp.diagonal(hessian)
        hessian = hessian + jnp.diag(damping * diagonal + jnp.where(held, 1.0, 1e-9))
        trial = jnp.clip(x - jax.scipy.linalg.solve(hessian, gradient, assume_a="pos"), lower, upper)
        trial_cost = half_square(residuals(trial))
        better = trial_cost < cost  # False for NaN
        x = jnp.where(better, trial, x)
        gain = jnp.where(better, (cost - trial_cost) / jnp.maximum(cost, 1e-30), gain)
        cost = jnp.where(better, trial_cost, cost)
        damping = jnp.clip(jnp.where(better, damping / 5.0, damping * 4.0), 1e-7, 1e7)
        return (x, cost, damping, gain), cost

    start = jnp.clip(start, lower, upper)
    first = (start, half_square(residuals(start)), jnp.asarray(1e-2, start.dtype), jnp.asarray(jnp.inf, start.dtype))
    (x, cost, damping, gain), costs = jax.lax.scan(step, first, None, length=steps)
    converged = jnp.isfinite(cost) & ((gain < 1e-4) | (damping > 1.0))
    return Solution(x, cost, costs, converged)

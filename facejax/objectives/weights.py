"""Coefficients weighted by how much each matters to the face: WPDC, its fast form, and OWPDC.

Zhu et al., "Face alignment across large poses: a 3D solution", CVPR 2016, on the cost function (WPDC); the same
authors' "Face alignment in full pose range: a 3D total solution", TPAMI 2019 (OWPDC); Guo et al., "Towards fast,
accurate and stable 3D dense face alignment", ECCV 2020 (fWPDC). All vectors are whitened, of one face; no gradient
flows through any weight.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.objectives.coefficients import (
    DEPTH_ENTRY,
    TINY,
    Coefficients,
    CoefficientSpace,
    posed_points,
    shape_points,
    unpack,
    unwhiten,
)
from facejax.objectives.distances import with_true_depth

Vector = Float[Array, " P"]
FLOOR = 1e-6  # added before dividing by the largest weight, as in the released code
RELEASED_SCALE = 0.00057339936  # the constant f of the released 3DDFA code, for its own model and crops


def weighted_distance(weights: Vector, predicted: Vector, true: Vector) -> Float[Array, ""]:
    """mean_i w_i (p_i - p*_i)^2, without gradient through w."""
    return jnp.mean(jax.lax.stop_gradient(weights) * (predicted - true) ** 2)


def normalize_weights(errors: Vector, by: Literal["max", "sum"] = "max") -> Vector:
    """Divide by the largest (3DDFA, after adding 1e-6) or by the sum (2DASL)."""
    if by == "max":
        return (errors + FLOOR) / jnp.max(errors + FLOOR)
    return errors / jnp.maximum(jnp.sum(errors), TINY)


def one_wrong_errors(
    points: Callable[[Vector], Float[Array, "N D"]], predicted: Vector, true: Vector
) -> Float[Array, " P"]:
    """||V(p with only entry i wrong) - V(p*)|| for each i: the definition behind the closed forms.

    `points` maps a vector to its points, in the dimension in which they are compared. It is evaluated once per entry.
    """
    predicted, true = jax.lax.stop_gradient((predicted, true))
    target = points(true)

    def error(entry: Float[Array, " P"]) -> Float[Array, ""]:
        return jnp.linalg.norm(points(jnp.where(entry > 0, predicted, true)) - target)

    return jax.vmap(error)(jnp.eye(true.shape[0], dtype=true.dtype))


def definition_weights(space: CoefficientSpace, predicted: Vector, true: Vector) -> Vector:
    """WPDC's weights by their definition."""
    errors = one_wrong_errors(lambda p: posed_points(space, p), with_true_depth(predicted, true), true)
    return _without_depth(normalize_weights(errors))


def closed_form_weights(
    space: CoefficientSpace, predicted: Vector, true: Vector, *, scale: float | None = None
) -> Vector:
    """WPDC's weights as in the released code: the definition, entry by entry, without posing a face.

    On un-whitened differences dp: an entry of f R in column c gets |dp| times the norm of coordinate c of the true
    shape over all points, an entry of t |dp| sqrt(N), a coefficient |dp| f times the norm of its basis.

    Args:
      space: points and whitening.
      predicted, true: whitened vectors.
      scale: the constant f. None uses the true pose, which makes the form equal to the definition. The released code
        has `RELEASED_SCALE`, the mean f of its training set.

    Returns:
      The weights.
    """
    face, step = _true_face(space, predicted, true)
    rotation = jnp.linalg.norm(shape_points(space, face.shape), axis=0)  # (3,), one for each column
    if scale is None:
        basis = jnp.linalg.norm(space.basis @ face.pose[:, :3].T, axis=(1, 2))
    else:
        basis = scale * jnp.linalg.norm(space.basis, axis=(1, 2))
    return _closed_form(space, step, rotation, basis)


def fast_weights(space: CoefficientSpace, predicted: Vector, true: Vector) -> Vector:
    """fWPDC: the same weights from the points' inner products, at a cost that does not grow with the points.

    The paper splits the norms into parts known before training; here they are read from one Gram matrix.
    """
    face, step = _true_face(space, predicted, true)
    count = space.basis.shape[0] + 1
    blocks = space.gram[:-1, :-1].reshape(count, 3, count, 3)
    modes = jnp.concatenate([jnp.ones_like(face.shape[:1]), face.shape])
    rotation = jnp.sqrt(jnp.maximum(jnp.einsum("k,kclc,l->c", modes, blocks, modes), 0.0))
    own = jnp.einsum("kckd->kcd", blocks)[1:]  # inner products of each mode with itself, (C, 3, 3)
    matrix = face.pose[:, :3]
    basis = jnp.sqrt(jnp.maximum(jnp.einsum("kcd,cd->k", own, matrix.T @ matrix), 0.0))
    return _closed_form(space, step, rotation, basis)


def optimal_weights(
    space: CoefficientSpace, predicted: Vector, true: Vector, *, penalty: float = 0.1, steps: int = 300
) -> Vector:
    """OWPDC: weights in [0, 1] with which a step towards the truth, w * (p* - p), improves the face most.

    WPDC looks at each coefficient alone, but errors of coefficients can cancel or add up. With d = p* - p and J the
    Jacobian of the points at the truth, w minimises

        ||J (d - w d)||^2 / sum_i ||J_i d_i||^2 + penalty * ||w d||^2 / ||d||^2.

    The second term makes steps cost something, so that they go where the points gain most. (With a penalty on (1 - w) d
    the solution would be w = 1 for every face.)

    Args:
      space: points and whitening.
      predicted, true: whitened vectors.
      penalty: dimensionless, since the paper's constant is not known; 0 gives w = 1, infinity 0. At the default, an
        entry that is responsible for all of the error gets a weight of about 0.9.
      steps: of an accelerated projected gradient.

    Returns:
      The weights.
    """
    predicted, true = jax.lax.stop_gradient((predicted, true))
    change = true - with_true_depth(predicted, true)
    jacobian = jax.jacfwd(lambda p: posed_points(space, p))(true)
    moved = jacobian.reshape(-1, change.shape[0]) * change[None]
    normal = moved.T @ moved
    normal = normal / jnp.maximum(jnp.trace(normal), TINY)
    cost = penalty * change**2 / jnp.maximum(jnp.sum(change**2), TINY)
    weights = _box_least_squares(normal + jnp.diag(cost), jnp.sum(normal, axis=1), steps)
    return _without_depth(weights)


def _box_least_squares(matrix: Float[Array, "P P"], vector: Vector, steps: int) -> Vector:
    """argmin of w A w / 2 - b w over 0 <= w <= 1: Nesterov's method with restarts, in variables of equal curvature."""
    diagonal = jnp.diagonal(matrix)
    idle = diagonal <= TINY * jnp.max(diagonal)  # an entry that neither moves a point nor costs anything
    scale = jnp.where(idle, 0.0, jax.lax.rsqrt(jnp.where(idle, 1.0, diagonal)))
    matrix, vector = matrix * scale[None] * scale[:, None], vector * scale
    upper = jnp.where(idle, 0.0, jnp.sqrt(diagonal))
    rate = 1.0 / jnp.maximum(jnp.minimum(jnp.linalg.norm(matrix), jnp.max(jnp.sum(jnp.abs(matrix), 1))), 1.0)

    def step(carry, _):
        here, ahead, momentum = carry
        gradient = matrix @ ahead - vector
        there = jnp.clip(ahead - rate * gradient, 0.0, upper)
        faster = 0.5 * (1 + jnp.sqrt(1 + 4 * momentum**2))
        uphill = jnp.sum(gradient * (there - here)) > 0
        faster = jnp.where(uphill, 1.0, faster)
        ahead = there + jnp.where(uphill, 0.0, (momentum - 1) / faster) * (there - here)
        return (there, ahead, faster), None

    start = 0.5 * upper
    (solution, _, _), _ = jax.lax.scan(step, (start, start, jnp.ones_like(rate)), None, length=steps)
    return jnp.where(idle, 0.0, solution * scale)


def _true_face(space: CoefficientSpace, predicted: Vector, true: Vector) -> tuple[Coefficients, Vector]:
    """The true face, and the absolute un-whitened differences."""
    predicted, true = jax.lax.stop_gradient((predicted, true))
    return unpack(unwhiten(space.whitening, true)), jnp.abs(predicted - true) * space.whitening.std


def _closed_form(
    space: CoefficientSpace, step: Vector, rotation: Float[Array, " 3"], basis: Float[Array, " C"]
) -> Vector:
    places = jnp.full_like(rotation[:1], space.mean.shape[0] ** 0.5)
    rows = jnp.tile(jnp.concatenate([rotation, places]), 3)
    step = step.at[DEPTH_ENTRY].set(0.0)
    weights = normalize_weights(step * jnp.concatenate([rows, basis]))
    return _without_depth(weights)


def _without_depth(weights: Vector) -> Vector:
    return weights.at[DEPTH_ENTRY].set(0.0)

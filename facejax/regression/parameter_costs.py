"""3DDFA's and 3DDFA_V2's losses for this network: its output as one whitened vector, compared by a named cost.

Zhu et al., "Face alignment in full pose range: a 3D total solution", TPAMI 2019; Guo et al., "Towards fast, accurate
and stable 3D dense face alignment", ECCV 2020. Differs from the papers: the network is the compact encoder, whose
rotation is always a true rotation. The weak-perspective scale is that at the head's origin. The points are the anchors
(68 landmarks and 132 fixed vertices). Distance, albedo, light and the landmark head are not part of the vector and keep
their own terms.
"""

from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.camera import PerspectiveCamera, WeakPerspectiveCamera
from facejax.nets.encoder import EncoderOutput, apply_encoder
from facejax.objectives import (
    PARAMETER_COSTS,
    CoefficientSpace,
    coefficient_space,
    landmark_regression,
    meta_joint_step,
    regularize,
    vanilla_joint,
    whiten,
)
from facejax.objectives.coefficients import fit_whitening, pack, pose_from_camera
from facejax.regression.regressor import RegressorConfig, split_blocks, to_params
from facejax.regression.training import Anchors, Recipe, State, View, descend, losses

JOINED = ("fwpdc", "vdc-fast")  # the two costs that 3DDFA_V2 joins


@dataclass(frozen=True)
class CostRecipe(Recipe):
    """A recipe whose main term is a cost on the whitened vector; `terms` are added to it. Static and hashable."""

    name: str = "3ddfa_wpdc"
    cost: str = "wpdc"  # a name in PARAMETER_COSTS, or "joint": 3DDFA_V2's two, the second scaled to the first
    regularize: bool = False  # add the landmark head's squared error at the magnitude of the cost (3DDFA_V2)
    look_ahead: int = 0  # steps of each of 3DDFA_V2's costs before the better branch is kept; 0: no branches
    terms: tuple[tuple[str, float], ...] = (("landmarks", 1.0), ("distance", 0.1), ("albedo", 0.05), ("light", 0.05))


def affine_vector(config: RegressorConfig, coefficients: Float[Array, " C"]) -> Float[Array, " P"]:
    """The network's coefficients as 3DDFA's raw vector: 12 numbers of [f R | t] in pixels, identity, expression."""
    params = to_params(config, coefficients)
    assert isinstance(params.camera, PerspectiveCamera)
    scale = params.camera.focal / -params.pose.translation[2]
    pose = pose_from_camera(
        params.pose, WeakPerspectiveCamera(scale, params.camera.principal), float(config.encoder.size)
    )
    expression = split_blocks(config, coefficients)["expression"]  # unclipped, so that a gradient stays
    return pack(pose, params.identity, expression)


def cost_space(config: RegressorConfig, anchors: Anchors, coefficients: Float[Array, "N C"]) -> CoefficientSpace:
    """The anchors as a space for the costs, whitened by the true coefficients of N faces."""
    samples = jax.vmap(lambda one: affine_vector(config, one))(coefficients)
    basis = jnp.concatenate([anchors.identity, anchors.expression])
    return coefficient_space(anchors.mean, basis, fit_whitening(samples))


def cost_losses(
    config: RegressorConfig,
    recipe: CostRecipe,
    anchors: Anchors,
    space: CoefficientSpace,
    output: EncoderOutput,
    truth: View,
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """The total loss, and every term by name.

    Args:
      config: sizes of the regressor.
      recipe: which cost, and which terms besides it.
      anchors: the model at its landmarks and some vertices.
      space: the same, as `cost_space` makes it.
      output: of the network, with a leading axis.
      truth: its labels, with a leading axis.

    Returns:
      The total and the terms.
    """
    white = jax.vmap(lambda one: whiten(space.whitening, affine_vector(config, one)))
    said, meant = white(output.coefficients), white(truth.coefficients)

    def cost(name: str) -> Float[Array, ""]:
        return jnp.mean(jax.vmap(lambda a, b: PARAMETER_COSTS[name](space, a, b))(said, meant))

    value = vanilla_joint(cost(JOINED[0]), cost(JOINED[1])) if recipe.cost == "joint" else cost(recipe.cost)
    if recipe.regularize:
        size = jnp.sqrt(jnp.prod(jnp.ptp(truth.landmarks, axis=1), axis=-1))
        value = regularize(value, jnp.mean(jax.vmap(landmark_regression)(output.landmarks, truth.landmarks, size)))
    terms = losses(config, anchors, output, truth) | {"cost": value}
    return value + sum(weight * terms[name] for name, weight in recipe.terms), terms


def cost_step(
    config: RegressorConfig, recipe: CostRecipe, anchors: Anchors, space: CoefficientSpace, state: State, views: View
) -> tuple[State, dict[str, Float[Array, ""]]]:
    """One step on a batch of views.

    Args:
      config: sizes of the regressor.
      recipe: the loss.
      anchors, space: the model, as for `cost_losses`.
      state: of the run.
      views: the batch.

    Returns:
      The next state and the terms.
    """

    def total(params: Any):
        return cost_losses(config, recipe, anchors, space, apply_encoder(config.encoder, params, views.image), views)

    (_, terms), gradient = jax.value_and_grad(total, has_aux=True)(state.params)
    return descend(recipe, state, gradient), terms


def meta_cost_step(
    config: RegressorConfig, recipe: CostRecipe, anchors: Anchors, space: CoefficientSpace, state: State, views: View
) -> tuple[State, dict[str, Float[Array, ""]]]:
    """One round of 3DDFA_V2's meta-joint optimisation: `recipe.look_ahead` steps, by the better of the two costs.

    Args:
      config: sizes of the regressor.
      recipe: the loss.
      anchors, space: the model, as for `cost_losses`.
      state: of the run.
      views: cut into `look_ahead` batches to learn from and one to judge by.

    Returns:
      The next state, and the terms on the judging batch; "branch" is 0 where fWPDC won, 1 where VDC did.

    Raises ValueError when the batch cannot be cut into equal parts.
    """
    parts = recipe.look_ahead + 1
    if len(views.image) % parts:
        raise ValueError(f"a batch of {len(views.image)} for {parts} parts: use a multiple of look_ahead + 1")
    cut = jax.tree.map(lambda leaf: leaf.reshape(parts, -1, *leaf.shape[1:]), views)
    train, test = jax.tree.map(lambda leaf: leaf[:-1], cut), jax.tree.map(lambda leaf: leaf[-1], cut)
    rounds = replace(recipe, steps=recipe.steps * recipe.look_ahead, warmup=recipe.warmup * recipe.look_ahead)

    def branch(cost: str):
        return lambda state, batch: cost_step(config, replace(rounds, cost=cost), anchors, space, state, batch)[0]

    def judge(state: State, batch: View) -> dict[str, Float[Array, ""]]:
        return losses(config, anchors, apply_encoder(config.encoder, state.params, batch.image), batch)

    state, chosen, _ = meta_joint_step(
        [branch(cost) for cost in JOINED], lambda state, batch: judge(state, batch)["points"], state, train, test
    )
    return state, judge(state, test) | {"branch": chosen.astype(jnp.float32)}

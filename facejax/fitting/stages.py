"""A stage of a fit as data: which parameters move, how fast, under which loss terms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from facejax import camera as cam
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting.priors import PRIORS, Priors, expression_std
from facejax.fitting.scene import Observation, Scene, look
from facejax.objectives import landmark_distance, light_below_zero, light_colour, mean_square, robust_photometric

Term = Callable[[Scene], Float[Array, ""]]

TERMS: Mapping[str, Term] = MappingProxyType(
    {
        "pixels": lambda s: robust_photometric(s.rendering.color, s.seen.image, s.mask),
        "landmarks": lambda s: landmark_distance(s.landmarks, s.seen.landmarks, s.seen.landmark_weights, s.seen.size),
        "identity": lambda s: mean_square(s.params.identity),
        "expression": lambda s: mean_square(s.params.expression / expression_std(s.model, s.priors)),
        "albedo": lambda s: mean_square(s.params.albedo),
        "light_colour": lambda s: light_colour(s.params.light),
        "light_below_zero": lambda s: light_below_zero(s.params.light),
    }
)


@dataclass(frozen=True)
class Stage:
    """Some steps of Adam on some blocks of the parameters. Static and hashable: a recipe is compiled once.

    Every block has its own step length, in its own unit (standard deviations, weights, radians, millimetres); the
    gradient's scale does not matter. All follow one cosine decay.
    """

    name: str
    steps: int
    rates: tuple[tuple[str, float], ...]  # block of `Increment` -> first step length
    weights: tuple[tuple[str, float], ...]  # term -> weight


class Increment(NamedTuple):
    """What a stage adds to the parameters it starts from; rotation as a rotation vector in camera space."""

    identity: Float[Array, " K"]
    expression: Float[Array, " E"]
    albedo: Float[Array, " A"]
    light: Float[Array, "9 3"]
    rotation: Float[Array, " 3"]  # radians
    translation: Float[Array, " 3"]  # mm


class StageTrace(NamedTuple):
    losses: Float[Array, " T"]  # weighted total before each step
    skipped: Int[Array, ""]  # steps refused because loss or gradient was not finite
    converged: Bool[Array, ""]  # the last tenth of the steps lowered the loss by less than 2 %


def no_increment(params: FaceParams) -> Increment:
    zeros = jax.tree.map(jnp.zeros_like, (params.identity, params.expression, params.albedo, params.light))
    return Increment(*zeros, rotation=jnp.zeros(3), translation=jnp.zeros(3))


def apply_increment(params: FaceParams, increment: Increment) -> FaceParams:
    turn = cam.axis_angle_to_quaternion(increment.rotation)
    pose = cam.Pose(
        cam.quaternion_multiply(turn, params.pose.rotation), params.pose.translation + increment.translation
    )
    return replace(
        params,
        identity=params.identity + increment.identity,
        expression=params.expression + increment.expression,
        albedo=params.albedo + increment.albedo,
        light=params.light + increment.light,
        pose=pose,
    )


def run_stage(
    model: FaceModel,
    params: FaceParams,
    seen: Observation,
    *,
    stage: Stage,
    priors: Priors = PRIORS,
    terms: Mapping[str, Term] = TERMS,
) -> tuple[FaceParams, StageTrace]:
    """Run one stage on one face. A step whose loss or gradient is not finite is skipped and counted."""
    check_stage(stage, terms)
    rates = [dict(stage.rates).get(block, 0.0) for block in Increment._fields]
    schedule = optax.cosine_decay_schedule(1.0, stage.steps, alpha=0.05)
    adam = optax.scale_by_adam(b1=0.9, b2=0.99)

    def loss(increment: Increment):
        scene = look(model, apply_increment(params, increment), seen, priors=priors)
        return sum(weight * terms[name](scene) for name, weight in stage.weights)

    def keep_in_range(increment: Increment) -> Increment:
        if not model.blendshapes:
            return increment
        clipped = jnp.clip(params.expression + increment.expression, 0.0, 1.0)
        return increment._replace(expression=clipped - params.expression)

    def step(carry, index):
        increment, state, skipped = carry
        value, gradient = jax.value_and_grad(loss)(increment)
        finite = jnp.isfinite(value) & jnp.all(jnp.array([jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradient)]))
        direction, moved_state = adam.update(gradient, state)
        pace = schedule(index)
        moved = Increment(
            *(x - pace * rate * d for x, d, rate in zip(increment, jax.tree.leaves(direction), rates, strict=True))
        )
        chosen = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (keep_in_range(moved), moved_state), (increment, state)
        )
        return (*chosen, skipped + jnp.where(finite, 0, 1)), value

    start = no_increment(params)
    first = (start, adam.init(start), jnp.zeros((), jnp.int32))
    (increment, _, skipped), losses = jax.lax.scan(step, first, jnp.arange(stage.steps))
    tail = max(stage.steps // 10, 1)
    before, after = jnp.mean(losses[-2 * tail : -tail]), jnp.mean(losses[-tail:])
    converged = (skipped == 0) & (before - after < 0.02 * jnp.abs(before))
    return apply_increment(params, increment), StageTrace(losses, skipped, converged)


def check_stage(stage: Stage, terms: Mapping[str, Term]) -> None:
    """Every block and term that a stage names must exist."""
    for name, _ in stage.weights:
        if name not in terms:
            raise ValueError(f"stage {stage.name!r} names the unknown loss term {name!r}: known are {sorted(terms)}")
    for block, _ in stage.rates:
        if block not in Increment._fields:
            raise ValueError(
                f"stage {stage.name!r} moves the unknown block {block!r}: known are {sorted(Increment._fields)}"
            )

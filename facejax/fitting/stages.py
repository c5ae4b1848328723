"""A stage of a fit as data: which parameters move, how fast, under which loss terms."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from facejax import camera as cam
from facejax.face_model import AlbedoModel, FaceModel, FaceParams, decode_albedo
from facejax.fitting.priors import PRIORS, Priors
from facejax.fitting.scene import Observation, look, resize, split_details
from facejax.fitting.terms import TERMS, Term
from facejax.fitting.tools import LINEAR, NO_TOOLS, Painter, Tools
from facejax.promotion import standard_promotion

GEOMETRY = {"identity", "expression", "rotation", "translation"}  # blocks that move the surface
ALBEDO = {"albedo", "details"}  # blocks that colour it
DIVERGED = 4.0  # a loss this many times the first one (in absolute value) is not followed any further


@dataclass(frozen=True)
class Stage:
    """Some steps of Adam on some blocks of the parameters. Static and hashable: a recipe is compiled once.

    Every block has its own step length, in its own unit (standard deviations, weights, radians, millimetres); the
    gradient's scale does not matter. All follow one schedule: full pace, then a half cosine down to `floor` over the
    last `rampdown` of the steps.

    >>> stage = Stage("light", steps=20, rates=(("light", 0.02),), weights=(("pixels", 1.0), ("light_colour", 0.01)))
    >>> [round(float(schedule(stage)(step)), 2) for step in (0, 10, 20)]
    [1.0, 0.52, 0.05]
    """

    name: str
    steps: int
    rates: tuple[tuple[str, float], ...]  # block of `Increment` -> first step length
    weights: tuple[tuple[str, float], ...]  # term of `TERMS` -> weight
    albedo: str = LINEAR  # which albedo model is drawn: the face model's own, or one of `Tools.albedos`
    size: int | None = None  # side at which the crop is compared, pixels; None: the recipe's
    rampdown: float = 1.0
    floor: float = 0.05  # of the schedule
    betas: tuple[float, float] = (0.9, 0.99)  # Adam's
    constraint: Literal["none", "sphere"] = "none"  # sphere: every latent vector of the albedo keeps its length
    start: Literal["near", "normal"] = "near"  # of another albedo model: near the last albedo, or random numbers


class Increment(NamedTuple):
    """What a stage adds to the parameters it starts from, block by block; None: the block does not move."""

    identity: Float[Array, " K"] | None = None
    expression: Float[Array, " E"] | None = None
    albedo: Float[Array, " A"] | None = None  # without the details
    details: Float[Array, " D"] | None = None  # the last coefficients of an albedo that has details (`split_details`)
    light: Float[Array, "9 3"] | None = None
    rotation: Float[Array, " 3"] | None = None  # rotation vector in camera space, radians
    translation: Float[Array, " 3"] | None = None  # mm


class StageTrace(NamedTuple):
    """What a stage did, one face."""

    losses: Float[Array, " T"]  # weighted total before each step
    terms: dict[str, Float[Array, " T"]]  # the weighted terms that make it up
    frozen: Int[Array, ""]  # step from which on the face stayed as it was, since it diverged; -1: it never did
    converged: Bool[Array, ""]  # the last tenth of the steps lowered the loss by less than 2 %


class _Walk(NamedTuple):
    """Where a face is."""

    increment: Increment
    good: Increment  # the last one whose loss and gradient were sound
    adam: optax.OptState
    first: Float[Array, ""]  # loss
    frozen: Int[Array, ""]


def describe_stage(stage: Stage, tools: Tools = NO_TOOLS, terms: Mapping[str, Term] = TERMS) -> dict[str, object]:
    """What a stage does, for a summary: which blocks move, which albedo, which terms, and what they look through."""
    roles = {name: role for name, _ in stage.weights if (role := terms[name].network) is not None}
    return {
        "steps": stage.steps,
        "moves": [block for block, _ in stage.rates],
        "albedo": stage.albedo,
        "terms": dict(stage.weights),
        "networks": {name: tools.networks[role].name for name, role in roles.items() if role in tools.networks},
    }


def no_increment(model: FaceModel, params: FaceParams, moving: Collection[str]) -> Increment:
    """Where a stage begins that moves these blocks: nothing added."""
    blocks = params.identity, params.expression, *split_details(model, params.albedo), params.light
    whole = Increment(*jax.tree.map(jnp.zeros_like, blocks), rotation=jnp.zeros(3), translation=jnp.zeros(3))
    return Increment(**{name: block for name, block in whole._asdict().items() if name in moving})


def apply_increment(model: FaceModel, params: FaceParams, increment: Increment) -> FaceParams:
    """The parameters after it; the rotation is turned in camera space, the translation moved by millimetres."""
    rotation = params.pose.rotation
    if increment.rotation is not None:
        rotation = cam.quaternion_multiply(cam.axis_angle_to_quaternion(increment.rotation), rotation)
    latents, details = split_details(model, params.albedo)
    return replace(
        params,
        identity=_plus(params.identity, increment.identity),
        expression=_plus(params.expression, increment.expression),
        albedo=jnp.concatenate([_plus(latents, increment.albedo), _plus(details, increment.details)]),
        light=_plus(params.light, increment.light),
        pose=cam.Pose(rotation, _plus(params.pose.translation, increment.translation)),
    )


def _plus(block: Array, more: Array | None) -> Array:
    return block if more is None else block + more


def switch_albedo(
    model: FaceModel,
    params: FaceParams,
    albedo: AlbedoModel | None,
    start: Literal["near", "normal"] = "near",
    *,
    photo: Float[Array, "S S 3"] | None = None,
) -> tuple[FaceModel, FaceParams]:
    """The model with another albedo model, and coefficients near the old albedo, or always the same normal numbers.

    A `Painter` begins with what it sees in the photograph.
    """
    if albedo is None:
        found = jnp.zeros(0)
    elif isinstance(albedo, Painter):
        found = jnp.zeros(albedo.count) if photo is None else albedo.begin(photo)
    elif start == "near":
        found = albedo.encode(decode_albedo(model, params))
    else:
        found = jax.random.normal(jax.random.key(123), (albedo.count,))
    return replace(model, albedo=albedo), replace(params, albedo=found)


def run_stage(
    model: FaceModel,
    params: FaceParams,
    seen: Observation,
    *,
    stage: Stage,
    priors: Priors = PRIORS,
    tools: Tools = NO_TOOLS,
    terms: Mapping[str, Term] = TERMS,
) -> tuple[FaceParams, StageTrace]:
    """Run one stage on one face whose model already has the stage's albedo (`switch_albedo`).

    A face whose loss or gradient stops being finite, or whose loss grows beyond `DIVERGED` times its first, goes back
    to its last sound state and stays there; the others of a batch do not notice.
    """
    check_stage(stage, tools, terms)
    camera = params.camera
    if stage.size is not None and stage.size != seen.image.shape[-2]:
        seen, params = resize(seen, params, stage.size)
    rates = {block: rate for block, rate in stage.rates if rate}
    see = partial(look, model, seen=seen, priors=priors, tools=tools, targets=_targets(stage, seen, tools, terms))
    paints = isinstance(model.albedo, Painter)
    # What does not move is decoded and rendered once.
    albedo = None if paints or rates.keys() & ALBEDO else decode_albedo(model, params)
    before = None if paints or rates.keys() & GEOMETRY else see(params, albedo=albedo)
    adam: Any = optax.scale_by_adam(*stage.betas)

    def loss(increment: Increment):
        scene = see(apply_increment(model, params, increment), albedo=albedo, before=before)
        parts = {name: weight * terms[name].value(scene) for name, weight in stage.weights}
        return sum(parts.values()), parts

    def step(walk: _Walk, now):
        index, pace = now
        (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(walk.increment)
        first = jnp.where(index == 0, value, walk.first)
        leaves = [value, *jax.tree.leaves(gradient)]
        finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        sound = (walk.frozen < 0) & finite & (value <= DIVERGED * jnp.abs(first) + 1e-3)
        direction, state = standard_promotion(adam.update)(gradient, walk.adam)
        blocks = zip(Increment._fields, walk.increment, direction, strict=True)
        moved = Increment(**{name: x - pace * rates[name] * d for name, x, d in blocks if name in rates})
        moved = _allowed(model, params, moved, stage)
        frozen = jnp.where((walk.frozen < 0) & ~sound, index, walk.frozen)
        follow = lambda new, old: jnp.where(sound, new, old)  # noqa: E731
        good = jax.tree.map(follow, walk.increment, walk.good)
        increment = jax.tree.map(follow, moved, walk.good)
        return _Walk(increment, good, jax.tree.map(follow, state, walk.adam), first, frozen), (value, parts)

    start = no_increment(model, params, rates)
    walk = _Walk(start, start, adam.init(start), jnp.zeros(()), jnp.asarray(-1))
    walk = _of_this_face(walk, seen)
    steps = jnp.arange(stage.steps)
    walk, (losses, parts) = jax.lax.scan(step, walk, (steps, schedule(stage)(steps)))
    tail = max(stage.steps // 10, 1)
    early, late = jnp.mean(losses[-2 * tail : -tail]), jnp.mean(losses[-tail:])
    converged = (walk.frozen < 0) & (early - late < 0.02 * jnp.abs(early))
    found = replace(apply_increment(model, params, walk.increment), camera=camera)
    return found, StageTrace(losses, parts, walk.frozen, converged)


def _of_this_face(walk: _Walk, seen: Observation) -> _Walk:
    """The same numbers, one of each for every face under `jax.vmap`.

    A scan whose start is shared by all faces is traced again once they part: this halves what a stage takes to trace.
    """
    zero = jnp.where(jnp.isfinite(seen.size), 0, 0)
    return jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype), walk)


def schedule(stage: Stage) -> optax.Schedule:
    """Share of the first step length at each step: Karras et al., "Analyzing StyleGAN2", appendix on projection."""
    fall = max(round(stage.rampdown * stage.steps), 1)
    down = optax.cosine_decay_schedule(1.0, fall, alpha=stage.floor)
    return standard_promotion(optax.join_schedules([optax.constant_schedule(1.0), down], [stage.steps - fall]))


def _targets(stage: Stage, seen: Observation, tools: Tools, terms: Mapping[str, Term]):
    """The photograph's features, for every network that a term of the stage looks through."""
    roles = {role for name, _ in stage.weights if (role := terms[name].network) is not None}
    return {role: tools.networks[role].see(seen.image, seen.landmarks) for role in sorted(roles)}


def _allowed(model: FaceModel, params: FaceParams, increment: Increment, stage: Stage) -> Increment:
    """The nearest increment with blendshape weights in [0, 1] and latents where the stage's constraint has them."""
    if model.blendshapes and increment.expression is not None:
        clipped = jnp.clip(params.expression + increment.expression, 0.0, 1.0)
        increment = increment._replace(expression=clipped - params.expression)
    if stage.constraint == "sphere" and increment.albedo is not None:
        layers = getattr(model.albedo, "latent_layers", 1)
        latents, _ = split_details(model, params.albedo)
        start, now = (x.reshape(layers, -1) for x in (latents, latents + increment.albedo))
        length, kept = (jnp.sqrt(jnp.sum(x * x, axis=1, keepdims=True) + 1e-12) for x in (now, start))
        increment = increment._replace(albedo=(now * kept / length - start).reshape(-1))
    return increment


def check_stage(stage: Stage, tools: Tools, terms: Mapping[str, Term]) -> None:
    """Every block, term and network that a stage names must exist."""
    for name, _ in stage.weights:
        if name not in terms:
            raise ValueError(f"stage {stage.name!r} names the unknown loss term {name!r}: known are {sorted(terms)}")
        role = terms[name].network
        if role is not None and role not in tools.networks:
            raise ValueError(
                f"stage {stage.name!r}: the term {name!r} needs a network for {role!r}; pass Tools(networks=...), or "
                "leave the term out"
            )
    for block, _ in stage.rates:
        if block not in Increment._fields:
            raise ValueError(
                f"stage {stage.name!r} moves the unknown block {block!r}: known are {sorted(Increment._fields)}"
            )

"""A stage of a fit as data: which parameters move, how fast, under which loss terms."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from facejax import camera as cam
from facejax.appearance import GEOMETRY, Appearance, block_count, split_blocks
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.gaze import look_rows
from facejax.fitting.ingredients import LINEAR, NO_INGREDIENTS, Ingredients
from facejax.fitting.priors import PRIORS, Priors
from facejax.fitting.scene import Observation, observe, resize
from facejax.fitting.terms import TERMS, Term
from facejax.programs.promotion import standard_promotion

DIVERGED = 4.0  # a face has diverged when its loss is this many times the first one (in absolute value)

Offsets = dict[str, Array]  # what a stage adds to the parameters it starts from, by block


@dataclass(frozen=True)
class Stage:
    """Some steps of Adam on some blocks of the parameters. Static and hashable: a recipe is compiled once.

    Blocks are "identity", "expression", "rotation" (a rotation vector in camera space, radians), "translation" (mm),
    "light", and those of the appearance: "albedo" of the linear one, "latents" and "details" of decoders. Each has its
    own step length, in its own unit (standard deviations, weights, radians, millimetres); the gradient's scale does not
    matter. All follow one schedule: full pace, then a half cosine down to `floor` over the last `rampdown` of the
    steps.

    >>> stage = Stage("light", steps=20, rates=(("light", 0.02),), weights=(("pixels", 1.0), ("light_colour", 0.01)))
    >>> [round(float(schedule(stage)(step)), 2) for step in (0, 10, 20)]
    [1.0, 0.52, 0.05]
    """

    name: str
    steps: int
    rates: tuple[tuple[str, float], ...]  # block -> first step length
    weights: tuple[tuple[str, float], ...]  # term of `TERMS` -> weight
    appearance: str = LINEAR  # what colours the face: its model's own albedo, or one of `Ingredients.appearances`
    size: int | None = None  # side at which the crop is compared, pixels; None: the recipe's
    rampdown: float = 1.0
    floor: float = 0.05  # of the schedule
    betas: tuple[float, float] = (0.9, 0.99)  # Adam's
    constraint: Literal["none", "sphere"] = "none"  # sphere: every row of "latents" keeps its length
    start: Literal["near", "normal"] = "near"  # blocks of a new appearance: near the last albedo, or random numbers

    @property
    def moves(self) -> tuple[str, ...]:
        """The blocks that it moves."""
        return tuple(block for block, _ in self.rates)


@runtime_checkable
class Planned(Protocol):
    """What all kinds of stages have in common."""

    @property
    def name(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def weights(self) -> tuple[tuple[str, float], ...]: ...
    @property
    def appearance(self) -> str: ...
    @property
    def moves(self) -> tuple[str, ...]: ...


class StageTrace(NamedTuple):
    """The course of a stage, one face."""

    losses: Float[Array, " T"]  # weighted total before each step
    terms: dict[str, Float[Array, " T"]]  # the weighted terms that make it up
    diverged_at: Int[Array, ""]  # step at which a diverging face was frozen; -1: it did not diverge
    converged: Bool[Array, ""]  # the last tenth of the steps lowered the loss by less than 2 %


class _State(NamedTuple):
    """The state that a step passes to the next."""

    offsets: Offsets
    sound: Offsets  # the last ones whose loss and gradient were sound
    adam: optax.OptState
    first_loss: Float[Array, ""]
    diverged_at: Int[Array, ""]


def describe_stage(
    stage: Planned, ingredients: Ingredients = NO_INGREDIENTS, terms: Mapping[str, Term] = TERMS
) -> dict[str, object]:
    """A stage in words, for a summary: its blocks, appearance and terms, and the networks that the terms use."""
    known = {name: terms[name].network for name, _ in stage.weights if name in terms}  # the user's own are not
    roles = {name: role for name, role in known.items() if role is not None}
    networks = ingredients.networks
    return {
        "steps": stage.steps,
        "moves": list(stage.moves),
        "appearance": stage.appearance,
        "terms": dict(stage.weights),
        "networks": {name: networks[role].name for name, role in roles.items() if role in networks},
    }


def zero_offsets(params: FaceParams, moving: Collection[str]) -> Offsets:
    """Zero offsets for these blocks: the start of a stage that moves them."""
    shapes = {name: getattr(params, name) for name in ("identity", "expression", "light")} | dict(params.appearance)
    shapes |= {"rotation": jnp.zeros(3), "translation": params.pose.translation}
    return {name: jnp.zeros_like(shapes[name]) for name in shapes if name in moving}


def add_offsets(params: FaceParams, offsets: Offsets) -> FaceParams:
    """Add offsets to parameters; the rotation is turned in camera space, the translation moves in millimetres."""
    plus = lambda name, block: block + offsets[name] if name in offsets else block  # noqa: E731
    rotation = params.pose.rotation
    if "rotation" in offsets:
        rotation = cam.quaternion_multiply(cam.axis_angle_to_quaternion(offsets["rotation"]), rotation)
    return replace(
        params,
        identity=plus("identity", params.identity),
        expression=plus("expression", params.expression),
        appearance={name: plus(name, block) for name, block in params.appearance.items()},
        light=plus("light", params.light),
        pose=cam.Pose(rotation, plus("translation", params.pose.translation)),
    )


def change_appearance(
    params: FaceParams,
    old: Appearance,
    new: Appearance,
    photo: Float[Array, "S S 3"],
    start: Literal["near", "normal"] = "near",
) -> FaceParams:
    """The parameters with the blocks of another appearance.

    Args:
        params: with the blocks of the appearance `old`.
        old, new: the appearances.
        photo: the crop that is fitted, display values.
        start: "near" the old albedo (`Appearance.init`), or always the same "normal" random numbers.
    """
    if start == "normal":
        return replace(
            params, appearance=split_blocks(new, jax.random.normal(jax.random.key(123), (block_count(new),)))
        )
    return replace(params, appearance=new.init(photo, old.decode(params.appearance)))


def run_stage(
    model: FaceModel,
    params: FaceParams,
    seen: Observation,
    appearance: Appearance,
    *,
    stage: Stage,
    priors: Priors = PRIORS,
    ingredients: Ingredients = NO_INGREDIENTS,
    terms: Mapping[str, Term] = TERMS,
) -> tuple[FaceParams, StageTrace]:
    """Run one stage on one face.

    A face whose loss or gradient stops being finite, or whose loss grows beyond `DIVERGED` times its first, goes back
    to its last sound state and stays there; the other faces of a batch are not affected.

    Args:
        model, params, seen: the face as the stage before left it, and its photograph.
        appearance: what colours it; `params` has its blocks (`change_appearance`).
        stage: the steps, blocks and terms.
        priors: what is expected of a face.
        ingredients: holds the networks that the stage's terms use.
        terms: the loss terms by name.

    Returns: the parameters after the last step, and the stage's losses.
    """
    check_stage(stage, appearance, ingredients, terms)
    camera = params.camera
    if stage.size is not None and stage.size != seen.image.shape[-2]:
        seen, params = resize(seen, params, stage.size)
    rates = {block: rate for block, rate in stage.rates if rate}
    targets = find_targets(stage, seen, ingredients, terms)
    see = observe(
        model, params, seen, appearance, moving=rates.keys(), priors=priors, ingredients=ingredients, targets=targets
    )
    adam: Any = optax.scale_by_adam(*stage.betas)

    def loss(offsets: Offsets):
        scene = see(add_offsets(params, offsets))
        parts = {name: weight * terms[name].value(scene) for name, weight in stage.weights}
        return sum(parts.values()), parts

    def step(state: _State, now):
        index, pace = now
        (value, parts), gradient = jax.value_and_grad(loss, has_aux=True)(state.offsets)
        first = jnp.where(index == 0, value, state.first_loss)
        leaves = [value, *jax.tree.leaves(gradient)]
        finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        sound = (state.diverged_at < 0) & finite & (value <= DIVERGED * jnp.abs(first) + 1e-3)
        direction, moments = standard_promotion(adam.update)(gradient, state.adam)
        moved = {name: x - pace * rates[name] * direction[name] for name, x in state.offsets.items()}
        moved = _allowed(model, params, moved, stage)
        diverged_at = jnp.where((state.diverged_at < 0) & ~sound, index, state.diverged_at)
        follow = lambda new, old: jnp.where(sound, new, old)  # noqa: E731
        last_sound = jax.tree.map(follow, state.offsets, state.sound)
        offsets = jax.tree.map(follow, moved, state.sound)
        moments = jax.tree.map(follow, moments, state.adam)
        return _State(offsets, last_sound, moments, first, diverged_at), (value, parts)

    start = zero_offsets(params, rates)
    state = _State(start, start, adam.init(start), jnp.zeros(()), jnp.asarray(-1))
    steps = jnp.arange(stage.steps)
    state, (losses, parts) = jax.lax.scan(step, _of_this_face(state, seen), (steps, schedule(stage)(steps)))
    tail = max(stage.steps // 10, 1)
    early, late = jnp.mean(losses[-2 * tail : -tail]), jnp.mean(losses[-tail:])
    converged = (state.diverged_at < 0) & (early - late < 0.02 * jnp.abs(early))
    found = replace(add_offsets(params, state.offsets), camera=camera)
    return found, StageTrace(losses, parts, state.diverged_at, converged)


def _of_this_face(state: _State, seen: Observation) -> _State:
    """The same state, but one per face under `jax.vmap`.

    If all faces share the start of a scan, jax traces the scan again when their states differ. This halves the time to
    trace a stage.
    """
    zero = jnp.where(jnp.isfinite(seen.size), 0, 0)
    return jax.tree.map(lambda leaf: leaf + zero.astype(leaf.dtype), state)


def schedule(stage: Stage) -> optax.Schedule:
    """Share of the first step length at each step: Karras et al., "Analyzing StyleGAN2", appendix on projection."""
    fall = max(round(stage.rampdown * stage.steps), 1)
    down = optax.cosine_decay_schedule(1.0, fall, alpha=stage.floor)
    return standard_promotion(optax.join_schedules([optax.constant_schedule(1.0), down], [stage.steps - fall]))


def find_targets(
    stage: Planned, seen: Observation, ingredients: Ingredients, terms: Mapping[str, Term]
) -> dict[str, Any]:
    """The photograph's features, for every network that a term of the stage uses."""
    roles = {role for name, _ in stage.weights if (role := terms[name].network) is not None}
    return {role: ingredients.networks[role].see(seen.image, seen.landmarks) for role in sorted(roles)}


def _allowed(model: FaceModel, params: FaceParams, offsets: Offsets, stage: Stage) -> Offsets:
    """The nearest offsets with blendshape weights in [0, 1] and latents that satisfy the stage's constraint.

    The blendshapes that follow from a gaze stay as they are.
    """
    if model.blendshapes and "expression" in offsets:
        clipped = jnp.clip(params.expression + offsets["expression"], 0.0, 1.0)
        if params.gaze is not None and (rows := look_rows(model)) is not None:
            clipped = clipped.at[rows.reshape(-1)].set(params.expression[rows.reshape(-1)])
        offsets = offsets | {"expression": clipped - params.expression}
    if stage.constraint == "sphere" and "latents" in offsets:
        start = params.appearance["latents"]
        now = start + offsets["latents"]
        length, kept = (jnp.sqrt(jnp.sum(x * x, axis=1, keepdims=True) + 1e-12) for x in (now, start))
        offsets = offsets | {"latents": now * kept / length - start}
    return offsets


def check_stage(
    stage: Planned, appearance: Appearance, ingredients: Ingredients, terms: Mapping[str, Term] = TERMS
) -> None:
    """Raises ValueError unless every block, term and network that a stage names exists.

    Args:
        stage: the stage.
        appearance: has the blocks that the stage may move.
        ingredients: have the networks that its terms use.
        terms: the loss terms by name.
    """
    for name, _ in stage.weights:
        if name not in terms:
            raise ValueError(f"stage {stage.name!r} names the unknown loss term {name!r}: known are {sorted(terms)}")
        term = terms[name]
        if term.network is not None and term.network not in ingredients.networks:
            raise ValueError(
                f"stage {stage.name!r}: the term {name!r} needs a network for {term.network!r}; pass "
                "Ingredients(networks=...), or leave the term out"
            )
        if term.block is not None and term.block not in appearance.blocks:
            raise ValueError(
                f"stage {stage.name!r}: the term {name!r} looks at the block {term.block!r}, but the appearance "
                f"{stage.appearance!r} has {sorted(appearance.blocks)}"
            )
    known = {*GEOMETRY, "light", *appearance.blocks}
    for block in stage.moves:
        if block not in known:
            raise ValueError(f"stage {stage.name!r} moves the unknown block {block!r}: known are {sorted(known)}")

"""Supervised training of the regressor on labelled pictures: views, losses and the step, as pure functions."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key, UInt8

from facejax.camera import PerspectiveCamera, Pose, project, quaternion_multiply, to_camera
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.surface_landmarks import landmark_candidates
from facejax.lighting import roll_light
from facejax.mesh import points_on_faces
from facejax.nets.encoder import EncoderOutput, apply_encoder, init_encoder
from facejax.objectives import landmark_likelihood
from facejax.programs.promotion import standard_promotion
from facejax.regression.regressor import RegressorConfig, from_params, split_blocks, to_params
from facejax.synthetic.camera_effects import photograph
from facejax.synthetic.occluders import occlude
from facejax.synthetic.warp import bend_points, draw_bend, resample


@dataclass(frozen=True)
class Augmentation:
    """How the crops of one picture vary. Static and hashable."""

    shift: float = 0.07  # standard deviation of the crop's centre, in sides of the crop
    zoom: float = 0.1  # standard deviation of the log of its side
    roll: float = 8.0  # degrees, standard deviation
    stretch: float = 0.06  # standard deviation of the log of width over height; gives faces outside the model
    bend: float = 0.018  # standard deviation of a smooth displacement, in sides; likewise
    occluders: float = 0.3  # share of crops with something in front of the face
    camera: float = 1.0  # strength of blur, noise, JPEG and colours


@dataclass(frozen=True)
class Recipe:
    """The loss and length of a training run. Static and hashable."""

    name: str = "synthetic"
    steps: int = 18000
    batch: int = 32
    rate: float = 1.2e-3
    warmup: int = 200
    decay: float = 0.02  # weight decay
    average: float = 0.999  # decay of the moving average of the weights, which is what is exported
    augmentation: Augmentation = field(default_factory=Augmentation)
    terms: tuple[tuple[str, float], ...] = (
        ("landmarks", 1.0),
        ("points", 4.0),
        ("rotation", 2.0),
        ("scale", 1.0),
        ("distance", 0.1),
        ("identity", 0.05),
        ("expression", 0.5),
        ("albedo", 0.05),
        ("light", 0.05),
    )


class Example(NamedTuple):
    """A labelled picture whose face lies on its camera's axis (a batch has a leading axis)."""

    image: UInt8[Array, "S S 3"]
    landmarks: Float[Array, "68 2"]  # pixels
    params: FaceParams


class View(NamedTuple):
    """The network's input and its labels."""

    image: Float[Array, "s s 3"]
    landmarks: Float[Array, "68 2"]  # half sides from the centre
    coefficients: Float[Array, " C"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Anchors:
    """The model at its landmarks and some vertices, which is all that the losses need."""

    mean: Float[Array, "P 3"]
    identity: Float[Array, "K P 3"]  # mm per standard deviation
    expression: Float[Array, "E P 3"]


def model_anchors(model: FaceModel, *, extra: int = 132, seed: int = 0) -> Anchors:
    """The 68 landmarks and `extra` random vertices of the face (3DDFA's 68 + 132)."""
    rows, weights = landmark_candidates(model)
    rows, weights = rows[:68], weights[:68]
    region = np.asarray(model.regions["face"] if "face" in model.regions else np.ones(len(model.mean)))
    picked = np.random.default_rng(seed).choice(np.flatnonzero(region > 0.5), extra, replace=False)

    def at(vertices):
        return jnp.concatenate([points_on_faces(vertices, model.faces, rows, weights), vertices[picked]])

    return Anchors(
        at(model.mean),
        jax.vmap(at)(model.identity_basis * model.identity_std[:, None, None]),
        jax.vmap(at)(model.expression_basis * model.expression_std[:, None, None]),
    )


def project_anchors(config: RegressorConfig, anchors: Anchors, coefficients: Float[Array, " C"]) -> Float[Array, "P 2"]:
    """The anchors' places in the crop under these coefficients, half sides from its centre."""
    return place_anchors(config, anchors, coefficients)[:, :2]


def place_anchors(config: RegressorConfig, anchors: Anchors, coefficients: Float[Array, " C"]) -> Float[Array, "P 3"]:
    """`project_anchors`, with depth as third coordinate: towards the viewer from the head's origin, at its scale."""
    params = to_params(config, coefficients)
    expression = split_blocks(config, coefficients)["expression"]  # unclipped, so that a gradient stays
    points = anchors.mean + jnp.tensordot(params.identity, anchors.identity, 1)
    points = points + jnp.tensordot(expression, anchors.expression, 1)
    seen = project(params.camera, to_camera(params.pose, points))
    distance = -params.pose.translation[2]
    assert isinstance(params.camera, PerspectiveCamera)
    depth = (distance - seen[:, 2:]) * (params.camera.focal / distance)
    half = 2.0 / config.encoder.size
    return jnp.concatenate([seen[:, :2] * half - 1.0, depth * half], axis=1)


def losses(
    config: RegressorConfig, anchors: Anchors, output: EncoderOutput, truth: View
) -> dict[str, Float[Array, ""]]:
    """Every term by name, as means over the batch.

    Args:
      config: sizes of the regressor.
      anchors: of the model.
      output: of the network, with a leading axis.
      truth: its labels, with a leading axis.

    Returns:
      The terms.
    """
    said, meant = split_blocks(config, output.coefficients), split_blocks(config, truth.coefficients)
    size = jnp.sqrt(jnp.prod(jnp.ptp(truth.landmarks, axis=1), axis=-1))
    log_sigma = jnp.clip(output.log_sigma, -5.0, 1.0)
    place = jax.vmap(lambda one: project_anchors(config, anchors, one))
    apart = place(output.coefficients) - place(truth.coefficients)
    terms = {
        "landmarks": jnp.mean(jax.vmap(landmark_likelihood)(output.landmarks, log_sigma, truth.landmarks, size)),
        "points": jnp.mean(_length(apart) / size[:, None]),
        "nme": jnp.mean(_length(output.landmarks - truth.landmarks) / size[:, None]),
    }
    for name in ("rotation", "scale", "distance", "identity", "expression", "albedo", "light"):
        terms[name] = jnp.mean((said[name] - meant[name]) ** 2)
    return terms


def _length(x: Float[Array, "*N 2"]) -> Float[Array, "*N"]:
    return jnp.sqrt(jnp.sum(x * x, axis=-1) + 1e-6)


def roll_params(params: FaceParams, angle: Float[Array, ""]) -> FaceParams:
    """The face seen by a camera rolled the other way: pose and light rotate counter-clockwise by `angle` (radians)."""
    turn = jnp.stack([jnp.cos(angle / 2), 0.0 * angle, 0.0 * angle, jnp.sin(angle / 2)])
    pose = Pose(quaternion_multiply(turn, params.pose.rotation), params.pose.translation)
    return replace(params, pose=pose, light=roll_light(params.light, angle))


class State(NamedTuple):
    """Everything that a run needs to resume exactly."""

    step: Array
    params: Any
    average: Any
    optimizer: Any


def make_optimizer(recipe: Recipe) -> optax.GradientTransformation:
    """AdamW with warm-up and cosine decay; gradients are clipped to length 1, biases do not decay."""
    schedule = optax.warmup_cosine_decay_schedule(0.0, recipe.rate, recipe.warmup, recipe.steps, recipe.rate * 0.01)
    mask = lambda tree: jax.tree.map(lambda leaf: leaf.ndim > 1, tree)  # noqa: E731
    return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=recipe.decay, mask=mask))


def init_state(config: RegressorConfig, recipe: Recipe, key: Key[Array, ""]) -> State:
    """The state of a network with random weights."""
    return start_state(recipe, init_encoder(config.encoder, key))


def start_state(recipe: Recipe, params: Any) -> State:
    """The state before the first step, in its own buffers, which a step may reuse."""
    params, average = (jax.tree.map(lambda leaf: jnp.array(leaf, copy=True), params) for _ in range(2))
    return State(jnp.zeros((), jnp.int32), params, average, make_optimizer(recipe).init(params))


def train_step(
    config: RegressorConfig, recipe: Recipe, anchors: Anchors, state: State, views: View
) -> tuple[State, dict[str, Float[Array, ""]]]:
    """One step on a batch of views.

    Args:
      config: sizes of the regressor.
      recipe: the loss.
      anchors: of the model.
      state: of the run.
      views: the batch.

    Returns:
      The next state and the terms.
    """

    def total(params):
        terms = losses(config, anchors, apply_encoder(config.encoder, params, views.image), views)
        return sum(weight * terms[name] for name, weight in recipe.terms), terms

    (_, terms), gradient = jax.value_and_grad(total, has_aux=True)(state.params)
    return descend(recipe, state, gradient), terms


def descend(recipe: Recipe, state: State, gradient: Any) -> State:
    """The state after one update of the optimiser and of the averaged weights."""
    update, optimizer = standard_promotion(make_optimizer(recipe).update)(gradient, state.optimizer, state.params)
    params = optax.apply_updates(state.params, update)
    step = state.step.astype(float)
    keep = jnp.minimum(recipe.average, (1.0 + step) / (10.0 + step))
    average = jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, state.average, params)
    return State(state.step + 1, params, average, optimizer)


class Cropped(NamedTuple):
    """A crop, and where the picture's pixels are in it: `linear @ pixel + offset`, then the bend."""

    image: Float[Array, "s s 3"]
    linear: Float[Array, "2 2"]
    offset: Float[Array, " 2"]
    angle: Float[Array, ""]  # rotation in `linear`, radians
    bend: Float[Array, "K K 2"] | None  # see `synthetic.warp.draw_bend`
    hidden: Float[Array, "s s"] | None  # where something was put in front of the face; None: nowhere


def crop_example(key: Key[Array, ""], config: RegressorConfig, augmentation: Augmentation, example: Example) -> View:
    """A random square crop around the landmarks' box, with its labels.

    Args:
      key: consumed.
      config: sizes of the regressor.
      augmentation: how the crop varies.
      example: the labelled picture.

    Returns:
      The network's input and its labels.
    """
    size = config.encoder.size
    image, linear, offset, angle, bend, _ = crop_picture(
        key, config, augmentation, example.image, example.landmarks.min(axis=0), example.landmarks.max(axis=0)
    )
    params = roll_params(example.params, angle)
    assert isinstance(params.camera, PerspectiveCamera)
    scale = jnp.sqrt(jnp.linalg.det(linear))
    camera = PerspectiveCamera(params.camera.focal * scale, linear @ params.camera.principal + offset)
    coefficients = from_params(config, replace(params, camera=camera))
    points = example.landmarks @ linear.T + offset[None]
    points = points if bend is None else bend_points(bend, size, points)  # the coefficients ignore bend and stretch
    return View(image, points * (2.0 / size) - 1.0, coefficients)


def crop_picture(
    key: Key[Array, ""],
    config: RegressorConfig,
    augmentation: Augmentation,
    image: UInt8[Array, "S S 3"],
    low: Float[Array, " 2"],
    high: Float[Array, " 2"],
) -> Cropped:
    """A random crop around the box of the 68 landmarks.

    Args:
      key: consumed.
      config: sizes of the regressor.
      augmentation: how the crop varies.
      image: bytes.
      low, high: the corners of the box, pixels.

    Returns:
      The crop, and its place in the picture.
    """
    size = config.encoder.size
    keys = jax.random.split(key, 8)
    side = config.margin * (high - low).max()
    side = side * jnp.exp(augmentation.zoom * jax.random.truncated_normal(keys[0], -2.0, 2.0, ()))
    centre = 0.5 * (low + high) + augmentation.shift * side * jax.random.truncated_normal(keys[1], -2.0, 2.0, (2,))
    angle = jnp.deg2rad(augmentation.roll) * jax.random.truncated_normal(keys[2], -2.0, 2.0, ())
    c, s = jnp.cos(angle), jnp.sin(angle)
    linear = size / side * jnp.array([[c, s], [-s, c]])  # counter-clockwise as seen, since y points down
    wider = jnp.exp(0.5 * augmentation.stretch * jax.random.truncated_normal(keys[7], -2.0, 2.0, (1,)))
    linear = linear * jnp.concatenate([wider, 1.0 / wider])[None]
    offset = size / 2 - linear @ centre
    border = jax.random.categorical(keys[3], jnp.log(jnp.array([0.6, 0.15, 0.05, 0.2])))
    bend = draw_bend(keys[6], size, augmentation.bend) if augmentation.bend > 0 else None
    crop = image.astype(jnp.float32) / 255.0
    crop = resample(crop, jnp.concatenate([linear, offset[:, None]], axis=1), size, border, bend=bend)
    hidden = None
    if augmentation.occluders > 0:
        crop, hidden = occlude(keys[4], crop, augmentation.occluders)
    if augmentation.camera > 0:
        crop = photograph(keys[5], crop, augmentation.camera)
    return Cropped(crop, linear, offset, angle, bend, hidden)

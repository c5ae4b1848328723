"""2DASL's training: labelled pictures in one branch, pictures in the wild with a few 2D points in the other.

Tu et al., "3D face reconstruction from a single image assisted by 2D face images in the wild", TMM 2021. Both branches
share one network, which sees 18 landmarks drawn into a fourth channel. The landmarks that it finds are drawn anew for a
second pass. Drawing has no gradient, so each pass learns only from its own output. A critic, trained in turn, tells
true pairs of picture and coefficients from regressed ones.

Differs from the paper: the second pass draws the points of the landmark head, as `regress_crops` does. These points are
compared to the given ones, as are those of the projected model. A share of the pictures comes without landmarks, since
a photo has none. Distances are in face sizes, so the published weights (for pixels of 120) do not apply.
"""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Key, UInt8

from facejax.nets.critic import CriticConfig, apply_critic, init_critic
from facejax.nets.encoder import EncoderOutput, apply_encoder, widen_encoder
from facejax.objectives import (
    TwoDASLWeights,
    critic_loss,
    draw_landmarks,
    eighteen_points,
    eighteen_weights,
    fooling_loss,
    landmark_distance,
    shape_consistency,
    weighted_sum,
)
from facejax.objectives.weights import normalize_weights, one_wrong_errors
from facejax.programs.promotion import standard_promotion
from facejax.regression.regressor import RegressorConfig, block_sizes, landmark_maps
from facejax.regression.training import (
    Anchors,
    Augmentation,
    Example,
    Recipe,
    State,
    View,
    crop_example,
    crop_picture,
    descend,
    init_state,
    losses,
    place_anchors,
    project_anchors,
    start_state,
)
from facejax.synthetic.warp import bend_points

# For distances in face sizes. Published: 1, 0.005, 0.005, 1, 0.005 for pixels of 120, where a face's size is about 75.
LAMBDAS = TwoDASLWeights(coefficients=1.0, landmarks=20.0, shape=20.0, cycle=20.0, critic=0.005)


@dataclass(frozen=True)
class TwoBranchRecipe(Recipe):
    """A recipe with a second branch; `terms` are those of the labelled pictures. Static and hashable."""

    name: str = "2dasl"
    lambdas: TwoDASLWeights = LAMBDAS
    channels: int = 4  # of the network's input; 3: without the landmark map, hence with one pass only
    wild: int = 32  # pictures in the wild per batch
    wild_augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(stretch=0.0, bend=0.0, occluders=0.0, camera=0.0)
    )
    blank: float = 0.5  # share of pictures with an empty map, as in the first pass on a photo
    jitter: float = 0.02  # standard deviation of the drawn landmarks, face sizes
    critic_rate: float = 1e-4
    critic_widths: tuple[int, ...] = (16, 32, 64, 128, 128, 128)
    critic_hidden: tuple[int, ...] = (512, 1024, 1024)


class WildExample(NamedTuple):
    """A picture with some hand-clicked points (a batch has a leading axis)."""

    image: UInt8[Array | np.ndarray, "S S 3"]
    points: Float[Array | np.ndarray, "18 2"]  # pixels, in the order of `eighteen_points`; arbitrary where not visible
    visible: Bool[Array | np.ndarray, " 18"]
    box: Float[Array | np.ndarray, " 4"]  # left, top, right, bottom of the 68 landmarks
    size: Float[Array | np.ndarray, ""]  # of the face, pixels; errors are divided by it


class Given(NamedTuple):
    """What is known of a picture in the wild; also computed for labelled pictures."""

    image: Float[Array, "s s 3"]
    points: Float[Array, "18 2"]  # half sides from the centre
    visible: Bool[Array, " 18"]
    size: Float[Array, ""]  # half sides


class Views(NamedTuple):
    """The batch of a step: the N labelled pictures, and all N + M, with the labelled ones first."""

    labelled: View
    given: Given
    maps: Float[Array, "B s s 1"]


class TwoBranchState(NamedTuple):
    """Everything that a run needs to resume exactly."""

    regressor: State
    critic: Any
    critic_optimizer: Any

    @property
    def step(self) -> Array:
        return self.regressor.step

    @property
    def average(self) -> Any:
        return self.regressor.average


def geometry_size(config: RegressorConfig) -> int:
    """Number of coefficients that move points: all before the albedo. The critic sees these."""
    sizes = block_sizes(config)
    return sum(sizes.values()) - sizes["albedo"] - sizes["light"]


def critic_config(config: RegressorConfig, recipe: TwoBranchRecipe) -> CriticConfig:
    """Sizes of the critic of a regressor: it sees the same crop, and the coefficients that move points."""
    return CriticConfig(
        size=config.encoder.size,
        coefficients=geometry_size(config),
        widths=recipe.critic_widths,
        hidden=recipe.critic_hidden,
    )


def init_two_branch(
    config: RegressorConfig, recipe: TwoBranchRecipe, key: Key[Array, ""], *, start: Any = None
) -> TwoBranchState:
    """The state before the first step.

    Args:
      config: sizes of the regressor.
      recipe: of the run.
      key: consumed.
      start: weights to start from; their network may lack the fourth channel. None: random ones.

    Returns:
      The state.

    Raises ValueError when the recipe wants a map that the network does not see, or the reverse.
    """
    if config.encoder.channels != recipe.channels:
        raise ValueError(
            f"a network of {config.encoder.channels} channels: the recipe {recipe.name} has {recipe.channels}"
        )
    if recipe.channels == 3 and (recipe.lambdas.shape or recipe.lambdas.cycle):
        raise ValueError(f"{recipe.name}: shape and cycle need a second pass, hence channels=4")
    keys = jax.random.split(key)
    regressor = init_state(config, recipe, keys[0])
    if start is not None:
        here, there = (tree["_Conv_0"]["kernel"].shape[2] for tree in (regressor.params, start))
        start = widen_encoder(start, (here - there) // 16) if here > there else start
        regressor = start_state(recipe, start)
    if not recipe.lambdas.critic:
        return TwoBranchState(regressor, {}, {})
    critic = init_critic(critic_config(config, recipe), keys[1])
    return TwoBranchState(regressor, critic, optax.adam(recipe.critic_rate).init(critic))


def wild_view(key: Key[Array, ""], config: RegressorConfig, recipe: TwoBranchRecipe, example: WildExample) -> Given:
    """A random crop of one picture in the wild; by default the photograph itself is not altered.

    Args:
      key: consumed.
      config: sizes of the regressor.
      recipe: how crops vary.
      example: the picture.

    Returns:
      The crop and its points.
    """
    image, points, visible, box, size = (jnp.asarray(leaf) for leaf in example)
    crop, linear, offset, _, bend, _ = crop_picture(key, config, recipe.wild_augmentation, image, box[:2], box[2:])
    half = 2.0 / config.encoder.size
    points = points @ linear.T + offset[None]
    points = points if bend is None else bend_points(bend, config.encoder.size, points)
    points = points * half - 1.0
    return Given(crop, points, visible, size * jnp.linalg.norm(linear[:, 0]) * half)


def labelled_view(view: View) -> Given:
    """What would be known of a labelled picture if it were in the wild."""
    size = jnp.sqrt(jnp.prod(jnp.ptp(view.landmarks, axis=0)))
    return Given(view.image, eighteen_points(view.landmarks), jnp.ones(18, bool), size)


def draw_views(
    key: Key[Array, ""], config: RegressorConfig, recipe: TwoBranchRecipe, examples: Example, wild: WildExample
) -> Views:
    """Crops of a batch of both kinds, with their landmark maps.

    The drawn points are jittered, hidden ones are left out, and some maps are empty.

    Args:
      key: consumed.
      config: sizes of the regressor.
      recipe: how crops and maps vary.
      examples: the labelled pictures.
      wild: the pictures in the wild.

    Returns:
      The network's inputs and labels.
    """
    keys = jax.random.split(key, 4)
    labelled = jax.vmap(lambda key, one: crop_example(key, config, recipe.augmentation, one))(
        jax.random.split(keys[0], len(examples.image)), examples
    )
    seen = jax.vmap(lambda key, one: wild_view(key, config, recipe, one))(
        jax.random.split(keys[1], len(wild.image)), wild
    )
    given = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), jax.vmap(labelled_view)(labelled), seen)
    count, side = len(given.image), config.encoder.size
    shown = jax.random.uniform(keys[2], (count, 1)) >= recipe.blank
    noise = recipe.jitter * given.size[:, None, None] * jax.random.normal(keys[3], (count, 18, 2))

    def draw(points, visible):
        return draw_landmarks((points + 1.0) * (side / 2), side, background=0.0, visible=visible)

    maps = jax.vmap(draw)(given.points + noise, given.visible & shown)[..., None]
    return Views(labelled, given, maps)


def look(config: RegressorConfig, params: Any, images: Float[Array, "B s s 3"], maps: Array) -> EncoderOutput:
    """One pass of the network; a network without a fourth channel ignores the maps.

    Args:
      config: sizes of the regressor.
      params: the weights.
      images: (B, s, s, 3).
      maps: (B, s, s, 1).

    Returns:
      The output.
    """
    shown = images if config.encoder.channels == 3 else jnp.concatenate([images, maps], axis=-1)
    return apply_encoder(config.encoder, params, shown)


def prediction(
    config: RegressorConfig, anchors: Anchors, said: Float[Array, " C"], meant: Float[Array, " C"]
) -> Float[Array, ""]:
    """L_3d, 2DASL's weighted coefficient prediction, on the blocks that move points (see `objectives.prediction`).

    Args:
      config: sizes of the regressor.
      anchors: of the model.
      said, meant: predicted and true coefficients.

    Returns:
      The loss.
    """
    count = geometry_size(config)
    marks = jax.tree.map(lambda leaf: leaf[..., :68, :], anchors)

    def points(vector: Float[Array, " G"]) -> Float[Array, "68 2"]:
        return project_anchors(config, marks, jnp.concatenate([vector, meant[count:]]))

    said, known = said[:count], meant[:count]
    return jnp.sum(normalize_weights(one_wrong_errors(points, said, known), by="sum") * (said - known) ** 2)


def eighteen_distance(points: Float[Array, "68 2"], given: Given) -> Float[Array, ""]:
    """Weighted mean squared distance of the visible points among the 18, in face sizes; 0 where none is visible."""
    weights = jnp.where(given.visible, eighteen_weights(), 0.0)
    seen = jnp.where(given.visible[:, None], given.points, 0.0)
    some = jnp.any(given.visible)
    distance = landmark_distance(eighteen_points(points), seen, weights + jnp.where(some, 0.0, 1.0), given.size)
    return jnp.where(some, distance, 0.0)


def two_branch_losses(
    config: RegressorConfig, recipe: TwoBranchRecipe, anchors: Anchors, params: Any, critic: Any, views: Views
) -> tuple[Float[Array, ""], tuple[dict[str, Float[Array, ""]], Float[Array, "M G"]]]:
    """The regressor's total loss. Terms whose lambda is 0 are not computed.

    The terms with a lambda: `coefficients` on the labelled pictures; `landmarks`, `shape` and `cycle` on both branches
    (the sum of their means); `critic` on the pictures in the wild.

    Args:
      config: sizes of the regressor.
      recipe: the terms.
      anchors: of the model.
      params: weights of the regressor.
      critic: weights of the critic.
      views: the batch.

    Returns:
      The total; every term by name, and the regressed coefficients that the critic sees.
    """
    weights, count, given = recipe.lambdas, len(views.labelled.image), views.given
    marks = jax.tree.map(lambda leaf: leaf[..., :68, :], anchors)
    place = jax.vmap(lambda one: place_anchors(config, marks, one))

    def branches(values: Float[Array, " B"]) -> Float[Array, ""]:
        return jnp.mean(values[:count]) + jnp.mean(values[count:])

    def held(output: EncoderOutput, projected: Float[Array, "B 68 3"]) -> Float[Array, ""]:
        distance = jax.vmap(eighteen_distance)
        return branches(0.5 * (distance(projected[..., :2], given) + distance(output.landmarks, given)))

    output = look(config, params, given.image, views.maps)
    first, terms = place(output.coefficients), {}
    labelled = jax.tree.map(lambda leaf: leaf[:count], output)
    if weights.coefficients:
        each = jax.vmap(lambda said, meant: prediction(config, anchors, said, meant))
        terms["coefficients"] = jnp.mean(each(labelled.coefficients, views.labelled.coefficients))
    if weights.landmarks:
        terms["landmarks"] = held(output, first)
    if weights.shape or weights.cycle:
        again = look(config, params, given.image, landmark_maps(config, output.landmarks))
        second = place(again.coefficients)
        if weights.shape:
            terms["shape"] = branches(
                jax.vmap(lambda a, b, size: shape_consistency(a, b, size=size))(first, second, given.size)
            )
        if weights.cycle:
            terms["cycle"] = held(again, second)
    fake = output.coefficients[count:, : geometry_size(config)]
    if weights.critic:
        terms["critic"] = fooling_loss(apply_critic(critic_config(config, recipe), critic, given.image[count:], fake))

    supervised = losses(config, anchors, labelled, views.labelled)
    supervised["vertices"] = vertex_cost(config, anchors, labelled.coefficients, views.labelled)
    total = sum(weight * supervised[name] for name, weight in recipe.terms)
    total = total + (weighted_sum(terms, weights) if terms else 0.0)
    return jnp.asarray(total), (supervised | {f"2dasl/{name}": value for name, value in terms.items()}, fake)


def vertex_cost(
    config: RegressorConfig, anchors: Anchors, coefficients: Float[Array, "N C"], truth: View
) -> Float[Array, ""]:
    """VDC on the anchors: mean squared 3D distance, in face sizes.

    Args:
      config: sizes of the regressor.
      anchors: of the model.
      coefficients: predicted.
      truth: the labels.

    Returns:
      The mean.
    """
    place = jax.vmap(lambda one: place_anchors(config, anchors, one))
    size = jax.vmap(labelled_view)(truth).size
    return jnp.mean(jnp.sum((place(coefficients) - place(truth.coefficients)) ** 2, axis=-1) / size[:, None] ** 2)


def critic_step(
    config: CriticConfig,
    rate: float,
    critic: Any,
    optimizer: Any,
    real: tuple[Float[Array, "N s s 3"], Float[Array, "N G"]],
    fake: tuple[Float[Array, "M s s 3"], Float[Array, "M G"]],
) -> tuple[Any, Any, dict[str, Float[Array, ""]]]:
    """One step of Adam for the critic.

    Args:
      config: sizes of the critic.
      rate: of Adam.
      critic, optimizer: its weights and the optimiser's state.
      real, fake: pictures with true and with regressed coefficients.

    Returns:
      The next weights, the next state of the optimiser, and the terms.
    """
    count = len(real[0])
    images, coefficients = (jnp.concatenate(pair) for pair in zip(real, fake, strict=True))
    coefficients = jax.lax.stop_gradient(coefficients)

    def loss(params):
        logits = apply_critic(config, params, images, coefficients)
        right = 0.5 * (jnp.mean(logits[:count] > 0) + jnp.mean(logits[count:] < 0))
        return critic_loss(logits[:count], logits[count:]), right

    (value, right), gradient = jax.value_and_grad(loss, has_aux=True)(critic)
    update, optimizer = standard_promotion(optax.adam(rate).update)(gradient, optimizer)
    return optax.apply_updates(critic, update), optimizer, {"critic/loss": value, "critic/right": right}


def two_branch_step(
    config: RegressorConfig, recipe: TwoBranchRecipe, anchors: Anchors, state: TwoBranchState, views: Views
) -> tuple[TwoBranchState, dict[str, Float[Array, ""]]]:
    """One step of the regressor against the present critic, then one of the critic.

    Args:
      config: sizes of the regressor.
      recipe: of the run.
      anchors: of the model.
      state: of the run.
      views: the batch.

    Returns:
      The next state and the terms.
    """

    def total(params):
        return two_branch_losses(config, recipe, anchors, params, state.critic, views)

    (_, (terms, fake)), gradient = jax.value_and_grad(total, has_aux=True)(state.regressor.params)
    regressor = descend(recipe, state.regressor, gradient)
    if not recipe.lambdas.critic:
        return state._replace(regressor=regressor), terms
    true = views.labelled.coefficients[:, : geometry_size(config)]
    real, made = (views.labelled.image, true), (views.given.image[len(true) :], fake)
    critic, optimizer, seen = critic_step(
        critic_config(config, recipe), recipe.critic_rate, state.critic, state.critic_optimizer, real, made
    )
    return TwoBranchState(regressor, critic, optimizer), terms | seen

"""One step of training the generative renderer, as pure functions of its state.

The maker is the generator, its normal injection and the encoder of its latents. It reconstructs real pictures from
their own normals and the encoder's latents, and makes new pictures in pairs of pairs. A discriminator (the judge), the
network for normals and the regressor look at these. A step's randomness comes from its key: the same key, state and
batch give the same next state.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key
from texture_gan.training import crowding, pyramid_distance

from facejax.camera import project, to_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.face_model.surface_landmarks import landmarks
from facejax.generative_renderer import (
    GARWeights,
    Guess,
    guess_latents,
    init_gar,
    paint,
    shrink_normals,
    to_ws,
)
from facejax.nets.encoder import encoder_features
from facejax.nets.normal_net import apply_normal_net, init_normal_net
from facejax.nets.stylegan2 import apply_discriminator, apply_mapping, init_discriminator, to_layers
from facejax.objectives import critic_loss, feature_distance, fooling_loss
from facejax.objectives.gan import (
    average_decay,
    conditioned_path_lengths,
    finite_gradients,
    lazy_adam,
    path_penalty,
    slope_penalty,
)
from facejax.objectives.pairs import normal_consistency, pairing, same_code, same_geometry
from facejax.regression.regressor import Regressor, RegressorConfig, apply_regressor, split_blocks
from gar.data import Pictures, head_normals
from gar.recipes import Recipe
from gar.recogniser import CROP, recognise

BLUR = 0.1  # noise added to the z of reconstructed pictures, in their standard deviations


class State(NamedTuple):
    weights: GARWeights
    average: Any  # running average of the maker's parameters, which is exported
    judge: Any
    maker_moments: Any
    judge_moments: Any
    path_mean: Float[Array, ""]
    step: Int[Array, ""]


class FixedNetworks(NamedTuple):
    """Networks that are not trained here."""

    regressor: Regressor  # its face model is that of the geometry
    normal_net: Any
    recogniser: Any = None  # tells people apart; None: the regressor's coefficients do


def init_state(recipe: Recipe, key: Key[Array, ""]) -> State:
    first, second = jax.random.split(key)
    weights, judge = init_gar(recipe.config, first), init_discriminator(recipe.judge, second)
    moments = maker_adam(recipe).init(trained(weights)), judge_adam(recipe).init(judge)
    average = jax.tree.map(jnp.copy, trained(weights))
    return State(weights, average, judge, *moments, jnp.float32(0), jnp.int32(0))


def start_from(state: State, smaller: GARWeights) -> State:
    """The state to start from, with the layers of a generator of lower resolution; layers that it lacks are random."""
    old = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(trained(smaller))}

    def take(path, fresh):
        found = old.get(jax.tree_util.keystr(path))
        if found is None or found.shape == fresh.shape:
            return fresh if found is None else found
        if found.shape[:-1] != fresh.shape[:-1] or found.shape[-1] > fresh.shape[-1]:
            return fresh
        return fresh.at[..., : found.shape[-1]].set(found)  # the encoder now has outputs for more layers

    params = jax.tree_util.tree_map_with_path(take, trained(state.weights))
    return state._replace(weights=with_trained(state.weights, params), average=jax.tree.map(jnp.copy, params))


def trained(weights: GARWeights) -> Any:
    """The parameters of the maker that are trained: all but the noise maps and the mean latent."""
    return weights.generator.params, weights.injection, weights.encoder


def with_trained(weights: GARWeights, params: Any) -> GARWeights:
    generator, injection, encoder = params
    return GARWeights(weights.generator._replace(params=generator), injection, encoder)


def averaged(state: State) -> GARWeights:
    return with_trained(state.weights, state.average)


def maker_adam(recipe: Recipe) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(recipe.rate, recipe.steps), b1=0.5, b2=0.99)


def judge_adam(recipe: Recipe) -> optax.GradientTransformation:
    return lazy_adam(recipe.judge_rate, interval=recipe.r1_interval)


def maker_phase(
    recipe: Recipe, state: State, key: Key[Array, ""], batch: Pictures, fixed: FixedNetworks
) -> tuple[State, dict, Float[Array, "N R R 3"]]:
    """One step of the maker.

    Args:
      recipe: of the run.
      state: of the run.
      key: consumed.
      batch: real pictures with their geometry.
      fixed: the networks that are not trained.

    Returns:
      The next state, the terms, and the pictures of pairs of pairs, for the judge.
    """
    drawn, blurred, scattered, again = jax.random.split(key, 4)
    config, weigh = recipe.config, recipe.weights
    real = from_bytes(batch.image)
    geometry = pair_geometry(recipe.batch, config.side, fixed.regressor.model, batch.params)
    z = jax.random.normal(drawn, (recipe.batch // 2, config.generator.latent))

    def loss(params):
        weights = with_trained(state.weights, params)
        terms, total = {}, 0.0
        guess = guess_latents(config, weights, real)
        ws = to_ws(config, weights, _blurred(blurred, guess))
        normals = shrink_normals(jnp.asarray(batch.normals, jnp.float32))
        copy = paint(config, weights, ws, normals, noise="random", key=again)
        terms["reconstruction"] = pyramid_distance(copy, real)
        terms["features"] = feature_gap(fixed.regressor, copy, real)
        made = paint_pairs(recipe, weights, z, geometry.normals, scattered)
        terms["adversarial"] = jnp.mean(fooling_loss(apply_discriminator(recipe.judge, state.judge, made)))
        read, _ = apply_normal_net(recipe.config.reader, fixed.normal_net, (made + 1) / 2)
        terms["normals"] = normal_consistency(read, geometry.normals)
        terms["landmarks"], terms["identity"] = pair_terms(fixed, made, geometry)
        terms["crowding"] = crowding(guess.z)
        terms["astray"] = jnp.mean(jnp.square(guess.offsets))
        for name, value in terms.items():
            total += getattr(weigh, name) * value
        return total, (terms, made)

    gradient, (terms, made) = jax.grad(loss, has_aux=True)(trained(state.weights))
    return move_maker(recipe, state, gradient), terms, made


class PairGeometry(NamedTuple):
    """The geometry of a batch of pairs of pairs."""

    normals: Float[Array, "N R R 3"]
    points: Float[Array, "N 68 2"]  # landmarks of the geometry, pixels


def pair_geometry(batch: int, side: int, model: FaceModel, params: FaceParams) -> PairGeometry:
    """The first half of a batch's faces, as the geometries of pairs of pairs; identities follow `pairing`.

    Args:
      batch: size.
      side: pixels of the pictures.
      model: the face model.
      params: of the batch.
    """
    pairs = pairing(batch)
    some = jax.tree.map(lambda leaf: jnp.asarray(leaf)[: batch // 2], params)
    some = replace(some, identity=some.identity[pairs.person])
    normals = jax.vmap(lambda one: head_normals(model, one, side))(some)
    points = jax.vmap(lambda one: project_landmarks(model, one))(some)
    return PairGeometry(normals[pairs.geometry], points[pairs.geometry])


def project_landmarks(model: FaceModel, params: FaceParams) -> Float[Array, "68 2"]:
    return project(params.camera, to_camera(params.pose, landmarks(model, decode(model, params))))[:, :2]


def paint_pairs(
    recipe: Recipe, weights: GARWeights, z: Float[Array, "H W"], normals: Float[Array, "N R R 3"], key: Key[Array, ""]
) -> Float[Array, "N R R 3"]:
    """Every code on two geometries, and every geometry with two codes.

    Args:
      recipe: of the run.
      weights: of the maker.
      z: random codes.
      normals: of the geometries.
      key: for noise.

    Returns:
      The pictures.
    """
    config, pairs = recipe.config, pairing(len(normals))
    mixed, noise = jax.random.split(key)
    w = apply_mapping(config.generator, weights.generator, z)
    ws = to_layers(config.generator, w)
    if recipe.mixing:
        chosen, cut = jax.random.split(mixed)
        cutoff = jax.random.randint(cut, (len(z),), 1, config.generator.layers)
        mix = jax.random.uniform(chosen, (len(z),)) < recipe.mixing
        late = jnp.arange(config.generator.layers) >= jnp.where(mix, cutoff, config.generator.layers)[:, None]
        ws = jnp.where(late[..., None], to_layers(config.generator, jnp.roll(w, 1, axis=0)), ws)
    return paint(config, weights, ws[pairs.code], shrink_normals(normals), noise="random", key=noise)


def pair_terms(
    fixed: FixedNetworks, made: Float[Array, "N R R 3"], geometry: PairGeometry
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How much the landmarks of neighbours differ, and the persons of the two halves, as the networks see them."""
    seen = look(fixed.regressor, made, geometry.points)
    if fixed.recogniser is None:
        return same_geometry(seen.landmarks), same_code(seen.person)
    person = look_at_people(fixed.recogniser, made, geometry.points)
    return same_geometry(seen.landmarks), same_code(person * person.shape[-1] ** 0.5)


class Look(NamedTuple):
    landmarks: Float[Array, "N 68 2"]  # half sides of a crop that depends on the geometry only
    person: Float[Array, "N F"]  # coefficients of shape and skin, which stand for the person


def look(regressor: Regressor, images: Float[Array, "N R R 3"], points: Float[Array, "N 68 2"]) -> Look:
    """The regressor's view of pictures in [-1, 1], in crops around the landmarks of their geometry."""
    seen = apply_regressor(regressor, cut_faces(regressor.config, images, points))
    blocks = split_blocks(regressor.config, seen.coefficients)
    return Look(seen.landmarks, jnp.concatenate([blocks["identity"], blocks["albedo"]], axis=-1))


def look_at_people(recogniser: Any, images: Float[Array, "N R R 3"], points: Float[Array, "N 68 2"]) -> Array:
    """Unit vectors (N, F) that identify the person."""
    return recognise(recogniser, cut_faces(CROP, images, points))


def cut_faces(
    config: RegressorConfig, images: Float[Array, "N R R 3"], points: Float[Array, "N 68 2"]
) -> Float[Array, "N S S 3"]:
    """Crops, in display values, of pictures in [-1, 1]; their places depend on the points only."""
    size = config.encoder.size

    def cut(image, points):
        low, high = points.min(axis=0), points.max(axis=0)
        side = config.margin * jnp.max(high - low)
        scale, middle = size / side, (low + high) / 2
        shift = size / 2 - scale * middle
        scales = jnp.stack([scale, scale])
        return jax.image.scale_and_translate(image, (size, size, 3), (0, 1), scales, shift[::-1], "linear")

    return jax.vmap(cut)((images + 1) / 2, points)


def feature_gap(regressor: Regressor, made: Float[Array, "N R R 3"], real: Float[Array, "N R R 3"]) -> Float[Array, ""]:
    """The distance of two sets of pictures in the features of the regressor's encoder."""
    config, weights = regressor.config.encoder, regressor.weights
    both = [encoder_features(config, weights, (x + 1) / 2) for x in (made, jax.lax.stop_gradient(real))]
    mask = jnp.ones(made.shape[1:3])
    return jnp.mean(jax.vmap(lambda a, b: feature_distance(a, b, mask))(*both))


def path_phase(recipe: Recipe, state: State, key: Key[Array, ""], batch: Pictures) -> tuple[State, dict]:
    """A step of the latents or of the normals should change every picture equally; computed on half a batch.

    Args:
      recipe: of the run.
      state: of the run.
      key: consumed.
      batch: real pictures with their geometry.

    Returns:
      The next state and the terms.
    """
    drawn, direction = jax.random.split(key)
    config, count = recipe.config, max(recipe.batch // 2, 1)
    normals = shrink_normals(jnp.asarray(batch.normals[:count], jnp.float32))
    z = jax.random.normal(drawn, (count, config.generator.latent))

    def loss(params):
        weights = with_trained(state.weights, params)
        ws = to_layers(config.generator, apply_mapping(config.generator, weights.generator, z))
        noise = jax.random.normal(direction, (count, config.side, config.side, 3))
        lengths = conditioned_path_lengths(lambda ws, maps: paint(config, weights, ws, maps), ws, normals, noise)
        penalty, mean = path_penalty(lengths, state.path_mean)
        return recipe.path_interval * recipe.path * jnp.mean(penalty), (jnp.mean(penalty), jnp.mean(lengths), mean)

    gradient, (penalty, length, mean) = jax.grad(loss, has_aux=True)(trained(state.weights))
    state = move_maker(recipe, state, gradient)._replace(path_mean=mean)
    return state, {"path penalty": penalty, "path length": length}


def judge_phase(
    recipe: Recipe, state: State, batch: Pictures, made: Float[Array, "N R R 3"], *, slope: bool
) -> tuple[State, dict]:
    """The judge learns to tell generated pictures from real ones.

    Args:
      recipe: of the run.
      state: of the run.
      batch: real pictures.
      made: generated ones.
      slope: also penalise its gradient at real pictures.

    Returns:
      The next state and the terms.
    """
    real = from_bytes(batch.image)

    def loss(judge):
        logits = [apply_discriminator(recipe.judge, judge, x) for x in (real, made)]
        terms = {"judge": critic_loss(*logits), "real": jnp.mean(logits[0]), "made": jnp.mean(logits[1])}
        if not slope:
            return terms["judge"], terms
        penalty, _ = slope_penalty(lambda images: apply_discriminator(recipe.judge, judge, images), real)
        terms["slope"] = jnp.mean(penalty)
        return terms["judge"] + recipe.r1_interval * (recipe.r1 / 2) * terms["slope"], terms

    gradient, terms = jax.grad(loss, has_aux=True)(state.judge)
    updates, moments = judge_adam(recipe).update(finite_gradients(gradient), state.judge_moments, state.judge)
    judge = optax.apply_updates(state.judge, updates)
    return state._replace(judge=judge, judge_moments=moments), terms


def close_step(recipe: Recipe, state: State) -> State:
    """Update the running average. It follows closely at first, so that it forgets the start."""
    seen = state.step.astype(jnp.float32)
    decay = jnp.minimum(average_decay(recipe.batch, half_life=recipe.half_life), (1.0 + seen) / (10.0 + seen))
    average = jax.tree.map(lambda new, old: new + decay * (old - new), trained(state.weights), state.average)
    return state._replace(average=average, step=state.step + 1)


def move_maker(recipe: Recipe, state: State, gradient: Any) -> State:
    old = trained(state.weights)
    updates, moments = maker_adam(recipe).update(finite_gradients(gradient), state.maker_moments, old)
    weights = with_trained(state.weights, optax.apply_updates(old, updates))
    return state._replace(weights=weights, maker_moments=moments)


def from_bytes(images: Array | np.ndarray) -> Float[Array, "N R R 3"]:
    """Bytes of display values as numbers in [-1, 1]."""
    return jnp.asarray(images).astype(jnp.float32) / 127.5 - 1.0


def _blurred(key: Key[Array, ""], guess: Guess) -> Guess:
    """Codes with some noise, and without offsets for every other picture, so that z carries as much as it can."""
    alone = (jnp.arange(len(guess.z)) % 2 == 0)[:, None, None]
    z = guess.z + BLUR * jax.random.normal(key, guess.z.shape)
    return Guess(z, jnp.where(alone, 0.0, guess.offsets))


class NormalState(NamedTuple):
    """The state of training the network for normals."""

    params: Any
    moments: Any
    step: Int[Array, ""]


def init_normals(recipe: Recipe, key: Key[Array, ""]) -> NormalState:
    params = init_normal_net(recipe.config.reader, key)
    return NormalState(params, normal_adam(recipe).init(params), jnp.int32(0))


def normal_adam(recipe: Recipe) -> optax.GradientTransformation:
    return optax.adam(optax.cosine_decay_schedule(2e-3, recipe.normal_steps))


def normal_phase(recipe: Recipe, state: NormalState, batch: Pictures) -> tuple[NormalState, dict]:
    """One step of the network for normals and coverage, on rendered pictures."""
    images, wanted = (from_bytes(batch.image) + 1) / 2, jnp.asarray(batch.normals, jnp.float32)
    there = (jnp.sum(jnp.square(wanted), axis=-1) > 0.1).astype(jnp.float32)

    def loss(params):
        normals, coverage = apply_normal_net(recipe.config.reader, params, images)
        gap = jnp.mean(jnp.abs(normals - wanted))
        cover = -jnp.mean(there * jnp.log(coverage + 1e-6) + (1 - there) * jnp.log(1 - coverage + 1e-6))
        return gap + 0.1 * cover, {"normal gap": gap, "cover": cover}

    gradient, terms = jax.grad(loss, has_aux=True)(state.params)
    updates, moments = normal_adam(recipe).update(finite_gradients(gradient), state.moments)
    return NormalState(optax.apply_updates(state.params, updates), moments, state.step + 1), terms

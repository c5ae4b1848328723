"""Supervised training of the skin translator on pairs with known skin: losses and the step, as pure functions."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from facejax.lighting import linear_to_srgb, rgb_to_lab
from facejax.nets.skin_translator import (
    SkinTranslation,
    SkinTranslatorConfig,
    apply_skin_translator,
    init_skin_tone,
    init_skin_translator,
    member_tones,
)
from facejax.programs.promotion import standard_promotion
from facejax.regression.training import Recipe, State, descend, start_state
from facejax.skin.sight import SkinSight
from facejax.synthetic.fields import normal


@dataclass(frozen=True)
class SkinRecipe(Recipe):
    """The loss and length of a training run. Static and hashable."""

    name: str = "skin"
    steps: int = 2500
    batch: int = 16
    average: float = 0.995
    rate: float = 2e-3
    terms: tuple[tuple[str, float], ...] = (
        ("albedo", 4.0),
        ("edges", 4.0),
        ("error", 0.1),
        ("gloss", 0.5),
    )


@dataclass(frozen=True)
class ToneRecipe:
    """The training of the tone's networks. Static and hashable."""

    steps: int = 1500
    batch: int = 256
    rate: float = 2e-3
    decay: float = 0.1  # weight decay
    noise: float = 0.1  # standard deviations of the facts
    seed: int = 0


class SkinTruth(NamedTuple):
    """The skin of a pair."""

    albedo: Float[Array, "*B S S 3"]  # display values
    tone: Float[Array, "*B 3"]  # log of the face's median linear colour
    gloss: Float[Array, "*B S S 2"]  # roughness, specular
    weight: Float[Array, "*B S S"]  # how much each texel counts


def skin_losses(output: SkinTranslation, truth: SkinTruth) -> dict[str, Float[Array, ""]]:
    """Every term by name, as means over the batch.

    "albedo": mean absolute difference of display values over a pyramid of five levels, which weighs broad errors as
    much as fine ones (HiFi3DFace's and LapGAN's pyramids), with the true tone in the place of the network's, so that
    doubts about the tone do not blur the rest.
    "edges": of the differences of neighbours. "error": negative log-likelihood of the albedo's error under Laplace's
    distribution with the predicted width, which does not move the albedo. "gloss": roughness and specular.

    Args:
      output: of the network.
      truth: of the pairs.
    """
    weight = truth.weight
    albedo = output.albedo(truth.tone)
    apart = (albedo - truth.albedo) * weight[..., None]
    total, small, share = jnp.zeros(()), apart, weight
    for _ in range(5):
        total = total + jnp.sum(jnp.abs(small)) / (3.0 * jnp.maximum(jnp.sum(share), 1.0))
        small, share = _halve(small), _halve(share[..., None])[..., 0]
    error = jax.lax.stop_gradient(_smooth(jnp.mean(jnp.abs(apart), axis=-1))) + 0.004
    unlikely = error * jnp.exp(-output.log_error) + output.log_error
    edges = _steps(albedo, truth.albedo, weight)
    gloss = jnp.abs(jnp.stack([output.roughness, output.specular], axis=-1) - truth.gloss)
    return {
        "albedo": total / 5,
        "edges": edges,
        "error": _mean(unlikely, weight),
        "gloss": _mean(jnp.mean(gloss, axis=-1), weight),
        "psnr": -10.0 * jnp.log10(jnp.sum(apart**2) / (3.0 * jnp.sum(weight)) + 1e-9),
    }


def tone_distance(said: Float[Array, "N 3"], true: Float[Array, "N 3"]) -> Float[Array, " N"]:
    """Distance of two tones, logarithms of linear colours, in CIE 1976 L*a*b*."""
    lab = [rgb_to_lab(linear_to_srgb(jnp.clip(jnp.exp(tone), 1e-4, 1.0))) for tone in (said, true)]
    return jnp.sqrt(jnp.sum((lab[0] - lab[1]) ** 2, axis=-1) + 1e-4)


def train_tone(
    config: SkinTranslatorConfig, recipe: ToneRecipe, facts: Float[Array, "N K"], tones: Float[Array, "N 3"]
) -> Any:
    """Fit the tone's networks to examples: some seconds, so without checkpoints.

    Args:
      config: sizes.
      recipe: length and rates.
      facts: of `facejax.skin.sight.tone_facts`.
      tones: true logarithms of the median linear colour.

    Returns:
      Its parameters.
    """
    first, second = jax.random.split(jax.random.key(recipe.seed))
    start = init_skin_tone(config, facts, first)
    optimizer = optax.adamw(optax.cosine_decay_schedule(recipe.rate, recipe.steps), weight_decay=recipe.decay)

    def step(state, number):
        layers, memory = state
        choice, blur = jax.random.split(jax.random.fold_in(second, number))
        rows = jax.random.randint(choice, (recipe.batch,), 0, len(facts))
        blurred = facts[rows] + recipe.noise * start["spread"][None] * normal(blur, (recipe.batch, facts.shape[1]))

        def loss(layers):
            said = member_tones(config, start | {"layers": layers}, blurred)
            return jnp.sum(jnp.mean(jax.vmap(lambda one: tone_distance(one, tones[rows]))(said), axis=1))

        update, memory = standard_promotion(optimizer.update)(jax.grad(loss)(layers), memory, layers)
        return (optax.apply_updates(layers, update), memory), None

    state = (start["layers"], optimizer.init(start["layers"]))
    (layers, _), _ = jax.lax.scan(step, state, jnp.arange(recipe.steps))
    return start | {"layers": layers}


def _mean(values: Array, weight: Array) -> Float[Array, ""]:
    return jnp.sum(values * weight) / jnp.maximum(jnp.sum(weight), 1.0)


def _halve(x: Float[Array, "N S S C"]) -> Float[Array, "N s s C"]:
    count, side, _, channels = x.shape
    return x.reshape(count, side // 2, 2, side // 2, 2, channels).mean(axis=(2, 4))


def _smooth(x: Float[Array, "N S S"]) -> Float[Array, "N S S"]:
    """The mean over 8 x 8 texels, at all of them."""
    return jnp.repeat(jnp.repeat(_halve(_halve(_halve(x[..., None])))[..., 0], 8, axis=1), 8, axis=2)


def _steps(a: Float[Array, "N S S 3"], b: Float[Array, "N S S 3"], weight: Float[Array, "N S S"]) -> Float[Array, ""]:
    d = a - b
    total = jnp.zeros(())
    for axis in (1, 2):
        step = jnp.abs(jnp.diff(d, axis=axis)).mean(axis=-1)
        low = jax.lax.slice_in_dim(weight, 0, weight.shape[axis] - 1, axis=axis)
        high = jax.lax.slice_in_dim(weight, 1, weight.shape[axis], axis=axis)
        total = total + _mean(step, jnp.minimum(low, high))
    return total


def init_skin_state(config: SkinTranslatorConfig, recipe: SkinRecipe, key: Key[Array, ""]) -> State:
    """The state of a network with random weights."""
    return start_state(recipe, init_skin_translator(config, key))


def skin_step(
    config: SkinTranslatorConfig, recipe: SkinRecipe, state: State, sight: SkinSight, truth: SkinTruth
) -> tuple[State, dict[str, Float[Array, ""]]]:
    """One step on a batch.

    Args:
      config: sizes of the network.
      recipe: the loss.
      state: of the run.
      sight: the network's input.
      truth: the skin.

    Returns:
      The next state and the terms.
    """

    def total(params: Any):
        output = apply_skin_translator(config, params, sight.maps, sight.scene, sight.relative, sight.seen)
        terms = skin_losses(output, truth)
        return sum(weight * terms[name] for name, weight in recipe.terms), terms

    (_, terms), gradient = jax.value_and_grad(total, has_aux=True)(state.params)
    return descend(recipe, state, gradient), terms

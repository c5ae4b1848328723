"""Supervised training of the dense network on rendered pictures: views, losses and the step, as pure functions."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, UInt8

from facejax.nets.dense import DenseConfig, DenseOutput, apply_dense, init_dense
from facejax.nets.encoder import EncoderConfig
from facejax.regression.dense import MARGIN
from facejax.regression.regressor import RegressorConfig
from facejax.regression.training import Augmentation, Recipe, State, crop_parsing, crop_picture, descend, start_state
from facejax.synthetic.labels import CLASS, CLASSES, HEAD
from facejax.synthetic.warp import pick

# How much a pixel of each class counts: rare ones more.
_WEIGHTS = {"brows": 2.0, "eyes": 4.0, "inner mouth": 3.0, "lips": 2.0, "ears": 1.5, "glasses": 3.0, "background": 0.6}
_SEEN = (*(name for name in HEAD if name != "eyes"), "beard", "glasses")  # where the surface is about what is seen


@dataclass(frozen=True)
class DenseRecipe(Recipe):
    """The loss and length of a training run. Static and hashable."""

    name: str = "dense"
    steps: int = 5000
    batch: int = 16
    rate: float = 2e-3
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(shift=0.05, zoom=0.12, stretch=0.03, bend=0.008, occluders=0.25)
    )
    terms: tuple[tuple[str, float], ...] = (("parsing", 1.0), ("surface", 0.25), ("normal", 2.0))


class DenseExample(NamedTuple):
    """A rendered picture and what its pixels show (a batch has a leading axis)."""

    image: UInt8[Array, "S S 3"]
    landmarks: Float[Array, "68 2"]  # pixels
    parsing: UInt8[Array, "S S"]
    surface: Float[Array, "S S 2"]  # -1: none
    normal: Float[Array, "S S 3"]


class DenseView(NamedTuple):
    """The network's input and its labels."""

    image: Float[Array, "s s 3"]
    parsing: Int[Array, "s s"]
    surface: Float[Array, "s s 2"]
    normal: Float[Array, "s s 3"]
    known: Bool[Array, "s s"]  # inside the rendered picture


def dense_view(
    key: Key[Array, ""], config: DenseConfig, augmentation: Augmentation, example: DenseExample
) -> DenseView:
    """A random square crop around the landmarks' box, with its labels.

    Args:
      key: consumed.
      config: sizes of the network.
      augmentation: how the crop varies.
      example: the labelled picture.

    Returns:
      The network's input and its labels.
    """
    square = RegressorConfig(encoder=EncoderConfig(size=config.size), margin=MARGIN)
    low, high = example.landmarks.min(axis=0), example.landmarks.max(axis=0)
    crop = crop_picture(key, square, augmentation, example.image, low, high)
    affine = jnp.concatenate([crop.linear, crop.offset[:, None]], axis=1)
    surface, known = pick(example.surface, affine, config.size, crop.bend)
    normal, _ = pick(example.normal, affine, config.size, crop.bend)
    parsing = jnp.where(known, crop_parsing(example.parsing, crop).astype(jnp.int32), CLASS["background"])
    c, s = jnp.cos(crop.angle), jnp.sin(crop.angle)
    turn = jnp.stack([jnp.stack([c, -s, 0.0 * c]), jnp.stack([s, c, 0.0 * c]), jnp.array([0.0, 0.0, 1.0])])
    return DenseView(crop.image, parsing, surface, normal @ turn.T, known)


def dense_losses(output: DenseOutput, truth: DenseView) -> dict[str, Float[Array, ""]]:
    """Every term by name, as means over the batch.

    "parsing" is the cross entropy of the classes, rare ones weighted up; "surface" the negative log-likelihood of the
    coordinates under Laplace's distribution with the predicted width; "normal" one minus the cosine. The last two count
    where the head's surface is seen. "coordinates" (mean distance, in texture widths), "degrees" and "accuracy" are for
    the log.

    Args:
      output: of the network, with a leading axis.
      truth: its labels, with a leading axis.

    Returns:
      The terms.
    """
    weights = np.array([_WEIGHTS.get(name, 1.0) for name in CLASSES], np.float32)
    counted = jnp.where(truth.known, jnp.asarray(weights)[truth.parsing], 0.0)
    logs = jax.nn.log_softmax(output.logits, axis=-1)
    chosen = jnp.take_along_axis(logs, truth.parsing[..., None], axis=-1)[..., 0]
    right = jnp.argmax(output.logits, axis=-1) == truth.parsing
    seen_class = np.array([name in _SEEN for name in CLASSES])
    seen = jnp.asarray(seen_class)[truth.parsing] & truth.known & (truth.surface[..., 0] >= 0)
    apart = output.surface - truth.surface
    unlikely = jnp.sum(jnp.abs(apart), axis=-1) * jnp.exp(-output.log_sigma) + 2.0 * output.log_sigma
    cosine = jnp.sum(output.normal * truth.normal, axis=-1)
    return {
        "parsing": -_mean(chosen, counted),
        "surface": _mean(unlikely, seen),
        "normal": 1.0 - _mean(cosine, seen),
        "accuracy": _mean(right, truth.known),
        "coordinates": _mean(jnp.sqrt(jnp.sum(apart**2, axis=-1) + 1e-12), seen),
        "degrees": jnp.rad2deg(_mean(jnp.arccos(jnp.clip(cosine, -0.9999, 0.9999)), seen)),
    }


def _mean(values: Array, weights: Array) -> Float[Array, ""]:
    values, weights = values.astype(jnp.float32), weights.astype(jnp.float32)
    return jnp.sum(values * weights) / jnp.maximum(jnp.sum(weights), 1.0)


def init_dense_state(config: DenseConfig, recipe: DenseRecipe, key: Key[Array, ""]) -> State:
    """The state of a network with random weights."""
    return start_state(recipe, init_dense(config, key))


def dense_step(
    config: DenseConfig, recipe: DenseRecipe, state: State, views: DenseView
) -> tuple[State, dict[str, Float[Array, ""]]]:
    """One step on a batch of views.

    Args:
      config: sizes of the network.
      recipe: the loss.
      state: of the run.
      views: the batch.

    Returns:
      The next state and the terms.
    """

    def total(params: Any):
        terms = dense_losses(apply_dense(config, params, views.image), views)
        return sum(weight * terms[name] for name, weight in recipe.terms), terms

    (_, terms), gradient = jax.value_and_grad(total, has_aux=True)(state.params)
    return descend(recipe, state, gradient), terms

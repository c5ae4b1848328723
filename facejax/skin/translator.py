"""The skin translator as it is shipped."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.checkpoints import load
from facejax.lighting import srgb_to_linear
from facejax.nets.skin_translator import (
    SkinTranslation,
    SkinTranslatorConfig,
    apply_skin_tone,
    apply_skin_translator,
)
from facejax.skin.sight import SkinSight, median_color
from facejax.unwrap.masks import box_blur

SCHEMA, VERSION = "facejax.skin", 2
# Where the photograph is kept:
BROAD, SOFT = (97, 49, 25), 7  # texels: over which changes are averaged; width of the border
USUAL_CHANGE, ROUNDS = 0.15, 4  # log linear change that is still light, and rounds of reweighting
FEW = 0.02  # weight of the wider surroundings
ASSET = Path(__file__).parents[1] / "assets" / "skin"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SkinTranslator:
    """Weights and their sizes."""

    weights: Any  # "maps" and "tone"
    config: SkinTranslatorConfig = field(metadata={"static": True})


@lru_cache
def load_translator(path: Path = ASSET) -> SkinTranslator:
    """The shipped network, or another one that experiments/train_skin.py wrote."""
    weights, about = load(path, schema=SCHEMA, version=VERSION)
    stored: dict[str, Any] = about["config"]
    sizes: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in stored.items()}
    return SkinTranslator(jax.device_put(weights), SkinTranslatorConfig(**sizes))


def translate(
    network: SkinTranslator, sight: SkinSight, face: Float[Array, "S S"]
) -> tuple[SkinTranslation, Float[Array, " 3"]]:
    """The maps of one skin, and its tone (log of the face's median linear colour). Pure; vmap for many.

    Args:
      network: the weights.
      sight: what is known of the photograph.
      face: 1 where the layout has the face, whose median colour is the tone.
    """
    one = jax.tree.map(lambda leaf: leaf[None], sight)
    tone = apply_skin_tone(network.config, network.weights["tone"], one.facts)[0]
    found = apply_skin_translator(network.config, network.weights["maps"], one.maps, one.scene, one.relative, one.seen)
    skin = SkinTranslation(*(leaf[0] for leaf in found))
    median = median_color(skin.relative, face)
    return skin._replace(relative=skin.relative / jnp.maximum(median, 0.05)[None, None]), tone


def keep_photo(
    relative: Float[Array, "S S 3"], color: Float[Array, "S S 3"], kept: Float[Array, "S S"], clean: Float[Array, "S S"]
) -> Float[Array, "S S 3"]:
    """The photograph's own colours, changed by no more than the broad part of what the network changes; linear.

    That part is what most of the bare skin around a texel needs: light. Texels that need much else, such as painted
    ones, count little.

    Args:
      relative: the network's colours, linear, over the tone.
      color: the photograph's, display values.
      kept: how much of each texel is taken from it; the network's colours stay elsewhere.
      clean: how much of each texel it shows of bare skin.
    """
    photo = jnp.maximum(srgb_to_linear(color), 0.003)
    change = jnp.log(jnp.maximum(relative, 0.01) / photo)
    weight, broad = clean, jnp.zeros_like(change)
    for _ in range(ROUNDS):
        broad = _broad(change, weight)
        apart = jnp.linalg.norm(change - broad, axis=-1)
        weight = clean / (1.0 + (apart / USUAL_CHANGE) ** 2)
    share = jnp.minimum(kept, box_blur(kept, SOFT) ** 2)[..., None]  # no hard border
    return relative + share * (photo * jnp.exp(broad) - relative)


def _broad(values: Float[Array, "S S 3"], weight: Float[Array, "S S"]) -> Float[Array, "S S 3"]:
    """Weighted means over ever smaller surroundings; where these have little weight, the wider one's."""
    total = jnp.sum(weight) + 1e-3
    mean = jnp.broadcast_to(jnp.einsum("hw,hwc->c", weight, values)[None, None] / total, values.shape)
    for kernel in BROAD:
        share = box_blur(weight, kernel) + FEW
        sums = jnp.stack([box_blur(values[..., k] * weight, kernel) for k in range(3)], axis=-1)
        mean = (sums + FEW * mean) / share[..., None]
    return mean

"""The skin translator as it is shipped."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.checkpoints import load
from facejax.nets.skin_translator import (
    SkinTranslation,
    SkinTranslatorConfig,
    apply_skin_tone,
    apply_skin_translator,
)
from facejax.skin.sight import SkinSight, median_color

SCHEMA, VERSION = "facejax.skin", 1
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

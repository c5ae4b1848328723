"""The skin translator as it is shipped."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
from jaxtyping import Array, Float

from facejax.checkpoints import load
from facejax.nets.skin_translator import (
    SkinTranslation,
    SkinTranslatorConfig,
    apply_skin_tone,
    apply_skin_translator,
)
from facejax.skin.sight import SkinSight

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


def translate(network: SkinTranslator, sight: SkinSight) -> tuple[SkinTranslation, Float[Array, " 3"]]:
    """The maps of one skin, and its tone (log of the face's mean linear colour). Pure; vmap for many."""
    one = jax.tree.map(lambda leaf: leaf[None], sight)
    tone = apply_skin_tone(network.config, network.weights["tone"], one.facts)[0]
    found = apply_skin_translator(network.config, network.weights["maps"], one.maps, one.scene, one.relative, one.seen)
    return SkinTranslation(*(leaf[0] for leaf in found)), tone

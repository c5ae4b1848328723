"""The skin translator as it is shipped."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facejax.checkpoints import load
from facejax.nets.skin_translator import (
    SkinTranslation,
    SkinTranslatorConfig,
    apply_skin_tone,
    apply_skin_translator,
)
from facejax.skin.sight import SkinSight, median_color
from facejax.unwrap.masks import box_blur

SCHEMA, VERSION = "facejax.skin", 2
BROAD, SOFT = 25, 7  # texels: over which changes are averaged where paint is kept; of the border of what is seen
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
    network: SkinTranslator, sight: SkinSight, face: Float[Array, "S S"], *, paint: bool | Bool[Array, ""] = False
) -> tuple[SkinTranslation, Float[Array, " 3"]]:
    """The maps of one skin, and its tone (log of the face's median linear colour). Pure; vmap for many.

    Args:
      network: the weights.
      sight: what is known of the photograph.
      face: 1 where the layout has the face, whose median colour is the tone.
      paint: whether the photograph's own variation stays, see `keep_paint`.
    """
    one = jax.tree.map(lambda leaf: leaf[None], sight)
    tone = apply_skin_tone(network.config, network.weights["tone"], one.facts)[0]
    found = apply_skin_translator(network.config, network.weights["maps"], one.maps, one.scene, one.relative, one.seen)
    skin = SkinTranslation(*(leaf[0] for leaf in found))
    skin = skin._replace(relative=jnp.where(paint, keep_paint(skin.relative, sight), skin.relative))
    median = median_color(skin.relative, face)
    return skin._replace(relative=skin.relative / jnp.maximum(median, 0.05)[None, None]), tone


def keep_paint(relative: Float[Array, "S S 3"], sight: SkinSight) -> Float[Array, "S S 3"]:
    """The photograph's own colours, changed by no more than the broad part of what the network changes.

    Where nothing is seen, the network's.

    Args:
      relative: the network's colours, linear.
      sight: what it was told.
    """
    seen, photo = sight.seen, jnp.maximum(sight.relative, 0.01)
    change = jnp.log(jnp.maximum(relative, 0.01) / photo) * seen[..., None]
    broad = lambda x: box_blur(box_blur(x, BROAD), BROAD)  # noqa: E731
    mean = jnp.stack([broad(change[..., k]) for k in range(3)], axis=-1) / jnp.maximum(broad(seen), 1e-3)[..., None]
    share = jnp.minimum(seen, box_blur(seen, SOFT) ** 2)[..., None]  # no hard border
    return relative + share * (photo * jnp.exp(mean) - relative)

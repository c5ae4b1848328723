"""ViT, the vision transformer: square patches of a picture as tokens, with learned positions and a class token.

Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, in the form of github.com/google-research/
vision_transformer (GELU with a tanh, layer normalisation with 1e-6, biases everywhere).
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.nets._layers import Conv
from facejax.nets._transformer import Transformer, TransformerOutput, check_pictures, class_head


@dataclass(frozen=True)
class ViTConfig:
    """Sizes of the network; static and hashable."""

    size: int = 224  # side of the picture, pixels
    patch: int = 16  # side of a patch, which divides it
    width: int = 768
    hidden: int = 3072  # of the MLP
    heads: int = 12
    layers: int = 12
    classes: int = 1000  # 0: no head

    @property
    def stride(self) -> int:
        """Pixels between two tokens."""
        return self.patch


VIT = {  # the released sizes, and one for small pictures
    "Ti/16": ViTConfig(width=192, hidden=768, heads=3),
    "S/16": ViTConfig(width=384, hidden=1536, heads=6),
    "B/16": ViTConfig(),
    "L/16": ViTConfig(width=1024, hidden=4096, heads=16, layers=24),
    "H/14": ViTConfig(patch=14, width=1280, hidden=5120, heads=16, layers=32),
    "small": ViTConfig(size=96, patch=8, width=128, hidden=384, heads=4, layers=8, classes=0),
}


def init_vit(config: ViTConfig, key: Key[Array, ""]) -> Any:
    """A plain tree of random parameters. Raises ValueError for sizes that do not divide."""
    check_vit(config)
    return ViT(config).init(key, jnp.zeros((1, config.size, config.size, 3)))["params"]


def apply_vit(config: ViTConfig, params: Any, images: Float[Array, "N S S 3"]) -> TransformerOutput:
    """The network on RGB display values in [0, 1]. Pure. Raises ValueError for pictures of another size."""
    check_pictures(images, config.size)
    return ViT(config).apply({"params": params}, images)  # type: ignore[return-value]


def check_vit(config: ViTConfig) -> None:
    """Raise ValueError, with the fix, for sizes that do not divide."""
    if config.size % config.patch or config.width % config.heads:
        raise ValueError(f"{config}: size must be a multiple of patch, and width a multiple of heads")


class ViT(nn.Module):
    """The Flax module of `apply_vit`, for networks that it is a part of."""

    config: ViTConfig

    @nn.compact
    def __call__(self, images):
        config = self.config
        patch, cells = (config.patch, config.patch), config.size // config.patch
        x = Conv(config.width, patch, patch, padding="VALID", name="embedding")(2.0 * images - 1.0)
        x = Transformer(
            config.layers, config.heads, config.hidden, bias=True, exact=False, epsilon=1e-6, name="transformer"
        )(x.reshape(len(x), cells * cells, config.width))
        tokens = x[:, 1:].reshape(len(x), cells, cells, config.width)
        return TransformerOutput(class_head(config.classes, x[:, 0]), x[:, 0], tokens)

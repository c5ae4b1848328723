"""LV-ViT: a vision transformer that learns a class for every token (token labelling).

Jiang et al., "All tokens matter: token labeling for training better vision transformers", NeurIPS 2021, in the form of
github.com/zihangJiang/TokenLabeling: four convolutions make the tokens, every branch is divided by a constant
(`residual`), and a second head gives a class for each token. MixToken swaps a rectangle of tokens between two pictures.
"""

from dataclasses import dataclass
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from facejax.nets._layers import Conv, Network, apply_network, convolution, frozen_norm, imagenet_input
from facejax.nets._transformer import Transformer, check_pictures, class_head

GROUPS = 8  # of the group normalisation


@dataclass(frozen=True)
class LVViTConfig:
    """Sizes of the network; static and hashable."""

    size: int = 224  # side of the picture, pixels
    patch: int = 16  # pixels between two tokens; even
    stem: int = 64  # channels of the first three convolutions
    norm: str = "batch"  # of them; "batch": the running averages of released weights, "group": to be trained here
    width: int = 384
    hidden: int = 1152  # of the MLP
    heads: int = 6
    layers: int = 16
    residual: float = 2.0  # each branch is divided by it
    classes: int = 1000  # 0: no head
    token_classes: int = 1000  # 0: no token labelling

    @property
    def stride(self) -> int:
        """Pixels between two tokens."""
        return self.patch


LV_VIT = {  # the released sizes, and one for small pictures
    "T": LVViTConfig(width=240, hidden=720, heads=4, layers=12, residual=1.0),
    "S": LVViTConfig(),
    "M": LVViTConfig(width=512, hidden=1536, heads=8, layers=20),
    "L": LVViTConfig(stem=128, width=768, hidden=2304, heads=12, layers=24, residual=3.0),
    "small": LVViTConfig(
        *(96, 8, 16, "group"), width=128, hidden=384, heads=4, layers=6, residual=1.0, classes=0, token_classes=0
    ),
}


class LVViTOutput(NamedTuple):
    """h and w are the token grid's sides."""

    logits: Float[Array, "N K"]  # of the class token; K = 0 without a head
    token_logits: Float[Array, "N h w L"]  # of each token; L = 0 without token labelling
    token: Float[Array, "N D"]  # the class token after the last normalisation
    tokens: Float[Array, "N h w D"]  # those of the picture


class TokenBox(NamedTuple):
    """A rectangle of the token grid; the second row and column are the first beyond it."""

    rows: Int[Array, " 2"]
    columns: Int[Array, " 2"]


def init_lv_vit(config: LVViTConfig, key: Key[Array, ""]) -> Network:
    """Random parameters; no statistics for group normalisation. Raises ValueError for sizes that do not fit."""
    check_lv_vit(config)
    variables = LVViT(config).init(key, jnp.zeros((1, config.size, config.size, 3)))
    return Network(variables["params"], variables.get("batch_stats", {}))


def apply_lv_vit(
    config: LVViTConfig, network: Network, images: Float[Array, "N S S 3"], *, mix: TokenBox | None = None
) -> LVViTOutput:
    """The network on RGB display values in [0, 1]. Pure.

    Args:
      config: sizes.
      network: weights.
      images: of `config.size`.
      mix: MixToken: these tokens are those of the reversed batch. The token logits are put back where they belong, and
        `logits` are for both pictures, in shares of `kept_share`.

    Returns:
      The outputs.

    Raises:
      ValueError: for pictures of another size.
    """
    check_pictures(images, config.size)
    output = apply_network(LVViT(config, mix), network, images)
    return output if mix is None else output._replace(token_logits=mix_tokens(mix, output.token_logits))


def check_lv_vit(config: LVViTConfig) -> None:
    """Raise ValueError, with the fix, for sizes that do not fit."""
    if config.size % config.patch or config.patch % 2 or config.width % config.heads:
        raise ValueError(f"{config}: size must be a multiple of an even patch, and width a multiple of heads")
    if config.norm not in ("batch", "group") or (config.norm == "group" and config.stem % GROUPS):
        raise ValueError(f"{config}: norm is 'batch', or 'group' with a stem that is a multiple of {GROUPS}")


def joint_logits(output: LVViTOutput) -> Float[Array, "N K"]:
    """The classes at test time: of the class token, plus half the largest of all tokens."""
    return output.logits + 0.5 * jnp.max(output.token_logits, axis=(1, 2))


def draw_token_box(key: Key[Array, ""], rows: int, columns: int) -> TokenBox:
    """A random rectangle for MixToken: its centre is anywhere, its area before clipping 1 - l, l uniform in [0, 1].

    Args:
      key: consumed.
      rows, columns: of the token grid.

    Returns:
      The rectangle.
    """
    share, *centres = jax.random.split(key, 3)
    side = jnp.sqrt(1.0 - jax.random.uniform(share))

    def ends(key, length):
        half = jnp.floor(length * side).astype(jnp.int32) // 2
        centre = jax.random.randint(key, (), 0, length)
        return jnp.clip(jnp.stack([centre - half, centre + half]), 0, length)

    return TokenBox(ends(centres[0], rows), ends(centres[1], columns))


def mix_tokens(box: TokenBox, tokens: Float[Array, "N h w C"]) -> Float[Array, "N h w C"]:
    """The tokens, with those in the rectangle from the reversed batch. Twice the same is none."""
    row, column = (jnp.arange(length) for length in tokens.shape[1:3])
    inside = ((row >= box.rows[0]) & (row < box.rows[1]))[:, None]
    inside = inside & ((column >= box.columns[0]) & (column < box.columns[1]))[None]
    return jnp.where(inside[None, :, :, None], tokens[::-1], tokens)


def kept_share(box: TokenBox, rows: int, columns: int) -> Float[Array, ""]:
    """The share of the tokens outside the rectangle, which is the weight of a picture's own class."""
    area = (box.rows[1] - box.rows[0]) * (box.columns[1] - box.columns[0])
    return 1.0 - area.astype(float) / (rows * columns)


class LVViT(nn.Module):
    """The Flax module of `apply_lv_vit`, for networks that it is a part of."""

    config: LVViTConfig
    mix: TokenBox | None = None

    @nn.compact
    def __call__(self, images):
        config = self.config
        x = imagenet_input(images)
        for number, (side, stride) in enumerate(((7, 2), (3, 1), (3, 1)), 1):
            x = convolution(config.stem, side, stride, name=f"conv{number}")(x)
            x = nn.relu(self._norm(f"norm{number}")(x))
        step = (config.patch // 2, config.patch // 2)
        x = Conv(config.width, step, step, padding="VALID", name="proj")(x)
        if self.mix is not None:
            x = mix_tokens(self.mix, x)
        count, rows, columns, width = x.shape
        x = Transformer(config.layers, config.heads, config.hidden, residual=config.residual, name="transformer")(
            x.reshape(count, rows * columns, width)
        )
        token, tokens = x[:, 0], x[:, 1:]
        each = class_head(config.token_classes, tokens.reshape(-1, width), "token_head")
        return LVViTOutput(
            class_head(config.classes, token),
            each.reshape(count, rows, columns, config.token_classes),
            token,
            tokens.reshape(count, rows, columns, width),
        )

    def _norm(self, name: str) -> nn.Module:
        return frozen_norm(name) if self.config.norm == "batch" else nn.GroupNorm(GROUPS, epsilon=1e-5, name=name)

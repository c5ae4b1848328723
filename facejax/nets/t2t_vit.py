"""T2T-ViT: overlapping windows of a picture become tokens step by step, then a deep and narrow transformer.

Yuan et al., "Tokens-to-token ViT", ICCV 2021, in the form of github.com/yitu-opensource/T2T-ViT. A soft split joins the
tokens of each window into one. Between two splits is a layer of attention whose cost is linear in the number of tokens:
Performer (Choromanski et al., "Rethinking attention with performers", ICLR 2021), with positive random features.
"""

import math
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.nets._layers import imagenet_input
from facejax.nets._transformer import FIXED, MLP, Transformer, TransformerOutput, check_pictures, class_head

EPSILON = 1e-5  # of the layer normalisations


@dataclass(frozen=True)
class T2TViTConfig:
    """Sizes of the network; static and hashable."""

    size: int = 224  # side of the picture, pixels; a multiple of the product of the strides
    splits: tuple[tuple[int, int, int], ...] = ((7, 4, 2), (3, 2, 1), (3, 2, 1))  # side, stride and padding of windows
    token: int = 64  # width of the tokens between two splits
    features: int = 32  # random ones of the Performers
    width: int = 384
    hidden: int = 1152  # of the MLP
    heads: int = 6
    layers: int = 14
    classes: int = 1000  # 0: no head
    scale: float | None = None  # of the scores; some released weights want width**-0.5 (None: that of a head)

    @property
    def stride(self) -> int:
        """Pixels between two of the last tokens."""
        return math.prod(stride for _, stride, _ in self.splits)


T2T_VIT = {  # the released sizes, and one for small pictures
    **{str(layers): T2TViTConfig(width=256, hidden=512, heads=4, layers=layers) for layers in (7, 10, 12)},
    "14": T2TViTConfig(),
    "19": T2TViTConfig(width=448, hidden=1344, heads=7, layers=19),
    "24": T2TViTConfig(width=512, hidden=1536, heads=8, layers=24),
    "small": T2TViTConfig(size=96, splits=((7, 4, 2), (3, 2, 1)), width=128, hidden=256, heads=4, layers=7, classes=0),
}


def init_t2t_vit(config: T2TViTConfig, key: Key[Array, ""]) -> Any:
    """A plain tree of random parameters. Raises ValueError for sizes that do not divide."""
    check_t2t_vit(config)
    return T2TViT(config).init(key, jnp.zeros((1, config.size, config.size, 3)))["params"]


def apply_t2t_vit(config: T2TViTConfig, params: Any, images: Float[Array, "N S S 3"]) -> TransformerOutput:
    """The network on RGB display values in [0, 1]. Pure. Raises ValueError for pictures of another size."""
    check_pictures(images, config.size)
    return T2TViT(config).apply({"params": params}, images)  # type: ignore[return-value]


def check_t2t_vit(config: T2TViTConfig) -> None:
    """Raise ValueError, with the fix, for sizes that do not divide."""
    if config.size % config.stride or config.width % config.heads:
        raise ValueError(f"{config}: size must be a multiple of {config.stride}, and width a multiple of heads")


def soft_split(x: Float[Array, "N H W C"], side: int, stride: int, padding: int) -> Float[Array, "N h w K"]:
    """The values of each window side by side, channel by channel, as PyTorch's unfold has them; zeros beyond the edge.

    Args:
      x: the tokens, or the picture.
      side: of the windows.
      stride: between them.
      padding: of the edges.

    Returns:
      The joined tokens, K = side^2 C.
    """
    rows, columns = ((length + 2 * padding - side) // stride + 1 for length in x.shape[1:3])
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    parts = [
        x[:, top : top + (rows - 1) * stride + 1 : stride, left : left + (columns - 1) * stride + 1 : stride]
        for top in range(side)
        for left in range(side)
    ]
    return jnp.stack(parts, axis=-1).reshape(len(x), rows, columns, -1)


def positive_features(x: Float[Array, "N T D"], directions: Float[Array, "M D"]) -> Float[Array, "N T M"]:
    """exp(w x - |x|^2 / 2) / sqrt(M): dot products of these are estimates of exp(x y)."""
    square = 0.5 * jnp.sum(x * x, axis=-1, keepdims=True)
    return jnp.exp(x @ directions.T - square) / math.sqrt(len(directions))


class Performer(nn.Module):
    """Attention through random features and an MLP, from tokens of any width to tokens of `width`.

    The residual connection goes around the values, not the tokens, since their widths differ.
    """

    width: int
    features: int

    @nn.compact
    def __call__(self, x):
        x = nn.LayerNorm(epsilon=EPSILON, name="norm1")(x)
        keys, queries, values = jnp.split(nn.Dense(3 * self.width, name="kqv")(x), 3, axis=-1)
        directions = jax.lax.stop_gradient(self.param(FIXED, _orthogonal, (self.features, self.width)))
        keys, queries = positive_features(keys, directions), positive_features(queries, directions)
        total = jnp.einsum("ntm,nm->nt", queries, jnp.sum(keys, axis=1))
        mixed = jnp.einsum("ntm,nmd->ntd", queries, jnp.einsum("ntm,ntd->nmd", keys, values))
        y = values + nn.Dense(self.width, name="proj")(mixed / (total[..., None] + 1e-8))
        return y + MLP(self.width, exact=True, name="mlp")(nn.LayerNorm(epsilon=EPSILON, name="norm2")(y))


def _orthogonal(key: Key[Array, ""], shape: tuple[int, int]) -> Float[Array, "M D"]:
    return nn.initializers.orthogonal()(key, shape) * math.sqrt(shape[0])


class T2TViT(nn.Module):
    """The Flax module of `apply_t2t_vit`, for networks that it is a part of."""

    config: T2TViTConfig

    @nn.compact
    def __call__(self, images):
        config = self.config
        x = imagenet_input(images)
        for number, split in enumerate(config.splits):
            if number:
                count, rows, columns, width = x.shape
                x = Performer(config.token, config.features, name=f"performer_{number - 1}")(
                    x.reshape(count, rows * columns, width)
                ).reshape(count, rows, columns, config.token)
            x = soft_split(x, *split)
        count, rows, columns, _ = x.shape
        x = nn.Dense(config.width, name="project")(x).reshape(count, rows * columns, config.width)
        x = Transformer(
            config.layers,
            config.heads,
            config.hidden,
            scale=config.scale,
            epsilon=EPSILON,
            fixed_positions=True,
            name="transformer",
        )(x)
        tokens = x[:, 1:].reshape(count, rows, columns, config.width)
        return TransformerOutput(class_head(config.classes, x[:, 0]), x[:, 0], tokens)

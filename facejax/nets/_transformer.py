"""What the vision transformers share: attention, the two-branch block, class token and positions.

Vaswani et al., "Attention is all you need", NeurIPS 2017, with the normalisation before each branch, as ViT has it.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.programs.promotion import along_last

FIXED = "features"  # the name of parameters that are drawn once and never trained
UNDECAYED = ("class_token", "positions", FIXED)  # the names of parameters that weight decay leaves alone


class TransformerOutput(NamedTuple):
    """What ViT and T2T-ViT give; h and w are the token grid's sides."""

    logits: Float[Array, "N K"]  # of the head on the class token; K = 0 without a head
    token: Float[Array, "N D"]  # the class token after the last normalisation
    tokens: Float[Array, "N h w D"]  # those of the picture


class Attention(nn.Module):
    """Multi-head self-attention on (N, T, D), with one linear layer for queries, keys and values, in this order."""

    heads: int
    bias: bool  # of that layer
    scale: float | None = None  # of the scores; None: one over the square root of the size of a head

    @nn.compact
    def __call__(self, x):
        count, length, width = x.shape
        size = width // self.heads
        scale = size**-0.5 if self.scale is None else self.scale
        qkv = nn.Dense(3 * width, use_bias=self.bias, name="qkv")(x).reshape(count, length, 3, self.heads, size)
        queries, keys, values = jnp.einsum("ntahd->anhtd", qkv)  # in this order products are fastest on processors
        weights = jax.nn.softmax(jnp.einsum("nhqd,nhkd->nhqk", scale * queries, keys), axis=-1)
        y = jnp.einsum("nhqk,nhkd->nqhd", weights, values)
        return nn.Dense(width, name="proj")(y.reshape(count, length, width))


class MLP(nn.Module):
    """Two linear layers with a GELU between them."""

    hidden: int
    exact: bool  # GELU with the error function, or with a tanh

    @nn.compact
    def __call__(self, x):
        y = nn.gelu(nn.Dense(self.hidden, name="fc1")(x), approximate=not self.exact)
        return nn.Dense(x.shape[-1], name="fc2")(y)


class Block(nn.Module):
    """x + attention(x), then x + MLP(x), each on normalised tokens and divided by `residual`."""

    heads: int
    hidden: int
    bias: bool
    exact: bool
    epsilon: float
    scale: float | None
    residual: float

    @nn.compact
    def __call__(self, x):
        y = nn.LayerNorm(epsilon=self.epsilon, name="norm1")(x)
        x = x + Attention(self.heads, self.bias, self.scale, name="attention")(y) / self.residual
        y = nn.LayerNorm(epsilon=self.epsilon, name="norm2")(x)
        return x + MLP(self.hidden, self.exact, name="mlp")(y) / self.residual


class Transformer(nn.Module):
    """A class token before the others, positions, blocks, and a last normalisation: (N, T, D) to (N, 1 + T, D)."""

    layers: int
    heads: int
    hidden: int
    bias: bool = False
    exact: bool = True
    epsilon: float = 1e-5
    scale: float | None = None
    residual: float = 1.0
    fixed_positions: bool = False  # sines and cosines instead of learned ones

    @nn.compact
    def __call__(self, tokens):
        count, length, width = tokens.shape
        start = nn.initializers.normal(0.02)
        first = along_last(self.param("class_token", start, (width,)), tokens)
        x = jnp.concatenate([jnp.broadcast_to(first, (count, 1, width)), tokens], axis=1)
        if self.fixed_positions:
            positions = jnp.asarray(sinusoids(length + 1, width), x.dtype)
        else:
            positions = self.param("positions", start, (length + 1, width))
        x = x + positions[None]
        sizes = (self.heads, self.hidden, self.bias, self.exact, self.epsilon, self.scale, self.residual)
        for layer in range(self.layers):
            x = Block(*sizes, name=f"block_{layer}")(x)
        return nn.LayerNorm(epsilon=self.epsilon, name="norm")(x)


def sinusoids(length: int, width: int) -> np.ndarray:
    """Positions as Vaswani et al. encode them: sin and cos of p / 10000^(2 i / width) side by side, (length, width)."""
    angle = np.arange(length)[:, None] / 10000.0 ** (np.arange(width)[None] // 2 * 2 / width)
    return np.where(np.arange(width)[None] % 2, np.cos(angle), np.sin(angle))


def class_head(classes: int, token: Float[Array, "N D"], name: str = "head") -> Float[Array, "N K"]:
    """A linear layer that starts at zero; no layer and no outputs where there are no classes."""
    if not classes:
        return token[:, :0]
    return nn.Dense(classes, kernel_init=nn.initializers.zeros, name=name)(token)


def check_pictures(images: Array, size: int) -> None:
    if images.ndim != 4 or images.shape[1:] != (size, size, 3):
        raise ValueError(f"pictures of shape {images.shape}: this network takes (N, {size}, {size}, 3)")

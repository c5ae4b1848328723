"""What the published networks share: convolutions with batch normalisation, named heads, input scaling.

Padding and epsilon are PyTorch's, so that weights trained there give the same numbers here.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.kernels import conv_general_dilated
from facejax.programs.promotion import along_last

Conv = partial(nn.Conv, conv_general_dilated=conv_general_dilated)

Heads = tuple[tuple[str, int], ...]  # name and size of each block of a network's outputs, in order


class Network(NamedTuple):
    """The variables of a network: trained parameters, and the running averages of its batch normalisations."""

    params: Any
    statistics: Any


class ConvNorm(nn.Module):
    """A convolution without bias, padded by half its kernel on both sides, then frozen batch normalisation."""

    features: int
    kernel: int
    stride: int = 1
    groups: int = 1

    @nn.compact
    def __call__(self, x):
        half = self.kernel // 2
        x = Conv(
            self.features,
            (self.kernel, self.kernel),
            self.stride,
            padding=((half, half), (half, half)),
            feature_group_count=self.groups,
            use_bias=False,
            name="conv",
        )(x)
        return frozen_norm("norm")(x)


class PReLU(nn.Module):
    """x above zero, slope times x below; one learned slope per channel, or one for all."""

    shared: bool = False

    @nn.compact
    def __call__(self, x):
        slope = self.param("slope", nn.initializers.constant(0.25), (1 if self.shared else x.shape[-1],))
        return jnp.where(x > 0, x, along_last(slope, x) * x)


def convolution(features: int, kernel: int, stride: int = 1, *, bias: bool = False, name: str) -> nn.Conv:
    """A convolution padded by half its kernel on both sides.

    Args:
      features: output channels.
      kernel: side of the kernel, odd.
      stride: step in pixels.
      bias: whether it has one.
      name: of its parameters.

    Returns:
      The layer.
    """
    half = kernel // 2
    padding = ((half, half), (half, half))
    return Conv(features, (kernel, kernel), stride, padding=padding, use_bias=bias, name=name)


def frozen_norm(name: str) -> nn.BatchNorm:
    """Batch normalisation by its running averages, for networks that are not trained here."""
    return nn.BatchNorm(use_running_average=True, epsilon=1e-5, name=name)


class DenseHeads(nn.Module):
    """One dense layer per head on pooled features, with their outputs side by side."""

    heads: Heads

    @nn.compact
    def __call__(self, x):
        return jnp.concatenate([nn.Dense(size, name=name)(x) for name, size in self.heads], axis=-1)


def network_shapes(module: nn.Module, shape: Sequence[int]) -> Network:
    """The shapes of the variables for pictures of `shape` (1, H, W, C), as a tree of `jax.ShapeDtypeStruct`."""
    variables = jax.eval_shape(lambda key: module.init(key, jnp.zeros(shape)), jax.random.key(0))
    return Network(variables["params"], variables.get("batch_stats", {}))


def apply_network(module: nn.Module, network: Network, images: Array) -> Any:
    return module.apply({"params": network.params, "batch_stats": network.statistics}, images)


def check_channels(images: Array, channels: int) -> None:
    if images.ndim != 4 or images.shape[-1] != channels:
        raise ValueError(f"pictures of shape {images.shape}: this network takes (N, H, W, {channels})")


def imagenet_input(images: Float[Array, "*B H W 3"]) -> Float[Array, "*B H W 3"]:
    """RGB in [0, 1] as PyTorch's model zoo expects it: minus ImageNet's mean, over its standard deviation."""
    mean, std = jnp.array([0.485, 0.456, 0.406]), jnp.array([0.229, 0.224, 0.225])
    return (images - along_last(mean, images)) / along_last(std, images)


def unit_vectors(x: Float[Array, "*B C"]) -> Float[Array, "*B C"]:
    """The last axis divided by its length; a zero vector stays zero, with zero gradient."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    tiny = square < 1e-24
    return jnp.where(tiny, 0.0, x * jax.lax.rsqrt(jnp.where(tiny, 1.0, square)))


def split_heads(heads: Heads, outputs: Float[Array, "*B C"]) -> dict[str, Float[Array, "*B _"]]:
    """A network's outputs by the name of each block. Raises ValueError when the sizes do not add up to C."""
    total = sum(size for _, size in heads)
    if outputs.shape[-1] != total:
        raise ValueError(f"{outputs.shape[-1]} outputs, but heads of {total}: pass the heads of the network's config")
    blocks, start = {}, 0
    for name, size in heads:
        blocks[name] = outputs[..., start : start + size]
        start += size
    return blocks


def to_bgr_input(images: Float[Array, "*B H W 3"]) -> Float[Array, "*B H W 3"]:
    """RGB in [0, 1] as 3DDFA, 3DDFA_V2 and 2DASL expect it: BGR, (value - 127.5) / 128 of 8-bit values."""
    return (images[..., ::-1] * 255.0 - 127.5) / 128.0

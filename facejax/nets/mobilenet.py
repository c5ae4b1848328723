"""MobileNet-V1 (Howard et al. 2017, arXiv 1704.04861), as 3DDFA and 3DDFA_V2 use it.

Thirteen depthwise-separable blocks; each 3x3 depthwise and each 1x1 convolution is followed by batch normalisation and
ReLU. Pictures of 120 px, BGR as `to_bgr_input` gives it; 62 whitened outputs: 12 pose, 40 identity, 10 expression.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.nets._layers import (
    ConvNorm,
    DenseHeads,
    Heads,
    Network,
    apply_network,
    check_channels,
    network_shapes,
)

# Name, channels at width 1, stride. The names are those of the released weights.
BLOCKS = (
    ("dw2_1", 64, 1),
    ("dw2_2", 128, 2),
    ("dw3_1", 128, 1),
    ("dw3_2", 256, 2),
    ("dw4_1", 256, 1),
    ("dw4_2", 512, 2),
    *((f"dw5_{block}", 512, 1) for block in range(1, 6)),
    ("dw5_6", 1024, 2),
    ("dw6", 1024, 1),
)


@dataclass(frozen=True)
class MobileNetConfig:
    """Shape of a MobileNet-V1; static and hashable."""

    widen: float = 1.0  # times the channels of each layer; 3DDFA_V2 releases 1 and 0.5
    channels: int = 3  # of the pictures
    size: int = 120  # side of the pictures; others work too
    heads: Heads = (("coefficients", 62),)


def mobilenet_shapes(config: MobileNetConfig) -> Network:
    """The shapes and types of the variables."""
    return network_shapes(_MobileNet(config), (1, config.size, config.size, config.channels))


def apply_mobilenet(config: MobileNetConfig, network: Network, images: Float[Array, "N H W C"]) -> Float[Array, "N O"]:
    """Outputs, the heads side by side. Batch normalisation is frozen: it uses `network.statistics`.

    Raises ValueError when the pictures do not fit the network.
    """
    check_channels(images, config.channels)
    return apply_network(_MobileNet(config), network, images)


class _Separable(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        count = x.shape[-1]
        x = nn.relu(ConvNorm(count, 3, self.stride, groups=count, name="depthwise")(x))
        return nn.relu(ConvNorm(self.features, 1, name="pointwise")(x))


class _MobileNet(nn.Module):
    config: MobileNetConfig

    @nn.compact
    def __call__(self, x):
        config = self.config
        x = nn.relu(ConvNorm(int(32 * config.widen), 3, 2, name="conv1")(x))
        for name, features, stride in BLOCKS:
            x = _Separable(int(features * config.widen), stride, name=name)(x)
        return DenseHeads(config.heads, name="heads")(jnp.mean(x, axis=(1, 2)))

"""IResNet, ArcFace's face recogniser: the features of two pictures of one person point in similar directions.

Deng et al., "ArcFace: additive angular margin loss for deep face recognition", CVPR 2019; the network of the authors'
PyTorch code, github.com/deepinsight/insightface, recognition/arcface_torch. FFHQ-UV's identity loss is
`facejax.objectives.cosine_distance` of its features; `facejax.images.align` makes the crops of 112 px.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.nets._layers import (
    ConvNorm,
    Network,
    PReLU,
    apply_network,
    check_channels,
    convolution,
    frozen_norm,
    network_shapes,
    unit_vectors,
)


@dataclass(frozen=True)
class IResNetConfig:
    """Shape of an IResNet; static and hashable. The default is IResNet-50."""

    blocks: tuple[int, int, int, int] = (3, 4, 14, 3)
    width: int = 64  # channels of the first stage; each later one has twice as many
    size: int = 112  # side of the pictures, a multiple of 16; fixed, since the last layer has weights for each cell
    features: int = 512


def iresnet_shapes(config: IResNetConfig) -> Network:
    """The shapes and types of the variables."""
    return network_shapes(_IResNet(config), (1, config.size, config.size, 3))


def apply_iresnet(config: IResNetConfig, network: Network, images: Float[Array, "N S S 3"]) -> Float[Array, "N F"]:
    """Feature vectors of unit length for aligned faces, RGB display values in [0, 1]. Batch normalisation is frozen.

    Raises ValueError when the pictures do not fit the network.
    """
    check_channels(images, 3)
    if images.shape[1:3] != (config.size, config.size):
        raise ValueError(
            f"pictures of {images.shape[1:3]} px: this network takes {config.size}: "
            "align them with facejax.images.align.align_face"
        )
    return unit_vectors(apply_network(_IResNet(config), network, 2.0 * images - 1.0))


class _Block(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        y = convolution(self.features, 3, name="conv1")(frozen_norm("bn1")(x))
        y = PReLU(name="prelu")(frozen_norm("bn2")(y))
        y = frozen_norm("bn3")(convolution(self.features, 3, self.stride, name="conv2")(y))
        return y + (ConvNorm(self.features, 1, self.stride, name="downsample")(x) if self.stride > 1 else x)


class _IResNet(nn.Module):
    config: IResNetConfig

    @nn.compact
    def __call__(self, x):
        config = self.config
        x = convolution(config.width, 3, name="conv1")(x)
        x = PReLU(name="prelu")(frozen_norm("bn1")(x))
        for stage, count in enumerate(config.blocks):
            for block in range(count):
                x = _Block(config.width * 2**stage, 1 if block else 2, name=f"layer{stage + 1}_{block}")(x)
        x = jnp.reshape(frozen_norm("bn2")(x), (len(x), -1))
        return frozen_norm("features")(nn.Dense(config.features, name="fc")(x))

"""ResNet-50 (He et al., "Deep residual learning for image recognition", CVPR 2016), as 2DASL and Deep3D use it.

The stride of a stage sits on its first 3x3 convolution, as in PyTorch's model zoo, from which both were started.

- `TWODASL`: 120 px, BGR as `to_bgr_input` gives it with the landmark map as fourth channel. The fourth stage keeps its
  8 x 8 cells, of which the first 7 x 7 are averaged. 62 whitened outputs: 12 pose, 40 identity, 10 expression.
- `DEEP3D`: 224 px, RGB in [0, 1], the mean over all cells; 257 outputs, see `split_heads(DEEP3D.heads, outputs)`.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.nets._layers import (
    ConvNorm,
    DenseHeads,
    Heads,
    Network,
    apply_network,
    check_channels,
    init_network,
    network_shapes,
    train_network,
)


@dataclass(frozen=True)
class ResNetConfig:
    """Shape of a ResNet-50; static and hashable."""

    channels: int = 3  # of the pictures
    size: int = 224  # side of the pictures; only a windowed pooling depends on it
    last_stride: int = 2  # of the fourth stage
    window: int | None = None  # side of the one window of cells that is averaged; None: all cells
    heads: Heads = (("coefficients", 62),)
    zero_heads: bool = False  # start with all outputs zero
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)


TWODASL = ResNetConfig(channels=4, size=120, last_stride=1, window=7)
DEEP3D = ResNetConfig(
    heads=(("identity", 80), ("expression", 64), ("albedo", 80), ("angles", 3), ("light", 27), ("translation", 3)),
    zero_heads=True,
)


def init_resnet(config: ResNetConfig, key: Key[Array, ""]) -> Network:
    """Parameters (He et al. 2015) and statistics (means 0, variances 1) as plain trees."""
    return init_network(resnet_shapes(config), key, zero_heads=config.zero_heads)


def resnet_shapes(config: ResNetConfig) -> Network:
    """The shapes and types of the variables."""
    return network_shapes(_ResNet(config), (1, config.size, config.size, config.channels))


def apply_resnet(config: ResNetConfig, network: Network, images: Float[Array, "N H W C"]) -> Float[Array, "N O"]:
    """Outputs, the heads side by side. Batch normalisation is frozen: it uses `network.statistics`.

    Raises ValueError when the pictures do not fit the network.
    """
    check_channels(images, config.channels)
    return apply_network(_ResNet(config), network, images)


def train_resnet(
    config: ResNetConfig, network: Network, images: Float[Array, "N H W C"]
) -> tuple[Float[Array, "N O"], Any]:
    """Outputs, normalised by this batch, and the statistics moved a tenth of the way to the batch's.

    The variance that is averaged divides by the number of values, PyTorch's by one less. To fine-tune with frozen
    normalisation, train through `apply_resnet` and take no gradient of the statistics.
    """
    check_channels(images, config.channels)
    return train_network(_ResNet(config, training=True), network, images)


class _Bottleneck(nn.Module):
    width: int
    stride: int
    project: bool  # the shortcut is a 1x1 convolution
    training: bool

    @nn.compact
    def __call__(self, x):
        train = self.training
        y = nn.relu(ConvNorm(self.width, 1, training=train, name="conv1")(x))
        y = nn.relu(ConvNorm(self.width, 3, self.stride, training=train, name="conv2")(y))
        y = ConvNorm(4 * self.width, 1, training=train, name="conv3")(y)
        if self.project:
            x = ConvNorm(4 * self.width, 1, self.stride, training=train, name="shortcut")(x)
        return nn.relu(x + y)


class _ResNet(nn.Module):
    config: ResNetConfig
    training: bool = False

    @nn.compact
    def __call__(self, x):
        config = self.config
        x = nn.relu(ConvNorm(64, 7, 2, training=self.training, name="conv1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))  # type: ignore[arg-type]
        strides = (1, 2, 2, config.last_stride)
        for stage, (count, stride) in enumerate(zip(config.blocks, strides, strict=True)):
            for block in range(count):
                name = f"layer{stage + 1}_{block}"
                first = block == 0
                x = _Bottleneck(64 * 2**stage, stride if first else 1, first, self.training, name=name)(x)
        return DenseHeads(config.heads, name="heads")(_pool(x, config))


def _pool(x: Array, config: ResNetConfig) -> Array:
    window = config.window
    if window is None:
        return jnp.mean(x, axis=(1, 2))
    cells = x.shape[1:3]
    if not all(window <= count < window + 2 for count in cells):  # PyTorch's stride of 2 then gives one window
        raise ValueError(f"{cells[0]} x {cells[1]} cells for a window of {window}: pass pictures of {config.size} px")
    return jnp.mean(x[:, :window, :window], axis=(1, 2))

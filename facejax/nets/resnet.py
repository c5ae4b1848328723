"""ResNet-50 (He et al., "Deep residual learning for image recognition", CVPR 2016), as 2DASL and Deep3D use it.

The stride of a stage is on its first 3x3 convolution, as in PyTorch's model zoo, whose weights both started from.

- `TWODASL`: 120 px, BGR as `to_bgr_input` gives it with the landmark map as fourth channel. The fourth stage keeps its
  8 x 8 cells, of which the first 7 x 7 are averaged. 62 whitened outputs: 12 pose, 40 identity, 10 expression.
- `DEEP3D`: 224 px, RGB in [0, 1], the mean over all cells; 257 outputs, see `split_heads(DEEP3D.heads, outputs)`.
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


@dataclass(frozen=True)
class ResNetConfig:
    """Shape of a ResNet-50; static and hashable."""

    channels: int = 3  # of the pictures
    size: int = 224  # side of the pictures; only a windowed pooling depends on it
    last_stride: int = 2  # of the fourth stage
    window: int | None = None  # side of the one window of cells that is averaged; None: all cells
    heads: Heads = (("coefficients", 62),)
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)


TWODASL = ResNetConfig(channels=4, size=120, last_stride=1, window=7)
DEEP3D = ResNetConfig(
    heads=(("identity", 80), ("expression", 64), ("albedo", 80), ("angles", 3), ("light", 27), ("translation", 3)),
)


def resnet_shapes(config: ResNetConfig) -> Network:
    """The shapes and types of the variables."""
    return network_shapes(_ResNet(config), (1, config.size, config.size, config.channels))


def apply_resnet(config: ResNetConfig, network: Network, images: Float[Array, "N H W C"]) -> Float[Array, "N O"]:
    """Outputs, the heads side by side. Batch normalisation is frozen: it uses `network.statistics`.

    Raises ValueError when the pictures do not fit the network.
    """
    check_channels(images, config.channels)
    return apply_network(_ResNet(config), network, images)


class _Bottleneck(nn.Module):
    width: int
    stride: int
    project: bool  # the shortcut is a 1x1 convolution

    @nn.compact
    def __call__(self, x):
        y = nn.relu(ConvNorm(self.width, 1, name="conv1")(x))
        y = nn.relu(ConvNorm(self.width, 3, self.stride, name="conv2")(y))
        y = ConvNorm(4 * self.width, 1, name="conv3")(y)
        if self.project:
            x = ConvNorm(4 * self.width, 1, self.stride, name="shortcut")(x)
        return nn.relu(x + y)


class _ResNet(nn.Module):
    config: ResNetConfig

    @nn.compact
    def __call__(self, x):
        config = self.config
        x = nn.relu(ConvNorm(64, 7, 2, name="conv1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))  # type: ignore[arg-type]
        strides = (1, 2, 2, config.last_stride)
        for stage, (count, stride) in enumerate(zip(config.blocks, strides, strict=True)):
            for block in range(count):
                name = f"layer{stage + 1}_{block}"
                first = block == 0
                x = _Bottleneck(64 * 2**stage, stride if first else 1, first, name=name)(x)
        return DenseHeads(config.heads, name="heads")(_pool(x, config))


def _pool(x: Array, config: ResNetConfig) -> Array:
    window = config.window
    if window is None:
        return jnp.mean(x, axis=(1, 2))
    cells = x.shape[1:3]
    if not all(window <= count < window + 2 for count in cells):  # PyTorch's stride of 2 then gives one window
        raise ValueError(f"{cells[0]} x {cells[1]} cells for a window of {window}: pass pictures of {config.size} px")
    return jnp.mean(x[:, :window, :window], axis=(1, 2))

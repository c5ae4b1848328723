"""dlib's face recogniser: pictures of one person have descriptors that lie close together.

A small ResNet (He et al., "Deep residual learning for image recognition", CVPR 2016) of Davis King, trained with a
loss on distances: two faces are of one person if the Euclidean distance of their descriptors is below 0.6. The network
is described in dlib's example dnn_face_recognition_ex.cpp; `facejax.images.align.face_chip` makes its pictures. Its
affine layers are multiplied into the convolutions before them.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.nets._layers import Conv, Network, apply_network, check_channels, network_shapes
from facejax.programs.promotion import along_last

SAME_PERSON = 0.6  # the distance of two descriptors below which dlib says that they are of one person


@dataclass(frozen=True)
class DlibResNetConfig:
    """Shape of the network; static and hashable. The default is dlib's."""

    stem: int = 32  # channels of the first convolution
    blocks: tuple[tuple[int, bool], ...] = (  # channels of each residual block, and whether it halves the map
        *((32, False),) * 3,
        (64, True),
        *((64, False),) * 3,
        (128, True),
        *((128, False),) * 2,
        (256, True),
        *((256, False),) * 2,
        (256, True),
    )
    size: int = 150  # side of the pictures
    features: int = 128
    mean: tuple[float, float, float] = (122.782, 117.001, 104.298)  # RGB, subtracted from 8-bit values


def dlib_resnet_shapes(config: DlibResNetConfig) -> Network:
    """The shapes and types of the variables."""
    return network_shapes(_DlibResNet(config), (1, config.size, config.size, 3))


def apply_dlib_resnet(
    config: DlibResNetConfig, network: Network, images: Float[Array, "N S S 3"]
) -> Float[Array, "N F"]:
    """Descriptors of face chips, RGB display values in [0, 1]. Their length is not 1: compare them by distance.

    Raises ValueError when the pictures do not fit the network.
    """
    check_channels(images, 3)
    if images.shape[1:3] != (config.size, config.size):
        raise ValueError(
            f"pictures of {images.shape[1:3]} px: this network takes {config.size}: "
            "cut them with facejax.images.align.face_chip"
        )
    shifted = 255.0 * images - along_last(jnp.asarray(config.mean, images.dtype), images)
    return apply_network(_DlibResNet(config), network, shifted / 256.0)


class _Block(nn.Module):
    features: int
    halve: bool

    @nn.compact
    def __call__(self, x):
        first, padding = (2, 0) if self.halve else (1, 1)
        y = nn.relu(_conv(self.features, 3, first, padding, "conv1")(x))
        y = _conv(self.features, 3, 1, 1, "conv2")(y)
        return nn.relu(_add_padded(_halve(x) if self.halve else x, y))


class _DlibResNet(nn.Module):
    config: DlibResNetConfig

    @nn.compact
    def __call__(self, x):
        config = self.config
        x = nn.relu(_conv(config.stem, 7, 2, 0, "stem")(x))
        x = nn.max_pool(x, (3, 3), (2, 2))
        for k, (features, halve) in enumerate(config.blocks):
            x = _Block(features, halve, name=f"block{k}")(x)
        return nn.Dense(config.features, use_bias=False, name="fc")(jnp.mean(x, axis=(1, 2)))


def _conv(features: int, kernel: int, stride: int, padding: int, name: str) -> nn.Conv:
    return Conv(features, (kernel, kernel), stride, padding=((padding, padding),) * 2, name=name)


def _halve(x: Array) -> Array:
    """The mean of every 2 x 2 cells; an odd last row or column is left out."""
    count, rows, columns, channels = x.shape
    cells = x[:, : rows // 2 * 2, : columns // 2 * 2].reshape(count, rows // 2, 2, columns // 2, 2, channels)
    return jnp.mean(cells, axis=(2, 4))


def _add_padded(a: Array, b: Array) -> Array:
    """The sum, where each is filled up with zeros at the end of the axes on which the other is longer."""
    shape = [max(pair) for pair in zip(a.shape, b.shape, strict=True)]
    a, b = (jnp.pad(x, [(0, full - size) for full, size in zip(shape, x.shape, strict=True)]) for x in (a, b))
    return a + b

"""FAN: 68 landmarks from stacked hourglasses.

Bulat and Tzimiropoulos, "How far are we from solving the 2D & 3D face alignment problem?", ICCV 2017, in the form of
github.com/1adrianb/face-alignment. FFHQ-UV finds landmarks with a TensorFlow graph whose architecture was never
published; this detector is widely used instead.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.nets._layers import (
    Network,
    apply_network,
    check_channels,
    convolution,
    frozen_norm,
    network_shapes,
)
from facejax.programs.promotion import standard_promotion

CELL = 4  # side of a heat map's cell, pixels
DEPTH = 4  # how often an hourglass halves the side


@dataclass(frozen=True)
class FANConfig:
    """Shape of the network; static and hashable."""

    modules: int = 4  # hourglasses, one after the other
    width: int = 256  # channels
    points: int = 68


class FANOutput(NamedTuple):
    """Landmarks in pixels of the crop, (0, 0) its top-left corner, and the height of each heat map's peak."""

    landmarks: Float[Array, "N L 2"]
    peaks: Float[Array, "N L"]


def fan_shapes(config: FANConfig) -> Network:
    """The shapes and types of the variables."""
    side = CELL * 2**DEPTH
    return network_shapes(_FAN(config), (1, side, side, 3))


def apply_fan(config: FANConfig, network: Network, images: Float[Array, "N H W C"]) -> Float[Array, "N h w L"]:
    """Heat maps of the last hourglass, at a quarter of the side, of face crops of 256 px (RGB display values in [0,
    1]).

    Raises ValueError when the sides are not multiples of 64.
    """
    check_channels(images, 3)
    step = CELL * 2**DEPTH
    if images.shape[1] % step or images.shape[2] % step:
        raise ValueError(f"pictures of {images.shape[1:3]} px: sides must be multiples of {step}, best 256")
    return apply_network(_FAN(config), network, images)


def heatmap_landmarks(heatmaps: Float[Array, "N h w L"]) -> FANOutput:
    """The highest cell of each heat map, shifted by a quarter cell towards the higher neighbour along each axis.

    No gradient flows through it, since choosing a cell has none.
    """
    count, height, width, points = heatmaps.shape
    flat = heatmaps.reshape(count, height * width, points)
    best = jnp.argmax(flat, axis=1)
    peaks = jnp.take_along_axis(flat, best[:, None], axis=1)[:, 0]
    row, column = best // width, best % width

    def slope(step: int, inside):
        after = jnp.take_along_axis(flat, jnp.minimum(best + step, height * width - 1)[:, None], axis=1)[:, 0]
        before = jnp.take_along_axis(flat, jnp.maximum(best - step, 0)[:, None], axis=1)[:, 0]
        return jnp.where(inside, 0.25 * jnp.sign(after - before), 0.0)

    inside = (row > 0) & (row < height - 1) & (column > 0) & (column < width - 1)
    x, y = column.astype(flat.dtype) + 0.5, row.astype(flat.dtype) + 0.5
    x, y = x + slope(1, inside), y + slope(width, inside)
    return FANOutput(CELL * jnp.stack([x, y], axis=-1), peaks)


class _Block(nn.Module):
    """Three convolutions, each on the result of the one before; their outputs are concatenated."""

    features: int

    @nn.compact
    def __call__(self, x):
        first, second = self.features // 2, self.features // 4
        a = convolution(first, 3, name="conv1")(nn.relu(frozen_norm("bn1")(x)))
        b = convolution(second, 3, name="conv2")(nn.relu(frozen_norm("bn2")(a)))
        c = convolution(second, 3, name="conv3")(nn.relu(frozen_norm("bn3")(b)))
        if x.shape[-1] != self.features:
            x = convolution(self.features, 1, name="downsample_2")(nn.relu(frozen_norm("downsample_0")(x)))
        return x + jnp.concatenate([a, b, c], axis=-1)


_halve = partial(standard_promotion(nn.avg_pool), window_shape=(2, 2), strides=(2, 2))


class _Hourglass(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        return self._level(x, DEPTH)

    def _level(self, x, level: int):
        side = _Block(self.features, name=f"b1_{level}")(x)
        low = _Block(self.features, name=f"b2_{level}")(_halve(x))
        low = self._level(low, level - 1) if level > 1 else _Block(self.features, name=f"b2_plus_{level}")(low)
        low = _Block(self.features, name=f"b3_{level}")(low)
        return side + jnp.repeat(jnp.repeat(low, 2, axis=1), 2, axis=2)


class _FAN(nn.Module):
    config: FANConfig

    @nn.compact
    def __call__(self, x):
        width, points = self.config.width, self.config.points
        x = nn.relu(frozen_norm("bn1")(convolution(width // 4, 7, 2, bias=True, name="conv1")(x)))
        x = _halve(_Block(width // 2, name="conv2")(x))
        x = _Block(width, name="conv4")(_Block(width // 2, name="conv3")(x))
        maps = x
        for k in range(self.config.modules):
            y = _Block(width, name=f"top_m_{k}")(_Hourglass(width, name=f"m{k}")(x))
            y = nn.relu(frozen_norm(f"bn_end{k}")(convolution(width, 1, bias=True, name=f"conv_last{k}")(y)))
            maps = convolution(points, 1, bias=True, name=f"l{k}")(y)
            if k < self.config.modules - 1:
                x = x + convolution(width, 1, bias=True, name=f"bl{k}")(y)
                x = x + convolution(width, 1, bias=True, name=f"al{k}")(maps)
        return maps

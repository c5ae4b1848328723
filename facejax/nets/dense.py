"""The dense network: a label for every pixel of a picture of a face.

A U-Net (Ronneberger et al., MICCAI 2015) of the regressor's blocks (`facejax.nets.encoder`: standardised weights, no
normalisation of activations). For each pixel it gives the class of what is seen (parsing), the texture coordinate of
the head's surface there with its expected error, and the surface's normal. Wood et al., "Fake it till you make it",
ICCV 2021, train such parsing on renders alone; Giebenhain et al., "Pixel3DMM", 2025, fit a head to such coordinates and
normals. 3DDFA's PNCC (Zhu et al., CVPR 2016) is the same surface coordinate in other numbers.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.mesh import safe_normalize
from facejax.nets.encoder import _Block, _Conv, _relu, _space_to_depth

COORDINATE_UNIT = 0.02  # texture coordinates per unit of the network's numbers
_HEADS = 6  # numbers a pixel beside the classes: two of the coordinate, its error, three of the normal


@dataclass(frozen=True)
class DenseConfig:
    """Sizes of the network; static and hashable."""

    classes: int = 15  # see facejax.synthetic.labels.CLASSES
    size: int = 128  # side of the picture, pixels; a multiple of 32
    widths: tuple[int, ...] = (32, 64, 128, 192, 128)  # channels at a half, a quarter, ... of the side
    blocks: tuple[int, ...] = (0, 1, 2, 1, 1)
    back: tuple[int, ...] = (32, 64, 96, 128)  # channels on the way back, at a half, a quarter, ...


class DenseOutput(NamedTuple):
    """What each pixel shows."""

    logits: Float[Array, "N H W K"]  # of the classes
    surface: Float[Array, "N H W 2"]  # texture coordinate
    log_sigma: Float[Array, "N H W"]  # of its error along an axis (mean absolute), in texture coordinates
    normal: Float[Array, "N H W 3"]  # unit, camera space


def init_dense(config: DenseConfig, key: Key[Array, ""]) -> Any:
    """A plain tree of parameters."""
    return _Dense(config).init(key, jnp.zeros((1, config.size, config.size, 3)))["params"]


def apply_dense(config: DenseConfig, params: Any, images: Float[Array, "N H W 3"]) -> DenseOutput:
    """The network on display values in [0, 1]. Pure. Sides must be multiples of 32, best `config.size`."""
    if images.shape[1] % 32 or images.shape[2] % 32:
        raise ValueError(f"pictures of {images.shape[1:3]} px: sides must be multiples of 32, best {config.size}")
    maps: Any = _Dense(config).apply({"params": params}, images)
    logits, surface, error, normal = jnp.split(maps, (config.classes, config.classes + 2, config.classes + 3), axis=-1)
    # Flat, with depth towards the camera, where the network is silent.
    toward = jnp.array([0.0, 0.0, 1.0])[None, None, None]
    return DenseOutput(
        logits=logits,
        surface=0.5 + COORDINATE_UNIT * surface,
        log_sigma=jnp.clip(error[..., 0], -4.0, 4.0) + jnp.log(COORDINATE_UNIT),
        normal=safe_normalize(normal + toward),
    )


class _Dense(nn.Module):
    config: DenseConfig

    @nn.compact
    def __call__(self, images):
        config = self.config
        x = _Conv(config.widths[0])(_space_to_depth((images - 0.5) * 4.0, 2))
        levels = []
        for level, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            if level:
                x = _Conv(width, kernel=2, stride=2)(_relu(x))
            for _ in range(blocks):
                x = _Block(width)(x)
            levels.append(x)
        for width, skip in zip(reversed(config.back), reversed(levels[:-1]), strict=True):
            up = _Conv(width, kernel=1)(_relu(x))
            up = jnp.repeat(jnp.repeat(up, 2, axis=1), 2, axis=2)
            x = _Block(width)(up + _Conv(width, kernel=1)(_relu(skip)))
        # The last doubling: every cell gives the numbers of its four pixels.
        count = config.classes + _HEADS
        cells = nn.Conv(4 * count, (1, 1), kernel_init=nn.initializers.normal(0.01), name="pixels")(_relu(x))
        return _depth_to_space(cells, 2)


def _depth_to_space(x, block: int):
    count, height, width, channels = x.shape
    x = x.reshape(count, height, width, block, block, channels // block**2)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(count, height * block, width * block, channels // block**2)

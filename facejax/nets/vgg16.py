"""VGG16 as LPIPS uses it: pictures with similar features look similar to people.

Simonyan and Zisserman, "Very deep convolutional networks", ICLR 2015; Zhang et al., "The unreasonable effectiveness of
deep features as a perceptual metric", CVPR 2018. The squared distance of two `lpips_features` is LPIPS (version 0.1,
VGG), which is also how StyleGAN2-ADA's projector and FFHQ-UV compute it.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.nets._layers import (
    Network,
    apply_network,
    check_channels,
    convolution,
    imagenet_input,
    network_shapes,
    unit_vectors,
)

LARGEST = 256  # pixels; larger pictures are averaged down to it


@dataclass(frozen=True)
class VGG16Config:
    """Channels and number of convolutions of each stage; static and hashable."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 512)
    depths: tuple[int, ...] = (2, 2, 3, 3, 3)


def vgg16_shapes(config: VGG16Config) -> Network:
    """The shapes and types of the variables."""
    side = 2 ** len(config.widths)
    return network_shapes(_VGG16(config), (1, side, side, 3))


def apply_vgg16(
    config: VGG16Config, network: Network, images: Float[Array, "N H W C"]
) -> tuple[Float[Array, "N _ _ _"], ...]:
    """The feature maps after the last ReLU of each stage, at the pictures' size, half of it, and so on.

    `images` are display values in [0, 1]. Raises ValueError for pictures of other than three channels.
    """
    check_channels(images, 3)
    return apply_network(_VGG16(config), network, images)[0]


def lpips_features(config: VGG16Config, network: Network, images: Float[Array, "N H W C"]) -> Float[Array, "N F"]:
    """Vectors whose squared distance is LPIPS; `facejax.objectives.lpips_distance` takes them.

    The channels of each pixel are scaled to unit length, multiplied by the root of LPIPS' weights and divided by the
    root of the number of pixels. `images` are display values in [0, 1]; sides longer than 256 px are first averaged
    down to 256, as FFHQ-UV does.
    """
    check_channels(images, 3)
    maps, weights = apply_network(_VGG16(config), network, shrink_by_area(images, LARGEST))
    parts = []
    for x, weight in zip(maps, weights, strict=True):
        share = jnp.sqrt(jnp.maximum(weight, 0.0) / (x.shape[1] * x.shape[2]))
        parts.append((unit_vectors(x) * share[None, None, None]).reshape(len(x), -1))
    return jnp.concatenate(parts, axis=1)


def shrink_by_area(images: Float[Array, "N H W C"], largest: int) -> Float[Array, "N h w C"]:
    """Sides longer than `largest` averaged down to it: each new pixel is the mean of all old ones that it touches."""
    rows, columns = (_area_matrix(length, min(length, largest)) for length in images.shape[1:3])
    if len(rows) < images.shape[1]:
        images = jnp.einsum("ih,nhwc->niwc", rows, images)
    if len(columns) < images.shape[2]:
        images = jnp.einsum("jw,nhwc->nhjc", columns, images)
    return images


def _area_matrix(length: int, size: int) -> np.ndarray:
    """Weights (size, length); a pixel that is touched in part counts in full, as in PyTorch's "area"."""
    first = np.arange(size) * length // size
    last = -(-(np.arange(size) + 1) * length // size)
    old = np.arange(length)
    touched = (old >= first[:, None]) & (old < last[:, None])
    return (touched / touched.sum(axis=1, keepdims=True)).astype(np.float32)


class _Weights(nn.Module):
    """LPIPS' non-negative weight of each channel."""

    features: int

    @nn.compact
    def __call__(self):
        return self.param("scale", nn.initializers.ones, (self.features,))


class _VGG16(nn.Module):
    config: VGG16Config

    @nn.compact
    def __call__(self, images):
        x, maps, weights = imagenet_input(images), [], []
        for stage, (width, depth) in enumerate(zip(self.config.widths, self.config.depths, strict=True)):
            if stage > 0:
                x = nn.max_pool(x, (2, 2), (2, 2))
            for layer in range(depth):
                x = nn.relu(convolution(width, 3, bias=True, name=f"conv{stage + 1}_{layer + 1}")(x))
            maps.append(x)
            weights.append(_Weights(width, name=f"lin{stage}")())
        return tuple(maps), tuple(weights)

"""The light of a portrait as nine spherical-harmonics coefficients, by the encoder of DPR.

Zhou et al., "Deep single-image portrait relighting", ICCV 2019: an hourglass whose innermost features hold the light.
FFHQ-UV uses it to measure how evenly its portraits are lit. The decoder, which draws relit portraits, is left out. The
coefficients are for grey light, and valid for portraits framed like FFHQ's; `facejax.conventions.from_dpr_light`
converts them.
"""

from dataclasses import dataclass

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.lighting import luminance, srgb_to_linear
from facejax.nets._layers import (
    ConvNorm,
    Network,
    PReLU,
    apply_network,
    check_channels,
    convolution,
    frozen_norm,
    network_shapes,
)

LIGHT_CHANNELS = 27  # how many of the innermost features hold the light


@dataclass(frozen=True)
class DPRConfig:
    """Shape of the encoder; static and hashable."""

    width: int = 16
    hidden: int = 128
    size: int = 512  # side of the pictures it was trained on, a multiple of 16


def dpr_shapes(config: DPRConfig) -> Network:
    """The shapes and types of the variables."""
    return network_shapes(_Encoder(config), (1, 16, 16, 1))


def apply_dpr(config: DPRConfig, network: Network, images: Float[Array, "N H W C"]) -> Float[Array, "N 9"]:
    """DPR's light of portraits, RGB display values in [0, 1]; the network sees only their lightness.

    Raises ValueError when the sides are not multiples of 16.
    """
    check_channels(images, 3)
    if images.shape[1] % 16 or images.shape[2] % 16:
        raise ValueError(f"pictures of {images.shape[1:3]} px: sides must be multiples of 16, best {config.size}")
    return apply_network(_Encoder(config), network, lightness(images)[..., None])


def lightness(images: Float[Array, "*B 3"]) -> Float[Array, "*B"]:
    """CIE L* over 100 of sRGB display values; finite gradient everywhere."""
    y = luminance(srgb_to_linear(images))
    low = y <= 216 / 24389
    root = jnp.cbrt(jnp.where(low, 1.0, y))
    return jnp.where(low, y * (24389 / 2700), 1.16 * root - 0.16)


class _Block(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        y = nn.relu(ConvNorm(self.features, 3, name="conv1")(x))
        y = ConvNorm(self.features, 3, name="conv2")(y)
        if x.shape[-1] != self.features:
            x = convolution(self.features, 1, name="shortcuts")(x)
        return nn.relu(x + y)


class _Light(nn.Module):
    hidden: int

    @nn.compact
    def __call__(self, x):
        x = jnp.mean(x[..., :LIGHT_CHANNELS], axis=(1, 2))
        x = PReLU(shared=True, name="predict_relu1")(nn.Dense(self.hidden, use_bias=False, name="predict_FC1")(x))
        return nn.Dense(9, use_bias=False, name="predict_FC2")(x)


class _Encoder(nn.Module):
    config: DPRConfig

    @nn.compact
    def __call__(self, x):
        width = self.config.width
        x = convolution(width, 5, bias=True, name="pre_conv")(x)
        x = nn.relu(frozen_norm("pre_bn")(x))
        for level, features in zip(
            (3, 2, 1, 0), (width, 2 * width, 4 * width, 8 * width + LIGHT_CHANNELS), strict=True
        ):
            x = _Block(features, name=f"HG{level}")(nn.max_pool(x, (2, 2), (2, 2)))
        return _Light(self.config.hidden, name="light")(x)

"""2DASL's self-critic (Tu et al., IEEE TMM 2021, self-critic learning): do these coefficients belong to this picture?

An encoder of six convolutions, each followed by ReLU and max-pooling, turns the picture into a latent code. Three
hidden dense layers on the code and the coefficients end in one logit. The losses are in `facejax.objectives`. The paper
gives neither kernel sizes nor the channels of the convolutions: 3x3 and `CriticConfig.widths` are choices made here.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.nets._layers import Conv, check_channels


@dataclass(frozen=True)
class CriticConfig:
    """Sizes of the critic; static and hashable."""

    size: int = 120  # side of the pictures, at least 64
    channels: int = 3
    coefficients: int = 62
    widths: tuple[int, ...] = (32, 64, 128, 256, 256, 256)
    hidden: tuple[int, ...] = (512, 1024, 1024)


def init_critic(config: CriticConfig, key: Key[Array, ""]) -> Any:
    """A plain tree of parameters: `encoder` and `judge`. There is no batch normalisation, hence no statistics."""
    images = jnp.zeros((1, config.size, config.size, config.channels))
    return _Critic(config).init(key, images, jnp.zeros((1, config.coefficients)))["params"]


def apply_critic(
    config: CriticConfig, params: Any, images: Float[Array, "N S S C"], coefficients: Float[Array, "N K"]
) -> Float[Array, " N"]:
    """Logits: above 0 where the critic believes that the coefficients are the picture's true ones.

    Args:
      config: sizes.
      params: from `init_critic`.
      images: (N, S, S, 3), display values in [0, 1].
      coefficients: (N, C) of about unit variance (whitened).

    Returns:
      One logit per picture.

    Raises ValueError when the inputs do not fit.
    """
    if images.shape[1:] != (config.size, config.size, config.channels):
        check_channels(images, config.channels)
        raise ValueError(f"pictures of {images.shape[1:3]} px: this critic was made for {config.size}: crop to that")
    if coefficients.shape != (len(images), config.coefficients):
        raise ValueError(
            f"coefficients of shape {coefficients.shape}: this critic takes ({len(images)}, {config.coefficients})"
        )
    return _Critic(config).apply({"params": params}, images, coefficients)  # type: ignore[return-value]


class _Encoder(nn.Module):
    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for layer, width in enumerate(self.widths):
            x = nn.relu(Conv(width, (3, 3), kernel_init=nn.initializers.he_normal(), name=f"conv{layer + 1}")(x))
            x = nn.max_pool(x, (2, 2), (2, 2))
        return x.reshape(len(x), -1)


class _Judge(nn.Module):
    hidden: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        for layer, width in enumerate(self.hidden):
            x = nn.relu(nn.Dense(width, kernel_init=nn.initializers.he_normal(), name=f"dense{layer + 1}")(x))
        return nn.Dense(1, name="logit")(x)[:, 0]


class _Critic(nn.Module):
    config: CriticConfig

    @nn.compact
    def __call__(self, images, coefficients):
        latent = _Encoder(self.config.widths, name="encoder")(images)
        return _Judge(self.config.hidden, name="judge")(jnp.concatenate([latent, coefficients], axis=-1))

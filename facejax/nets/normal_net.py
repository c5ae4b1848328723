"""A small U-Net that predicts the normals of a head from a picture: GAR's shape-from-shading network, of our own
design.

Ronneberger et al., "U-Net", MICCAI 2015, with the regressor's standardised convolutions instead of normalisation.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.nets._layers import Conv
from facejax.nets.encoder import _Block, _Conv, _relu


@dataclass(frozen=True)
class NormalNetConfig:
    """Static and hashable. Every width but the last doubles as a skip connection."""

    widths: tuple[int, ...] = (16, 32, 64, 96, 128)  # channels at the side, half of it, ...


def init_normal_net(config: NormalNetConfig, key: Key[Array, ""]) -> Any:
    """A plain tree of parameters; the output starts at zero."""
    side = 2 ** len(config.widths)
    return _NormalNet(config).init(key, jnp.zeros((1, side, side, 3)))["params"]


def apply_normal_net(
    config: NormalNetConfig, params: Any, images: Float[Array, "N H W 3"]
) -> tuple[Float[Array, "N H W 3"], Float[Array, "N H W"]]:
    """Camera-space normals times coverage, and coverage in [0, 1], of the head in pictures (display values in [0, 1]).

    They describe the whole head, also behind hair and other things that hide it. Sides must be multiples of 2 to the
    number of halvings.
    """
    step = 2 ** (len(config.widths) - 1)
    if images.shape[1] % step or images.shape[2] % step:
        raise ValueError(f"pictures of {images.shape[1:3]} px: sides must be multiples of {step}")
    found = _NormalNet(config).apply({"params": params}, images)
    coverage = jax.nn.sigmoid(found[..., 3])  # type: ignore[index]
    return found[..., :3], coverage  # type: ignore[index]


class _NormalNet(nn.Module):
    config: NormalNetConfig

    @nn.compact
    def __call__(self, images):
        widths = self.config.widths
        x, kept = _Conv(widths[0])(2.0 * images - 1.0), []
        for width in widths[1:]:
            kept.append(x)
            x = _Block(width)(_Conv(width, stride=2)(_relu(x)))
        for skip in reversed(kept):
            x = jax.image.resize(x, (len(x), *skip.shape[1:3], x.shape[-1]), "linear")
            x = _Conv(skip.shape[-1])(_relu(jnp.concatenate([x, skip], axis=-1)))
        return Conv(4, (1, 1), kernel_init=nn.initializers.zeros)(_relu(x))

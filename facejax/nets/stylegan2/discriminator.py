"""StyleGAN2's discriminator: a residual network that tells real pictures from generated ones.

Karras et al., CVPR 2020. Before the last layers it sees how much the pictures of a group differ (Karras et al.,
"Progressive growing of GANs", ICLR 2018, section 3), which exposes a generator that always makes the same picture.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.nets.stylegan2.config import StyleGANConfig, check_config
from facejax.nets.stylegan2.layers import Conv, Dense, activate, draw
from facejax.nets.stylegan2.resample import wide


def discriminator_shapes(config: StyleGANConfig) -> Any:
    """The parameters as a tree of `jax.ShapeDtypeStruct`. Raises ValueError when no discriminator has such sizes."""
    check_config(config)
    picture = jax.ShapeDtypeStruct((1, config.resolution, config.resolution, 3), jnp.float32)
    return jax.eval_shape(_Discriminator(config).init, jax.random.key(0), picture)["params"]


def init_discriminator(config: StyleGANConfig, key: Key[Array, ""]) -> Any:
    """A plain tree of parameters. Raises like `discriminator_shapes`."""
    return draw(discriminator_shapes(config), key)


def apply_discriminator(config: StyleGANConfig, params: Any, images: Float[Array, "N R R 3"]) -> Float[Array, " N"]:
    """Logits of pictures in [-1, 1]; positive for those that look real.

    Pictures k, k + N/g, k + 2 N/g, ... of a batch form one group of g = min(config.group, N): a picture's logit depends
    on its group. Raises ValueError when the batch cannot be cut into such groups.
    """
    side = config.resolution
    if images.shape[1:] != (side, side, 3):
        raise ValueError(f"pictures of shape {images.shape}: this discriminator takes (N, {side}, {side}, 3)")
    if len(images) % min(config.group, len(images)):
        raise ValueError(f"a batch of {len(images)}: use a multiple of {config.group}, the group seen together")
    return _Discriminator(config).apply({"params": params}, images)[:, 0]  # type: ignore[index]


def init_inverter(config: StyleGANConfig, key: Key[Array, ""], *, outputs: int) -> Any:
    """Parameters of a network like the discriminator with `outputs` outputs: an estimate of a picture's latent."""
    check_config(config)
    picture = jax.ShapeDtypeStruct((1, config.resolution, config.resolution, 3), jnp.float32)
    run = _Discriminator(config, outputs, grouped=False).init
    return draw(jax.eval_shape(run, jax.random.key(0), picture)["params"], key)


def apply_inverter(config: StyleGANConfig, params: Any, images: Float[Array, "N R R 3"]) -> Float[Array, "N W"]:
    """An estimate of the generator latent of each picture in [-1, 1], independent of the batch."""
    outputs = params["out"]["bias"].shape[0]
    return _Discriminator(config, outputs, grouped=False).apply({"params": params}, images)  # type: ignore[return-value]


class _Block(nn.Module):
    config: StyleGANConfig
    resolution: int

    @nn.compact
    def __call__(self, x):
        config, inputs, outputs = self.config, x.shape[-1], self.config.channels(self.resolution // 2)
        clamp, gain = config.clamp, math.sqrt(0.5)
        x = x.astype(jnp.bfloat16) if config.is_half(self.resolution) else wide(x)
        short = Conv(outputs, kernel=1, down=True, bias=False, gain=gain, name="skip")(x)
        y = Conv(inputs, clamp=clamp, name="conv0")(x)
        return short + Conv(outputs, down=True, clamp=clamp, gain=gain, name="conv1")(y)


class _Discriminator(nn.Module):
    config: StyleGANConfig
    outputs: int = 1
    grouped: bool = True  # sees the spread of each group

    @nn.compact
    def __call__(self, images):
        config = self.config
        x = images.astype(jnp.bfloat16) if config.is_half(config.resolution) else images
        x = Conv(config.channels(config.resolution), kernel=1, clamp=config.clamp, name="fromrgb")(x)
        for side in reversed(config.resolutions[1:]):
            x = _Block(config, side, name=f"b{side}")(x)
        x = wide(x)
        if self.grouped:
            x = jnp.concatenate([x, group_spread(x, config.group)], axis=-1)
        x = Conv(config.channels(4), clamp=config.clamp, name="conv")(x)
        x = activate(Dense(config.channels(4), name="fc")(x.reshape(len(x), -1)))
        return Dense(self.outputs, name="out")(x)


def group_spread(x: Float[Array, "N H W C"], group: int) -> Float[Array, "N H W 1"]:
    """One map per picture: the standard deviation within its group, averaged over pixels and channels."""
    count, height, width, _ = x.shape
    members = x.reshape(min(group, count), -1, *x.shape[1:])
    variance = jnp.mean(jnp.square(members - jnp.mean(members, axis=0, keepdims=True)), axis=0)
    spread = jnp.mean(jnp.sqrt(variance + 1e-8), axis=(1, 2, 3))
    return jnp.broadcast_to(jnp.tile(spread, len(members))[:, None, None, None], (count, height, width, 1))

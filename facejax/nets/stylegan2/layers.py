"""The layers of StyleGAN2's networks: equalised learning rates, and modulated convolutions.

Weights are stored with unit variance and multiplied by their gain when used, so that one step size suits all of them
(Karras et al., "Progressive growing of GANs", ICLR 2018, section 4.1).
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.nets.stylegan2.resample import conv, conv_down, conv_up, downsample, wide

SLOPE, GAIN = 0.2, math.sqrt(2.0)
_LATER = nn.initializers.zeros  # start values are drawn at once, by `draw`


def activate(x, *, clamp: float | None = None, gain: float = 1.0):
    """Leaky ReLU that keeps the variance, times `gain`; the clamp scales with the gain."""
    return limit(nn.leaky_relu(x, SLOPE) * (GAIN * gain), None if clamp is None else clamp * gain)


def limit(x, clamp: float | None):
    """Values clamped to +-`clamp`, which keeps bfloat16 sums in range; None: unchanged."""
    return x if clamp is None else jnp.clip(x, -clamp, clamp)


class Dense(nn.Module):
    """A dense layer with equalised learning rate: weights of unit variance, scaled when they are used."""

    features: int
    rate: float = 1.0  # learning rate relative to the other layers'

    @nn.compact
    def __call__(self, x: Float[Array, "N C"]) -> Float[Array, "N features"]:
        inputs = x.shape[-1]
        kernel = self.param("kernel", _LATER, (inputs, self.features))
        bias = self.param("bias", _LATER, (self.features,))
        return x @ (kernel * (self.rate / math.sqrt(inputs))) + bias[None] * self.rate


class Conv(nn.Module):
    """A convolution of the discriminator."""

    features: int
    kernel: int = 3
    down: bool = False
    bias: bool = True
    clamp: float | None = None
    gain: float = 1.0

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"]) -> Float[Array, "N _ _ features"]:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        weight = self.param("kernel", _LATER, shape) / math.sqrt(math.prod(shape[:3]))
        if not self.down:
            y = conv(x, weight, padding=self.kernel // 2)
        elif self.kernel == 1:
            y = conv(downsample(x), weight)
        else:
            y = conv_down(x, weight)
        if not self.bias:
            return (y * self.gain).astype(x.dtype)
        bias = self.param("bias", _LATER, (self.features,))
        return activate(wide(y) + bias[None, None, None], clamp=self.clamp, gain=self.gain).astype(x.dtype)


class ModulatedConv(nn.Module):
    """A style scales the inputs, and each output is normalised to unit variance; then noise, bias, activation.

    `place` (N, H, W, 2), where given, scales and shifts each pixel of all channels before the noise. Inputs and outputs
    are scaled instead of the kernel: the same sum in another order (Karras et al., CVPR 2020, equations 1-3), which
    lets pictures of different styles share one convolution.
    """

    features: int
    up: bool = False
    clamp: float | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "N H W C"],
        w: Float[Array, "N D"],
        noise: Float[Array, "*B _ _"] | None,
        place: Float[Array, "N _ _ 2"] | None = None,
    ) -> Float[Array, "N _ _ features"]:
        weight = self.param("kernel", _LATER, (3, 3, x.shape[-1], self.features))
        style = Dense(x.shape[-1], name="affine")(w)
        power = jnp.square(style) @ jnp.sum(jnp.square(weight), axis=(0, 1))
        demodulation = jax.lax.rsqrt(power + 1e-8)
        scaled = (wide(x) * style[:, None, None]).astype(x.dtype)
        y = conv_up(scaled, weight) if self.up else conv(scaled, weight, padding=1)
        y = wide(y) * demodulation[:, None, None]
        if place is not None:
            y = y * place[..., :1] + place[..., 1:]
        strength = self.param("strength", _LATER, ())
        if noise is not None:
            y = y + strength * noise.reshape(-1, *noise.shape[-2:], 1)
        bias = self.param("bias", _LATER, (self.features,))
        return activate(y + bias[None, None, None], clamp=self.clamp).astype(x.dtype)


class ToRGB(nn.Module):
    """Features to colours, in float32: a modulated 1x1 convolution without demodulation."""

    clamp: float | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "N H W C"], w: Float[Array, "N D"]) -> Float[Array, "N H W 3"]:
        inputs = x.shape[-1]
        weight = self.param("kernel", _LATER, (1, 1, inputs, 3))
        style = Dense(inputs, name="affine")(w) / math.sqrt(inputs)
        bias = self.param("bias", _LATER, (3,))
        return limit(conv(wide(x) * style[:, None, None], weight) + bias[None, None, None], self.clamp)


def draw(shapes: Any, key: jax.Array) -> Any:
    """Start values for a tree of shapes: kernels and the constant are normal, style biases 1, the rest 0.

    All come from one draw, cut into pieces: one program per shape would take long to compile.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(shapes)
    normal = np.asarray(jax.random.normal(key, (sum(leaf.size for _, leaf in leaves),)))
    values, start = [], 0
    for path, leaf in leaves:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        part = normal[start : start + leaf.size].reshape(leaf.shape)
        start += leaf.size
        if not name.endswith(("kernel", "const")):
            part = np.full_like(part, 1.0 if name.endswith("affine/bias") else 0.0)
        values.append(jnp.asarray(part))
    return jax.tree.unflatten(treedef, values)

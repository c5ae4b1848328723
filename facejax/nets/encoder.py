"""The regressor's network: one picture of a face to coefficients and 68 landmarks.

A small residual network without normalisation of activations (Brock et al., "Characterizing signal propagation to close
the performance gap in unnormalized ResNets", ICLR 2021: standardised weights, residual branches that start at zero). So
a picture's result never depends on its batch, nor on statistics of the training pictures. Most of its arithmetic is at
an eighth and a sixteenth of the side, where convolutions are efficient on every device.

A vision transformer can take the place of the residual network under the same heads (`EncoderConfig.trunk`).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.kernels import conv_general_dilated
from facejax.nets._transformer import UNDECAYED
from facejax.nets.lv_vit import LV_VIT, LVViT, LVViTConfig, LVViTOutput, check_lv_vit
from facejax.nets.t2t_vit import T2T_VIT, T2TViT, T2TViTConfig, check_t2t_vit
from facejax.nets.vit import VIT, ViT, ViTConfig, check_vit

POINTS = 68
BLOCK = 4  # side of the squares of pixels that the first layer takes as one
GAIN = 1.7139588594436646  # keeps the variance through a ReLU: sqrt(2 / (1 - 1 / pi))
REACH = 1.6  # the attention's grid spans this many half sides, since landmarks may lie outside the picture

Trunk = ViTConfig | T2TViTConfig | LVViTConfig
TRUNKS: dict[str, Trunk | None] = {  # what experiments/train_regressor.py takes by name
    "conv": None,
    "vit": VIT["small"],
    "t2t_vit": T2T_VIT["small"],
    "lv_vit": LV_VIT["small"],
}


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the network; static and hashable."""

    outputs: int = 230  # coefficients, see facejax.regression.regressor.BLOCKS
    size: int = 96  # side of the picture, pixels; a multiple of 16
    widths: tuple[int, int, int] = (48, 96, 256)  # channels at a quarter, an eighth and a sixteenth of the side
    blocks: tuple[int, int, int] = (0, 2, 2)
    hidden: int = 256
    code: int = 32  # channels of the flattened summary
    channels: int = 3  # of the picture; 4: a landmark map after the colours
    trunk: Trunk | None = None  # a transformer in the place of the convolutions of `widths` and `blocks`


class EncoderOutput(NamedTuple):
    """Landmarks in units of half a side, (0, 0) the picture's centre, x right, y down."""

    coefficients: Float[Array, "N C"]
    landmarks: Float[Array, "N 68 2"]
    log_sigma: Float[Array, "N 68"]  # of the error of each landmark's x and y, in face sizes
    features: Float[Array, "N H"]  # input of the layer that gives the coefficients
    parsing: Float[Array, "N h w K"] | None = None  # logits of each token's class, where LV-ViT has token classes


def init_encoder(config: EncoderConfig, key: Key[Array, ""]) -> Any:
    """A plain tree of parameters; the coefficients start at zero, which is the mean face.

    Raises ValueError for a trunk that does not fit.
    """
    if config.trunk is not None:
        _check_trunk(config, config.trunk)
    picture = jnp.zeros((1, config.size, config.size, config.channels))
    return _Encoder(config).init(key, picture)["params"]


def apply_encoder(config: EncoderConfig, params: Any, images: Float[Array, "N S S C"]) -> EncoderOutput:
    """The network on display values in [0, 1], followed by a landmark map if it has four channels (2DASL). Pure."""
    return EncoderOutput(*_Encoder(config).apply({"params": params}, images))  # type: ignore[arg-type]


def encoder_features(
    config: EncoderConfig, params: Any, images: Float[Array, "N H W C"]
) -> tuple[Float[Array, "N _ _ _"], ...]:
    """The network's feature maps at a quarter, an eighth and a sixteenth of the side.

    Takes pictures of any size whose sides are multiples of 16. The features depend on the size of the face: the network
    was trained with faces that fill most of `config.size`. `facejax.objectives.feature_distance` compares them.

    Raises ValueError for another size, or a trunk without such maps.
    """
    if config.trunk is not None:
        raise ValueError(f"{type(config.trunk).__name__}: only the convolutional trunk has feature maps of three sizes")
    if images.shape[1] % 16 or images.shape[2] % 16:
        raise ValueError(f"pictures of {images.shape[1:3]} px: sides must be multiples of 16, best {config.size}")
    return _Encoder(config, maps_only=True).apply({"params": params}, images)  # type: ignore[return-value]


def widen_encoder(params: Any, channels: int = 1) -> Any:
    """The parameters for pictures with `channels` more channels, which the network ignores at first.

    Each new weight is its filter's mean: after standardisation it is zero and the others are unchanged.
    """
    first = params["_Conv_0"]
    mean = jnp.mean(first["kernel"], axis=(0, 1, 2), keepdims=True)
    shape = (*first["kernel"].shape[:2], BLOCK * BLOCK * channels, mean.shape[-1])
    kernel = jnp.concatenate([first["kernel"], jnp.broadcast_to(mean, shape)], axis=2)
    return {**params, "_Conv_0": {**first, "kernel": kernel}}


def _check_trunk(config: EncoderConfig, trunk: Trunk) -> None:
    check = {ViTConfig: check_vit, T2TViTConfig: check_t2t_vit, LVViTConfig: check_lv_vit}[type(trunk)]
    check(trunk)  # type: ignore[arg-type]
    if trunk.size != config.size or config.channels != 3:
        raise ValueError(f"trunk of {trunk.size} px: the encoder's size must be the same, and its channels 3")
    if isinstance(trunk, LVViTConfig) and trunk.norm != "group":
        raise ValueError("trunk with batch normalisation cannot be trained here: pass LVViTConfig(norm='group')")


def decays(path: Any, leaf: Any) -> bool:
    """Whether weight decay concerns a parameter at `path` in the tree: no biases, positions, or random features."""
    return leaf.ndim > 1 and getattr(path[-1], "key", None) not in UNDECAYED


class _Conv(nn.Module):
    """Convolution with standardised weights (Qiao et al. 2019) and a learned gain per channel."""

    features: int
    kernel: int = 3
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        weight = self.param("kernel", nn.initializers.lecun_normal(), shape)
        gain = self.param("gain", nn.initializers.ones, (self.features,))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        fan_in = shape[0] * shape[1] * shape[2]
        mean = jnp.mean(weight, axis=(0, 1, 2))
        variance = jnp.var(weight, axis=(0, 1, 2))
        scale = gain * jax.lax.rsqrt(variance * fan_in + 1e-4)
        weight = (weight - mean[None, None, None]) * scale[None, None, None]
        return conv_general_dilated(x, weight, (self.stride, self.stride), "SAME") + bias[None, None, None]


def _relu(x):
    return nn.relu(x) * GAIN


class _Block(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        y = _Conv(self.features)(_relu(x))
        y = _Conv(self.features)(_relu(y))
        return x + self.param("strength", nn.initializers.zeros, ()) * y


class _Encoder(nn.Module):
    config: EncoderConfig
    maps_only: bool = False

    @nn.compact
    def __call__(self, images):
        config = self.config
        parsing = None
        if config.trunk is None:
            levels = self._convolutions(images)
            if self.maps_only:
                return tuple(map(_relu, levels))
            features = self._summary(_relu(levels[2]))
            middle, last = levels[1:]
        else:
            seen = self._tokens(config.trunk, images)
            features = self._summary(_relu(seen.tokens), seen.token)
            middle, last = None, seen.tokens
            if isinstance(seen, LVViTOutput) and seen.token_logits.shape[-1]:
                parsing = seen.token_logits
        start = nn.initializers.zeros
        coefficients = nn.Dense(config.outputs, kernel_init=start, name="coefficients")(features)
        return coefficients, *self._landmarks(middle, _relu(last)), features, parsing

    def _convolutions(self, images):
        config = self.config
        x = _space_to_depth((images[..., :3] - 0.5) * 4.0, BLOCK)
        if config.channels > 3:
            x = jnp.concatenate([x, _space_to_depth(images[..., 3:], BLOCK)], axis=-1)
        levels = []
        for level, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            x = _Conv(width)(x) if level == 0 else _Conv(width, kernel=2, stride=2)(_relu(x))
            for _ in range(blocks):
                x = _Block(width)(x)
            levels.append(x)
        return levels

    def _tokens(self, trunk, images):
        kind = {ViTConfig: ViT, T2TViTConfig: T2TViT, LVViTConfig: LVViT}[type(trunk)]
        return kind(trunk, name="trunk")(images)

    def _summary(self, x, token=None):
        code = _Conv(self.config.code, kernel=1, name="code")(x)
        code = _relu(code).reshape(len(x), -1) / GAIN
        if token is not None:
            code = jnp.concatenate([code, token], axis=-1)
        return _relu(nn.Dense(self.config.hidden, name="summary")(code))

    def _landmarks(self, middle, last):
        """Each landmark is an attention-weighted mean of the places that the cells predict for it."""
        width = self.config.widths[1]
        up = _Conv(width, kernel=1, name="up")(last)
        times = max(1, self.config.size // 8 // up.shape[1])
        up = jnp.repeat(jnp.repeat(up, times, axis=1), times, axis=2)
        y = _relu(_Conv(width, name="merge")(_relu(up if middle is None else middle + up)))
        maps = nn.Dense(4 * POINTS, name="points", kernel_init=nn.initializers.normal(0.01))(y)
        cells = maps.reshape(len(y), -1, 4, POINTS)
        attention = jax.nn.softmax(cells[:, :, 0], axis=1)
        place = _grid(y.shape[1]) * REACH
        believed = place[None, :, :, None] + cells[:, :, 1:3]
        points = jnp.einsum("npk,npdk->nkd", attention, believed)
        log_sigma = jnp.einsum("npk,npk->nk", attention, cells[:, :, 3]) - 2.0
        return points, log_sigma


def _space_to_depth(x, block: int):
    count, height, width, channels = x.shape
    x = x.reshape(count, height // block, block, width // block, block, channels)
    return x.transpose(0, 1, 3, 2, 4, 5).reshape(count, height // block, width // block, block * block * channels)


def _grid(side: int) -> Float[Array, "P 2"]:
    """Cell centres, row by row, from -1 to 1."""
    line = (jnp.arange(side, dtype=float) + 0.5) * (2.0 / side) - 1.0
    y, x = jnp.meshgrid(line, line, indexing="ij")
    return jnp.stack([x.reshape(-1), y.reshape(-1)], axis=1)

"""BiSeNet, a face parser: the part of the face that each pixel belongs to.

Yu et al., "BiSeNet: bilateral segmentation network for real-time semantic segmentation", ECCV 2018, in the form of
github.com/zllrunning/face-parsing.PyTorch (19 classes of CelebAMask-HQ), where features of ResNet-18 at an eighth of
the side replace the spatial path. FFHQ-UV masks its pixel and perceptual losses with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.nets._layers import (
    ConvNorm,
    Network,
    apply_network,
    check_channels,
    convolution,
    frozen_norm,
    imagenet_input,
    network_shapes,
)

# l_ and r_ are left and right in the picture, except l_lip, the lower lip
CLASSES = (
    *("background", "skin", "l_brow", "r_brow", "l_eye", "r_eye", "eye_g", "l_ear", "r_ear", "ear_r"),
    *("nose", "mouth", "u_lip", "l_lip", "neck", "neck_l", "cloth", "hair", "hat"),
)
FACE = ("skin", "l_brow", "r_brow", "nose", "u_lip", "l_lip")  # FFHQ-UV's: without the eyes and the inner mouth


@dataclass(frozen=True)
class BiSeNetConfig:
    """Shape of the network; static and hashable."""

    classes: int = len(CLASSES)
    width: int = 64  # channels of ResNet-18's first stage
    size: int = 512  # side of the pictures it was trained on, a multiple of 32


def bisenet_shapes(config: BiSeNetConfig) -> Network:
    """The shapes and types of the variables."""
    return network_shapes(_BiSeNet(config), (1, 32, 32, 3))


def apply_bisenet(config: BiSeNetConfig, network: Network, images: Float[Array, "N H W C"]) -> Float[Array, "N H W K"]:
    """Logits of the classes at each pixel; RGB display values in [0, 1]. The two training heads are left out.

    Raises ValueError when the sides are not multiples of 32.
    """
    check_channels(images, 3)
    if images.shape[1] % 32 or images.shape[2] % 32:
        raise ValueError(f"pictures of {images.shape[1:3]} px: sides must be multiples of 32; parse_faces resizes")
    return _resize_corners(apply_network(_BiSeNet(config), network, images), (images.shape[1], images.shape[2]))


def parse_faces(config: BiSeNetConfig, network: Network, images: Float[Array, "N H W C"]) -> Int[Array, "N H W"]:
    """The class of each pixel, as an index into `CLASSES`. Pictures of any size; the network sees them at
    `config.size`.

    Pictures and logits are resized linearly without antialiasing, as OpenCV does.
    """
    check_channels(images, 3)
    count, height, width, _ = images.shape
    small = _resize(images, (count, config.size, config.size, 3))
    logits = apply_bisenet(config, network, small)
    return jnp.argmax(_resize(logits, (count, height, width, config.classes)), axis=-1)


def parts_mask(labels: Int[Array, "*B"], parts: Sequence[str] = FACE) -> Float[Array, "*B"]:
    """1 where the class is among `parts`, names of `CLASSES`; the default is FFHQ-UV's face mask.

    Raises ValueError when there is no part of that name.
    """
    for part in parts:
        if part not in CLASSES:
            raise ValueError(f"no part {part!r} of the face: there are {', '.join(CLASSES)}")
    return jnp.asarray([float(name in parts) for name in CLASSES])[labels]


def _resize(images: Array, shape: tuple[int, ...]) -> Array:
    return images if images.shape == shape else jax.image.resize(images, shape, "linear", antialias=False)


def _resize_corners(x: Float[Array, "N h w K"], size: tuple[int, int]) -> Float[Array, "N H W K"]:
    """Linear resizing that keeps the centres of the corner pixels in place."""
    rows, columns = (_corner_matrix(old, new) for old, new in zip(x.shape[1:3], size, strict=True))
    return jnp.einsum("jw,niwk->nijk", columns, jnp.einsum("ih,nhwk->niwk", rows, x))


def _corner_matrix(old: int, new: int) -> np.ndarray:
    place = np.linspace(0.0, old - 1.0, new)[:, None]
    return np.maximum(0.0, 1.0 - np.abs(place - np.arange(old))).astype(np.float32)


def _double(x):
    return jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)


def _mean(x):
    return jnp.mean(x, axis=(1, 2), keepdims=True)


class _BasicBlock(nn.Module):
    features: int
    stride: int

    @nn.compact
    def __call__(self, x):
        y = nn.relu(ConvNorm(self.features, 3, self.stride, name="conv1")(x))
        y = ConvNorm(self.features, 3, name="conv2")(y)
        if self.stride > 1 or x.shape[-1] != self.features:
            x = ConvNorm(self.features, 1, self.stride, name="shortcut")(x)
        return nn.relu(x + y)


class _ResNet18(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(ConvNorm(self.width, 7, 2, name="conv1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))  # type: ignore[arg-type]
        maps = []
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage and not block else 1
                x = _BasicBlock(self.width * 2**stage, stride, name=f"layer{stage + 1}_{block}")(x)
            maps.append(x)
        return maps[1:]


class _Refine(nn.Module):
    """Attention refinement: channels weighted by their means over the map."""

    features: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(ConvNorm(self.features, 3, name="conv")(x))
        weight = frozen_norm("bn_atten")(convolution(self.features, 1, name="conv_atten")(_mean(x)))
        return x * nn.sigmoid(weight)


class _Context(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x):
        features = 2 * self.width
        at8, at16, at32 = _ResNet18(self.width, name="resnet")(x)
        average = nn.relu(ConvNorm(features, 1, name="conv_avg")(_mean(at32)))
        up = _double(_Refine(features, name="arm32")(at32) + average)
        up = nn.relu(ConvNorm(features, 3, name="conv_head32")(up))
        up = _double(_Refine(features, name="arm16")(at16) + up)
        return at8, nn.relu(ConvNorm(features, 3, name="conv_head16")(up))


class _Fuse(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(ConvNorm(self.features, 1, name="convblk")(x))
        weight = nn.relu(convolution(self.features // 4, 1, name="conv1")(_mean(x)))
        weight = convolution(self.features, 1, name="conv2")(weight)
        return x * nn.sigmoid(weight) + x


class _Output(nn.Module):
    features: int
    classes: int

    @nn.compact
    def __call__(self, x):
        x = nn.relu(ConvNorm(self.features, 3, name="conv")(x))
        return convolution(self.classes, 1, name="conv_out")(x)


class _BiSeNet(nn.Module):
    config: BiSeNetConfig

    @nn.compact
    def __call__(self, images):
        width = self.config.width
        maps = _Context(width, name="cp")(imagenet_input(images))
        x = _Fuse(4 * width, name="ffm")(jnp.concatenate(maps, axis=-1))
        return _Output(4 * width, self.config.classes, name="conv_out")(x)

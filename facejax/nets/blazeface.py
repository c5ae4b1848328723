"""BlazeFace (Bazarevsky et al., "BlazeFace: Sub-millisecond neural face detection on mobile GPUs", 2019).

Two nets of MediaPipe: "short" (128 pixels, for faces that fill much of the picture) and "full" (192 pixels, with a
feature pyramid, for smaller ones). Each looks for faces at a fixed grid of anchors; an anchor's 16 numbers are a box
and six key points. Padding and resampling are TensorFlow Lite's, so that the published weights give the same numbers.
"""

from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.nets._blaze import Block, layer_shapes
from facejax.nets._layers import Conv, check_channels

NUMBERS = 16  # of an anchor: centre, size, and x and y of six key points


@dataclass(frozen=True)
class BlazeFaceConfig:
    """The shape of a BlazeFace. Static and hashable.

    A block is its channels and its stride; in a double block the channels in its middle come first.
    """

    side: int  # of its square input, pixels
    stem: tuple[int, int]  # channels and kernel
    levels: tuple[tuple[tuple[int, ...], ...], ...]  # blocks; the detector looks at the result of every level
    anchors: tuple[tuple[int, int], ...]  # for each grid of anchors, largest first: cells a side, anchors a cell
    pyramid: tuple[tuple[int, int, int], ...] = ()  # middle, channels and number of double blocks, level by level


SHORT = BlazeFaceConfig(
    side=128,
    stem=(24, 5),
    levels=(
        ((24, 1), (28, 1), (32, 2), (36, 1), (42, 1), (48, 2), (56, 1), (64, 1), (72, 1), (80, 1), (88, 1)),
        ((96, 2), (96, 1), (96, 1), (96, 1), (96, 1)),
    ),
    anchors=((16, 2), (8, 6)),
)
FULL = BlazeFaceConfig(
    side=192,
    stem=(32, 3),
    levels=(
        ((8, 32, 1), (8, 32, 1), (12, 48, 2), (12, 48, 1), (16, 64, 1)),
        ((24, 96, 2), (32, 128, 1), (32, 128, 1)),
        ((36, 144, 2), (48, 192, 1), (64, 256, 1)),
        ((96, 384, 2), *((96, 384, 1),) * 3),
    ),
    anchors=((48, 1),),
    pyramid=((48, 96, 2), (32, 64, 2), (24, 48, 1)),
)
CONFIGS = {"short": SHORT, "full": FULL}


def blazeface_shapes(config: BlazeFaceConfig) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    """The shapes of the weights by their path in the tree, in the order in which the layers run."""
    return layer_shapes(_BlazeFace(config), config.side)


def apply_blazeface(
    config: BlazeFaceConfig, weights: Any, images: Float[Array, "N S S 3"]
) -> tuple[Float[Array, "N A"], Float[Array, "N A 16"]]:
    """Logits and raw numbers of all anchors, for pictures in [-1, 1]; decode them with `decode_anchors`."""
    check_channels(images, 3)
    return _BlazeFace(config).apply({"params": weights}, images)  # type: ignore[return-value]


def anchor_centres(config: BlazeFaceConfig) -> Float[np.ndarray, "A 2"]:
    """The centres of the anchors, as shares of the picture's side."""
    grids = []
    for cells, each in config.anchors:
        middle = (np.arange(cells) + 0.5) / cells
        grids.append(np.repeat(np.stack(np.meshgrid(middle, middle), axis=-1).reshape(-1, 2), each, axis=0))
    return np.concatenate(grids).astype(np.float32)


def decode_anchors(config: BlazeFaceConfig, raw: Float[Array, "N A 16"]) -> Float[Array, "N A 8 2"]:
    """Corners (left top, right bottom) and six key points of each anchor, as shares of the picture's side.

    Key points: the subject's right and left eye, the tip of the nose, the mouth, the right and left ear.
    """
    pairs = (raw / config.side).reshape(*raw.shape[:-1], 8, 2)
    centre = anchor_centres(config)[None, :, None] + pairs[..., :1, :]
    half = pairs[..., 1:2, :] / 2
    points = anchor_centres(config)[None, :, None] + pairs[..., 2:, :]
    return jnp.concatenate([centre - half, centre + half, points], axis=-2)


class _BlazeFace(nn.Module):
    config: BlazeFaceConfig

    @nn.compact
    def __call__(self, images):
        config = self.config
        channels, kernel = config.stem
        x = nn.relu(Conv(channels, (kernel, kernel), 2, padding="SAME", name="stem")(images))
        levels = []
        for number, blocks in enumerate(config.levels):
            for place, (*middle, features, stride) in enumerate(blocks):
                x = Block(features, stride, middle[0] if middle else None, name=f"level{number}_{place}")(x)
            levels.append(x)
        seen = [self._pyramid(levels)] if config.pyramid else levels
        sizes = [each for _, each in config.anchors]
        logits = [nn.Dense(each, name=f"score{k}")(x) for k, (x, each) in enumerate(zip(seen, sizes, strict=True))]
        raw = [nn.Dense(NUMBERS * n, name=f"box{k}")(x) for k, (x, n) in enumerate(zip(seen, sizes, strict=True))]
        count = len(images)
        return (
            jnp.concatenate([one.reshape(count, -1) for one in logits], axis=1),
            jnp.concatenate([one.reshape(count, -1, NUMBERS) for one in raw], axis=1),
        )

    def _pyramid(self, levels):
        """The finest level with what the coarser ones see added."""
        x = levels[-1]
        for number, (middle, features, count) in enumerate(self.config.pyramid):
            coarse = nn.relu(nn.Dense(features, name=f"down{number}")(x))
            fine = nn.relu(nn.Dense(features, name=f"side{number}")(levels[-2 - number]))
            x = fine + jax.image.resize(coarse, fine.shape, "bilinear")
            for place in range(count):
                x = Block(features, 1, middle, name=f"up{number}_{place}")(x)
        return x

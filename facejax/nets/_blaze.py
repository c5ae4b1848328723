"""The layers of MediaPipe's small nets: BlazeFace, FaceMesh and Iris. Padding is TensorFlow Lite's."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jaxtyping import Array

from facejax.nets._layers import PReLU


class Depthwise(nn.Module):
    """A 3x3 convolution of each channel by itself, with TensorFlow's padding.

    Written as a sum of nine shifted pictures: XLA:CPU takes 15 to 40 times as long for a convolution with groups.
    """

    stride: int = 1

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1]))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        height, width = (-(-side // self.stride) for side in x.shape[1:3])
        before = [(((out - 1) * self.stride + 3 - side) // 2) for out, side in zip((height, width), x.shape[1:3])]  # noqa: B905
        after = [(out - 1) * self.stride + 3 - side - b for out, side, b in zip((height, width), x.shape[1:3], before)]  # noqa: B905
        padded = jnp.pad(x, ((0, 0), (before[0], after[0]), (before[1], after[1]), (0, 0)))
        total = jnp.broadcast_to(bias, (x.shape[0], height, width, x.shape[-1]))
        for row in range(3):
            for column in range(3):
                end = row + (height - 1) * self.stride + 1, column + (width - 1) * self.stride + 1
                shifted = padded[:, row : end[0] : self.stride, column : end[1] : self.stride]
                total = total + shifted * kernel[row, column][None, None, None]
        return total


class Block(nn.Module):
    """A depthwise and a pointwise convolution beside a shortcut; twice in a double block."""

    features: int
    stride: int = 1
    middle: int | None = None  # channels in the middle of a double block
    learned: bool = False  # PReLU in place of ReLU

    @nn.compact
    def __call__(self, x):
        y = Depthwise(self.stride, name="depthwise")(x)
        if self.middle is not None:
            y = nn.relu(nn.Dense(self.middle, name="narrow")(y))
            y = Depthwise(name="depthwise2")(y)
        y = nn.Dense(self.features, name="pointwise")(y)
        if self.stride > 1:
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.features - x.shape[-1])))
        return PReLU(name="prelu")(x + y) if self.learned else nn.relu(x + y)


def layer_shapes(module: nn.Module, side: int) -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    """The shapes of a module's weights by their path in the tree, in the order in which the layers run."""
    shapes: dict[tuple[str, ...], jax.ShapeDtypeStruct] = {}

    def start(key: Array) -> None:  # inside, since a tree that leaves a traced function is sorted by name
        weights: Any = module.init(key, jnp.zeros((1, side, side, 3)))["params"]
        flat: Any = flatten_dict(weights)
        shapes.update({path: jax.ShapeDtypeStruct(x.shape, x.dtype) for path, x in flat.items()})

    jax.eval_shape(start, jax.random.key(0))
    return shapes

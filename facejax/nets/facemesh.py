"""FaceMesh and Iris (Kartynnik et al., "Real-time facial surface geometry from monocular video on mobile GPUs", 2019;
Ablavatski et al., "Real-time pupil tracking from monocular video for digital puppetry", 2020).

FaceMesh: a square crop of 192 pixels around a face, upright, to 468 points of MediaPipe's face mesh and a logit that
there is a face. Iris: a square crop of 64 pixels around the subject's right eye (a left eye is mirrored) to 71 points
of its contour and brow, and five of the iris: its centre and its four extremes.
"""

from typing import Any, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.nets._blaze import Block, Depthwise, layer_shapes
from facejax.nets._layers import Conv, PReLU, check_channels

MESH_SIDE, IRIS_SIDE = 192, 64  # of their inputs, pixels
MESH_POINTS, CONTOUR_POINTS, IRIS_POINTS = 468, 71, 5


def facemesh_shapes() -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    """The shapes of FaceMesh's weights by their path in the tree, in the order in which the layers run."""
    return layer_shapes(_FaceMesh(), MESH_SIDE)


def iris_shapes() -> dict[tuple[str, ...], jax.ShapeDtypeStruct]:
    """The same for Iris."""
    return layer_shapes(_Iris(), IRIS_SIDE)


def apply_facemesh(
    weights: Any, images: Float[Array, "N 192 192 3"]
) -> tuple[Float[Array, "N 468 3"], Float[Array, " N"]]:
    """Points (x, y in pixels of the crop, and depth in their unit) and the logit of a face. Pictures in [0, 1]."""
    check_channels(images, 3)
    points, face = cast(tuple[Array, Array], _FaceMesh().apply({"params": weights}, images))
    return points.reshape(-1, MESH_POINTS, 3), face.reshape(-1)


def apply_iris(weights: Any, images: Float[Array, "N 64 64 3"]) -> tuple[Float[Array, "N 71 3"], Float[Array, "N 5 3"]]:
    """Points of the eye's contour and of the iris, as for `apply_facemesh`."""
    check_channels(images, 3)
    contour, iris = cast(tuple[Array, Array], _Iris().apply({"params": weights}, images))
    return contour.reshape(-1, CONTOUR_POINTS, 3), iris.reshape(-1, IRIS_POINTS, 3)


class _FaceMesh(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = PReLU(name="stem_prelu")(Conv(16, (3, 3), 2, padding="SAME", name="stem")(images))
        for level, (features, count) in enumerate([(16, 2), (32, 3), (64, 3), (128, 3), (128, 3)]):
            for place in range(count):
                x = Block(features, 2 if level and not place else 1, learned=True, name=f"level{level}_{place}")(x)
        return _Head(3, 3 * MESH_POINTS, name="points")(x), _Head(1, 1, name="face")(x)


class _Head(nn.Module):
    """From the last level to numbers."""

    blocks: int
    outputs: int

    @nn.compact
    def __call__(self, x):
        for place in range(self.blocks):
            x = Block(128, 1 if place else 2, learned=True, name=f"block{place}")(x)
        x = PReLU(name="narrow_prelu")(nn.Dense(32, name="narrow")(x))
        x = Block(32, learned=True, name="last")(x)
        return Conv(self.outputs, (3, 3), 3, padding="VALID", name="out")(x)


class _Bottleneck(nn.Module):
    """A pointwise, a depthwise and a pointwise convolution beside a shortcut."""

    features: int
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        half = self.features // 2 if self.stride == 1 else 64
        narrow = (
            nn.Dense(half, name="narrow") if self.stride == 1 else Conv(half, (2, 2), 2, padding="VALID", name="narrow")
        )
        y = PReLU(name="narrow_prelu")(narrow(x))
        y = nn.Dense(self.features, name="pointwise")(Depthwise(name="depthwise")(y))
        if self.stride > 1:
            x = nn.max_pool(x, (2, 2), (2, 2))
        x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, self.features - x.shape[-1])))
        return PReLU(name="prelu")(x + y)


class _Iris(nn.Module):
    @nn.compact
    def __call__(self, images):
        x = PReLU(name="stem_prelu")(Conv(64, (3, 3), 2, padding="SAME", name="stem")(images))
        for place in range(4):
            x = _Bottleneck(64, name=f"level0_{place}")(x)
        for place in range(5):
            x = _Bottleneck(128, 1 if place else 2, name=f"level1_{place}")(x)
        x = _Bottleneck(128, 2, name="level2_0")(x)
        return tuple(
            self._head(x, name, 3 * count) for name, count in (("contour", CONTOUR_POINTS), ("iris", IRIS_POINTS))
        )

    def _head(self, x, name, outputs):
        for place, stride in enumerate([1, 1, 2, 1, 1, 2, 1, 1]):
            x = _Bottleneck(128, stride, name=f"{name}{place}")(x)
        return Conv(outputs, (2, 2), padding="VALID", name=f"{name}_out")(x)

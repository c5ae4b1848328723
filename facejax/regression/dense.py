"""The dense network as it is shipped: what each pixel around a face shows."""

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from facejax.camera import Pose, quaternion_to_matrix, seen_rotation
from facejax.checkpoints import load
from facejax.images.align import warp
from facejax.mesh import safe_normalize
from facejax.nets.dense import DenseConfig, DenseOutput, apply_dense
from facejax.programs import jit
from facejax.synthetic.labels import CLASS
from facejax.synthetic.warp import resample

SCHEMA, VERSION = "facejax.dense", 1
ASSET = Path(__file__).parents[1] / "assets" / "dense"
MARGIN = 1.9  # side of the network's crop, in longer sides of the landmarks' box
LEAST_SHOWN = 0.25  # of the landmarks' box
FACE = ("skin", "brows", "eyes", "lips", "nose", "beard", "ears", "neck")
"""The classes whose pixels show the person's own surface."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DenseNetwork:
    """Weights and their sizes."""

    weights: Any
    config: DenseConfig = field(metadata={"static": True})


class DenseSight(NamedTuple):
    """What the network sees of one face, in its own upright crop."""

    probability: Float[Array, "s s K"]  # of the classes of facejax.synthetic.labels.CLASSES
    surface: Float[Array, "s s 2"]  # texture coordinate of the head
    sigma: Float[Array, "s s"]  # its expected error along an axis
    normal: Float[Array, "s s 3"]  # unit, in the camera's axes (of the picture, not of the turned crop)
    transform: Float[Array, "2 3"]  # from pixels of the picture to those of the crop


@lru_cache
def load_dense(path: Path = ASSET) -> DenseNetwork:
    """The shipped network, or another one that experiments/train_dense.py wrote."""
    weights, about = load(path, schema=SCHEMA, version=VERSION)
    stored: dict[str, Any] = about["config"]
    sizes: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in stored.items()}
    return DenseNetwork(jax.device_put(weights), DenseConfig(**sizes))


def see_dense(
    network: DenseNetwork, picture: Float[Array, "H W 3"], landmarks: Float[Array, "68 2"], up: Float[Array, " 2"]
) -> DenseSight:
    """What the network sees of one face. Pure; vmap for many.

    Args:
      network: the weights.
      picture: display values. Its face should be at most twice as large as in the network's crop, see `MARGIN`.
      landmarks: of the face, pixels.
      up: direction in the picture towards the top of the head, any length.
    """
    size = network.config.size
    transform = upright_crop(landmarks, up, size)
    crop = resample(picture, transform, size)
    output = jax.tree.map(lambda leaf: leaf[0], apply_dense(network.config, network.weights, crop[None]))
    assert isinstance(output, DenseOutput)
    c, s = transform[0, :2] / jnp.linalg.norm(transform[0, :2])  # the crop's axes in the picture, whose y points down
    turn = jnp.stack([jnp.stack([c, -s, 0.0 * c]), jnp.stack([s, c, 0.0 * c]), jnp.array([0.0, 0.0, 1.0])])
    normal = output.normal @ turn
    return DenseSight(
        jax.nn.softmax(output.logits, axis=-1), output.surface, jnp.exp(output.log_sigma), normal, transform
    )


def head_up(pose: Pose) -> Float[Array, " 2"]:
    """The direction in the picture towards the top of a posed head."""
    turn = quaternion_to_matrix(seen_rotation(pose))
    return jnp.stack([turn[0, 1], -turn[1, 1]])


@jit
def face_in_square(
    network: DenseNetwork, square: Float[Array, "P P 3"], landmarks: Float[Array, "68 2"], pose: Pose
) -> tuple[Float[Array, "P P"], Bool[Array, ""]]:
    """`shows_face` for a square picture of any size, which is shrunk first, and whether it can be believed.

    Args:
      network: the weights.
      square: display values.
      landmarks: of the face, pixels.
      pose: of the head.
    """
    side = min(square.shape[0], 2 * network.config.size)
    small = jax.image.resize(square, (side, side, 3), "linear")
    points = landmarks * (side / square.shape[0])
    shown = shows_face(see_dense(network, small, points, head_up(pose)), (side, side))
    return jnp.clip(jax.image.resize(shown, square.shape[:2], "linear"), 0.0, 1.0), is_understood(shown, points)


def is_understood(shown: Float[Array, "S S"], landmarks: Float[Array, "68 2"]) -> Bool[Array, ""]:
    """Whether at least `LEAST_SHOWN` of the landmarks' box shows the face. Otherwise the network is probably wrong.

    Args:
      shown: of `shows_face`.
      landmarks: pixels of the same square.
    """
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    at = jnp.arange(shown.shape[0]).astype(low.dtype) + 0.5
    across, down = ((at > low[k]) & (at < high[k]) for k in (0, 1))
    inside = (down[:, None] & across[None]).astype(shown.dtype)
    return jnp.sum(shown * inside) > LEAST_SHOWN * jnp.sum(inside)


def upright_crop(landmarks: Float[Array, "68 2"], up: Float[Array, " 2"], size: int) -> Float[Array, "2 3"]:
    """The similarity that brings a square around the landmarks, turned upright, to `size` pixels a side."""
    up = up / jnp.maximum(jnp.linalg.norm(up), 1e-6)
    turn = jnp.stack([jnp.stack([-up[1], up[0]]), -up])  # rows: right and down in the crop
    turned = landmarks @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = size / (MARGIN * jnp.maximum(jnp.max(high - low), 1e-6))
    offset = size / 2 - scale * (low + high) / 2
    return jnp.concatenate([scale * turn, offset[:, None]], axis=1)


def shown_classes(sight: DenseSight, size: tuple[int, int], names: tuple[str, ...] = FACE) -> Float[Array, "H W"]:
    """How probable it is that a pixel of the picture shows one of these classes; 0 beyond the network's crop.

    Args:
      sight: of `see_dense`.
      size: height and width of the picture.
      names: of facejax.synthetic.labels.CLASSES.
    """
    return in_picture(sight, _chance(sight, names)[..., None], size)[..., 0]


def _chance(sight: DenseSight, names: tuple[str, ...]) -> Float[Array, "s s"]:
    return jnp.asarray(sum(sight.probability[..., CLASS[name]] for name in names))


def shows_face(sight: DenseSight, size: tuple[int, int], *, classes: tuple[str, ...] = FACE) -> Float[Array, "H W"]:
    """1 where a pixel of the picture surely shows the person's own surface (`FACE`), 0 where it surely does not.

    One pixel of the network's crop around everything else counts to it: thin frames and strands, shadows, blur.

    Args:
      sight: of one face.
      size: height and width of the picture.
      classes: that count as the person's own surface.
    """
    chance = _chance(sight, classes)
    around = jax.lax.reduce_window(chance, np.asarray(1.0, chance.dtype), jax.lax.min, (3, 3), (1, 1), "SAME")
    return jnp.clip(2.0 * in_picture(sight, around[..., None], size)[..., 0] - 0.5, 0.0, 1.0)


def shown_normals(sight: DenseSight, size: tuple[int, int]) -> Float[Array, "H W 3"]:
    """The normals of the head at the pixels of the picture; zero beyond the network's crop."""
    return safe_normalize(in_picture(sight, sight.normal, size))


def in_picture(sight: DenseSight, maps: Float[Array, "s s C"], size: tuple[int, int]) -> Float[Array, "H W C"]:
    """Maps of the network's crop, at the pixels of the picture; zero beyond the crop."""
    linear, offset = sight.transform[:, :2], sight.transform[:, 2]
    back = jnp.linalg.inv(linear)
    inverse = jnp.concatenate([back, -(back @ offset)[:, None]], axis=1)
    side = max(size)
    return warp(maps, inverse, side)[: size[0], : size[1]]

"""The inner landmarks that MediaPipe's face mesh sees, in two passes over one upright picture of each face."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.checkpoints import load
from facejax.images.align import warp
from facejax.nets.facemesh import MESH_SIDE, apply_facemesh

SCHEMA, VERSION = "facejax.face_mesh", 1
ASSET = Path(__file__).parents[1] / "assets" / "face_mesh"

INNER = 17  # the landmarks from here on have counterparts in the mesh; the jaw's have not
MARGIN = 1.5  # side of the mesh's crop, in longer sides of the points' box
EYE_CORNERS = 33, 263  # the outer ones, of the mesh
# The mesh's point for each of the landmarks 17 to 67.
MESH_INDEX = (
    *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
    *(168, 197, 5, 4, 75, 97, 2, 326, 305),  # nose
    *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
    *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87),  # mouth
)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FaceMesh:
    """The weights of the net."""

    weights: Any


class MeshView(NamedTuple):
    """What the net sees of some faces."""

    points: Float[Array, "N 468 2"]  # pixels of the pictures
    face: Float[Array, " N"]  # logit that there is a face


@lru_cache
def load_face_mesh() -> FaceMesh:
    """The shipped net: MediaPipe's, converted by experiments/convert_mediapipe.py."""
    weights, _ = load(ASSET, schema=SCHEMA, version=VERSION)
    return FaceMesh(jax.device_put(weights))


def see_mesh(mesh: FaceMesh, pictures: Float[Array, "N S S 3"], landmarks: Float[Array, "N 68 2"]) -> MeshView:
    """The mesh's points in pictures (display values) with known landmarks, in their pixels. Pure.

    The second pass looks at a crop around the points of the first.
    """
    eyes = jnp.stack([landmarks[:, 36:42].mean(axis=1), landmarks[:, 42:48].mean(axis=1)], axis=1)
    first = _look(mesh, pictures, jax.vmap(upright_square)(landmarks, eyes))
    return _look(mesh, pictures, jax.vmap(upright_square)(first.points, first.points[:, jnp.array(EYE_CORNERS)]))


def upright_square(points: Float[Array, "L 2"], line: Float[Array, "2 2"]) -> Float[Array, "2 3"]:
    """The transform that turns a line to lie level and brings the square around the points to the net's picture.

    The square is `MARGIN` times as wide as the longer side of the points' box in the turned frame.
    """
    direction = line[1] - line[0]
    cosine, sine = direction / jnp.maximum(jnp.linalg.norm(direction), 1e-6)
    turn = jnp.stack([jnp.stack([cosine, sine]), jnp.stack([-sine, cosine])])
    turned = points @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = MESH_SIDE / (MARGIN * jnp.maximum(jnp.max(high - low), 1e-6))
    offset = MESH_SIDE / 2 - scale * (low + high) / 2
    return jnp.concatenate([scale * turn, offset[:, None]], axis=1)


def invert_points(transform: Float[Array, "2 3"], points: Float[Array, "L 2"]) -> Float[Array, "L 2"]:
    """Points after a transform, as they were before it."""
    return jnp.linalg.solve(transform[:, :2], (points - transform[None, :, 2]).T).T


def _look(mesh: FaceMesh, pictures: Float[Array, "N S S 3"], transforms: Float[Array, "N 2 3"]) -> MeshView:
    crops = jax.vmap(lambda picture, transform: warp(picture, transform, MESH_SIDE))(pictures, transforms)
    points, face = apply_facemesh(mesh.weights, crops)
    points = points[..., :2] + 0.5  # the net counts from the centre of the first pixel
    return MeshView(jax.vmap(invert_points)(transforms, points), face)

"""The dense network as evidence of a fit: which pixels show the face, the surface's normals, and points of the default
head's surface."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.load import load_face_model
from facejax.fitting import Seer, Sight, SurfacePoints
from facejax.regression.dense import (
    ASSET,
    DenseNetwork,
    DenseSight,
    head_up,
    is_understood,
    load_dense,
    see_dense,
    shown_normals,
    shows_face,
)
from facejax.synthetic.labels import CLASS
from facejax.unwrap.texels import Texels, mesh_texels

HEAD = "facejax-head"  # the model whose texture coordinates the network knows
STRIDE = 4  # pixels of the network's crop between two points
TEXELS = 512  # of the map that finds the triangle of a coordinate
USUAL_ERROR = 0.004  # of a coordinate; a point with this error has weight 1 / USUAL_COUNT
USUAL_COUNT = 300  # points that a face usually shows
POINT_CLASSES = ("skin", "brows", "lips", "nose")  # rigid enough, and with coordinates that mean what is seen


class DenseEvidence(NamedTuple):
    """The weights of the seer."""

    network: DenseNetwork
    texels: Texels


@lru_cache
def dense_seer(path: Path = ASSET) -> Seer:
    """The shipped network, or another one that experiments/train_dense.py wrote."""
    evidence = DenseEvidence(load_dense(path), mesh_texels(load_face_model(), TEXELS))
    return Seer(evidence, see_pixels, None, "dense network")


def see_pixels(
    evidence: DenseEvidence,
    model: FaceModel,
    params: FaceParams,
    image: Float[Array, "S S 3"],
    landmarks: Float[Array, "68 2"],
) -> Sight:
    """Mask, normals and, for the default head, points of the surface. Arguments as for `Seer.apply`."""
    sight = see_dense(evidence.network, image, landmarks, head_up(params.pose))
    size = image.shape[0], image.shape[1]
    shown = shows_face(sight, size)
    understood = is_understood(shown, landmarks)
    points = surface_points(evidence, model, sight) if model.name == HEAD else None
    return Sight(points, jnp.where(understood, shown, 1.0), shown_normals(sight, size))


def surface_points(evidence: DenseEvidence, model: FaceModel, sight: DenseSight) -> SurfacePoints:
    """The places of the surface that the pixels of a coarse grid show, by their texture coordinates.

    Args:
      evidence: the weights.
      model: the default head.
      sight: of `see_dense`.
    """
    at = jnp.arange(STRIDE // 2, sight.sigma.shape[0], STRIDE)
    across, down = jnp.meshgrid(at.astype(float) + 0.5, at.astype(float) + 0.5)
    cells = jax.tree.map(lambda maps: maps[at][:, at].reshape(len(at) ** 2, *maps.shape[2:]), sight[:3])
    chance, place, sigma = cells
    column, row = (jnp.clip(x * TEXELS, 0, TEXELS - 1).astype(jnp.int32) for x in (place[:, 0], 1.0 - place[:, 1]))
    triangle = evidence.texels.triangle[row, column]
    known = evidence.texels.covered[row, column] & (model.topology.face_part[triangle] == 0)
    corners = model.uv[model.topology.uv_faces[triangle]]
    likely = jnp.where(known, sum(chance[:, CLASS[name]] for name in POINT_CLASSES), 0.0)
    weights = likely * jnp.minimum((USUAL_ERROR / sigma) ** 2, 4.0) / USUAL_COUNT
    linear, offset = sight.transform[:, :2], sight.transform[:, 2]
    crop = jnp.stack([across.reshape(-1), down.reshape(-1)], axis=1)
    pixels = jnp.linalg.solve(linear, (crop - offset[None]).T).T
    return SurfacePoints(triangle, barycentric(corners, place), pixels, weights)


def barycentric(corners: Float[Array, "N 3 2"], place: Float[Array, "N 2"]) -> Float[Array, "N 3"]:
    """Weights of the corners at a place in each triangle; those of the nearest edge's side for places just outside."""
    a, b, c = jnp.unstack(corners, axis=1)
    u, v, w = b - a, c - a, place - a
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    area = jnp.where(jnp.abs(area) > 1e-12, area, 1.0)
    second = (w[:, 0] * v[:, 1] - w[:, 1] * v[:, 0]) / area
    third = (u[:, 0] * w[:, 1] - u[:, 1] * w[:, 0]) / area
    weights = jnp.clip(jnp.stack([1.0 - second - third, second, third], axis=1), 0.0, 1.0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)

"""Where things are in a model's UV layout: skin, the middle of the face, mouth and nostrils, found from its landmarks.

FFHQ-UV (Bai et al., CVPR 2023) comes with hand-painted masks of its one head. These masks are computed for any model
that has the 68 landmarks.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial import Delaunay

from facejax.face_model import FaceModel
from facejax.face_model.surface_landmarks import landmarks
from facejax.mesh import vertex_normals
from facejax.unwrap.poisson import Window, mask_window
from facejax.unwrap.texels import Texels

MOUTH, INNER_LIPS, NOSE_BASE = (48, 54), range(60, 68), range(31, 36)  # iBUG
LIP_REACH = 0.15  # distance from the line between the lips, as a share of the mouth's width
NOSTRIL_REACH = 0.35  # distance from the base of the nose, as a share of its width
DOWN = -0.2  # the y of a nostril's normal is below this


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Regions:
    """Masks of one layout, (S, S) in [0, 1], row 0 on top."""

    skin: Float[Array, "S S"]  # the part of the mesh that the landmarks lie on: not eyeballs or teeth
    face: Float[Array, "S S"]  # the part of the skin that a photograph usually shows: no scalp, ears, neck
    centre: Float[Array, "S S"]  # the part of the face within the landmarks, where nothing may be missing
    mouth: Float[Array, "S S"]  # around the line between the lips
    nostrils: Float[Array, "S S"]  # the underside of the nose
    window: Window = field(metadata={"static": True})  # contains all texels that may be repaired


def face_regions(model: FaceModel, texels: Texels) -> Regions:
    """The regions of a model's layout. Host code, once for all faces. Raises ValueError without 68 landmarks."""
    if model.landmark_weights.shape[0] != 68:
        raise ValueError(f"face model {model.name!r} has no 68 landmarks: its regions cannot be found")
    points, normals = (
        _on_texels(model, texels, table) for table in (model.mean, vertex_normals(model.mean, model.faces))
    )
    marks = np.asarray(landmarks(model, model.mean), np.float64)
    part = np.asarray(model.topology.face_part)
    skin = (
        np.asarray(texels.covered)
        & (part == np.bincount(part[model.topology.landmark_faces]).argmax())[texels.triangle]
    )

    named = "face_inner" if "face_inner" in model.regions else "face"
    shown = _on_texels(model, texels, model.regions[named][:, None])[..., 0] > 0.5 if named in model.regions else skin
    face = skin & shown
    centre = np.zeros_like(face)
    centre[face] = _within(marks[:, :2], points[face]) & (normals[face][:, 2] > 0)

    lips = marks[list(INNER_LIPS)]
    mouth = np.zeros_like(face)
    mouth[centre] = _within(lips[:, :2], points[centre])
    mouth[centre] |= _distance(points[centre], lips) < LIP_REACH * np.linalg.norm(marks[MOUTH[0]] - marks[MOUTH[1]])
    base = marks[list(NOSE_BASE)]
    nostrils = face & (normals[..., 1] < DOWN)
    nostrils[nostrils] = _distance(points[nostrils], base) < NOSTRIL_REACH * np.linalg.norm(base[0] - base[-1])

    masks = (skin, face, centre, mouth, nostrils)
    window = mask_window((centre | nostrils).astype(np.float32))
    return Regions(*(jnp.asarray(mask, jnp.float32) for mask in masks), window=window)


def template_map(model: FaceModel, texels: Texels, albedo: Float[Array, "*S 3"]) -> Float[Array, "S S 3"]:
    """An albedo as a map of this layout's size; display values, given as a map of any size or one colour per vertex."""
    size = texels.triangle.shape[0]
    if albedo.ndim == 3:
        return jax.image.resize(albedo, (size, size, 3), "cubic") if albedo.shape[0] != size else albedo
    baked = jnp.einsum("hwk,hwkc->hwc", texels.weights, albedo[model.faces[texels.triangle]])
    mean = albedo.mean(axis=0)
    return jnp.where(texels.covered[..., None], baked, mean)


def _on_texels(model: FaceModel, texels: Texels, table: Float[Array, "V C"]) -> np.ndarray:
    corners = np.asarray(model.faces)[np.asarray(texels.triangle)]
    return np.einsum("hwk,hwkc->hwc", np.asarray(texels.weights), np.asarray(table)[corners])


def _within(hull: Float[np.ndarray, "M 2"], points: Float[np.ndarray, "N 3"]) -> np.ndarray:
    """Whether points lie in the convex hull of others, seen from the front."""
    return Delaunay(hull).find_simplex(points[:, :2]) >= 0


def _distance(points: np.ndarray, line: np.ndarray) -> np.ndarray:
    """Distance of each point to a polyline, approximated by its vertices and seven more points between each two."""
    steps = np.linspace(0, 1, 8, endpoint=False)[:, None]
    dense = np.concatenate([a + steps * (b - a) for a, b in pairwise(line)] + [line[-1:]])
    return np.min([np.linalg.norm(points - one, axis=-1) for one in dense], axis=0)

"""A texture layout for face models whose file has none: the head unrolled around its upright axis."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from facejax.face_model import FaceModel

MARGIN = 0.01  # of the map's side, around the chart


def with_layout(model: FaceModel) -> FaceModel:
    """The model with texture coordinates: unchanged if it has any, else with a cylindrical layout.

    A model whose coordinates are all equal, or lie on a line, has none. u is the angle of the mean's vertices around
    the upright axis through the middle of its box, 0.5 in front; v is the height. The chart is cut at the back.
    Triangles may overlap in it (behind the ears, inside the mouth): see `outward`.
    """
    if has_layout(model):
        return model
    mean, faces = np.asarray(model.mean, np.float64), np.asarray(model.faces)
    x, _, z = _centred(mean).T
    chart = np.stack([np.arctan2(x, z) / (2 * np.pi) + 0.5, _share_of_height(mean)], axis=1)
    corners = chart[faces, 0]
    over = (np.ptp(corners, axis=1) > 0.5)[:, None] & (corners < 0.5)  # corners beyond the cut get rows of their own
    again = np.unique(faces[over])
    chart = np.concatenate([chart, chart[again] + [1.0, 0.0]])
    chart[:, 0] = (chart[:, 0] - 0.5) / (2 * chart[:, 0].max() - 1) + 0.5
    uv_faces = np.where(over, len(mean) + np.searchsorted(again, faces), faces)
    return replace(
        model,
        uv=jnp.asarray(MARGIN + (1 - 2 * MARGIN) * chart, jnp.float32),
        topology=replace(model.topology, uv_faces=jnp.asarray(uv_faces, jnp.int32)),
    )


def has_layout(model: FaceModel) -> bool:
    """Whether the texture coordinates spread over an area."""
    uv = np.asarray(model.uv)
    return bool(uv.size and np.ptp(uv, axis=0).min() > 0)


def is_unrolled(model: FaceModel) -> bool:
    """Whether the layout is the cylinder of `with_layout`, in which triangles may overlap."""
    height = MARGIN + (1 - 2 * MARGIN) * _share_of_height(np.asarray(model.mean, np.float64))
    v = np.asarray(model.uv)[np.asarray(model.topology.uv_faces), 1]
    return bool(np.allclose(v, height[np.asarray(model.faces)], atol=1e-4))


def _share_of_height(mean: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, " V"]:
    y = _centred(mean)[:, 1]
    return y / max(float(np.ptp(y)), 1e-9) + 0.5


def outward(model: FaceModel) -> Int[np.ndarray, " F"]:
    """The triangles ordered from the axis outward: painted in this order, the outermost of several stays visible."""
    place = _centred(np.asarray(model.mean, np.float64))[np.asarray(model.faces)].mean(axis=1)
    return np.argsort(np.hypot(place[:, 0], place[:, 2]), kind="stable")


def _centred(mean: Float[np.ndarray, "V 3"]) -> Float[np.ndarray, "V 3"]:
    return mean - (mean.min(axis=0) + mean.max(axis=0)) / 2

"""Landmarks on the surface: fixed barycentric points, and jaw points that follow the visible outline."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.camera import quaternion_to_matrix
from facejax.face_model.model import FaceModel
from facejax.mesh import points_on_faces

Contour = Literal["static", "moving"]


def landmarks(model: FaceModel, vertices: Float[Array, "V 3"], rotation: Float[Array, " 4"] | None = None) -> Float[Array, "L 3"]:
    """Landmarks (68 in the iBUG order) on decoded vertices, in the vertices' space, mm.

    Without `rotation` every landmark is a fixed point of the surface, as in 3D annotations. With the head's rotation
    the jaw points (0-16) move to where the outline of the face is seen, as people and 2D detectors mark it: of the
    candidates along each point's section of the cheek, the outermost one after turning the head is taken (Zhu et al.,
    "High-fidelity pose and expression normalization", CVPR 2015, section 2.2). The choice carries no gradient, the
    point does.
    """
    if model.topology.landmark_faces.shape[0] == 0:
        raise ValueError(f"face model {model.name!r} has no landmarks: load it with landmark_faces and landmark_weights")
    points = points_on_faces(vertices, model.faces, model.topology.landmark_faces, model.landmark_weights)
    if rotation is None or model.topology.contour_faces.shape[1] == 1:
        return points
    candidates = points_on_faces(vertices, model.faces, model.topology.contour_faces, model.contour_weights)
    chosen = jax.lax.stop_gradient(_outermost(model, candidates, rotation))
    contour = jnp.take_along_axis(candidates, chosen[:, None, None], axis=1)[:, 0]
    return points.at[: contour.shape[0]].set(contour)


def _outermost(model: FaceModel, candidates: Float[Array, "J C 3"], rotation: Float[Array, " 4"]) -> Array:
    """Which candidate lies furthest along the outline's outward direction, seen by an upright camera."""
    r = quaternion_to_matrix(rotation)
    roll = jnp.arctan2(r[1, 0], r[1, 1])
    c, s, o = jnp.cos(roll), jnp.sin(roll), jnp.zeros_like(roll)
    upright = jnp.array([[c, s, o], [-s, c, o], [o, o, jnp.ones_like(roll)]]).T  # inverse of Rz(roll) on the right
    seen = candidates @ (r @ upright.T).T
    return jnp.argmax(jnp.einsum("jcd,jd->jc", seen[..., :2], model.contour_direction), axis=1)

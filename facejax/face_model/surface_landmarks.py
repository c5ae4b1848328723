"""Landmarks on the surface: fixed barycentric points, and jaw points that follow the visible outline."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.camera import quaternion_to_matrix
from facejax.face_model.model import FaceModel
from facejax.mesh import points_on_faces

# fmt: off
MIRROR68 = np.array([*range(16, -1, -1), *range(26, 16, -1), 27, 28, 29, 30, 35, 34, 33, 32, 31, 45, 44, 43, 42, 47, 46,
                     39, 38, 37, 36, 41, 40, *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), 67, 66, 65])
"""For each landmark (iBUG order) the one that takes its place in a mirror image."""
# fmt: on


def landmarks(
    model: FaceModel, vertices: Float[Array, "V 3"], rotation: Float[Array, " 4"] | None = None
) -> Float[Array, "L 3"]:
    """Landmarks (68 in the iBUG order) on decoded vertices, in the vertices' space, mm.

    Without `rotation` every landmark is a fixed point of the surface, as in 3D annotations. With the head's rotation
    the jaw points (0-16) move to the visible outline of the face, where people and 2D detectors mark them: each jaw
    point has candidates along a section of the cheek, and the one outermost after turning the head is taken (Zhu et
    al., "High-fidelity pose and expression normalization", CVPR 2015, section 2.2). The choice carries no gradient, the
    point does.
    """
    return place_landmarks(model, points_on_faces(vertices, model.faces, *landmark_candidates(model)), rotation)


def landmark_candidates(model: FaceModel) -> tuple[Int[Array, " P"], Float[Array, "P 3"]]:
    """Triangles and barycentric weights of all landmarks, then of the jaw's candidates: P = L + J * C points."""
    if model.topology.landmark_faces.shape[0] == 0:
        raise ValueError(f"face model {model.name!r} has no landmarks: load it with landmarks=, see load_face_model")
    faces = jnp.concatenate([model.topology.landmark_faces, model.topology.contour_faces.reshape(-1)])
    return faces, jnp.concatenate([model.landmark_weights, model.contour_weights.reshape(-1, 3)])


def place_landmarks(
    model: FaceModel, candidates: Float[Array, "P 3"], rotation: Float[Array, " 4"] | None
) -> Float[Array, "L 3"]:
    """The landmarks among the points of `landmark_candidates`, for a head turned by `rotation` (None: fixed points)."""
    return candidates[choose_landmarks(model, candidates, rotation)]


def choose_landmarks(
    model: FaceModel, candidates: Float[Array, "P 3"], rotation: Float[Array, " 4"] | None
) -> Int[Array, " L"]:
    """The rows of `candidates` that are the landmarks: the first L, but for jaw points their outermost candidate."""
    count, (jaw, choices) = model.topology.landmark_faces.shape[0], model.topology.contour_faces.shape
    rows = jnp.arange(count)
    if rotation is None or choices <= 1:
        return rows
    outline = jax.lax.stop_gradient(candidates[count:].reshape(jaw, choices, 3))
    outermost = _outermost(outline, model.contour_direction, jax.lax.stop_gradient(rotation))
    return rows.at[:jaw].set(count + jnp.arange(jaw) * choices + outermost)


def _outermost(
    outline: Float[Array, "J C 3"], direction: Float[Array, "J 2"], rotation: Float[Array, " 4"]
) -> Int[Array, " J"]:
    """Which candidate lies furthest along the outline's outward direction, seen by an upright camera."""
    r = quaternion_to_matrix(rotation)
    roll = jnp.arctan2(r[1, 0], r[1, 1])
    c, s = jnp.cos(roll), jnp.sin(roll)
    # R = Ry(yaw) Rx(pitch) Rz(roll): undo the roll on the right, keep the first two rows.
    upright = r[:2] @ jnp.array([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]])
    return jnp.argmax(jnp.einsum("jcx,dx,jd->jc", outline, upright, direction), axis=1)

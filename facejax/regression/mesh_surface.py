"""MediaPipe's face mesh as evidence of a fit of the default head.

Where its 468 points lie on the head, and how far the net misses them, was measured on rendered faces
(experiments/build_mesh_map.py).
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.camera import quaternion_to_matrix, seen_rotation, to_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.fitting import Seer, Sight, SurfacePoints
from facejax.fitting.landmarks import box_size
from facejax.mesh import safe_normalize
from facejax.regression.mesh_points import INNER, MESH_INDEX, FaceMesh, load_face_mesh, see_mesh

MAP = Path(__file__).parents[1] / "assets" / "mesh_map.npz"
HEAD = "facejax-head"  # the name of the model whose surface the map knows

FADE = 15.0, 30.0  # degrees of yaw from which the points count less, and not at all
FACING = 0.1, 0.3  # cosines between surface and line of sight at which a point does not count, and counts in full
AGREEMENT = 0.05, 0.10  # median distance from the 68 landmarks, in face sizes: from here less, from here not at all


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MeshMap:
    """The mesh's points on the default head."""

    faces: Int[Array, " 468"]  # triangles
    barycentric: Float[Array, "468 3"]
    shift: Float[Array, "Y 468 2"]  # by which the net misses them, eyes level, as a share of the face's size
    noise: Float[Array, "Y 468"]  # standard deviation of x and y about that
    yaws: Float[Array, " Y"]  # degrees, to which the rows of both belong

    def at(self, degrees: Float[Array, ""]) -> tuple[Float[Array, "468 2"], Float[Array, " 468"]]:
        """Shift and noise for a head at a yaw."""
        between = jax.vmap(lambda row: jnp.interp(degrees, self.yaws, row), in_axes=1)
        shift = between(self.shift.reshape(len(self.yaws), -1)).reshape(self.shift.shape[1:])
        return shift, between(self.noise)


class MeshSight(NamedTuple):
    """The weights of the seer."""

    mesh: FaceMesh
    map: MeshMap


def load_mesh_map(path: Path = MAP) -> MeshMap:
    """The shipped map, or another one that experiments/build_mesh_map.py wrote."""
    with np.load(path) as file:
        misses = [file[name].astype(np.float32) for name in ("shift", "noise", "yaws")]
        return MeshMap(*jax.device_put([file["faces"], file["barycentric"], *misses]))


@lru_cache
def mesh_seer() -> Seer:
    """The shipped net and map."""
    return Seer(MeshSight(load_face_mesh(), load_mesh_map()), see_surface, HEAD, "MediaPipe's face mesh")


def see_surface(
    sight: MeshSight,
    model: FaceModel,
    params: FaceParams,
    image: Float[Array, "S S 3"],
    landmarks: Float[Array, "68 2"],
) -> Sight:
    """The mesh's points in a crop. Arguments as for `Seer.apply`."""
    view, where = see_mesh(sight.mesh, image[None], landmarks[None]), sight.map
    shift, noise = where.at(head_yaw(params))
    pixels = view.points[0] - box_size(landmarks) * shift @ level_eyes(landmarks)
    trust = jnp.where(view.face[0] > 0, 1.0, 0.0) * agreement(view.points[0], landmarks) * frontal(params)
    trust = trust * _between(facing(model, params, where.faces), *FACING)
    precision = noise**-2 / jnp.sum(where.at(jnp.zeros(()))[1] ** -2)
    return Sight(SurfacePoints(where.faces, where.barycentric, pixels, trust * precision))


def level_eyes(landmarks: Float[Array, "68 2"]) -> Float[Array, "2 2"]:
    """The rotation of the picture that turns the line between the eyes level."""
    line = landmarks[42:48].mean(axis=0) - landmarks[36:42].mean(axis=0)
    cosine, sine = line / jnp.maximum(jnp.linalg.norm(line), 1e-6)
    return jnp.stack([jnp.stack([cosine, sine]), jnp.stack([-sine, cosine])])


def head_yaw(params: FaceParams) -> Float[Array, ""]:
    """Degrees, as the camera sees the head."""
    turn = quaternion_to_matrix(seen_rotation(params.pose))
    return jnp.rad2deg(jnp.arctan2(turn[0, 2], turn[2, 2]))


def frontal(params: FaceParams) -> Float[Array, ""]:
    """1 for a head seen from the front, 0 for one that is turned too far."""
    return 1.0 - _between(jnp.abs(head_yaw(params)), *FADE)


def facing(model: FaceModel, params: FaceParams, faces: Int[Array, " N"]) -> Float[Array, " N"]:
    """Cosine of the angle between triangles' normals and the line to the camera."""
    a, b, c = jnp.unstack(decode(model, params)[model.faces[faces]], axis=1)
    normal = safe_normalize(jnp.cross(b - a, c - a)) @ quaternion_to_matrix(params.pose.rotation).T
    return -jnp.sum(normal * safe_normalize(to_camera(params.pose, (a + b + c) / 3)), axis=-1)


def agreement(pixels: Float[Array, "468 2"], landmarks: Float[Array, "68 2"]) -> Float[Array, ""]:
    """1 where the mesh's inner landmarks lie at the given ones, 0 where the two see different faces."""
    apart = jnp.linalg.norm(pixels[jnp.array(MESH_INDEX)] - landmarks[INNER:], axis=-1)
    return 1.0 - _between(jnp.median(apart) / box_size(landmarks), *AGREEMENT)


def _between(x: Float[Array, "*N"], low: float, high: float) -> Float[Array, "*N"]:
    """From 0 at `low` to 1 at `high`."""
    return jnp.clip((x - low) / (high - low), 0.0, 1.0)

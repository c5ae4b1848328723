"""The 68 landmarks of a face as a blend of two networks: the regressor's, and the inner ones of the face mesh.

Each point is a mean, weighted by expected precision. The regressor states its own; the mesh's is a table by kind of
point and by how far the head is turned away, and falls where both disagree. Where the mesh sees no face, and on the
jaw, the points are the regressor's. experiments/blend_landmarks.py measures the constants on rendered faces.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import quaternion_to_matrix
from facejax.fitting.landmarks import NEAR_SHARE, box_size, landmark_noise
from facejax.images import Crop
from facejax.programs import compile_cached
from facejax.regression.candidates import LEAST_CONFIDENCE, Seen, landmark_box, view
from facejax.regression.mesh_points import INNER, MESH_INDEX, FaceMesh, MeshView, load_face_mesh, see_mesh
from facejax.regression.turned import turn_points, turn_regression, turned_shape

SIDE = 320  # of the pictures for the mesh, pixels
REACH = 2.5  # their side, in longer sides of the landmarks' box

# Standard deviation of a point of the mesh in a face seen from the front, as a share of the face's size: the
# regressor's own median on renders. So both count alike there, as they are about equally far from annotated points of
# photos (docs/regress.md).
FRONT_NOISE = {"brows": 0.0150, "nose": 0.0122, "eyes": 0.0100, "mouth": 0.0120}
COUNTS = {"brows": 10, "nose": 9, "eyes": 12, "mouth": 20}
# The noise is multiplied by exp((angle / WIDENING)^2) of the angle between face and camera, degrees. From `MOST_ANGLE`
# on, where half of the face is hidden, the mesh does not count.
WIDENING = {"brows": 59.0, "nose": 62.0, "eyes": 55.0, "mouth": 67.0}
MOST_ANGLE = 60.0
AGREEMENT = 5.0  # standard deviations of disagreement at which the mesh's precision is a quarter
SHARED = 0.56  # correlation of the two networks' errors
# From our brow points to the mesh's, which lie elsewhere on the brow: x to the subject's left, y up, z out of the face,
# percent of the face's size; points 17 to 21, those of the other brow are mirrored. Other points mean the same place.
BROW_OFFSET = (
    *((-2.82, -0.95, -2.26), (-4.04, 0.18, -2.87), (-4.09, 1.30, -2.70)),
    *((-2.18, 1.77, -1.86), (1.43, 2.33, -0.87)),
)


class Blend(NamedTuple):
    """Blended landmarks."""

    landmarks: Float[Array, "N 68 2"]  # pixels
    confidence: Float[Array, "N 68"]  # estimated probability that the error is below 5 % of the face's size


def blend_faces(
    mesh: FaceMesh,
    pictures: Float[Array, "N S S 3"],
    landmarks: Float[Array, "N 68 2"],
    confidence: Float[Array, "N 68"],
    rotation: Float[Array, "N 4"],
) -> Blend:
    """What the mesh sees of regressed faces, blended with their landmarks (pixels of the pictures). Pure."""
    seen = see_mesh(mesh, pictures, landmarks)
    return jax.vmap(blend_points)(landmarks, confidence, rotation, seen)


def blend_points(
    landmarks: Float[Array, "68 2"], confidence: Float[Array, " 68"], rotation: Float[Array, " 4"], seen: MeshView
) -> Blend:
    """The blend of one face; `seen` without its batch axis, in the same pixels as the landmarks."""
    turn, size = quaternion_to_matrix(rotation), box_size(landmarks)
    offset = (mesh_offset() @ turn[:2].T) * jnp.array([[1.0, -1.0]]) * size
    other = seen.points[jnp.array(MESH_INDEX)] - offset
    ours, own = landmark_noise(confidence)[INNER:], landmarks[INNER:]
    theirs = mesh_noise(jnp.rad2deg(jnp.arccos(jnp.clip(turn[2, 2], -1.0, 1.0))))
    counts = (seen.face > 0) & jnp.isfinite(theirs)
    theirs = jnp.where(counts, theirs, 1.0)
    apart = jnp.linalg.norm(other - own, axis=-1) / size
    doubt = (1.0 + (apart / AGREEMENT) ** 2 / (ours**2 + theirs**2)) ** 2  # Geman and McClure's weight
    weight = jnp.where(counts, ours**2 / (ours**2 + theirs**2 * doubt), 0.0)
    keep = 1.0 - weight
    variance = (keep * ours) ** 2 + (weight * theirs) ** 2 + 2.0 * SHARED * keep * weight * ours * theirs
    chance = 1.0 - jnp.exp(-0.5 * NEAR_SHARE**2 / variance)
    return Blend(
        landmarks.at[INNER:].set(jnp.where(weight[:, None] > 0, own + weight[:, None] * (other - own), own)),
        confidence.at[INNER:].set(jnp.maximum(confidence[INNER:], jnp.where(weight > 0, chance, 0.0))),
    )


def mesh_noise(degrees: Float[Array, ""]) -> Float[Array, " 51"]:
    """Standard deviation of x and y of the mesh's points, as a share of the face's size; infinite from `MOST_ANGLE`."""
    each = [
        jnp.full(count, FRONT_NOISE[name]) * jnp.exp((degrees / WIDENING[name]) ** 2) for name, count in COUNTS.items()
    ]
    return jnp.where(degrees < MOST_ANGLE, jnp.concatenate(each), jnp.inf)


def mesh_offset() -> Float[Array, "51 3"]:
    """From our points to the mesh's in the head's own frame, as a share of the face's size."""
    right = jnp.array(BROW_OFFSET) / 100.0
    left = right[::-1] * jnp.array([[-1.0, 1.0, 1.0]])
    return jnp.concatenate([right, left, jnp.zeros((len(MESH_INDEX) - 10, 3))])


def blend_seen(chosen: Sequence[Seen], batch: int) -> list[Seen]:
    """Chosen faces with blended landmarks; one that the network itself does not trust stays as it is."""
    result = list(chosen)
    trusted = [k for k, one in enumerate(chosen) if one.portrait is not None and one.confidence >= LEAST_CONFIDENCE]
    for start in range(0, len(trusted), batch):
        rows = trusted[start : start + batch]
        for k, one in zip(rows, _blend_batch([chosen[k] for k in rows], batch), strict=True):
            result[k] = one
    return result


def _blend_batch(chosen: Sequence[Seen], batch: int) -> list[Seen]:
    """At most `batch` faces; the program's batch is padded with empty pictures."""
    mesh = load_face_mesh()
    pictures = np.zeros((batch, SIDE, SIDE, 3), np.float32)
    landmarks, confidence = np.zeros((batch, 68, 2), np.float32), np.full((batch, 68), 0.5, np.float32)
    rotation = np.tile(np.array([1, 0, 0, 0], np.float32), (batch, 1))
    crops = []
    for k, one in enumerate(chosen):
        assert one.portrait is not None
        turned = turn_regression(one.regression, one.portrait.shape, one.turn)
        crops.append(mesh_crop(np.asarray(turned.landmarks)))
        pictures[k] = view(one.portrait, crops[k], SIDE)
        landmarks[k], confidence[k] = crops[k].apply_points(turned.landmarks), turned.confidence
        rotation[k] = turned.params.pose.rotation
    arrays = pictures, landmarks, confidence, rotation
    kinds = [jax.ShapeDtypeStruct(one.shape, jnp.float32) for one in arrays]
    program = compile_cached(blend_faces, mesh, *kinds, name="face-mesh", results=(Blend,))
    seen = jax.tree.map(np.asarray, program(mesh, *arrays))
    return [
        _blended(one, crop.invert_points(points), trust)
        for one, crop, points, trust in zip(chosen, crops, seen.landmarks, seen.confidence, strict=False)
    ]


def mesh_crop(landmarks: Float[np.ndarray, "68 2"]) -> Crop:
    """The upright square around a face that is given to the mesh's program, which turns and cuts in it."""
    box = landmark_box(landmarks)
    side = REACH * max(box[2] - box[0], box[3] - box[1], 1e-6)
    centre = (box[:2] + box[2:]) / 2
    return Crop(np.asarray(SIDE / side, np.float32), np.asarray(SIDE / 2 - SIDE / side * centre, np.float32))


def _blended(one: Seen, points: Float[np.ndarray, "68 2"], confidence: Float[np.ndarray, " 68"]) -> Seen:
    """A face with blended landmarks, given in pixels of the turned photo."""
    assert one.portrait is not None
    back = turn_points(points, turned_shape(one.portrait.shape, one.turn), -one.turn % 4).astype(np.float32)
    own = np.asarray(one.regression.landmarks)
    landmarks = np.concatenate([own[:INNER], back[INNER:]])
    return one._replace(regression=replace(one.regression, landmarks=landmarks, confidence=confidence))

"""The regressor's landmarks beside the face mesh's: the constants of facejax/regression/blend.py.

    python experiments/blend_landmarks.py --pool POOL [--limit 1024]

Measured on rendered faces (a pool of experiments/train_regressor.py), which everybody can reproduce. Prints, by kind of
point and angle between face and camera, the mean error of the regressor, of the mesh, and of the blend, percent of the
face's size; then the constants. The regressor was trained on such pictures and the mesh was not, so these errors say
nothing about which is better on photos. Taken from them are how the mesh's error grows with the angle, and where its
brow points lie; other points mean the same place as ours by name (the corner of an eye), so their offsets, which hold
the mesh's errors on rendered faces, are only taken out of the growth.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from regressor import pool
from tqdm import tqdm

from facejax.camera import quaternion_to_matrix
from facejax.evaluation.annotated import box_sizes, point_boxes
from facejax.face_model.surface_landmarks import MIRROR68
from facejax.fitting.landmarks import landmark_noise
from facejax.images import apply_crop
from facejax.programs import jit
from facejax.regression.blend import COUNTS, SIDE, blend_points, mesh_crop
from facejax.regression.mesh_points import INNER, MESH_INDEX, load_face_mesh, see_mesh
from facejax.regression.regressor import Regressor, box_crop, load_regressor, regress_crops

BINS = (0, 15, 30, 45, 60, 90)  # degrees between face and camera
FRONT, SIDEWAYS = 20, 40  # degrees: a face seen from the front; one of which the mesh still sees all
STEP, LEAST = 10, 20  # degrees of a bin, and faces in it, for the growth of the mesh's noise
LOOSE = 0.03  # of the face's size: misses of this size count half in the offsets
BATCH = 32


@dataclass(frozen=True)
class Measure:
    """Compare both networks with annotated landmarks."""

    pool: Path
    limit: int = 1024
    """pictures"""


class Faces(NamedTuple):
    """What both networks see of N rendered faces, pixels of the pictures."""

    truth: np.ndarray  # (N, 68, 2)
    own: np.ndarray  # (N, 68, 2)
    confidence: np.ndarray  # (N, 68)
    rotation: np.ndarray  # (N, 4)
    mesh: np.ndarray  # (N, 51, 2)
    face: np.ndarray  # (N,): the mesh's logit
    blend: np.ndarray  # (N, 68, 2)

    @property
    def sizes(self) -> np.ndarray:
        return box_sizes(point_boxes(self.own))

    @property
    def matrices(self) -> np.ndarray:
        return np.asarray(quaternion_to_matrix(jnp.asarray(self.rotation)))

    @property
    def angles(self) -> np.ndarray:
        return np.rad2deg(np.arccos(np.clip(self.matrices[:, 2, 2], -1, 1)))


def main(command: Measure) -> None:
    arrays = pool.read_pool(command.pool, limit=-(-command.limit // pool.SHARD))
    images, truth = (np.asarray(arrays[name][: command.limit]) for name in ("image", "landmarks"))
    starts = tqdm(range(0, len(images), BATCH))
    parts = [look(load_regressor(), images[k : k + BATCH], truth[k : k + BATCH]) for k in starts]
    faces = Faces(*(np.concatenate(part) for part in zip(*parts, strict=True)))
    print_errors(faces)
    offsets = mesh_offsets(faces)
    print("BROW_OFFSET", np.round(100 * offsets[:5], 2).tolist())
    noise = np.asarray(landmark_noise(jnp.asarray(faces.confidence)))[faces.angles < FRONT, INNER:]
    print("FRONT_NOISE", {name: round(float(np.median(noise[:, rows])), 4) for name, rows in groups().items()})
    print("WIDENING", widening(faces, offsets), "degrees")
    print("SHARED", round(correlation(faces, offsets), 2))


def look(regressor: Regressor, images: np.ndarray, truth: np.ndarray) -> Faces:
    """Both networks' points, from crops whose boxes are as far off as a detector's."""
    rng = np.random.default_rng(len(images) + int(truth.sum()))
    boxes, side = point_boxes(truth), regressor.config.side
    middle, half = (boxes[:, 2:] + boxes[:, :2]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    middle = middle + rng.normal(0, 0.1, middle.shape) * half.max(axis=1, keepdims=True)
    half = half * np.exp(rng.normal(0, 0.08, (len(half), 1)))
    boxes, pictures = np.concatenate([middle - half, middle + half], axis=1), images / np.float32(255)
    own, seen = np.zeros(truth.shape), None
    for _ in range(2):
        crops = [box_crop(box, regressor.config) for box in boxes]
        cut = np.stack([apply_crop(image, crop, side)[0] for image, crop in zip(pictures, crops, strict=True)])
        seen = jax.device_get(_regress(regressor, cut))
        own = np.stack([crop.invert_points(points) for crop, points in zip(crops, seen.landmarks, strict=True)])
        boxes = point_boxes(own)
    assert seen is not None
    places = [mesh_crop(points) for points in own]
    cut = np.stack([apply_crop(image, place, SIDE)[0] for image, place in zip(pictures, places, strict=True)])
    local = np.stack([place.apply_points(points) for place, points in zip(places, own, strict=True)])
    rotation = seen.params.pose.rotation
    view, blended = jax.device_get(_see(load_face_mesh(), cut, np.float32(local), seen.confidence, rotation))
    back = lambda points: np.stack([place.invert_points(one) for place, one in zip(places, points, strict=True)])  # noqa: E731
    mesh = back(view.points[:, list(MESH_INDEX)])
    return Faces(truth, own, seen.confidence, rotation, mesh, view.face, back(blended.landmarks))


_regress = jit(regress_crops)


@jit
def _see(mesh, pictures, landmarks, confidence, rotation):
    view = see_mesh(mesh, pictures, landmarks)
    return view, jax.vmap(blend_points)(landmarks, confidence, rotation, view)


def groups() -> dict[str, slice]:
    """The inner points of each kind."""
    ends = np.cumsum(list(COUNTS.values()))
    return {name: slice(end - count, end) for (name, count), end in zip(COUNTS.items(), ends, strict=True)}


def print_errors(faces: Faces) -> None:
    sizes = box_sizes(point_boxes(faces.truth))[:, None]
    truth = faces.truth[:, INNER:]
    away = lambda points: 100 * np.linalg.norm(points - truth, axis=-1) / sizes  # noqa: E731
    errors = [away(points) for points in (faces.own[:, INNER:], faces.mesh, faces.blend[:, INNER:])]
    print("angle      kind    regressor    mesh   blend")
    for low, high in pairwise(BINS):
        rows = (faces.angles >= low) & (faces.angles < high)
        for name, part in groups().items():
            print(f"{low:2d}-{high:2d} {name:>9}" + "".join(f"{one[rows, part].mean():9.2f}" for one in errors))


def residuals(faces: Faces, offsets: np.ndarray) -> np.ndarray:
    """The mesh's errors beyond its offsets, (N, 51, 2), y up, as a share of the face's size."""
    errors = (faces.mesh - faces.truth[:, INNER:]) / faces.sizes[:, None, None] * [1, -1]
    return errors - np.einsum("nij,pj->npi", faces.matrices[:, :2], offsets)


def mesh_offsets(faces: Faces) -> np.ndarray:
    """From our points to the mesh's in the head's frame, (51, 3): robust least squares."""
    rows = (faces.angles < SIDEWAYS) & (faces.face > 0)
    errors, turns = residuals(faces, np.zeros((51, 3)))[rows], faces.matrices[rows, :2]
    flip = np.array([-1.0, 1.0])
    mirrored = errors[:, np.asarray(MIRROR68)[INNER:] - INNER] * flip  # every face counts with its mirror image
    errors = np.concatenate([errors, mirrored])
    turns = np.concatenate([turns, flip[:, None] * turns * [-1, 1, 1]])
    offsets = np.zeros((51, 3))
    for point in range(len(offsets)):
        weight = np.ones(len(errors))
        for _ in range(10):
            root = np.sqrt(weight)
            left = (turns * root[:, None, None]).reshape(-1, 3)
            offsets[point] = np.linalg.lstsq(left, (errors[:, point] * root[:, None]).reshape(-1), rcond=None)[0]
            missed = np.linalg.norm(errors[:, point] - turns @ offsets[point], axis=-1)
            weight = 1 / (1 + (missed / LOOSE) ** 2)
    return offsets


def widening(faces: Faces, offsets: np.ndarray) -> dict[str, float]:
    """The angles, degrees, of `mesh_noise`: from the root mean square of the mesh's errors by their angle."""
    missed = np.linalg.norm(residuals(faces, offsets), axis=-1)
    angles, found = [], []
    for low in range(0, BINS[-1], STEP):
        rows = (faces.angles >= low) & (faces.angles < low + STEP) & (faces.face > 0)
        if rows.sum() >= LEAST:
            angles.append(np.sqrt(np.mean(faces.angles[rows] ** 2)))
            found.append([np.sqrt(np.mean(missed[rows, part] ** 2)) for part in groups().values()])
    slopes = np.polyfit((np.array(angles) / 100) ** 2, np.log(found), 1)[0]
    return {name: round(100 / float(np.sqrt(slope)), 1) for name, slope in zip(groups(), slopes, strict=True)}


def correlation(faces: Faces, offsets: np.ndarray) -> float:
    """Of both networks' errors in x and y, of faces that are not turned away."""
    rows = (faces.angles < SIDEWAYS) & (faces.face > 0)
    own = ((faces.own - faces.truth)[:, INNER:] / faces.sizes[:, None, None] * [1, -1])[rows]
    other = residuals(faces, offsets)[rows]
    own, other = (one - one.mean(axis=0) for one in (own, other))
    return float((own * other).sum() / np.sqrt((own**2).sum() * (other**2).sum()))


if __name__ == "__main__":
    main(tyro.cli(Measure, description=__doc__))

"""Places on the default head where props are attached, as vertex indices found once on its mean."""

from functools import lru_cache

import jax
import numpy as np
from jaxtyping import Float, Int

from facejax.face_model import FaceModel, landmarks
from facejax.face_model.load import load_face_model

EYE_RIGHT, EYE_LEFT = slice(36, 42), slice(42, 48)  # landmarks
NECK_POINTS = 40  # vertices of the loop at the neck's end


@lru_cache(maxsize=1)
def _default_head() -> FaceModel:
    with jax.ensure_compile_time_eval():
        return load_face_model()


@lru_cache(maxsize=1)
def _mean_and_marks() -> tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "68 3"]]:
    model = _default_head()
    with jax.ensure_compile_time_eval():
        return np.asarray(model.mean), np.asarray(landmarks(model, model.mean))


@lru_cache(maxsize=1)
def border_loops() -> tuple[Int[np.ndarray, " L"], ...]:
    """The borders of the default head's skin. Each is a ring of vertices that runs against its triangles' edges."""
    topology = _default_head().topology
    with jax.ensure_compile_time_eval():
        faces, neighbors = np.asarray(topology.faces), np.asarray(topology.neighbors)
    row, corner = np.nonzero(neighbors < 0)
    following = dict(zip(faces[row, corner].tolist(), faces[row, (corner + 1) % 3].tolist(), strict=True))
    loops = []
    while following:
        ring = [next(iter(following))]
        while (vertex := following.pop(ring[-1])) != ring[0]:
            ring.append(vertex)
        loops.append(np.array(ring[::-1]))
    return tuple(loops)


def lip_loop() -> Int[np.ndarray, " L"]:
    """The edge of the lips inside the mouth: from the middle of the upper lip over the right corner and back."""
    mean, marks = _mean_and_marks()
    ring = min(border_loops(), key=lambda loop: float(np.linalg.norm(mean[loop].mean(0) - marks[60:68].mean(0))))
    x, y, _ = mean[ring].T
    return _start_at(ring, int(np.argmin(np.abs(x) + 1000 * (y < y.mean()))), right_first=True)


def neck_loop() -> Int[np.ndarray, " 40"]:
    """The edge of the neck: from the front over the subject's left side to the back and on."""
    mean, _ = _mean_and_marks()
    ring = min(border_loops(), key=lambda loop: mean[loop, 1].mean())
    x, _, z = mean[ring].T
    return _start_at(ring, int(np.argmin(np.abs(x) + 1000 * (z < z.mean()))), right_first=False)


def _start_at(ring: Int[np.ndarray, " L"], start: int, *, right_first: bool) -> Int[np.ndarray, " L"]:
    mean, _ = _mean_and_marks()
    ring = np.roll(ring, -start)
    right = mean[ring[len(ring) // 4], 0] < 0
    return ring if right == right_first else np.roll(ring[::-1], 1)


@lru_cache(maxsize=4)
def neck_rings(heights: tuple[float, ...]) -> Int[np.ndarray, "R 40"]:
    """Rings of neck vertices at about `heights` (mm) above the neck's edge, one vertex for each vertex of the edge."""
    mean, _ = _mean_and_marks()
    loop = mean[neck_loop()]
    axis = np.array([0.0, loop[:, 1].mean(), loop[:, 2].mean()])
    rings = []
    for height in heights:
        inwards = np.array([0.55, 0, 0.5]) * height * np.sign(axis - loop)
        shrunk = loop + np.where(np.abs(inwards) > 0.5 * np.abs(loop - axis), 0.5 * (axis - loop), inwards)
        rings.append(nearest_skin(tuple(map(tuple, (shrunk + np.array([0.0, height, 0.08 * height])).tolist()))))
    return np.stack(rings)


Points = tuple[tuple[float, float, float], ...]


@lru_cache(maxsize=16)
def nearest_skin(points: Points, *, without: tuple[str, ...] = ("eyeballs",)) -> Int[np.ndarray, " N"]:
    """The vertex of the mean nearest to each point (mm), outside the named regions."""
    mean, _ = _mean_and_marks()
    allowed = np.ones(len(mean), bool)
    for region in without:
        with jax.ensure_compile_time_eval():
            allowed &= np.asarray(_default_head().regions[region]) < 0.2
    rows = np.flatnonzero(allowed)
    return rows[np.argmin(np.linalg.norm(mean[rows] - np.array(points)[:, None], axis=-1), axis=1)]

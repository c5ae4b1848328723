"""Regions of a head, found from its 68 landmarks: for models whose file does not say which part of it is the face.

A model of a whole head, or of a face with ears and neck, must not be compared with a photograph's hair, collar and
background. Proportions are shares of the face's height, from the nasion (landmark 27) to the chin (8), so that neither
the unit of the mesh nor a tilted head matters. Farkas, "Anthropometry of the Head and Face", 1994, gives the distance
from nasion to hairline as 0.54 +- 0.06 of that height in men, 0.57 +- 0.05 in women.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from facejax.face_model.model import FaceModel

HAIRLINE = 0.56  # height of the mean hairline above the nasion
LOW_HAIRLINE = 0.46  # two standard deviations below it: hardly anybody has hair under this line
RECEDES = 0.35  # the hairline falls by this much for each unit that it goes back, on its way to the temples
CHIN, NASION, RIGHT, LEFT = 8, 27, (0, 17, 36, 48), (16, 26, 45, 54)  # iBUG; points of the right and left side
JAW, BEFORE_EARS = slice(5, 12), (0, 1, 2, 14, 15, 16)
EYES = (slice(36, 42), slice(42, 48))
LIPS, NOSE_BASE = slice(48, 60), slice(31, 36)


def says_nothing(
    mask: Float[np.ndarray, " V"],
    mean: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    landmark_faces: Int[np.ndarray, " L"],
) -> bool:
    """Whether a mask of the face is empty, or the whole mesh, or all of it but for eyeballs, teeth and other pieces.

    Args:
        mask: of the face.
        mean, faces, landmark_faces: as for `derive_regions`.
    """
    if not mask.size or float(np.max(mask)) <= 0.5 or float(np.min(mask)) > 0.5:
        return True
    if len(landmark_faces) != 68:
        return False
    skin = _skin(len(mean), faces, _pieces(mean, faces), landmark_faces, np.zeros(len(faces)))
    return float(np.min(mask, where=skin, initial=1.0)) > 0.5


def with_regions(model: FaceModel, masks: Mapping[str, Float[Array | np.ndarray, " V"]]) -> FaceModel:
    """The model with its authors' masks, "face" among them, and what `derive_regions` adds to them.

    An author's face may go far beyond what a photograph shows of it (ICT-FaceKit's has ears, neck and scalp); so a
    "face_inner" that is added is the part of that face which stays clear of them.
    """
    topology = model.topology
    arrays = (model.mean, topology.faces, topology.landmark_faces, model.landmark_weights, topology.face_part)
    found = derive_regions(*map(np.asarray, arrays))
    if found:
        found["face_inner"] = np.minimum(found["face_inner"], np.asarray(masks["face"]))
    both = {name: np.asarray(mask, np.float32) for name, mask in (found | dict(masks)).items()}
    return replace(model, regions={name: jax.device_put(both[name]) for name in sorted(both)})


def derive_regions(
    mean: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    landmark_faces: Int[np.ndarray, " L"],
    landmark_weights: Float[np.ndarray, "L 3"],
    face_part: Int[np.ndarray, " F"] | None = None,
) -> dict[str, Float[np.ndarray, " V"]]:
    """Masks in [0, 1] with soft borders; none if there are no 68 landmarks, or not those of a face.

    "face" ends before the ears, at the jaw, and at the mean hairline; "face_inner" stays clear of low hairlines and of
    the temples; "eyes", "lips" and "nostrils" are parts of the face; "eyeballs" are spheres of their own behind the
    lids. What hangs together with none of the landmarks (teeth, lashes, eyeballs) is not the face.

    Args:
        mean: vertices of the mean, any unit, +x to the subject's left, +y up, +z out of the face.
        faces: triangles.
        landmark_faces, landmark_weights: triangle and barycentric weights of each landmark, iBUG order.
        face_part: the part of each triangle; None: one part.
    """
    if len(landmark_faces) != 68:
        return {}
    mean = np.asarray(mean, np.float64)
    marks = np.einsum("lk,lkc->lc", landmark_weights, mean[faces[landmark_faces]])
    place = _face_frame(marks)
    if place is None:
        return {}
    origin, axes = place
    points, marks = (mean - origin) @ axes, (marks - origin) @ axes
    piece = _pieces(mean, faces)
    skin = _skin(len(mean), faces, piece, landmark_faces, np.zeros(len(faces)) if face_part is None else face_part)
    depth = np.where(skin, _depth(points, marks), -1.0)
    face = _ramp(depth + 0.035, 0.08)
    inner = face * _ramp(np.minimum(_temples(points, marks), LOW_HAIRLINE + 0.035 - points[:, 1]), 0.07)
    found = {"face": face, "face_inner": inner}
    if (face > 0.5)[faces[landmark_faces[27:68]]].mean() < 0.5:
        return {}
    front = face * (points[:, 2] > marks[[36, 45], 2].mean() - 0.25)
    eyes = np.max([_ramp(0.096 - _outside(points[:, :2], marks[eye, :2]), 0.052) for eye in EYES], axis=0)
    found["eyes"] = front * eyes
    found["lips"] = front * _ramp(0.013 - _outside(points[:, :2], marks[LIPS, :2]), 0.018)
    found["nostrils"] = front * _nostrils(points, faces, marks[NOSE_BASE])
    found["eyeballs"] = _eyeballs(points, piece, skin, marks)
    return found


def has_face_frame(marks: Float[np.ndarray, "68 3"]) -> bool:
    """Whether chin, nasion and both sides are where a face has them."""
    return _face_frame(np.asarray(marks, np.float64)) is not None


def _face_frame(marks: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Origin (the nasion) and axes (columns, of length 1 / the face's height); None if there is no such frame."""
    up = marks[NASION] - marks[CHIN]
    across = marks[list(LEFT)].mean(axis=0) - marks[list(RIGHT)].mean(axis=0)
    height = np.linalg.norm(up)
    across = across - up * (across @ up) / max(height**2, 1e-30)
    width = np.linalg.norm(across)
    if not 0.3 * width < height < 3 * width:
        return None
    x, y = across / width, up / height
    return marks[NASION], np.stack([x, y, np.cross(x, y)], axis=1) / height


def _depth(points: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """How far inside the face, in face heights: above the jaw, below the hairline, before the ears and between them."""
    jaw = marks[JAW]
    slope, level = -0.33, 0.0
    if np.ptp(jaw[:, 2]) > 0.1:
        slope = float(np.clip(np.polyfit(jaw[:, 2], jaw[:, 1], 1)[0], -1.0, 0.0))
    level = float(np.mean(jaw[:, 1] - slope * jaw[:, 2]))
    above_jaw = (points[:, 1] - slope * points[:, 2] - level) / np.hypot(1.0, slope) + 0.02
    hairline = HAIRLINE - points[:, 1] - RECEDES * np.maximum(0.0, -0.2 - points[:, 2])
    ears = marks[list(BEFORE_EARS)]
    before_ears = points[:, 2] - ears[:, 2].mean() - 0.08
    between_ears = np.abs(ears[:, 0]).max() + 0.03 - np.abs(points[:, 0])
    above_chest = points[:, 1] - jaw[:, 1].min() + 0.1  # of a body, which goes on in front of the jaw's plane
    return np.min([above_jaw, hairline, before_ears, between_ears, above_chest], axis=0)


def _temples(points: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """How far in front of the hair at the temples, in face heights: it reaches forward above the brows."""
    ears = marks[list(BEFORE_EARS), 2].mean()
    return points[:, 2] - ears - 0.1 - 2.0 * np.maximum(points[:, 1] - 0.07, 0.0) ** 2


def _pieces(mean: np.ndarray, faces: np.ndarray) -> Int[np.ndarray, " V"]:
    """The connected piece of the mesh that each vertex belongs to; vertices at one place are one vertex."""
    step = 1e-5 * max(float(np.ptp(mean, axis=0).max()), 1e-12)
    _, weld = np.unique(np.round(np.asarray(mean, np.float64) / step).astype(np.int64), axis=0, return_inverse=True)
    corners = weld.reshape(-1)[faces]
    rows, columns = corners.reshape(-1), np.roll(corners, 1, axis=1).reshape(-1)
    count = int(weld.max()) + 1
    edges = coo_matrix((np.ones(len(rows), bool), (rows, columns)), (count, count))
    return connected_components(edges, directed=False)[1][weld.reshape(-1)]


def _skin(
    count: int, faces: np.ndarray, piece: np.ndarray, mark_faces: np.ndarray, part: np.ndarray
) -> Bool[np.ndarray, " V"]:
    """The vertices of the pieces and parts that landmarks lie on, other than those of the eyes."""
    tell = np.r_[mark_faces[:36], mark_faces[48:]]
    triangles = np.isin(part, part[tell]) & np.isin(piece[faces[:, 0]], piece[faces[tell, 0]])
    skin = np.zeros(count, bool)
    skin[faces[triangles]] = True
    return skin


def _eyeballs(points: np.ndarray, piece: np.ndarray, skin: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """Pieces of the size and shape of an eyeball, in the place of one."""
    balls = np.zeros(len(points))
    for eye in EYES:
        corners = marks[eye]
        middle, width = corners.mean(axis=0), np.ptp(corners[:, 0])
        near = ~skin & (np.linalg.norm(points - middle, axis=1) < 1.5 * width)
        for one in np.unique(piece[near]):
            mine = (piece == one) & ~skin
            sides = np.ptp(points[mine], axis=0)
            centred = np.linalg.norm(points[mine].mean(axis=0) - middle) < 0.8 * width
            if centred and 0.6 * width < sides.max() < 2 * width and sides.min() > 0.5 * sides.max():
                balls[mine] = 1.0
    return balls


def _nostrils(points: np.ndarray, faces: np.ndarray, base: np.ndarray) -> np.ndarray:
    """The underside of the nose: near its base, facing down."""
    a, b, c = (points[faces[:, k]] for k in range(3))
    normals = np.zeros_like(points)
    for k in range(3):
        np.add.at(normals, faces[:, k], np.cross(b - a, c - a))
    down = -normals[:, 1] / np.maximum(np.linalg.norm(normals, axis=1), 1e-30)
    steps = np.linspace(0, 1, 33)[:, None]
    line = np.concatenate([(1 - steps) * p + steps * q for p, q in pairwise(base)])
    gap = np.min([np.linalg.norm(points - one, axis=1) for one in line[::4]], axis=0)
    return _ramp(0.35 * np.linalg.norm(base[0] - base[-1]) - gap, 0.02) * _ramp(down - 0.1, 0.2)


def _outside(points: Float[np.ndarray, "V 2"], polygon: Float[np.ndarray, "P 2"]) -> Float[np.ndarray, " V"]:
    """Signed distance from a closed polygon in the plane, negative inside."""
    start, end = polygon, np.roll(polygon, -1, axis=0)
    edge = end - start
    along = np.einsum("vpc,pc->vp", points[:, None] - start, edge) / np.maximum(np.sum(edge**2, axis=1), 1e-30)
    foot = start + np.clip(along, 0, 1)[..., None] * edge
    distance = np.linalg.norm(points[:, None] - foot, axis=2).min(axis=1)
    y, x = points[:, None, 1], points[:, None, 0]
    crosses = (start[:, 1] > y) != (end[:, 1] > y)
    rise = np.where(edge[:, 1] == 0, 1e-30, edge[:, 1])
    right = x < start[:, 0] + (y - start[:, 1]) * edge[:, 0] / rise
    return np.where((crosses & right).sum(axis=1) % 2 == 1, -distance, distance)


def _ramp(value: np.ndarray, width: float) -> np.ndarray:
    """0 below 0, 1 above `width`, smooth in between."""
    t = np.clip(value / width, 0.0, 1.0)
    return t * t * (3 - 2 * t)

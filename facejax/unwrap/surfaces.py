"""A textured mesh with 68 landmarks: all that retargeting and eyeballs need, with or without a face model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from facejax.face_model.model import FaceModel

EYEBALLS = "eyeballs"  # the face model's region of that name


@dataclass(frozen=True)
class Surface:
    """A neutral mesh in one texture layout, on the host. `make_surface` builds one from arrays, `as_surface` from a
    model.
    """

    vertices: Float[np.ndarray, "V 3"]  # right-handed, +x the subject's left, +y up, +z out of the face; any unit
    faces: Int[np.ndarray, "F 3"]  # counter-clockwise seen from outside
    uv: Float[np.ndarray, "U 2"]  # u right, v up, all in the unit square
    uv_faces: Int[np.ndarray, "F 3"]  # rows of uv, corner by corner
    landmark_faces: Int[np.ndarray, " 68"]  # iBUG order
    landmark_weights: Float[np.ndarray, "68 3"]  # barycentric
    eyeballs: Bool[np.ndarray, " F"]  # triangles of the eyeballs; all others are skin

    @property
    def landmarks(self) -> Float[np.ndarray, "68 3"]:
        return np.einsum("lk,lkd->ld", self.landmark_weights, self.vertices[self.faces[self.landmark_faces]])

    @property
    def uv_corners(self) -> Float[np.ndarray, "F 3 2"]:
        return self.uv[self.uv_faces]


def make_surface(
    vertices: np.ndarray,
    faces: np.ndarray,
    uv: np.ndarray,
    uv_faces: np.ndarray,
    landmark_faces: np.ndarray,
    landmark_weights: np.ndarray,
    *,
    eyeballs: np.ndarray | None = None,
) -> Surface:
    """A `Surface` from arrays, checked.

    Args:
      vertices, faces, uv, uv_faces: the mesh and its layout, in the shapes of `Surface`.
      landmark_faces, landmark_weights: the 68 landmarks as triangles and barycentric weights.
      eyeballs: marks the triangles of the eyeballs; None: all triangles are skin.

    Returns:
      The surface.

    Raises ValueError, one line, for arrays that do not fit, indices out of range or a missing texture layout.
    """
    vertices, faces = np.asarray(vertices, np.float64), np.asarray(faces, np.int64)
    uv, uv_faces = np.asarray(uv, np.float64), np.asarray(uv_faces, np.int64)
    marks, weights = np.asarray(landmark_faces, np.int64), np.asarray(landmark_weights, np.float64)
    balls = np.zeros(len(faces), bool) if eyeballs is None else np.asarray(eyeballs, bool)
    wanted = {"vertices": (len(vertices), 3), "faces": (len(faces), 3), "uv": (len(uv), 2), "uv_faces": faces.shape}
    wanted |= {"landmark_faces": (68,), "landmark_weights": (68, 3), "eyeballs": (len(faces),)}
    for (name, shape), array in zip(
        wanted.items(), (vertices, faces, uv, uv_faces, marks, weights, balls), strict=True
    ):
        if array.shape != shape:
            raise ValueError(f"surface: {name} has shape {array.shape}, pass {shape}")
    for name, index, limit in [
        ("faces", faces, len(vertices)),
        ("uv_faces", uv_faces, len(uv)),
        ("landmark_faces", marks, len(faces)),
    ]:
        if not len(index) or index.min() < 0 or index.max() >= limit:
            raise ValueError(f"surface: {name} must hold indices in 0..{limit - 1}, counted from 0")
    if np.ptp(uv[uv_faces].reshape(-1, 2), axis=0).min() == 0:
        raise ValueError("surface: no texture layout (all texture coordinates are equal): pass uv and uv_faces")
    return Surface(vertices, faces, uv, uv_faces, marks, weights, balls)


def as_surface(
    model: FaceModel | Surface,
    *,
    parts: Sequence[str] | None = None,
    uv: np.ndarray | None = None,
    uv_faces: np.ndarray | None = None,
) -> Surface:
    """A model's neutral mesh in its texture layout. A `Surface` is returned as it is.

    Args:
      model: a face model or surface. The region "eyeballs" tells its eyeballs from skin.
      parts: names of the parts to keep, which must share one texture. By default all; if the layout has several tiles
        (coordinates beyond the unit square, as ICT's), those with the landmarks.
      uv, uv_faces: a layout for models without one (FLAME, Basel).

    Returns:
      The surface.

    Raises ValueError for a model without landmarks or texture layout, or an unknown part.
    """
    if isinstance(model, Surface):
        return model
    marks = np.asarray(model.topology.landmark_faces)
    if len(marks) != 68:
        raise ValueError(f"face model {model.name!r} has no 68 landmarks: load it with landmarks=, see load_face_model")
    faces, part = np.asarray(model.faces), np.asarray(model.topology.face_part)
    layout = np.asarray(model.uv if uv is None else uv)
    corners = (np.asarray(model.topology.uv_faces) if uv is None else faces) if uv_faces is None else uv_faces
    if parts is not None:
        unknown = [name for name in parts if name not in model.part_names]
        if unknown:
            known = ", ".join(model.part_names)
            raise ValueError(f"face model {model.name!r} has no part {unknown[0]!r}: use some of {known}")
        chosen = [model.part_names.index(name) for name in parts]
    elif layout.min() < 0 or layout.max() > 1:
        chosen = list(np.unique(part[marks]))
    else:
        chosen = list(range(len(model.part_names)))
    kept = np.asarray(np.isin(part, chosen))
    if not kept[marks].all():
        raise ValueError(f"face model {model.name!r}: some landmarks are on other parts than {parts}: keep those too")
    balls = np.zeros(len(faces), bool)
    if EYEBALLS in model.regions:
        balls = (np.asarray(model.regions[EYEBALLS])[faces] > 0.5).all(axis=1)
    return make_surface(
        np.asarray(model.mean),
        faces[kept],
        layout,
        np.asarray(corners)[kept],
        (np.cumsum(kept) - 1)[marks],
        np.asarray(model.landmark_weights),
        eyeballs=np.asarray(balls)[kept],
    )

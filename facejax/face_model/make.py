"""`make_face_model` checks the arrays of a model and assembles it. Every `FaceModel` is made here."""

from dataclasses import dataclass

import jax
import numpy as np

from facejax.face_model.model import FaceModel, Topology
from facejax.face_model.morphable import LinearAlbedo, MorphableModel
from facejax.face_model.regions import derive_regions, says_nothing
from facejax.mesh import face_neighbors

JAW = 17  # of 68 landmarks, the first ones lie on the outline


def make_face_model(
    name: str,
    mean: np.ndarray,
    faces: np.ndarray,
    *,
    identity_basis: np.ndarray,
    identity_std: np.ndarray,
    expression_basis: np.ndarray | None = None,
    expression_std: np.ndarray | None = None,
    albedo: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    uv: np.ndarray | None = None,
    uv_faces: np.ndarray | None = None,
    landmark_faces: np.ndarray | None = None,
    landmark_weights: np.ndarray | None = None,
    contour_faces: np.ndarray | None = None,
    contour_weights: np.ndarray | None = None,
    contour_direction: np.ndarray | None = None,
    regions: dict[str, np.ndarray] | None = None,
    mirror: np.ndarray | None = None,
    face_part: np.ndarray | None = None,
    part_names: tuple[str, ...] = ("skin",),
    identity_names: tuple[str, ...] | None = None,
    expression_names: tuple[str, ...] | None = None,
    blendshapes: bool = False,
) -> FaceModel:
    """A `FaceModel` from arrays.

    What is left out is empty (expressions, landmarks, albedo), zero (uv), or its own mirror image. A model whose
    regions do not say what is its face (there is no "face", or it is the whole mesh) gets those of `derive_regions` if
    it has 68 landmarks.

    Args:
        name: of the model; files of parameters store it.
        mean: (V, 3), mm.
        faces: triangles (F, 3), counter-clockwise seen from outside.
        identity_basis, expression_basis: (K, V, 3) and (E, V, 3), mm per unit.
        identity_std, expression_std: (K,) and (E,); coefficient k moves the vertices by `std[k] * basis[k]`.
        albedo: (mean, basis, std) with the shapes of `LinearAlbedo`; the result is then a `MorphableModel`.
        uv, uv_faces: texture coordinates (U, 2), v up, and triangles of them (F, 3).
        landmark_faces, landmark_weights: the triangle of each landmark (L,) and its barycentric weights (L, 3).
        contour_faces, contour_weights: triangles (J, C) and weights (J, C, 3) of the candidates of each jaw landmark.
        contour_direction: (J, 2), the face outline's outward direction at each jaw landmark, in x and y.
        regions: named masks (V,) in [0, 1].
        mirror: (V,), the vertex on the other side of the head.
        face_part: (F,), each triangle's position in `part_names`.
        part_names, identity_names, expression_names: names of parts and components.
        blendshapes: expression coefficients are weights in [0, 1].

    Raises ValueError that names the array with a wrong shape, and the shape it should have.
    """
    check = _Check(name)
    mean = check.floats("mean", mean, (None, 3))
    count, triangles = len(mean), len(faces)
    faces = check.integers("faces", faces, (triangles, 3), below=count)
    uv = check.floats("uv", np.zeros((count, 2)) if uv is None else uv, (None, 2))
    uv_faces = check.integers("uv_faces", faces if uv_faces is None else uv_faces, (triangles, 3), below=len(uv))

    identity_basis = check.floats("identity_basis", identity_basis, (None, count, 3))
    expression_basis = np.zeros((0, count, 3)) if expression_basis is None else expression_basis
    expression_basis = check.floats("expression_basis", expression_basis, (None, count, 3))
    identities, expressions = len(identity_basis), len(expression_basis)
    expression_std = np.ones(expressions) if expression_std is None else expression_std

    if landmark_faces is None or landmark_weights is None:
        landmark_faces, landmark_weights = np.zeros(0, np.int32), np.zeros((0, 3))
    marks = len(landmark_faces)
    landmark_faces = check.integers("landmark_faces", landmark_faces, (marks,), below=triangles)
    landmark_weights = check.floats("landmark_weights", landmark_weights, (marks, 3))
    if contour_faces is None or contour_weights is None or contour_direction is None:
        jaw = JAW if marks == 68 else 0  # each jaw landmark is then its only candidate
        contour_faces, contour_weights = landmark_faces[:jaw, None], landmark_weights[:jaw, None]
        contour_direction = np.zeros((jaw, 2))
    jaw, choices = contour_faces.shape

    part = np.zeros(triangles, np.int32) if face_part is None else face_part
    indices = {
        "faces": faces,
        "uv_faces": uv_faces,
        "face_part": check.integers("face_part", part, (triangles,), below=len(part_names)),
        "mirror": check.integers("mirror", np.arange(count) if mirror is None else mirror, (count,), below=count),
        "landmark_faces": landmark_faces,
        "contour_faces": check.integers("contour_faces", contour_faces, (jaw, choices), below=triangles),
    }
    regions = {key: check.floats(f"region {key}", mask, (count,)) for key, mask in (regions or {}).items()}
    if "face" not in regions or says_nothing(regions["face"], mean, faces, landmark_faces):
        found = derive_regions(mean, faces, landmark_faces, landmark_weights, face_part)
        regions = found | regions | {"face": found.get("face", np.ones(count))}
    numbers = {
        "mean": mean,
        "identity_basis": identity_basis,
        "identity_std": check.floats("identity_std", identity_std, (identities,)),
        "expression_basis": expression_basis,
        "expression_std": check.floats("expression_std", expression_std, (expressions,)),
        "uv": uv,
        "landmark_weights": landmark_weights,
        "contour_weights": check.floats("contour_weights", contour_weights, (jaw, choices, 3)),
        "contour_direction": check.floats("contour_direction", contour_direction, (jaw, 2)),
        "regions": {key: np.asarray(regions[key], np.float32) for key in sorted(regions)},
    }
    parts = dict(
        jax.device_put(numbers),  # all together: `jnp.asarray` compiles a program for every shape
        topology=Topology(**jax.device_put(indices), neighbors=face_neighbors(faces)),
        name=name,
        part_names=tuple(part_names),
        identity_names=check.names("identity", identity_names, identities),
        expression_names=check.names("expression", expression_names, expressions),
        blendshapes=blendshapes,
    )
    return FaceModel(**parts) if albedo is None else MorphableModel(**parts, albedo=check.albedo(albedo, count))


@dataclass(frozen=True)
class _Check:
    """Conversions that name the model and the array when something does not fit."""

    model: str

    def floats(self, label: str, value: np.ndarray, shape: tuple[int | None, ...]) -> np.ndarray:
        array = np.asarray(value, np.float32)
        fits = array.ndim == len(shape) and all(
            want in (None, got) for want, got in zip(shape, array.shape, strict=True)
        )
        if not fits:
            wanted = ", ".join("any" if side is None else str(side) for side in shape)
            raise ValueError(f"face model {self.model!r}: {label} has shape {array.shape}, expected ({wanted})")
        if not np.isfinite(array).all():
            raise ValueError(f"face model {self.model!r}: {label} has values that are not finite")
        return array

    def integers(self, label: str, value: np.ndarray, shape: tuple[int, ...], *, below: int) -> np.ndarray:
        array = np.asarray(value, np.int32)
        if array.shape != shape:
            raise ValueError(f"face model {self.model!r}: {label} has shape {array.shape}, expected {shape}")
        if array.size and (array.min() < 0 or array.max() >= below):
            raise ValueError(f"face model {self.model!r}: {label} points outside 0..{below - 1}")
        return array

    def albedo(self, arrays: tuple[np.ndarray, np.ndarray, np.ndarray], vertices: int) -> LinearAlbedo:
        mean = np.asarray(arrays[0], np.float32)
        space = (vertices, 3) if mean.ndim == 2 else (None, None, 3)
        mean = self.floats("albedo mean", mean, space)
        basis = self.floats("albedo basis", arrays[1], (None, *mean.shape))
        std = self.floats("albedo std", arrays[2], (len(basis),))
        return LinearAlbedo(*jax.device_put((mean, basis, std)))

    def names(self, label: str, names: tuple[str, ...] | None, count: int) -> tuple[str, ...]:
        names = tuple(f"{label}{k:03d}" for k in range(count)) if names is None else tuple(names)
        if len(names) != count:
            raise ValueError(f"face model {self.model!r}: {len(names)} {label} names for {count} components")
        return names

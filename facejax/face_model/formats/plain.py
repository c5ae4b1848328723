"""Any face model in this library's own .npz, which `facejax.export.save_face_model` writes, with arrays unchanged.

Lengths, axes and names are those of `FaceModel`; nothing is converted on reading. 16-bit bases become float32.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facejax.face_model.formats._common import GET_AGAIN, Options, array, fail, require, resolve_landmarks, triangles
from facejax.face_model.formats._contour import moving_contour
from facejax.face_model.make import make_face_model
from facejax.face_model.model import FaceModel
from facejax.face_model.morphable import MorphableModel, truncate

KEY, FORMAT = "facejax_model", 1
BASES = ("identity_basis", "expression_basis", "albedo_basis")
_AXES = {  # None: any length
    "mean": (None, 3),
    "identity_basis": (None, None, 3),
    "identity_std": (None,),
    "expression_basis": (None, None, 3),
    "expression_std": (None,),
    "uv": (None, 2),
    "landmark_weights": (None, 3),
    "contour_weights": (None, None, 3),
    "contour_direction": (None, 2),
}
_TOPOLOGY = {
    "faces": (None, 3),
    "uv_faces": (None, 3),
    "face_part": (None,),
    "mirror": (None,),
    "landmark_faces": (None,),
    "contour_faces": (None, None),
}
_NAMES = ("part_names", "identity_names", "expression_names", "region_names")
_ALBEDO = ("albedo_mean", "albedo_basis", "albedo_std")


def model_arrays(model: FaceModel) -> dict[str, np.ndarray]:
    """All arrays of a face model, by name."""
    arrays = {KEY: np.array(FORMAT), "name": np.array(model.name), "blendshapes": np.array(model.blendshapes)}
    arrays |= {name: np.asarray(getattr(model, name), np.float32) for name in _AXES}
    arrays |= {name: np.asarray(getattr(model.topology, name), np.int32) for name in _TOPOLOGY}
    regions = dict(sorted(model.regions.items()))
    masks = [np.asarray(mask, np.float32) for mask in regions.values()]
    arrays["regions"] = np.stack(masks) if masks else np.zeros((0, len(model.mean)), np.float32)
    for label in _NAMES:
        names = list(regions) if label == "region_names" else list(getattr(model, label))
        arrays[label] = np.array(names, dtype=str)
    if isinstance(model, MorphableModel):
        parts = (model.albedo.mean, model.albedo.basis, model.albedo.std)
        arrays |= {name: np.asarray(part, np.float32) for name, part in zip(_ALBEDO, parts, strict=True)}
    return arrays


def load_plain(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    """The model that `model_arrays` describes. `options.landmarks` replaces or adds landmarks."""
    if np.asarray(data[KEY]).tolist() != FORMAT:
        fail(path, f"a face model of another format than {FORMAT}", "write it again with this facejax")
    needed = [*_AXES, *_TOPOLOGY, *_NAMES, "name", "blendshapes", "regions"]
    require(path, data, needed, "facejax face-model")
    arrays: dict[str, Any] = {name: array(path, data, name, axes) for name, axes in (_AXES | _TOPOLOGY).items()}
    names = {name: _names(path, data, name) for name in _NAMES}
    masks = array(path, data, "regions", (len(names["region_names"]), None))
    regions = dict(zip(names.pop("region_names"), masks, strict=True))
    albedo = None
    if all(name in data for name in _ALBEDO):
        albedo = (np.asarray(data[_ALBEDO[0]]), np.asarray(data[_ALBEDO[1]]), np.asarray(data[_ALBEDO[2]]))
    if options.landmarks is not None:
        mean, faces = arrays["mean"], triangles(path, arrays, "faces", len(arrays["mean"]), first=0)
        marks = resolve_landmarks(path, faces, len(mean), options.landmarks)
        contour = moving_contour(mean, faces, *marks)
        arrays |= dict(zip(("landmark_faces", "landmark_weights"), marks, strict=True))
        arrays |= dict(zip(("contour_faces", "contour_weights", "contour_direction"), contour, strict=True))
    try:
        model = make_face_model(
            str(data["name"]),
            regions=regions,
            albedo=albedo,
            blendshapes=bool(data["blendshapes"]),
            **names,
            **arrays,
        )
    except (ValueError, TypeError) as error:
        fail(path, str(error), GET_AGAIN)
    return truncate(model, identity=options.identity, expression=options.expression, albedo=options.albedo)


def _names(path: Path, data: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = np.asarray(data[key])
    if value.ndim != 1 or value.dtype.kind != "U":
        fail(path, f"{key!r} is no list of names", GET_AGAIN)
    return tuple(map(str, value))

"""GNM Head v3 (`gnm_head.npz`), Google's Generative aNthropometric Model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facejax.face_model.formats._common import GET_AGAIN, Options, array, assemble, fail, logger, require, triangles
from facejax.face_model.model import FaceModel
from facejax.text_files import read_text

_METRES = 1000.0
_LANDMARKS = "head_sparse_68.txt"


def load_gnm(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    """GNM Head: 17,821 vertices (skin, eyes, teeth, gums, tongue), 253 identity and 383 expression components.

    "GNM Head: A Generative aNthropometric Model of the human head", arXiv 2607.23687. Metres become millimetres; the
    bases (K, V, 3) hold their standard deviations. Vertex groups become regions, mesh components become parts, names
    are kept. The UVs of all components share the unit square, as in the file. The joints are IGNORED (skinning, pose
    correctives, joint regressor): neck and eyeballs do not turn. No albedo. The 68 landmarks are a text file of the
    GNM repository (`head_sparse_68.txt`: three vertices and weights per row), used if it is in the model's folder or in
    the repository's `data/landmarks`.
    """
    arrays = ["template_vertex_positions", "vertex_identity_basis", "expression_basis", "triangles", "triangle_uvs"]
    names = ["identity_names", "expression_names", "mesh_component_names", "vertex_groups", "vertex_group_names"]
    require(path, data, [*arrays, *names, "mirror_indices"], "GNM head")
    mean = array(path, data, "template_vertex_positions", (None, 3)).astype(np.float64)
    count = len(mean)
    faces = triangles(path, data, "triangles", count, first=0)
    identity = array(path, data, "vertex_identity_basis", (None, count, 3))
    expression = array(path, data, "expression_basis", (None, count, 3))
    identity_names = _names(path, data, "identity_names", len(identity))[: options.identity]
    expression_names = _names(path, data, "expression_names", len(expression))[: options.expression]
    groups = _groups(path, data, count)
    corners = array(path, data, "triangle_uvs", (len(faces), 3, 2)).reshape(-1, 2)
    uv, uv_faces = np.unique(corners, axis=0, return_inverse=True)
    part_names, face_part = _parts(data, groups, faces)
    return assemble(
        path,
        "gnm",
        mean * _METRES,
        faces,
        options,
        landmarks=_landmarks(path, faces) if options.landmarks is None else None,
        identity_basis=identity[: options.identity],
        identity_std=np.full(len(identity_names), _METRES),
        identity_names=identity_names,
        expression_basis=expression[: options.expression],
        expression_std=np.full(len(expression_names), _METRES),
        expression_names=expression_names,
        uv=uv,
        uv_faces=uv_faces.reshape(-1, 3).astype(np.int32),
        regions={**groups, "face": groups.get("hockey_mask", groups.get("skin", np.ones(count)))},
        mirror=data["mirror_indices"],
        face_part=face_part,
        part_names=part_names,
    )


def _names(path: Path, data: Mapping[str, Any], key: str, count: int) -> tuple[str, ...]:
    value = np.asarray(data[key])
    if value.shape != (count,) or value.dtype.kind not in "US":
        fail(path, f"{key!r} is not a list of {count} names", GET_AGAIN)
    return tuple(str(name) for name in value)


def _groups(path: Path, data: Mapping[str, Any], count: int) -> dict[str, np.ndarray]:
    weights = np.clip(array(path, data, "vertex_groups", (None, count)), 0, 1)
    return dict(zip(_names(path, data, "vertex_group_names", len(weights)), weights, strict=True))


def _parts(
    data: Mapping[str, Any], groups: dict[str, np.ndarray], faces: np.ndarray
) -> tuple[tuple[str, ...], np.ndarray]:
    """Assign each triangle to the mesh component whose vertex group covers its corners most."""
    names = tuple(str(name) for name in np.asarray(data["mesh_component_names"]).reshape(-1))
    if not names or not set(names) <= set(groups):
        return ("head",), np.zeros(len(faces), np.int32)
    cover = np.stack([groups[name][faces].mean(axis=1) for name in names])
    return names, cover.argmax(axis=0).astype(np.int32)


def _landmarks(path: Path, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The 68 points of the text file as triangles and weights in the triangles' corner order; None without the file."""
    places = [path.parent / _LANDMARKS, path.parent.parent.parent / "landmarks" / _LANDMARKS]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        return None
    try:
        table = np.loadtxt(read_text(file).split("\n")).reshape(68, 3, 2)
    except ValueError:
        fail(file, "not 68 rows of three vertices and weights", "copy it again from the GNM repository")
    vertices = table[..., 0].astype(np.int64)
    by_corners = {tuple(sorted(face)): k for k, face in enumerate(faces.tolist())}
    found = [by_corners.get(tuple(sorted(row))) for row in vertices.tolist()]
    if None in found:
        logger.warning("%s: row %d is no triangle of the model, landmarks left out", file, found.index(None) + 1)
        return None
    ids = np.array(found)
    match = faces[ids][:, :, None] == vertices[:, None, :]  # (68, corner, column)
    return ids, np.einsum("lck,lk->lc", match, table[..., 1]).astype(np.float32)

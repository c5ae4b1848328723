"""ICT-FaceKit: the folder of .obj files as published, or the same data in one .npz.

R. Li et al., "Learning Formation of Physically-Based Face Attributes", CVPR 2020; github ICT-VGL/ICT-FaceKit (MIT).
Centimetres become millimetres; axes and winding are those of this library. Texture coordinates are UDIM: the integer
part of u is the tile (the face is tile 0), kept as in the file.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facejax.face_model.formats._common import (
    GET_AGAIN,
    Options,
    array,
    assemble,
    fail,
    indices,
    logger,
    require,
    triangles,
)
from facejax.face_model.model import FaceModel
from facejax.text_files import read_json, read_text

_CENTIMETRES = 10.0
_NEUTRAL = "generic_neutral_mesh.obj"


@dataclass(frozen=True)
class _Mesh:
    vertices: np.ndarray  # (V, 3), file units
    uv: np.ndarray  # (U, 2)
    faces: np.ndarray  # (F, 3)
    uv_faces: np.ndarray  # (F, 3)
    material: np.ndarray  # (F,) position in materials
    materials: tuple[str, ...]


def is_folder(path: Path) -> bool:
    """Whether this is ICT-FaceKit's folder, or the one above it."""
    return (path / _NEUTRAL).is_file() or (path / "FaceXModel" / _NEUTRAL).is_file()


def load_ict_folder(path: Path, options: Options, *, skip_missing: bool = False) -> FaceModel:
    """The model from ICT-FaceKit's `FaceXModel` folder (or the folder above it).

    Identity component k is `identity<k>.obj` minus the neutral mesh, one standard deviation. Expressions are the
    blendshapes listed in `vertex_indices.json`, with weights in [0, 1]; its 68 landmarks are used. Parts are the
    materials. A missing file of a listed expression, or a gap in the identities, raises FileNotFoundError; with
    `skip_missing` it is left out and logged. Region "face" is the face part, "skin" adds head and neck with sockets.
    """
    folder = path if (path / _NEUTRAL).is_file() else path / "FaceXModel"
    if not folder.is_dir():
        raise FileNotFoundError(f"{path}: no ICT-FaceKit folder; give the one that holds {_NEUTRAL}")
    neutral = _read_obj(folder / _NEUTRAL)
    table = _read_table(folder / "vertex_indices.json")
    numbers = sorted(int(m[1]) for f in folder.glob("identity*.obj") if (m := re.fullmatch(r"identity(\d+)", f.stem)))
    if not numbers:
        raise FileNotFoundError(f"{folder}: no identity000.obj; copy the identity meshes of ICT-FaceKit there")
    wanted = numbers if skip_missing else range(numbers[-1] + 1)
    identity_names = [f"identity{number:03d}" for number in wanted][: options.identity]
    expression_names = list(table["expressions"])[: options.expression]
    meshes = _present(folder, [*identity_names, *expression_names], skip_missing)
    deltas = {name: _read_vertices(file, neutral) - neutral.vertices for name, file in meshes.items()}
    identity_names = [name for name in identity_names if name in deltas]
    expression_names = [name for name in expression_names if name in deltas]
    stack = lambda names: np.array([deltas[name] for name in names]).reshape(-1, *neutral.vertices.shape)  # noqa: E731
    landmarks = indices(folder / "vertex_indices.json", table, "idx_to_landmark_verts", len(neutral.vertices), first=0)
    return _assemble(
        folder,
        neutral,
        stack(identity_names),
        identity_names,
        stack(expression_names),
        expression_names,
        landmarks,
        options,
    )


def load_ict_npz(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    """The same model from one .npz: vertices, identity_deltas, expression_deltas, faces_tri, uv, landmarks68, ..."""
    needed = ["vertices", "identity_deltas", "identity_names", "expression_deltas", "expression_names", "faces_tri"]
    require(
        path,
        data,
        [*needed, "faces_tri_uv", "uv", "tri_source_face", "face_material", "material_names", "landmarks68"],
        "ICT-FaceKit",
    )
    vertices = array(path, data, "vertices", (None, 3)).astype(np.float64)
    count = len(vertices)
    faces = triangles(path, data, "faces_tri", count, first=0)
    uv = array(path, data, "uv", (None, 2))
    uv_faces = triangles(path, data, "faces_tri_uv", len(uv), first=0, shape=(len(faces), 3))
    names = tuple(str(name) for name in data["material_names"])
    polygons = array(path, data, "face_material", (None,))
    source = array(path, data, "tri_source_face", (len(faces),))
    if source.min() < 0 or source.max() >= len(polygons) or polygons.min() < 0 or polygons.max() >= len(names):
        fail(path, "'tri_source_face' or 'face_material' points outside its list", GET_AGAIN)
    mesh = _Mesh(vertices, uv, faces, uv_faces, polygons[source], names)
    identity = array(path, data, "identity_deltas", (None, count, 3))[: options.identity]
    expression = array(path, data, "expression_deltas", (None, count, 3))[: options.expression]
    identity_names = [str(name) for name in data["identity_names"]][: options.identity]
    expression_names = [str(name) for name in data["expression_names"]][: options.expression]
    landmarks = indices(path, data, "landmarks68", count, first=0)
    return _assemble(path, mesh, identity, identity_names, expression, expression_names, landmarks, options)


def _assemble(
    path, mesh: _Mesh, identity, identity_names, expression, expression_names, landmarks, options: Options
) -> FaceModel:
    def region(*materials: str) -> np.ndarray:
        inside = np.isin(mesh.material, [k for k, name in enumerate(mesh.materials) if name in materials])
        mask = np.zeros(len(mesh.vertices))
        mask[mesh.faces[inside]] = 1
        return mask

    return assemble(
        path,
        "ict",
        mesh.vertices * _CENTIMETRES,
        mesh.faces,
        options,
        landmarks=landmarks,
        identity_basis=identity,
        identity_std=np.full(len(identity), _CENTIMETRES),
        identity_names=tuple(identity_names),
        expression_basis=np.asarray(expression, np.float32) * np.float32(_CENTIMETRES),
        expression_std=np.ones(len(expression)),  # named blendshapes: weight 1 is the sculpted shape
        expression_names=tuple(expression_names),
        blendshapes=True,
        uv=mesh.uv,
        uv_faces=mesh.uv_faces,
        regions={"face": region("M_Face"), "skin": region("M_Face", "M_BackHead")},
        mirror=_mirror(mesh),
        face_part=mesh.material,
        part_names=tuple(name.removeprefix("M_") for name in mesh.materials),
    )


def _mirror(mesh: _Mesh) -> np.ndarray:
    """For each vertex the one of the same part nearest to its reflection in x = 0; itself if that is not mutual.

    Parts touch at the eyelids, so each part (Left and Right together) is matched on its own.
    """
    from scipy.spatial import KDTree

    parts = [re.sub("Left|Right", "", name) for name in mesh.materials]
    own = np.arange(len(mesh.vertices))
    part = np.full(len(own), -1)
    for k in reversed(range(len(parts))):  # a vertex on a seam belongs to the first part
        part[mesh.faces[mesh.material == k]] = parts.index(parts[k])
    other = own.copy()
    for k in np.unique(part):
        members = np.flatnonzero(part == k)
        points = mesh.vertices[members]
        other[members] = members[np.asarray(KDTree(points).query(points * [-1, 1, 1])[1])]
    return np.where(other[other] == own, other, own)


def _present(folder: Path, names: list[str], skip_missing: bool) -> dict[str, Path]:
    files = {name: folder / f"{name}.obj" for name in names}
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing and not skip_missing:
        listed = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
        raise FileNotFoundError(
            f"{folder}: {listed} missing (.obj); copy them from ICT-FaceKit, load fewer with identity= or expression=, "
            "or call formats.ict.load_ict_folder(..., skip_missing=True)"
        )
    if missing:
        logger.info("%s: %d of %d meshes missing and left out", folder, len(missing), len(names))
    return {name: file for name, file in files.items() if name not in missing}


def _read_table(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"{file}: no such file; copy it from ICT-FaceKit's FaceXModel folder")
    try:
        table = read_json(file)
    except ValueError:
        fail(file, "not JSON, or truncated", "copy it again from ICT-FaceKit")
    require(
        file,
        table if isinstance(table, dict) else {},
        ["expressions", "idx_to_landmark_verts"],
        "ICT-FaceKit vertex_indices.json",
    )
    return table


def _read_vertices(file: Path, neutral: _Mesh) -> np.ndarray:
    """The vertices of an .obj as float64. Raises ValueError unless there are as many as in the neutral mesh."""
    lines = [line.split() for line in file.read_bytes().splitlines() if line.startswith(b"v ")]
    try:
        vertices = np.array([float(x) for line in lines for x in line[1:4]]).reshape(len(lines), 3)
    except ValueError:
        fail(file, "a vertex line is not three numbers", "the file is truncated: copy it again from ICT-FaceKit")
    if vertices.shape != neutral.vertices.shape:
        fail(
            file,
            f"{len(vertices)} vertices, the neutral mesh has {len(neutral.vertices)}",
            "copy the file again from ICT-FaceKit",
        )
    return vertices


def _read_obj(file: Path) -> _Mesh:
    """Vertices, texture coordinates and polygons with both indices, fan-split into triangles (0, k, k + 1)."""
    values: dict[str, list[list[float]]] = {"v": [], "vt": []}
    corners: list[tuple[int, ...]] = []
    material: list[int] = []
    names: list[str] = []
    current = 0
    try:
        for line in read_text(file).split("\n"):
            kind, *rest = line.split() or [""]
            if kind in values:
                values[kind].append([float(x) for x in rest[: 3 if kind == "v" else 2]])
            elif kind == "usemtl":
                names = names if rest[0] in names else [*names, rest[0]]
                current = names.index(rest[0])
            elif kind == "f":
                names = names or ["default"]
                polygon = [tuple(int(x) - 1 for x in corner.split("/")[:2]) for corner in rest]
                for k in range(1, len(polygon) - 1):
                    corners.append(polygon[0] + polygon[k] + polygon[k + 1])
                    material.append(current)
        vertices, uv = (np.array(values[kind], np.float64).reshape(-1, size) for kind, size in [("v", 3), ("vt", 2)])
        table = np.array(corners, np.int64).reshape(-1, 3, 2)
    except (ValueError, IndexError):
        fail(
            file,
            "not an .obj with vertices, texture coordinates and materials, or truncated",
            "copy it again from ICT-FaceKit",
        )
    both = {"f v": table[..., 0] + 1, "f vt": table[..., 1] + 1}
    faces = triangles(file, both, "f v", len(vertices), first=1)
    uv_faces = triangles(file, both, "f vt", len(uv), first=1)
    if len(np.unique(faces)) != len(vertices):
        fail(file, "some vertices are in no polygon: truncated", "copy it again from ICT-FaceKit")
    return _Mesh(vertices, uv, faces, uv_faces, np.array(material), tuple(names))

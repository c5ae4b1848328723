"""Binary glTF 2.0 (.glb): one file with mesh, texture and blendshapes, for Blender, three.js and other viewers.

Khronos Group, "glTF 2.0 specification", registry.khronos.org/glTF. Metres, y up, the face looks along +z. The mesh is
the neutral face; each expression is a morph target of the same name, with the face's weight.
"""

import io
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int
from PIL import Image

from facejax.atomic import atomic_path
from facejax.export.pictures import QUICK, to_uint8
from facejax.export.seams import split_seams, tangents
from facejax.material import Material

METRES = 1e-3  # a millimetre
FLOAT, UINT = 5126, 5125  # component types
ARRAY, ELEMENTS = 34962, 34963  # buffer views' targets
LEAST = 1e-3  # mm: smaller displacements of a blendshape are left out
TURN = 0.02  # radians: smaller rotations of a normal are left out
SPARSE = 0.6  # below this share of moved vertices, only those are stored


def write_glb(path: str | Path, vertices: Float[Array | np.ndarray, "V 3"], *rest: Any, **options: Any) -> Path:
    """Write `glb_bytes` to a file, atomically."""
    path = Path(path)
    content = glb_bytes(path.name, vertices, *rest, **options)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return path


def glb_bytes(
    title: str,
    vertices: Float[Array | np.ndarray, "V 3"],
    faces: Int[Array | np.ndarray, "F 3"],
    *,
    normals: Float[Array | np.ndarray, "V 3"] | None = None,
    uv: Float[Array | np.ndarray, "U 2"] | None = None,
    uv_faces: Int[Array | np.ndarray, "F 3"] | None = None,
    texture: Float[Array | np.ndarray, "T1 T2 3"] | None = None,
    targets: Mapping[str, Float[Array | np.ndarray, "_ 3"]] | None = None,
    turns: Mapping[str, Float[Array | np.ndarray, "_ 3"]] | None = None,
    weights: Float[Array | np.ndarray, " E"] | None = None,
    rotation: Float[Array | np.ndarray, " 4"] | None = None,
    translation: Float[Array | np.ndarray, " 3"] | None = None,
    surface: Material | None = None,
    unlit: bool = False,
    name: str = "face",
) -> bytes:
    """The bytes of a .glb file with one mesh.

    Args:
      title: names the mesh in errors.
      vertices: mm.
      faces: triangles.
      normals: unit vectors, one per vertex.
      uv: v up.
      uv_faces: may be left out when uv has one row per vertex.
      texture: display values, row 0 on top.
      targets: offsets in mm by name.
      turns: what every target adds to `normals`; without them viewers shade the face as if it were neutral.
      weights: how much of each target the face shows (0 where left out).
      rotation: quaternion w, x, y, z of the mesh's node.
      translation: of the node, mm.
      surface: a material whose normal, roughness and specular maps are used (KHR_materials_specular). Its albedo is not
        used: pass it as the texture.
      unlit: show the texture as it is, whatever the light.
      name: of the mesh.

    Raises ValueError for values that are not finite, indices out of range, or pictures without uv.
    """
    points, triangles = np.asarray(vertices, np.float64), np.asarray(faces)
    shapes = {key: np.asarray(value, np.float64) for key, value in (targets or {}).items()}
    bends = {key: np.asarray(value, np.float64) for key, value in (turns or {}).items()}
    amounts = np.zeros(len(shapes)) if weights is None else np.asarray(weights, np.float64)
    _check(title, points, triangles, shapes, amounts)
    if bends and (normals is None or bends.keys() != shapes.keys()):
        raise ValueError(f"{title}: turns without normals, or not of the same names as targets: pass all or none")
    if (texture is not None or surface is not None) and uv is None:
        raise ValueError(f"{title}: a texture needs uv coordinates: pass uv (and uv_faces)")
    corners, rows, chart = split_seams(title, triangles, len(points), uv, uv_faces)

    file = _Glb()
    attributes = {"POSITION": file.vectors(points[rows] * METRES, bounds=True)}
    if normals is not None:
        directions = _unit(np.asarray(normals, np.float64))[rows]
        attributes["NORMAL"] = file.vectors(directions)
        if surface is not None and chart is not None:
            attributes["TANGENT"] = file.vectors(tangents(points[rows], directions, chart, corners))
    if chart is not None:
        attributes["TEXCOORD_0"] = file.vectors(chart * [1, -1] + [0, 1])  # v counts from the top in glTF
    primitive: dict[str, Any] = {"attributes": attributes, "indices": file.indices(corners), "material": 0}
    mesh: dict[str, Any] = {"name": name, "primitives": [primitive]}
    if shapes:
        primitive["targets"] = [{"POSITION": file.offsets(offset[rows], LEAST, METRES)} for offset in shapes.values()]
        for target, name_of in zip(primitive["targets"], shapes, strict=True) if bends else ():
            target["NORMAL"] = file.offsets(bends[name_of][rows], TURN)
        mesh |= {"weights": amounts.tolist(), "extras": {"targetNames": list(shapes)}}
    node: dict[str, Any] = {"name": name, "mesh": 0}
    if rotation is not None:
        w, x, y, z = _unit(np.asarray(rotation, np.float64)).tolist()
        node["rotation"] = [x, y, z, w]
    if translation is not None:
        node["translation"] = (np.asarray(translation, np.float64) * METRES).tolist()
    pictures = {} if texture is None else {"albedo": np.asarray(texture)}
    material = _material(name, pictures, surface, unlit)
    scene: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "facejax"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [node],
        "meshes": [mesh],
        "materials": [material],
    }
    if pictures:
        scene["images"] = [file.picture(picture, label) for label, picture in pictures.items()]
        scene["textures"] = [{"source": k, "sampler": 0} for k in range(len(pictures))]
        scene["samplers"] = [{"magFilter": 9729, "minFilter": 9987, "wrapS": 33071, "wrapT": 33071}]
    if "extensions" in material:
        scene["extensionsUsed"] = list(material["extensions"])
    return file.content(scene)


def _material(name: str, pictures: dict[str, np.ndarray], surface: Material | None, unlit: bool) -> dict[str, Any]:
    """The material's entry. Adds the surface's maps to `pictures`, whose order numbers the textures.

    Roughness is the green channel of its picture and metalness the blue one; specular is an alpha channel.
    """
    shading: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 0.65 if surface is None else 1.0}
    entry: dict[str, Any] = {"name": name, "pbrMetallicRoughness": shading}
    if pictures:
        shading["baseColorTexture"] = {"index": 0}
    if surface is not None:
        index = lambda label: {"index": list(pictures).index(label)}  # noqa: E731
        rough, specular = np.asarray(surface.roughness), np.asarray(surface.specular)
        ones = np.ones_like(rough)
        pictures["normal"] = np.asarray(surface.normal) * 0.5 + 0.5
        pictures["roughness"] = np.stack([ones, rough, 0 * ones], axis=-1)
        pictures["specular"] = np.stack([ones, ones, ones, specular], axis=-1)
        entry["normalTexture"] = index("normal")
        shading["metallicRoughnessTexture"] = index("roughness")
        entry["extensions"] = {"KHR_materials_specular": {"specularTexture": index("specular")}}
    if unlit:
        entry.setdefault("extensions", {})["KHR_materials_unlit"] = {}
    return entry


def _check(name: str, points: np.ndarray, faces: np.ndarray, shapes: Mapping[str, np.ndarray], amounts: np.ndarray):
    for label, values in {"vertices": points, "weights": amounts, **shapes}.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name}: {label} are not finite: not written")
    if faces.size and (faces.min() < 0 or faces.max() >= len(points)):
        raise ValueError(f"{name}: faces point outside 0..{len(points) - 1}")
    for label, values in shapes.items():
        if values.shape != points.shape:
            raise ValueError(f"{name}: target {label} has shape {values.shape}, the vertices {points.shape}")
    if amounts.shape != (len(shapes),):
        raise ValueError(f"{name}: {amounts.shape} weights for {len(shapes)} targets: pass one each")


def _unit(vectors: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    fallback = np.eye(vectors.shape[-1])[-1]
    return np.where(length > 1e-12, vectors / np.maximum(length, 1e-12), fallback)


class _Glb:
    """The binary part, and the accessors into it."""

    def __init__(self):
        self.bytes = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def view(self, content: bytes, target: int | None = None) -> int:
        self.bytes += b"\0" * (-len(self.bytes) % 4)
        placed = {"buffer": 0, "byteOffset": len(self.bytes), "byteLength": len(content)}
        self.views.append(placed if target is None else placed | {"target": target})
        self.bytes += content
        return len(self.views) - 1

    def add(self, accessor: dict[str, Any]) -> int:
        self.accessors.append(accessor)
        return len(self.accessors) - 1

    def vectors(self, values: np.ndarray, *, bounds: bool = False) -> int:
        values = np.asarray(values, "<f4")
        kind = {2: "VEC2", 3: "VEC3", 4: "VEC4"}[values.shape[1]]
        accessor = {"bufferView": self.view(values.tobytes(), ARRAY), "componentType": FLOAT}
        return self.add(accessor | {"count": len(values), "type": kind} | (_bounds(values) if bounds else {}))

    def indices(self, corners: np.ndarray) -> int:
        content = np.asarray(corners, "<u4").tobytes()
        accessor = {"bufferView": self.view(content, ELEMENTS), "componentType": UINT, "type": "SCALAR"}
        return self.add(accessor | {"count": corners.size})

    def offsets(self, offset: np.ndarray, least: float, unit: float = 1.0) -> int:
        """A morph target. Only vertices that move by more than `least` are stored, where that takes less space."""
        values = np.asarray(offset * unit, "<f4")
        moves = np.abs(offset).max(axis=1) > least
        values, moved = np.where(moves[:, None], values, np.float32(0)), np.flatnonzero(moves)
        if len(moved) > SPARSE * len(values):
            return self.vectors(values, bounds=True)
        accessor = {"componentType": FLOAT, "count": len(values), "type": "VEC3"} | _bounds(values)
        if len(moved):
            where = {"bufferView": self.view(moved.astype("<u4").tobytes()), "componentType": UINT}
            what = {"bufferView": self.view(values[moved].tobytes())}
            accessor["sparse"] = {"count": len(moved), "indices": where, "values": what}
        return self.add(accessor)

    def picture(self, texture: np.ndarray, label: str) -> dict[str, Any]:
        buffer = io.BytesIO()
        Image.fromarray(to_uint8(texture)).save(buffer, format="PNG", compress_level=QUICK)
        return {"bufferView": self.view(buffer.getvalue()), "mimeType": "image/png", "name": label}

    def content(self, scene: dict[str, Any]) -> bytes:
        """The file: a header, then the scene as JSON and the binary part, each padded to four bytes."""
        self.bytes += b"\0" * (-len(self.bytes) % 4)
        tables = {"accessors": self.accessors, "bufferViews": self.views}
        text = json.dumps(scene | tables | {"buffers": [{"byteLength": len(self.bytes)}]}, allow_nan=False).encode()
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self.bytes), b"BIN\0") + bytes(self.bytes)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def _bounds(values: np.ndarray) -> dict[str, list[float]]:
    return {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()}

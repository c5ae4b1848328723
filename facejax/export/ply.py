"""Stanford PLY, binary little endian: a mesh with a colour at every vertex, for MeshLab, CloudCompare and scan tools.

Turk, "The PLY polygon file format", 1994. Without texture coordinates the vertices keep their order.
"""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int

from facejax.atomic import atomic_path
from facejax.export.pictures import to_uint8
from facejax.export.seams import split_seams

TYPES = {"<f4": "float", "u1": "uchar"}


def write_ply(
    path: str | Path,
    vertices: Float[Array | np.ndarray, "V 3"],
    faces: Int[Array | np.ndarray, "F 3"],
    *,
    normals: Float[Array | np.ndarray, "_ 3"] | None = None,
    colors: Float[Array | np.ndarray, "_ 3"] | None = None,
    uv: Float[Array | np.ndarray, "U 2"] | None = None,
    uv_faces: Int[Array | np.ndarray, "F 3"] | None = None,
    comment: str = "unit: millimetre",
) -> Path:
    """Write one mesh, atomically.

    Args:
      path: of the file.
      vertices: unchanged, stored as float32.
      faces: triangles.
      normals: unit vectors, one per vertex.
      colors: display values in [0, 1] at the vertices, stored in 8 bits.
      uv: v up, stored as s and t. A vertex on a seam of the texture is written once for each of its coordinates.
      uv_faces: may be left out when there is one row of uv per vertex.
      comment: lines of the header.

    Raises ValueError for vertices that are not finite, indices out of range, and rows that are not one per vertex.
    """
    path, points, triangles = Path(path), np.asarray(vertices, np.float64), np.asarray(faces)
    if not np.isfinite(points).all():
        raise ValueError(f"{path.name}: vertices are not finite: not written")
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(points)):
        raise ValueError(f"{path.name}: faces point outside 0..{len(points) - 1}")
    corners, rows, chart = split_seams(path.name, triangles, len(points), uv, uv_faces)
    columns: dict[str, tuple[str, Any]] = {"x y z": ("<f4", points)}
    if normals is not None:
        columns["nx ny nz"] = ("<f4", normals)
    if colors is not None:
        columns["red green blue"] = ("u1", to_uint8(colors))
    for names, (_, values) in columns.items():
        if len(np.asarray(values)) != len(points):
            raise ValueError(f"{path.name}: {len(np.asarray(values))} rows of {names} for {len(points)} vertices")
    blocks = {names: (kind, np.asarray(values)[rows]) for names, (kind, values) in columns.items()}
    if chart is not None:
        blocks["s t"] = ("<f4", chart)
    fields = [(name, kind) for names, (kind, _) in blocks.items() for name in names.split()]
    table = np.empty(len(rows), np.dtype(fields))
    for names, (_, values) in blocks.items():
        for k, name in enumerate(names.split()):
            table[name] = values[:, k]
    polygons = np.empty(len(corners), np.dtype([("count", "u1"), ("corners", "<i4", (3,))]))
    polygons["count"], polygons["corners"] = 3, corners
    header = ["ply", "format binary_little_endian 1.0", *(f"comment {line}" for line in comment.splitlines())]
    header += [f"element vertex {len(table)}", *(f"property {TYPES[kind]} {name}" for name, kind in fields)]
    header += [f"element face {len(polygons)}", "property list uchar int vertex_indices", "end_header"]
    with atomic_path(path) as temporary:
        temporary.write_bytes("\n".join([*header, ""]).encode() + table.tobytes() + polygons.tobytes())
    return path

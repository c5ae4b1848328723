"""Meshes with separate indices for vertices and texture coordinates, converted for formats with one index for both."""

import numpy as np
from jaxtyping import Array, Float, Int


def split_seams(
    name: str,
    faces: Int[np.ndarray, "F 3"],
    count: int,
    uv: Float[Array | np.ndarray, "U 2"] | None,
    uv_faces: Int[Array | np.ndarray, "F 3"] | None,
) -> tuple[Int[np.ndarray, "F 3"], Int[np.ndarray, " R"], Float[np.ndarray, "R 2"] | None]:
    """One row per distinct pair of vertex and texture coordinate. A vertex on a seam gets several rows.

    Without uv, or with one row of uv per vertex, the vertices stay as they are.

    Args:
      name: of the file, for errors.
      faces: of the mesh.
      count: number of vertices.
      uv, uv_faces: the layout.

    Returns:
      The faces in terms of the new rows, the vertex of each row, and its uv.

    Raises ValueError where uv do not fit.
    """
    if uv is None:
        return faces, np.arange(count), None
    chart = np.asarray(uv, np.float64)
    if uv_faces is None:
        if len(chart) != count:
            raise ValueError(f"{name}: {len(chart)} uv rows for {count} vertices: pass uv_faces")
        return faces, np.arange(count), chart
    pairs = np.stack([faces.reshape(-1), np.asarray(uv_faces).reshape(-1)], axis=1)
    unique, inverse = np.unique(pairs, axis=0, return_inverse=True)
    return inverse.reshape(faces.shape), unique[:, 0], chart[unique[:, 1]]

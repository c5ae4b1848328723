"""Meshes whose corners have texture coordinates of their own, for formats that have one index for both."""

import numpy as np
from jaxtyping import Array, Float, Int


def split_seams(
    name: str,
    faces: Int[np.ndarray, "F 3"],
    count: int,
    uv: Float[Array | np.ndarray, "U 2"] | None,
    uv_faces: Int[Array | np.ndarray, "F 3"] | None,
) -> tuple[Int[np.ndarray, "F 3"], Int[np.ndarray, " R"], Float[np.ndarray, "R 2"] | None]:
    """Corners as rows of a new list, the vertex of each row (of `count`), and its uv.

    A vertex that lies on a seam has a row for each of its coordinates; without uv, or with one row of it per vertex,
    the vertices stay as they are. Raises ValueError, with `name`, where uv do not fit.
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

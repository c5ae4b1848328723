"""Meshes with one index for vertices and texture coordinates, as other formats want them, and their tangents."""

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


def tangents(
    points: Float[np.ndarray, "R 3"],
    normals: Float[np.ndarray, "R 3"],
    uv: Float[np.ndarray, "R 2"],
    faces: Int[np.ndarray, "F 3"],
) -> Float[np.ndarray, "R 4"]:
    """The unit direction of +u at each vertex, as glTF has it: w is 1 where normal x tangent is +v, and -1 elsewhere.

    A vertex has the mean of its triangles, by their areas in the layout (Lengyel, "Mathematics for 3D Game Programming
    and Computer Graphics", third edition, 7.8).

    Args:
      points: of the vertices, which are split at seams.
      normals: unit.
      uv: v up.
      faces: triangles.
    """
    first, second = np.moveaxis(points[faces[:, 1:]] - points[faces[:, :1]], 1, 0)
    one, two = np.moveaxis(uv[faces[:, 1:]] - uv[faces[:, :1]], 1, 0)
    sign = np.where(one[:, 0] * two[:, 1] < one[:, 1] * two[:, 0], -1.0, 1.0)[:, None]
    along_u = sign * (two[:, 1:] * first - one[:, 1:] * second)
    along_v = sign * (one[:, :1] * second - two[:, :1] * first)
    u, v = np.zeros_like(points), np.zeros_like(points)
    for corner in faces.T:
        np.add.at(u, corner, along_u)
        np.add.at(v, corner, along_v)
    u -= normals * np.sum(u * normals, axis=1, keepdims=True)
    length = np.linalg.norm(u, axis=1, keepdims=True)
    aside = np.cross(normals, np.eye(3)[np.abs(normals).argmin(axis=1)])  # where the layout has no extent
    u = np.where(length > 1e-12, u, aside)
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    turn = np.where(np.sum(np.cross(normals, u) * v, axis=1) < 0, -1.0, 1.0)
    return np.concatenate([u, turn[:, None]], axis=1)

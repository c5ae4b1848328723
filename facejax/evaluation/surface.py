"""Distances between surfaces, in the vertices' unit (mm)."""

import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial import KDTree

from facejax.mesh import align_similarity

_CLOSE = 4  # nearest triangle centres tried first, for a tight bound


def surface_distance(
    points: Float[Array | np.ndarray, "N 3"],
    vertices: Float[Array | np.ndarray, "V 3"],
    faces: Int[Array | np.ndarray, "F 3"],
) -> Float[np.ndarray, " N"]:
    """Exact distance of each point to a triangle mesh (its surface, not its vertices).

    The triangles with the nearest centres give an upper bound. Then all triangles whose bounding spheres reach within
    it are tested. Triangles are grouped by size, so that one large triangle does not widen the search among the small
    ones.
    """
    queries = np.asarray(points, np.float64)
    triangles = np.asarray(vertices, np.float64)[np.asarray(faces)]
    if not len(triangles):
        raise ValueError("the mesh has no triangles: pass faces")
    centres = triangles.mean(axis=1)
    radii = np.linalg.norm(triangles - centres[:, None], axis=-1).max(axis=1)

    count = min(_CLOSE, len(centres))
    nearest = KDTree(centres).query(queries, k=count)[1].reshape(len(queries), count)
    best = np.min([_triangle_distance(queries, triangles[nearest[:, k]]) for k in range(count)], axis=0)
    groups = np.floor(np.log2(np.maximum(radii, 1e-12)))
    for group in np.unique(groups):
        chosen = np.flatnonzero(groups == group)
        reach = best + radii[chosen].max()
        found = KDTree(centres[chosen]).query_ball_point(queries, reach * (1 + 1e-12))
        lengths = np.array([len(hits) for hits in found])
        if not lengths.sum():
            continue
        query = np.repeat(np.arange(len(queries)), lengths)
        triangle = chosen[np.concatenate([np.asarray(hits, np.int64) for hits in found])]
        for start in range(0, len(query), 1 << 19):
            part = slice(start, start + (1 << 19))
            distance = _triangle_distance(queries[query[part]], triangles[triangle[part]])
            np.minimum.at(best, query[part], distance)
    return best


def aligned_surface_distance(
    points: Float[Array | np.ndarray, "N 3"],
    vertices: Float[Array | np.ndarray, "V 3"],
    faces: Int[Array | np.ndarray, "F 3"],
    vertex_marks: Float[Array | np.ndarray, "M 3"],
    point_marks: Float[Array | np.ndarray, "M 3"],
    *,
    scale: bool = True,
) -> Float[np.ndarray, " N"]:
    """`surface_distance` of true points to a predicted mesh, after aligning the mesh by corresponding marks.

    The least-squares similarity is never a reflection: a mirrored face stays wrong.

    Args:
      points: the true surface, (N, 3).
      vertices, faces: the predicted mesh.
      vertex_marks, point_marks: corresponding points (M, 3) of the prediction and the truth.
      scale: False for a rigid motion.

    Returns:
      One distance per point.
    """
    factor, rotation, shift = align_similarity(np.asarray(vertex_marks), np.asarray(point_marks), scale=scale)
    return surface_distance(points, factor * np.asarray(vertices, np.float64) @ rotation.T + shift, faces)


def aligned_vertex_distance(
    predicted: Float[Array | np.ndarray, "V 3"],
    truth: Float[Array | np.ndarray, "V 3"],
    weights: Float[Array | np.ndarray, " V"] | None = None,
    *,
    scale: bool = True,
) -> Float[np.ndarray, " V"]:
    """Distance of each vertex to its true place after the least-squares similarity.

    Args:
      predicted, truth: vertices (V, 3) of the same topology.
      weights: of the vertices in the alignment, for instance a region mask.
      scale: False for a rigid motion.

    Returns:
      One distance per vertex, for all of them.
    """
    factor, rotation, shift = align_similarity(np.asarray(predicted), np.asarray(truth), weights, scale=scale)
    moved = factor * np.asarray(predicted, np.float64) @ rotation.T + shift
    return np.linalg.norm(moved - np.asarray(truth, np.float64), axis=-1)


def _triangle_distance(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Distance of points (N, 3) to triangles (N, 3, 3), row by row; a triangle without area counts as its edges."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]
    edges = np.minimum(
        np.minimum(_segment_square(points, a, b), _segment_square(points, b, c)), _segment_square(points, c, a)
    )
    normal = np.cross(b - a, c - a)
    area = np.einsum("nc,nc->n", normal, normal)
    solid = area > 1e-24
    offset = points - a
    safe = np.where(solid, area, 1.0)
    wb = np.einsum("nc,nc->n", np.cross(offset, c - a), normal) / safe
    wc = np.einsum("nc,nc->n", np.cross(b - a, offset), normal) / safe
    above = solid & (wb >= 0) & (wc >= 0) & (wb + wc <= 1)
    plane = np.einsum("nc,nc->n", offset, normal) ** 2 / safe
    return np.sqrt(np.where(above, plane, edges))


def _segment_square(points: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Squared distance of points to segments, row by row."""
    along = end - start
    length = np.einsum("nc,nc->n", along, along)
    t = np.einsum("nc,nc->n", points - start, along) / np.where(length > 0, length, 1.0)
    rest = points - start - np.clip(t, 0.0, 1.0)[:, None] * along
    return np.einsum("nc,nc->n", rest, rest)

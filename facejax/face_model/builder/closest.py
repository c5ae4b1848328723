"""Nearest points of a triangle mesh, float64 on the host; the matches of registration and texture transfer."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import KDTree


@dataclass(frozen=True)
class Closest:
    """The nearest surface point of each of N query points."""

    points: Float[np.ndarray, "N 3"]
    triangles: Int[np.ndarray, " N"]
    weights: Float[np.ndarray, "N 3"]  # barycentric, of the triangle's corners
    distances: Float[np.ndarray, " N"]  # unit of the vertices


class SurfaceIndex:
    """Answers nearest-point queries on one mesh.

    Candidates are the triangles around the nearest vertices and those with the nearest centroids, each solved exactly;
    so the answer is exact on meshes whose triangles are of similar size nearby.
    """

    def __init__(self, vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"], *, candidates: int = 8):
        self.vertices: np.ndarray = np.asarray(vertices, np.float64)
        self.faces: np.ndarray = np.asarray(faces, np.int64)
        used = np.unique(self.faces)
        self._used = used
        self._vertex_tree = KDTree(self.vertices[used])
        self._face_tree = KDTree(self.vertices[self.faces].mean(axis=1))
        self._ring = _incident_triangles(self.faces, len(self.vertices))
        self._candidates = min(candidates, len(self.faces))

    def query(self, points: Float[np.ndarray, "N 3"], *, chunk: int = 20000) -> Closest:
        """Nearest surface point of each query point."""
        points = np.asarray(points, np.float64)
        parts = [self._query(points[i : i + chunk]) for i in range(0, len(points), chunk)]
        return Closest(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def _query(self, points):
        nearest = self._used[self._vertex_tree.query(points, k=min(2, len(self._used)))[1].reshape(len(points), -1)]
        by_centre = self._face_tree.query(points, k=self._candidates)[1].reshape(len(points), -1)
        triangles = np.concatenate([self._ring[nearest].reshape(len(points), -1), by_centre], axis=1)
        corners = self.vertices[self.faces[triangles]]
        weights = closest_barycentrics(points[:, None], corners)
        found = np.einsum("nck,nckd->ncd", weights, corners)
        square = np.sum((found - points[:, None]) ** 2, axis=-1)
        rows, best = np.arange(len(points)), np.argmin(square, axis=1)
        return found[rows, best], triangles[rows, best], weights[rows, best], np.sqrt(square[rows, best])


def closest_barycentrics(
    points: Float[np.ndarray, "*#N 3"], corners: Float[np.ndarray, "*N 3 3"]
) -> Float[np.ndarray, "*N 3"]:
    """Barycentric weights of the nearest point of each triangle: the foot of the perpendicular or an edge point."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    inside = _plane_weights(points, a, b, c)
    best = np.where((inside >= 0).all(axis=-1, keepdims=True), inside, 0.0)
    square = np.where((inside >= 0).all(axis=-1), 0.0, np.inf)
    for i, j in ((0, 1), (1, 2), (2, 0)):
        p, q = corners[..., i, :], corners[..., j, :]
        edge = q - p
        t = np.sum((points - p) * edge, axis=-1) / np.maximum(np.sum(edge * edge, axis=-1), 1e-300)
        t = np.clip(t, 0.0, 1.0)[..., None]
        distance = np.sum((p + t * edge - points) ** 2, axis=-1)
        weights = np.zeros(best.shape)
        weights[..., i], weights[..., j] = 1 - t[..., 0], t[..., 0]
        better = distance < square
        best = np.where(better[..., None], weights, best)
        square = np.where(better, distance, square)
    return best


def border_vertices(faces: Int[np.ndarray, "F 3"], count: int) -> Bool[np.ndarray, " V"]:
    """Which of `count` vertices lie on an edge that only one triangle has."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    result = np.zeros(count, bool)
    result[unique[uses == 1]] = True
    return result


def unit_normals(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Area-weighted unit vertex normals in float64; zero where a vertex has no area around it."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    summed = np.zeros(vertices.shape)
    for k in range(3):
        np.add.at(summed, faces[:, k], normals)
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-300)


def _plane_weights(points, a, b, c):
    """Barycentric weights of the projection on each triangle's plane; negative for degenerate triangles."""
    u, v, w = b - a, c - a, points - a
    uu, uv, vv = np.sum(u * u, -1), np.sum(u * v, -1), np.sum(v * v, -1)
    wu, wv = np.sum(w * u, -1), np.sum(w * v, -1)
    determinant = uu * vv - uv * uv
    flat = determinant <= 1e-24 * np.maximum(uu * vv, 1e-300)
    determinant = np.where(flat, 1.0, determinant)
    s, t = (vv * wu - uv * wv) / determinant, (uu * wv - uv * wu) / determinant
    weights = np.stack([1 - s - t, s, t], axis=-1)
    return np.where(flat[..., None], -1.0, weights)


def _incident_triangles(faces: np.ndarray, count: int) -> np.ndarray:
    """(V, R) triangles around each vertex, padded by repeating one of them (triangle 0 for an unused vertex)."""
    order = np.argsort(faces.reshape(-1), kind="stable")
    vertex = faces.reshape(-1)[order]
    start = np.searchsorted(vertex, np.arange(count))
    uses = np.bincount(vertex, minlength=count)
    column = np.minimum(np.arange(max(1, uses.max()))[None], np.maximum(uses - 1, 0)[:, None])
    slot = np.minimum(start[:, None] + column, len(order) - 1)
    return np.where(uses[:, None] > 0, order[slot] // 3, 0)

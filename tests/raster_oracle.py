"""An independent float64 rasteriser in numpy, and meshes to try renderers on.

Every triangle is tested at every sample of a window around it; the nearest front-facing one wins. It shares no code and
no idea with the renderer except the conventions: pixels with y down and centres at halves, counter-clockwise fronts.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEAR = 1.0  # mm


@dataclass(frozen=True)
class Raster:
    triangle: np.ndarray  # (H, W) int, -1 empty
    near_edge: np.ndarray  # (H, W) bool: a front-facing triangle's edge passes within `margin` pixels of the centre
    corners: np.ndarray  # (F, 3, 3) of the triangles
    perspective: bool

    @cached_property
    def weights(self) -> np.ndarray:
        """(H, W, 3) perspective-correct barycentrics, 0 where empty."""
        height, width = self.triangle.shape
        flat = _weights(self.corners, self.triangle.reshape(-1), width, self.perspective)
        return flat.reshape(height, width, 3)

    @cached_property
    def depth(self) -> np.ndarray:
        """(H, W), inf where empty."""
        z = self.corners[np.maximum(self.triangle, 0), :, 2]
        return np.where(self.triangle >= 0, np.einsum("hwk,hwk->hw", self.weights, z), np.inf)

    def mix(self, values: np.ndarray, faces: np.ndarray) -> np.ndarray:
        """Interpolated vertex attributes; zero where empty."""
        corners = values[faces[np.maximum(self.triangle, 0)]]
        return np.einsum("hwk,hwkc->hwc", self.weights, corners)


def project(vertices: np.ndarray, focal: float, principal: tuple[float, float]) -> np.ndarray:
    """Pinhole projection of camera-space points to (x, y, depth)."""
    depth = -vertices[:, 2]
    x = principal[0] + focal * vertices[:, 0] / np.maximum(depth, NEAR)
    y = principal[1] - focal * vertices[:, 1] / np.maximum(depth, NEAR)
    return np.stack([x, y, depth], axis=1)


def rasterize(points, faces, size, *, perspective=True, margin=0.0, samples=1) -> Raster:
    """Render (x, y, depth) points at `samples` x `samples` positions a pixel (the result has samples * size pixels)."""
    points = np.asarray(points, np.float64) * [samples, samples, 1]
    faces, (height, width) = np.asarray(faces), (size[0] * samples, size[1] * samples)
    corners = points[faces]
    a, b, c = corners[:, 0, :2], corners[:, 1, :2], corners[:, 2, :2]
    with np.errstate(invalid="ignore"):
        front = cross(b - a, c - a) < 0
        drawn = front & np.isfinite(corners).all((1, 2))
        if perspective:
            drawn &= corners[:, :, 2].min(1) > NEAR
    ids = np.flatnonzero(drawn)
    best = np.full(height * width, np.inf)
    winner = np.full(height * width, -1)
    edge = np.zeros(height * width, bool)
    low = np.floor(np.clip(corners[ids, :, :2].min(1) - margin - 1, -1, [width, height])).astype(int)
    high = np.ceil(np.clip(corners[ids, :, :2].max(1) + margin + 1, -1, [width, height])).astype(int)
    window = (high - low).max(1, initial=0)
    smaller = 0
    for side in [3, 4, 6, 8, 12, 16, 24, 32, *(2 ** np.arange(6, 14))]:
        chosen, smaller = (window <= side) & (window > smaller), side
        per_chunk = max(1, 2**21 // side**2)
        group_ids, group_low = ids[chosen], low[chosen]
        for begin in range(0, len(group_ids), per_chunk):
            part = slice(begin, begin + per_chunk)
            _draw(
                corners, group_ids[part], group_low[part], side, width, height, perspective, margin, best, winner, edge
            )
    return Raster(winner.reshape(height, width), edge.reshape(height, width), corners, perspective)


def _draw(corners, ids, low, side, width, height, perspective, margin, best, winner, edge):
    step = np.arange(side)
    x, y = low[:, 0, None, None] + step, low[:, 1, None, None] + step[:, None]  # (N, 1, side), (N, side, 1)
    inside_image = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    pixel = y * width + x
    z = corners[ids, :, 2]
    areas, nearest = [], np.full(pixel.shape, np.inf)
    for k in range(3):
        p, q = (corners[ids, (k + j) % 3, :2][:, :, None, None] for j in (1, 2))
        area = (q - p)[:, 1] * (x + 0.5 - p[:, 0]) - (q - p)[:, 0] * (y + 0.5 - p[:, 1])
        areas.append(area)
        if margin:
            nearest = np.minimum(nearest, area / np.maximum(np.linalg.norm(q - p, axis=1), 1e-12))
    areas, total = np.stack(areas), np.sum(areas, axis=0)
    inside = (areas[0] >= 0) & (areas[1] >= 0) & (areas[2] >= 0) & inside_image
    edge[pixel[(np.abs(nearest) < margin) & inside_image]] = True
    far = (-1 / z if perspective else z).T[:, :, None, None]
    value = (areas * far).sum(0)[inside] / total[inside]
    pixel, triangle = pixel[inside], np.broadcast_to(ids[:, None, None], inside.shape)[inside]
    order = np.argsort(-value, kind="stable")  # the nearest is written last
    pixel, value, triangle = pixel[order], value[order], triangle[order]
    closer = value < best[pixel]
    best[pixel[closer]] = value[closer]
    winner[pixel[closer]] = triangle[closer]


def cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]


def _weights(corners, winner, width, perspective):
    seen = winner >= 0
    row, column = np.divmod(np.arange(len(winner)), width)
    centre = np.stack([column, row], 1) + 0.5
    part = corners[np.maximum(winner, 0)]
    area = np.stack([cross(part[:, (k + 1) % 3, :2] - centre, part[:, (k + 2) % 3, :2] - centre) for k in range(3)], 1)
    area = area / part[:, :, 2] if perspective else area
    total = area.sum(1, keepdims=True)
    return np.where(seen[:, None], area / np.where(seen[:, None], total, 1), 0)


def sphere(level: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Unit icosphere: 20 * 4^level triangles, counter-clockwise from outside."""
    g = (1 + 5**0.5) / 2
    v = [[-1, g, 0], [1, g, 0], [-1, -g, 0], [1, -g, 0], [0, -1, g], [0, 1, g]]
    v += [[0, -1, -g], [0, 1, -g], [g, 0, -1], [g, 0, 1], [-g, 0, -1], [-g, 0, 1]]
    f = [[0, 11, 5], [0, 5, 1], [0, 1, 7], [0, 7, 10], [0, 10, 11], [1, 5, 9], [5, 11, 4], [11, 10, 2], [10, 7, 6]]
    f += [[7, 1, 8], [3, 9, 4], [3, 4, 2], [3, 2, 6], [3, 6, 8], [3, 8, 9], [4, 9, 5], [2, 4, 11], [6, 2, 10]]
    vertices, faces = np.array(v, float), np.array([*f, [8, 6, 7], [9, 8, 1]])
    for _ in range(level):
        ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
        edges, index = np.unique(ends, axis=0, return_inverse=True)
        ab, bc, ca = index.reshape(3, -1) + len(vertices)
        vertices = np.concatenate([vertices, vertices[edges].mean(1)])
        a, b, c = faces.T
        quads = [np.stack(t, 1) for t in [(a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)]]
        faces = np.concatenate(quads)
    return vertices / np.linalg.norm(vertices, axis=1, keepdims=True), faces.astype(np.int32)


def bumpy_head(level: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """A head-sized ellipsoid (mm) with a nose, brows and a chin, so that parts of it hide each other when turned."""
    unit, faces = sphere(level)
    x, y, z = unit.T

    def bump(cx, cy, wide, high):
        return high * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / wide**2) * (z > 0)

    radius = 1 + bump(0, 0, 0.18, 0.45) + bump(0.35, 0.35, 0.2, 0.12) + bump(-0.35, 0.35, 0.2, 0.12)
    radius += bump(0, -0.75, 0.25, 0.15) + 0.03 * np.sin(9 * x + 2) * np.sin(7 * y) * np.sin(8 * z + 1)
    return unit * radius[:, None] * [75, 105, 90], faces


def torus(around: int = 48, across: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """A torus of radii 60 and 25 mm around the y axis: its near and far parts cover each other when tilted."""
    u, v = np.meshgrid(np.arange(around) * 2 * np.pi / around, np.arange(across) * 2 * np.pi / across, indexing="ij")
    ring = 60 + 25 * np.cos(v)
    vertices = np.stack([ring * np.sin(u), 25 * np.sin(v), ring * np.cos(u)], -1).reshape(-1, 3)
    i, j = np.meshgrid(np.arange(around), np.arange(across), indexing="ij")
    a, b = i * across + j, (i + 1) % around * across + j
    d, c = i * across + (j + 1) % across, (i + 1) % around * across + (j + 1) % across
    faces = np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)]).reshape(-1, 3)
    return vertices, faces.astype(np.int32)


def turn(pitch: float, yaw: float, roll: float = 0.0) -> np.ndarray:
    """Ry(yaw) Rx(pitch) Rz(roll), degrees."""
    p, w, r = np.deg2rad([pitch, yaw, roll])
    rx = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    ry = np.array([[np.cos(w), 0, np.sin(w)], [0, 1, 0], [-np.sin(w), 0, np.cos(w)]])
    rz = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return ry @ rx @ rz

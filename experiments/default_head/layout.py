"""The UV chart of the half skin: a Tutte embedding, relaxed to a nearly isometric map with a chosen scale field.

Tutte, "How to draw a graph", 1963 (the injective start); Rabinovich, Poranne, Panozzo, Sorkine-Hornung, "Scalable
locally injective mappings", SIGGRAPH 2017 (the descent on the symmetric Dirichlet energy, which never flips a
triangle); Jiang, Schaefer, Panozzo, "Simplicial complex augmentation framework", 2017 (triangles over the holes keep
the lips and the lids from overlapping).
"""

import numpy as np
from scipy.sparse import coo_matrix, diags, identity
from scipy.sparse.linalg import splu

from default_head.source import HalfSkin, edge_graph

CAP_SCALE = 0.6  # chart length per mm over the openings of lids and lips


def face_depth(points: np.ndarray) -> np.ndarray:
    """Signed distance-like value (mm) into the face: over the jaw's plane, under the hairline, before the ears."""
    y, z = points[..., 1], points[..., 2]
    jaw = (y + 0.33 * z + 48.0) / 1.053
    hair = 104.0 - y - 0.35 * np.maximum(0.0, 85.0 - z)
    front = z - 27.0
    return np.minimum(np.minimum(jaw, hair), front)


def scale_field(half: HalfSkin) -> np.ndarray:
    """(F,) chart length per mm: 1 over the face, falling to a fifth at the back; less on inner lips and nostrils."""
    v = half.vertices
    outside = np.maximum(0.0, -face_depth(v))
    scale = 1.0 - 0.82 * _smoothstep(outside / 40.0)
    pocket = (v[:, 0] < 20) & (v[:, 1] > -7) & (v[:, 1] < 8) & (v[:, 2] < 112) & (v[:, 2] > 98)
    lips = np.linalg.norm(v[:, None] - v[half.lips][None], axis=2).min(1)
    scale = np.where(pocket, 0.5, scale) * (1.0 - 0.45 * _smoothstep((5.0 - lips) / 3.0))
    return scale[half.faces].mean(1)


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def chart(half: HalfSkin, *, iterations: int = 60) -> np.ndarray:
    """(N, 2) chart of the half, mm of the face: the front midline on u = 0, the subject's left at u > 0, v up."""
    count = len(half.vertices)
    eye_centre = half.vertices[half.eye].mean(0)
    lip_centre = half.vertices[half.lips].mean(0) * [0.0, 1.0, 1.0]
    points = np.vstack([half.vertices, eye_centre, lip_centre])
    caps = np.concatenate([_cap(half.eye, count), _cap(half.lips, count + 1, closed=False)])
    faces = np.concatenate([half.faces, caps])
    scale = np.concatenate([scale_field(half), np.full(len(caps), CAP_SCALE)])
    rest = _rest_frames(points, faces) * scale[:, None, None]
    area = 0.5 * np.abs(np.linalg.det(rest))
    position = _tutte(half, points, faces)
    position *= np.sqrt(area.sum() / (0.5 * np.linalg.det(_frames(position, faces)).sum()))
    inside = np.clip(face_depth(points)[faces].mean(1) / 10.0 + 1.0, 0.0, 1.0)
    weight = area * (1.0 + 4.0 * inside)
    midline = np.zeros(len(points), bool)
    midline[half.front] = midline[half.chin] = midline[count + 1] = True
    for _ in range(iterations):
        position, change = _slim_step(position, faces, rest, weight, midline)
        if change < 1e-5:
            break
    return position[:count]


def _cap(loop: np.ndarray, centre: int, *, closed: bool = True) -> np.ndarray:
    """A fan over a hole; `loop` runs as the triangles beside it do, so the fan runs against it."""
    nxt = np.roll(loop, -1) if closed else loop[1:]
    first = loop if closed else loop[:-1]
    fan = np.stack([nxt, first, np.full(len(first), centre)], 1)
    return fan


def _tutte(half: HalfSkin, points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Embedding with the midline (and the chord over the open mouth) straight and the rest on a half circle."""
    count, mouth = len(points), len(points) - 1
    straight = np.concatenate([half.front, [mouth], half.chin])
    arc = np.concatenate([half.neck, half.back[1:]])
    t = _arc_length(points[straight])
    angle = -np.pi / 2 + np.pi * _arc_length(half.vertices[arc])
    fixed = np.zeros((count, 2))
    fixed[arc] = np.stack([np.cos(angle), np.sin(angle)], 1)
    fixed[straight] = np.stack([np.zeros_like(t), 1.0 - 2.0 * t], 1)
    known = np.zeros(count, bool)
    known[arc] = known[straight] = True
    graph = edge_graph(points, faces)
    graph.data[:] = 1.0
    laplacian = (diags(np.asarray(graph.sum(1)).ravel()) - graph).tocsr()
    free = ~known
    inner = laplacian[free][:, free].tocsc()
    fixed[free] = splu(inner).solve(-laplacian[free][:, known] @ fixed[known])
    return fixed


def _arc_length(points: np.ndarray) -> np.ndarray:
    """0 to 1 along a polyline."""
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    return s / s[-1]


def _rest_frames(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(F, 2, 2) the two edges of each triangle (columns) laid flat."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    e1, e2 = b - a, c - a
    length = np.linalg.norm(e1, axis=1)
    x = np.einsum("fc,fc->f", e1, e2) / length
    y = np.linalg.norm(np.cross(e1, e2), axis=1) / length
    return np.stack([np.stack([length, x], 1), np.stack([np.zeros_like(x), y], 1)], 1)


def _frames(position: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (position[faces[:, k]] for k in range(3))
    return np.stack([b - a, c - a], axis=2)


def _energy(position: np.ndarray, faces: np.ndarray, inverse: np.ndarray, weight: np.ndarray) -> float:
    """Weighted symmetric Dirichlet energy |J|^2 + |J^-1|^2; infinite when a triangle is flipped."""
    j = _frames(position, faces) @ inverse
    det = np.linalg.det(j)
    if (det <= 1e-9).any():
        return np.inf
    return float(weight @ ((j * j).sum((1, 2)) * (1.0 + 1.0 / det**2)))


def _slim_step(position, faces, rest, weight, midline) -> tuple[np.ndarray, float]:
    """One reweighted local-global step with a line search; returns positions and the relative drop of the energy."""
    inverse = np.linalg.inv(rest)
    j = _frames(position, faces) @ inverse
    u, s, vt = np.linalg.svd(j)
    ratio = np.where(np.abs(s - 1.0) < 1e-4, 4.0, (s - s**-3) / np.where(np.abs(s - 1.0) < 1e-4, 1.0, s - 1.0))
    w = np.einsum("fik,fk,fjk->fij", u, np.sqrt(ratio), u)
    rotation = u @ vt
    target = _global_step(position, faces, inverse, w * np.sqrt(weight)[:, None, None], rotation, midline)
    start = _energy(position, faces, inverse, weight)
    step = min(1.0, 0.9 * _largest_step(position, target, faces))
    for _ in range(40):
        moved = position + step * (target - position)
        energy = _energy(moved, faces, inverse, weight)
        if energy < start:
            return moved, (start - energy) / start
        step *= 0.6
    return position, 0.0


def _global_step(position, faces, inverse, w, rotation, midline):
    """Minimise sum |w (J - rotation)|^2, u fixed at 0 on the midline."""
    count, triangles = len(position), len(faces)
    gradient = np.concatenate([-inverse.sum(1, keepdims=True), inverse], axis=1)  # (F, 3 corners, 2): dJ[:, j] / dx
    entries = np.einsum("fri,fkj->frjik", w, gradient).reshape(triangles, 4, 6)
    columns = np.concatenate([faces, faces + count], axis=1)
    rows = np.arange(4 * triangles).reshape(triangles, 4, 1)
    rows, columns = np.broadcast_arrays(rows, columns[:, None, :])
    a = coo_matrix((entries.ravel(), (rows.ravel(), columns.ravel())), shape=(4 * triangles, 2 * count)).tocsc()
    b = (w @ rotation).reshape(-1)
    free = np.concatenate([~midline, np.ones(count, bool)])
    x = position.T.reshape(-1).copy()
    a_free = a[:, free]
    normal = (a_free.T @ a_free + 1e-8 * identity(a_free.shape[1])).tocsc()
    x[free] = splu(normal).solve(a_free.T @ b + 1e-8 * x[free])
    return x.reshape(2, count).T


def _largest_step(position, target, faces) -> float:
    """Smallest positive step at which a triangle degenerates (roots of a quadratic for each triangle)."""
    d0, d1 = _frames(position, faces), _frames(target - position, faces)
    cross = lambda p, q: p[:, 0, 0] * q[:, 1, 1] - p[:, 1, 0] * q[:, 0, 1]  # noqa: E731
    a, c = cross(d1, d1), cross(d0, d0)
    b = cross(d0, d1) + cross(d1, d0)
    disc = b * b - 4 * a * c
    root = np.sqrt(np.maximum(disc, 0.0))
    denominator = -b + root
    step = np.where(
        (disc >= 0) & (denominator > 1e-30), 2 * c / np.where(denominator > 1e-30, denominator, 1.0), np.inf
    )
    other = -b - root
    step2 = np.where((disc >= 0) & (other > 1e-30), 2 * c / np.where(other > 1e-30, other, 1.0), np.inf)
    both = np.minimum(np.where(step > 0, step, np.inf), np.where(step2 > 0, step2, np.inf))
    return float(both.min())

"""The head's own triangulation: points distributed over the half chart by a 3D size field, mirrored and welded.

Persson and Strang, "A simple mesh generator in MATLAB", SIAM Review 2004, with lengths and forces measured on the
surface in 3D and pulled back to the chart. So the place of every new vertex on the source is known by construction.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import bmat, csr_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import Delaunay, KDTree

from default_head.layout import face_depth
from default_head.source import HalfSkin, Source, edge_graph, neck_height
from facejax.face_model.builder.closest import SurfaceIndex


@dataclass(frozen=True)
class Sheet:
    """Triangulated points of the half chart. `place` and `weights` say where they are on the half skin."""

    points: np.ndarray  # (N, 2) chart
    faces: np.ndarray  # (F, 3)
    place: np.ndarray  # (N,) triangle of the half skin
    weights: np.ndarray  # (N, 3)
    boundary: dict[str, np.ndarray]  # point ids along front, lips, chin, neck, back, eye


class Chart:
    """Point location in the chart and lifting to the surface."""

    def __init__(self, vertices: np.ndarray, faces: np.ndarray, position: np.ndarray):
        self.vertices, self.faces, self.position = vertices, faces, position
        corners = position[faces]
        self.origin = corners[:, 0]
        self.inverse = np.linalg.inv(np.stack([corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]], axis=2))
        space = vertices[faces]
        edges = np.stack([space[:, 1] - space[:, 0], space[:, 2] - space[:, 0]], axis=2)
        self.jacobian = edges @ self.inverse  # (F, 3, 2): surface mm for each chart unit
        self.tree = KDTree(corners.mean(1))

    def locate(self, points: np.ndarray, neighbours: int = 48) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Triangle, barycentric weights, and how far outside (0: inside) in barycentric units."""
        near = np.asarray(self.tree.query(points, k=neighbours)[1])
        local = np.einsum("nkij,nkj->nki", self.inverse[near], points[:, None] - self.origin[near])
        weights = np.concatenate([1.0 - local.sum(2, keepdims=True), local], axis=2)
        worst = weights.min(2)
        best = np.argmax(worst, axis=1)
        rows = np.arange(len(points))
        return near[rows, best], weights[rows, best], np.maximum(0.0, -worst[rows, best])

    def lift(self, values: np.ndarray, place: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.einsum("nk,nk...->n...", weights, values[self.faces[place]])


def size_field(source: Source, half: HalfSkin) -> np.ndarray:
    """(N,) wanted edge length in mm at the vertices of the half skin, up to an overall factor.

    Fine where the surface bends (lid margins, lips, nostrils, helix) and around eyes and lips; coarse behind the ears.
    """
    v = half.vertices
    depth = face_depth(v)
    size = np.where(depth > 0, 3.5, 3.5 + 6.0 * np.clip(-depth / 70.0, 0.0, 1.0))
    ear = (v[:, 0] > 72.0) & (v[:, 1] < 58) & (v[:, 1] > -32) & (v[:, 2] > -28) & (v[:, 2] < 30)
    bend = _bending(half)
    size = np.minimum(size, np.clip(0.5 / bend, np.where(ear, 1.8, np.where(depth > -5, 1.4, 4.0)), 20.0))
    marks = source.vertices[source.landmarks]
    for ids, reach, length in [(range(42, 48), 3.0, 1.7), (range(48, 60), 3.0, 2.0), (range(31, 36), 6.0, 2.2)]:
        near = np.linalg.norm(v[:, None] - marks[list(ids)][None], axis=2).min(1) < reach
        size[near] = np.minimum(size[near], length)
    size[half.eye] = np.minimum(size[half.eye], 1.3)
    size[half.lips] = np.minimum(size[half.lips], 1.8)
    return _limit_gradient(size, edge_graph(v, half.faces), 0.14)


def _bending(half: HalfSkin) -> np.ndarray:
    """Curvature estimate (1/mm): the largest rotation of the normal along each vertex's edges, averaged once."""
    v, faces = half.vertices, half.faces
    normal = np.zeros_like(v)
    cross = np.cross(v[faces[:, 1]] - v[faces[:, 0]], v[faces[:, 2]] - v[faces[:, 0]])
    for k in range(3):
        np.add.at(normal, faces[:, k], cross)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    a, b = _edges(faces).T
    turn = np.linalg.norm(normal[a] - normal[b], axis=1) / np.linalg.norm(v[a] - v[b], axis=1)
    bend = np.zeros(len(v))
    np.maximum.at(bend, a, turn)
    np.maximum.at(bend, b, turn)
    total, count = bend.copy(), np.ones(len(v))
    for i, j in ((a, b), (b, a)):
        np.add.at(total, i, bend[j])
        np.add.at(count, i, 1.0)
    return np.maximum(total / count, 1e-4)


def _limit_gradient(size: np.ndarray, graph, slope: float) -> np.ndarray:
    """Largest field below `size` that grows by at most `slope` along edges (shortest paths from a virtual source)."""
    n = len(size)
    whole = bmat([[csr_matrix((1, 1)), csr_matrix(size[None])], [csr_matrix((n, 1)), graph * slope]]).tocsr()
    return dijkstra(whole, indices=0)[1:]


def outline(half: HalfSkin, chart: Chart) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Polylines (chart points, surface points) that bound the new sheet; the neck at its plane."""
    lines = {name: _polyline(half, chart, getattr(half, name)) for name in ("front", "lips", "chin", "back")}
    lines["eye"] = _polyline(half, chart, np.append(half.eye, half.eye[0]))
    lines["chin"] = _cut(*lines["chin"])
    flat, space = _cut(*(line[::-1] for line in lines["back"]))
    lines["back"] = flat[::-1], space[::-1]
    lines["neck"] = _neck_contour(half, chart, lines["chin"], lines["back"])
    return lines


def _polyline(half: HalfSkin, chart: Chart, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return chart.position[ids], half.vertices[ids]


def _cut(flat: np.ndarray, space: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The part of a polyline above the neck's plane, ending on it."""
    height = neck_height(space)
    k = int(np.argmax(height <= 0))
    t = height[k - 1] / (height[k - 1] - height[k])
    ends = [line[k - 1] + t * (line[k] - line[k - 1]) for line in (flat, space)]
    return np.vstack([flat[:k], ends[0]]), np.vstack([space[:k], ends[1]])


def _neck_contour(half: HalfSkin, chart: Chart, chin, back) -> tuple[np.ndarray, np.ndarray]:
    """Where the skin meets the neck's plane, from front to back (ordered by angle around the neck)."""
    height = neck_height(half.vertices)
    edges = np.concatenate([half.faces[:, [0, 1]], half.faces[:, [1, 2]], half.faces[:, [2, 0]]])
    edges = np.unique(np.sort(edges, 1), axis=0)
    a, b = edges[(height[edges[:, 0]] > 0) != (height[edges[:, 1]] > 0)].T
    t = (height[a] / (height[a] - height[b]))[:, None]
    flat = chart.position[a] + t * (chart.position[b] - chart.position[a])
    space = half.vertices[a] + t * (half.vertices[b] - half.vertices[a])
    centre = 0.5 * (chin[1][-1] + back[1][0])
    order = np.argsort(np.arctan2(space[:, 0], space[:, 2] - centre[2]), kind="stable")
    inside = order[space[order, 0] > 0.05]
    join = lambda k: np.vstack([chin[k][-1], (flat, space)[k][inside], back[k][0]])  # noqa: E731
    return join(0), join(1)


def resample(chart: Chart, line: tuple[np.ndarray, np.ndarray], size: np.ndarray) -> np.ndarray:
    """(K, 2) chart points along a polyline, spaced by the size field, both ends kept."""
    flat, space = line
    place, weights, _ = chart.locate(flat)
    wanted = chart.lift(size, place, np.clip(weights, 0.0, 1.0))
    length = np.linalg.norm(np.diff(space, axis=0), axis=1)
    s = np.concatenate([[0.0], np.cumsum(length * 2.0 / (wanted[:-1] + wanted[1:]))])
    stops = np.linspace(0.0, s[-1], max(1, round(s[-1])) + 1)
    return np.stack([np.interp(stops, s, flat[:, k]) for k in range(2)], axis=1)


def build_sheet(source: Source, half: HalfSkin, position: np.ndarray, *, vertices: int, seed: int) -> Sheet:
    """Mesh the half chart with about `vertices` / 2 points.

    Args:
      source, half: the source and its left half.
      position: of the half's vertices in the chart.
      vertices: wanted for the whole head.
      seed: of the random points.
    """
    chart = Chart(half.vertices, half.faces, position)
    size = size_field(source, half)
    corner = half.vertices[half.faces]
    area = 0.5 * np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1)
    area = area * (neck_height(half.vertices)[half.faces].mean(1) > 0)
    expected = 0.93 * (area / size[half.faces].mean(1) ** 2).sum() * 2.0 / np.sqrt(3.0)
    size = size * np.sqrt(expected / (0.5 * vertices))
    fixed, boundary, polygons = _boundary(half, chart, outline(half, chart), size)
    rng = np.random.default_rng(seed)
    start = _scatter(chart, area, size, fixed, polygons, rng)
    points = _relax(chart, np.vstack([fixed, start]), len(fixed), size, polygons)
    faces = _triangulate(points, polygons)
    points, faces = _polish(chart, points, faces, len(fixed), size)
    _require_boundary(faces, boundary)
    place, weights, _ = chart.locate(points)
    weights = np.clip(weights, 0.0, 1.0)
    return Sheet(points, faces, place, weights / weights.sum(1, keepdims=True), boundary)


def _boundary(half: HalfSkin, chart: Chart, lines, size: np.ndarray):
    """Fixed points, their indices along each named line, and the two polygons (outline, lids) in the chart.

    Around lids and lips the source's own edge loops are kept: they run along the folds, which random points would
    cross.
    """
    on_midline = half.vertices[half.folds, 0] == 0
    stops = chart.position[half.folds[on_midline]]
    points, ids, count = [], {}, 0
    for name in ("front", "lips", "chin", "neck", "back"):
        line = lines[name][0] if name == "lips" else _joined(chart, lines[name], size, stops)
        ids[name] = np.arange(count, count + len(line))
        points.append(line[:-1])
        count += len(line) - 1
    ids["back"][-1] = 0
    eye = chart.position[half.eye]
    ids["eye"] = np.arange(count, count + len(eye))
    polygons = (np.vstack(points), eye)
    return np.vstack([*points, eye, chart.position[half.folds[~on_midline]]]), ids, polygons


def _joined(chart: Chart, line, size: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Resample a line in pieces, so that it keeps the points at which other lines end."""
    stops = [k for k in range(1, len(line[0]) - 1) if (np.abs(line[0][k] - joints).sum(1) == 0).any()]
    pieces, start = [], 0
    for stop in [*stops, len(line[0]) - 1]:
        piece = resample(chart, (line[0][start : stop + 1], line[1][start : stop + 1]), size)
        pieces.append(piece if start == 0 else piece[1:])
        start = stop
    return np.vstack(pieces)


def inside_polygon(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Even-odd rule."""
    a, b = polygon, np.roll(polygon, -1, axis=0)
    x, y = points[:, None, 0], points[:, None, 1]
    crosses = (a[:, 1] > y) != (b[:, 1] > y)
    rise = np.where(b[:, 1] == a[:, 1], 1.0, b[:, 1] - a[:, 1])
    return (crosses & (x < a[:, 0] + (y - a[:, 1]) * (b[:, 0] - a[:, 0]) / rise)).sum(1) % 2 == 1


def _in_domain(points: np.ndarray, polygons) -> np.ndarray:
    return inside_polygon(points, polygons[0]) & ~inside_polygon(points, polygons[1])


def _crowds(points: np.ndarray, polygons) -> np.ndarray:
    """Which points lie inside the diametral circle of an edge of the lids: without them Delaunay keeps those edges.

    The rest of the outline keeps its edges anyway; at the back the chart is too distorted for circles to be useful.
    """
    a, b = polygons[1], np.roll(polygons[1], -1, axis=0)
    return (np.einsum("nsc,nsc->ns", points[:, None] - a, points[:, None] - b) < 0).any(1)


def _scatter(chart: Chart, area, size, fixed, polygons, rng) -> np.ndarray:
    """Random points at least three quarters of the wanted length from earlier ones (dart throwing)."""
    density = area / size[chart.faces].mean(1) ** 2
    place = rng.choice(len(area), size=round(8 * density.sum()), p=density / density.sum())
    weights = rng.dirichlet(np.ones(3), size=len(place))
    flat = np.einsum("nk,nkc->nc", weights, chart.position[chart.faces[place]])
    keep = _in_domain(flat, polygons) & ~_crowds(flat, polygons)
    place, weights, flat = place[keep], weights[keep], flat[keep]
    fixed_place, fixed_weights, _ = chart.locate(fixed)
    place, weights = np.concatenate([fixed_place, place]), np.vstack([fixed_weights, weights])
    space, wanted = chart.lift(chart.vertices, place, weights), chart.lift(size, place, weights)
    near = KDTree(space).query_ball_point(space, 0.72 * wanted)
    alive = np.ones(len(space), bool)
    for i in range(len(space)):
        if alive[i]:
            later = [j for j in near[i] if j > max(i, len(fixed) - 1)]
            alive[later] = False
    return flat[alive[len(fixed) :]]


def _triangulate(points: np.ndarray, polygons) -> np.ndarray:
    faces = Delaunay(points).simplices.astype(np.int64)
    a, b, c = (points[faces[:, k]] for k in range(3))
    turn = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    faces[turn < 0] = faces[turn < 0][:, [0, 2, 1]]
    keep = _in_domain(points[faces].mean(1), polygons) & (np.abs(turn) > 1e-9)
    return faces[keep]


def _edges(faces: np.ndarray) -> np.ndarray:
    return np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1), axis=0)


def _push(chart: Chart, points: np.ndarray, edges: np.ndarray, fixed: int, size: np.ndarray, rate: float) -> np.ndarray:
    """Displacement in the chart by springs that are shorter than wanted on the surface."""
    place, weights, _ = chart.locate(points)
    space, wanted = chart.lift(chart.vertices, place, weights), chart.lift(size, place, weights)
    bar = space[edges[:, 0]] - space[edges[:, 1]]
    length = np.linalg.norm(bar, axis=1)
    rest = 0.5 * (wanted[edges[:, 0]] + wanted[edges[:, 1]])
    rest *= 1.18 * np.sqrt((length**2).sum() / (rest**2).sum())
    force = (np.maximum(rest - length, 0.0) / np.maximum(length, 1e-9))[:, None] * bar
    total = np.zeros_like(space)
    np.add.at(total, edges[:, 0], force)
    np.add.at(total, edges[:, 1], -force)
    total[:fixed] = 0.0
    reach = 0.4 * wanted[:, None] / np.maximum(np.linalg.norm(total, axis=1, keepdims=True) * rate, 1e-9)
    move = rate * np.minimum(reach, 1.0) * total
    return np.einsum("nij,nj->ni", np.linalg.pinv(chart.jacobian[place]), move)


def _relax(chart: Chart, points: np.ndarray, fixed: int, size, polygons, *, iterations: int = 120) -> np.ndarray:
    for _ in range(iterations):
        edges = _edges(_triangulate(points, polygons))
        moved = points + _push(chart, points, edges, fixed, size, 0.2)
        outside = ~_in_domain(moved, polygons) | _crowds(moved, polygons) | (chart.locate(moved)[2] > 0)
        outside[:fixed] = True
        moved[outside] = points[outside]
        points = moved
    return points


def _polish(chart: Chart, points, faces, fixed: int, size, *, iterations: int = 40):
    """Alternate edge flips (Delaunay on the surface) with moves that keep every chart triangle positive."""
    for _ in range(iterations):
        place, weights, _ = chart.locate(points)
        faces = flip_edges(faces, chart.lift(chart.vertices, place, weights), points)
        moved = points + _push(chart, points, _edges(faces), fixed, size, 0.1)
        moved[:fixed] = points[:fixed]
        floor = 0.2 * chart_areas(points, faces)
        for _ in range(20):
            bad = chart_areas(moved, faces) < floor
            if not bad.any():
                break
            back = np.unique(faces[bad])
            moved[back] = points[back]
        points = moved
    place, weights, _ = chart.locate(points)
    space = chart.lift(chart.vertices, place, weights)
    faces = flip_edges(faces, space, points)
    return points, follow_folds(faces, space, points, SurfaceIndex(chart.vertices, chart.faces))


def chart_areas(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    a, b, c = (points[faces[:, k]] for k in range(3))
    return 0.5 * ((b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0]))


def flip_edges(faces: np.ndarray, space: np.ndarray, flat: np.ndarray, *, rounds: int = 30) -> np.ndarray:
    """Flip inner edges whose opposite angles on the surface sum to more than 180 degrees, if the chart allows it.

    Args:
      faces: triangles.
      space: vertices on the surface.
      flat: vertices in the chart.
      rounds: at most so many.
    """
    faces = faces.copy()
    for _ in range(rounds):
        quads = _quads(faces, flat)
        excess = _angle(space, quads.c, quads.a, quads.b) + _angle(space, quads.d, quads.a, quads.b) - np.pi
        if not _flip(faces, quads, np.where(excess > 1e-6, excess, 0.0)):
            break
    return faces


def follow_folds(faces: np.ndarray, space: np.ndarray, flat: np.ndarray, surface: SurfaceIndex, *, rounds: int = 6):
    """Flip edges that cut through a fold (helix, lid, lip): the edge whose midpoint is nearer to the surface wins.

    Args:
      faces: triangles.
      space: vertices on the surface.
      flat: vertices in the chart.
      surface: the source's.
      rounds: at most so many.
    """
    faces = faces.copy()
    for _ in range(rounds):
        quads = _quads(faces, flat)
        now = surface.query(0.5 * (space[quads.a] + space[quads.b])).distances
        then = surface.query(0.5 * (space[quads.c] + space[quads.d])).distances
        angles = [_angle(space, quads.c, quads.d, quads.a), _angle(space, quads.c, quads.d, quads.b)]
        angles += [_angle(space, quads.d, quads.c, quads.a), _angle(space, quads.d, quads.c, quads.b)]
        good = (now > 0.12) & (then < 0.6 * now) & (np.min(angles, axis=0) > np.radians(12))
        if not _flip(faces, quads, np.where(good, now - then, 0.0)):
            break
    return faces


@dataclass(frozen=True)
class _Quads:
    """Inner edges (a, b) with the corners c, d of their triangles; `replaced` are the triangles after a flip."""

    a: np.ndarray
    b: np.ndarray
    c: np.ndarray
    d: np.ndarray
    owners: np.ndarray  # (Q, 2)
    replaced: np.ndarray  # (Q, 2, 3)
    legal: np.ndarray  # (Q,) both stay positive in the chart, and the new edge does not exist yet


def _quads(faces: np.ndarray, flat: np.ndarray) -> _Quads:
    count = len(flat)
    edge = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    opposite = np.concatenate([faces[:, 2], faces[:, 0], faces[:, 1]])
    owner = np.tile(np.arange(len(faces)), 3)
    key = np.sort(edge, 1) @ np.array([count, 1])
    order = np.argsort(key, kind="stable")
    pair = np.flatnonzero(key[order][1:] == key[order][:-1])
    one, two = order[pair], order[pair + 1]
    (a, b), c, d = edge[one].T, opposite[one], opposite[two]
    new = np.stack([np.stack([a, d, c], 1), np.stack([d, b, c], 1)], 1)
    areas = chart_areas(flat, new.reshape(-1, 3)).reshape(-1, 2).min(1)
    old = chart_areas(flat, faces)
    exists = np.isin(np.sort(np.stack([c, d], 1), 1) @ np.array([count, 1]), key)
    legal = (areas > 0.1 * np.minimum(old[owner[one]], old[owner[two]])) & ~exists
    return _Quads(a, b, c, d, np.stack([owner[one], owner[two]], 1), new, legal)


def _flip(faces: np.ndarray, quads: _Quads, gain: np.ndarray) -> bool:
    """Flip in place the legal edges with a gain, best first, each triangle at most once. False: nothing to do."""
    candidates = np.flatnonzero((gain > 0) & quads.legal)
    touched = np.zeros(len(faces), bool)
    for k in candidates[np.argsort(-gain[candidates], kind="stable")]:
        f, g = quads.owners[k]
        if not touched[f] and not touched[g]:
            touched[f] = touched[g] = True
            faces[f], faces[g] = quads.replaced[k]
    return len(candidates) > 0


def _angle(space: np.ndarray, tip, a, b) -> np.ndarray:
    p, q = space[a] - space[tip], space[b] - space[tip]
    return np.arctan2(np.linalg.norm(np.cross(p, q), axis=1), np.einsum("nc,nc->n", p, q))


def _require_boundary(faces: np.ndarray, boundary: dict[str, np.ndarray]) -> None:
    have = {tuple(edge) for edge in _edges(faces).tolist()}
    for name, line in boundary.items():
        loop = np.append(line, line[0]) if name == "eye" else line
        for a, b in zip(loop[:-1].tolist(), loop[1:].tolist(), strict=True):
            if (min(a, b), max(a, b)) not in have:
                raise ValueError(f"the boundary along the {name} was not kept by the triangulation: lower its spacing")

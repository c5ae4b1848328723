"""Landmarks, moving jaw contours and region masks of the head."""

import numpy as np

from default_head.assemble import Head
from default_head.layout import face_depth
from default_head.source import HalfSkin, Source
from default_head.topology import Chart, Sheet
from facejax.face_model.surface_landmarks import MIRROR68

CONTOUR_STEP, CONTOUR_COUNT = 3.5, 22  # mm between jaw candidates, and how many with the static one


def landmarks(source: Source, half: HalfSkin, position: np.ndarray, sheet: Sheet, head: Head, mean: np.ndarray):
    """Triangles (68,) and weights (68, 3) of the landmarks: the source's vertices located in the chart, then mirrored.

    Args:
      source, half: the source and its left half.
      position: of the half's vertices in the chart.
      sheet: the triangulated chart.
      head: the head.
      mean: its vertices.
    """
    local = np.full(len(source.vertices), -1)
    local[half.ids] = np.arange(len(half.ids))
    found = local[source.landmarks]
    left = found >= 0
    triangles, weights = np.zeros(68, np.int64), np.zeros((68, 3))
    chart = Chart(mean, sheet.faces, sheet.points)
    place, inner, outside = chart.locate(position[found[left]])
    if outside.max() > 0.05:
        raise ValueError("a landmark of the source lies outside the new skin")
    inner = np.clip(inner, 0.0, 1.0)
    middle = np.abs(source.vertices[source.landmarks[left], 0]) < 1e-2
    inner[middle] *= mean[sheet.faces[place[middle]], 0] == 0
    triangles[left], weights[left] = place, inner / inner.sum(1, keepdims=True)
    right = ~left
    triangles[right] = head.face_mirror[triangles[MIRROR68[right]]]
    weights[right] = weights[MIRROR68[right]][:, [0, 2, 1]]
    return triangles, weights


def contour_directions(points: np.ndarray) -> np.ndarray:
    """(17, 2) outward normals in x and y of the frontal jaw curve: sideways at the ears, straight down at the chin."""
    jaw = points[:17, :2]
    tangent = np.empty_like(jaw)
    tangent[1:-1] = jaw[2:] - jaw[:-2]
    tangent[0], tangent[-1] = tangent[1], tangent[-2]
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], 1)
    normal[:, 1] = np.minimum(normal[:, 1], 0.0)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    down = np.linspace(0.0, 1.0, 9)
    blend = np.concatenate([down, down[-2::-1]])[:, None]  # so that the ends are exactly sideways and down
    ideal = np.stack([np.repeat([-1.0, 1.0], [8, 9]), np.zeros(17)], 1)
    ends = np.where(blend < 0.3, 1.0 - blend / 0.3, 0.0)
    normal = (1 - ends) * normal + ends * ideal
    normal[8] = [0.0, -1.0]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return 0.5 * (normal + normal[::-1] * [-1, 1])


def contours(head: Head, mean: np.ndarray, triangles: np.ndarray, weights: np.ndarray, direction: np.ndarray):
    """Candidates of the jaw landmarks, found by walking forward along plane sections.

    Args:
      head: the head.
      mean: its vertices.
      triangles, weights: of the jaw landmarks.
      direction: outward normals of the jaw curve.

    Returns:
      Triangles (17, C) and weights (17, C, 3).
    """
    skin = head.faces[head.face_part == 0]
    out_faces = np.zeros((17, CONTOUR_COUNT), np.int64)
    out_weights = np.zeros((17, CONTOUR_COUNT, 3))
    for j in range(8, 17):
        start = triangles[j], weights[j]
        normal = np.array([-direction[j, 1], direction[j, 0], 0.0])
        out_faces[j], out_weights[j] = _walk_forward(mean, skin, start, normal)
    for j in range(8):
        out_faces[j] = head.face_mirror[out_faces[16 - j]]
        out_weights[j] = out_weights[16 - j][:, [0, 2, 1]]
    return out_faces, out_weights


def _walk_forward(mean: np.ndarray, faces: np.ndarray, start, normal: np.ndarray):
    """Points each `CONTOUR_STEP` mm along the plane section from `start` while it runs forward; the last one is
    repeated.
    """
    triangle, weight = start
    point = weight @ mean[faces[triangle]]
    middle = abs(point[0]) < 1e-9
    # slightly off the midline, on which vertices lie exactly
    side = (mean - point - [0.02 * middle, 0.0, 0.0]) @ normal
    side = np.where(np.abs(side) < 1e-7, 1e-7, side)
    around = _triangle_neighbours(faces)
    path = [point]
    owner = []
    came = -1
    crossings = _crossings(mean, faces[triangle], side)
    edge, nxt = max(crossings, key=lambda c: c[1][2])
    length = 0.0
    while length < CONTOUR_STEP * CONTOUR_COUNT:
        owner.append(triangle)
        path.append(nxt)
        length += np.linalg.norm(path[-1] - path[-2])
        came, triangle = triangle, around[triangle, edge]
        if path[-1][2] < path[-2][2]:
            path.pop()
            owner.pop()
            break
        if triangle < 0 or abs(path[-1][0]) < 4.0 < abs(point[0]):
            break
        options = [c for c in _crossings(mean, faces[triangle], side) if around[triangle, c[0]] != came]
        if not options:
            break
        edge, nxt = options[0]
    path, owner = np.array(path), np.array(owner)
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    wanted = np.minimum(CONTOUR_STEP * np.arange(CONTOUR_COUNT), s[-1])
    segment = np.clip(np.searchsorted(s, wanted, side="right") - 1, 0, len(owner) - 1)
    points = np.stack([np.interp(wanted, s, path[:, k]) for k in range(3)], 1)
    corner = mean[faces[owner[segment]]]
    weights = np.clip(_weights_in(points, corner), 0.0, 1.0)
    if middle:
        weights *= corner[..., 0] == 0
    weights[0] = weight
    found = owner[segment]
    found[0] = start[0]
    return found, weights / weights.sum(1, keepdims=True)


def _crossings(mean: np.ndarray, triangle: np.ndarray, side: np.ndarray):
    """(edge number, point) of the two edges of a triangle that the plane cuts."""
    found = []
    for k in range(3):
        a, b = triangle[k], triangle[(k + 1) % 3]
        if (side[a] > 0) != (side[b] > 0):
            t = side[a] / (side[a] - side[b])
            found.append((k, mean[a] + t * (mean[b] - mean[a])))
    return found


def _triangle_neighbours(faces: np.ndarray) -> np.ndarray:
    """(F, 3) the triangle across each edge (0-1, 1-2, 2-0), or -1."""
    edge = np.stack([faces, np.roll(faces, -1, axis=1)], 2).reshape(-1, 2)
    _, inverse = np.unique(np.sort(edge, 1), axis=0, return_inverse=True)
    order = np.argsort(inverse.reshape(-1), kind="stable")
    same = inverse.reshape(-1)[order][1:] == inverse.reshape(-1)[order][:-1]
    across = np.full(len(edge), -1)
    one, two = order[:-1][same], order[1:][same]
    across[one], across[two] = two // 3, one // 3
    return across.reshape(-1, 3)


def _weights_in(points: np.ndarray, corner: np.ndarray) -> np.ndarray:
    edges = np.stack([corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]], 2)
    inner = np.einsum("nij,nj->ni", np.linalg.pinv(edges), points - corner[:, 0])
    return np.column_stack([1.0 - inner.sum(1), inner])


def regions(head: Head, mean: np.ndarray, marks: np.ndarray) -> dict[str, np.ndarray]:
    """Masks (V,) in [0, 1] with soft borders, mirror-symmetric; `marks` are the 68 landmarks of the mean."""
    x, y, z = np.abs(mean[:, 0]), mean[:, 1], mean[:, 2]
    skin = np.zeros(len(mean))
    skin[: head.skin] = 1.0
    side = np.stack([x, y], 1)
    ramp = lambda value, width: np.clip(value / width, 0.0, 1.0) ** 2 * (3 - 2 * np.clip(value / width, 0.0, 1.0))  # noqa: E731
    front = skin * ramp(z - 55.0, 10.0)
    face = skin * ramp(face_depth(mean) + 2.0, 10.0)
    outer_lip = _half_outline(marks[[51, 52, 53, 54, 55, 56, 57], :2])
    eye, brow = marks[[42, 43, 44, 45, 46, 47], :2], marks[22:27, :2]
    lips = front * ramp(1.5 - _outside(side, outer_lip), 2.0) * ramp(z - 88, 4.0)
    mouth = front * ramp(14.0 - _outside(side, outer_lip), 8.0)
    eyes = front * ramp(11.0 - _outside(side, eye), 6.0)
    brows = front * ramp(7.5 - _to_line(side, brow), 4.0)
    wing = np.array([[-9.0, 40.0], [9.0, 40.0], [12.0, 20.0], [19.0, 2.0], [18.0, -10.0], [6.0, -15.0], [-6.0, -15.0]])
    nose = front * ramp(4.0 - _outside(side, wing), 5.0)
    oval = ((y - 9.0) / 33.0) ** 2 + ((z - 1.0 + 0.15 * (y - 9.0)) / 22.0) ** 2  # the ear seen from the side
    ear = skin * ramp(1.15 - oval, 0.3) * ramp(x - 62.0, 4.0)
    jaw_depth = (y + 0.33 * z + 48.0) / 1.053
    neck = skin * ramp(-jaw_depth + 2.0, 8.0) * (1 - ear)
    scalp = skin * (1 - face) * (1 - ear) * ramp(jaw_depth, 8.0)
    forehead = face * ramp(y - 56.0, 8.0)
    chin = face * ramp(-50.0 - y, 6.0) * ramp(32.0 - x, 8.0)
    jaw = face * ramp(28.0 - jaw_depth, 8.0) * ramp(x - 26.0, 8.0)
    centre = np.maximum.reduce([nose, mouth, eyes, brows])
    cheeks = face * ramp(30.0 - y, 8.0) * ramp(x - 16.0, 6.0) * (1 - centre) * (1 - jaw) * (1 - chin)
    temples = z - 32.0 - 45.0 * np.clip((y - 45.0) / 50.0, 0.0, None) ** 2
    hairline = np.minimum(94.0 - y, temples)
    inner = face * ramp(hairline, 8.0)
    tight = face * ramp(1.0 - (x / 62.0) ** 2 - ((y - 2.0) / 76.0) ** 2, 0.2)
    masks = {
        "face": face, "face_inner": inner, "face_tight": tight, "nose": nose, "mouth": mouth, "lips": lips,
        "eyes": eyes, "brows": brows, "forehead": forehead, "cheeks": cheeks, "chin": chin, "jaw": jaw,
        "ears": ear, "scalp": scalp, "neck": neck, "eyeballs": 1.0 - skin,
    }  # fmt: skip
    return {name: 0.5 * (mask + mask[head.mirror]) for name, mask in masks.items()}


def _half_outline(points: np.ndarray) -> np.ndarray:
    """Close a half outline (top to bottom on the midline) by its mirror image, so that distances use |x|."""
    return np.concatenate([points, points[-2:0:-1] * [-1, 1]])


def _to_line(points: np.ndarray, line: np.ndarray, *, closed: bool = False) -> np.ndarray:
    """Distance to a polyline in the plane."""
    a, b = (line, np.roll(line, -1, axis=0)) if closed else (line[:-1], line[1:])
    edge = b - a
    t = np.einsum("nsc,sc->ns", points[:, None] - a, edge) / np.einsum("sc,sc->s", edge, edge)
    foot = a + np.clip(t, 0, 1)[..., None] * edge
    return np.linalg.norm(points[:, None] - foot, axis=2).min(1)


def _outside(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Signed distance to a polygon in the plane, positive outside."""
    from default_head.topology import inside_polygon

    return np.where(inside_polygon(points, polygon), -1.0, 1.0) * _to_line(points, polygon, closed=True)

"""Candidates that jaw landmarks may move to, for files that have fixed landmarks only."""

import numpy as np

JAW = 17
CANDIDATES = 13
_BACK, _FRONT_CHIN, _FRONT_SIDE = 0.07, 0.1, 0.35  # length of a section, in widths of the face (about 140 mm)


def moving_contour(
    vertices: np.ndarray, faces: np.ndarray, landmark_faces: np.ndarray, landmark_weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Candidates of the jaw landmarks: triangles (17, C), weights (17, C, 3), outward directions in x and y (17, 2).

    Each jaw point slides along a section of the surface, as in Zhu et al., "High-fidelity pose and expression
    normalization", CVPR 2015, section 2.2. Here the section lies in the plane that passes through the landmark and
    contains the z axis and the outline's outward direction. Candidate 0 is the landmark itself. The others are spread
    by length from a little behind it (further back, ears, neck or the back of the head would be the outline) to the
    cheek in front of it. Where a section ends early (the border of a face mask), candidates repeat its last point.

    Args:
      vertices: of the mean, (V, 3).
      faces: triangles (F, 3).
      landmark_faces, landmark_weights: the fixed landmarks, (68,) and (68, 3).
    """
    points = np.einsum("lk,lkc->lc", landmark_weights, vertices[faces[landmark_faces]])
    width = np.linalg.norm(points[16] - points[0])
    outward = outline_directions(points[:JAW, :2])
    edges = _edge_table(faces)
    ids = np.empty((JAW, CANDIDATES), np.int32)
    weights = np.zeros((JAW, CANDIDATES, 3), np.float32)
    for j in range(JAW):
        ids[j], weights[j] = landmark_faces[j], landmark_weights[j]
        tangent = np.array([-outward[j, 1], outward[j, 0], 0.0])
        start = 0.98 * points[j] + 0.02 * vertices[faces[landmark_faces[j]]].mean(axis=0)  # inside, never a corner
        height = (vertices - start) @ tangent
        front = _FRONT_CHIN + (_FRONT_SIDE - _FRONT_CHIN) * abs(outward[j, 0])
        slot = 1
        walks = _walk(vertices, faces, edges, height, int(landmark_faces[j]), start, front * width)
        for walk, reach, count in zip(walks, (front, _BACK), (CANDIDATES - 4, 3), strict=True):
            for length in np.linspace(0, reach * width, count + 1)[1:]:
                if walk:
                    ids[j, slot], weights[j, slot] = _at_length(walk, float(length))
                slot += 1
    return ids, weights, outward.astype(np.float32)


def outline_directions(outline: np.ndarray) -> np.ndarray:
    """Outward unit normals (J, 2) of the jaw line, which runs from the right ear over the chin to the left ear."""
    tangent = np.gradient(outline, axis=0)
    normal = np.stack([tangent[:, 1], -tangent[:, 0]], axis=1)
    return normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)


_Edge = tuple[int, int]
_Walk = list[tuple[float, int, np.ndarray]]  # length so far, triangle, weights


def _edge_table(faces: np.ndarray) -> dict[_Edge, list[int]]:
    table: dict[_Edge, list[int]] = {}
    for number, (a, b, c) in enumerate(faces.tolist()):
        for edge in ((a, b), (b, c), (c, a)):
            table.setdefault((min(edge), max(edge)), []).append(number)
    return table


def _walk(
    vertices: np.ndarray,
    faces: np.ndarray,
    edges: dict[_Edge, list[int]],
    height: np.ndarray,
    start: int,
    origin,
    limit,
) -> tuple[_Walk, _Walk]:
    """Follow the section height = 0 from a point inside triangle `start`, to the front (+z) and to the back.

    A corner in the plane counts as on its positive side, so a walk ends at the mesh border only.
    """
    walks = []
    side = height >= 0
    for edge in _crossed(faces[start], side):
        walk: _Walk = []
        triangle, position, length = start, origin, 0.0
        for _ in range(len(faces)):
            share = height[edge[0]] / (height[edge[0]] - height[edge[1]])
            crossing = vertices[edge[0]] + share * (vertices[edge[1]] - vertices[edge[0]])
            length += float(np.linalg.norm(crossing - position))
            weights = np.zeros(3, np.float32)
            corners = faces[triangle].tolist()
            weights[corners.index(edge[0])], weights[corners.index(edge[1])] = 1 - share, share
            walk.append((length, triangle, weights))
            position = crossing
            beyond = [face for face in edges[min(edge), max(edge)] if face != triangle]
            if not beyond or not length <= limit:
                break
            triangle = beyond[0]
            onward = [other for other in _crossed(faces[triangle], side) if set(other) != set(edge)]
            if not onward:  # a triangle with a corner twice
                break
            edge = onward[0]
        walks.append((position[2] - origin[2], walk))
    walks.sort(key=lambda pair: -pair[0])
    ordered = [walk for _, walk in walks] + [[], []]
    return ordered[0], ordered[1]


def _crossed(face: np.ndarray, side: np.ndarray) -> list[_Edge]:
    a, b, c = face.tolist()
    return [edge for edge in ((a, b), (b, c), (c, a)) if side[edge[0]] != side[edge[1]]]


def _at_length(walk: _Walk, length: float) -> tuple[int, np.ndarray]:
    """The crossing nearest to a length: exact enough, because crossings are one edge apart."""
    nearest = min(walk, key=lambda step: abs(step[0] - length))
    return nearest[1], nearest[2]

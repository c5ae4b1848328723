"""The ICT FaceKit head (MIT) as the builder's source: millimetres, mirror map, and the left half of its skin."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import KDTree

SKIN_PARTS = 2  # "Face" and "Head and Neck": the outer skin, up to the lid margins and the inner lips
# Lines to keep, in polygons from the inner margin of the lids (2 is the edge) and of the lips (8 is where they meet).
LID_RINGS, LIP_RINGS, LIP_SEAM_RING = (1, 2, 4), (3, 6, 8, 10), 8
LIP_LINES = (6, 7, 8, 9, 10)
FOLD_SPACING = 0.6  # mm
MIDLINE = 1e-2  # mm: tolerance for x = 0 in the source


@dataclass(frozen=True)
class Source:
    """ICT FaceKit in mm. Triangles are those of `faces_tri`; modes move `vertices` by one unit of their coefficient."""

    vertices: np.ndarray  # (N, 3)
    faces: np.ndarray  # (F, 3)
    skin: np.ndarray  # (F,) bool
    sides: np.ndarray  # (E, 2) the sides of the skin's polygons (mostly quads), without the triangles' diagonals
    eyeballs: tuple[np.ndarray, np.ndarray]  # vertex ids of the left and the right eyeball
    mirror: np.ndarray  # (N,) vertex on the other side
    identity: np.ndarray  # (100, N, 3) one standard deviation each
    expression: np.ndarray  # (53, N, 3)
    expression_names: tuple[str, ...]
    landmarks: np.ndarray  # (68,)
    jaw_side: np.ndarray  # (2, 8) the side-view jaw lists, right and left


def load_source(data_dir: Path) -> Source:
    """Read `ict/ict_facekit.npz` below `data_dir`."""
    path = Path(data_dir) / "ict" / "ict_facekit.npz"
    if not path.is_file():
        raise FileNotFoundError(f"no ICT FaceKit at {path}: pass the folder that holds ict/ as --data")
    with np.load(path, allow_pickle=False) as z:
        parts = list(z["part_names"])
        polygons = z["part_face_ranges"][parts.index("Head and Neck")][1]
        ranges = z["part_vertex_ranges"]
        eyes = tuple(np.arange(*ranges[parts.index(f"Eyeball {side}")]) for side in ("left", "right"))
        vertices = z["vertices"].astype(np.float64) * 10
        return Source(
            vertices=vertices,
            faces=z["faces_tri"].astype(np.int64),
            skin=z["tri_source_face"] < polygons,
            sides=_polygon_sides(z["faces_quad"][:polygons].astype(np.int64)),
            eyeballs=(eyes[0], eyes[1]),
            mirror=_mirror_map(vertices, ranges[: 17 + 1]),
            identity=z["identity_deltas"].astype(np.float32) * 10,
            expression=z["expression_deltas"] * 10,
            expression_names=tuple(str(name) for name in z["expression_names"]),
            landmarks=z["landmarks68"].astype(np.int64),
            jaw_side=np.stack([z["jaw_right"], z["jaw_left"]]).astype(np.int64),
        )


def _polygon_sides(polygons: np.ndarray) -> np.ndarray:
    following = np.roll(polygons, -1, axis=1)
    triangle = polygons[:, 3] < 0
    following[triangle, 2] = polygons[triangle, 0]
    pairs = np.stack([polygons, following], 2)[polygons >= 0]
    return np.unique(np.sort(pairs, 1), axis=0)


def _mirror_map(vertices: np.ndarray, ranges: np.ndarray) -> np.ndarray:
    """The mirrored vertex of each vertex. Only the skin (the first two parts) is used by the builder."""
    count = int(ranges[SKIN_PARTS][1])
    mirror = np.arange(len(vertices))
    skin = vertices[:count]
    _, mirror[:count] = KDTree(skin).query(skin * [-1, 1, 1])
    if not np.array_equal(mirror[mirror[:count]], np.arange(count)):
        raise ValueError("the ICT neutral is not mirror-symmetric over its skin: was the file changed?")
    return mirror


@dataclass(frozen=True)
class HalfSkin:
    """The subject's left half (x >= 0) of the skin, with trimmed neck; its boundary is split as the chart needs it."""

    ids: np.ndarray  # (N,) vertex ids in the source
    vertices: np.ndarray  # (N, 3) mm
    faces: np.ndarray  # (F, 3) local ids
    face_ids: np.ndarray  # (F,) triangle ids in the source
    front: np.ndarray  # midline from the crown down to the inner upper lip, local ids
    lips: np.ndarray  # from the upper to the lower midline point, around the mouth corner
    chin: np.ndarray  # midline from the inner lower lip down to the neck
    neck: np.ndarray  # from the front to the back
    back: np.ndarray  # midline from the neck up to the crown: the cut
    eye: np.ndarray  # closed loop: the inner margin of the lids
    lip_lines: tuple[np.ndarray, ...]  # LIP_LINES: across the red of the lips, from the upper to the lower midline
    folds: np.ndarray  # vertices of the source's edge loops along the lids' edge and the lips


def neck_height(points: np.ndarray) -> np.ndarray:
    """Signed height (mm) above the plane that ends the neck, which is lower in front than at the back."""
    return points[..., 1] + 0.13 * points[..., 2] + 122.0


def half_skin(source: Source, *, crown_z: float = -5.0) -> HalfSkin:
    """Trim the skin to x >= 0 above the neck's plane and order its boundary; the cut ends at `crown_z` on the crown."""
    x = source.vertices[:, 0]
    above = neck_height(source.vertices) > 0
    faces = source.faces
    keep = source.skin & (x[faces] > -MIDLINE).all(1) & above[faces].any(1)
    face_ids = np.flatnonzero(keep)
    ids, local = np.unique(faces[face_ids], return_inverse=True)
    local = local.reshape(-1, 3)
    vertices = source.vertices[ids].copy()
    middle = np.abs(vertices[:, 0]) < MIDLINE
    vertices[middle, 0] = 0.0
    loops = sorted(boundary_loops(local), key=len)
    eye, outer = loops[0], loops[-1]
    if len(loops) != 2:
        raise ValueError(f"the half skin has {len(loops)} boundary loops, expected the lids and the outline")
    on_top = middle[outer] & (vertices[outer, 1] > 60)
    start = outer[on_top][np.argmin(np.abs(vertices[outer[on_top], 2] - crown_z))]
    outer = np.roll(outer, -int(np.flatnonzero(outer == start)[0]))
    if vertices[outer[1], 2] < vertices[outer[0], 2]:
        outer = np.roll(outer[::-1], 1)
    side = np.flatnonzero(~middle[outer])
    breaks = np.flatnonzero(np.diff(side) > 1)
    if len(breaks) != 1:
        raise ValueError("the outline of the half skin does not leave the midline at the lips and the neck only")
    lip, neck = side[: breaks[0] + 1], side[breaks[0] + 1 :]
    closed = np.append(outer, outer[0])
    lips = closed[lip[0] - 1 : lip[-1] + 2]
    from_lips = _away(source, ids, lips)
    return HalfSkin(
        ids=ids,
        vertices=vertices,
        faces=local,
        face_ids=face_ids,
        front=closed[: lip[0]],
        lips=lips,
        chin=closed[lip[-1] + 1 : neck[0]],
        neck=closed[neck[0] - 1 : neck[-1] + 2],
        back=closed[neck[-1] + 1 :],
        eye=eye,
        lip_lines=tuple(_line(source, ids, np.flatnonzero(from_lips == steps)) for steps in LIP_LINES),
        folds=_thin(
            vertices,
            np.concatenate([eye, lips]),
            np.flatnonzero(np.isin(_away(source, ids, eye), LID_RINGS) | np.isin(from_lips, LIP_RINGS)),
        ),
    )


def _thin(vertices: np.ndarray, fixed: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The members that keep `FOLD_SPACING` from the fixed points and from each other (midline points stay)."""
    kept = list(fixed)
    for v in sorted(members, key=lambda v: (vertices[v, 0] != 0, v)):
        near = np.linalg.norm(vertices[kept] - vertices[v], axis=1).min()
        if vertices[v, 0] == 0 or near > FOLD_SPACING:
            kept.append(v)
    return np.array(kept[len(fixed) :])


def _away(source: Source, ids: np.ndarray, start: np.ndarray) -> np.ndarray:
    """(N,) distance of each vertex of the half from a boundary, in polygon sides."""
    sides = _local_sides(source, ids)
    graph = coo_matrix((np.ones(len(sides)), sides.T), shape=(len(ids), len(ids))).tocsr()
    return dijkstra(graph, directed=False, indices=start, unweighted=True, min_only=True)


def _local_sides(source: Source, ids: np.ndarray) -> np.ndarray:
    local = np.full(len(source.vertices), -1)
    local[ids] = np.arange(len(ids))
    sides = local[source.sides]
    return sides[(sides >= 0).all(1)]


def _line(source: Source, ids: np.ndarray, members: np.ndarray) -> np.ndarray:
    """The members in order along the polygon sides between them, from their upper to their lower end."""
    chosen = np.isin(np.arange(len(ids)), members)
    links: dict[int, list[int]] = {int(v): [] for v in members}
    for a, b in _local_sides(source, ids)[chosen[_local_sides(source, ids)].all(1)].tolist():
        links[a].append(b)
        links[b].append(a)
    path = [max((v for v in links if len(links[v]) == 1), key=lambda v: source.vertices[ids[v], 1])]
    while len(path) < len(links):
        path += [v for v in links[path[-1]] if v not in path]
    return np.array(path)


def boundary_edges(faces: np.ndarray) -> np.ndarray:
    """(B, 2) directed edges that belong to one triangle only, in its direction."""
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    _, inverse, counts = np.unique(np.sort(directed, 1), axis=0, return_inverse=True, return_counts=True)
    return directed[counts[inverse.reshape(-1)] == 1]


def boundary_loops(faces: np.ndarray) -> list[np.ndarray]:
    """Closed loops of vertex ids along the boundary, in the direction of the triangles beside it."""
    edges = boundary_edges(faces)
    following = {int(a): int(b) for a, b in edges}
    if len(following) != len(edges):
        raise ValueError("a boundary touches itself at a vertex")
    loops, left = [], set(following)
    while left:
        start = min(left)
        loop = [start]
        while following[loop[-1]] != start:
            loop.append(following[loop[-1]])
        left -= set(loop)
        loops.append(np.array(loop))
    return loops


def edge_graph(vertices: np.ndarray, faces: np.ndarray):
    """Symmetric sparse matrix of edge lengths."""
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), 1), axis=0)
    length = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    return coo_matrix((np.tile(length, 2), (rows, columns)), shape=(len(vertices),) * 2).tocsr()

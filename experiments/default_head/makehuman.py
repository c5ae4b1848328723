"""The MakeHuman head (CC0) in correspondence with ICT's: where each skin texel lies, and its macro shapes in our mesh.

ICT's neutral skin is registered onto the mean adult MakeHuman head, held by landmarks picked on both by eye and by
geometry. Every surface that is given by ICT triangles (the default head's topology) then follows.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from facejax.face_model.builder import (
    Landmarks,
    SurfaceIndex,
    blend_region,
    register,
)
from facejax.face_model.builder.closest import closest_barycentrics, unit_normals
from facejax.mesh import align_similarity

# Corresponding points, mm: two columns of ICT's neutral, two of the mean adult MakeHuman head. Front view: (x, y) on
# the subject's right half, mirrored below. Lips follow the red's border in the skins, lids the edge of the opening.
FRONT = np.array(
    [
        # eye: outer corner, upper lid (3), inner corner, lower lid (3)
        [-44.6, 34.3, -40.4, 719.6], [-38.7, 38.8, -35.0, 722.3], [-32.5, 40.4, -29.3, 723.3],
        [-27.8, 39.5, -25.2, 722.9], [-18.4, 32.5, -17.2, 717.3], [-27.3, 30.7, -25.0, 715.9],
        [-33.0, 29.9, -30.0, 715.7], [-38.6, 30.6, -35.0, 716.3],
        # lip border: corner, upper (3), lower (3)
        [-25.0, -35.2, -23.0, 652.6], [-17.0, -27.8, -15.4, 659.2], [-7.3, -24.2, -6.3, 662.9],
        [0.0, -24.8, 0.0, 662.3],
        [-18.0, -40.6, -16.4, 645.4], [-10.3, -43.0, -9.4, 641.4], [0.0, -43.8, 0.0, 641.0],
        # where the lips meet, upper and lower side
        [-10.0, -33.0, -9.1, 654.8], [0.0, -33.0, 0.0, 654.0], [-18.0, -33.8, -16.4, 654.3],
        [-10.0, -34.2, -9.1, 653.4], [0.0, -34.4, 0.0, 652.6], [-18.0, -35.0, -16.4, 653.0],
        # nose: nasion, bridge, tip, columella, base, wing (side, foot), above the nostril
        [0.0, 43.0, 0.0, 721.0], [0.0, 26.3, 0.0, 705.7], [0.0, 2.0, 0.0, 683.4], [0.0, -9.5, 0.0, 675.3],
        [0.0, -12.0, 0.0, 673.3], [-17.0, -2.0, -15.6, 683.5], [-15.0, -8.0, -14.2, 678.0], [-9.5, -2.0, -10.5, 681.2],
        # chin: fold, front, lower edge
        [0.0, -52.0, 0.0, 635.6], [0.0, -61.5, 0.0, 629.0], [0.0, -75.7, 0.0, 616.5],
    ]
)  # fmt: skip
# Side view from the subject's left: (z, y). The ear's top, back, lobe, front root, tragus; top and back of the skull.
SIDE = np.array(
    [
        [-1.0, 35.0, 44.0, 725.0], [-15.7, 17.0, 30.3, 709.0], [11.0, -18.8, 54.0, 674.0],
        [11.5, 24.0, 60.0, 715.0], [12.5, 0.5, 56.5, 693.5],
    ]
)  # fmt: skip
NOSE_BASE = 25  # row of FRONT
SMOOTH = 10.0  # stiffness of the field from our mean to the MakeHuman mean
SKIN_PARTS = ("Face", "Head and Neck")


@dataclass(frozen=True)
class MakeHuman:
    """The mean adult head, mm, with the addresses of the cropped skin images."""

    vertices: np.ndarray  # (13380, 3) float64
    macros: np.ndarray  # (12, 13380, 3) mm
    names: tuple[str, ...]
    head_faces: np.ndarray  # (F, 3) the part that the skin images colour
    head_uv: np.ndarray  # (F, 3, 2) crop coordinates of each corner, v up
    faces: np.ndarray  # (G, 3) head and neck, the target of the registration


def load_makehuman(data_dir: Path) -> MakeHuman:
    """Read `skins/makehuman_base.npz` (decimetres) of the data folder."""
    folder = Path(data_dir) / "skins"
    base = np.load(folder / "makehuman_base.npz")
    names = tuple(str(name) for name in base["macro_shape_names"])
    macros = base["macro_shapes"].astype(np.float64) * 100
    vertices = macros[[k for k, name in enumerate(names) if "child" not in name]].mean(axis=0)
    quads = base["body_faces_tri"].astype(np.int64)
    head = np.repeat(base["head_face_mask"], 2)
    crop = json.loads((folder / "head_crop.json").read_text())
    uv = (base["uv"].astype(np.float64) - [crop["u0"], crop["v0"]]) / [
        crop["u1"] - crop["u0"],
        crop["v1"] - crop["v0"],
    ]
    chin = vertices[quads[head].ravel(), 1].min()
    part = np.repeat(base["face_part"], 2)
    torso = part == list(base["part_names"]).index("torso_limbs")
    neck = torso & (vertices[quads, 1].min(axis=1) > chin - 25) & (np.abs(vertices[quads, 0]).max(axis=1) < 75)
    return MakeHuman(vertices, macros, names, quads[head], uv[base["body_faces_tri_uv"][head]], quads[head | neck])


@dataclass(frozen=True)
class Ict:
    """ICT's neutral mesh, mm."""

    vertices: np.ndarray  # (26719, 3) float64
    faces: np.ndarray  # (52220, 3) all parts
    skin: np.ndarray  # indices of the triangles of the face, head and neck


def load_ict(data_dir: Path) -> Ict:
    """Read `ict/ict_facekit.npz` (centimetres) of the data folder."""
    data = np.load(Path(data_dir) / "ict" / "ict_facekit.npz")
    names, ranges = [str(name) for name in data["part_names"]], data["part_face_ranges"]
    quad = data["tri_source_face"]
    skin = np.zeros(len(quad), bool)
    for part in SKIN_PARTS:
        low, high = ranges[names.index(part)]
        skin |= (quad >= low) & (quad < high)
    return Ict(data["vertices"].astype(np.float64) * 10, data["faces_tri"].astype(np.int64), np.flatnonzero(skin))


def pick(vertices: np.ndarray, faces: np.ndarray, points: np.ndarray, *, side: bool) -> tuple[np.ndarray, np.ndarray]:
    """The first surface point on each line of sight.

    Args:
      vertices, faces: the mesh.
      points: (x, y) in the front view, where the largest z wins; (z, y) in the side view, where the largest x wins.
      side: whether it is the side view.

    Returns:
      Triangles and barycentric weights. A line that misses the mesh (a point on an outline) takes the nearest triangle
      that is visible in that view.
    """
    axes, depth = ([2, 1], 0) if side else ([0, 1], 2)
    flat = np.zeros((len(vertices), 3))
    flat[:, :2] = vertices[:, axes]
    ids, weights = [], []
    normal = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    front = np.flatnonzero(normal[:, depth] > 0)
    for point in points:
        bary = closest_barycentrics(np.append(point, 0.0)[None], flat[faces[front]])
        gap = np.linalg.norm(np.einsum("nk,nkd->nd", bary, flat[faces[front]])[:, :2] - point, axis=1)
        height = np.einsum("nk,nk->n", bary, vertices[faces[front]][:, :, depth])
        best = np.argmax(np.where(gap <= gap.min() + 1e-6, height, -np.inf))
        ids.append(front[best])
        weights.append(bary[best])
    return np.array(ids), np.array(weights)


def _points(vertices, faces, ids, weights):
    return np.einsum("nk,nkd->nd", weights, vertices[faces[ids]])


def corresponding_points(ict: Ict, makehuman: MakeHuman) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Landmarks as ICT skin triangles (positions in `ict.skin`) and weights, and their MakeHuman points (mm)."""
    skin = ict.faces[ict.skin]
    mirror = np.array([-1.0, 1.0, -1.0, 1.0])
    front = np.concatenate([FRONT, (FRONT * mirror)[FRONT[:, 0] < 0]])
    ids, weights = pick(ict.vertices, skin, front[:, :2], side=False)
    found = pick(makehuman.vertices, makehuman.faces, front[:, 2:], side=False)
    targets = _points(makehuman.vertices, makehuman.faces, *found)
    # Both heads are symmetric: the other ear is picked on the mirrored vertices, on the same triangles turned over.
    for sign in (1.0, -1.0):
        flip = np.array([sign, 1.0, 1.0])
        turn = slice(None) if sign > 0 else slice(None, None, -1)
        side_ids, side_weights = pick(ict.vertices * flip, skin[:, turn], SIDE[:, :2], side=True)
        found = pick(makehuman.vertices * flip, makehuman.faces[:, turn], SIDE[:, 2:], side=True)
        side_targets = _points(makehuman.vertices * flip, makehuman.faces[:, turn], *found) * flip
        ids, weights = np.concatenate([ids, side_ids]), np.concatenate([weights, side_weights[:, turn]])
        targets = np.concatenate([targets, side_targets])
    return ids, weights, targets


def register_ict(ict: Ict, makehuman: MakeHuman, progress: Callable | None = None) -> np.ndarray:
    """ICT's vertices (26719, 3) float64 moved onto the mean adult MakeHuman head, mm.

    The skin is registered, the nostrils' inside without any data; the parts inside (eyeballs, teeth) follow by the
    similarity of the landmarks.
    """
    ids, weights, targets = corresponding_points(ict, makehuman)
    skin = ict.faces[ict.skin]
    scale, rotation, shift = align_similarity(_points(ict.vertices, skin, ids, weights), targets)
    moved = scale * ict.vertices @ rotation.T + shift
    nostrils = _points(ict.vertices, skin, ids, weights)[NOSE_BASE] + np.array([0.0, 5.0, -4.0])
    openness = open_share(ict.vertices, skin, nostrils, np.array([18.0, 14.0, 20.0]), reach=15.0)
    used, local = np.unique(skin, return_inverse=True)
    local = local.reshape(skin.shape)
    result = register(
        moved[used],
        local,
        makehuman.vertices,
        makehuman.faces,
        landmarks=Landmarks(ids, weights, targets),
        stiffness=(50.0, 20.0, 8.0, 4.0, 2.0, 1.0, 0.6),
        data_weights=(openness[used] > 0.4).astype(np.float64),
        landmark_weight=(10.0, 10.0, 8.0, 6.0, 5.0, 4.0, 4.0),
        iterations=3,
        max_angle=55.0,
        max_distance=15.0,
        progress=progress,
    )
    moved[used] = result.vertices
    return moved


def open_share(
    vertices: np.ndarray,
    faces: np.ndarray,
    centre: np.ndarray,
    extent: np.ndarray,
    *,
    rays: int = 24,
    reach: float = 20.0,
) -> np.ndarray:
    """(V,) share of the (cosine-weighted) hemisphere over a vertex that is free; small inside nostrils and behind the
    lips.

    Args:
      vertices, faces: the mesh.
      centre, extent: the box `centre` +- `extent`; vertices outside get 1.
      rays: on the whole sphere.
      reach: mm; farther surfaces do not count.
    """
    normals = unit_normals(vertices, faces)
    ids = np.intersect1d(np.flatnonzero((np.abs(vertices - centre) < extent).all(axis=1)), faces)
    middles = vertices[faces].mean(axis=1)
    corners = vertices[faces[(np.abs(middles - centre) < extent + reach).all(axis=1)]]
    step = np.arange(rays) + 0.5
    height, turn = 1 - 2 * step / rays, np.pi * (1 + 5**0.5) * step
    ring = np.sqrt(1 - height**2)
    sphere = np.stack([ring * np.cos(turn), ring * np.sin(turn), height], axis=1)
    result = np.ones(len(vertices))
    for i in ids:
        directions = sphere[sphere @ normals[i] > 0.05]
        weight = directions @ normals[i]
        blocked = hits(vertices[i] + 0.05 * normals[i], directions, corners, reach)
        result[i] = np.sum(weight * ~blocked) / np.sum(weight)
    return result


def hits(origin: np.ndarray, directions: np.ndarray, corners: np.ndarray, reach: float) -> np.ndarray:
    """Which rays from a point meet a triangle (Moeller and Trumbore, 1997).

    Args:
      origin: of all rays.
      directions: unit vectors (R, 3).
      corners: of the triangles (F, 3, 3).
      reach: mm; farther triangles do not count.
    """
    close = np.linalg.norm(corners.mean(axis=1) - origin, axis=1) < reach
    a, b, c = (corners[close, k] for k in range(3))
    u, v, offset = b - a, c - a, origin - a
    # dot(cross(d, v), x) = dot(d, cross(v, x)): one product per triangle instead of one per ray and triangle.
    scale = directions @ np.cross(v, u).T
    scale = np.where(np.abs(scale) < 1e-12, np.inf, scale)
    other = np.cross(offset, u)
    s, t = directions @ np.cross(v, offset).T / scale, directions @ other.T / scale
    distance = np.sum(other * v, axis=-1) / scale
    return ((s >= 0) & (t >= 0) & (s + t <= 1) & (distance > 1e-3) & (distance < reach)).any(axis=1)


def carry(values: np.ndarray, ict: Ict, topology: dict) -> np.ndarray:
    """Per-vertex values of ICT's mesh at the vertices of a topology given by `ict_triangle` and `ict_weights`."""
    return np.einsum(
        "vk,vkc->vc", topology["ict_weights"].astype(np.float64), values[ict.faces[topology["ict_triangle"]]]
    )


def registered_macros(data_dir: Path, topology: dict) -> np.ndarray:
    """MakeHuman's 12 macro shapes in our topology, each aligned to our mean by a similarity: (12, V, 3) float32, mm.

    Our mean goes to the mean MakeHuman head by a smooth field (so its fine relief, the nostrils and lids, stays ours),
    and from there each vertex moves as the MakeHuman surface point it was registered to. Vertices without one nearby
    (inside mouth, eyes and nostrils) follow their neighbours. Order of `load_makehuman(...).names`.
    """
    makehuman, ict = load_makehuman(data_dir), load_ict(data_dir)
    moved = carry(register_ict(ict, makehuman), ict, topology)
    faces = np.asarray(topology["faces"], np.int64)
    found = SurfaceIndex(makehuman.vertices, makehuman.faces).query(moved)
    corners = makehuman.faces[found.triangles]
    normals = unit_normals(makehuman.vertices, makehuman.faces)[corners]
    agree = np.sum(unit_normals(moved, faces) * np.einsum("vk,vkd->vd", found.weights, normals), axis=1) > 0.5
    mean = np.asarray(topology["vertices"], np.float64)
    trust = np.where((found.distances < 1.5) & agree, 1.0, 0.0)
    part = np.asarray(topology["face_part"])
    eyes = [np.unique(faces[part == k]) for k in np.unique(part[part > 0])]
    trust[np.concatenate(eyes)] = 0.0
    weights = trust * np.asarray(topology.get("region_face", np.ones(len(mean))), np.float64) + 1e-3 * trust
    scale, rotation, offset = align_similarity(mean, moved, weights)
    placed = scale * mean @ rotation.T + offset
    base = blend_region(placed, moved, trust, faces, stiffness=SMOOTH).astype(np.float64)
    shapes = []
    for macro in makehuman.macros:
        shift = np.einsum("vk,vkd->vd", found.weights, (macro - makehuman.vertices)[corners])
        shape = blend_region(base, base + shift, trust, faces, stiffness=0.3 * SMOOTH)
        shape = placed + _close_lips(shape - placed, mean, faces, topology)
        for eye in eyes:
            _follow_lids(shape, placed, eye, trust)
        scale, rotation, offset = align_similarity(shape, mean, weights)
        shapes.append(scale * shape @ rotation.T + offset)
    return np.stack(shapes).astype(np.float32)


def _close_lips(
    field: np.ndarray, mean: np.ndarray, faces: np.ndarray, topology: dict, reach: float = 4.0
) -> np.ndarray:
    """A displacement field (V, 3) made equal on both lips where they meet, so that the mouth stays closed."""
    points = _points(mean, faces, topology["landmark_faces"], np.asarray(topology["landmark_weights"], np.float64))
    seam = 0.5 * (points[[60, 61, 62, 63, 64]] + points[[60, 67, 66, 65, 64]])
    line = np.concatenate([np.linspace(a, b, 12) for a, b in pairwise(seam)])
    flat = mean * [1.0, 1.0, 0.4]  # the lips' inner sides lie behind each other
    weight = np.exp(-0.5 * (np.linalg.norm(flat[:, None] - line * [1.0, 1.0, 0.4], axis=-1) / reach) ** 2)
    along = (weight.T @ field) / np.maximum(weight.sum(axis=0), 1e-12)[:, None]
    closest = np.argmax(weight, axis=1)
    blend = np.max(weight, axis=1)[:, None] ** 2
    return (1 - blend) * field + blend * along[closest]


def _follow_lids(
    shape: np.ndarray, before: np.ndarray, eye: np.ndarray, trust: np.ndarray, reach: float = 20.0
) -> None:
    """Shift and scale an eyeball (in place) as the skin around it was."""
    centre = before[eye].mean(axis=0)
    around = (np.linalg.norm(before - centre, axis=1) < reach) & (trust > 0)
    scale, _, _ = align_similarity(before[around], shape[around])
    shape[eye] = shape[around].mean(axis=0) + scale * (before[eye] - before[around].mean(axis=0))

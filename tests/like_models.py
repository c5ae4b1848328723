"""Models of other topologies with the shapes of the shipped head, in the true layouts of FLAME's and Basel's files.

The head is sampled anew: points spread over its chart become the vertices of a mesh with other triangles.
"""

import pickle
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.io import savemat
from scipy.sparse import csr_matrix
from scipy.spatial import Delaunay, KDTree

from facejax.face_model import MorphableModel, landmarks
from facejax.face_model.formats.default import load_default_head
from facejax.fitting.priors import PRIORS


class Sampled(NamedTuple):
    weights: Any  # sparse (N, V): each new vertex is a point on the shipped head
    faces: np.ndarray
    marks: np.ndarray  # the new vertex nearest to each landmark
    triangles: np.ndarray  # or the new triangle nearest to it,
    barycentric: np.ndarray  # and the weights there


@cache
def _head():
    model = load_default_head()
    assert isinstance(model, MorphableModel)
    mean, faces = np.asarray(model.mean, np.float64), np.asarray(model.faces)
    return model, mean, faces, np.asarray(model.topology.face_part)


def _locate(corners, points):
    """Triangle and barycentric weights of points in the plane; -1 outside of all triangles."""
    tree = KDTree(corners.mean(axis=1))
    found, weights = np.full(len(points), -1), np.zeros((len(points), 3))
    for count in (8, 64):  # long triangles have their middle far away
        left = np.flatnonzero(found < 0)
        for near in np.asarray(tree.query(points[left], k=count)[1]).T:
            a, b, c = (corners[near, k] for k in range(3))
            p, q, r = b - a, c - a, points[left] - a
            area = p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] + 1e-30
            v, w = (r[:, 0] * q[:, 1] - r[:, 1] * q[:, 0]) / area, (p[:, 0] * r[:, 1] - p[:, 1] * r[:, 0]) / area
            inner = np.column_stack([1 - v - w, v, w])
            new = (found[left] < 0) & (inner.min(axis=1) > -1e-6)
            found[left[new]], weights[left[new]] = near[new], inner[new]
    return found, weights


def _hexagons(low, high, step):
    x, y = np.meshgrid(np.arange(low[0], high[0], step), np.arange(low[1], high[1], step * 0.866))
    x[1::2] += step / 2
    return np.stack([x.ravel(), y.ravel()], axis=1)


def _rim(faces):
    """The directed edges at a border."""
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    known = {tuple(edge) for edge in edges.tolist()}
    return np.array([edge for edge in known if edge[::-1] not in known])


def _skin(count, keep):
    """(triangle, weights) of `count` points over the skin where `keep(place)`, and the triangles between them."""
    model, mean, faces, part = _head()
    chart, rows = np.asarray(model.uv, np.float64), np.asarray(model.topology.uv_faces)[part == 0]
    own = faces[part == 0]
    corners = chart[rows]
    rim = np.unique(_rim(rows))
    flat = rows.reshape(-1)
    first = np.array([np.flatnonzero(flat == row)[0] for row in rim])
    on_rim = (first // 3, np.eye(3)[first % 3])

    def places(triangle, weights):
        return np.einsum("nk,nkc->nc", weights, mean[own[triangle]])

    on_rim = tuple(part[keep(places(*on_rim))] for part in on_rim)
    step = np.sqrt(0.67 / count)
    while True:  # the chart covers two thirds of the unit square
        grid = _hexagons([0, 0], [1, 1], step)
        triangle, weights = _locate(corners, grid)
        inside = (triangle >= 0) & (weights.min(axis=1) > 0.02)
        inside[inside] = keep(places(triangle[inside], weights[inside]))
        if inside.sum() + len(on_rim[0]) >= count:
            break
        step *= 0.985
    chosen = np.flatnonzero(inside)
    spare = len(chosen) + len(on_rim[0]) - count
    chosen = np.delete(chosen, np.random.default_rng(0).choice(len(chosen), spare, replace=False))
    triangle = np.concatenate([on_rim[0], triangle[chosen]]).astype(int)
    weights = np.concatenate([on_rim[1], weights[chosen]])
    flat_places = np.einsum("nk,nkc->nc", weights, corners[triangle])
    new = np.asarray(Delaunay(flat_places).simplices)
    a, b, c = (flat_places[new[:, k]] for k in range(3))
    turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] < 0
    new[turned] = new[turned][:, [0, 2, 1]]
    for share in ((1 / 3, 1 / 3, 1 / 3), (0.5, 0.48, 0.02), (0.02, 0.5, 0.48), (0.48, 0.02, 0.5)):
        new = new[_locate(corners, np.einsum("k,fkc->fc", share, flat_places[new]))[0] >= 0]
    space = places(triangle, weights)
    longest = np.linalg.norm(space[new] - space[np.roll(new, 1, axis=1)], axis=2).max(axis=1)
    new = new[longest < 70]  # across a hollow of the border
    return np.flatnonzero(part == 0)[triangle], weights, new


def _lids_closed(triangle, weights, faces):
    """Eyes as part of the skin, as in Basel's models: points of the eyeballs in the openings of the lids."""
    model, mean, own, part = _head()
    space = np.einsum("nk,nkc->nc", weights, mean[own[triangle]])
    marks = np.asarray(landmarks(model, model.mean))
    rim = _rim(faces)
    for ball, eye in ((1, slice(42, 48)), (2, slice(36, 42))):
        middle = marks[eye].mean(axis=0)
        near = rim[np.linalg.norm(space[rim[:, 0]] - middle, axis=1) < 25]
        order, following = [near[0, 0]], dict(near.tolist())
        while following[order[-1]] != order[0]:
            order.append(following[order[-1]])
        loop = np.array(order[::-1])
        outline = space[loop, :2]
        tiles = np.flatnonzero((part == ball) & (mean[own].mean(axis=1)[:, 2] > middle[2] - 14))
        grid = _hexagons(outline.min(axis=0), outline.max(axis=0), 0.9)
        from facejax.face_model.regions import _outside

        grid = grid[_outside(grid, outline) < -0.6]
        at, inner = _locate(mean[own[tiles]][..., :2], grid)
        at, inner = at[at >= 0], inner[at >= 0]
        flat = np.concatenate([outline, np.einsum("nk,nkc->nc", inner, mean[own[tiles[at]]])[:, :2]])
        ids = np.concatenate([loop, len(triangle) + np.arange(len(at))])
        cap = np.asarray(Delaunay(flat).simplices)
        cap = cap[_outside(flat[cap].mean(axis=1), outline) < 0]
        a, b, c = (flat[cap[:, k]] for k in range(3))
        turned = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0] < 0
        cap[turned] = cap[turned][:, [0, 2, 1]]
        faces = np.concatenate([faces, ids[cap]])
        triangle, weights = np.concatenate([triangle, tiles[at]]), np.concatenate([weights, inner])
        space = np.einsum("nk,nkc->nc", weights, mean[own[triangle]])
    return triangle, weights, faces


def _finish(triangle, weights, faces) -> Sampled:
    model, mean, own, part = _head()
    used = np.unique(faces)
    faces = np.searchsorted(used, faces)
    triangle, weights = triangle[used], weights[used]
    rows = np.repeat(np.arange(len(triangle)), 3)
    matrix = csr_matrix((weights.ravel(), (rows, own[triangle].ravel())), (len(triangle), len(mean)))
    chart, rows = np.asarray(model.uv, np.float64), np.asarray(model.topology.uv_faces)

    def flat(triangle, weights):  # on the chart, where lids and lips that touch are apart
        return np.pad(np.einsum("nk,nkc->nc", weights, chart[rows[triangle]]), ((0, 0), (0, 1)))

    marks = flat(np.asarray(model.topology.landmark_faces), np.asarray(model.landmark_weights, np.float64))
    skin = np.flatnonzero((part[triangle] == 0)[faces].all(axis=1))
    nearest, bary = _project(flat(triangle, weights), faces[skin], marks)
    places = np.where(part[triangle][:, None] == 0, flat(triangle, weights), 9.0)
    return Sampled(matrix, faces, np.asarray(KDTree(places).query(marks)[1]), skin[nearest], bary)


def _project(space, faces, marks):
    """The triangle nearest to each point, and the weights of the nearest place on it."""
    corners = space[faces]
    near = np.asarray(KDTree(corners.mean(axis=1)).query(marks, k=8)[1])
    edges = corners[near][:, :, 1:] - corners[near][:, :, :1]
    inner = np.einsum(
        "mkcd,mkd->mkc", np.linalg.pinv(np.swapaxes(edges, 2, 3)), marks[:, None] - corners[near][:, :, 0]
    )
    bary = np.clip(np.concatenate([1 - inner.sum(axis=2, keepdims=True), inner], axis=2), 0, 1)
    bary /= bary.sum(axis=2, keepdims=True)
    gap = np.linalg.norm(np.einsum("mkc,mkcd->mkd", bary, corners[near]) - marks[:, None], axis=2)
    best, rows = gap.argmin(axis=1), np.arange(len(marks))
    return near[rows, best], bary[rows, best]


@cache
def flame_like(count: int = 5023) -> Sampled:
    """Whole head with neck, and eyeballs apart."""
    _, mean, faces, part = _head()
    balls = np.flatnonzero(np.bincount(faces[part > 0].ravel(), minlength=len(mean)))
    triangle, weights, new = _skin(count - len(balls), lambda place: place[:, 1] > -1000)
    flat = faces.reshape(-1)
    first = np.array([np.flatnonzero(flat == ball)[-1] for ball in balls])
    new = np.concatenate([new, len(triangle) + np.searchsorted(balls, faces[part > 0])])
    return _finish(np.concatenate([triangle, first // 3]), np.concatenate([weights, np.eye(3)[first % 3]]), new)


@cache
def basel_like(count: int = 52890) -> Sampled:
    """The front of a head with ears and the beginning of the neck, eyes part of the skin."""
    keep = lambda place: (place[:, 2] > -18) & (place[:, 1] > -104) & (place[:, 1] < 128)  # noqa: E731
    return _finish(*_lids_closed(*_skin(count, keep)))


def _bases(sampled: Sampled, identity: int, expression: int):
    """Mean, identity modes and expression modes of one standard deviation, mm."""
    model, mean, _, _ = _head()
    at = lambda table: np.stack([sampled.weights @ one for one in np.asarray(table, np.float64)])  # noqa: E731
    shapes = at(model.identity_basis[:identity]) * np.asarray(model.identity_std)[:identity, None, None]
    moves = PRIORS.expression * at(model.expression_basis)  # as principal components of the same spread
    _, size, modes = np.linalg.svd(moves.reshape(len(moves), -1), full_matrices=False)
    moves = (size[:, None] * modes)[:expression].reshape(-1, *moves.shape[1:])
    return sampled.weights @ mean, shapes, moves


def write_flame_like(folder: Path, *, identity: int = 300, expression: int = 100, count: int = 5023):
    """`generic_model.pkl` and DECA's `landmark_embedding.npy`, as their authors lay them out."""
    sampled = flame_like(count)
    mean, shapes, moves = _bases(sampled, identity, expression)
    whole = np.zeros((len(mean), 3, 400))
    whole[..., : len(shapes)], whole[..., 300 : 300 + len(moves)] = np.moveaxis(shapes, 0, 2), np.moveaxis(moves, 0, 2)
    data = {"v_template": mean / 1000, "shapedirs": whole / 1000, "f": sampled.faces.astype(np.uint32)}
    path = folder / "generic_model.pkl"
    path.write_bytes(pickle.dumps(data, protocol=2))
    embedding = {
        "full_lmk_faces_idx": sampled.triangles[None].astype(np.int64),
        "full_lmk_bary_coords": sampled.barycentric[None],
    }
    np.save(folder / "landmark_embedding.npy", np.array(embedding, dtype=object), allow_pickle=True)
    return path, sampled


def write_basel_like(folder: Path, *, identity: int = 100, expression: int = 79, colours: int = 40, count: int = 52890):
    """`01_MorphableModel.mat`, `Exp_Pca.bin`, `std_exp.txt`, and 68 vertex numbers in `landmarks.txt`."""
    model, _, faces, _ = _head()
    sampled = basel_like(count)
    mean, shapes, moves = _bases(sampled, identity, expression)
    rows = np.zeros(len(model.mean), int)
    rows[faces.ravel()[::-1]] = np.asarray(model.topology.uv_faces).ravel()[::-1]
    u, v = np.asarray(model.uv)[rows].T
    side = model.albedo.mean.shape[0]
    at = (np.clip((1 - v) * side, 0, side - 1).astype(int), np.clip(u * side, 0, side - 1).astype(int))
    colour = sampled.weights @ np.asarray(model.albedo.mean)[at]
    shades = (
        np.asarray(model.albedo.basis)[:colours][:, at[0], at[1]] * np.asarray(model.albedo.std)[:colours, None, None]
    )
    shades = np.stack([sampled.weights @ one for one in shades])

    def split(basis):
        std = np.linalg.norm(basis.reshape(len(basis), -1), axis=1)
        return (basis.reshape(len(basis), -1).T / std).astype(np.float32), std[:, None].astype(np.float32)

    shape, shape_std = split(shapes * 1000)
    texture, texture_std = split(shades * 255)
    path = folder / "01_MorphableModel.mat"
    savemat(
        path,
        {
            "shapeMU": (mean * 1000).reshape(-1, 1).astype(np.float32), "shapePC": shape, "shapeEV": shape_std,
            "texMU": 255 * colour.reshape(-1, 1).astype(np.float32), "texPC": texture, "texEV": texture_std,
            "tl": (sampled.faces[:, [0, 2, 1]] + 1).astype(np.float64),
        },
    )  # fmt: skip
    basis, std = split(moves * 1000)
    with (folder / "Exp_Pca.bin").open("wb") as file:
        file.write(np.int32(len(moves)).tobytes() + np.zeros(mean.size, np.float32).tobytes() + basis.T.tobytes())
    np.savetxt(folder / "std_exp.txt", std.T)
    np.savetxt(folder / "landmarks.txt", sampled.marks, fmt="%d")
    return path, sampled

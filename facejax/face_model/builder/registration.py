"""Optimal-step non-rigid ICP: bring a template onto a surface so that both share one topology.

Amberg, Romdhani and Vetter, "Optimal step nonrigid ICP algorithms for surface registration", CVPR 2007; the stiffness
schedule and the face-centred data weights follow Booth et al., "Large scale 3D morphable models" (LSFM), IJCV 2018.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from scipy.sparse.linalg import splu

from facejax.face_model.builder.closest import SurfaceIndex, border_vertices, unit_normals

LSFM_STIFFNESS = (50.0, 20.0, 5.0, 2.0, 0.8, 0.5, 0.35, 0.2)


@dataclass(frozen=True)
class Landmarks:
    """Surface points of the template and where they belong; see `vertex_landmarks` for plain vertex ids."""

    faces: Int[np.ndarray, " L"]
    weights: Float[np.ndarray, "L 3"]  # barycentric
    targets: Float[np.ndarray, "L 3"]


@dataclass(frozen=True)
class Registration:
    """The deformed template and how well it fits."""

    vertices: Float[np.ndarray, "V 3"]
    distances: Float[np.ndarray, " V"]  # to the nearest point of the target, unit of the target
    matched: Bool[np.ndarray, " V"]  # the last match was kept (not on a border, normals agree)


@dataclass(frozen=True)
class Progress:
    """One solve, as the callback of `register` sees it."""

    stage: int
    stages: int
    stiffness: float
    change: float  # mean movement of the vertices in this solve, unit of the target
    distance: float  # mean distance over the matched vertices


def vertex_landmarks(
    faces: Int[np.ndarray, "F 3"], vertices: Int[np.ndarray, " L"], targets: Float[np.ndarray, "L 3"]
) -> Landmarks:
    """Landmarks at template vertices. Raises ValueError for a vertex that no triangle uses."""
    flat = np.asarray(faces).reshape(-1)
    order = np.argsort(flat, kind="stable")
    slot = np.searchsorted(flat[order], vertices)
    if np.any(slot >= len(flat)) or np.any(flat[order[np.minimum(slot, len(flat) - 1)]] != vertices):
        raise ValueError("a landmark vertex belongs to no triangle: pick vertices of the template's faces")
    corner = order[slot]
    return Landmarks(corner // 3, np.eye(3)[corner % 3], np.asarray(targets, np.float64))


def lsfm_data_weights(
    vertices: Float[np.ndarray, "V 3"],
    nose_tip: Float[np.ndarray, " 3"],
    *,
    stages: int = len(LSFM_STIFFNESS),
    radius: float = 80.5,
    width: float = 42.4,
    outer: tuple[float, float] = (0.5, 0.0),
    vertical: float = 1.7,
) -> Float[np.ndarray, "S V"]:
    """LSFM's data weights: 1 around the nose, falling with a smootherstep to an outer weight.

    Args:
      vertices: of the template, mm.
      nose_tip: mm.
      stages: S, one row of weights for each.
      radius: middle of the fall, mm (0.95 x 0.847 decimetres).
      width: extent of the fall, mm (0.5 x 0.847 decimetres).
      outer: the outer weight of the first (stiff) and of the last (loose) stage; linear in between.
      vertical: factor of squared vertical distances, which makes the region an upright ellipse.
    """
    offset = np.asarray(vertices, np.float64) - nose_tip
    distance = np.sqrt(offset[:, 0] ** 2 + vertical * offset[:, 1] ** 2 + offset[:, 2] ** 2)
    t = np.clip((distance - radius) / width + 0.5, 0.0, 1.0)
    step = t**3 * (t * (6 * t - 15) + 10)
    low = np.linspace(*outer, stages)[:, None]
    return 1.0 + (low - 1.0) * step


def register(
    template_vertices: Float[np.ndarray, "V 3"],
    faces: Int[np.ndarray, "F 3"],
    target_vertices: Float[np.ndarray, "T 3"],
    target_faces: Int[np.ndarray, "G 3"],
    *,
    landmarks: Landmarks | None = None,
    stiffness: Sequence[float] = LSFM_STIFFNESS,
    landmark_weight: float | Sequence[float] = 10.0,
    data_weights: np.ndarray | None = None,
    iterations: int = 5,
    tolerance: float = 1e-3,
    max_angle: float = 60.0,
    max_distance: float = np.inf,
    gamma: float = 1.0,
    progress: Callable[[Progress], None] | None = None,
) -> Registration:
    """Deform the template onto the target with one affine map per vertex, less and less alike between neighbours.

    Amberg's energy (eq. 8), with nearest points found again before each solve:
    `sum_edges alpha^2 |(X_i - X_j) G|^2 + sum_i w_i |X_i v_i - u_i|^2 + beta^2 sum_l |X_l v_l - target_l|^2`.
    The template should lie roughly on the target (a similarity from a few landmarks). Lengths are scaled inside so
    that the template's half diagonal is 1; the stiffness is on that scale.

    Args:
      template_vertices, faces: the template.
      target_vertices, target_faces: the surface that it is brought to.
      landmarks: corresponding points.
      stiffness: alpha of each stage.
      landmark_weight: beta, one value or one per stage.
      data_weights: (V,) or one row per stage (S, V), in [0, 1]; see `lsfm_data_weights`.
      iterations: the most solves in a stage.
      tolerance: a stage ends when the vertices move less than this on average, as a share of the half diagonal.
      max_angle: reject matches whose normals differ by more, degrees. Matches on the target's border are rejected too.
      max_distance: reject matches further away, unit of the target.
      gamma: weight of the affine maps' linear part against their translation (G's last entry is gamma).
      progress: called after each solve.

    Returns:
      Float32 vertices in the target's space, and how well they fit.

    Raises ValueError for data weights of another shape.
    """
    source, faces = np.asarray(template_vertices, np.float64), np.asarray(faces, np.int64)
    target_vertices = np.asarray(target_vertices, np.float64)
    stages = len(stiffness)
    weights = _stage_rows(data_weights, stages, len(source))
    beta = np.broadcast_to(np.asarray(landmark_weight, np.float64), (stages,))
    centre = 0.5 * (source.min(axis=0) + source.max(axis=0))
    unit = 0.5 * np.linalg.norm(np.ptp(source, axis=0))
    matcher = _Matcher(
        (target_vertices - centre) / unit, np.asarray(target_faces, np.int64), faces, max_angle, max_distance / unit
    )
    solver = _Solver((source - centre) / unit, faces, landmarks, centre, unit, gamma)
    moved = solver.source
    for stage, alpha in enumerate(stiffness):
        for _ in range(iterations):
            points, kept, distances = matcher(moved)
            new = solver.solve(alpha, beta[stage], weights[stage] * kept, points)
            change = float(np.mean(np.linalg.norm(new - moved, axis=1)))
            moved = new
            if progress is not None:
                distance = float(distances[kept].mean()) if kept.any() else np.nan
                progress(Progress(stage, stages, float(alpha), float(change * unit), float(distance * unit)))
            if change < tolerance:
                break
    _, kept, distances = matcher(moved)
    return Registration((moved * unit + centre).astype(np.float32), (distances * unit).astype(np.float32), kept)


def _stage_rows(weights: np.ndarray | None, stages: int, count: int) -> np.ndarray:
    if weights is None:
        return np.ones((stages, count))
    weights = np.asarray(weights, np.float64)
    if weights.shape not in ((count,), (stages, count)):
        raise ValueError(
            f"data_weights has shape {weights.shape}: pass ({count},) or one row a stage ({stages}, {count})"
        )
    return np.broadcast_to(weights, (stages, count))


class _Matcher:
    """Nearest target points and which of them to trust."""

    def __init__(self, vertices, faces, template_faces, max_angle, max_distance):
        self.index = SurfaceIndex(vertices, faces)
        self.normals = unit_normals(vertices, faces)
        self.border = border_vertices(faces, len(vertices))
        self.template_faces = template_faces
        self.min_cosine = np.cos(np.deg2rad(max_angle))
        self.max_distance = max_distance

    def __call__(self, moved):
        found = self.index.query(moved)
        corners = self.index.faces[found.triangles]
        normal = np.einsum("nk,nkd->nd", found.weights, self.normals[corners])
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-300)
        cosine = np.sum(normal * unit_normals(moved, self.template_faces), axis=1)
        # A foot on the border has weight on border vertices only: the target ends there, the template may go on.
        on_border = (self.border[corners] | (found.weights < 1e-9)).all(axis=1)
        kept = (cosine > self.min_cosine) & ~on_border & (found.distances < self.max_distance)
        return found.points, kept, found.distances


class _Solver:
    """The sparse normal equations; only weights and matches change between solves."""

    def __init__(self, source, faces, landmarks, centre, unit, gamma):
        self.source = source
        count = len(source)
        edges = np.unique(
            np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0
        )
        rows = np.repeat(np.arange(len(edges)), 2)
        incidence = sp.csr_matrix((np.tile([1.0, -1.0], len(edges)), (rows, edges.reshape(-1))), (len(edges), count))
        metric = sp.diags([1.0, 1.0, 1.0, gamma**2])
        self.smooth: Any = sp.kron(incidence.T @ incidence, metric, format="csc")
        lifted = np.concatenate([source, np.ones((count, 1))], axis=1)
        columns = np.arange(4 * count)
        self.data = sp.csr_matrix((lifted.reshape(-1), (np.repeat(np.arange(count), 4), columns)), (count, 4 * count))
        self.marks: Any = None
        self.targets: Any = None
        if landmarks is not None and len(landmarks.faces):
            pick: Any = sp.csr_matrix(
                (
                    np.asarray(landmarks.weights, np.float64).reshape(-1),
                    (np.repeat(np.arange(len(landmarks.faces)), 3), faces[landmarks.faces].reshape(-1)),
                ),
                (len(landmarks.faces), count),
            )
            self.marks = (pick @ self.data).tocsr()
            self.targets = (np.asarray(landmarks.targets, np.float64) - centre) / unit
        # A trace of the identity map keeps parts without any match (an unconnected piece) solvable.
        self.identity = np.tile(np.eye(4, 3), (count, 1))

    def solve(self, alpha, beta, weights, points):
        weighted = sp.diags(weights) @ self.data
        left = alpha**2 * self.smooth + self.data.T @ weighted + 1e-9 * sp.identity(self.smooth.shape[0])
        right = weighted.T @ points + 1e-9 * self.identity
        if self.marks is not None:
            left = left + beta**2 * (self.marks.T @ self.marks)
            right = right + beta**2 * (self.marks.T @ self.targets)
        factor = splu(left.tocsc(), permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        return self.data @ factor.solve(right)

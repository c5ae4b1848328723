"""Combine two linear models in correspondence: Ploumpis et al., "Combining 3D morphable models: a large scale
face-and-head model" (CFHM), CVPR 2019. A face model is detailed in the face, a head model covers the whole head.

Models are (mean, basis, std) with N(0, 1) coefficients. Float64 inside, float32 out.
"""

from typing import Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.linalg import splu

from facejax.face_model.builder.pca import LinearGaussian

Model = tuple[np.ndarray, np.ndarray, np.ndarray]


def regression_matrix(
    face_coefficients: Float[np.ndarray, "N K"], head_coefficients: Float[np.ndarray, "N H"]
) -> Float[np.ndarray, "H K"]:
    """W = C_head C_face^+ (CFHM, section 3.1): `W @ face` is the least-squares guess of the head's coefficients.

    Rows are paired samples: the same people (or random heads cut to their faces) fitted by both models.
    """
    face, head = (np.asarray(part, np.float64) for part in (face_coefficients, head_coefficients))
    if len(face) != len(head):
        raise ValueError(f"{len(face)} face samples for {len(head)} head samples: they must be pairs")
    return (head.T @ np.linalg.pinv(face.T)).astype(np.float32)


def paired_coefficients(
    face: Model, head: Model, face_points: Int[np.ndarray, " P"], *, samples: int, seed: int
) -> tuple[Float[np.ndarray, "N K"], Float[np.ndarray, "N H"]]:
    """Random heads, and the face coefficients that fit them best in the face.

    Args:
      face, head: the two models, (mean, basis, std) each.
      face_points: the head vertex that each of the P face vertices corresponds to.
      samples: number of random heads, N.
      seed: of the random heads.

    Returns:
      The coefficients of the face model (N, K), and of the head model (N, H).
    """
    head_mean, head_basis, head_std = (np.asarray(part, np.float64) for part in head)
    face_mean, face_basis, face_std = (np.asarray(part, np.float64) for part in face)
    coefficients = np.random.default_rng(seed).standard_normal((samples, len(head_std)))
    shapes = head_mean[face_points] + np.tensordot(coefficients * head_std, head_basis[:, face_points], axes=1)
    directions = (face_basis * face_std[:, None, None]).reshape(len(face_std), -1)
    fitted = np.linalg.lstsq(directions.T, (shapes - face_mean).reshape(samples, -1).T, rcond=None)[0].T
    return fitted.astype(np.float32), coefficients.astype(np.float32)


def blend_region(
    head: Float[np.ndarray, "V 3"],
    face: Float[np.ndarray, "V 3"],
    mix: Float[np.ndarray, " V"],
    faces: Int[np.ndarray, "F 3"],
    *,
    stiffness: float = 1.0,
) -> Float[np.ndarray, "V 3"]:
    """Move the head onto the face where `mix` is 1 and let the rest follow smoothly.

    The displacement d minimises `sum_i mix_i |d_i - (face_i - head_i)|^2 + stiffness |L d|^2` with L the graph
    Laplacian.

    Args:
      head: vertices of the head.
      face: the face's vertices on the same topology; ignored where `mix` is 0.
      mix: weight of the face at each vertex, in [0, 1].
      faces: triangles.
      stiffness: weight of the smoothness.

    Returns:
      The moved head, float32. Raises ValueError when `mix` is zero everywhere.
    """
    head, mix = np.asarray(head, np.float64), np.asarray(mix, np.float64)
    if not mix.max() > 0:
        raise ValueError("mix is zero everywhere: mark the face region with positive values")
    edges = np.unique(np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1), axis=0)
    rows, columns = np.concatenate([edges, edges[:, ::-1]]).T
    adjacency = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), (len(head), len(head)))
    degree = np.maximum(np.asarray(adjacency.sum(axis=1)).ravel(), 1.0)
    laplacian = sp.identity(len(head)) - sp.diags(1 / degree) @ adjacency
    wanted = np.where(mix[:, None] > 0, np.asarray(face, np.float64) - head, 0.0)
    system = sp.diags(mix + 1e-10) + stiffness * (laplacian.T @ laplacian)
    return (head + splu(system.tocsc()).solve(mix[:, None] * wanted)).astype(np.float32)


def merge_covariance(
    face: Model,
    head: Model,
    mix: Float[np.ndarray, " V"],
    weights: Float[np.ndarray, " V"] | None = None,
    *,
    variance: float = 0.999,
    components: int | None = None,
    kernel: Literal["mean", "product"] = "mean",
) -> LinearGaussian:
    """One Gaussian with the face model's covariance where `mix` is 1 and the head model's where it is 0.

    CFHM, section 3.2: both models are Gaussian-process kernels K_face and K_head on the head's vertices (the face
    model carried there through nearest points, zero or extrapolated where `mix` is 0). Between points i and j:

    - "mean": `r K_face + (1 - r) K_head` with r = (mix_i + mix_j) / 2, the paper's way: face and skull stay correlated.
      Such a kernel may have negative eigenvalues, which are dropped; the variances are then slightly too large.
    - "product": `m_i m_j K_face + n_i n_j K_head` with n = sqrt(1 - m^2): positive by construction and exact inside
      each domain, but the two domains are independent.

    Both have low rank, so the eigendecomposition is done in the span of the two bases, never in 3V x 3V. The mean is
    mixed linearly.

    Args:
      face, head: the two models on the same vertices, (mean, basis, std) each.
      mix: weight of the face model at each vertex, in [0, 1].
      weights: of the vertices (areas); the basis is orthogonal under them.
      variance: share of the variance to keep.
      components: the most components to keep; None: no limit.
      kernel: "mean" or "product", as above.

    Raises ValueError for an unknown kernel, and for models with different numbers of vertices.
    """
    if kernel not in ("mean", "product"):
        raise ValueError(f"unknown kernel {kernel!r}: use 'mean' or 'product'")
    mean_f, rows_f = _directions(face)
    mean_h, rows_h = _directions(head)
    if mean_f.shape != mean_h.shape:
        raise ValueError(f"face model on {len(mean_f)} vertices, head model on {len(mean_h)}: carry one to the other")
    mix = np.asarray(mix, np.float64)[:, None]
    weight = np.ones(len(mix)) if weights is None else np.asarray(weights, np.float64)
    root = np.sqrt(weight)[:, None]
    if kernel == "product":
        span = np.concatenate([mix * rows_f, np.sqrt(np.maximum(1 - mix**2, 0)) * rows_h])
        inner = np.eye(len(span))
    else:
        span = np.concatenate([rows_f, mix * rows_f, rows_h, (1 - mix) * rows_h])
        f, h = np.eye(len(rows_f)), np.eye(len(rows_h))
        half = np.array([[0.0, 0.5], [0.5, 0.0]])
        zero = np.zeros((2 * len(f), 2 * len(h)))
        inner = np.block([[np.kron(half, f), zero], [zero.T, np.kron(half, h)]])
    values, vectors, total = _eigen(span * root, inner)
    share = np.cumsum(values) / total
    count = min(len(values), int(np.searchsorted(share, variance - 1e-12)) + 1, components or len(values))
    basis = (vectors[:, :count].T / root.reshape(1, -1).repeat(3, axis=1)).reshape(count, -1, 3) * np.sqrt(weight.sum())
    std = np.sqrt(values[:count] / weight.sum())
    mean = mix * mean_f + (1 - mix) * mean_h
    mean, basis, std = (part.astype(np.float32) for part in (mean, basis, std))
    return LinearGaussian(mean, basis, std, float(share[count - 1]))


def _directions(model: Model) -> tuple[np.ndarray, np.ndarray]:
    mean, basis, std = (np.asarray(part, np.float64) for part in model)
    return mean, basis * std[:, None, None]


def _eigen(span: np.ndarray, inner: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Positive eigenvalues (descending) and eigenvectors of `span.T @ inner @ span`, and the eigenvalues' sum."""
    flat = span.reshape(len(span), -1)
    left, singular, right = np.linalg.svd(flat, full_matrices=False)
    rank = singular > 1e-10 * singular[0]
    core = (left[:, rank] * singular[rank]).T @ inner @ (left[:, rank] * singular[rank])
    values, vectors = np.linalg.eigh(0.5 * (core + core.T))
    positive = values > 1e-12 * values[-1]
    values, vectors = values[positive][::-1], vectors[:, positive][:, ::-1]
    return values, right[rank].T @ vectors, float(values.sum())

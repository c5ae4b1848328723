"""Principal components of registered samples under weights, and the same Gaussian in another metric.

A Gaussian linear model is `mean + sum_k c_k std[k] basis[k]` with c ~ N(0, 1). Float64 inside, float32 out.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class LinearGaussian:
    """Mean, basis and standard deviations of a Gaussian over samples of shape S.

    The basis is orthogonal under the weights it was made with, each row with weighted mean square 1 (per element for
    plain vectors, per point when the weights are per point), so `std` is the root-mean-square displacement.
    """

    mean: Float[np.ndarray, "..."]
    basis: Float[np.ndarray, "K ..."]
    std: Float[np.ndarray, " K"]
    kept: float  # share of the (weighted) variance in the components


def fit_pca(
    samples: Float[np.ndarray, "N ..."],
    weights: np.ndarray | None = None,
    *,
    variance: float = 0.997,
    components: int | None = None,
) -> LinearGaussian:
    """PCA by the thin SVD of the weighted, centred samples. Variances are unbiased (N - 1).

    Args:
      samples: in correspondence, such as (N, V, 3) or (N, T, T, 3).
      weights: how much the squared error of each element counts, with the shape of a sample's leading axes: one per
        vertex or one per texel. Vertex areas make the result independent of the meshing.
      variance: keep the fewest components with this share of the variance (LSFM: 0.997).
      components: the most components to keep; None: no limit.

    Raises ValueError for fewer than two samples, and for weights of another shape.
    """
    samples = np.asarray(samples)
    if len(samples) < 2:
        raise ValueError(f"PCA needs at least two samples, got {len(samples)}")
    shape = samples.shape[1:]
    root, total = _root_weights(weights, shape)
    flat = samples.reshape(len(samples), -1)
    mean = flat.mean(axis=0, dtype=np.float64)
    scaled = (flat - mean) * root / np.sqrt(len(samples) - 1)
    # The Gram matrix is N x N: exact enough in float64, and far smaller than the samples.
    square, vectors = np.linalg.eigh(scaled @ scaled.T)
    square, vectors = np.maximum(square[::-1], 0.0), vectors[:, ::-1]
    count = _components(square, variance, components)
    directions = (vectors[:, :count].T / np.sqrt(len(samples) - 1)) @ (flat - mean)
    directions *= _signs(directions)[:, None]
    return _assemble(mean.reshape(shape), directions, square, count, total, shape)


def reorthogonalise(
    model: tuple[np.ndarray, np.ndarray, np.ndarray],
    weights: np.ndarray | None = None,
    *,
    variance: float = 1.0,
    components: int | None = None,
) -> tuple[LinearGaussian, Float[np.ndarray, "K L"]]:
    """The same Gaussian with a basis orthogonal under `weights`, sorted by variance.

    Args:
      model: (mean, basis, std) with N(0, 1) coefficients. The basis need not be orthogonal: a published model cut to a
        region, resampled, or merged.
      weights: as for `fit_pca`.
      variance: share of the variance to keep; at 1 the covariance is exactly that of the input.
      components: the most components to keep; None: no limit.

    Returns:
      The model, and the matrix R that turns its coefficients: `new = old @ R`.
    """
    mean, basis, std = (np.asarray(part, np.float64) for part in model)
    shape = mean.shape
    root, total = _root_weights(weights, shape)
    directions = (basis * std.reshape(-1, *[1] * len(shape))).reshape(len(std), -1)
    left, singular, _ = np.linalg.svd(directions * root, full_matrices=False)
    square = singular**2
    count = _components(square, variance, components)
    turned = left[:, :count].T @ directions
    signs = _signs(turned)
    turned_model = _assemble(mean, turned * signs[:, None], square, count, total, shape)
    return turned_model, (left[:, :count] * signs).astype(np.float32)


def project(
    model: LinearGaussian, samples: Float[np.ndarray, "N ..."], weights: np.ndarray | None = None
) -> Float[np.ndarray, "N K"]:
    """Coefficients (standard deviations) of the weighted least-squares fit to each sample."""
    shape = model.mean.shape
    root, _ = _root_weights(weights, shape)
    directions = (np.float64(1) * model.basis * model.std.reshape(-1, *[1] * len(shape))).reshape(
        len(model.std), -1
    ) * root
    offsets = (samples - model.mean).reshape(len(samples), -1) * root
    return np.linalg.lstsq(directions @ directions.T, directions @ offsets.T, rcond=None)[0].T.astype(np.float32)


def reconstruct(model: LinearGaussian, coefficients: Float[np.ndarray, "N K"]) -> Float[np.ndarray, "N ..."]:
    """`mean + sum_k c_k std_k basis_k` for each row."""
    return model.mean + np.tensordot(coefficients * model.std, model.basis, axes=1)


def prune(
    model: LinearGaussian,
    samples: Float[np.ndarray, "N ..."],
    *,
    drop: int,
    leading: int = 50,
    weights: np.ndarray | None = None,
) -> Int[np.ndarray, " M"]:
    """LSFM's outlier test: indices of the samples to keep, in order.

    The squared norm of a good sample's first whitened coefficients is chi-squared; the largest norms belong to failed
    registrations. Rebuild the PCA from the samples that are kept.

    Args:
      model: fitted to all samples.
      samples: all samples.
      drop: how many samples with the largest norms to drop.
      leading: number of coefficients in the norm.
      weights: as for `fit_pca`.

    Raises ValueError unless `drop` is less than the number of samples.
    """
    if not 0 <= drop < len(samples):
        raise ValueError(f"cannot drop {drop} of {len(samples)} samples")
    norms = np.sum(project(model, samples, weights)[:, :leading].astype(np.float64) ** 2, axis=1)
    return np.sort(np.argsort(norms, kind="stable")[: len(samples) - drop])


def _root_weights(weights, shape) -> tuple[np.ndarray, float]:
    """Square roots, broadcast over a flat sample, and the sum of the weights."""
    if weights is None:
        return np.ones(int(np.prod(shape))), float(np.prod(shape))
    weights = np.asarray(weights, np.float64)
    if weights.shape != shape[: weights.ndim] or weights.min() < 0 or not weights.sum() > 0:
        raise ValueError(f"weights of shape {weights.shape} do not fit samples of shape {shape}, or are not positive")
    wide = weights.reshape(weights.shape + (1,) * (len(shape) - weights.ndim))
    return np.sqrt(np.broadcast_to(wide, shape)).reshape(-1), float(weights.sum())


def _components(square: np.ndarray, variance: float, components: int | None) -> int:
    share = np.cumsum(square) / max(square.sum(), 1e-300)
    rank = int(np.sum(square > 1e-14 * square[0])) if square[0] > 0 else 0
    count = min(rank, int(np.searchsorted(share, variance - 1e-12)) + 1)
    return count if components is None else min(count, components)


def _signs(rows: np.ndarray) -> np.ndarray:
    """+1 or -1 for each row, to make its largest entry positive: signs are arbitrary, and so rebuilds agree."""
    if not len(rows):
        return np.ones(0)
    return np.where(rows[np.arange(len(rows)), np.argmax(np.abs(rows), axis=1)] < 0, -1.0, 1.0)


def _assemble(mean, directions, square, count, total, shape) -> LinearGaussian:
    std = np.sqrt(square[:count] / total)
    basis = directions / std[:, None]
    kept = float(square[:count].sum() / max(square.sum(), 1e-300))
    return LinearGaussian(
        mean.astype(np.float32), basis.reshape(count, *shape).astype(np.float32), std.astype(np.float32), kept
    )

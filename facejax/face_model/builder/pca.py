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
    """PCA by the thin SVD of the weighted, centred samples.

    `weights` (shape of a sample's leading axes: one a vertex for (N, V, 3), one a texel for (N, T, T, 3)) say how much
    an element's squared error counts; vertex areas make the result independent of the meshing. Keeps the fewest
    components with the `variance` share (LSFM: 0.997), and at most `components`. Unbiased variances (N - 1).

    Raises ValueError for fewer than two samples or weights that do not fit.
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

    `model` is (mean, basis, std) with coefficients N(0, 1) but a basis that need not be orthogonal: a published model
    cut to a region, resampled, or merged. Returns the model and the matrix R of the new coefficients' rotation:
    `new = old @ R`. With `variance=1` the covariance is exactly that of the input.
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

    The squared norm of a sample's first `leading` whitened coefficients is chi-squared for a good sample; the `drop`
    largest belong to failed registrations. Rebuild the PCA from the rest.
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
    """+1 or -1 a row: a component's sign is arbitrary, its largest entry shall be positive (rebuilds agree)."""
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

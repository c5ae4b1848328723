"""Similarity of two images."""

import numpy as np
from jaxtyping import Array, Float


def psnr(
    image: Float[Array | np.ndarray, "H W C"],
    reference: Float[Array | np.ndarray, "H W C"],
    mask: Float[Array | np.ndarray, "H W"] | None = None,
    *,
    peak: float = 1.0,
) -> float:
    """Peak signal-to-noise ratio in dB, `20 log10(peak / sqrt(mse))`; infinite for equal images.

    Args:
      image, reference: (H, W, C).
      mask: weights of the pixels in [0, 1].
      peak: the largest possible value.

    Returns:
      The ratio, with all channels weighted alike.

    Raises ValueError when the mask is empty.
    """
    square = (np.asarray(image, np.float64) - np.asarray(reference, np.float64)) ** 2
    weight = np.ones(square.shape[:2]) if mask is None else np.asarray(mask, np.float64)
    total = weight.sum()
    if not total > 0:
        raise ValueError("the mask is empty: no pixel to compare")
    mse = float((square.mean(axis=-1) * weight).sum() / total)
    return float("inf") if mse == 0 else float(20.0 * np.log10(peak) - 10.0 * np.log10(mse))

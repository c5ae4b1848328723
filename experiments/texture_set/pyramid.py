"""Laplacian pyramids of images (..., H, W, C) whose sides are halved a few times (Burt and Adelson, 1983).

`halve` averages 2 x 2 texels and `double` interpolates linearly between texel centres.
"""

import numpy as np


def halve(image: np.ndarray) -> np.ndarray:
    """(..., H, W, C) to (..., H/2, W/2, C), means of 2 x 2."""
    rows = image[..., 0::2, :, :] + image[..., 1::2, :, :]
    return 0.25 * (rows[..., 0::2, :] + rows[..., 1::2, :])


def double(image: np.ndarray) -> np.ndarray:
    """(..., H, W, C) to (..., 2H, 2W, C), linear, clamped at the border."""
    return _double(_double(image, -3), -2)


def _double(image: np.ndarray, axis: int) -> np.ndarray:
    values = np.moveaxis(image, axis, 0)
    before, after = np.concatenate([values[:1], values[:-1]]), np.concatenate([values[1:], values[-1:]])
    result = np.empty((2 * len(values), *values.shape[1:]), image.dtype)
    result[0::2] = 0.75 * values + 0.25 * before
    result[1::2] = 0.75 * values + 0.25 * after
    return np.moveaxis(result, 0, axis)


def split(image: np.ndarray, levels: int) -> list[np.ndarray]:
    """Bands from fine to coarse, then the remaining image; `join` restores the image exactly."""
    bands = []
    for _ in range(levels - 1):
        small = halve(image)
        bands.append(image - double(small))
        image = small
    return [*bands, image]


def join(bands: list[np.ndarray]) -> np.ndarray:
    """The image of its bands, fine to coarse."""
    image = bands[-1]
    for band in bands[-2::-1]:
        image = double(image) + band
    return image


def gaussians(image: np.ndarray, levels: int) -> list[np.ndarray]:
    """The image at each size, fine to coarse."""
    result = [image]
    for _ in range(levels - 1):
        result.append(halve(result[-1]))
    return result


def fill_smoothly(image: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """(H, W, C) with every texel that is not `covered` (H, W) set to a smooth continuation of the others.

    Pull and push (Gortler et al., "The lumigraph", 1996): averages of known texels, coarser with distance.
    """
    known = covered[..., None].astype(image.dtype)
    values, weights = [image * known], [known]
    while min(values[-1].shape[:2]) > 2 and not np.all(weights[-1] > 0):
        values.append(halve(values[-1]))
        weights.append(halve(weights[-1]))
    # The coarsest image may still have holes, which get its mean.
    coarse, weight = values[-1], weights[-1]
    mean = coarse.sum(axis=(0, 1)) / np.maximum(weight.sum(axis=(0, 1)), 1e-9)
    filled = np.where(weight > 0, coarse / np.maximum(weight, 1e-9), mean)
    for value, weight in zip(values[-2::-1], weights[-2::-1], strict=True):
        sure = np.minimum(4 * weight, 1)
        filled = sure * value / np.maximum(weight, 1e-9) + (1 - sure) * double(filled)
    return filled.astype(image.dtype)

"""Square crops around a face, as a scale and an offset of pixel coordinates."""

from dataclasses import dataclass

import jax
import numpy as np
import scipy.sparse
from jaxtyping import Array, Float


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Crop:
    """A crop's pixels from the photo's: `new = scale * old + offset`, as `camera.transform_camera` takes them."""

    scale: Float[Array | np.ndarray, ""]
    offset: Float[Array | np.ndarray, " 2"]

    def apply_points(self, points: Float[Array | np.ndarray, "N 2"]) -> Float[Array | np.ndarray, "N 2"]:
        """Points of the photo in pixels of the crop."""
        return self.scale * points + self.offset

    def invert_points(self, points: Float[Array | np.ndarray, "N 2"]) -> Float[Array | np.ndarray, "N 2"]:
        """Points of the crop in pixels of the photo."""
        return (points - self.offset) / self.scale


def face_crop(
    landmarks: Float[Array | np.ndarray, "68 2"], size: int, *, margin: float = 0.3, lift: float = 0.1
) -> Crop:
    """The square crop around a face, resampled to `size` x `size` pixels.

    Args:
      landmarks: pixels of the photo.
      size: pixels per side of the crop.
      margin: added on every side, as a share of the longer side of the landmarks' box.
      lift: how far the crop's centre lies above the box's centre, as a share of the box's height: the forehead has no
        landmarks.

    Returns:
      The crop.

    Raises ValueError for landmarks without extent.
    """
    points = np.asarray(landmarks, np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    extent = high - low
    side = (1.0 + 2.0 * margin) * extent.max()
    if not (np.isfinite(side) and side > 0):
        raise ValueError("the landmarks have no extent: a crop needs at least two different, finite points")
    centre = 0.5 * (low + high) - np.array([0.0, lift * extent[1]])
    scale = size / side
    return Crop(np.asarray(scale, np.float32), np.asarray(0.5 * size - scale * centre, np.float32))


def apply_crop(
    image: Float[np.ndarray, "H W C"], crop: Crop, size: int
) -> tuple[Float[np.ndarray, "{size} {size} C"], Float[np.ndarray, "{size} {size}"]]:
    """The crop of a photo, or of any map of its size, antialiased, and where it is valid.

    The filter is a triangle as wide as the coarser of the two pixel grids, so shrinking does not alias. Outside the
    photo its border values are repeated and the mask is 0 (1 where a pixel's centre lies inside).
    """
    rows, inside_y = _resampling(image.shape[0], size, float(crop.scale), float(crop.offset[1]))
    columns, inside_x = _resampling(image.shape[1], size, float(crop.scale), float(crop.offset[0]))
    height, width, channels = image.shape
    tall = (rows @ image.reshape(height, width * channels)).reshape(size, width, channels)
    sideways = np.ascontiguousarray(tall.transpose(1, 0, 2)).reshape(width, size * channels)
    result = (columns @ sideways).reshape(size, size, channels).transpose(1, 0, 2)
    mask = (inside_y[:, None] & inside_x[None, :]).astype(np.float32)
    return np.ascontiguousarray(result, np.float32), mask


def _resampling(length: int, size: int, scale: float, offset: float) -> tuple[scipy.sparse.csr_array, np.ndarray]:
    """The (size, length) weights of one axis, and which of its outputs lie inside."""
    position = (np.arange(size) + 0.5 - offset) / scale  # of each new pixel's centre, in pixels of the photo
    support = max(1.0, 1.0 / scale)
    reach = int(np.ceil(2 * support)) + 1
    first = np.floor(position - support - 0.5).astype(np.int64)
    taps = first[:, None] + np.arange(reach + 1)[None, :]
    weights = np.maximum(0.0, 1.0 - np.abs(taps + 0.5 - position[:, None]) / support)
    weights /= weights.sum(axis=1, keepdims=True)
    columns = np.clip(taps, 0, length - 1)  # repeats the border value
    index = np.repeat(np.arange(size), reach + 1)
    matrix = scipy.sparse.coo_array(
        (weights.ravel().astype(np.float32), (index, columns.ravel())), shape=(size, length)
    )
    return matrix.tocsr(), (position >= 0) & (position <= length)

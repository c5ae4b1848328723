"""Bake vertex colours into a texture, on the host: for files."""

import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float, Int


def bake_vertex_colors(
    colors: Float[Array | np.ndarray, "V C"],
    faces: Int[Array | np.ndarray, "F 3"],
    uv: Float[Array | np.ndarray, "U 2"],
    uv_faces: Int[Array | np.ndarray, "F 3"],
    size: int,
    *,
    padding: int = 8,
) -> Float[np.ndarray, "{size} {size} C"]:
    """Bake per-vertex values into a texture (row 0 on top, v up), interpolated over each triangle at texel centres.

    Args:
        colors: values of the vertices.
        faces: triangles of vertices.
        uv: texture coordinates.
        uv_faces: triangles of texture coordinates.
        size: texels along a side of the texture.
        padding: how many texels the charts are extended, so that bilinear sampling at their edges meets no background.
            The rest is the mean of the charts.

    Raises ValueError when no triangle covers a texel centre.
    """
    values = np.asarray(colors, np.float64)
    corner_uv = np.asarray(uv, np.float64)[np.asarray(uv_faces)]
    corners = np.stack([corner_uv[..., 0] * size, (1.0 - corner_uv[..., 1]) * size], axis=-1)  # texels, y down
    corner_values = values[np.asarray(faces)]
    flat = np.zeros((size * size, values.shape[1]))
    filled = np.zeros(size * size, bool)
    for triangle, texel, weights in _covered_texels(corners, size):
        flat[texel] = np.einsum("nk,nkc->nc", weights, corner_values[triangle])
        filled[texel] = True
    if not filled.any():
        raise ValueError(f"no triangle covers a texel centre at size {size}: check uv, or use a larger size")
    texture, covered = flat.reshape(size, size, -1), filled.reshape(size, size)
    nearest = np.asarray(scipy.ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True))
    rows, columns = np.indices((size, size))
    near = np.hypot(nearest[0] - rows, nearest[1] - columns) <= padding
    texture = np.where(near[..., None], texture[nearest[0], nearest[1]], flat[filled].mean(axis=0))
    return texture.astype(np.float32)


def _covered_texels(corners: np.ndarray, size: int, chunk: int = 1 << 21):
    """Yield (triangle, texel, barycentric weights) of all texel centres inside triangles, some triangles at a time."""
    low = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.floor(corners.max(axis=1) - 0.5) + 1, 0, size).astype(np.int64)
    extent = np.maximum(high - low, 0)
    total = np.cumsum(extent.prod(axis=1))
    start = 0
    while start < len(corners):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + chunk, side="right")))
        counts = extent[start:stop].prod(axis=1)
        triangle = np.repeat(np.arange(start, stop), counts)
        step = np.arange(len(triangle)) - np.repeat(np.cumsum(counts) - counts, counts)
        width = np.maximum(extent[triangle, 0], 1)
        x, y = low[triangle, 0] + step % width, low[triangle, 1] + step // width
        weights = _barycentric(corners[triangle], np.stack([x + 0.5, y + 0.5], axis=-1))
        inside = (weights >= -1e-9).all(axis=1)  # NaN (no area) is outside
        yield triangle[inside], (y * size + x)[inside], weights[inside]
        start = stop


def _barycentric(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Weights (N, 3) of points (N, 2) in triangles (N, 3, 2); NaN for triangles without area."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]

    def cross(p, q):
        return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

    area = cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-12, np.nan, area)
    wb, wc = cross(points - a, c - a) / area, cross(b - a, points - a) / area
    return np.stack([1.0 - wb - wc, wb, wc], axis=-1)

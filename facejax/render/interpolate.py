"""Values at the seen surface point of each pixel: differentiable perspective-correct barycentrics and attributes."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from facejax.kernels import gather_rows


class Surface(NamedTuple):
    """What is seen at each pixel centre; zeros where nothing is."""

    barycentric: Float[Array, "H W 3"]  # weights of the triangle's corners on the surface (not in the image)
    depth: Float[Array, "H W"]  # mm in front of the camera
    attributes: Float[Array, "H W C"]


def interpolate(
    points: Float[Array, "V 3"],
    attributes: Float[Array, "V C"],
    faces: Int[Array, "F 3"],
    triangle: Int[Array, "H W"],
    *,
    perspective: bool,
) -> Surface:
    """Interpolate vertex attributes at the pixel centres of the triangles found by `rasterize`.

    `points` are (x, y, depth) as from `camera.project`. With b_k the barycentrics in the image and z_k the corners'
    depths, the weights on the surface are b_k / z_k over their sum (perspective) or b_k (without). Differentiable in
    points and attributes; which triangle is seen is held fixed.
    """
    height, width = triangle.shape
    seen = triangle.reshape(-1) >= 0
    corners = corner_rows(faces, triangle, points.shape[0])
    table = jnp.concatenate([points, attributes], axis=1)
    a, b, c = (gather_rows(table, corners[:, k]) for k in range(3))
    rows, columns = jnp.divmod(jnp.arange(height * width), width)
    centre = jnp.stack([columns, rows], axis=1).astype(points.dtype) + 0.5
    weights = _weights(a[:, :3], b[:, :3], c[:, :3], centre, seen, perspective)
    wa, wb, wc = (weights[:, k : k + 1] for k in range(3))
    mixed = wa * a[:, 2:] + wb * b[:, 2:] + wc * c[:, 2:]
    shape = (height, width, -1)
    return Surface(weights.reshape(shape), mixed[:, 0].reshape(height, width), mixed[:, 1:].reshape(shape))


def interpolate_corners(
    values: Float[Array, "U C"],
    value_faces: Int[Array, "F 3"],
    triangle: Int[Array, "H W"],
    barycentric: Float[Array, "H W 3"],
) -> Float[Array, "H W C"]:
    """Interpolate values that have their own corner indices, such as UV coordinates with seams."""
    corners = corner_rows(value_faces, triangle, values.shape[0])
    weights = barycentric.reshape(-1, 3)
    mixed = sum(weights[:, k : k + 1] * gather_rows(values, corners[:, k]) for k in range(3))
    return jnp.reshape(jnp.asarray(mixed), (*triangle.shape, values.shape[1]))


def corner_rows(faces: Int[Array, "F 3"], triangle: Int[Array, "H W"], outside: int) -> Int[Array, "N 3"]:
    """Corner indices of each pixel's triangle, row by row; `outside` (a row beyond the table) where there is none."""
    flat = triangle.reshape(-1)
    corners = jnp.asarray(faces)[jnp.maximum(flat, 0)] if faces.shape[0] else jnp.zeros((flat.shape[0], 3), jnp.int32)
    return jnp.where(flat[:, None] >= 0, corners, outside)


def _weights(a, b, c, centre, seen, perspective) -> Float[Array, "N 3"]:
    """Barycentrics at the pixel centres, from corners taken relative to the centre (precision near the centre)."""
    # Empty pixels take a harmless triangle before any division, so that no NaN can reach a gradient.
    fake = jnp.array([[0.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], a.dtype)
    a, b, c = (jnp.where(seen[:, None], corner, fake[k]) for k, corner in enumerate((a, b, c)))
    pa, pb, pc = (corner[:, :2] - jnp.where(seen[:, None], centre, 0.0) for corner in (a, b, c))
    areas = [_cross(pb, pc), _cross(pc, pa), _cross(pa, pb)]
    if perspective:
        areas = [area / corner[:, 2] for area, corner in zip(areas, (a, b, c), strict=True)]
    weights = jnp.stack(areas, axis=1) / (areas[0] + areas[1] + areas[2])[:, None]
    return jnp.where(seen[:, None], weights, 0.0)


def _cross(u: Float[Array, "N 2"], v: Float[Array, "N 2"]) -> Float[Array, " N"]:
    return u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]

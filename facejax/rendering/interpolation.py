"""Values at the visible surface point of each pixel: differentiable perspective-correct barycentrics and attributes."""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from facejax.kernels import gather_rows
from facejax.kernels.barrier import once

Plane = Float[Array, " N"]  # one number per pixel: pictures are computed plane by plane and stacked at the end


class Surface(NamedTuple):
    """The visible surface at each pixel centre; zeros where there is none."""

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

    With b_k the barycentrics in the image and z_k the corners' depths, the weights on the surface are b_k / z_k over
    their sum (perspective) or b_k (without). Differentiable in points and attributes; the visible triangles are fixed.

    Args:
      points: (x, y, depth) as from `camera.project`.
      attributes: of the vertices.
      faces: triangles.
      triangle: the visible triangle of each pixel, -1 where there is none.
      perspective: whether the camera is a perspective one.
    """
    height, width = triangle.shape
    seen = triangle.reshape(-1) >= 0
    corners = corner_rows(faces, triangle, points.shape[0])
    table = jnp.concatenate([points, attributes], axis=1)
    a, b, c = (jnp.unstack(gather_rows(table, corners[:, k]), axis=1) for k in range(3))
    rows, columns = jnp.divmod(jnp.arange(height * width), width)
    centre = [line.astype(points.dtype) + 0.5 for line in (columns, rows)]
    weights = once(pixel_weights([a[:3], b[:3], c[:3]], centre, seen, perspective))
    depth, *mixed = once([_mix(weights, values) for values in zip(a[2:], b[2:], c[2:], strict=True)])
    shape = (height, width)
    return Surface(_picture(weights, shape), depth.reshape(shape), _picture(mixed, shape))


def interpolate_corners(
    values: Float[Array, "U C"],
    value_faces: Int[Array, "F 3"],
    triangle: Int[Array, "H W"],
    barycentric: Float[Array, "H W 3"],
) -> Float[Array, "H W C"]:
    """Interpolate values that have their own corner indices, such as UV coordinates with seams.

    Args:
      values: one row per value.
      value_faces: the rows at each triangle's corners.
      triangle: the visible triangle of each pixel, -1 where there is none.
      barycentric: weights of its corners on the surface, as in `Surface`.
    """
    corners = corner_rows(value_faces, triangle, values.shape[0])
    weights = [weight.reshape(-1) for weight in jnp.unstack(barycentric, axis=-1)]
    a, b, c = (jnp.unstack(gather_rows(values, corners[:, k]), axis=1) for k in range(3))
    return _picture([_mix(weights, three) for three in zip(a, b, c, strict=True)], triangle.shape)


def corner_rows(faces: Int[Array, "F 3"], triangle: Int[Array, "H W"], outside: int) -> Int[Array, "N 3"]:
    """Corner indices of each pixel's triangle, row by row; `outside` (a row beyond the table) where there is none."""
    flat = triangle.reshape(-1)
    corners = jnp.asarray(faces)[jnp.maximum(flat, 0)] if faces.shape[0] else jnp.zeros((flat.shape[0], 3), jnp.int32)
    return jnp.where(flat[:, None] >= 0, corners, outside)


def _mix(weights: Sequence[Plane], values: Sequence[Plane]) -> Plane:
    return weights[0] * values[0] + weights[1] * values[1] + weights[2] * values[2]


def _picture(planes: Sequence[Plane], shape: tuple[int, ...]) -> Float[Array, "H W C"]:
    return jnp.stack([plane.reshape(shape) for plane in planes], axis=-1) if planes else jnp.zeros((*shape, 0))


def pixel_weights(
    corners: Sequence[Sequence[Plane]], centre: Sequence[Plane], seen: Bool[Array, " N"], perspective: bool
) -> list[Plane]:
    """Barycentrics on the surface at pixel centres, from corners relative to the centre (for precision near it).

    Args:
      corners: (x, y, depth) of each corner of the pixels' triangles.
      centre: x and y of the pixels.
      seen: False where there is no triangle; zeros there.
      perspective: whether the camera is a perspective one.
    """
    # Empty pixels get a dummy triangle before any division, so that no NaN can reach a gradient.
    harmless = ((0.0, 0.0, 1.0), (1.0, 0.0, 1.0), (0.0, 1.0, 1.0))
    relative, depths = [], []
    for (x, y, depth), (u, v, one) in zip(corners, harmless, strict=True):
        relative.append((jnp.where(seen, x - centre[0], u), jnp.where(seen, y - centre[1], v)))
        depths.append(jnp.where(seen, depth, one))
    a, b, c = relative
    areas = [_cross(b, c), _cross(c, a), _cross(a, b)]
    if perspective:
        areas = [area / depth for area, depth in zip(areas, depths, strict=True)]
    total = areas[0] + areas[1] + areas[2]
    return [jnp.where(seen, area / total, 0.0) for area in areas]


def _cross(u: tuple[Plane, Plane], v: tuple[Plane, Plane]) -> Plane:
    return u[0] * v[1] - u[1] * v[0]

"""Triangle meshes: normals, areas and similarity alignment. Written for one mesh; vmap for many."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.kernels import add_rows, gather_rows
from facejax.kernels.barrier import stored

EPS = 1e-12


def safe_normalize(x: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Unit vectors along the last axis; a zero vector stays zero, with a zero gradient (never NaN)."""
    a, b, c = jnp.unstack(x, axis=-1)
    square = a * a + b * b + c * c
    tiny = square < EPS
    length = jnp.sqrt(jnp.where(tiny, 1.0, square))
    return jnp.stack([jnp.where(tiny, 0.0, part / length) for part in (a, b, c)], axis=-1)


def face_normals(vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Float[Array, "F 3"]:
    """Cross product of two edges of each face: along the outward normal (counter-clockwise faces), of length twice the
    area.
    """
    a, b, c = (jnp.unstack(gather_rows(vertices, faces[:, k]), axis=-1) for k in range(3))
    ux, uy, uz = (end - start for end, start in zip(b, a, strict=True))
    vx, vy, vz = (end - start for end, start in zip(c, a, strict=True))
    return jnp.stack(stored([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx]), axis=-1)


def vertex_normals(vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Float[Array, "V 3"]:
    """Unit vertex normals: the area-weighted mean of the incident faces' normals.

    A vertex whose faces are all degenerate gets the zero vector.
    """
    return safe_normalize(_around(face_normals(vertices, faces), faces, vertices.shape[0]))


def _around(values: Float[Array, "F ..."], faces: Int[Array, "F 3"], count: int) -> Float[Array, "V ..."]:
    """The sum of the values of the faces around each of `count` vertices."""
    return add_rows(jnp.concatenate([values, values, values]), faces.T.reshape(-1), count)


def face_neighbors(faces: Int[Array | np.ndarray, "F 3"]) -> Int[Array, "F 3"]:
    """The face across the edge from corner k to corner k + 1 of each face; -1 at a border.

    Computed on the host when the indices are known. Inside jit it is a sort (some 10 ms for 20,000 faces on a CPU: pass
    a precomputed array to the renderer where that matters). Where more than two faces share an edge, they are paired in
    the order of their indices.
    """
    try:
        faces, traced = np.asarray(faces), False
    except jax.errors.TracerArrayConversionError:
        traced = True
    xp = jnp if traced else np
    count = 3 * faces.shape[0]
    if count == 0:
        return jnp.zeros((0, 3), jnp.int32)
    ends = xp.stack([faces, xp.roll(faces, -1, axis=1)]).reshape(2, -1)
    low, high = ends.min(axis=0), ends.max(axis=0)
    order = xp.lexsort((high, low))
    low, high, place = low[order], high[order], xp.arange(count)
    again = (place > 0) & (low == xp.roll(low, 1)) & (high == xp.roll(high, 1))  # the same edge as the entry before
    run_start = xp.where(again, 0, place)
    run_start = jax.lax.cummax(jnp.asarray(run_start)) if traced else np.maximum.accumulate(run_start)
    second = (place - run_start) % 2 == 1
    first = xp.roll(second, -1)  # entry 0 is never a second one, so nothing wraps around
    twin = xp.where(second, xp.roll(order, 1), xp.where(first, xp.roll(order, -1), -1))
    neighbors = xp.where(twin < 0, -1, twin // 3)[xp.argsort(order)]
    return jnp.asarray(neighbors.reshape(-1, 3), jnp.int32)


def points_on_faces(
    vertices: Float[Array, "V C"], faces: Int[Array, "F 3"], face_ids: Int[Array, "*L"], weights: Float[Array, "*L 3"]
) -> Float[Array, "*L C"]:
    """Surface points given by triangles and barycentric weights of their corners.

    Args:
      vertices: positions or other values.
      faces: triangles.
      face_ids: the triangle of each point.
      weights: barycentric.

    Returns:
      One value per point and channel.
    """
    return jnp.einsum("...k,...kc->...c", weights, vertices[faces[face_ids]])


def align_similarity(
    source: Float[Array | np.ndarray, "N D"],
    target: Float[Array | np.ndarray, "N D"],
    weights: Float[Array | np.ndarray, " N"] | None = None,
    *,
    scale: bool = True,
) -> tuple[Any, Any, Any]:
    """Least-squares similarity (s, R, t) with `s * source @ R.T + t` close to `target`; R is never a reflection.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991, eq. 34-42.
    Works in 2 or 3 dimensions. Two numpy arrays are aligned on the host, in float64.

    Args:
      source, target: corresponding points.
      weights: of the points.
      scale: False fixes s = 1.

    Returns:
      s (a scalar), R (D, D) and t (D,).

    >>> corners = jnp.eye(3)
    >>> s, r, t = align_similarity(corners, 2 * corners + 5)
    >>> round(float(s), 4), bool(jnp.allclose(t, 5, atol=1e-4))
    (2.0, True)
    """
    xp = np if isinstance(source, np.ndarray) and isinstance(target, np.ndarray) else jnp
    source, target = (xp.asarray(x, np.float64 if xp is np else None) for x in (source, target))
    weight = xp.ones_like(source[:, 0]) if weights is None else xp.asarray(weights, source.dtype)
    weight = weight / xp.sum(weight)
    mean_s, mean_t = weight @ source, weight @ target
    cs, ct = source - mean_s[None], target - mean_t[None]
    rotation, stretches = nearest_rotation((ct * weight[:, None]).T @ cs)
    variance = xp.sum(weight[:, None] * cs * cs)
    factor = xp.sum(stretches) / variance if scale else xp.ones_like(variance)
    return xp.asarray(factor), rotation, mean_t - factor * rotation @ mean_s


def nearest_rotation(
    matrix: Float[Array | np.ndarray, "D D"],
) -> tuple[Float[Array | np.ndarray, "D D"], Float[Array | np.ndarray, " D"]]:
    """The rotation R nearest to a matrix (Frobenius norm), and the stretches along its axes.

    The stretches are the singular values; the last is negative where only a reflection would be nearer. Their mean is
    the best scale s for `s R`.
    """
    xp = np if isinstance(matrix, np.ndarray) else jnp
    u, singular, vt = xp.linalg.svd(matrix)
    reflected = xp.sign(xp.linalg.det(u) * xp.linalg.det(vt))
    sign = xp.where(xp.arange(len(singular)) == len(singular) - 1, reflected, xp.ones_like(singular))
    return (u * sign[None]) @ vt, singular * sign

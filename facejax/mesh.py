"""Triangle meshes: normals, areas and similarity alignment. Written for one mesh; vmap for many."""

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
    """Cross products of two edges: along the outward normal (counter-clockwise faces), of length twice the area."""
    a, b, c = (jnp.unstack(gather_rows(vertices, faces[:, k]), axis=-1) for k in range(3))
    ux, uy, uz = (end - start for end, start in zip(b, a, strict=True))
    vx, vy, vz = (end - start for end, start in zip(c, a, strict=True))
    return jnp.stack(stored([uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx]), axis=-1)


def vertex_normals(vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Float[Array, "V 3"]:
    """Unit vertex normals: the area-weighted mean of the incident faces' normals.

    A vertex whose faces are all degenerate gets the zero vector.
    """
    return safe_normalize(_around(face_normals(vertices, faces), faces, vertices.shape[0]))


def vertex_areas(vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Float[Array, " V"]:
    """A third of the area (squared unit of the vertices) of the triangles around each vertex."""
    thirds = jnp.linalg.norm(face_normals(vertices, faces), axis=-1) / 6.0
    return _around(thirds, faces, vertices.shape[0])


def _around(values: Float[Array, "F ..."], faces: Int[Array, "F 3"], count: int) -> Float[Array, "V ..."]:
    """The sum of the values of the faces around each of `count` vertices."""
    return add_rows(jnp.concatenate([values, values, values]), faces.T.reshape(-1), count)


def face_neighbors(faces: Int[Array | np.ndarray, "F 3"]) -> Int[Array, "F 3"]:
    """The face across the edge from corner k to corner k + 1 of each face; -1 at a border.

    Computed on the host when the indices are known, else by a sort inside the program (some 10 ms for 20,000 faces on
    a CPU: pass a precomputed array to the renderer where that matters). Of more than two faces at an edge, pairs
    in order of their numbers become neighbours.
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
    """Surface points given by a triangle and barycentric weights of its corners."""
    return jnp.einsum("...k,...kc->...c", weights, vertices[faces[face_ids]])


def align_similarity(
    source: Float[Array, "N D"],
    target: Float[Array, "N D"],
    weights: Float[Array, " N"] | None = None,
    *,
    scale: bool = True,
) -> tuple[Float[Array, ""], Float[Array, "D D"], Float[Array, " D"]]:
    """Least-squares similarity (s, R, t) with `s * source @ R.T + t` close to `target`; R is never a reflection.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991, eq. 34-42.
    With `scale=False` s is 1. Works in 2 or 3 dimensions.

    >>> corners = jnp.eye(3)
    >>> s, r, t = align_similarity(corners, 2 * corners + 5)
    >>> round(float(s), 4), bool(jnp.allclose(t, 5, atol=1e-4))
    (2.0, True)
    """
    weight = jnp.ones(source.shape[0], source.dtype) if weights is None else weights
    weight = weight / jnp.sum(weight)
    mean_s, mean_t = weight @ source, weight @ target
    cs, ct = source - mean_s[None], target - mean_t[None]
    u, singular, vt = jnp.linalg.svd((ct * weight[:, None]).T @ cs)
    sign = jnp.ones(source.shape[1], source.dtype).at[-1].set(jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vt)))
    rotation = (u * sign[None]) @ vt
    variance = jnp.sum(weight[:, None] * cs * cs)
    factor = jnp.sum(singular * sign) / variance if scale else jnp.ones((), source.dtype)
    return factor, rotation, mean_t - factor * rotation @ mean_s

"""Triangle meshes: normals, areas and similarity alignment. Written for one mesh; vmap for many."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

EPS = 1e-12


def safe_normalize(x: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Unit vectors along the last axis; a zero vector stays zero, with a zero gradient (never NaN)."""
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    tiny = square < EPS
    return jnp.where(tiny, 0.0, x / jnp.sqrt(jnp.where(tiny, 1.0, square)))


def face_normals(vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Float[Array, "F 3"]:
    """Cross products of two edges: along the outward normal (counter-clockwise faces), of length twice the area."""
    a, b, c = vertices[faces[:, 0]], vertices[faces[:, 1]], vertices[faces[:, 2]]
    return jnp.cross(b - a, c - a)


def vertex_normals(vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Float[Array, "V 3"]:
    """Unit vertex normals: the area-weighted mean of the incident faces' normals.

    A vertex whose faces are all degenerate gets the zero vector.
    """
    normals = face_normals(vertices, faces)
    summed = jnp.zeros_like(vertices).at[faces.reshape(-1)].add(jnp.repeat(normals, 3, axis=0))
    return safe_normalize(summed)


def vertex_areas(vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Float[Array, " V"]:
    """A third of the area (squared unit of the vertices) of the triangles around each vertex."""
    thirds = jnp.linalg.norm(face_normals(vertices, faces), axis=-1) / 6.0
    return jnp.zeros(vertices.shape[0], vertices.dtype).at[faces.reshape(-1)].add(jnp.repeat(thirds, 3))


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
    """
    weight = jnp.ones(source.shape[0], source.dtype) if weights is None else weights
    weight = weight / jnp.sum(weight)
    mean_s, mean_t = weight @ source, weight @ target
    cs, ct = source - mean_s, target - mean_t
    u, singular, vt = jnp.linalg.svd((ct * weight[:, None]).T @ cs)
    sign = jnp.ones(source.shape[1], source.dtype).at[-1].set(jnp.sign(jnp.linalg.det(u) * jnp.linalg.det(vt)))
    rotation = (u * sign) @ vt
    variance = jnp.sum(weight[:, None] * cs * cs)
    factor = jnp.sum(singular * sign) / variance if scale else jnp.ones((), source.dtype)
    return factor, rotation, mean_t - factor * rotation @ mean_s

"""Tangent frames of a texture layout, and normals in them.

A frame has the unit vectors tangent (along +u), bitangent (along +v) and normal. As in MikkTSpace, which glTF 2.0 asks
for, tangents are averaged over the faces around a texture vertex, interpolated, and made perpendicular to the
interpolated normal; the bitangent is the cross product of the two, with the sign of the face's layout. Faces are
weighted by their areas here, as in `facejax.mesh.vertex_normals`, where MikkTSpace takes their angles.

Mikkelsen, "Simulation of wrinkled surfaces revisited", thesis, University of Copenhagen 2008.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from facejax.kernels import add_rows, gather_rows
from facejax.mesh import safe_normalize
from facejax.rendering.interpolation import interpolate_corners

LEAST_AREA = 1e-12  # of a face in the layout, twice; smaller ones have no frame of their own


def surface_gradients(
    vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"], uv: Float[Array, "U 2"], uv_faces: Int[Array, "F 3"]
) -> tuple[Float[Array, "F 3"], Float[Array, "F 3"]]:
    """dP/du and dP/dv of each face, mm per unit of uv; zero where the face has no area in the layout.

    Args:
      vertices: mm.
      faces: triangles.
      uv, uv_faces: the layout.
    """
    along_u, along_v, area = _edges(vertices, faces, uv, uv_faces)
    flat = jnp.abs(area) < LEAST_AREA
    inverse = jnp.where(flat, 0.0, 1 / jnp.where(flat, 1.0, area))[:, None]
    return along_u * inverse, along_v * inverse


def _edges(
    vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"], uv: Float[Array, "U 2"], uv_faces: Int[Array, "F 3"]
) -> tuple[Float[Array, "F 3"], Float[Array, "F 3"], Float[Array, " F"]]:
    """dP/du and dP/dv times twice the face's signed area in the layout, and that area."""
    a, b, c = (gather_rows(vertices, faces[:, k]) for k in range(3))
    p, q, r = (gather_rows(uv, uv_faces[:, k]) for k in range(3))
    (du, dv), (eu, ev) = jnp.unstack(q - p, axis=1), jnp.unstack(r - p, axis=1)
    along_u = ev[:, None] * (b - a) - dv[:, None] * (c - a)
    along_v = du[:, None] * (c - a) - eu[:, None] * (b - a)
    return along_u, along_v, du * ev - dv * eu


def tangents(
    vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"], uv: Float[Array, "U 2"], uv_faces: Int[Array, "F 3"]
) -> tuple[Float[Array, "U 3"], Float[Array, " F"]]:
    """The unit tangent at each texture vertex, and of each face 1, or -1 where the layout shows it mirrored.

    Args:
      vertices: mm, in the space that the frames are wanted in.
      faces: triangles.
      uv, uv_faces: the layout.
    """
    along_u, _, area = _edges(vertices, faces, uv, uv_faces)
    sign = jnp.where(area < 0, -1.0, 1.0).astype(vertices.dtype)
    # Weighted by the area in space; a mean over faces that the layout shows mirrored and not still points along +u.
    weighted = _area(vertices, faces)[:, None] * safe_normalize(along_u * sign[:, None])
    around = add_rows(jnp.concatenate([weighted] * 3), uv_faces.T.reshape(-1), uv.shape[0])
    return safe_normalize(around), sign


def _area(vertices: Float[Array, "V 3"], faces: Int[Array, "F 3"]) -> Float[Array, " F"]:
    a, b, c = (gather_rows(vertices, faces[:, k]) for k in range(3))
    normal = jnp.cross(b - a, c - a)
    return jnp.sum(normal * safe_normalize(normal), axis=1)  # the length, with a finite gradient at zero


def perturb(
    normal: Float[Array, "*N 3"],
    tangent: Float[Array, "*N 3"],
    sign: Float[Array, "*N"],
    mapped: Float[Array, "*N 3"],
) -> Float[Array, "*N 3"]:
    """The normals of a normal map in the space of the surface's own normals, unit.

    Args:
      normal: of the surface, unit; where it is zero the result is zero.
      tangent: along +u; need not be perpendicular to the normal.
      sign: 1, or -1 where the layout is mirrored.
      mapped: x along +u, y along +v, z out of the surface; need not be unit.
    """
    tangent = safe_normalize(tangent - jnp.sum(normal * tangent, axis=-1, keepdims=True) * normal)
    bitangent = sign[..., None] * jnp.cross(normal, tangent)
    x, y, z = (mapped[..., k, None] for k in range(3))
    return safe_normalize(x * tangent + y * bitangent + z * normal)


def pixel_normals(
    vertices: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    uv: Float[Array, "U 2"],
    uv_faces: Int[Array, "F 3"],
    *,
    triangle: Int[Array, "H W"],
    barycentric: Float[Array, "H W 3"],
    normal: Float[Array, "H W 3"],
    mapped: Float[Array, "H W 3"],
) -> Float[Array, "H W 3"]:
    """`perturb` for the pixels of a picture, with the frames of the mesh; unit, in the space of `vertices`.

    Args:
      vertices: mm.
      faces: triangles.
      uv, uv_faces: the layout.
      triangle, barycentric, normal: of a `Rendering`.
      mapped: the normal map at each pixel.
    """
    of_vertices, of_faces = tangents(vertices, faces, uv, uv_faces)
    tangent = interpolate_corners(of_vertices, uv_faces, triangle, barycentric)
    return perturb(normal, tangent, of_faces[jnp.maximum(triangle, 0)], mapped)


def normals_from_height(height: Float[Array, "T S"], texel: Float[Array, " 2"]) -> Float[Array, "T S 3"]:
    """The tangent-space normals of a relief, unit; by central differences, one-sided at the border.

    Args:
      height: mm above the surface, row 0 on top.
      texel: width and height of a texel on the surface, mm.
    """
    rows, columns = jnp.gradient(height)
    return safe_normalize(jnp.stack([-columns / texel[0], rows / texel[1], jnp.ones_like(height)], axis=-1))

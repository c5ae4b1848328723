"""`render_mesh`: visibility, interpolation, texture, light and soft edges, composed."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from facejax.camera import NEAR, Camera, project
from facejax.kernels import nearest_triangle
from facejax.lighting import linear_to_srgb, shade, srgb_to_linear
from facejax.mesh import face_neighbors, safe_normalize, vertex_normals
from facejax.rendering.edges import antialias, find_crossings
from facejax.rendering.interpolation import interpolate, interpolate_corners
from facejax.rendering.texture import sample_texture

DARK = 0.02  # shading below this fades out exponentially, so that light never goes negative


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Rendering:
    """The rendered pictures. Where nothing is seen they are zero, `triangle` is -1 and the colour is the background."""

    color: Float[Array, "*B H W 3"]  # display values over the background, edges blended
    alpha: Float[Array, "*B H W"]  # coverage in [0, 1], soft within a pixel of the silhouette
    depth: Float[Array, "*B H W"]  # mm in front of the camera
    normal: Float[Array, "*B H W 3"]  # unit, camera space
    uv: Float[Array, "*B H W 2"]
    triangle: Int[Array, "*B H W"]  # row of `faces`, or -1
    barycentric: Float[Array, "*B H W 3"]  # of the triangle's corners, on the surface
    overflow: Int[Array, "*B"]  # edge crossings beyond the capacity, which stay unblended; normally 0


def rasterize(
    points: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    *,
    size: tuple[int, int],
    perspective: bool,
    capacity: int | None = None,
) -> Int[Array, "H W"]:
    """Row of the front-facing triangle nearest to the camera at each pixel centre, -1 where there is none.

    Without a gradient: `interpolate` gives the exact point of the surface. See `facejax.kernels.nearest_triangle`.

    Args:
      points: (x, y, depth) as from `camera.project`.
      faces: triangles.
      size: height and width of the picture, pixels.
      perspective: whether the camera is a perspective one.
      capacity: (triangle, tile) pairs in a pass; affects speed and memory only.
    """
    return nearest_triangle(points, faces, size=size, perspective=perspective, near=NEAR, capacity=capacity)


def render_mesh(
    vertices: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    camera: Camera,
    *,
    size: tuple[int, int],
    uv: Float[Array, "U 2"] | None = None,
    uv_faces: Int[Array, "F 3"] | None = None,
    texture: Float[Array, "T S 3"] | None = None,
    vertex_colors: Float[Array, "V 3"] | None = None,
    light: Float[Array, "9 3"] | None = None,
    normals: Float[Array, "V 3"] | None = None,
    background: Float[Array, "*H 3"] | None = None,
    linear: bool = True,
    edges: bool = True,
    neighbors: Int[Array, "F 3"] | None = None,
    capacity: int | None = None,
    crossings: int | None = None,
) -> Rendering:
    """Render one mesh, differentiable in everything but the topology; vmap for many. Back faces are not drawn.

    The albedo, in display values, comes from `texture`, else from `vertex_colors`, else it is 0.6 grey. The colour is
    `albedo * shade(normal, light)`.

    Args:
      vertices: camera space, mm.
      faces: triangles.
      camera: in pixels of the picture.
      size: height and width of the picture, pixels.
      uv: texture coordinates, v up.
      uv_faces: their triangles; None: uv has one row per vertex.
      texture: display values, row 0 on top; needs `uv`.
      vertex_colors: display values.
      light: spherical harmonics, see `facejax.lighting`; None: the colour is the albedo.
      normals: of the vertices; None: the mesh's own.
      background: one colour or a picture, display values; None: black.
      linear: multiply by the light in linear RGB, see `lit`.
      edges: blend silhouettes, which gives them their gradient.
      neighbors: of `facejax.mesh.face_neighbors`; give them in programs where `faces` is an argument, or they are
        computed each time.
      capacity: (triangle, tile) pairs in a pass of the visibility; affects speed and memory only.
      crossings: the most places where outlines pass between pixel centres; None: 16 x the longer side. The rest stays
        unblended and is counted in `overflow`.

    Raises ValueError for a texture without uv.
    """
    finite = jnp.isfinite(vertices).all(axis=1, keepdims=True)
    triangle = rasterize(
        project(camera, vertices), faces, size=size, perspective=camera.perspective, capacity=capacity
    )  # triangles with a corner that is not finite are never seen, so zeros may replace those corners below
    vertices = jnp.where(finite, vertices, 0.0)
    points = project(camera, vertices)
    normals = vertex_normals(vertices, faces) if normals is None else normals
    painted = vertex_colors if texture is None else None
    table = normals if painted is None else jnp.concatenate([normals, painted], axis=1)
    surface = interpolate(points, table, faces, triangle, perspective=camera.perspective)
    normal = safe_normalize(surface.attributes[..., :3])
    covered = triangle >= 0
    seen_uv = jnp.zeros((*size, 2), vertices.dtype)
    if uv is not None:
        seen_uv = interpolate_corners(uv, faces if uv_faces is None else uv_faces, triangle, surface.barycentric)
    if texture is not None:
        if uv is None:
            raise ValueError("render_mesh got a texture without uv: pass uv (and uv_faces) too")
        albedo = sample_texture(texture, seen_uv, covered)
    else:
        albedo = jnp.full_like(normal, 0.6) if painted is None else surface.attributes[..., 3:]
    back = jnp.zeros(3, vertices.dtype) if background is None else background
    color = _over(back, lit(albedo, normal, light, linear=linear), covered)
    alpha, overflow = covered.astype(vertices.dtype), jnp.zeros((), jnp.int32)
    if edges:
        neighbors = face_neighbors(faces) if neighbors is None else neighbors
        perspective = camera.perspective
        found = find_crossings(
            points, faces, neighbors, triangle, surface.depth, perspective=perspective, capacity=crossings
        )
        color, alpha = antialias((color, alpha[..., None]), points, found)
        alpha, overflow = alpha[..., 0], found.overflow
    return Rendering(
        color=color,
        alpha=alpha,
        depth=surface.depth,
        normal=normal,
        uv=seen_uv,
        triangle=triangle,
        barycentric=surface.barycentric,
        overflow=overflow,
    )


@jax.jit
def repaint(
    rendering: Rendering,
    faces: Int[Array, "F 3"],
    albedo: Float[Array, "*S 3"],
    light: Float[Array, "9 3"],
    background: Float[Array, "*H 3"],
) -> Rendering:
    """A result of `render_mesh(edges=False)` with another albedo and light; visibility is not computed again.

    A program that repaints several times traces it once.

    Args:
      rendering: without blended edges.
      faces: triangles.
      albedo: display values per vertex (V, 3) or as a texture (T, T, 3).
      light: spherical harmonics, see `facejax.lighting`.
      background: one colour or a picture, display values.
    """
    covered = rendering.triangle >= 0
    if albedo.ndim == 3:
        colors = sample_texture(albedo, rendering.uv, covered)
    else:
        colors = interpolate_corners(albedo, faces, rendering.triangle, rendering.barycentric)
    return replace(rendering, color=_over(background, lit(colors, rendering.normal, light), covered))


def _over(
    background: Float[Array, "*H 3"], color: Float[Array, "H W 3"], covered: Bool[Array, "H W"]
) -> Float[Array, "H W 3"]:
    channels = zip(jnp.unstack(color, axis=-1), jnp.unstack(background, axis=-1), strict=True)
    return jnp.stack([jnp.where(covered, front, back) for front, back in channels], axis=-1)


def lit(
    albedo: Float[Array, "*N 3"],
    normal: Float[Array, "*N 3"],
    light: Float[Array, "9 3"] | None,
    *,
    linear: bool = True,
) -> Float[Array, "*N 3"]:
    """Display colour of a lit surface.

    In linear light, shading s below `DARK` becomes DARK exp(s / DARK - 1): positive and continuously differentiable, so
    a light that is negative somewhere still has a gradient.

    Args:
      albedo: display values.
      normal: unit, camera space.
      light: spherical harmonics, see `facejax.lighting`; None: the result is the albedo.
      linear: multiply in linear RGB; False multiplies display values, and leaves the product unchanged.
    """
    if light is None:
        return albedo
    channels = zip(jnp.unstack(albedo, axis=-1), jnp.unstack(shade(normal, light), axis=-1), strict=True)
    return jnp.stack([shaded(*one) if linear else one[0] * one[1] for one in channels], axis=-1)


def shaded(albedo: Float[Array, "*N"], shading: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Display values of an albedo (display values) times a shading, multiplied in linear light; see `lit`."""
    return linear_to_srgb(srgb_to_linear(albedo) * faded(shading))


def faded(shading: Float[Array, "*N"]) -> Float[Array, "*N"]:
    """Shading s, below `DARK` DARK exp(s / DARK - 1): see `lit`."""
    dark = shading < DARK
    return jnp.where(dark, DARK * jnp.exp(jnp.where(dark, shading, DARK) / DARK - 1), shading)

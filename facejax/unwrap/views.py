"""One photograph of one fitted face in the UV layout of its model: colours, visibility and light."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.camera import Camera, PerspectiveCamera, project, to_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.kernels import gather_rows
from facejax.lighting import shade
from facejax.mesh import safe_normalize, vertex_normals
from facejax.rendering import interpolate, rasterize
from facejax.unwrap.lookup import Pyramid, build_pyramid, footprint_axes, sample_pyramid
from facejax.unwrap.texels import Texels

FACING = 0.1  # cosine between normal and line of sight from which a texel counts as seen
DEPTH_SIDE = 768  # pixels per side of the depth map, which covers the face's box in the photograph
DEEPER = 0.5  # mm that a texel's tangent plane may lie behind the depth map
CURVED = 0.5  # more tolerance, as a share of how much the depth grows across the footprint
BLOCK = 2**18  # texels processed at once


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class View:
    """A photograph in the UV layout; row 0 on top. Leaves may carry leading batch axes."""

    color: Float[Array, "*B S S 3"]  # display values; 0 where the face is not seen
    facing: Float[Array, "*B S S"]  # cosine of normal and line of sight; 0 where the face is not seen
    valid: Float[Array, "*B S S"]  # 1 where the face is seen (times the parsing mask), 0 elsewhere
    shading: Float[Array, "*B S S 3"]  # linear irradiance (`lighting.shade`) under the fitted light; 0 off the layout
    shown: Float[Array, "*B S S"] | None = None  # 1 where the photograph shows skin, by a face parser; None: not known


class _Depths(NamedTuple):
    """Depth of the nearest surface over a square part of the photograph; 0 where there is none."""

    depth: Float[Array, "D D"]
    low: Float[Array, " 2"]  # the part's top-left corner, pixels of the photograph
    pixel: Float[Array, ""]  # side of one depth pixel, pixels of the photograph


class _Scene(NamedTuple):
    """What all texels of one face share."""

    surface: Float[Array, "V 6"]  # camera space (mm), unit normal
    slopes: Float[Array, "F 6"]  # mm per texel to the right, mm per texel down
    depths: _Depths
    photo: Pyramid  # the photograph, the parsing mask as a fourth channel, and perhaps what is shown as a fifth


def unwrap_view(
    model: FaceModel,
    params: FaceParams,
    image: Float[Array, "H W 3"],
    texels: Texels,
    *,
    parsing: Float[Array, "H W"] | None = None,
    shown: Float[Array, "H W"] | None = None,
    facing: float = FACING,
) -> View:
    """Look up every texel's place on the posed face in the photograph. One face; vmap or `lax.map` for many.

    A texel is seen where three things hold: the cosine between its normal and the line of sight is more than `facing`;
    its footprint lies in the image; by the face's own depth, neither another part of the face nor background lies in
    front of or in the footprint. Compile it with `facejax.programs.jit`.

    Bai et al., "FFHQ-UV", CVPR 2023, section 3.2 tests normals only; depth and footprints are additions.

    Args:
      model: the face model.
      params: the face; its camera is in pixels of `image`.
      image: the photograph, best at full size: each texel takes the mean of display values over its own footprint.
      texels: of the layout, from `mesh_texels`.
      parsing: 1 where the image shows skin that may be used (a face parser's mask); it scales `valid`.
      shown: the same, but kept apart as `View.shown`.
      facing: the smallest cosine.

    Returns:
      The photograph in the layout.
    """
    scene = _prepare(model, params, image, parsing, shown, texels.triangle.shape[0])
    shape = texels.covered.shape

    def some(part: tuple[Array, Array]) -> View:
        size = image.shape[0], image.shape[1]
        return _unwrap_texels(model, params, scene, *part, facing=facing, size=size, told=shown is not None)

    blocks = _blocks(*shape)
    parts = texels.triangle.reshape(blocks, -1), jnp.where(texels.covered[..., None], texels.weights, 0)
    view = jax.lax.map(some, (parts[0], parts[1].reshape(blocks, -1, 3)))
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, *leaf.shape[2:]), view)


def _blocks(rows: int, columns: int) -> int:
    """The fewest equal strips of rows with at most `BLOCK` texels each (or one row)."""
    return next(n for n in range(1, rows + 1) if rows % n == 0 and (rows * columns // n <= BLOCK or n == rows))


def _prepare(
    model: FaceModel,
    params: FaceParams,
    image: Array,
    parsing: Float[Array, "H W"] | None,
    shown: Float[Array, "H W"] | None,
    size: int,
) -> _Scene:
    vertices = to_camera(params.pose, decode(model, params))
    normals = vertex_normals(vertices, model.faces)
    mask = jnp.ones(image.shape[:2], image.dtype) if parsing is None else parsing
    return _Scene(
        surface=jnp.concatenate([vertices, normals], axis=1),
        slopes=_texel_slopes(model, vertices) / size,
        depths=_draw_depths(model, params.camera, vertices, image.shape[0], image.shape[1]),
        photo=build_pyramid(jnp.dstack([image, mask] + ([] if shown is None else [shown]))),
    )


def _texel_slopes(model: FaceModel, vertices: Float[Array, "V 3"]) -> Float[Array, "F 6"]:
    """For each triangle, mm per step of 1 in u and per step of -1 in v (down the map)."""
    a, b, c = (vertices[model.faces[:, k]] for k in range(3))
    ua, ub, uc = (model.uv[model.topology.uv_faces[:, k]] for k in range(3))
    (bu, bv), (cu, cv) = (ub - ua).T[..., None], (uc - ua).T[..., None]
    area = bu * cv - bv * cu
    scale = jnp.where(area == 0, 0.0, 1.0 / jnp.where(area == 0, 1.0, area))
    across, up = (b - a) * cv - (c - a) * bv, (c - a) * bu - (b - a) * cu
    return jnp.concatenate([across * scale, -up * scale], axis=1)


def _draw_depths(model: FaceModel, camera: Camera, vertices: Array, height: int, width: int) -> _Depths:
    """Depth over the part of the photograph that the face covers, so that its resolution does not depend on the
    photo's.
    """
    points = project(camera, vertices)
    border = jnp.array([width, height], points.dtype)
    low = jnp.clip(points[:, :2].min(axis=0) - 1, 0, border)
    high = jnp.clip(points[:, :2].max(axis=0) + 1, 0, border)
    pixel = jnp.maximum((high - low).max(), 1.0) / DEPTH_SIDE
    points = jnp.concatenate([(points[:, :2] - low[None]) / pixel, points[:, 2:]], axis=1)
    size = (DEPTH_SIDE, DEPTH_SIDE)
    triangle = rasterize(points, model.faces, size=size, perspective=camera.perspective)
    drawn = interpolate(points, points[:, :0], model.faces, triangle, perspective=camera.perspective)
    return _Depths(drawn.depth, low, pixel)


def _unwrap_texels(
    model: FaceModel,
    params: FaceParams,
    scene: _Scene,
    triangle: Array,
    weights: Float[Array, "N 3"],
    *,
    facing: float,
    size: tuple[int, int],
    told: bool,
) -> View:
    camera = params.camera
    corners = model.faces[triangle]
    surface = jnp.asarray(sum(weights[:, k : k + 1] * gather_rows(scene.surface, corners[:, k]) for k in range(3)))
    covered = weights.sum(axis=1) > 0.5
    points, normal = jnp.where(covered[:, None], surface[:, :3], -1.0), safe_normalize(surface[:, 3:])
    towards = -safe_normalize(points) if isinstance(camera, PerspectiveCamera) else jnp.array([[0.0, 0.0, 1.0]])
    cosine = jnp.sum(normal * towards, axis=-1)

    slopes = gather_rows(scene.slopes, triangle)
    place, across = jax.jvp(lambda p: project(camera, p), (points,), (slopes[:, :3],))
    _, down = jax.jvp(lambda p: project(camera, p), (points,), (slopes[:, 3:],))
    long, short = footprint_axes(across[:, :2], down[:, :2])
    radius = 0.5 * jnp.maximum(jnp.linalg.norm(long, axis=-1), 1.0)  # at least what a bilinear lookup reads

    seen = covered & (cosine > facing)
    seen &= _inside(place, radius, size) & _unhidden(scene.depths, camera, place, normal, cosine, radius)
    sampled = sample_pyramid(scene.photo, place[:, :2], long, short)
    color = jnp.where(seen[:, None], sampled[:, :3], 0.0)
    shading = jnp.where(covered[:, None], shade(normal, params.light), 0.0)
    shown = jnp.where(seen, sampled[:, 4], 0.0) if told else None
    return View(color, jnp.where(seen, cosine, 0.0), jnp.where(seen, sampled[:, 3], 0.0), shading, shown)


def _inside(place: Float[Array, "N 3"], radius: Float[Array, " N"], size: tuple[int, int]) -> Array:
    x, y, _ = place.T
    return (x >= radius) & (x <= size[1] - radius) & (y >= radius) & (y <= size[0] - radius)


def _unhidden(
    depths: _Depths,
    camera: Camera,
    place: Float[Array, "N 3"],
    normal: Float[Array, "N 3"],
    cosine: Float[Array, " N"],
    radius: Float[Array, " N"],
) -> Array:
    """Whether nothing nearer than the face itself, and no background, lies at the corners of the footprint.

    The depth expected there is that of the texel's tangent plane. Without it, a tolerance wide enough for slanted skin
    would also pass eyeballs under their lids. What the plane leaves (curvature, facets) grows with slope and distance.
    """
    depth = place[:, 2]
    millimetres = depth / camera.focal if isinstance(camera, PerspectiveCamera) else 1.0 / camera.scale
    cosine = jnp.clip(cosine, 0.05, 1.0)
    # mm of depth per pixel
    tilt = jnp.stack([normal[:, 0], -normal[:, 1]], axis=-1) * (millimetres / cosine)[..., None]
    reach = jnp.maximum(radius, 0.5 * depths.pixel)
    tolerance = DEEPER + CURVED * reach * millimetres / cosine
    flat = depths.depth.reshape(-1)
    unhidden = jnp.ones(depth.shape, bool)
    for corner in ((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0), (1.0, 1.0)):
        wanted = (place[:, :2] + reach[:, None] * jnp.array([corner]) - depths.low[None]) / depths.pixel
        cell = jnp.clip(wanted, 0, DEPTH_SIDE - 1).astype(jnp.int32)
        away = depths.low[None] + (cell.astype(wanted.dtype) + 0.5) * depths.pixel - place[:, :2]
        nearest = flat[cell[:, 1] * DEPTH_SIDE + cell[:, 0]]
        expected = depth + jnp.sum(tilt * away, axis=-1)
        unhidden &= (nearest > 0) & (expected <= nearest + tolerance)
    return unhidden

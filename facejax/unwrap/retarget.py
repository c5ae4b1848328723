"""Transfer of a texture from one mesh's layout to another's by surface correspondence.

The two neutral meshes are aligned once, on the host: first a similarity from the landmarks, then non-rigid ICP of the
mesh with fewer vertices onto the other (Amberg et al., CVPR 2007; `facejax.face_model.builder`). Each texel of the
target layout is matched to the nearest point of the source's surface. Transferring a texture is then a lookup in JAX.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from facejax.face_model.builder import Landmarks, SurfaceIndex, register
from facejax.face_model.builder.closest import border_vertices, unit_normals
from facejax.face_model.model import FaceModel
from facejax.mesh import align_similarity
from facejax.unwrap.lookup import build_pyramid, footprint_axes, sample_pyramid
from facejax.unwrap.surfaces import Surface, as_surface
from facejax.unwrap.texels import _layout as layout_texels

EYE_CORNERS = (36, 45)
FACE_WIDTH = 90.0  # mm between the outer eye corners: both meshes are scaled to this while they are compared
INNER = slice(17, 68)  # landmarks without the jaw line, which every topology places elsewhere on the cheek
STIFFNESS = (50.0, 15.0, 5.0, 1.5, 0.6)
LANDMARK_WEIGHT = (10.0, 10.0, 7.0, 5.0, 4.0)
LARGEST = 1 / 16  # of the source map's side: the largest footprint of a lookup, however distorted a triangle is
MIN_COSINE = (0.2, 0.6)  # between the normals: no match below the first, a full match above the second


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Correspondence:
    """For each texel of the target layout, the matching point on the source; made by `correspond`."""

    triangle: Int[Array, "S S"]  # of the source's faces; 0 where the target has none
    weights: Float[Array, "S S 3"]  # barycentric, of that triangle's corners
    uv: Float[Array, "S S 2"]  # the same point in the source's layout
    across: Float[Array, "S S 2"]  # how that uv changes from a texel to its right neighbour on the same triangles
    down: Float[Array, "S S 2"]  # the same to the texel below; together the footprint that a lookup averages over
    valid: Float[Array, "S S"]  # in [0, 1]: 1 where the surfaces agree, 0 where source or target has no surface
    nearest: Int[Array, "S S"]  # row-major index of the well-matched texel nearest on the surface


def correspond(
    source: FaceModel | Surface, target: FaceModel | Surface, size: int, *, reach: tuple[float, float] = (2.0, 5.0)
) -> Correspondence:
    """Match each texel of the target's layout (`size` x `size`) to a point of the source. Host code: once for two
    layouts.

    Both need 68 landmarks and a texture layout; `as_surface` chooses parts or adds a layout. Position, rotation and
    size of the meshes do not matter, but both should be neutral faces. Skin is matched to skin and eyeballs to
    eyeballs. Takes some ten seconds for 512 x 512 texels on one core, most of it for the registration and the nearest
    points.

    Args:
      source: the mesh that textures come from.
      target: the mesh that textures go to.
      size: texels per side of the target's maps.
      reach: distances from the source in mm, on a face with 90 mm between the outer eye corners. A texel counts fully
        up to the first and not at all beyond the second. Nor does it count where the normals disagree or the source
        ends.

    Returns:
      The correspondence.

    Raises ValueError where nothing corresponds.
    """
    start, goal = as_surface(source), as_surface(target)
    source_points, target_points = _bring_together(start, goal)
    texels = layout_texels(jnp.asarray(goal.uv, jnp.float32), jnp.asarray(goal.uv_faces, jnp.int32), size)
    covered = np.asarray(texels.covered)
    triangle, weights = np.asarray(texels.triangle)[covered], np.asarray(texels.weights, np.float64)[covered]
    found_triangle, found_weights = np.zeros(len(triangle), np.int64), np.full((len(triangle), 3), 1 / 3)
    valid = np.zeros(len(triangle))
    for kind in (False, True):
        chosen, part = goal.eyeballs[triangle] == kind, np.flatnonzero(start.eyeballs == kind)
        if not chosen.any() or not len(part):
            continue
        matched = _match(
            source_points, start.faces[part], target_points, goal.faces, triangle[chosen], weights[chosen], reach
        )
        found_triangle[chosen], found_weights[chosen], valid[chosen] = part[matched[0]], matched[1], matched[2]
    if not (valid > 0.5).any():
        raise ValueError("correspond: no texel of the target is near the source: pass two neutral heads with landmarks")
    places = np.einsum("nk,nkd->nd", weights, target_points[goal.faces[triangle]])
    texel_step = np.array([[1.0, 0.0], [0.0, -1.0]]) / size  # one texel to the right and one down, in the target's uv
    steps = texel_step @ _per_uv(target_points, goal)[triangle] @ _to_uv(source_points, start)[found_triangle]
    steps *= np.minimum(1.0, LARGEST / np.maximum(np.linalg.norm(steps, axis=-1, keepdims=True), LARGEST / 10))
    uv = np.einsum("nk,nkd->nd", found_weights, start.uv_corners[found_triangle])

    def image(values: np.ndarray, dtype: type = np.float32) -> Array:
        full = np.zeros((size, size, *values.shape[1:]), dtype)
        full[covered] = values
        return jnp.asarray(full)

    return Correspondence(
        triangle=image(found_triangle, np.int32),
        weights=image(found_weights),
        uv=image(uv),
        across=image(steps[:, 0]),
        down=image(steps[:, 1]),
        valid=image(valid),
        nearest=jnp.asarray(_nearest_texels(covered, places, valid > 0.5), jnp.int32),
    )


def carry_texture(
    texture: Float[Array, "T R C"],
    correspondence: Correspondence,
    known: Float[Array, "T R"] | None = None,
    *,
    fill: bool = False,
    base: Float[Array, "S S C"] | None = None,
) -> tuple[Float[Array, "S S C"], Float[Array, "S S"]]:
    """The texture in the target's layout, and how far each texel can be trusted. Differentiable in both maps; vmap for
    many.

    Where the source map is finer, each texel averages over its footprint (`facejax.unwrap.lookup`).

    Args:
      texture: map in the source's layout.
      correspondence: what `correspond` found for the two layouts.
      known: weights in [0, 1]; 0 marks source texels to ignore, for instance those that a photograph did not show. A
        target texel that only such texels could fill is not valid. None: all are known.
      fill: fill every texel that has no counterpart, and the empty texels between the islands, with the colour of the
        nearest texel that has one (which may itself be unknown). Without it such texels are zero.
      base: a map in the target's layout, for instance the model's mean albedo, that shows wherever the transferred
        texture is not valid. Use it to keep eyeballs that the source lacks.

    Returns:
      The texture, and the validity of each texel in [0, 1].

    Raises ValueError for `fill` together with `base`.
    """
    if fill and base is not None:
        raise ValueError("carry_texture: fill=True and base= exclude each other: leave one out")
    weight = jnp.ones(texture.shape[:2], texture.dtype) if known is None else known
    premultiplied = jnp.concatenate([texture * weight[..., None], weight[..., None]], axis=-1)
    looked_up = _look_up(premultiplied, correspondence)
    share = looked_up[..., -1]
    color = looked_up[..., :-1] / jnp.where(share > 1e-3, share, 1.0)[..., None]
    color = jnp.where((share > 1e-3)[..., None], color, 0.0)
    valid = correspondence.valid * jnp.clip(share, 0.0, 1.0)
    if base is not None:
        return base + valid[..., None] * (color - base), valid
    if not fill:
        return jnp.where((valid > 0)[..., None], color, 0.0), valid
    other = color.reshape(-1, color.shape[-1])[correspondence.nearest]
    return other + correspondence.valid[..., None] * (color - other), valid


def _look_up(texture: Float[Array, "T R C"], correspondence: Correspondence) -> Float[Array, "S S C"]:
    """The texture averaged over each texel's footprint; uv has v up, image rows go down."""
    pixels = jnp.array([[texture.shape[1], -texture.shape[0]]], texture.dtype)
    across, down, uv = (x.reshape(-1, 2) for x in (correspondence.across, correspondence.down, correspondence.uv))
    place = uv * pixels + jnp.array([[0.0, texture.shape[0]]])
    long, short = footprint_axes(across * pixels, down * pixels)
    found = sample_pyramid(build_pyramid(texture), place, long, short)
    return found.reshape(*correspondence.valid.shape, -1)


def _bring_together(source: Surface, target: Surface) -> tuple[Float[np.ndarray, "V 3"], Float[np.ndarray, "W 3"]]:
    """Vertices of both meshes, aligned, in mm. The mesh with fewer vertices is deformed."""
    marks = source.landmarks
    unit = FACE_WIDTH / np.linalg.norm(np.subtract(*marks[list(EYE_CORNERS)]))
    fixed = unit * source.vertices
    scale, rotation, shift = align_similarity(target.landmarks[INNER], unit * marks[INNER])
    moved = scale * target.vertices @ rotation.T + shift
    if len(moved) <= len(fixed):
        return fixed, _bend(moved, target, fixed, source)
    return _bend(fixed, source, moved, target), moved


def _bend(vertices: np.ndarray, mesh: Surface, onto: np.ndarray, other: Surface) -> Float[np.ndarray, "V 3"]:
    """`mesh`, whose `vertices` lie roughly on those of `other`, with its skin registered onto the other's; eyeballs
    stay.
    """
    skin = ~mesh.eyeballs
    used, local = np.unique(mesh.faces[skin], return_inverse=True)
    targets = np.einsum("lk,lkd->ld", other.landmark_weights, onto[other.faces[other.landmark_faces]])
    marks = (np.cumsum(skin) - 1)[mesh.landmark_faces]
    result = register(
        vertices[used],
        local.reshape(-1, 3),
        onto,
        other.faces[~other.eyeballs],
        landmarks=Landmarks(marks[INNER], mesh.landmark_weights[INNER], targets[INNER]),
        stiffness=STIFFNESS,
        landmark_weight=LANDMARK_WEIGHT,
        iterations=2,
        max_angle=55.0,
        max_distance=15.0,
    )
    bent = vertices.copy()
    bent[used] = result.vertices
    return bent


def _match(
    source_points: np.ndarray,
    source_faces: np.ndarray,
    target_points: np.ndarray,
    target_faces: np.ndarray,
    triangle: np.ndarray,
    weights: np.ndarray,
    reach: tuple[float, float],
) -> tuple[Int[np.ndarray, " N"], Float[np.ndarray, "N 3"], Float[np.ndarray, " N"]]:
    """Nearest source triangle and barycentric weights for points on the target's surface, and the quality of each
    match.
    """
    corners = target_faces[triangle]
    found = SurfaceIndex(source_points, source_faces).query(np.einsum("nk,nkd->nd", weights, target_points[corners]))
    there = source_faces[found.triangles]
    ours = np.einsum("nk,nkd->nd", weights, unit_normals(target_points, target_faces)[corners])
    theirs = np.einsum("nk,nkd->nd", found.weights, unit_normals(source_points, source_faces)[there])
    lengths = np.linalg.norm(ours, axis=1) * np.linalg.norm(theirs, axis=1)
    cosine = np.sum(ours * theirs, axis=1) / np.maximum(lengths, 1e-12)
    border = border_vertices(source_faces, len(source_points))
    beyond = (border[there] | (found.weights < 1e-9)).all(axis=1)  # the source ends there and the target may not
    near = 1 - _ramp(found.distances, *reach)
    return found.triangles, found.weights, near * _ramp(cosine, *MIN_COSINE) * ~beyond


def _ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    return np.clip((value - low) / (high - low), 0.0, 1.0)


def _edges(values: np.ndarray) -> np.ndarray:
    """(F, 2, D) from corner 0 to corners 1 and 2 of (F, 3, D)."""
    return values[:, 1:] - values[:, :1]


def _per_uv(points: np.ndarray, mesh: Surface) -> Float[np.ndarray, "F 2 3"]:
    """How each triangle's points move with u (row 0) and v (row 1); zero where it has no area in the layout."""
    return _inverse(_edges(mesh.uv_corners)) @ _edges(points[mesh.faces])


def _to_uv(points: np.ndarray, mesh: Surface) -> Float[np.ndarray, "F 3 2"]:
    """How u and v change with the point, within each triangle's plane; zero where the triangle has no area."""
    edges = _edges(points[mesh.faces])
    return np.swapaxes(edges, 1, 2) @ _inverse(edges @ np.swapaxes(edges, 1, 2)) @ _edges(mesh.uv_corners)


def _inverse(matrices: Float[np.ndarray, "N 2 2"]) -> Float[np.ndarray, "N 2 2"]:
    a, b, c, d = matrices[:, 0, 0], matrices[:, 0, 1], matrices[:, 1, 0], matrices[:, 1, 1]
    determinant = a * d - b * c
    flat = np.abs(determinant) < 1e-14 * np.maximum(np.abs(matrices).max(axis=(1, 2)) ** 2, 1e-300)
    scale = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, determinant))
    return scale[:, None, None] * np.stack([np.stack([d, -b], -1), np.stack([-c, a], -1)], -2)


def _nearest_texels(covered: Bool[np.ndarray, "S S"], places: np.ndarray, good: np.ndarray) -> Int[np.ndarray, "S S"]:
    """For each texel the nearest good one on the surface. A texel off the mesh gets that of the nearest texel on the
    mesh.
    """
    numbers = np.flatnonzero(covered)
    choice = numbers.copy()
    if not good.all():
        choice[~good] = numbers[good][KDTree(places[good]).query(places[~good])[1]]
    table = np.zeros(covered.size, np.int64)
    table[numbers] = choice
    rows, columns = np.asarray(distance_transform_edt(~covered, return_distances=False, return_indices=True))
    return table[rows * covered.shape[1] + columns]

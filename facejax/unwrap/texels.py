"""The point of the mesh under each texel of a map."""

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from facejax.face_model import FaceModel
from facejax.face_model.texture_layout import has_layout, is_unrolled, outward
from facejax.programs import jit
from facejax.rendering import interpolate, rasterize

PASS = 2**17  # (triangle, tile) pairs processed at once: keeps a map of 4096 texels within a few hundred megabytes


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Texels:
    """The surface point under the centre of each texel of a square map; row 0 on top (row = (1 - v) S)."""

    triangle: Int[Array, "S S"]  # index into the model's faces; 0 where there is none
    weights: Float[Array, "S S 3"]  # barycentric, of the triangle's corners; 0 where there is none
    covered: Bool[Array, "S S"]


def mesh_texels(model: FaceModel, size: int) -> Texels:
    """The texels of a map with `size` texels per side, in the model's own UV layout. Compute it once for all faces.

    A texel is covered if its centre lies in a triangle. Where triangles overlap in the layout the first in the model
    wins; in the cylinder of `with_layout`, the outermost. Whatever lies outside the unit square (other UDIM tiles) is
    left out. Mirrored charts are covered too.

    Raises ValueError for a size below 1, and for a model without texture coordinates.
    """
    if size < 1:
        raise ValueError(f"size {size}: give the map at least one texel a side")
    if not has_layout(model):
        raise ValueError(
            f"face model {model.name!r} has no texture coordinates: facejax.face_model.texture_layout.with_layout "
            "gives it some"
        )
    if not is_unrolled(model):
        return _layout(model.uv, model.topology.uv_faces, size)
    order = jnp.asarray(outward(model)[::-1].copy(), jnp.int32)
    texels = _layout(model.uv, model.topology.uv_faces[order], size)
    return replace(texels, triangle=jnp.where(texels.covered, order[texels.triangle], 0))


@partial(jit, static_argnums=2)
def _layout(uv: Float[Array, "U 2"], faces: Int[Array, "F 3"], size: int) -> Texels:
    """The layout drawn like a scene in front of an orthographic camera."""
    points = jnp.stack([uv[:, 0] * size, (1 - uv[:, 1]) * size, jnp.ones_like(uv[:, 0])], axis=1)
    ax, ay, bx, by, cx, cy = points[faces, :2].reshape(-1, 6).T
    mirrored = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax) > 0  # y is down: a chart's front turns the other way
    faces = jnp.where(mirrored[:, None], faces[:, jnp.array([0, 2, 1])], faces)
    triangle = rasterize(points, faces, size=(size, size), perspective=False, capacity=PASS)
    weights = interpolate(points, points[:, :0], faces, triangle, perspective=False).barycentric
    covered, triangle = triangle >= 0, jnp.maximum(triangle, 0)
    weights = jnp.where(mirrored[triangle][..., None], weights[..., jnp.array([0, 2, 1])], weights)
    return Texels(triangle, weights, covered)

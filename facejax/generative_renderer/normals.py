"""The generator's input: camera-space normals of the posed head at every resolution.

Piao et al., CVPR 2021, section 3.1. The steps follow the released code: vertex normals of the posed mesh, interpolated
with barycentric weights (not normalised again), zero beside the head.
"""

from dataclasses import replace
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.camera import to_camera, transform_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.mesh import vertex_normals
from facejax.rendering import Rendering, render_mesh

Filtering = Literal["area", "raster"]


def render_normals(model: FaceModel, params: FaceParams, *, size: tuple[int, int]) -> Rendering:
    """The posed head, coloured by its normals times coverage in [-1, 1]: +x right, +y up, +z towards the camera.

    The camera is in pixels of that `size` (height, width), perspective or orthographic. Coverage is soft at the
    outline, which carries its gradient. One face; vmap for many.
    """
    vertices = to_camera(params.pose, decode(model, params))
    normals = vertex_normals(vertices, model.faces)
    neighbors = model.topology.neighbors
    return render_mesh(
        vertices, model.faces, params.camera, size=size, vertex_colors=normals, normals=normals, neighbors=neighbors
    )


def normal_pyramid(
    model: FaceModel, params: FaceParams, side: int, *, filtering: Filtering = "area"
) -> dict[str, Float[Array, "_ _ 3"]]:
    """Normals times coverage of one face at 4, 8, ..., `side` pixels: {"b4": (4, 4, 3), ...}.

    Args:
        model, params: the face; its camera is in pixels of a picture with `side` pixels.
        side: of the largest map, pixels; a power of two.
        filtering: "area" draws at `side` and averages. "raster" draws at every resolution, as the released code does;
            this aliases where triangles are smaller than pixels, and costs a third more.
    """
    if filtering == "area":
        return shrink_normals(render_normals(model, params, size=(side, side)).color)
    pyramid = {}
    for small in _sides(side):
        camera = transform_camera(params.camera, jnp.asarray(small / side), jnp.zeros(2))
        pyramid[f"b{small}"] = render_normals(model, replace(params, camera=camera), size=(small, small)).color
    return pyramid


def shrink_normals(normals: Float[Array, "*B S S 3"]) -> dict[str, Float[Array, "*B _ _ 3"]]:
    """The pyramid of one map: means of 2 x 2 pixels, down to 4 x 4."""
    pyramid, side = {}, normals.shape[-2]
    for _ in _sides(side):
        pyramid[f"b{side}"] = normals
        side //= 2
        batch = normals.shape[:-3]
        normals = normals.reshape(*batch, side, 2, side, 2, 3).mean(axis=(-4, -2))
    return dict(reversed(pyramid.items()))


def _sides(side: int) -> list[int]:
    if side < 4 or side & (side - 1):
        raise ValueError(f"side={side}: use a power of two from 4 on")
    return [2**k for k in range(2, side.bit_length())]

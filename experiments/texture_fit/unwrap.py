"""A photograph in the UV layout of the face fitted to it, and how evenly lit it is there."""

from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import scipy.ndimage
from default_head.skins import rasterise
from jaxtyping import Array, Bool, Float, Int
from texture_set_report import scaled_kernel

from facejax.camera import PerspectiveCamera, project, to_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.mesh import safe_normalize, vertex_normals
from facejax.programs import jit
from facejax.rendering import render_mesh, sample_texture
from facejax.texture import brightness_symmetry_error

SLANTED = 0.2  # cosine between normal and line of sight below which a texel counts as unseen
DEEPER = 1.0  # mm that a texel may lie behind the depth buffer at its pixel, besides the surface's slope there
ENOUGH = 0.1  # share of the face's texels that must be seen on both sides for a BS error


class Texels(NamedTuple):
    """The texels of a map and their places on the mesh."""

    triangle: Int[Array, "T T"]
    weights: Float[Array, "T T 3"]  # of its corners
    covered: Bool[Array, "T T"]
    face: Bool[Array, "T T"]  # the face without hairline and temples, as in fits


class Unwrapped(NamedTuple):
    map: Float[Array, "T T 3"]  # display values; meaningless where nothing is visible
    seen: Bool[Array, "T T"]


def mesh_texels(model: FaceModel, size: int) -> Texels:
    """The texels of a map with `size` texels per side."""
    corners = np.asarray(model.uv, np.float64)[np.asarray(model.topology.uv_faces)]
    found = rasterise(corners, (size, size))
    region = model.regions["face_inner" if "face_inner" in model.regions else "face"]
    face = found.interpolate(np.asarray(region)[np.asarray(model.faces)][..., None])[..., 0] > 0.5
    parts = (found.triangle, found.weights.astype(np.float32), found.covered, face & found.covered)
    return Texels(*map(jnp.asarray, parts))


def unwrap(model: FaceModel, params: FaceParams, image: Float[Array, "H W 3"], texels: Texels) -> Unwrapped:
    """Look up every texel's place on the posed face in the photograph; one face.

    A texel is visible if it faces the camera, lies in the picture, and is not behind another part of the face.

    Args:
      model: the face model.
      params: the face; its camera is the photograph's.
      image: the photograph.
      texels: from `mesh_texels`.

    Returns:
      The map, and its visible texels.
    """
    height, width, _ = image.shape
    vertices = to_camera(params.pose, decode(model, params))
    corners = model.faces[texels.triangle]

    def on_texels(table: Float[Array, "V 3"]) -> Float[Array, "P 3"]:
        return jnp.einsum("hwk,hwkc->hwc", texels.weights, table[corners]).reshape(-1, 3)

    points, normal = on_texels(vertices), safe_normalize(on_texels(vertex_normals(vertices, model.faces)))
    camera = params.camera
    towards = -safe_normalize(points) if isinstance(camera, PerspectiveCamera) else jnp.array([0.0, 0.0, 1.0])
    cosine = jnp.clip(jnp.sum(normal * towards, axis=-1), 1e-3, 1.0)
    x, y, depth = project(camera, points).T
    row, column = (jnp.floor(value).astype(jnp.int32) for value in (y, x))
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    drawn = render_mesh(vertices, model.faces, camera, size=(height, width), edges=False)
    place = jnp.stack([x / width, 1.0 - y / height], axis=-1)
    # no background among the pixels that it reads
    inside &= sample_texture(drawn.alpha[..., None], place)[..., 0] > 0.999
    nearest = drawn.depth[jnp.clip(row, 0, height - 1), jnp.clip(column, 0, width - 1)]
    pixel = depth / camera.focal if isinstance(camera, PerspectiveCamera) else 1.0 / camera.scale  # mm
    behind = depth > nearest + DEEPER + pixel * jnp.sqrt(1.0 - cosine**2) / cosine
    seen = inside & ~behind & (cosine > SLANTED)
    colour = sample_texture(image, place)
    shape = texels.covered.shape
    return Unwrapped(colour.reshape(*shape, 3), seen.reshape(shape) & texels.covered)


unwrap_jit = jit(unwrap)


def brightness_errors(unwrapped: Unwrapped, albedo: np.ndarray, texels: Texels) -> tuple[float, float] | None:
    """BS errors of the unwrapped photograph and of the albedo map, both over texels that are visible on both sides.

    Invisible texels take the colour of the nearest visible one in both maps, so that the blur is the same for both.
    None where too little of one side is visible.
    """
    seen = np.asarray(unwrapped.seen & texels.face)
    both = seen & seen[:, ::-1]
    if both.sum() < ENOUGH * float(texels.face.sum()):
        return None
    rows, columns = np.asarray(scipy.ndimage.distance_transform_edt(~both, return_distances=False, return_indices=True))
    maps = (np.clip(one, 0, 1)[rows, columns] for one in (np.asarray(unwrapped.map), albedo))
    error = _error(scaled_kernel(len(albedo)))
    photo, fitted = (float(error(one, both)) for one in maps)
    return photo, fitted


@cache
def _error(kernel: int):
    return jax.jit(lambda texture, where: brightness_symmetry_error(texture, kernel=kernel, where=where))

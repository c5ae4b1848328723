"""Visible points of a face's surface: their colours and the photograph's, and how both change with all unknowns.

A point stays at its place in its triangle, so it is linear in the coefficients, and nothing is drawn for a derivative.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.ndimage import gaussian_filter1d

from facejax import camera as cam
from facejax.face_model import FaceModel, FaceParams, decode, own_albedo
from facejax.fitting.scene import face_region
from facejax.lighting import sh_basis, shade
from facejax.mesh import safe_normalize, vertex_normals
from facejax.rendering.interpolation import pixel_weights
from facejax.rendering.mesh import rasterize, shaded
from facejax.rendering.texture import sample_texture

SURE = 0.05  # of the mask, below which a pixel is left out
PATTERN = 5  # seed of the order in which pixels are taken


class Points(NamedTuple):
    """Points of the surface at fixed places of their triangles."""

    corners: Int[Array, "P 3"]  # vertices
    weights: Float[Array, "P 3"]  # barycentric

    def of(self, table: Float[Array, "V C"]) -> Float[Array, "P C"]:
        """The values of vertices at the points."""
        return jnp.einsum("pk,pkc->pc", self.weights, table[self.corners])


class Photo(NamedTuple):
    """The photograph at one blur."""

    color: Float[Array, "S S 3"]  # display values
    slope: Float[Array, "S S 6"]  # by x, then by y; display values per pixel


class Pixels(NamedTuple):
    """Visible points, with what they are made of."""

    points: Points
    weight: Float[Array, " P"]  # sums to 1
    albedo: Float[Array, "P 3"]  # mean, display values
    albedo_basis: Float[Array, "P A 3"]


def blur_photo(image: Float[Array, "S S 3"], blur: float) -> Photo:
    """A photograph under a Gaussian of this standard deviation (pixels; 0: as it is), with its slope.

    Both directions by one matrix, so that the program holds no convolution; beyond the border its pixels are repeated.
    """
    still = np.eye(image.shape[0])
    smooth = jnp.asarray(gaussian_filter1d(still, blur, axis=0, mode="nearest") if blur > 0 else still, image.dtype)
    color = jnp.einsum("yi,xj,ijc->yxc", smooth, smooth, image)
    across, down = (jnp.asarray(jnp.gradient(color, axis=axis)) for axis in (1, 0))
    return Photo(color, jnp.concatenate([across, down], axis=-1))


def find_visible(
    model: FaceModel,
    params: FaceParams,
    vertices: Float[Array, "V 3"],
    comparable: Float[Array, "S S"],
    count: int,
) -> Pixels:
    """Some of the points that a picture shows, at the centres of its pixels, in an order without a pattern.

    Args:
        model, params: the face; its camera is in pixels of the picture.
        vertices: camera space.
        comparable: how far each pixel can be compared with the face.
        count: the most points.
    """
    camera, side = params.camera, comparable.shape[0]
    corners = cam.project(camera, vertices)
    triangle = rasterize(corners, model.faces, size=(side, side), perspective=camera.perspective).reshape(-1)
    order = jnp.asarray(np.random.default_rng(PATTERN).permutation(side * side))
    inside = face_region(model)[model.faces[jnp.maximum(triangle, 0)]].mean(axis=1)
    usable = jnp.where(triangle >= 0, inside * comparable.reshape(-1), 0.0)[order]
    chosen = jnp.nonzero(usable > SURE, size=count, fill_value=side * side)[0]
    weight = usable.at[chosen].get(mode="fill", fill_value=0.0)
    pixel = order.at[chosen].get(mode="fill", fill_value=0)
    taken = weight > 0
    face = jnp.where(taken, triangle[pixel], 0)
    three = model.faces[face]
    rows, columns = jnp.divmod(pixel, side)
    centre = [line.astype(corners.dtype) + 0.5 for line in (columns, rows)]
    each = [jnp.unstack(corners[three[:, k]], axis=1) for k in range(3)]
    inner = jnp.stack(pixel_weights(each, centre, taken, camera.perspective), axis=-1)
    albedo = own_albedo(model)
    if albedo.per_vertex:
        points = Points(three, inner)
        mean, basis = points.of(albedo.mean), points.of(jnp.moveaxis(albedo.basis, 0, 1).reshape(len(vertices), -1))
    else:
        uv = Points(model.topology.uv_faces[face], inner).of(model.uv)
        mean = sample_texture(albedo.mean, uv, taken)
        stacked = jnp.moveaxis(albedo.basis, 0, 2)
        basis = sample_texture(stacked.reshape(*stacked.shape[:2], -1), uv, taken)
    basis = basis.reshape(count, albedo.count, 3) * albedo.std[None, :, None]
    return Pixels(Points(three, inner), weight / jnp.maximum(jnp.sum(weight), 1.0), mean, basis)


def differences(model: FaceModel, params: FaceParams, pixels: Pixels, photo: Photo) -> Float[Array, "P 3"]:
    """The colours of points less those of the photograph where they lie, display values.

    A photograph saturates at 1, so colours above 1 count as 1.

    Args:
        model, params: the face, with its model's own albedo; its camera is in pixels of the photograph.
        pixels: of `find_visible`, for this face or one near it.
        photo: of `blur_photo`.
    """
    vertices = decode(model, params)
    table = jnp.concatenate([vertices, vertex_normals(vertices, model.faces)], axis=1)
    place, normal = jnp.split(pixels.points.of(table), 2, axis=1)
    turn = cam.quaternion_to_matrix(params.pose.rotation)
    xy = cam.project(params.camera, place @ turn.T + params.pose.translation[None])[:, :2]
    albedo = pixels.albedo + jnp.einsum("a,pac->pc", params.appearance["albedo"], pixels.albedo_basis)
    drawn = shaded(albedo, shade(safe_normalize(normal @ turn.T), params.light))
    return jnp.minimum(drawn, 1.0) - _sample(photo.color, xy)


def difference_slopes(
    model: FaceModel,
    params: FaceParams,
    vertices: Float[Array, "V 3"],
    pixels: Pixels,
    photo: Photo,
    table: Float[Array, "V C"],
) -> Float[Array, "P 3 X"]:
    """The Jacobian of `differences`.

    The unknowns are a rotation vector in camera space, the translation, identity, expression, albedo and light. How a
    coefficient bends the smooth normals is taken from the flat triangles.

    Args:
        model, params, pixels, photo: as for `differences`.
        vertices: of the face, model space.
        table: 3 (K + E) numbers for each vertex: how the coefficients move it, model space.
    """
    turn = cam.quaternion_to_matrix(params.pose.rotation)
    three = vertices[pixels.points.corners]  # (P, 3 corners, 3), model space
    place = jnp.einsum("pk,pkc->pc", pixels.points.weights, three) @ turn.T
    normal = safe_normalize(pixels.points.of(vertex_normals(vertices, model.faces)) @ turn.T)
    where = place + params.pose.translation[None]
    project = lambda x: cam.project(params.camera, x[None])[0, :2]  # noqa: E731
    xy, by_place = jax.vmap(project)(where), jax.vmap(jax.jacfwd(project))(where)  # (P, 2), (P, 2, 3)
    albedo = pixels.albedo + jnp.einsum("a,pac->pc", params.appearance["albedo"], pixels.albedo_basis)
    shading = shade(normal, params.light)
    by_normal = jax.vmap(jax.jacfwd(lambda n: shade(n, params.light)))(normal)  # (P, 3 channels, 3)
    ones = jnp.ones_like(albedo)
    drawn, by_albedo = jax.jvp(lambda a: shaded(a, shading), (albedo,), (ones,))
    _, by_shading = jax.jvp(lambda s: shaded(albedo, s), (shading,), (ones,))
    below = (drawn < 1.0).astype(drawn.dtype)
    by_albedo, by_shading = by_albedo * below, by_shading * below
    slope = _sample(photo.slope, xy).reshape(-1, 2, 3)

    from_place = -jnp.einsum("pdc,pdi->pci", slope, by_place)  # camera space
    from_normal = by_shading[..., None] * by_normal  # (P, 3 channels, 3)
    rows = table[pixels.points.corners].reshape(*pixels.points.corners.shape, 3, -1)  # (P, corner, 3, K + E)
    moved = jnp.einsum("pk,pkin->pin", pixels.points.weights, rows)
    u, v = three[:, 1] - three[:, 0], three[:, 2] - three[:, 0]
    du, dv = rows[:, 1] - rows[:, 0], rows[:, 2] - rows[:, 0]
    cross = partial(jnp.cross, axis=1)
    flat = jnp.cross(u, v)
    area = jnp.maximum(jnp.linalg.norm(flat, axis=1), 1e-6)
    bent = (cross(du, v[..., None]) + cross(u[..., None], dv)) / area[:, None, None]
    along = safe_normalize(flat)
    bent = bent - along[..., None] * jnp.einsum("pi,pin->pn", along, bent)[:, None]
    shape = jnp.einsum("pci,pin->pcn", from_place @ turn, moved) + jnp.einsum("pci,pin->pcn", from_normal @ turn, bent)
    spin = jnp.cross(place[:, None], from_place) + jnp.cross(normal[:, None], from_normal)
    colour = by_albedo[:, :, None] * jnp.swapaxes(pixels.albedo_basis, 1, 2)
    light = jnp.einsum("pc,pj,ck->pcjk", by_shading, sh_basis(normal), jnp.eye(3, dtype=normal.dtype)).reshape(
        len(xy), 3, 27
    )
    return jnp.concatenate([spin, from_place, shape, colour, light], axis=-1)


def _sample(picture: Float[Array, "S S C"], xy: Float[Array, "P 2"]) -> Float[Array, "P C"]:
    """Bilinear, at pixels."""
    side = picture.shape[0]
    return sample_texture(picture, jnp.stack([xy[:, 0] / side, 1.0 - xy[:, 1] / side], axis=-1))

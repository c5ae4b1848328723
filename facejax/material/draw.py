"""`render_material`: a face in its maps, under harmonics, lamps and an environment."""

import math
from dataclasses import replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.camera import PerspectiveCamera, project, to_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.lighting import linear_to_srgb, sh_basis, shade, srgb_to_linear
from facejax.material.brdf import (
    directional_albedo,
    entering,
    ggx_brdf,
    harmonics_reflection,
    reflection_basis,
    wrapped_cosine,
    wrapped_light,
)
from facejax.material.environment import Environment, reflection
from facejax.material.lamps import Lamps, arriving, unshadowed
from facejax.material.maps import Material
from facejax.material.normals import pixel_normals
from facejax.mesh import safe_normalize
from facejax.rendering import Rendering, antialias, find_crossings, interpolate_corners, render_mesh, sample_texture
from facejax.rendering.mesh import faded

GRAZING = 1e-3  # smallest cosine to the camera or a lamp in the highlight


def render_material(
    model: FaceModel,
    params: FaceParams,
    material: Material,
    *,
    size: tuple[int, int],
    lamps: Lamps | None = None,
    environment: Environment | None = None,
    background: Float[Array, "*H 3"] | None = None,
    wrap: Float[Array, " 3"] | None = None,
    shadows: int | None = None,
    edges: bool = True,
    capacity: int | None = None,
) -> Rendering:
    """Render one face with the maps of its skin. The light is the sum of `params.light`, the lamps and the environment.

    A diffuse layer below a GGX highlight, see `facejax.material.brdf`. Without a highlight (specular 0), with a flat
    normal map and only `params.light`, it is the picture of `facejax.render(texture=material.albedo)`. Harmonics and
    environments cast no shadows. Differentiable in the maps, in `params`, lamps, environment and background; where
    shadows fall has no gradient. vmap over `params` and `material` for many.

    Args:
      model, params: the face; its camera is in pixels of the picture.
      material: maps in the model's UV layout; trust is not used.
      size: height and width of the picture, pixels.
      lamps: in camera space; they do not turn with the face.
      environment: in camera space too.
      background: display values, one colour or a picture; black by default.
      wrap: how far light travels below the surface, red, green and blue, as `SKIN_WRAP`; none by default.
      shadows: pixels along a side of the map of each lamp's shadow; None: lamps cast no shadows.
      edges: blend silhouettes, which gives them their gradient.
      capacity: see `render_mesh`.

    Returns:
      The pictures. `normal` is the surface's own, without the normal map.

    Raises ValueError for maps of different sizes.
    """
    seen = look(model, params, material, size=size, capacity=capacity)
    vertices, drawn, points = seen.vertices, seen.drawn, seen.points
    camera, faces, covered = params.camera, model.faces, drawn.triangle >= 0
    reached = None
    if lamps is not None and shadows is not None:
        reached = jnp.stack(
            [unshadowed(vertices, faces, place, points, drawn.normal, size=shadows) for place in lamps.place]
        )
    lit = radiance(
        seen.albedo,
        seen.normal,
        seen.roughness,
        seen.specular,
        view=seen.view,
        points=points,
        light=params.light,
        lamps=lamps,
        environment=environment,
        wrap=wrap,
        reached=reached,
    )
    back = jnp.zeros(3, lit.dtype) if background is None else background
    back = jnp.broadcast_to(back.reshape((1,) * (3 - back.ndim) + back.shape), lit.shape)
    drawn = replace(drawn, color=jnp.where(covered[..., None], linear_to_srgb(lit), back))
    if not edges:
        return drawn
    corners = project(camera, vertices)
    found = find_crossings(
        corners, faces, model.topology.neighbors, drawn.triangle, drawn.depth, perspective=camera.perspective
    )
    color, alpha = antialias((drawn.color, drawn.alpha[..., None]), corners, found)
    return replace(drawn, color=color, alpha=alpha[..., 0], overflow=found.overflow)


class Surface(NamedTuple):
    """What a picture shows of a face in its maps, at every pixel, before it is lit."""

    vertices: Float[Array, "V 3"]  # camera space
    drawn: Rendering  # without colours
    albedo: Float[Array, "H W 3"]  # display values
    normal: Float[Array, "H W 3"]  # with the normal map; unit, camera space
    roughness: Float[Array, "H W"]
    specular: Float[Array, "H W"]
    view: Float[Array, "H W 3"]  # unit, from the surface to the camera
    points: Float[Array, "H W 3"]  # camera space, mm


def look(
    model: FaceModel, params: FaceParams, material: Material, *, size: tuple[int, int], capacity: int | None = None
) -> Surface:
    """The surface that the pixels of a picture show.

    Args:
      model, params, material, size, capacity: as for `render_material`.
    """
    maps = _stacked(material)
    vertices = to_camera(params.pose, decode(model, params))
    camera, faces, uv_faces = params.camera, model.faces, model.topology.uv_faces
    drawn = render_mesh(
        vertices, faces, camera, size=size, uv=model.uv, uv_faces=uv_faces, edges=False, capacity=capacity
    )
    albedo, mapped, roughness, specular = _split(sample_texture(maps, drawn.uv, drawn.triangle >= 0))
    normal = pixel_normals(
        vertices,
        faces,
        model.uv,
        uv_faces,
        triangle=drawn.triangle,
        barycentric=drawn.barycentric,
        normal=drawn.normal,
        mapped=mapped,
    )
    points = interpolate_corners(vertices, faces, drawn.triangle, drawn.barycentric)
    towards_camera = jnp.zeros_like(points).at[..., 2].set(1.0)
    view = safe_normalize(-points) if isinstance(camera, PerspectiveCamera) else towards_camera
    return Surface(vertices, drawn, albedo, normal, roughness, specular, view, points)


def harmonic_response(surface: Surface) -> Float[Array, "H W 9 3"]:
    """What each harmonic of a light adds to each pixel, linear: `radiance` without lamps and limits, as a matrix."""
    toward = jnp.sum(surface.normal * surface.view, axis=-1)
    mirrored = safe_normalize(2 * toward[..., None] * surface.normal - surface.view)
    share = directional_albedo(jnp.clip(toward, GRAZING, 1.0), surface.roughness, surface.specular)[..., None, None]
    diffuse = sh_basis(surface.normal)[..., None] * srgb_to_linear(surface.albedo)[..., None, :]
    return (1 - share) * diffuse + share * reflection_basis(mirrored, surface.roughness)[..., None]


def _stacked(material: Material) -> Float[Array, "S S 8"]:
    maps = [material.albedo, material.normal, material.roughness[..., None], material.specular[..., None]]
    sides = [one.shape[:2] for one in maps]
    if len(set(sides)) > 1:
        names = ", ".join(
            f"{name} {h} x {w}"
            for name, (h, w) in zip(("albedo", "normal", "roughness", "specular"), sides, strict=True)
        )
        raise ValueError(f"the maps of a material must have one size, not {names}: resize them")
    return jnp.concatenate(maps, axis=-1)


def _split(values: Float[Array, "*N 8"]) -> tuple[Array, Array, Array, Array]:
    return values[..., :3], values[..., 3:6], values[..., 6], values[..., 7]


def radiance(
    albedo: Float[Array, "*N 3"],
    normal: Float[Array, "*N 3"],
    roughness: Float[Array, "*N"],
    specular: Float[Array, "*N"],
    *,
    view: Float[Array, "*N 3"],
    points: Float[Array, "*N 3"],
    light: Float[Array, "9 3"] | None = None,
    lamps: Lamps | None = None,
    environment: Environment | None = None,
    wrap: Float[Array, " 3"] | None = None,
    reached: Float[Array, "*L"] | None = None,
) -> Float[Array, "*N 3"]:
    """Linear RGB that surface points send to the camera.

    Args:
      albedo: display values.
      normal: unit, camera space.
      roughness, specular: as in `Material`.
      view: unit, from the points to the camera.
      points: camera space, mm.
      light: spherical harmonics, see `facejax.lighting`.
      lamps, environment: more light.
      wrap: see `facejax.material.brdf.wrapped_cosine`; None: 0.
      reached: (lamps, points), the share of each lamp's light that is not in shadow; None: 1.
    """
    toward = jnp.sum(normal * view, axis=-1)
    n_v = jnp.clip(toward, GRAZING, 1.0)
    mirrored = safe_normalize(2 * toward[..., None] * normal - view)
    wrap = jnp.zeros(3, albedo.dtype) if wrap is None else wrap
    seen = directional_albedo(n_v, roughness, specular)

    harmonics = jnp.zeros((9, 3), albedo.dtype) if light is None else light
    glossy = harmonics_reflection(harmonics, mirrored, roughness)
    if environment is not None:
        harmonics = harmonics + environment.harmonics
        glossy = glossy + reflection(environment, mirrored, roughness)
    diffuse = shade(normal, wrapped_light(harmonics, wrap))
    highlight = seen[..., None] * glossy

    if lamps is not None:
        shape = (1,) * (albedo.ndim - 1) + (3,)

        def lamp(place: Array, color: Array, reached: Array) -> tuple[Array, Array]:
            direction, strength = arriving(place, points)
            half = safe_normalize(direction + view)
            cosine = jnp.sum(normal * direction, axis=-1)
            n_l = jnp.clip(cosine, GRAZING, 1.0)
            n_h = jnp.clip(jnp.sum(normal * half, axis=-1), 0.0, 1.0)
            v_h = jnp.clip(jnp.sum(view * half, axis=-1), 0.0, 1.0)
            arrives = (strength * reached)[..., None] * color.reshape(shape)
            below = entering(n_l, roughness, specular)[..., None] * wrapped_cosine(
                cosine[..., None], wrap.reshape(shape)
            )
            above = math.pi * ggx_brdf(n_l, n_v, n_h, v_h, roughness, specular) * jnp.maximum(cosine, 0.0)
            return arrives * below, arrives * above[..., None]

        reached = jnp.ones((lamps.place.shape[0], *roughness.shape), albedo.dtype) if reached is None else reached
        below, above = jax.vmap(lamp)(lamps.place, lamps.color, reached)
        diffuse, highlight = diffuse + below.sum(axis=0), highlight + above.sum(axis=0)
    return srgb_to_linear(albedo) * faded(diffuse) * (1 - seen[..., None]) + highlight

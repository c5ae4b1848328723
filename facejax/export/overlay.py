"""The pictures of `overlay.png`: the photograph, the fit over it, its geometry, and its maps."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.appearance import Appearance
from facejax.camera import project, to_camera, transform_camera
from facejax.export.pictures import draw_landmarks, panels
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.fitting import GAR
from facejax.fitting.scene import face_mask
from facejax.images.crop import Crop, apply_crop, face_crop
from facejax.lighting import uniform_light
from facejax.material import Material, PhotoLayer, relight_strip, render_material
from facejax.programs import cached_jit, jit
from facejax.rendering import Rendering, antialias, find_crossings, render, render_mesh
from facejax.rendering.mesh import lit

PICTURE = 512  # side of each panel of the overlay, pixels
RELIT = 384  # height of relight.png
WHOLE = GAR.margin  # crop margin of an overlay whose second panel is a whole painted picture
CLAY = 0.72  # display value of the untextured geometry
DARK = 0.13  # display value of what lies behind it, such as the inside of a mouth


def overlay(
    model: FaceModel,
    params: FaceParams,
    appearance: Appearance,
    photo: Float[np.ndarray, "H W 3"],
    observed: Float[np.ndarray, "68 2"],
    texture: Float[np.ndarray, "T T 3"] | None,
    fitted: Float[Array, "68 2"] | None = None,
    material: Material | None = None,
    layer: PhotoLayer | None = None,
    light: Float[Array, "9 3"] | None = None,
) -> Float[np.ndarray, "_ _ 3"]:
    """The pictures of `fit_pictures` side by side.

    Args:
        model, params, appearance, photo, observed, texture, fitted, material, layer, light: as for `fit_pictures`.
    """
    pictures = fit_pictures(model, params, appearance, photo, observed, texture, fitted, material, layer, light)
    return panels(list(pictures.values()), list(pictures), height=PICTURE)


def fit_pictures(
    model: FaceModel,
    params: FaceParams,
    appearance: Appearance,
    photo: Float[np.ndarray, "H W 3"],
    observed: Float[np.ndarray, "68 2"],
    texture: Float[np.ndarray, "T T 3"] | None,
    fitted: Float[Array, "68 2"] | None = None,
    material: Material | None = None,
    layer: PhotoLayer | None = None,
    light: Float[Array, "9 3"] | None = None,
) -> dict[str, np.ndarray]:
    """The photo with landmarks, the render over the photo, the shaded geometry, and the texture, by caption.

    With a material the render and the texture are those of its maps, under their light; with a layer there is also the
    photo unwrapped.

    Args:
        model, params, appearance: the face; its camera is in pixels of the photo.
        photo: display values.
        observed: the landmarks that were given, pixels.
        texture: the result of `appearance.texture`; not used, and may be None, with a material.
        fitted: the fit's own landmarks, pixels; None: they are not drawn.
        material, layer: the maps of the face, if there are any.
        light: that of the material, see `explain_photo`; None: the fit's.
    """
    whole = appearance.whole_picture
    crop = face_crop(observed, PICTURE, margin=WHOLE if whole else 0.45)
    background, _ = apply_crop(photo, crop, PICTURE)
    bare = replace(params, appearance={})
    scene = [jnp.asarray(one, jnp.float32) for one in (background, crop.scale, crop.offset)]
    marked = background
    if fitted is not None:  # shows as a rim around the given points where both agree
        marked = draw_landmarks(marked, crop.apply_points(np.asarray(fitted)), color=(1.0, 0.3, 0.2), radius=4.0)
    marked = draw_landmarks(marked, crop.apply_points(observed), color=(0.2, 1.0, 0.3), radius=2.0)
    pictures = {"photo: given green, fitted red" if fitted is not None else "photo": marked}
    if material is not None:
        own = bare if light is None else replace(bare, light=light)
        maps = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), material)
        drawn, clay = _draw_maps(model, own, maps, *scene)
        pictures |= {"maps, lit": drawn, "geometry": clay, "albedo": material.albedo}
    else:
        assert texture is not None
        drawn, clay = _draw(model, bare, jnp.asarray(texture, jnp.float32), *scene)
        if whole:
            painted = _whole_picture(model, params, appearance, crop)
            pictures |= {"painted": painted, "geometry": clay, "photo unwrapped": texture}
        else:
            pictures |= {"fit over the photo": drawn, "geometry": clay, "albedo": texture}
    if layer is not None:
        pictures["photo unwrapped"] = layer.color
    return {caption: np.asarray(picture) for caption, picture in pictures.items()}


@cached_jit("relight-strip")
def relit(model: FaceModel, params: FaceParams, material: Material) -> Float[Array, "H W 3"]:
    """The picture of `relight.png`: the face under the five lights of `facejax.material.relight_strip`.

    Args:
        model, params: the face; its own appearance and light do not count.
        material: its maps.
    """
    return relight_strip(model, params, material, size=RELIT, shadows=RELIT)


def _whole_picture(
    model: FaceModel, params: FaceParams, appearance: Appearance, crop: Crop
) -> Float[np.ndarray, "_ _ 3"]:
    """The picture of a crop, display values, from an appearance that paints hair and background too."""
    camera = transform_camera(params.camera, jnp.asarray(crop.scale), jnp.asarray(crop.offset))
    params = jax.tree.map(jnp.asarray, replace(params, camera=camera))
    return np.clip(np.asarray(_paint(model, params, appearance)), 0.0, 1.0)


@jit
def _paint(model: FaceModel, params: FaceParams, appearance: Appearance) -> Float[Array, "S S 3"]:
    return render(model, params, appearance, size=(PICTURE, PICTURE)).color


@cached_jit("face-pictures")
def _draw(
    model: FaceModel,
    params: FaceParams,
    texture: Float[Array, "T T 3"],
    background: Float[Array, "S S 3"],
    scale: Float[Array, ""],
    offset: Float[Array, " 2"],
) -> tuple[Float[Array, "S S 3"], Float[Array, "S S 3"]]:
    """Draw a crop with the albedo given as a map, so that nothing is decoded.

    `scale` and `offset` place the crop in the photograph.
    """
    side = background.shape[0]
    params = replace(params, camera=transform_camera(params.camera, scale, offset))
    textured = render(model, params, size=(side, side), texture=texture, background=background)
    blend = face_mask(model, textured)[..., None]
    clay = render_clay(model, params, size=(side, side), background=jnp.full(3, DARK))
    return blend * textured.color + (1 - blend) * background, clay.color


@cached_jit("maps-picture")
def _draw_maps(
    model: FaceModel,
    params: FaceParams,
    material: Material,
    background: Float[Array, "S S 3"],
    scale: Float[Array, ""],
    offset: Float[Array, " 2"],
) -> tuple[Float[Array, "S S 3"], Float[Array, "S S 3"]]:
    """The face in its maps, over the crop that `scale` and `offset` place in the photograph, and its geometry."""
    side = background.shape[0]
    params = replace(params, camera=transform_camera(params.camera, scale, offset))
    drawn = render_material(model, params, material, size=(side, side), background=background, edges=False)
    points = project(params.camera, to_camera(params.pose, decode(model, params)))
    perspective = params.camera.perspective
    found = find_crossings(
        points, model.faces, model.topology.neighbors, drawn.triangle, drawn.depth, perspective=perspective
    )
    grey = lit(jnp.full_like(drawn.normal, CLAY), drawn.normal, _clay_light())
    grey = jnp.where(drawn.triangle[..., None] >= 0, grey, jnp.full(3, DARK)[None, None])
    color, clay = antialias((drawn.color, grey), points, found)
    blend = face_mask(model, drawn)[..., None]
    return blend * color + (1 - blend) * background, clay


def _clay_light() -> Float[Array, "9 3"]:
    """Soft, from above left."""
    return uniform_light(0.22).at[1].set(0.9).at[2].set(1.7).at[3].set(-0.6)


def render_clay(
    model: FaceModel,
    params: FaceParams,
    *,
    size: tuple[int, int],
    background: Float[Array, "H W 3"] | Float[Array, " 3"] | None = None,
) -> Rendering:
    """Render the bare geometry in grey under a soft light from above left; one face.

    Args:
        model, params: the face; its camera is in pixels of the picture.
        size: height and width of the picture, pixels.
        background: one colour or a picture, display values; None: black.
    """
    light = _clay_light()
    vertices = to_camera(params.pose, decode(model, params))
    colors = jnp.full_like(vertices, CLAY)
    return render_mesh(
        vertices, model.faces, params.camera, size=size, vertex_colors=colors, light=light, background=background
    )

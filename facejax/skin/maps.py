"""`skin_maps`: the material of one fitted face from its photograph."""

from dataclasses import dataclass, field, replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import transform_camera
from facejax.face_model import FaceModel, FaceParams, own_albedo
from facejax.material import Material, PhotoLayer
from facejax.programs import cached_jit
from facejax.regression.dense import DenseNetwork, head_up, is_understood, load_dense, see_dense, shows_face
from facejax.skin.detail import add_detail
from facejax.skin.pores import Grain, skin_grain
from facejax.skin.relief import detail_normals
from facejax.skin.sight import describe_scene, seen_texels, skin_sight, texel_normals
from facejax.skin.translator import SkinTranslator, load_translator, translate
from facejax.unwrap import Texels, mesh_texels, unwrap_view
from facejax.unwrap.photos import CutOut, Layout, cut_out, face_layout

SIZE = 1024  # texels along a side of the maps, unless others are asked for
SIZES = (512, 1024, 2048, 4096)
HEAD = "facejax-head"  # the model whose layout the translator knows
DOUBT = 0.06  # expected error of the albedo, display values, at which trust falls to 1 / e
PICTURE = 256  # side of the picture that the dense network and the description of the scene see


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SkinTools:
    """What all faces share: layouts, grain and networks."""

    layout: Layout  # of the maps
    small: Texels  # of the translator
    grain: Grain
    mean: Float[Array, "S S 3"]  # the model's mean albedo, display values
    dense: DenseNetwork
    translator: SkinTranslator
    size: int = field(metadata={"static": True})


def has_skin(model: FaceModel) -> bool:
    """Whether the shipped translator knows the layout of this model: it was trained on the default head's."""
    return model.name == HEAD


@lru_cache(maxsize=2)
def _tools(size: int) -> SkinTools:
    from facejax.face_model.load import load_face_model

    return make_tools(load_face_model(), size)


def skin_tools(size: int = SIZE) -> SkinTools:
    """The tools for maps of the default head with `size` texels a side; kept for the next face.

    Raises ValueError for another size than 512, 1024, 2048 or 4096.
    """
    if size not in SIZES:
        raise ValueError(f"skin maps of {size} texels: give one of {', '.join(map(str, SIZES))}")
    return _tools(size)


def make_tools(model: FaceModel, size: int) -> SkinTools:
    """The tools for a model with the default head's layout. Some seconds."""
    layout, translator = face_layout(model, size), load_translator()
    small = mesh_texels(model, translator.config.size)
    grain = skin_grain(model, layout, key=jax.random.key(0))
    mean = jnp.asarray(own_albedo(model).mean)
    return SkinTools(layout, small, grain, mean, load_dense(), translator, size)


def skin_maps(
    model: FaceModel,
    params: FaceParams,
    photo: Float[np.ndarray, "H W 3"],
    landmarks: Float[np.ndarray, "68 2"],
    tools: SkinTools,
) -> tuple[Material, PhotoLayer]:
    """The material of a fitted face, and the photograph in the same layout, on the host.

    The photograph is unwrapped with the fitted geometry. The dense network says which pixels show the person's own
    surface. The translator (`facejax.nets.skin_translator`) gives a complete, evenly lit albedo with roughness and
    specular at 256 texels, and how far it trusts itself; the photograph's fine detail is added to it
    (`facejax.skin.detail`). The fitted light and albedo are not used, so the recipe matters only for the geometry.

    Args:
      model: the face model.
      params: the face; its camera is in pixels of the photograph.
      photo: display values.
      landmarks: of the face, pixels.
      tools: of `skin_tools`.
    """
    cut = cut_out(photo, landmarks, tools.layout)
    points = np.asarray(landmarks * np.asarray(cut.scale) + np.asarray(cut.offset), np.float32)
    found = _maps(model, replace(params, appearance={}, gaze=None), cut, points, tools)
    return jax.device_get(found)


@cached_jit("skin-maps", results=(Material, PhotoLayer))
def _maps(
    model: FaceModel, params: FaceParams, cut: CutOut, landmarks: Float[Array, "68 2"], tools: SkinTools
) -> tuple[Material, PhotoLayer]:
    image, inside = jnp.asarray(cut.image), jnp.asarray(cut.inside)
    params = replace(params, camera=transform_camera(params.camera, cut.scale, cut.offset))
    side, size = image.shape[0], tools.size
    picture = jax.image.resize(image, (PICTURE, PICTURE, 3), "linear")
    points = landmarks * (PICTURE / side)
    sight = see_dense(tools.dense, picture, points, head_up(params.pose))
    shown = shows_face(sight, (PICTURE, PICTURE))
    shown = jnp.where(is_understood(shown, points), shown, 1.0)
    shown = jnp.clip(jax.image.resize(shown, (side, side), "linear"), 0.0, 1.0)
    view = unwrap_view(model, params, image, tools.layout.texels, parsing=inside, shown=shown)
    seen = seen_texels(view)
    share = size // tools.small.covered.shape[0]
    color, small_seen = _shrink(view.color * seen[..., None], share), _shrink(seen[..., None], share)
    color = color / jnp.maximum(small_seen, 1e-3)
    normals = texel_normals(model, params, tools.small)
    scene = describe_scene(picture, sight)
    told = skin_sight(color, small_seen[..., 0], normals, scene, tools.mean, tools.small)
    skin = translate(tools.translator, told)
    trust = jnp.exp(-jnp.exp(skin.log_error) / DOUBT)
    detailed = add_detail(skin.albedo, trust, view, tools.layout, tools.grain)
    gloss = jnp.stack([skin.roughness, skin.specular], axis=-1)
    roughness, specular = jnp.unstack(jax.image.resize(gloss, (size, size, 2), "linear"), axis=-1)
    normal = detail_normals(detailed.height, tools.grain.pitch, tools.layout.texels.covered)
    material = Material(detailed.albedo, normal, roughness, specular, detailed.trust)
    return material, PhotoLayer(view.color, seen)


def _shrink(x: Float[Array, "S S C"], share: int) -> Float[Array, "s s C"]:
    side = x.shape[0] // share
    return x.reshape(side, share, side, share, x.shape[2]).mean(axis=(1, 3))

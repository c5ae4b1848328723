"""`skin_maps`: the material of one fitted face from its photographs."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from facejax.camera import transform_camera
from facejax.face_model import FaceModel, FaceParams, own_albedo
from facejax.face_model.load import load_face_model
from facejax.lighting import linear_to_srgb, srgb_to_linear
from facejax.material import Material, PhotoLayer
from facejax.nets.skin_translator import SkinTranslation
from facejax.programs import cached_jit
from facejax.regression.dense import FACE, DenseNetwork, head_up, is_understood, load_dense, see_dense, shows_face
from facejax.regression.iris_points import load_iris
from facejax.skin.detail import add_detail
from facejax.skin.eye_colors import eye_colors
from facejax.skin.eyeballs import EyeLayout, draw_eyeballs, eye_layout, iris_albedo
from facejax.skin.pores import Grain, skin_grain
from facejax.skin.relief import detail_normals
from facejax.skin.sight import describe_scene, seen_texels, skin_sight, texel_normals
from facejax.skin.translator import SkinTranslator, keep_photo, load_translator, translate
from facejax.texture.metrics import KERNEL, brightness_symmetry_error
from facejax.unwrap import Regions, Texels, View, unwrap_view
from facejax.unwrap.masks import scaled_kernel
from facejax.unwrap.photos import CutOut, Layout, Quality, face_layout

SIZE = 1024  # texels along a side of the maps, unless others are asked for
SIZES = (512, 1024, 2048, 4096)
HEAD = "facejax-head"  # the model whose layout the translator knows
DOUBT = 0.06  # expected error of the albedo, display values, at which trust falls to 1 / e
PAINTED = (*FACE, "occluder", "glasses")  # classes of the dense network that paint passes for
COVERED = 0.2  # of `shows_face` in the middle of an eye, below which glasses or hands cover it
PICTURE = 256  # side of the picture that the dense network and the description of the scene see


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SkinTools:
    """What all faces share: layouts, grain and networks."""

    layout: Layout  # of the maps
    small: Texels  # of the translator
    face: Float[Array, "s s"]  # 1 where its layout has the face
    eyes: EyeLayout
    grain: Grain
    mean: Float[Array, "S S 3"]  # the model's mean albedo, display values
    dense: DenseNetwork
    iris: Any  # weights of the iris network
    translator: SkinTranslator
    size: int = field(metadata={"static": True})


def has_skin(model: FaceModel) -> bool:
    """Whether the shipped translator knows the layout of this model: it was trained on the default head's."""
    return model.name == HEAD


@lru_cache(maxsize=2)
def _tools(size: int) -> SkinTools:
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
    small = face_layout(model, translator.config.size)
    grain = skin_grain(model, layout, key=jax.random.key(0))
    mean = jnp.asarray(own_albedo(model).mean)
    networks = load_dense(), load_iris(), translator
    return SkinTools(
        layout, small.texels, small.regions.face, eye_layout(model, layout.texels), grain, mean, *networks, size
    )


@dataclass(frozen=True)
class Keep:
    """What of a photograph stays in the albedo although it is no bare skin."""

    paint: bool = False
    """make-up, tattoos and face paint, and what the dense network cannot tell from these: glasses and hands; of the
    light, only what varies broadly is removed, so sharp edges of shadows and highlights stay too"""
    everything: bool = False
    """what covers the skin: hair, hands, glasses, masks, headwear"""


NOTHING = Keep()


class SkinMaps(NamedTuple):
    """The result of `skin_maps`, on the host."""

    material: Material
    layer: PhotoLayer  # of several photographs: pasted, each texel from the one that faces it most
    views: View  # leading axis: the photographs
    understood: Bool[np.ndarray, " V"]  # whether the dense network could tell the face from what covers it


def skin_maps(
    model: FaceModel,
    params: Sequence[FaceParams],
    cuts: Sequence[CutOut],
    landmarks: Sequence[Float[np.ndarray, "68 2"]],
    tools: SkinTools,
    *,
    keep: Keep = NOTHING,
) -> SkinMaps:
    """The material of one face from one or several fitted photographs, and the photographs in the same layout.

    Each photograph is unwrapped with its fitted geometry. The dense network says which pixels show the person's own
    surface. The translator (`facejax.nets.skin_translator`) gives a complete, evenly lit albedo with roughness and
    specular at 256 texels, and how far it trusts itself; several are averaged by that. The photographs' fine detail is
    added (`facejax.skin.detail`). The fitted light and albedo are not used: the recipe matters for the geometry only.

    Args:
      model: the face model.
      params: the fit to each photograph; cameras are in pixels of the photographs.
      cuts: the square of each photograph, from `cut_out` with the layout of `tools`.
      landmarks: of the face, pixels of each photograph.
      tools: of `skin_tools`.
      keep: what else of the photographs stays in the albedo.
    """
    bare = [replace(one, appearance={}, gaze=None) for one in params]
    points = [
        np.asarray(one * np.asarray(cut.scale) + np.asarray(cut.offset), np.float32)
        for one, cut in zip(landmarks, cuts, strict=True)
    ]
    squares = [cut._replace(shown=None) for cut in cuts]
    each: Any = [jax.tree.map(lambda *leaves: np.stack(leaves), *some) for some in (bare, squares, points)]
    return jax.device_get(_maps(model, each[0], each[1], each[2], tools, _asked(keep)))


def _asked(keep: Keep) -> Bool[Array, ""] | None:
    """Whether everything is to be kept; None for nothing, which has a program of its own."""
    return jnp.asarray(keep.everything) if keep.paint or keep.everything else None


def skin_quality(found: SkinMaps, tools: SkinTools) -> Quality:
    """Figures of one face's maps: as for a texture that is unwrapped only, see `Quality`."""
    return jax.device_get(_quality(found.material.albedo, found.layer.shown, found.views, tools.layout.regions))


@cached_jit("skin-quality")
def _quality(albedo: Float[Array, "S S 3"], shown: Float[Array, "S S"], views: View, regions: Regions) -> Quality:
    seen = views.valid * regions.face[None]
    covered = 1 - jnp.sum(jax.vmap(seen_texels)(views) * regions.face[None]) / jnp.maximum(jnp.sum(seen), 1.0)
    best = jnp.argmax(jnp.einsum("vhw,hw->v", views.facing, regions.centre))
    kernel, where = scaled_kernel(KERNEL, albedo.shape[0]), seen[best] > 0.5
    return Quality(
        jnp.sum(regions.face, where=shown > 0.5) / jnp.sum(regions.face),
        covered,
        brightness_symmetry_error(views.color[best], kernel=kernel, where=where),
        brightness_symmetry_error(albedo, kernel=kernel, where=where),
    )


class _Seen(NamedTuple):
    """What one photograph says. Small maps are the translator's."""

    view: View
    seen: Float[Array, "S S"]
    small_color: Float[Array, "s s 3"]  # of the photograph
    small_seen: Float[Array, "s s"]
    skin: SkinTranslation
    tone: Float[Array, " 3"]
    trust: Float[Array, "s s"]
    iris: Float[Array, " 3"]  # linear albedo
    understood: Bool[Array, ""]


@cached_jit("skin-maps", results=(SkinMaps, Material, PhotoLayer, View))
def _maps(
    model: FaceModel,
    params: FaceParams,
    cuts: CutOut,
    landmarks: Float[Array, "V 68 2"],
    tools: SkinTools,
    everything: Bool[Array, ""] | None,
) -> SkinMaps:
    look = lambda one: _look(model, one[0], one[1], one[2], tools, everything)  # noqa: E731
    found = jax.lax.map(look, (params, cuts, landmarks))
    (skin, tone), trust, size = _fuse(found), jnp.max(found.trust, axis=0), tools.size
    albedo = skin.albedo(tone)
    view, layer = _paste(found, albedo, size)
    detailed = add_detail(albedo, trust, view, tools.layout, tools.grain)
    gloss = _enlarge(jnp.stack([skin.roughness, skin.specular], axis=-1), size)
    normal = detail_normals(detailed.height, tools.grain.pitch, tools.layout.texels.covered)
    specular = jnp.minimum(2.0 * gloss[..., 1], 1.0)  # in units of 0.04, as a material has it
    material = Material(detailed.albedo, normal, gloss[..., 0], specular, detailed.trust)
    material = draw_eyeballs(material, tools.eyes, jnp.mean(found.iris, axis=0))
    return SkinMaps(material, layer, found.view, found.understood)


def _look(
    model: FaceModel,
    params: FaceParams,
    cut: CutOut,
    landmarks: Float[Array, "68 2"],
    tools: SkinTools,
    everything: Bool[Array, ""] | None,
) -> _Seen:
    image = jnp.asarray(cut.image)
    params = replace(params, camera=transform_camera(params.camera, cut.scale, cut.offset))
    side = image.shape[0]
    picture = jax.image.resize(image, (PICTURE, PICTURE, 3), "linear")
    points = landmarks * (PICTURE / side)
    sight = see_dense(tools.dense, picture, points, head_up(params.pose))
    shown = shows_face(sight, (PICTURE, PICTURE))
    understood = is_understood(shown, points)

    def unwrap(shown: Float[Array, "P P"]) -> tuple[View, Float[Array, "S S"]]:
        large = jnp.clip(_enlarge(shown[..., None], side)[..., 0], 0.0, 1.0)
        view = unwrap_view(model, params, image, tools.layout.texels, parsing=jnp.asarray(cut.inside), shown=large)
        return view, seen_texels(view)

    view, seen = unwrap(jnp.where(understood, shown, 1.0))
    color, small_seen = _small(view, seen, tools)
    normals, scene = texel_normals(model, params, tools.small), describe_scene(picture, sight)
    eyes = eye_colors(tools.iris, picture, points)  # of the size that the tone's training saw; the irises' is finer
    told = skin_sight(color, small_seen, normals, scene, eyes.white.reshape(-1), tools.mean, tools.small)
    skin, tone = translate(tools.translator, told, tools.face)
    trust = jnp.exp(-jnp.exp(skin.log_error) / DOUBT)
    sharp, uncovered = eye_colors(tools.iris, image, landmarks), _at_eyes(jnp.where(understood, shown, 1.0), points)
    sharp = sharp._replace(iris=jnp.where(uncovered[:, None] > COVERED, sharp.iris, 0.0))
    iris = iris_albedo(sharp, jnp.exp(told.scene[-3:] - tone))
    if everything is not None:
        with_paint = shows_face(sight, (PICTURE, PICTURE), classes=PAINTED)
        view, seen = unwrap(jnp.where(understood & ~everything, with_paint, 1.0))
        color, kept = _small(view, seen, tools)
        skin = skin._replace(relative=keep_photo(skin.relative, color, kept, small_seen))
        small_seen, trust = kept, jnp.maximum(trust, kept)
    return _Seen(view, seen, color, small_seen, skin, tone, trust, iris, understood)


def _at_eyes(shown: Float[Array, "P P"], points: Float[Array, "68 2"]) -> Float[Array, " 2"]:
    """The value in the middle of the right and of the left eye; 1 outside the picture."""
    middle = jnp.stack([points[36:42].mean(axis=0), points[42:48].mean(axis=0)])
    column, row = jnp.floor(middle).astype(jnp.int32).T
    return shown.at[row, column].get(mode="fill", fill_value=1.0)


def _small(
    view: View, seen: Float[Array, "S S"], tools: SkinTools
) -> tuple[Float[Array, "s s 3"], Float[Array, "s s"]]:
    """What a view shows, at the translator's size: colours, and how much of each texel is seen."""
    count = tools.small.covered.shape[0]
    small = _shrink(seen[..., None], count)
    return _shrink(view.color * seen[..., None], count) / jnp.maximum(small, 1e-3), small[..., 0]


def _fuse(found: _Seen) -> tuple[SkinTranslation, Float[Array, " 3"]]:
    """The mean of several answers, weighted by trust where the photographs show the skin."""
    weight = found.trust * found.small_seen + 0.02 * found.trust + 1e-6
    whole = jnp.sum(weight, axis=(1, 2))
    weight, whole = weight / jnp.sum(weight, axis=0, keepdims=True), whole / jnp.sum(whole)
    mean = lambda x: jnp.einsum("vhw,vhw...->hw...", weight, x)  # noqa: E731
    return SkinTranslation(*(mean(leaf) for leaf in found.skin)), whole @ found.tone


def _paste(found: _Seen, albedo: Float[Array, "s s 3"], size: int) -> tuple[View, PhotoLayer]:
    """The photographs as one. Their local means become the albedo's, so that no border between two is a detail."""
    views, seen = found.view, found.seen
    if seen.shape[0] == 1:
        one = jax.tree.map(lambda leaf: leaf[0], views)
        return one, PhotoLayer(one.color, seen[0])
    best = jax.nn.softmax(jnp.where(seen < 0.05, -1e3, 12.0 * views.facing), axis=0)
    mix = lambda x: jnp.einsum("vhw,vhwc->hwc", best, x)  # noqa: E731
    change = srgb_to_linear(albedo)[None] / jnp.maximum(srgb_to_linear(found.small_color), 0.01)
    change = jax.vmap(lambda x: _enlarge(x, size))(jnp.clip(change, 0.05, 20.0))
    even = linear_to_srgb(jnp.clip(srgb_to_linear(views.color) * change, 0.0, 1.0))
    union, facing = jnp.max(seen, axis=0), jnp.max(jnp.where(seen > 0.05, views.facing, 0.0), axis=0)
    pasted = View(mix(even), facing, union, views.shading[0], jnp.ones_like(union))
    return pasted, PhotoLayer(mix(views.color), union)


def _shrink(x: Float[Array, "S S C"], count: int) -> Float[Array, "s s C"]:
    share = x.shape[0] // count
    return x.reshape(count, share, count, share, x.shape[2]).mean(axis=(1, 3))


def _enlarge(x: Float[Array, "s s C"], size: int) -> Float[Array, "S S C"]:
    return jax.image.resize(x, (size, size, x.shape[2]), "linear")

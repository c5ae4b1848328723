"""From fitted photographs to the texture of their face: one compiled program per layout, for photos of any size.

Each photograph is first cropped to a square with a fixed number of pixels around the face, at least as fine as the map.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.appearance import Appearance
from facejax.camera import Pose, quaternion_to_matrix, transform_camera
from facejax.face_model import FaceModel, FaceParams
from facejax.images.crop import apply_crop, face_crop
from facejax.lighting import linear_to_srgb, srgb_to_linear
from facejax.programs import jit
from facejax.texture.metrics import KERNEL, brightness_symmetry_error
from facejax.unwrap.complete import Completed, complete_texture
from facejax.unwrap.masks import box_blur, scaled_kernel
from facejax.unwrap.regions import Regions, face_regions, template_map
from facejax.unwrap.texels import Texels, mesh_texels
from facejax.unwrap.views import View, unwrap_view

CUT = 1.5  # pixels of a cut-out per texel of the map, along a side
MARGIN = 0.45  # around the landmarks' box, as a share of its longer side
STRANGE = 0.2  # distance of display values from the fit beyond which a texel does not look like the face's skin
STRANGE_BLUR = 9  # width in texels of a 1024 map over which that distance is averaged


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Layout:
    """The data that all faces of one model share at one map size."""

    texels: Texels
    regions: Regions

    @property
    def size(self) -> int:
        return self.texels.triangle.shape[-1]


class CutOut(NamedTuple):
    """A square of a photograph around a face."""

    image: Float[np.ndarray, "P P 3"]  # display values
    inside: Float[np.ndarray, "P P"]  # 1 inside the photograph (times its mask)
    scale: Float[Array | np.ndarray, ""]  # cut-out pixel = scale * photo pixel + offset
    offset: Float[Array | np.ndarray, " 2"]
    shown: Float[np.ndarray, "P P"] | None = None  # 1 where a face parser sees skin; None: nobody looked


class Quality(NamedTuple):
    """Figures of one texture, for a table and for filters."""

    seen: Float[Array, ""]  # share of the face's texels that came from photographs
    strange: Float[Array, ""]  # share of the seen face that is no skin: hair, hands, glasses
    bs_photo: Float[Array, ""]  # BS error of the best view as it was unwrapped, over texels seen on both sides
    bs: Float[Array, ""]  # of the texture, over the same texels


class Unwrapped(NamedTuple):
    """The result of `unwrap_photos`."""

    views: View  # leading axis: the photographs
    completed: Completed
    quality: Quality


def face_layout(model: FaceModel, size: int) -> Layout:
    """Texels and regions of maps with `size` texels a side: a power of two from 64 to 4096. Keep it for all faces.

    Raises ValueError for another size, and for a model whose layout has no place for its face.
    """
    if size not in (2**k for k in range(6, 13)):
        raise ValueError(f"maps of {size} texels: give a power of two from 64 to 4096")
    texels = mesh_texels(model, size)
    regions = face_regions(model, texels)
    if not np.any(np.asarray(regions.face) > 0.5):
        raise ValueError(
            f"face model {model.name!r}: nothing of its face lies in the unit square of its texture layout: its "
            "coordinates must be between 0 and 1"
        )
    return Layout(texels, regions)


def cut_out(
    photo: Float[np.ndarray, "H W 3"],
    landmarks: Float[np.ndarray, "68 2"],
    layout: Layout,
    *,
    mask: Float[np.ndarray, "H2 W2"] | None = None,
) -> CutOut:
    """Cut the square around the face out of a photograph.

    Args:
        photo: display values.
        landmarks: pixels.
        layout: its size decides the number of pixels.
        mask: 1 where the photograph shows skin that may be used; None: everywhere.

    Raises ValueError for a mask of another size than the photograph.
    """
    side = round(CUT * layout.size)
    crop = face_crop(landmarks, side, margin=MARGIN)
    image, inside = apply_crop(photo, crop, side)
    if mask is not None:
        if mask.shape != photo.shape[:2]:
            raise ValueError(f"a mask of {mask.shape} for a photo of {photo.shape[:2]} pixels: give one of its size")
        inside = inside * apply_crop(np.repeat(mask[..., None], 3, axis=2), crop, side)[0][..., 0]
    return CutOut(image, inside, crop.scale, crop.offset)


def unwrap_face(
    model: FaceModel,
    params: Sequence[FaceParams],
    cuts: Sequence[CutOut],
    layout: Layout,
    template: Float[Array, "S S 3"],
    *,
    delight: bool = False,
    skin_only: bool = True,
    blending: Literal["full", "naive"] = "full",
) -> Unwrapped:
    """`unwrap_photos`, compiled, for lists of one face's photographs.

    The parameters of the appearance are left out, so that one program serves the fits of all recipes.

    Args:
        model: the face model.
        params: the fit to each photograph.
        cuts: the cut-out of each photograph.
        layout, template, delight, skin_only, blending: as for `unwrap_photos`.
    """
    each = [replace(one, appearance={}) for one in params]
    stacked, squares = (jax.tree.map(lambda *leaves: np.stack(leaves), *some) for some in (each, cuts))
    options = {"delight": delight, "skin_only": skin_only, "blending": blending}
    return _unwrap_photos(model, jax.tree.map(jnp.asarray, stacked), squares, layout, template, **options)


def most_frontal(poses: Sequence[Pose]) -> int:
    """The index of the pose that turns the face most towards the camera."""
    forward = np.stack([np.asarray(quaternion_to_matrix(jnp.asarray(pose.rotation)))[:, 2] for pose in poses])
    place = np.stack([np.asarray(pose.translation) for pose in poses])
    return int(np.argmax(-np.sum(forward * place, axis=-1) / np.linalg.norm(place, axis=-1)))


@jit
def fitted_template(
    model: FaceModel, appearance: Appearance, blocks: dict[str, Array], texels: Texels
) -> Float[Array, "S S 3"]:
    """The albedo of an appearance as the template of a layout, display values.

    Args:
        model: the face model.
        appearance: what colours the face.
        blocks: its parameters.
        texels: of the layout.

    Raises ValueError for an appearance without an albedo.
    """
    albedo = appearance.decode(blocks)
    if albedo is None:
        raise ValueError("this recipe paints whole pictures and has no albedo to fill a texture with: use another")
    return jnp.clip(template_map(model, texels, albedo), 0.0, 1.0)


def unwrap_photos(
    model: FaceModel,
    params: FaceParams,
    cuts: CutOut,
    layout: Layout,
    template: Float[Array, "S S 3"],
    *,
    delight: bool = False,
    skin_only: bool = True,
    blending: Literal["full", "naive"] = "full",
) -> Unwrapped:
    """The texture of one face from its photographs. For jit, and `jax.lax.map` over faces.

    Args:
        model: the face model.
        params: the fit to each photograph, with a leading axis; cameras are in pixels of the photographs.
        cuts: the cut-out of each photograph, with a leading axis.
        layout: of the texture.
        template: fills what no photograph shows, see `complete_texture`; display values.
        delight: divide out the fitted light; False keeps the photographs' light.
        skin_only: leave out what is no skin: by `CutOut.shown`, or without it by `looks_like_skin`.
        blending: as for `complete_texture`.
    """
    params = replace(params, camera=jax.vmap(transform_camera)(params.camera, cuts.scale, cuts.offset))

    def one(each: tuple[FaceParams, CutOut]) -> View:
        params, cut = each
        image, inside = jnp.asarray(cut.image), jnp.asarray(cut.inside)
        shown = None if cut.shown is None else jnp.asarray(cut.shown)
        return unwrap_view(model, params, image, layout.texels, parsing=inside, shown=shown)

    views = jax.lax.map(one, (params, cuts))
    seen = views.valid * layout.regions.face[None]
    skin = jax.vmap(lambda view: looks_like_skin(view, template))(views) if views.shown is None else views.shown
    strange = 1 - jnp.sum(seen * skin) / jnp.maximum(jnp.sum(seen), 1.0)
    taken = replace(views, valid=views.valid * skin) if skin_only else views
    completed = complete_texture(taken, template, layout.regions, delight=delight, match=not delight, blending=blending)
    best = jnp.argmax(jnp.einsum("vhw,hw->v", views.facing, layout.regions.centre))
    kernel = scaled_kernel(KERNEL, layout.size)
    where = seen[best] > 0.5
    quality = Quality(
        jnp.sum(layout.regions.face, where=completed.filled > 0.5) / jnp.sum(layout.regions.face),
        strange,
        brightness_symmetry_error(views.color[best], kernel=kernel, where=where),
        brightness_symmetry_error(completed.texture, kernel=kernel, where=where),
    )
    return Unwrapped(views, completed, quality)


_unwrap_photos = jit(unwrap_photos, static_argnames=("delight", "skin_only", "blending"))


def looks_like_skin(view: View, template: Float[Array, "S S 3"]) -> Float[Array, "S S"]:
    """1 where a view looks like the template under the fitted light, falling to 0 where it differs.

    Without a face parser's mask it removes hair, hands, glasses and hard shadows, and with a plain template also
    beards. In a dark photograph smaller differences count.
    """
    lit = linear_to_srgb(srgb_to_linear(jnp.clip(template, 0.0, 1.0)) * jnp.maximum(view.shading, 0.0))
    valid = (view.valid > 0).astype(lit.dtype)
    apart = jnp.linalg.norm(jnp.minimum(lit, 1.0) - view.color, axis=-1) * valid
    kernel = scaled_kernel(STRANGE_BLUR, len(apart), least=3)
    share = box_blur(valid, kernel)
    apart = box_blur(apart, kernel) / jnp.maximum(share, 1e-3)
    level = jnp.sum(jnp.minimum(lit, 1.0).mean(axis=-1) * view.valid) / jnp.maximum(jnp.sum(view.valid), 1.0)
    return jnp.clip(2.0 - apart / (STRANGE * jnp.clip(2.0 * level, 0.3, 1.0)), 0.0, 1.0)

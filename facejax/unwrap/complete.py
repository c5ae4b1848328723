"""Several views of a face made into one complete texture (FFHQ-UV, Bai et al., CVPR 2023, section 3.2).

Views are pasted one over another, after matching the colours below to each view's. Parts of the middle of the face that
no view shows (under the lids, between the lips) and dark nostrils get the template's detail by Poisson editing. Ears,
neck and scalp come from the template, blended in band by band. Differences from the released code:

- any number of views; which one is best at a texel follows from how it faces the camera, not from painted masks;
- earlier views keep their contrast when a later one is pasted: only the template's is divided by omega;
- the scalp keeps the skin's colour; eyeballs and other parts keep the template's own.
"""

from dataclasses import replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.lighting import luma
from facejax.unwrap.colours import OMEGA, match_colours
from facejax.unwrap.delighting import delight as divide_light
from facejax.unwrap.masks import box_blur, dilate, scaled_kernel, soft_weight
from facejax.unwrap.poisson import poisson_relax
from facejax.unwrap.pyramid import LEVELS, pyramid_blend
from facejax.unwrap.regions import Regions
from facejax.unwrap.views import View

OF_USE = 0.8  # a view is usable where its cosine is at least this share of the best view's
FACING_BLUR = 51  # texels of a 1024 map over which the cosines are averaged before views are compared
REPAIR_MARGIN = 5  # texels of a 1024 map that repairs reach beyond what is missing


class Completed(NamedTuple):
    """The result of `complete_texture`."""

    texture: Float[Array, "S S 3"]  # display values in [0, 1]
    filled: Float[Array, "S S"]  # share of each texel that comes from the views
    repaired: Float[Array, "S S"]  # 1 where the template's detail was inserted


def complete_texture(
    views: View,
    template: Float[Array, "S S 3"],
    regions: Regions,
    *,
    blending: Literal["full", "naive"] = "full",
    delight: bool = False,
    match: bool = True,
    omega: float = OMEGA,
) -> Completed:
    """One texture from the views of one face and a template. For jit, and vmap over faces.

    Args:
      views: leaves with a leading axis, in any order.
      template: a plain albedo of the same layout, display values (S, S, 3): the model's mean or, closer to the person,
        the fitted one.
      regions: of the layout, from `face_regions`; its size must be divisible by 32.
      blending: "naive" stops after pasting: the paper's ablation.
      delight: divide each view's fitted light out first, which gives the albedo as the fit sees it. The albedo of the
        same fit is then a template whose colours need no `match`.
      match: match the template's colours to the views'.
      omega: the template's contrast is divided by this.

    Returns:
      The texture, and where each texel comes from.
    """
    if delight:
        even = jax.vmap(lambda view: divide_light(view.color, view.shading, where=view.valid, level=1.0))(views)
        views = replace(views, color=jnp.clip(even, 0.0, 1.0))
    seen = views.valid * regions.face[None]
    pasted, filled = _paste(replace(views, valid=seen), template, regions, omega if match else None)
    if blending == "naive":
        return Completed(jnp.clip(pasted, 0.0, 1.0), filled, jnp.zeros_like(filled))

    known = jnp.where(filled > 0.5, 1.0, 0.0)
    missing = missing_texels(pasted, known, regions)
    matched = match_colours(template, pasted, known * (1 - missing), omega=omega) if match else template
    repaired = poisson_relax(pasted, matched, missing, window=regions.window).texture
    inner = jnp.maximum(filled, missing)
    whole = pyramid_blend(matched, repaired, inner, LEVELS)
    whole = jnp.where(regions.skin[..., None] > 0.5, whole, template)
    return Completed(jnp.clip(whole, 0.0, 1.0), filled, missing)


def _paste(
    views: View, template: Float[Array, "S S 3"], regions: Regions, omega: float | None
) -> tuple[Float[Array, "S S 3"], Float[Array, "S S"]]:
    """The views pasted over the template, the one that faces the camera most directly last; and their share of each
    texel.
    """
    major, minor = best_views(views)
    weights = jax.vmap(lambda *masks: soft_weight(*masks, mouth=regions.mouth))(views.valid, major, minor)
    order = jnp.argsort(jnp.einsum("vhw,hw->v", views.facing, regions.centre))
    first = views.color[order[0]], views.valid[order[0]]
    under = template if omega is None else match_colours(template, *first, omega=omega)

    def paste(state, k):
        under, filled, known = state
        both = known * views.valid[k]
        # The overlap with the next view shows how its exposure differs from that of the views so far.
        common = jnp.sum(both) > 0.01 * jnp.sum(views.valid[k])
        brought = match_colours(under, views.color[k], jnp.where(common, both, views.valid[k]), omega=1.0)
        under = jnp.where(jnp.sum(known) > 0, brought, under)
        under = under + weights[k][..., None] * (views.color[k] - under)
        filled = filled + weights[k] * (1 - filled)
        return (under, filled, jnp.maximum(known, jnp.where(weights[k] > 0.5, views.valid[k], 0.0))), None

    nothing = jnp.zeros_like(regions.skin)
    (texture, filled, _), _ = jax.lax.scan(paste, (under, nothing, nothing), order)
    return texture, filled


def best_views(views: View) -> tuple[Float[Array, "V S S"], Float[Array, "V S S"]]:
    """For each view, where it is the best one and where it is usable: FFHQ-UV's major and minor masks.

    The paper's painted masks stand for how its three fixed poses face the camera; here the poses themselves decide.
    """
    kernel = scaled_kernel(FACING_BLUR, views.facing.shape[-1])
    facing = jax.vmap(lambda one: box_blur(one, kernel))(views.facing) * jnp.where(views.valid > 0.5, 1.0, 0.0)
    best = jnp.max(facing, axis=0)
    some = best[None] > 0
    major = jnp.where(some & (facing >= best[None]), 1.0, 0.0)
    return major, jnp.where(some & (facing >= OF_USE * best[None]), 1.0, 0.0)


def missing_texels(texture: Float[Array, "S S 3"], known: Float[Array, "S S"], regions: Regions) -> Float[Array, "S S"]:
    """1 where no view shows the middle of the face, and where nostrils are darker than the mean of the known skin."""
    grey = luma(texture)
    middle = regions.centre * known
    mean = jnp.sum(grey * middle) / jnp.maximum(jnp.sum(middle), 1.0)
    holes = regions.centre * (1 - known) + regions.nostrils * jnp.where(grey < mean, 1.0, 0.0)
    kernel = scaled_kernel(REPAIR_MARGIN, len(grey))
    return jnp.minimum(dilate(jnp.minimum(holes, 1.0), kernel), regions.skin)

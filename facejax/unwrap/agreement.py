"""Whether several views show the same person: how well their unwrapped skin agrees, texel by texel."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.lighting import luma
from facejax.programs import jit
from facejax.unwrap.delighting import delight
from facejax.unwrap.masks import box_blur, scaled_kernel
from facejax.unwrap.regions import Regions
from facejax.unwrap.views import View

COARSE, FINE = 51, 11  # texels of a 1024 map: light is coarser than this band, noise and misalignment are finer
LEAST_OVERLAP = 0.15  # of the middle of the face; views that share less cannot be compared
LEAST_AGREEMENT = 0.74
# Measured at 256 texels (fit: linear). The three views of FFHQ-UV's sample agree by 0.79 to 0.85, each with its best
# partner by 0.84 or more. Of 272 pairs of different people, 99 % are below 0.62 and all below 0.70. Two photographs of
# one woman on different occasions, with different make-up, only reach 0.47: skin is compared as it looks that day.


class Stranger(NamedTuple):
    """A view that does not fit the others, and why."""

    view: int
    reason: str


def view_agreement(views: View, regions: Regions) -> Float[Array, "V V"]:
    """Correlation of the skin's detail between each pair of views (leading axis), where both show the middle of the
    face.

    Detail is the de-lit luma between two box blurs, each of which averages visible texels only. 1 on the diagonal; NaN
    where two views share too little of the face. For jit.
    """
    seen = jnp.where(views.valid > 0.5, regions.centre, 0.0)
    even = jax.vmap(lambda view: delight(view.color, view.shading, where=view.valid, level=1.0))(views)
    detail = jax.vmap(_detail)(luma(jnp.clip(even, 0.0, 1.0)), seen)
    both = jnp.einsum("ahw,bhw->ab", seen, seen)
    # _detail is 0 where its own view sees nothing, so these sums need only the other view's mask.
    mean = jnp.einsum("ahw,bhw->ab", detail, seen) / jnp.maximum(both, 1.0)
    square = jnp.einsum("ahw,bhw->ab", detail**2, seen) / jnp.maximum(both, 1.0)
    product = jnp.einsum("ahw,bhw->ab", detail, detail) / jnp.maximum(both, 1.0)
    spread = jnp.sqrt(jnp.maximum(square - mean**2, 1e-12))
    enough = both >= LEAST_OVERLAP * jnp.sum(regions.centre)
    return jnp.where(enough, (product - mean * mean.T) / (spread * spread.T), jnp.nan)


view_agreement_jit = jit(view_agreement)


def _detail(luma: Float[Array, "S S"], seen: Float[Array, "S S"]) -> Float[Array, "S S"]:
    def mean(kernel: int) -> Array:
        kernel = scaled_kernel(kernel, len(luma))
        return box_blur(luma * seen, kernel) / jnp.maximum(box_blur(seen, kernel), 1e-3)

    return (mean(FINE) - mean(COARSE)) * seen


def find_stranger(agreement: Float[np.ndarray, "V V"], least: float = LEAST_AGREEMENT) -> Stranger | None:
    """The view that agrees least with the others, if its best agreement is below `least`; None where all agree.

    One partner is enough for a view to belong, since opposite profiles share little of the face. Of two views that
    disagree, the second is the stranger.
    """
    count = len(agreement)
    if count < 2 or least <= -1:
        return None
    others = np.where(np.eye(count, dtype=bool), np.nan, np.asarray(agreement, np.float64))
    best = np.max(np.nan_to_num(others, nan=-1.0), axis=1)
    view = int(np.flatnonzero(best == best.min())[-1])
    if best[view] >= least:
        return None
    if np.isnan(others[view]).all():
        return Stranger(view, "shares too little of the face with the other views: take views that overlap")
    return Stranger(
        view,
        f"does not look like the person of the other views (agreement {best[view]:.2f}, at least {least:g} is asked): "
        "take views of one person on one occasion",
    )

"""From a small skin map to a large one: the photograph's own detail where it can be trusted, and grain elsewhere.

Detail is what a map of 256 texels cannot hold: the luminance of the photograph over its own local mean, as a ratio, so
that smooth light cancels. Edges of shadows, highlights and occluders stay out by the gain of a self-guided filter (He,
Sun and Tang, "Guided image filtering", PAMI 2013), which is near 1 in calm skin and near 0 at strong edges. Colour
comes from the small map alone, so there are no coloured fringes.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from facejax.lighting import linear_to_srgb, luminance, rgb_to_lab, srgb_to_linear
from facejax.skin.pores import Grain
from facejax.skin.sight import seen_texels
from facejax.unwrap.masks import box_blur, dilate, erode, scaled_kernel
from facejax.unwrap.photos import Layout
from facejax.unwrap.pyramid import collapse, gaussian_pyramid, laplacian_pyramid
from facejax.unwrap.views import View

CELLS = 256  # texels a side of the small maps; each is a cell of the large map
FLOOR = 0.01  # added to linear luminance, so that noise in the dark is not detail
EDGE = 0.1  # standard deviation of log luminance from which a neighbourhood is an edge rather than skin
BRIGHTER, DARKER, MIRRORED = (
    0.12,
    0.4,
    0.08,
)  # the most that detail adds to log luminance; of the other side, either way
TURNED = (0.25, 0.55)  # cosines of normal and line of sight between which detail fades in
TRUSTED = (0.05, 0.35)  # trust between which detail fades in: a doubtful tone need not be without detail
BURNT = (0.9, 0.99)  # display values between which detail fades out, since highlights clip there
LOUDEST = 2.0  # contrast of added grain, in units of `Grain`, at most
DEPTH = 1.2  # mm of relief for a log luminance of 1: about 0.02 mm for grain
DEEPEST = 0.1  # mm of relief, up or down
RIM_REACH = 9  # texels of a 1024 map on either side of a boundary that are compared
BINOMIAL = (0.25, 0.5, 0.25)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Detailed:
    """The result of `add_detail`. Leaves may carry leading batch axes."""

    albedo: Float[Array, "*B S S 3"]  # display values in [0, 1]
    height: Float[Array, "*B S S"]  # mm out of the surface: the relief that the detail suggests
    trust: Float[Array, "*B S S"]  # that of the small map; 0 where the photograph shows no skin


def add_detail(
    low: Float[Array, "H W 3"],
    trust: Float[Array, "H2 W2"],
    view: View,
    layout: Layout,
    grain: Grain,
    *,
    strength: Float[Array, ""] | float = 1.0,
) -> Detailed:
    """The small albedo map at the layout's size, with detail. One face; for jit and vmap.

    Where the photograph shows the skin well, its detail is added. Where only the other side of the face is shown so,
    that side's is, mirrored and with less contrast, so that no mole appears twice. The layout must be symmetric about
    u = 1/2. Whatever contrast a frequency band then lacks, the grain gives: as much as this person's seen skin has, or
    as the measured skins have where that is more. So pores end neither where the photograph does nor where it is
    blurred.

    Args:
      low: albedo, display values (256, 256, 3).
      trust: how far it can be trusted, (256, 256).
      view: the photograph in the layout.
      layout: 512, 1024, 2048 or 4096 texels a side.
      grain: of the same layout, from `skin_grain`.
      strength: of all detail; 0 enlarges the map alone.

    Returns:
      The large maps.

    Raises ValueError for maps whose sizes do not fit.
    """
    size = _checked(low, trust, view, layout, grain)
    seen = seen_texels(view) * layout.regions.skin
    enlarged = _enlarge(trust, size)
    weight = _usable(view, seen) * _ramp(enlarged, *TRUSTED)
    detail = _limit(photo_detail(view.color, seen), DARKER, BRIGHTER)
    other = (1 - weight) * weight[:, ::-1]
    photo = weight * detail + other * _limit(detail[:, ::-1], MIRRORED, MIRRORED)
    ratio = strength * (photo + _lacking_grain(photo, weight + other, grain.pores)) * layout.regions.skin
    bright = srgb_to_linear(_enlarge(low, size)) * jnp.exp(ratio)[..., None]
    return Detailed(
        albedo=jnp.clip(linear_to_srgb(bright), 0.0, 1.0),
        height=_limit(DEPTH * ratio, DEEPEST, DEEPEST),
        trust=enlarged * seen,
    )


def photo_detail(color: Float[Array, "S S 3"], seen: Float[Array, "S S"]) -> Float[Array, "S S"]:
    """Logarithm of luminance over its local mean, without the edges; 0 where nothing is seen.

    The mean over cells is interpolated between their centres, which leaves just what a map of 256 texels lacks. Cells
    are averaged over their seen texels only, so that nothing bleeds in.

    Args:
      color: the photograph in the layout, display values.
      seen: 1 where it shows skin.
    """
    size = len(seen)
    log = jnp.log(jnp.maximum(luminance(srgb_to_linear(color)), 0.0) + FLOOR)
    log = log - jnp.sum(log * seen) / jnp.maximum(jnp.sum(seen), 1.0)  # small numbers lose less when squared
    count = _cell_means(seen)
    known = jnp.maximum(count, 1e-6)
    mean = _cell_means(seen * log) / known
    around = jnp.maximum(_spread(count), 1e-6)
    first, second = _spread(count * mean) / around, _spread(_cell_means(seen * log**2)) / around
    variance = jnp.maximum(second - first**2, 0.0)
    gain = EDGE**2 / (EDGE**2 + variance)
    share = (count > 0).astype(log.dtype)
    local = _enlarge(mean * share, size) / jnp.maximum(_enlarge(share, size), 1e-6)
    return seen * _enlarge(gain, size) * (log - local)


def _usable(view: View, seen: Float[Array, "S S"]) -> Float[Array, "S S"]:
    """How far the photograph's detail can be used: from 0 within a cell of the border of what is seen to 1 two cells
    further in, less where the skin turns away, and not where the picture is burnt out.
    """
    inner = -_cells(-seen, lax.max, -jnp.inf)  # the least of each cell
    inner = _spread(erode(inner, 5))
    border = _enlarge(inner, len(seen)) * seen
    burnt = _ramp(jnp.max(view.color, axis=-1), *BURNT)
    return border * _ramp(view.facing, *TURNED) * (1 - burnt)


def _lacking_grain(
    photo: Float[Array, "S S"], known: Float[Array, "S S"], pores: Float[Array, "S S"]
) -> Float[Array, "S S"]:
    """The grain that brings every octave's contrast to that of the person's own seen skin, or to the grain's own."""
    levels = int(np.log2(len(photo) // CELLS))
    seen, own = (laplacian_pyramid(each[..., None], levels)[:-1] for each in (photo, pores))
    shares = gaussian_pyramid(known[..., None], levels)
    bands = []
    for band, grain, share in zip(seen, own, shares[:-1], strict=True):
        sure = share**2
        person = jnp.sum(band**2 * sure) / jnp.maximum(jnp.sum(sure**2), 1.0)  # a band has its weight in it once
        laid = (grain != 0).astype(grain.dtype)
        common = jnp.maximum(jnp.sum(grain**2) / jnp.maximum(jnp.sum(laid), 1.0), 1e-12)
        wanted = jnp.clip(person, common, LOUDEST**2 * common)
        bands.append(grain * jnp.sqrt(jnp.maximum(wanted - sure * person, 0.0) / common))
    return collapse([*bands, jnp.zeros_like(shares[-1])])[..., 0]


def rim(
    albedo: Float[Array, "S S 3"], seen: Float[Array, "S S"], *, where: Float[Array, "S S"] | None = None
) -> Float[Array, ""]:
    """How visible the border of what was seen is in a map: its step in colour, less that along parallel lines.

    The colours just inside and just outside the border are averaged over small squares; the step is their difference in
    CIE 1976 L*a*b*, averaged along the border. The same is done along two lines parallel to it, one on either side. 0:
    the border is no more visible than those; from about 2 on it shows. 0 also without a border.

    Args:
      albedo: display values.
      seen: 1 where the photograph showed the skin; more than 0.5 counts.
      where: restricts all to these texels, such as the skin of the layout.
    """
    kernel = scaled_kernel(RIM_REACH, len(seen), least=3)
    lab = rgb_to_lab(albedo)
    allowed = jnp.ones_like(seen) if where is None else jnp.where(where > 0.5, 1.0, 0.0)
    mask = jnp.where(seen > 0.5, 1.0, 0.0)
    apart = 4 * kernel + 1
    here = _step(lab, mask, allowed, kernel)
    steps = jnp.stack([_step(lab, each, allowed, kernel) for each in (erode(mask, apart), dilate(mask, apart))])
    return jnp.where(here[1] > 0, here[0] - jnp.sum(steps[:, 0] * steps[:, 1]) / jnp.maximum(steps[:, 1].sum(), 1.0), 0)


def _step(
    lab: Float[Array, "S S 3"], mask: Float[Array, "S S"], allowed: Float[Array, "S S"], kernel: int
) -> Float[Array, " 2"]:
    """The mean step across the border of a mask, and the number of texels along it."""
    means, shares = [], []
    for side in (mask * allowed, (1 - mask) * allowed):
        share = box_blur(side, kernel)
        blurred = jnp.stack([box_blur(lab[..., k] * side, kernel) for k in range(3)], axis=-1)
        means.append(blurred / jnp.maximum(share, 1e-6)[..., None])
        shares.append(share)
    line = (dilate(mask, 3) - mask) * allowed * jnp.where(jnp.minimum(*shares) > 0.1, 1.0, 0.0)
    step = jnp.linalg.norm(means[0] - means[1], axis=-1)
    count = line.sum()
    return jnp.stack([jnp.sum(step * line) / jnp.maximum(count, 1.0), count])


def _checked(low: Array, trust: Array, view: View, layout: Layout, grain: Grain) -> int:
    """The size of the large maps. Raises ValueError."""
    size = layout.size
    if low.shape != (CELLS, CELLS, 3) or trust.shape != (CELLS, CELLS):
        raise ValueError(f"maps {low.shape} and {trust.shape}: give ({CELLS}, {CELLS}, 3) and ({CELLS}, {CELLS})")
    if size % CELLS or size // CELLS not in (2, 4, 8, 16):
        raise ValueError(f"a layout of {size} texels: detail needs 512, 1024, 2048 or 4096")
    for name, shape in (("view", view.valid.shape), ("grain", grain.pores.shape)):
        if shape != (size, size):
            raise ValueError(f"a {name} of {shape} for a layout of {size} texels: make it with the same layout")
    return size


def _cells(image: Float[Array, "S S"], operation, start: float) -> Float[Array, "C C"]:
    side = len(image) // CELLS
    return lax.reduce_window(image, np.asarray(start, image.dtype), operation, (side, side), (side, side), "VALID")


def _cell_means(image: Float[Array, "S S"]) -> Float[Array, "C C"]:
    return _cells(image, lax.add, 0.0) / (len(image) // CELLS) ** 2


def _spread(image: Float[Array, "C C"]) -> Float[Array, "C C"]:
    """The weighted mean of 3 x 3; the border's texels are repeated."""
    for _ in range(2):
        padded = jnp.pad(image, ((1, 1), (0, 0)), mode="edge")
        image = jnp.asarray(sum(weight * padded[k : k + len(image)] for k, weight in enumerate(BINOMIAL))).T
    return image


def _enlarge(image: Float[Array, "C C *K"], size: int) -> Float[Array, "S S *K"]:
    """Linear interpolation between the texels' centres."""
    return jax.image.resize(image, (size, size, *image.shape[2:]), "linear")


def _ramp(x: Float[Array, "S S"], low: float, high: float) -> Float[Array, "S S"]:
    """0 below `low`, 1 above `high`, smooth between."""
    part = jnp.clip((x - low) / (high - low), 0.0, 1.0)
    return part * part * (3 - 2 * part)


def _limit(x: Float[Array, "S S"], down: float, up: float) -> Float[Array, "S S"]:
    """Soft limits: unchanged near 0, never below -`down` or above `up`."""
    return jnp.where(x > 0, up * jnp.tanh(x / up), down * jnp.tanh(x / down))

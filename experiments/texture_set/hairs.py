"""Hair painted on the skin: brows from cards, beards, the shorn scalp. Each is a cover (T, T) in [0, 1]."""

import numpy as np
from default_head.skins import ramp
from scipy.ndimage import map_coordinates

from texture_set.ingredients import FINE, MOTTLES, Ingredients
from texture_set.person import Beard, Brows, Person


def draw_brows(ingredients: Ingredients, brows: Brows, rng: np.random.Generator) -> np.ndarray:
    """Both brows: the card, bent along the landmarks' curve, with some irregularity."""
    card, middle = ingredients.cards[brows.card], ingredients.card_middles[brows.card]
    columns = card.shape[1]
    along, across, side = ingredients.brow_place.T
    # mm per card pixel: the card's length is that of the curve between the ends.
    length = np.linalg.norm(np.diff(ingredients.points[22:27], axis=0), axis=1).sum() * brows.length
    scale = columns / length
    share = (along - brows.start) / brows.length
    own = np.polyval(np.polyfit(np.arange(columns), middle, 2, w=card.sum(axis=0) + 1e-3), np.arange(columns))
    shift = middle - brows.own_arch * (own - own.mean())
    lift = np.where(side > 0.5, brows.lift[1], brows.lift[0]) + brows.arch * (1 - (2 * share - 1) ** 2 - 0.67)
    column = share * columns
    row = np.interp(column, np.arange(columns), shift) - (across - lift) * scale / brows.width
    value = map_coordinates(card, [row, column], order=1, mode="constant", prefilter=False)
    value = value * ramp(share, -0.03, 0.10) * ramp(share, 1.03, 0.9)
    cover = np.clip(brows.cover * value**brows.power, 0, 1)
    image = np.bincount(ingredients.brow_texels, cover, ingredients.size**2) / FINE**2
    uneven = 1 + 0.2 * (grain_of(ingredients, rng) - 1)
    return np.clip(image.reshape(ingredients.size, -1) * uneven, 0, 1).astype(np.float32)


def draw_beard(ingredients: Ingredients, beard: Beard, rng: np.random.Generator) -> np.ndarray:
    """From a beard shadow to a short full beard, with ragged borders."""
    if beard.kind == "none":
        return np.zeros_like(ingredients.lips)
    ragged, patches = (
        np.repeat(np.repeat(ingredients.mottles[scale][rng.integers(MOTTLES)], 2, axis=0), 2, axis=1)
        for scale in (1, 2)
    )
    sideburns = _sideburns(ingredients)
    border = ramp(_beard_depth(ingredients, beard, sideburns) + 1.5 * ragged, -3, 4)
    limit = np.maximum(np.sqrt(ingredients.masks["beard"]), sideburns) * ramp(ingredients.lips, 0.6, 3.5)
    thin = 1 - beard.patchy * (1 - ramp(patches, -2.2, 0.3))
    grain = streaks(ingredients, rng) if beard.cover > 0.4 else grain_of(ingredients, rng)
    roughness = 0.25 + 0.75 * min(beard.cover / 0.3, 1.0)
    return np.clip(beard.cover * limit * border * thin * (1 + roughness * (grain - 1)), 0, 0.95)


def _sideburns(ingredients: Ingredients) -> np.ndarray:
    """(T, T) mask of the strips before the ears that join a full beard to the hair."""
    x, y, z = np.moveaxis(ingredients.position, -1, 0)
    strip = ramp(z, 16, 25) * ramp(z, 44, 32) * ramp(y, -32, -22) * ramp(y, 46, 22) * ramp(np.abs(x), 50, 60)
    return strip * (1 - ingredients.masks["ears"])


def _beard_depth(ingredients: Ingredients, beard: Beard, sideburns: np.ndarray) -> np.ndarray:
    """(T, T) how far inside the beard a texel lies, about mm; negative outside."""
    x, y, _ = np.moveaxis(ingredients.position, -1, 0)
    x, points = np.abs(x), ingredients.points
    nose, mouth, level, chin = points[33, 1], abs(points[48, 0]), points[48, 1], points[8, 1]
    moustache = np.minimum(np.minimum(beard.width - x, nose - 1 - y), y - level + 1)
    if beard.kind == "moustache":
        return moustache
    if beard.kind == "goatee":
        around = beard.width > 28
        half, top = (mouth + 9, nose - 8) if around else (beard.width - 6, points[57, 1] - 4)
        return np.maximum(moustache, np.minimum(np.minimum(half - x, top - y), y - chin + 12))
    upper = np.interp(x, [mouth - 6, mouth + 10, 58, 66, 72], [nose, level - 4, level + 2, level + 25, 60.0])
    cheeks = np.maximum(upper + beard.cheek_line * ramp(x, 20, 35) - y, -20)
    return np.maximum(cheeks, 9 * sideburns - 4)


def draw_scalp(ingredients: Ingredients, person: Person, rng: np.random.Generator) -> np.ndarray:
    """Shorn hair behind a hairline that varies by person."""
    near_ear = 1 - ingredients.masks["ears"]
    border = (
        ramp(ingredients.hairline - person.hair_shift, -7, 11) * near_ear * ramp(ingredients.masks["hair"], 0, 0.05)
    )
    return np.clip(person.hair_cover * border * (0.5 + 0.5 * grain_of(ingredients, rng)), 0, 0.97)


def grain_of(ingredients: Ingredients, rng: np.random.Generator) -> np.ndarray:
    """(T, T) noise around 1, one value per cell of the surface."""
    table = np.clip(rng.normal(1.0, 0.5, 1 << 16), 0, 2).astype(np.float32)
    return table[ingredients.grain]


def streaks(ingredients: Ingredients, rng: np.random.Generator) -> np.ndarray:
    """(T, T) noise around 1, longer down the face than across."""
    grain = grain_of(ingredients, rng) - 1
    run = grain + np.roll(grain, 1, axis=0) + np.roll(grain, 2, axis=0)
    return 1 + 0.32 * run

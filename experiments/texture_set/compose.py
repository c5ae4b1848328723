"""One map from one person: pigments add in optical density, hair and eyes cover.

Optical density is -log of linear RGB. A map is a function of (ingredients, seed, index) alone.
"""

import numpy as np
from default_head.albedo import LIPS_MELANIN
from default_head.skins import ramp

from facejax.lighting import linear_to_srgb
from texture_set.hairs import draw_beard, draw_brows, draw_scalp
from texture_set.ingredients import LEVELS, Ingredients
from texture_set.marks import bare, draw_furrows, draw_pores, draw_spots, freckle_density
from texture_set.person import Person, draw_person
from texture_set.pyramid import double, fill_smoothly, join

MELANIN = np.array([0.35, 0.75, 1.0], np.float32)  # density of one unit, as in freckles
YELLOW = np.array([0.0, 0.25, 1.0], np.float32)  # carotene, which absorbs blue only
SOCKETS = np.array([0.7, 1.0, 0.85], np.float32)
WHITE = np.array([0.83, 0.81, 0.79], np.float32)  # display values of a sclera; linear some 0.6, our choice
CAVITY = np.array([1.1, 1.6, 1.6], np.float32)  # nostrils and the inside of the lips, which little light reaches


def draw_map(ingredients: Ingredients, seed: int, index: int) -> np.ndarray:
    """(T, T, 3) uint8 display values of map `index` of the set `seed`, row 0 on top, filled beyond the charts."""
    rng = np.random.default_rng([seed, index])
    return to_bytes(compose(ingredients, draw_person(ingredients, rng), rng))


def to_bytes(image: np.ndarray) -> np.ndarray:
    """Values in [0, 1] as rounded bytes."""
    return np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)


def compose(ingredients: Ingredients, person: Person, rng: np.random.Generator) -> np.ndarray:
    """(T, T, 3) float32 display values; `rng` draws the grain and the places of spots."""
    linear = np.exp(-np.maximum(skin_density(ingredients, person, rng), 0.02))
    bare_tone = np.exp(-person.tone)
    shadow = 0.7 * person.hair_colour + 0.12 * bare_tone * np.array([0.8, 1.0, 1.25], np.float32)
    # Hair under the skin looks blue; hair above it has its own colour.
    under = np.array([0.85, 1.0, 1.15] if person.beard.cover < 0.25 else [1.05, 1.0, 0.9], np.float32)
    beard = 0.75 * person.beard.colour + 0.12 * bare_tone * under
    linear = cover(linear, draw_scalp(ingredients, person, rng), shadow)
    linear = cover(linear, draw_beard(ingredients, person.beard, rng), beard)
    linear = cover(linear, draw_brows(ingredients, person.brows, rng), person.brows.colour)
    lashes = np.clip(person.lashes + person.make_up.liner, 0, 0.95)
    linear = cover(linear, lashes * ingredients.masks["lashes"], 0.25 * person.hair_colour + 0.004)
    image = linear_to_srgb(linear.astype(np.float32)).astype(np.float32)
    image = fill_smoothly(image, ingredients.skin)
    flat = image.reshape(-1, 3)
    flat[ingredients.eye_texels] = eyes(ingredients, person)
    return np.clip(image, 0, 1)


def cover(under: np.ndarray, amount: np.ndarray, colour: np.ndarray) -> np.ndarray:
    """Opaque hairs over a share of each texel, in linear light."""
    return under + amount[..., None] * (colour.astype(np.float32) - under)


def skin_density(ingredients: Ingredients, person: Person, rng: np.random.Generator) -> np.ndarray:
    """(T, T, 3): tone, the detail of photographed skins, and the added pigments."""
    masks = ingredients.masks
    value = join([mix_band(ingredients, person, level) for level in range(LEVELS)])
    # Drawn parts replace the photographed scalps, their curls at the temples, and the insides of nose and lips.
    scalp = ramp(ingredients.hairline, -30, -8) * (1 - np.maximum(2 * masks["ears"] - 1, 0))
    value *= ((1 - 0.88 * scalp) * (1 - 0.8 * masks["cavity"]))[..., None]
    value += person.tone + person.yellow * YELLOW
    red_spots = draw_spots(ingredients, person.red_spots, bare(ingredients), rng)
    blood = person.blood + noise(ingredients, person.mottle_blood) * (1 - 0.5 * masks["hair"]) + red_spots
    blood += person.make_up.blush * masks["cheeks"]
    for region, amount in person.local_blood.items():
        blood += amount * masks[region]
    inside = ramp(ingredients.lips, 0.8, -0.8)
    blood += person.lips_blood * inside
    add(value, blood, ingredients.blood)
    add(value, melanin(ingredients, person, rng), MELANIN)
    add(value, person.lips_melanin * inside, LIPS_MELANIN)
    add(value, person.sockets * masks["sockets"], SOCKETS)
    grey = person.pores * draw_pores(ingredients, rng) * (1 - 0.7 * masks["hair"])
    if person.furrows > 0:
        grey += person.furrows * draw_furrows(ingredients, person)
    add(value, grey, np.ones(3))
    add(value, masks["cavity"], CAVITY)
    if person.make_up.lips.any():
        add(value, ramp(ingredients.lips, 0.9, -0.6) * (1 - masks["cavity"]), person.make_up.lips)
    if person.make_up.lids.any():
        y = ingredients.position[..., 1]
        above = ramp(y, ingredients.points[45, 1] - 1, ingredients.points[45, 1] + 5)
        add(value, masks["sockets"] * above, person.make_up.lids)
    return value


def melanin(ingredients: Ingredients, person: Person, rng: np.random.Generator) -> np.ndarray:
    """(T, T): uneven tan, freckles, moles and age spots."""
    amount = noise(ingredients, person.mottle_melanin)
    for region, strength in person.local_melanin.items():
        amount += strength * ingredients.masks[region]
    everywhere = bare(ingredients)
    amount += draw_spots(ingredients, person.freckles, freckle_density(ingredients), rng)
    amount += draw_spots(ingredients, person.moles, everywhere, rng)
    amount += draw_spots(ingredients, person.age_spots, everywhere, rng)
    return amount


def mix_band(ingredients: Ingredients, person: Person, level: int) -> np.ndarray:
    """(T/2^l, T/2^l, 3): each part of the head from its own skin, blended over the width of the band's features."""
    band, weights = ingredients.bands[level], ingredients.parts[level]
    result = np.zeros(band.shape[1:], np.float32)
    for part, weight in enumerate(weights):
        rows, columns = _box(weight > 1e-3)
        source = band[person.skins[part, level]]
        if person.flips[part, level]:
            source = source[:, ::-1]
        result[rows, columns] += (person.gains[part, level] * weight[rows, columns])[..., None] * source[rows, columns]
    return result


def _box(mask: np.ndarray) -> tuple[slice, slice]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def noise(ingredients: Ingredients, weights: list[np.ndarray]) -> np.ndarray:
    """(T, T): a mixture of noise images of all scales."""
    fine, middle, broad, broadest = (
        np.tensordot(w, m, axes=1) for w, m in zip(weights, ingredients.mottles, strict=True)
    )
    half = middle + broad + double(broadest[..., None])[..., 0]
    return fine + double(half[..., None])[..., 0]


def add(value: np.ndarray, amount: np.ndarray, colour: np.ndarray) -> None:
    """Add `amount` (T, T) of a pigment to `value` (T, T, 3), in place."""
    for channel in range(3):
        if colour[channel] != 0:
            value[..., channel] += np.float32(colour[channel]) * amount


def eyes(ingredients: Ingredients, person: Person) -> np.ndarray:
    """(E, 3) display values of the eyeballs' texels. The white is even: the images have the lids' shadow in theirs."""
    image = ingredients.irises[person.iris]
    iris = ingredients.masks["iris"].ravel()[ingredients.eye_texels][:, None]
    return np.clip(iris * image * person.iris_gain * person.iris_tint + (1 - iris) * WHITE * person.white, 0, 1)

"""Small things in the skin: freckles, moles, age spots, pimples, pores, furrows. Amounts in units of pigment."""

import numpy as np
from default_head.skins import ramp

from texture_set.ingredients import Ingredients
from texture_set.person import Person, Spots


def draw_spots(ingredients: Ingredients, spots: Spots, where: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(T, T): the strongest spot at each texel. Soft discs on the surface.

    Args:
      ingredients: of the maps.
      spots: number, sizes and strengths.
      where: (T, T), probability of a spot up to a factor.
      rng: of the spots.
    """
    size = ingredients.size
    image = np.zeros(size * size, np.float32)
    if spots.count == 0:
        return image.reshape(size, size)
    total = np.cumsum(where.ravel(), dtype=np.float64)
    centre = np.searchsorted(total, rng.random(spots.count) * total[-1])
    small, large = spots.radius
    radius = np.exp(rng.uniform(np.log(small), np.log(large), spots.count)).astype(np.float32)
    strength = rng.uniform(*spots.strength, spots.count).astype(np.float32)
    lobes = rng.uniform(-1, 1, (spots.count, 3)).astype(np.float32)
    texel = np.sqrt(np.median(ingredients.area[ingredients.masks["nose bridge"] > 0.5]))
    reach = int(np.ceil(1.6 * large / texel))
    offset = np.arange(-reach, reach + 1)
    rows = np.clip(centre[:, None, None] // size + offset[:, None], 0, size - 1)
    columns = np.clip(centre[:, None, None] % size + offset[None, :], 0, size - 1)
    texels = (rows * size + columns).reshape(spots.count, -1)
    position = ingredients.position.reshape(-1, 3)
    gap = position[texels] - position[centre][:, None]
    length = np.sqrt(np.einsum("stk,stk->st", gap, gap))
    # Wider on one side than on the other, so that no two spots look the same.
    towards = np.einsum("stk,sk->st", gap, lobes) / np.maximum(length, 1e-6)
    distance = length / radius[:, None] * (1 + 0.25 * towards)
    soft = 0.35 + 0.5 * texel / radius[:, None]
    value = strength[:, None] * np.clip((1 - distance) / soft + 0.5, 0, 1)
    np.maximum.at(image, texels.ravel(), value.ravel())
    return image.reshape(size, size)


def freckle_density(ingredients: Ingredients) -> np.ndarray:
    """(T, T): where freckles are: nose, cheeks and forehead."""
    x, y, z = np.moveaxis(ingredients.position, -1, 0)
    middle = 0.5 * (ingredients.points[28, 1] + ingredients.points[30, 1])
    weight = np.exp(-(((np.abs(x) - 22) / 26) ** 2) - ((y - middle) / 24) ** 2) * (z > 40) + 0.012
    return weight * bare(ingredients)


def bare(ingredients: Ingredients) -> np.ndarray:
    """(T, T): area of bare skin, without lips, cavities and scalp."""
    open_skin = ramp(ingredients.lips, 0, 1.5) * (1 - ingredients.masks["cavity"])
    return ingredients.area * open_skin * (1 - 0.9 * ingredients.masks["hair"])


def draw_pores(ingredients: Ingredients, rng: np.random.Generator) -> np.ndarray:
    """(T, T): fine grain around 0, coarser on nose and inner cheeks."""
    table = rng.standard_normal(1 << 16).astype(np.float32)
    grain = np.maximum(table[ingredients.grain] - 0.4, -0.4)
    masks = ingredients.masks
    return grain * (0.45 + 0.8 * masks["nose"] + 0.7 * masks["cheeks"]) * (1 - masks["cavity"])


def draw_furrows(ingredients: Ingredients, person: Person) -> np.ndarray:
    """(T, T): lines across the forehead and crow's feet, thin and broken, in [0, 1]."""
    x, y, _ = np.moveaxis(ingredients.position, -1, 0)
    wobble = np.repeat(np.repeat(ingredients.mottles[2][0], 2, axis=0), 2, axis=1)
    gaps = np.repeat(np.repeat(ingredients.mottles[2][1], 2, axis=0), 2, axis=1)
    lines = person.furrow_lines
    spacing = 7.0 + 4.0 * lines[0]
    height = (y - ingredients.points[19, 1] + 0.004 * x**2 * (lines[1] - 0.3)) / spacing + 0.18 * wobble + lines[2]
    across = np.abs(height - np.round(height)) * spacing
    forehead = ingredients.masks["forehead"] * ramp(np.abs(x), 48, 25) * ramp(gaps, -1.2, 0.5)
    corner = ingredients.points[45]
    dx, dy = np.abs(x) - corner[0], y - corner[1]
    radius = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx) / (0.30 + 0.12 * lines[3]) + 0.25 * wobble + lines[4]
    beside = np.abs(angle - np.round(angle)) * 0.3 * np.maximum(radius, 3)
    feet = ramp(radius, 4, 9) * ramp(radius, 26, 14) * ramp(dx, 2, 6) * ramp(np.abs(dy), 18, 10)
    width = 0.9
    return np.maximum(forehead * np.exp(-((across / width) ** 2)), 0.8 * feet * np.exp(-((beside / width) ** 2)))

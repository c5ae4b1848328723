"""A random person: everything that is random in one map, as numbers."""

from dataclasses import dataclass

import numpy as np
from default_head.albedo import HAIR, HAIR_DARK, HAIR_LIGHT, skin_melanin, tone

from facejax.lighting import linear_to_srgb
from texture_set.ingredients import LEVELS, MOTTLE_MM, MOTTLES, PARTS, Ingredients

BEARDS = ("none", "shadow", "stubble", "moustache", "goatee", "full")
BEARD_SHARES = (0.38, 0.24, 0.16, 0.05, 0.07, 0.10)  # of men
GREY = HAIR[5] * [1.04, 1.0, 0.94]
# Density added to the lips at full strength: red, coral, pink, plum, brown, nude.
LIPSTICKS = np.array(
    [
        [0.15, 1.9, 1.7], [0.0, 1.2, 1.0], [0.05, 1.0, 0.7],
        [0.7, 1.9, 1.3], [0.6, 1.2, 1.3], [0.05, 0.35, 0.35],
    ]
)  # fmt: skip
# Density added to the upper lids: brown, grey, blue, green, pink.
SHADOWS = np.array([[0.5, 0.9, 1.1], [0.7, 0.75, 0.7], [0.9, 0.6, 0.25], [0.7, 0.4, 0.6], [0.1, 0.6, 0.35]])


@dataclass(frozen=True)
class Spots:
    """One kind of spots: their number, and the limits of radius (mm) and strength."""

    count: int
    radius: tuple[float, float]
    strength: tuple[float, float]


@dataclass(frozen=True)
class Brows:
    """The brow card, and its place along the landmarks' curve."""

    card: int
    length: float  # as a multiple of the curve's
    start: float  # place of the inner end, as a share of the curve
    width: float  # as a multiple of the card's
    lift: tuple[float, float]  # mm, right and left
    arch: float  # mm by which the middle is raised above the ends
    own_arch: float  # share of the card's own curve that is kept
    cover: float
    power: float  # below 1 fills the gaps between hairs
    colour: np.ndarray  # (3,) linear


@dataclass(frozen=True)
class Beard:
    """Short facial hair; lengths in mm."""

    kind: str
    cover: float
    cheek_line: float  # raises the upper border
    width: float  # half the moustache's width; a goatee wider than 28 surrounds the mouth
    patchy: float
    colour: np.ndarray  # (3,) linear


@dataclass(frozen=True)
class MakeUp:
    """Density at full strength, or 0."""

    lips: np.ndarray  # (3,)
    lids: np.ndarray  # (3,)
    liner: float
    blush: float


@dataclass(frozen=True)
class Person:
    """One random person."""

    age: float  # years
    female: bool
    melanin: float  # -1 palest, 0 the light skins, 1 the dark skins
    tone: np.ndarray  # (3,) density of bare skin
    blood: float
    yellow: float
    skins: np.ndarray  # (len(PARTS), LEVELS) index of the skin from which each part takes each band
    flips: np.ndarray  # (len(PARTS), LEVELS) whether the skin is mirrored
    gains: np.ndarray  # (len(PARTS), LEVELS)
    local_blood: dict[str, float]  # by mask
    local_melanin: dict[str, float]
    mottle_blood: list[np.ndarray]  # per scale (MOTTLES,) weights
    mottle_melanin: list[np.ndarray]
    pores: float
    furrows: float
    furrow_lines: np.ndarray  # (6,) uniform numbers that determine their places
    freckles: Spots
    moles: Spots
    age_spots: Spots
    red_spots: Spots
    lips_blood: float
    lips_melanin: float
    sockets: float
    hair_cover: float
    hair_shift: float  # mm by which the hairline is moved back
    hair_colour: np.ndarray  # (3,) linear
    beard: Beard
    brows: Brows
    lashes: float
    make_up: MakeUp
    iris: int
    iris_gain: float
    iris_tint: np.ndarray  # (3,)
    white: np.ndarray  # (3,)


def draw_person(ingredients: Ingredients, rng: np.random.Generator) -> Person:
    """A random person; tones, ages and sexes are spread evenly; hair, eyes and pigments are consistent with them."""
    age, female = float(rng.uniform(16, 82)), bool(rng.random() < 0.5)
    old = np.clip((age - 40) / 35, 0, 1)
    melanin = _melanin(ingredients, rng)
    darkness = float(np.clip((melanin + 0.1) / 0.5, 0, 1))
    skins, flips, gains = _recipe(ingredients, rng, melanin, age, female)
    hair, brow_colour = _hair_colours(rng, darkness, age)
    fair = 1 - darkness
    return Person(
        age=age,
        female=female,
        melanin=melanin,
        tone=tone(ingredients.tones, melanin).astype(np.float32),
        blood=rng.normal(0.0, 0.10),
        yellow=rng.normal(0.0, 0.09),
        skins=skins,
        flips=flips,
        gains=gains,
        local_blood={
            "cheeks": rng.normal(0.08, 0.10) * (1 - 0.4 * darkness),
            "nose": rng.normal(0.06, 0.08) * (1 - 0.4 * darkness),
            "chin": rng.normal(0.02, 0.05),
            "ears": rng.normal(0.10, 0.09),
            "eyes": rng.normal(0.03, 0.05),
            "neck": rng.normal(0.0, 0.05),
        },
        local_melanin={
            "forehead": rng.normal(0.02, 0.06),
            "neck": rng.normal(0.0, 0.06),
            "nose bridge": rng.normal(0.0, 0.04),
            "jaw": rng.normal(0.0, 0.05),
            "eyes": rng.gamma(1.0, 0.05) * darkness,
        },
        mottle_blood=_mottle(rng, (0.020, 0.018, 0.022, 0.018), (0.7 + 0.6 * old) * (1 - 0.6 * darkness)),
        mottle_melanin=_mottle(rng, (0.008, 0.010, 0.014, 0.018), 0.7 + 0.8 * old),
        pores=rng.gamma(2.0, 0.018),
        furrows=float(old * rng.gamma(2.0, 0.03)),
        furrow_lines=rng.random(6),
        freckles=Spots(int(rng.integers(80, 700)) * (rng.random() < 0.08 + 0.32 * fair), (0.35, 1.0), (0.05, 0.45)),
        moles=Spots(rng.poisson(rng.gamma(1.0, 4.0)), (0.5, 1.5), (0.3, 1.3)),
        age_spots=Spots(rng.poisson(18 * old * rng.random()), (0.9, 3.2), (0.06, 0.3)),
        red_spots=Spots(rng.poisson(9 * rng.random()) * (rng.random() < 0.6 * (age < 32)), (0.7, 1.8), (0.08, 0.35)),
        lips_blood=rng.normal(0.0, 0.13) - 0.06 * old,
        lips_melanin=rng.normal(0.0, 0.12) + 0.15 * darkness,
        sockets=rng.gamma(1.2, 0.07) * (1 + 0.6 * old),
        hair_cover=float(rng.choice([0.0, rng.uniform(0.15, 0.85)], p=[0.22, 0.78])),
        hair_shift=float(rng.normal(0, 4) + (0 if female else 9 * rng.random() * old)),
        hair_colour=hair,
        beard=_beard(rng, female, hair),
        brows=_brows(ingredients, rng, female, brow_colour),
        lashes=rng.uniform(0.35, 0.8) if female else rng.uniform(0.15, 0.55),
        make_up=_make_up(rng, female),
        **_eyes(ingredients, rng, darkness, old),
    )


def _melanin(ingredients: Ingredients, rng: np.random.Generator) -> float:
    """The tone by its brightness: half of the draws as common in the world's cities, half even over all tones."""
    grid = np.linspace(-0.9, 1.15, 100)
    greens = -linear_to_srgb(np.exp(-np.array([tone(ingredients.tones, m)[1] for m in grid])))
    green = np.clip(rng.normal(0.57, 0.15), 0.18, 0.88) if rng.random() < 0.5 else rng.uniform(0.2, 0.86)
    return float(np.interp(-green, greens, grid))


def _recipe(
    ingredients: Ingredients, rng: np.random.Generator, melanin: float, age: float, female: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The skins of the detail. Most parts share a skin per band; coarse bands are close in tone and age."""
    names = [str(name) for name in ingredients.names]
    ages = np.array([22 if "young" in name else 45 if "middleage" in name else 70 for name in names])
    same = np.array([("female" in name) == female for name in names])
    apart = (skin_melanin(ingredients.tones) - melanin) ** 2
    years = np.exp(-(((ages - age) / 17) ** 2))
    coarse = np.exp(-apart / 0.45**2) * (0.15 + years) * np.where(same, 1, 0.5) + 1e-5
    fine = np.exp(-apart / 0.8**2) * (0.02 + years) * np.where(same, 1, 0.5) * np.minimum(ingredients.sharpness, 2) ** 2
    skins = np.empty((len(PARTS), LEVELS), int)
    for level in range(LEVELS):
        chance = (fine if level < 3 else coarse) + 1e-6
        chance = chance / chance.sum()
        common = rng.choice(len(names), p=chance)
        own = rng.choice(len(names), len(PARTS), p=chance)
        skins[:, level] = np.where(rng.random(len(PARTS)) < 0.35, own, common)
    # The three fine bands of a part come from one skin, since wrinkles extend over all of them.
    skins[:, :2] = np.where(rng.random((len(PARTS), 1)) < 0.8, skins[:, 2:3], skins[:, :2])
    flips = np.repeat(rng.random((len(PARTS), 1)) < 0.5, LEVELS, axis=1)
    strength = np.clip(rng.normal(1.0, 0.15, LEVELS) * (0.85 + 0.004 * (age - 16)), 0.4, 1.5)
    return skins, flips, (strength * rng.uniform(0.85, 1.15, (len(PARTS), LEVELS))).astype(np.float32)


def _mottle(rng: np.random.Generator, strengths: tuple[float, ...], factor: float) -> list[np.ndarray]:
    """Weights of the noise images: sums of Gaussian noise are new Gaussian noise."""
    size = [factor * strength * rng.gamma(4.0, 0.25) for strength in strengths]
    return [
        (s * rng.normal(0, MOTTLES**-0.5, MOTTLES)).astype(np.float32) for s, _ in zip(size, MOTTLE_MM, strict=True)
    ]


def _hair_colours(rng: np.random.Generator, darkness: float, age: float) -> tuple[np.ndarray, np.ndarray]:
    """Linear colours of hair and brows; brows are darker than fair hair and turn grey later."""
    chances = (1 - darkness) * np.array(HAIR_LIGHT) + darkness * np.array(HAIR_DARK)
    chances[5] = 0.0
    young = HAIR[rng.choice(len(HAIR), p=chances / chances.sum())] * rng.uniform(0.7, 1.4)
    grey = np.clip(rng.normal((age - 52) / 22, 0.3), 0, 1)
    old = GREY * rng.uniform(0.7, 1.5)
    brow = young * (rng.uniform(0.45, 0.8) if young.mean() > 0.05 else rng.uniform(0.8, 1.2))
    late = 0.55 * grey**2
    hair = (1 - grey) * young + grey * old
    # Thin dark hair over skin looks too blue, so brows are drawn warmer.
    brow = ((1 - late) * brow + 0.6 * late * old) * [1.15, 1.0, 0.82]
    return hair.astype(np.float32), brow.astype(np.float32)


def _beard(rng: np.random.Generator, female: bool, hair: np.ndarray) -> Beard:
    kind = "none" if female else str(rng.choice(BEARDS, p=BEARD_SHARES))
    low, high = {"none": (0, 0), "shadow": (0.04, 0.22), "stubble": (0.2, 0.5)}.get(kind, (0.45, 0.85))
    tint = hair * rng.uniform(0.6, 1.0) * np.array([1.1 + 0.25 * rng.random(), 1.0, 0.8])
    return Beard(
        kind=kind,
        cover=rng.uniform(low, high),
        cheek_line=rng.uniform(-8, 8),
        width=rng.uniform(22, 34),
        patchy=rng.uniform(0.0, 0.6),
        colour=tint.astype(np.float32),
    )


def _brows(ingredients: Ingredients, rng: np.random.Generator, female: bool, colour: np.ndarray) -> Brows:
    lift, lopsided = rng.normal(0.0, 0.9), rng.normal(0.0, 0.25)
    return Brows(
        card=int(rng.integers(len(ingredients.cards))),
        length=rng.uniform(0.9, 1.12),
        start=rng.uniform(-0.06, 0.05),
        width=rng.uniform(1.0, 1.6) if female else rng.uniform(1.3, 2.1),
        lift=(lift + lopsided, lift - lopsided),
        arch=rng.normal(0.6 if female else 0.0, 0.8),
        own_arch=rng.uniform(0.1, 0.45),
        cover=rng.uniform(0.75, 1.4),
        power=rng.uniform(0.7, 1.05),
        colour=colour.astype(np.float32),
    )


def _make_up(rng: np.random.Generator, female: bool) -> MakeUp:
    """Half of the women wear make-up; lids and lips are independent."""
    on = female and rng.random() < 0.5
    lips = LIPSTICKS[rng.choice(len(LIPSTICKS), p=[0.2, 0.15, 0.25, 0.1, 0.1, 0.2])] * rng.uniform(0.15, 0.75)
    lids = SHADOWS[rng.choice(len(SHADOWS), p=[0.5, 0.2, 0.1, 0.05, 0.15])] * rng.uniform(0.05, 0.5)
    return MakeUp(
        lips=(lips * (on and rng.random() < 0.8)).astype(np.float32),
        lids=(lids * (on and rng.random() < 0.5)).astype(np.float32),
        liner=rng.uniform(0.2, 0.8) * (on and rng.random() < 0.6),
        blush=rng.uniform(0.03, 0.2) * (on and rng.random() < 0.5),
    )


def _eyes(ingredients: Ingredients, rng: np.random.Generator, darkness: float, old: float) -> dict:
    names = [str(name) for name in ingredients.iris_names]
    brown = np.array([name.startswith("brown") for name in names])
    share = 0.45 + 0.54 * darkness
    dark_brown = np.where(np.array(names) == "brown", 1 + 8 * darkness, 1.0) * brown
    white = rng.normal(0.97 - 0.12 * darkness - 0.05 * old, 0.04)
    return {
        "iris": int(
            rng.choice(
                len(names), p=np.where(brown, share * dark_brown / dark_brown.sum(), (1 - share) / (~brown).sum())
            )
        ),
        "iris_gain": rng.uniform(0.7, 1.2),
        "iris_tint": (np.array([0.92, 1.02, 1.0]) + rng.normal(0, 0.05, 3)).astype(np.float32),
        "white": (white * np.array([1, 1 + rng.normal(0, 0.015), 1 + rng.normal(-0.01 - 0.03 * old, 0.025)])).astype(
            np.float32
        ),
    }

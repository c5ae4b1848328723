"""The albedo basis: random variation of skins, pigments, hair and eyes, and its principal components.

Skin is mixed in optical density, where pigments add: a tone on the line from the light to the dark skins (melanin),
blood in the direction in which lips differ from skin, and the detail of one or two photographed skins. Hair covers it.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from default_head.layers import Layers, fill_outside, make_layers
from facejax.face_model.builder import LinearGaussian, fit_pca
from facejax.lighting import linear_to_srgb

log = logging.getLogger(__name__)

# Linear RGB of hair: black, dark brown, brown, blond, red, grey; and how common each is over light and dark skin.
HAIR = np.array(
    [
        [0.012, 0.010, 0.009], [0.03, 0.02, 0.014], [0.075, 0.045, 0.027],
        [0.22, 0.14, 0.07], [0.17, 0.065, 0.025], [0.24, 0.23, 0.22],
    ]
)  # fmt: skip
HAIR_LIGHT, HAIR_DARK = [0.16, 0.28, 0.26, 0.16, 0.06, 0.08], [0.72, 0.18, 0.02, 0.0, 0.0, 0.08]
LIPS_MELANIN = np.array([0.55, 0.75, 0.75])
MONK_8 = np.array([2.15, 2.94, 3.38])  # density of tone 8 of the Monk skin tone scale, (96, 65, 52)
FACE_WEIGHT, EYE_WEIGHT = 4.0, 3.0
SAMPLES = 420
DILATE = 4  # texels that the basis reaches beyond the charts


@dataclass(frozen=True)
class Look:
    """A random draw: what the albedo of one person is mixed from."""

    melanin: float  # -1 palest, 0 the light skins, 1 the dark skins
    blood: float
    yellow: float
    skins: tuple[int, int]
    share: float  # of the first skin's detail
    contrast: float
    local_blood: dict[str, float]
    lips_dark: float
    sockets: float
    freckles: np.ndarray  # (3,)
    beard: float
    hair: float
    hair_colour: np.ndarray  # (3,) linear
    brow: int
    brow_cover: float
    lashes: float
    iris: int
    iris_gain: float
    white_gain: np.ndarray  # (3,)


def tone(tones: np.ndarray, melanin: float) -> np.ndarray:
    """Density of bare skin: from clear skin below 0, through the light skins at 0, to the dark skins at 1 and beyond.

    `tones` (N, 3) are those of the photographed skins.
    """
    dark = tones[:, 1] > 2
    light, deep = np.median(tones[~dark], axis=0), np.median(tones[dark], axis=0)
    deep = 0.5 * (deep + MONK_8)  # the photographs of dark skin are too red
    return light * (1 + 0.6 * melanin) if melanin < 0 else light + melanin * (deep - light)


def skin_melanin(tones: np.ndarray) -> np.ndarray:
    """The place of each photographed skin on the melanin scale, by its green density."""
    grid = np.linspace(-1, 1.3, 200)
    return np.interp(tones[:, 1], [tone(tones, m)[1] for m in grid], grid)


def draw_look(layers: Layers, rng: np.random.Generator) -> Look:
    """A random person. The tone's brightness is normal, two deviations to either end; hair and iris depend on it."""
    grid = np.linspace(-0.9, 1.15, 100)
    greens = -linear_to_srgb(np.exp(-np.array([tone(layers.tones, m)[1] for m in grid])))
    melanin = float(np.interp(-np.clip(rng.normal(0.57, 0.15), 0.18, 0.88), greens, grid))
    near = np.exp(-(((skin_melanin(layers.tones) - melanin) / 0.45) ** 2)) + 1e-4
    first, second = rng.choice(len(layers.names), 2, p=near / near.sum())
    darkness = np.clip((melanin + 0.1) / 0.5, 0, 1)
    chances = (1 - darkness) * np.array(HAIR_LIGHT) + darkness * np.array(HAIR_DARK)
    hair = HAIR[rng.choice(len(HAIR), p=chances / chances.sum())] * rng.uniform(0.7, 1.4)
    brown = np.array([name.startswith("brown") for name in layers.iris_names])
    chance_brown = 0.45 + 0.53 * darkness
    iris = rng.choice(len(brown), p=np.where(brown, chance_brown / brown.sum(), (1 - chance_brown) / (~brown).sum()))
    return Look(
        melanin=melanin,
        blood=rng.normal(0.0, 0.11),
        yellow=rng.normal(0.0, 0.10),
        skins=(first, second),
        share=rng.uniform(0.5, 1.0),
        contrast=rng.uniform(0.7, 1.15),
        local_blood={
            "cheeks": rng.normal(0.07, 0.10),
            "nose": rng.normal(0.05, 0.08),
            "chin": rng.normal(0.02, 0.05),
            "ears": rng.normal(0.10, 0.10),
            "lips": rng.normal(0.0, 0.13),
        },
        lips_dark=rng.normal(0.0, 0.12) + 0.15 * darkness,
        sockets=rng.gamma(1.2, 0.10),
        freckles=rng.gamma(0.5, 0.35, 3) * (rng.random() < 0.35),
        beard=rng.choice([0.0, rng.uniform(0.03, 0.3), rng.uniform(0.3, 0.75)], p=[0.58, 0.29, 0.13]),
        hair=rng.choice([0.0, rng.uniform(0.1, 0.8)], p=[0.2, 0.8]),
        hair_colour=hair,
        brow=int(rng.integers(len(layers.brows))),
        brow_cover=rng.uniform(0.7, 1.3),
        lashes=rng.uniform(0.1, 0.7),
        iris=iris,
        iris_gain=rng.uniform(0.7, 1.2),
        white_gain=rng.normal(0.97 - 0.17 * darkness, 0.05)
        * np.array([1, 1 + rng.normal(0, 0.015), 1 + rng.normal(-0.01, 0.03)]),
    )


def compose(layers: Layers, look: Look) -> np.ndarray:
    """Display values (T, T, 3) of one look."""
    first, second = look.skins
    detail = look.share * layers.details[first] + (1 - look.share) * layers.details[second]
    calm = 1 - 0.6 * layers.masks["hair"]
    value = tone(layers.tones, look.melanin) + look.contrast * detail * calm[..., None]
    value = value + look.blood * layers.blood + look.yellow * np.array([0.0, 0.25, 1.0])
    for region, amount in look.local_blood.items():
        value = value + (amount * layers.masks[region])[..., None] * layers.blood
    value = value + (look.lips_dark * layers.masks["lips"])[..., None] * LIPS_MELANIN
    value = value + (look.sockets * layers.masks["sockets"])[..., None] * np.array([0.7, 1.0, 0.85])
    spots = np.tensordot(look.freckles, layers.freckles, axes=1)
    value = value + spots[..., None] * np.array([0.35, 0.75, 1.0])
    # Nostrils and the inside of the mouth are dark: the model's light does not know how little reaches them.
    value = value + layers.masks["cavity"][..., None] * np.array([1.1, 1.6, 1.6])
    linear = np.exp(-np.maximum(value, 0.02))
    shadow = look.hair_colour * 0.7 + 0.12 * np.exp(-tone(layers.tones, look.melanin)) * [0.8, 1.0, 1.25]
    linear = _cover(linear, look.beard * layers.masks["beard"] * layers.stubble, shadow)
    linear = _cover(linear, look.hair * layers.masks["hair"] * (0.5 + 0.5 * layers.stubble), shadow)
    linear = _cover(linear, look.brow_cover * layers.brows[look.brow], look.hair_colour)
    linear = _cover(linear, look.lashes * layers.masks["lashes"], 0.3 * look.hair_colour)
    eyes = layers.irises[look.iris]
    iris = layers.masks["iris"][..., None]
    eyes = eyes * (iris * look.iris_gain + (1 - iris) * look.white_gain)
    skin = np.clip(linear_to_srgb(linear), 0, 1)
    return np.where(layers.skin[..., None], skin, np.clip(eyes, 0, 1)).astype(np.float32)


def _cover(under: np.ndarray, amount: np.ndarray, colour: np.ndarray) -> np.ndarray:
    amount = np.clip(amount, 0, 1)[..., None]
    return under * (1 - amount) + colour * amount


def texel_weights(layers: Layers) -> np.ndarray:
    """The weight of each texel's error: its area on the head, with more for face and eyes."""
    weight = layers.area * (1 + (FACE_WEIGHT - 1) * layers.face)
    return np.where(layers.skin, weight, EYE_WEIGHT * layers.area) * layers.covered


def learn(layers: Layers, *, components: int, seed: int, samples: int = SAMPLES) -> LinearGaussian:
    """PCA over the covered texels of random looks and their mirror images; the mean is exactly symmetric.

    Args:
      layers: the ingredients.
      components: of the basis.
      seed: of the looks.
      samples: number of looks.
    """
    rng = np.random.default_rng(seed)
    both = layers.covered & layers.covered[:, ::-1]
    pictures = np.empty((2 * samples, int(both.sum()), 3), np.float32)
    for k in range(samples):
        picture = compose(layers, draw_look(layers, rng))
        pictures[2 * k], pictures[2 * k + 1] = picture[both], picture[:, ::-1][both]
    return fit_pca(pictures, texel_weights(layers)[both], variance=1.0, components=components)


def build_albedo(
    data_dir: Path, topology: dict, size: int, seed: int, *, components: int = 40
) -> dict[str, np.ndarray]:
    """Mean (T, T, 3), basis (A, T, T, 3) and std (A,) of the albedo, display values, row 0 on top.

    The mean is filled beyond the charts, the basis a few texels beyond.

    Args:
      data_dir: folder with `skins/`.
      topology: the arrays of `build_default_head.exchange`.
      size: texels per side.
      seed: of the looks.
      components: of the basis; coefficient 1 is a standard deviation.
    """
    layers = make_layers(Path(data_dir), topology, size, seed)
    return pack(layers, learn(layers, components=components, seed=seed))


def pack(layers: Layers, model: LinearGaussian) -> dict[str, np.ndarray]:
    """The learnt texels put back into images."""
    both = layers.covered & layers.covered[:, ::-1]
    image = np.zeros((1 + len(model.std), *both.shape, 3), np.float32)
    image[0][both] = model.mean
    image[1:, both] = model.basis
    mean = fill_outside(image[0], both)
    basis = np.stack([fill_outside(row, both, DILATE) for row in image[1:]])
    log.info("albedo: %d components keep %.2f %% of the variance", len(model.std), 100 * model.kept)
    return {"mean": mean, "basis": basis, "std": model.std}

"""What is trained and how, by name."""

from dataclasses import dataclass, replace

from facejax.nets.stylegan2 import StyleGANConfig
from facejax.objectives.gan import PATH_INTERVAL, PATH_WEIGHT, R1_INTERVAL, R1_WEIGHT
from facejax.texture import CONFIG_F, LARGE, LIGHT, SMALL


@dataclass(frozen=True)
class Recipe:
    """A training run. Static and hashable. The defaults are those of config F."""

    name: str
    generator: StyleGANConfig
    judge: StyleGANConfig  # the discriminator
    steps: int
    batch: int = 32
    rate: float = 2e-3
    r1: float = R1_WEIGHT
    r1_interval: int = R1_INTERVAL
    path: float = PATH_WEIGHT
    path_interval: int = PATH_INTERVAL
    mixing: float = 0.9  # share of maps whose layers take two latents
    half_life: float = 10_000.0  # pictures, of the averaged weights
    mirror: bool = False  # mirror every other map left to right
    # learn the noise maps, which are the same for all maps: they hold what is the same everywhere
    learned_noise: bool = False
    # steps in which real maps are reconstructed, which learns far faster than adversarial training
    reconstruct: int = 0
    reconstruct_rate: float = 1e-2  # initial value; falls to zero by a half cosine
    inverter: StyleGANConfig | None = None  # finds the latents of maps to reconstruct
    grow: tuple[tuple[int, int], ...] = ()  # (texels, until step): maps are first reconstructed at lower resolutions
    adversaries_from: int = 0  # the first step with adversarial training
    augment: bool = False  # adapt the strength of the discriminator's augmentation (ADA)


# The discriminator may be larger than the generator, since it is not shipped.
LIGHT_RECIPE = Recipe(
    name="light",
    generator=LIGHT,
    judge=StyleGANConfig(resolution=256, channel_base=8192, channel_max=256, clamp=256.0, half=3),
    steps=60_000,
    rate=2.5e-3,
    r1=1.0,
)
# For a processor: maps are reconstructed, first at low resolutions, without adversarial training. What all maps share,
# such as the places of brows and lips, goes into the noise maps; convolutions would learn it far later.
SMALL_RECIPE = replace(
    LIGHT_RECIPE,
    name="small",
    generator=SMALL,
    steps=7_000,
    batch=4,
    half_life=1_000.0,
    learned_noise=True,
    reconstruct=7_000,
    inverter=StyleGANConfig(resolution=64, channel_base=2048, channel_max=256, clamp=256.0),
    grow=((64, 1_500), (128, 3_500)),
    adversaries_from=7_000,
)
# The same at 64 texels, to compare decoders trained on more and more maps.
TINY_RECIPE = replace(
    SMALL_RECIPE,
    name="tiny",
    generator=replace(SMALL, resolution=64),
    steps=1_200,
    reconstruct=1_200,
    grow=(),
    adversaries_from=1_200,
)
LARGE_RECIPE = Recipe(name="large", generator=LARGE, judge=replace(LARGE, clamp=256.0), steps=200_000, r1=4.0)
CONFIG_F_RECIPE = Recipe(name="config_f", generator=CONFIG_F, judge=replace(CONFIG_F, half=4), steps=781_250)
RECIPES = {one.name: one for one in (LIGHT_RECIPE, SMALL_RECIPE, TINY_RECIPE, LARGE_RECIPE, CONFIG_F_RECIPE)}

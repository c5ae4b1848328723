"""What is trained and how, by name."""

from dataclasses import dataclass, field, replace

from facejax.generative_renderer import GARConfig
from facejax.nets.stylegan2 import StyleGANConfig
from facejax.objectives.gan import PATH_INTERVAL, PATH_WEIGHT, R1_INTERVAL


@dataclass(frozen=True)
class Weights:
    """Weights of the generator's terms; 0 leaves one out. The networks are this project's own, so these are not the
    article's.
    """

    reconstruction: float = 4.0
    features: float = 1.0  # of reconstructions, in the regressor's encoder
    adversarial: float = 0.1
    normals: float = 2.0
    landmarks: float = 0.0
    identity: float = 0.0
    crowding: float = 0.005  # z of a batch repel each other
    astray: float = 1e-3  # offsets of the layers' w, mean square


@dataclass(frozen=True)
class Recipe:
    """A training run. Static and hashable."""

    name: str
    config: GARConfig
    judge: StyleGANConfig
    steps: int
    batch: int = 8
    rate: float = 4e-3  # of generator, injection and encoder; falls to zero by a half cosine
    judge_rate: float = 2e-3
    weights: Weights = field(default_factory=Weights)
    r1: float = 1.0
    r1_interval: int = R1_INTERVAL
    path: float = 0.0
    path_interval: int = PATH_INTERVAL
    mixing: float = 0.0  # share of pictures whose layers take two latents
    half_life: float = 1_000.0  # pictures, of the averaged weights
    normal_steps: int = 1_500  # of training the network that reads normals
    normal_batch: int = 16


PAIRED = Weights(landmarks=50.0, identity=0.5)


def _sizes(side: int) -> GARConfig:
    generator = StyleGANConfig(
        resolution=side, channel_base=1024, channel_max=128, latent=128, mapping_layers=4, clamp=None
    )
    return GARConfig(generator, StyleGANConfig(resolution=64, channel_base=1024, channel_max=128, clamp=256.0))


def _judge(side: int) -> StyleGANConfig:
    return StyleGANConfig(resolution=side, channel_base=1024, channel_max=128, clamp=256.0)


# For a processor: pictures are reconstructed from the normals that they were rendered with, and pairs of pairs
# disentangle normals and codes.
TINY_RECIPE = Recipe(
    name="tiny",
    config=_sizes(64),
    judge=_judge(64),
    steps=1_500,
    weights=PAIRED,
)
SMALL_RECIPE = replace(
    TINY_RECIPE,
    name="small",
    config=_sizes(128),
    judge=_judge(128),
    steps=4_000,
)
# The same without the pairwise losses, for the table in docs/gar.md.
UNPAIRED_RECIPE = replace(TINY_RECIPE, name="unpaired", weights=Weights())
# The article's sizes, with more weight on the adversarial term: for accelerators.
FULL_RECIPE = Recipe(
    name="full",
    config=GARConfig(
        StyleGANConfig(resolution=256, half=3), StyleGANConfig(resolution=128, channel_base=16384, half=2)
    ),
    judge=StyleGANConfig(resolution=256, half=3),
    steps=200_000,
    batch=32,
    rate=2e-3,
    weights=replace(PAIRED, adversarial=1.0),
    path=PATH_WEIGHT,
    mixing=0.9,
    half_life=10_000.0,
    normal_steps=10_000,
    normal_batch=64,
)
RECIPES = {one.name: one for one in (TINY_RECIPE, SMALL_RECIPE, UNPAIRED_RECIPE, FULL_RECIPE)}

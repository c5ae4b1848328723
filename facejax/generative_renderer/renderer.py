"""GAR: a generator that turns the normals of a posed head, and a latent, into a photograph.

Piao et al., "Inverting generative adversarial renderer for face reconstruction", CVPR 2021: image = G(n, z, eps). The
latent determines skin, hair, background and light; the normals alone determine the geometry.
"""

from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.checkpoints import load, save
from facejax.generative_renderer.normals import Filtering
from facejax.nets.normal_injection import init_injection, place_maps
from facejax.nets.normal_net import NormalNetConfig, apply_normal_net, init_normal_net
from facejax.nets.stylegan2 import (
    Generator,
    StyleGANConfig,
    apply_inverter,
    apply_mapping,
    apply_synthesis,
    init_generator,
    init_inverter,
    latent_statistics,
    to_layers,
)
from facejax.nets.stylegan2.generator import NoiseMode
from facejax.nets.stylegan2.resample import downsample

SCHEMA, VERSION = "generative renderer", 1
ASSET = Path(__file__).parents[1] / "assets" / "generative_renderer"


@dataclass(frozen=True)
class GARConfig:
    """Sizes. Static and hashable."""

    generator: StyleGANConfig
    encoder: StyleGANConfig  # of the network that guesses a photograph's latents; its pictures may be smaller
    reader: NormalNetConfig = field(default_factory=NormalNetConfig)  # of the network that reads normals from pictures
    filtering: Filtering = "area"  # of the normal pyramid

    @property
    def side(self) -> int:
        """Pixels along a side of the pictures."""
        return self.generator.resolution


class GARWeights(NamedTuple):
    """The trained weights, as plain trees."""

    generator: Generator
    injection: Any
    encoder: Any


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GenerativeRenderer:
    """A trained generator with the spread of its latents, and the reader of normals that it was trained with."""

    weights: GARWeights
    reader: Any
    w_avg: Float[Array, " W"]
    w_std: Float[Array, " W"]
    config: GARConfig = field(metadata={"static": True})


class Guess(NamedTuple):
    """The encoder's output for a batch of pictures."""

    z: Float[Array, "N W"]  # normalised to the length that the mapping network uses
    offsets: Float[Array, "N L W"]  # to be added to each layer's w


def init_gar(config: GARConfig, key: Key[Array, ""]) -> GARWeights:
    """Start values. Raises ValueError, one line, when no network has such sizes."""
    first, second, third = jax.random.split(key, 3)
    outputs = (1 + config.generator.layers) * config.generator.latent
    return GARWeights(
        init_generator(config.generator, first),
        init_injection(config.generator.resolutions, second),
        init_inverter(config.encoder, third, outputs=outputs),
    )


def paint(
    config: GARConfig,
    weights: GARWeights,
    ws: Float[Array, "N L W"],
    normals: dict[str, Float[Array, "N _ _ 3"]],
    *,
    noise: NoiseMode = "none",
    key: Key[Array, ""] | None = None,
) -> Float[Array, "N R R 3"]:
    """Paint faces with these normals and latents.

    Args:
        config, weights: the renderer.
        ws: one latent for each layer.
        normals: a batch of what `normal_pyramid` gives.
        noise, key: as in `apply_synthesis`.

    Returns:
        Display values from -1 (black) to 1 (white), not clamped.
    """
    places = place_maps(weights.injection, normals)
    return apply_synthesis(config.generator, weights.generator, ws, noise=noise, key=key, places=places)


def guess_latents(config: GARConfig, weights: GARWeights, images: Float[Array, "N R R 3"]) -> Guess:
    """The encoder's guess of the latents that pictures in [-1, 1] were painted with."""
    while images.shape[1] > config.encoder.resolution:
        images = downsample(images)
    found = apply_inverter(config.encoder, weights.encoder, images)
    z, offsets = found[:, : config.generator.latent], found[:, config.generator.latent :]
    z = z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=1, keepdims=True) + 1e-8)
    return Guess(z, offsets.reshape(len(found), config.generator.layers, -1))


def to_ws(config: GARConfig, weights: GARWeights, guess: Guess) -> Float[Array, "N L W"]:
    """Turn a guess into the latents that `paint` takes."""
    return to_layers(config.generator, apply_mapping(config.generator, weights.generator, guess.z)) + guess.offsets


def generative_renderer(
    config: GARConfig, weights: GARWeights, reader: Any, *, count: int = 10_000, seed: int = 123
) -> GenerativeRenderer:
    """A renderer with these weights.

    Args:
        config, weights: the generator and the encoder.
        reader: weights of the network that reads normals.
        count: random latents for the mean and standard deviation.
        seed: of the random numbers.
    """
    statistics = jax.jit(lambda weights, key: latent_statistics(config.generator, weights, key, count=count))
    mean, std = statistics(weights.generator, jax.random.key(seed))
    return GenerativeRenderer(weights, reader, mean, std, config)


def read_normals(
    gar: GenerativeRenderer, images: Float[Array, "N S S 3"]
) -> tuple[Float[Array, "N S S 3"], Float[Array, "N S S"]]:
    """Read normals times coverage, and coverage, of the head under its hair in pictures (display values in [0, 1])."""
    return apply_normal_net(gar.config.reader, gar.reader, images)


def save_gar(path: str | Path, gar: GenerativeRenderer, *, half: bool = True) -> None:
    """Writes a checkpoint, in 16 bits unless `half` is False."""
    save(path, gar, schema=SCHEMA, version=VERSION, half=half, config=asdict(gar.config))


def load_gar(path: str | Path = "default") -> GenerativeRenderer:
    """Read what `save_gar` wrote, or the package's own renderer (only once). Raises like `checkpoints.load`."""
    return _shipped() if path == "default" else _read(path)


@cache
def _shipped() -> GenerativeRenderer:
    return _read(ASSET)


def _read(path: str | Path) -> GenerativeRenderer:
    tree, about = load(path, schema=SCHEMA, version=VERSION)
    told = about["config"]
    sizes = {name: StyleGANConfig(**told[name]) for name in ("generator", "encoder")}
    reader = NormalNetConfig(tuple(told["reader"]["widths"]))
    config = GARConfig(**sizes, reader=reader, filtering=told["filtering"])
    key = jax.random.key(0)
    shapes = init_gar(config, key), jax.eval_shape(lambda key: init_normal_net(reader, key), key)
    leaves = jax.tree.map(jnp.asarray, tree)
    parts = leaves["weights"]
    generator = Generator(*(parts["generator"][name] for name in Generator._fields))
    weights = GARWeights(generator, parts["injection"], parts["encoder"])
    if jax.tree.map(jnp.shape, (weights, leaves["reader"])) != jax.tree.map(jnp.shape, shapes):
        raise ValueError(f"{path}: its arrays are not those of its configuration; train or download it again")
    return GenerativeRenderer(weights, leaves["reader"], leaves["w_avg"], leaves["w_std"], config)

"""A StyleGAN2 generator as a nonlinear basis of albedo maps: latents in, a map in the default head's UV layout out.

As in FFHQ-UV (Bai et al., CVPR 2023), a fit moves one latent for each layer, in standard deviations of the mapping
network's output for normal random numbers.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.checkpoints import load, save
from facejax.checkpoints.stylegan2 import import_stylegan2, read_latent_statistics
from facejax.lighting import srgb_to_linear
from facejax.nets.stylegan2 import (
    Generator,
    StyleGANConfig,
    apply_mapping,
    apply_synthesis,
    generator_shapes,
    latent_statistics,
    to_layers,
    truncate,
)
from facejax.nets.stylegan2.generator import NoiseMode
from facejax.programs.promotion import along_last

SCHEMA, VERSION = "texture decoder", 1
ASSET = Path(__file__).parents[1] / "assets" / "texture_decoder"
GLIMPSE = 16  # texels along a side of the small copy
RIDGE = 1e-2  # a share of the mean diagonal


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TextureDecoder:
    """A trained generator of texture maps, with the spread of its latents.

    It is a `facejax.face_model.AlbedoModel`. Its one block, "latents" (L, W), is a latent for each layer, in standard
    deviations from the mean.
    """

    weights: Generator
    w_avg: Float[Array, " W"]  # mean of w over many draws
    w_std: Float[Array, " W"]  # its standard deviation, per component
    glimpse: Float[Array, "G W"] | None  # regression from a small copy of a map, and 1, to a latent; None: not learned
    config: StyleGANConfig = field(metadata={"static": True})

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        return {"latents": (self.config.layers, self.config.latent)}

    def decode(self, blocks: Mapping[str, Array]) -> Float[Array, "T T 3"]:
        """Display values, not clipped."""
        return decode_texture(self, from_standard(self, blocks["latents"]), linear=False)

    def encode(self, albedo: Float[Array, "*S 3"]) -> dict[str, Array]:
        """One latent for all layers, regressed from a small copy of a map (T, T, 3); other albedos give the mean map's.

        It is a start, not an inverse: the colours of skin, brows and lips are about right.
        """
        if self.glimpse is None or albedo.ndim != 3:
            return {"latents": jnp.zeros(self.blocks["latents"])}
        return {"latents": jnp.tile(shrink(albedo) @ self.glimpse, (self.config.layers, 1))}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MappedTexture:
    """The same decoder controlled by one z, which the mapping network turns into the latents of all layers.

    It makes only maps that the generator was trained to make. An `AlbedoModel` whose one block, "latents" (1, W), holds
    normal random numbers; the mapping network uses only their direction.
    """

    decoder: TextureDecoder

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        return {"latents": (1, self.decoder.config.latent)}

    def decode(self, blocks: Mapping[str, Array]) -> Float[Array, "T T 3"]:
        """Display values, not clipped."""
        w = apply_mapping(self.decoder.config, self.decoder.weights, blocks["latents"])[0]
        return decode_texture(self.decoder, to_layers(self.decoder.config, w), linear=False)

    def encode(self, albedo: Float[Array, "*S 3"]) -> dict[str, Array]:
        """Always the same normal numbers, because no z gives the mean map, and zero has no direction."""
        return {"latents": jax.random.normal(jax.random.key(123), self.blocks["latents"])}


def texture_decoder(
    config: StyleGANConfig, weights: Generator, *, count: int = 100_000, glimpses: int = 0, seed: int = 123
) -> TextureDecoder:
    """A decoder with these weights.

    Args:
        config, weights: the generator.
        count: random latents for the mean and standard deviation.
        glimpses: random maps from which `TextureDecoder.encode` learns to guess latents; 0: it gives the mean map's.
        seed: of the random numbers.
    """
    statistics = jax.jit(lambda weights, key: latent_statistics(config, weights, key, count=count))
    mean, std = statistics(weights, jax.random.key(seed))
    decoder = TextureDecoder(weights, mean, std, None, config)
    return replace(decoder, glimpse=learn_glimpse(decoder, glimpses, seed=seed + 1)) if glimpses else decoder


def shrink(albedo: Float[Array, "T T 3"]) -> Float[Array, " G"]:
    """The means of 16 x 16 blocks of a map's display values, and a 1."""
    small = jax.image.resize(albedo, (GLIMPSE, GLIMPSE, 3), "linear")  # antialiased
    return jnp.append(small.reshape(-1), 1.0)


def learn_glimpse(decoder: TextureDecoder, count: int, *, seed: int) -> Float[Array, "G W"]:
    """Ridge regression from small copies of `count` random maps to their latents, in standard deviations."""

    @jax.jit
    def look(decoder: TextureDecoder, keys: Key[Array, " N"]):
        def one(key: Key[Array, ""]):
            w = sample_latents(decoder, key, 1)[0]
            return shrink(decode_texture(decoder, w, linear=False)), to_standard(decoder, w)[0]

        return jax.lax.map(one, keys, batch_size=8)

    seen, z = look(decoder, jax.random.split(jax.random.key(seed), count))
    mean, z_mean = jnp.mean(seen, axis=0), jnp.mean(z, axis=0)
    centred = seen - mean[None]
    normal = centred.T @ centred
    ridge = RIDGE * jnp.trace(normal) / len(normal) * jnp.eye(len(normal))
    found = jnp.linalg.solve(normal + ridge, centred.T @ (z - z_mean[None]))
    return found.at[-1].set(z_mean - mean @ found)


def decode_texture(
    decoder: TextureDecoder,
    w: Float[Array, "L W"],
    *,
    noise: NoiseMode = "const",
    linear: bool = True,
    key: Key[Array, ""] | None = None,
) -> Float[Array, "T T 3"]:
    """Decode one latent per layer to an albedo map, row 0 on top.

    For one face; under `jax.vmap` all faces share the convolutions. The network's display values are not clamped: a map
    may leave [0, 1] a little, and keeps its gradient there.

    Args:
        decoder: the generator.
        w: one latent for each layer.
        noise: as in `apply_synthesis`.
        linear: linear RGB; False: display values.
        key: for random noise.

    Raises ValueError when the decoder has another number of layers.
    """
    picture = apply_synthesis(decoder.config, decoder.weights, w[None], noise=noise, key=key)[0]
    display = (picture + 1.0) / 2.0
    return srgb_to_linear(display) if linear else display


def mean_latents(decoder: TextureDecoder) -> Float[Array, "L W"]:
    """The mean latent in every layer: where a fit starts by default."""
    return to_layers(decoder.config, decoder.w_avg)


def from_standard(decoder: TextureDecoder, z: Float[Array, "*B L W"]) -> Float[Array, "*B L W"]:
    """Convert latents in standard deviations from their mean to the decoder's own (from FFHQ-UV's "z" to w)."""
    return along_last(decoder.w_avg, z) + z * along_last(decoder.w_std, z)


def to_standard(decoder: TextureDecoder, w: Float[Array, "*B L W"]) -> Float[Array, "*B L W"]:
    """The inverse of `from_standard`."""
    return (w - along_last(decoder.w_avg, w)) / along_last(decoder.w_std, w)


def sample_latents(
    decoder: TextureDecoder,
    key: Key[Array, ""],
    count: int,
    *,
    psi: float = 1.0,
    cutoff: int | None = None,
) -> Float[Array, "N L W"]:
    """Latents of random maps.

    Args:
        decoder: the generator.
        key: of the random numbers.
        count: of the maps, N.
        psi: truncation: below 1 it moves latents towards the mean.
        cutoff: truncate the first layers only; None: all.
    """
    z = jax.random.normal(key, (count, decoder.config.latent))
    ws = to_layers(decoder.config, apply_mapping(decoder.config, decoder.weights, z))
    return truncate(ws, decoder.w_avg, psi, cutoff=cutoff)


def sample_textures(
    decoder: TextureDecoder, key: Key[Array, ""], count: int, *, psi: float = 1.0
) -> Float[Array, "N T T 3"]:
    """Random albedo maps, linear RGB.

    Args:
        decoder, key, count, psi: as for `sample_latents`.
    """
    return jax.vmap(lambda w: decode_texture(decoder, w))(sample_latents(decoder, key, count, psi=psi))


def save_decoder(path: str | Path, decoder: TextureDecoder, *, half: bool = True, **notes: Any) -> None:
    """Writes a checkpoint, in 16 bits unless `half` is False: 10 MB for `LIGHT`, 66 MB for config F.

    `notes` go into its metadata.
    """
    config = asdict(decoder.config)
    save(path, decoder, schema=SCHEMA, version=VERSION, half=half, config=config, **notes)


def load_decoder(path: str | Path = "default") -> TextureDecoder:
    """Read what `save_decoder` wrote, or the package's own decoder (only once). Raises like `checkpoints.load`."""
    return _shipped() if path == "default" else _read(path)


@cache
def _shipped() -> TextureDecoder:
    return _read(ASSET)


def _read(path: str | Path) -> TextureDecoder:
    tree, about = load(path, schema=SCHEMA, version=VERSION)
    config = StyleGANConfig(**about["config"])
    shapes = generator_shapes(config)
    leaves = jax.device_put(tree)  # all together: `jnp.asarray` compiles a program for every shape
    weights = Generator(leaves["weights"]["params"], leaves["weights"]["noise"], leaves["weights"]["w_avg"])
    if jax.tree.map(jnp.shape, weights) != jax.tree.map(jnp.shape, shapes):
        raise ValueError(f"{path}: its arrays are not those of its configuration; write or download it again")
    return TextureDecoder(weights, leaves["w_avg"], leaves["w_std"], leaves.get("glimpse"), config)


def import_decoder(path: str | Path, statistics: str | Path | None = None) -> TextureDecoder:
    """FFHQ-UV's decoder, or another generator of stylegan2-ada-pytorch, from its state dict.

    `statistics` is the file with `w_avg` and `w_std` that comes with it; without it they are computed. FFHQ-UV's maps
    have the layout of its own head, not the default head's. Raises like `facejax.checkpoints.import_stylegan2`.
    """
    config, weights = import_stylegan2(path)
    if statistics is None:
        return texture_decoder(config, weights)
    mean, std = read_latent_statistics(statistics)
    if mean.shape != (config.latent,):
        raise ValueError(f"{statistics}: {len(mean)} numbers, but {path} has latents of {config.latent}; give its own")
    return TextureDecoder(weights, mean, std, None, config)


# Two configurations for fits on a processor (0.9 and 3 GFLOP per map), and two for accelerators (47 and 187); see
# docs/texture.md.
SMALL = StyleGANConfig(resolution=256, channel_base=2048, channel_max=256, latent=256, mapping_layers=4, clamp=None)
LIGHT = StyleGANConfig(resolution=256, channel_base=4096, channel_max=256, latent=256, mapping_layers=4, clamp=None)
LARGE = StyleGANConfig(resolution=512, channel_base=16384, channel_max=512, latent=512, half=3)
CONFIG_F = StyleGANConfig()

"""Details that a decoder's latents cannot express, in its noise maps: wrinkles, moles, make-up, a parting.

StyleGAN2's noise inputs control single texels. Abdal et al. ("Image2StyleGAN++", CVPR 2020) optimise them after the
latents to embed a picture; here they move together with the latents, under a prior.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.nets.stylegan2 import StyleGANConfig, noise_shapes
from facejax.texture.decoder import TextureDecoder

UNIT = 0.1  # what a detail of 1 adds to the noise that a generator is trained with


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DetailedTexture:
    """A texture decoder whose finer noise maps move too: an `AlbedoModel` with details.

    Its blocks are the decoder's "latents", and "details" (D,): what is added to each texel of the noise maps of
    `coarsest` texels per side and finer, in tenths. Shade and hue of whole cheeks are left to the latents.
    """

    decoder: TextureDecoder
    coarsest: int = field(default=32, metadata={"static": True})

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        return {**self.decoder.blocks, "details": (count_details(self.decoder.config, self.coarsest),)}

    def decode(self, blocks: Mapping[str, Array]) -> Float[Array, "T T 3"]:
        """Display values, not clipped."""
        weights = self.decoder.weights
        noise = add_details(weights.noise, UNIT * blocks["details"], self.coarsest)
        return replace(self.decoder, weights=weights._replace(noise=noise)).decode(blocks)

    def encode(self, albedo: Float[Array, "*S 3"]) -> dict[str, Array]:
        """The decoder's start, without details."""
        return {**self.decoder.encode(albedo), "details": jnp.zeros(self.blocks["details"])}


def count_details(config: StyleGANConfig, coarsest: int) -> int:
    """The number of texels in all noise maps of `coarsest` texels per side and finer."""
    return sum(leaf.size for leaf in jax.tree.leaves(_fine(noise_shapes(config), coarsest)))


def add_details(noise: Any, details: Float[Array, " D"], coarsest: int) -> Any:
    """`Generator.noise` with numbers added to its finer maps, one after the other."""
    maps, shape = jax.tree.flatten(_fine(noise, coarsest))
    ends = [0, *accumulate(leaf.size for leaf in maps)]
    parts = (details[a:b].reshape(old.shape) for (a, b), old in zip(pairwise(ends), maps, strict=True))
    moved = jax.tree.unflatten(shape, [old + part for old, part in zip(maps, parts, strict=True)])
    return {**noise, **moved}


def _fine(noise: Any, coarsest: int) -> Any:
    return {name: maps for name, maps in noise.items() if int(name[1:]) >= coarsest}

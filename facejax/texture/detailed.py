"""What a decoder's latents cannot say, said by its noise maps: wrinkles, moles, make-up, a parting.

StyleGAN2's noise inputs hold what is different at every texel and nowhere else. Abdal et al. ("Image2StyleGAN++", CVPR
2020) move them to embed a picture after its latents; here they move with the latents, under a prior.
"""

from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.nets.stylegan2 import StyleGANConfig, noise_shapes
from facejax.texture.decoder import TextureDecoder

UNIT = 0.1  # a detail of 1, in the noise that a generator is trained with


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DetailedTexture:
    """A texture decoder whose finer noise maps move too: an albedo model with details.

    Its coefficients are those of the decoder, then the details: what is added to each texel of the noise maps of
    `coarsest` texels a side and finer, in tenths. Shade and hue of whole cheeks are left to the latents.
    """

    decoder: TextureDecoder
    coarsest: int = field(default=32, metadata={"static": True})

    @property
    def latent_layers(self) -> int:
        return self.decoder.latent_layers

    @property
    def detail_count(self) -> int:
        """How many of the coefficients, the last ones, are details."""
        return count_details(self.decoder.config, self.coarsest)

    @property
    def count(self) -> int:
        return self.decoder.count + self.detail_count

    def decode(self, coefficients: Float[Array, " A"]) -> Float[Array, "T T 3"]:
        """Display values, not clipped."""
        latents, details = jnp.split(coefficients, [self.decoder.count])
        weights = self.decoder.weights
        noise = add_details(weights.noise, UNIT * details, self.coarsest)
        return replace(self.decoder, weights=weights._replace(noise=noise)).decode(latents)

    def encode(self, albedo: Float[Array, "*S 3"]) -> Float[Array, " A"]:
        """The decoder's start, without details."""
        return jnp.concatenate([self.decoder.encode(albedo), jnp.zeros(self.detail_count)])


def count_details(config: StyleGANConfig, coarsest: int) -> int:
    """Texels of all noise maps of `coarsest` texels a side and finer."""
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

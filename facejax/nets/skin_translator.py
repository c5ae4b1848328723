"""The skin translator: the texture of a photograph to the maps of the skin, in texture space.

A U-Net (Ronneberger et al., MICCAI 2015) of the regressor's blocks (`facejax.nets.encoder`). It works where AvatarMe
(Lattas et al., CVPR 2020) and AvatarMe++ do, on the texture that a fit has unwrapped, with the normals beside the
colours. It answers two questions apart. How do the skin's colours vary over the head? There it changes the photograph's
colours by gains in linear light, and paints where it does not trust them; so the photograph's detail passes through
without being drawn again. And what is the skin's tone? That follows from numbers about the texture and the whole
picture, by a small network of its own, as TRUST (Feng et al., ECCV 2022) uses the scene to tell skin from light. Some
of these numbers also scale the U-Net's deepest features (FiLM, Perez et al., AAAI 2018).
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from facejax.lighting import linear_to_srgb, luminance
from facejax.nets.dense import _depth_to_space
from facejax.nets.encoder import _Block, _Conv, _relu, _space_to_depth

USUAL_TONE = np.log(np.array([0.36, 0.19, 0.13], np.float32))  # of an untrained network
CELL = 4  # texels along a side that the first layer takes as one
BRIGHTNESS = float(np.log(0.03)), float(np.log(0.6))  # of skins, log luminance
RED, BLUE = (0.2, 1.3), (-0.9, -0.1)  # log ratios of red and of blue to green
FARTHEST = 2.5  # standard deviations of a fact beyond which it is not believed
_NUMBERS = 10  # of a texel: gain (3), painted colour (3), share, expected error, roughness, specular


@dataclass(frozen=True)
class SkinTranslatorConfig:
    """Sizes of the network; static and hashable."""

    size: int = 256  # texels along a side
    channels: int = 18  # of a texel, see facejax.skin.sight
    scene: int = 38  # numbers about the whole picture
    widths: tuple[int, ...] = (48, 80, 128, 192, 160)  # channels at a quarter, an eighth, ... of the side
    blocks: tuple[int, ...] = (0, 1, 2, 2, 1)
    back: tuple[int, ...] = (48, 72, 112, 144)  # on the way back, at a quarter, an eighth, ...
    facts: int = 122  # numbers from which the tone follows
    hidden: tuple[int, ...] = (96, 96)  # of the tone's networks
    members: int = 4  # number of those


class SkinTranslation(NamedTuple):
    """The maps of the skin. Leaves may have other leading axes than the network's batch."""

    relative: Float[Array, "*N S S 3"]  # linear colours over the tone's
    log_error: Float[Array, "*N S S"]  # log of the expected mean absolute error of the albedo, display values
    roughness: Float[Array, "*N S S"]
    specular: Float[Array, "*N S S"]  # reflectance at normal incidence, in units of 0.08

    def albedo(self, tone: Float[Array, "*N 3"]) -> Float[Array, "*N S S 3"]:
        """Display values of a skin of this tone: the log of the face's median linear colour, see `apply_skin_tone`."""
        return linear_to_srgb(jnp.clip(self.relative * jnp.exp(tone)[..., None, None, :], 1e-4, 1.0))


def init_skin_translator(config: SkinTranslatorConfig, key: Key[Array, ""]) -> Any:
    """A plain tree of parameters. Untrained, it returns the photograph's own variation where it is seen."""
    maps = jnp.zeros((1, config.size, config.size, config.channels))
    color = jnp.zeros((1, config.size, config.size, 3))
    return _Translator(config).init(key, maps, jnp.zeros((1, config.scene)), color, color[..., 0])["params"]


def apply_skin_translator(
    config: SkinTranslatorConfig,
    params: Any,
    maps: Float[Array, "N S S C"],
    scene: Float[Array, "N K"],
    relative: Float[Array, "N S S 3"],
    seen: Float[Array, "N S S"],
) -> SkinTranslation:
    """The network. Pure.

    Args:
      config: sizes.
      params: weights.
      maps: what is known of each texel.
      scene: what is known of the picture.
      relative: the photograph's texture without the light as far as it is known, linear, over its own mean.
      seen: 1 where there is such a texture.
    """
    return SkinTranslation(*_Translator(config).apply({"params": params}, maps, scene, relative, seen))  # type: ignore[arg-type]


class _Translator(nn.Module):
    config: SkinTranslatorConfig

    @nn.compact
    def __call__(self, maps, scene, relative, seen):
        config = self.config
        told = nn.relu(nn.Dense(64, name="scene")(scene))
        x = _Conv(config.widths[0], kernel=1)(_space_to_depth(maps, CELL))
        x = _Conv(config.widths[0])(_relu(x))
        levels = []
        for level, (width, blocks) in enumerate(zip(config.widths, config.blocks, strict=True)):
            if level:
                x = _Conv(width, kernel=2, stride=2)(_relu(x))
            for _ in range(blocks):
                x = _Block(width)(x)
            if level >= 2:
                x = _told(x, told, f"scene{level}")
            levels.append(x)
        for width, skip in zip(reversed(config.back), reversed(levels[:-1]), strict=True):
            up = _Conv(width, kernel=1)(_relu(x))
            up = jnp.repeat(jnp.repeat(up, 2, axis=1), 2, axis=2)
            x = _Block(width)(up + _Conv(width, kernel=1)(_relu(skip)))
        # The first of the last two doublings: every cell gives the numbers of its four parts. The second interpolates.
        cells = nn.Conv(4 * _NUMBERS, (1, 1), kernel_init=nn.initializers.normal(0.01), name="texels")(_relu(x))
        parts = _depth_to_space(cells, 2)
        out = jax.image.resize(parts, (*seen.shape, _NUMBERS), "linear")
        gain, paint, share, error, rough, shine = jnp.split(out, (3, 6, 7, 8, 9), axis=-1)
        lit, drawn = relative * jnp.exp(jnp.clip(gain, -3.0, 3.0)), jnp.exp(jnp.clip(paint, -5.0, 2.0))
        share = jax.nn.sigmoid(share + 2.0) * seen[..., None]
        return (
            drawn + share * (lit - drawn),
            jnp.clip(error[..., 0], -3.0, 3.0) - 3.0,
            jax.nn.sigmoid(rough[..., 0]),
            jax.nn.sigmoid(shine[..., 0]),
        )


def init_skin_tone(config: SkinTranslatorConfig, facts: Float[Array, "N K"], key: Key[Array, ""]) -> Any:
    """A plain tree of parameters, with the mean and spread of some examples' facts. Untrained: a usual tone."""
    one = lambda key: _Tone(config).init(key, facts[:1])["params"]  # noqa: E731
    layers = jax.vmap(one)(jax.random.split(key, config.members))
    return {"mean": jnp.mean(facts, axis=0), "spread": jnp.std(facts, axis=0) + 1e-3, "layers": layers}


def apply_skin_tone(config: SkinTranslatorConfig, params: Any, facts: Float[Array, "N K"]) -> Float[Array, "N 3"]:
    """The logarithm of the face's median linear colour, which brows and beard do not move. Pure.

    The mean of `members` networks, which differ where pictures are unlike those of their training.

    Args:
      config: sizes.
      params: of `init_skin_tone`.
      facts: what is known of the picture, see facejax.skin.sight.tone_facts.
    """
    return plausible_tone(jnp.mean(member_tones(config, params, facts), axis=0))


def plausible_tone(tone: Float[Array, "N 3"]) -> Float[Array, "N 3"]:
    """The tone with its luminance and the ratios of its channels within what human skin has.

    The limits are our choice, a luminance of 3 to 60 %. Pictures without colours, and faces of which little is seen,
    would otherwise get skins that nobody has.

    Args:
      tone: log linear colours.
    """
    red = jnp.clip(tone[:, 0] - tone[:, 1], *RED)
    blue = jnp.clip(tone[:, 2] - tone[:, 1], *BLUE)
    color = jnp.stack([red, jnp.zeros_like(red), blue], axis=1)
    level = jnp.clip(jnp.log(luminance(jnp.exp(tone))), *BRIGHTNESS)
    return color + (level - jnp.log(luminance(jnp.exp(color))))[:, None]


def member_tones(config: SkinTranslatorConfig, params: Any, facts: Float[Array, "N K"]) -> Float[Array, "M N 3"]:
    """What each network says, as for `apply_skin_tone`."""
    known = jnp.clip((facts - params["mean"][None]) / params["spread"][None], -FARTHEST, FARTHEST)
    one: Any = lambda layers: _Tone(config).apply({"params": layers}, known)  # noqa: E731
    return jax.vmap(one)(params["layers"])


class _Tone(nn.Module):
    config: SkinTranslatorConfig

    @nn.compact
    def __call__(self, x):
        for width in self.config.hidden:
            x = nn.relu(nn.Dense(width)(x))
        return nn.Dense(3, kernel_init=nn.initializers.zeros)(x) + jnp.asarray(USUAL_TONE)[None]


def _told(x, told, name: str):
    """FiLM: a gain and an offset for every channel."""
    gain, offset = jnp.split(nn.Dense(2 * x.shape[-1], kernel_init=nn.initializers.zeros, name=name)(told), 2, axis=-1)
    return x * (1.0 + gain[:, None, None]) + offset[:, None, None]

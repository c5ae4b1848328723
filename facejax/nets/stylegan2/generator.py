"""StyleGAN2's generator: random numbers to latents (mapping), latents to a picture (synthesis).

Karras et al., "Analyzing and improving the image quality of StyleGAN", CVPR 2020, with skip connections from block to
picture. Gives the same numbers as the authors' stylegan2-ada-pytorch, whose weights `facejax.checkpoints` imports.
"""

from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.nets.stylegan2.config import StyleGANConfig, check_config, layer_index
from facejax.nets.stylegan2.layers import Dense, ModulatedConv, ToRGB, activate, draw
from facejax.nets.stylegan2.resample import upsample
from facejax.programs.promotion import along_last

NoiseMode = Literal["const", "none", "random"]


class Generator(NamedTuple):
    """A generator's weights: trained parameters, and constants."""

    params: Any  # "mapping" and "synthesis"
    noise: Any  # the constant noise of each convolution: {"b4": {"conv1": (4, 4)}, "b8": {"conv0": (8, 8), ...}, ...}
    w_avg: Float[Array, " W"]  # running mean of w during training; truncation moves latents towards it


def generator_shapes(config: StyleGANConfig) -> Generator:
    """The weights as a tree of `jax.ShapeDtypeStruct`. Raises ValueError when no generator has such sizes.

    Written out by hand, since Flax would trace the whole network to find them.
    """
    check_config(config)
    mapping = {f"fc{number}": _dense(config.latent, config.latent) for number in range(config.mapping_layers)}
    synthesis = {}
    for side in config.resolutions:
        inputs, outputs = config.channels(side // 2), config.channels(side)
        first = {"const": _float32(4, 4, outputs)} if side == 4 else {"conv0": _convolution(config, inputs, outputs)}
        torgb = {"affine": _dense(config.latent, outputs), "kernel": _float32(1, 1, outputs, 3), "bias": _float32(3)}
        synthesis[f"b{side}"] = {**first, "conv1": _convolution(config, outputs, outputs), "torgb": torgb}
    shapes: Any = {"mapping": mapping, "synthesis": synthesis}, noise_shapes(config), _float32(config.latent)
    return Generator(*shapes)


def _dense(inputs: int, outputs: int) -> dict[str, Any]:
    return {"kernel": _float32(inputs, outputs), "bias": _float32(outputs)}


def _convolution(config: StyleGANConfig, inputs: int, outputs: int) -> dict[str, Any]:
    """The shapes of a `ModulatedConv`."""
    layer = {"kernel": _float32(3, 3, inputs, outputs), "strength": _float32(), "bias": _float32(outputs)}
    return {"affine": _dense(config.latent, inputs), **layer}


def _float32(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def noise_shapes(config: StyleGANConfig) -> dict[str, dict[str, jax.ShapeDtypeStruct]]:
    """`Generator.noise` as a tree of `jax.ShapeDtypeStruct`."""
    noise = {}
    for side in config.resolutions:
        names = ("conv1",) if side == 4 else ("conv0", "conv1")
        noise[f"b{side}"] = dict.fromkeys(names, _float32(side, side))
    return noise


def init_generator(config: StyleGANConfig, key: Key[Array, ""]) -> Generator:
    """Start values. Raises like `generator_shapes`."""
    shapes = generator_shapes(config)
    drawn, scattered = jax.random.split(key)
    params = draw(shapes.params, drawn)
    # The mapping network learns slowly because its weights are large and its gains small.
    params["mapping"] = {
        name: {"kernel": layer["kernel"] / config.mapping_rate, "bias": layer["bias"]}
        for name, layer in params["mapping"].items()
    }
    return Generator(params, draw_noise(config, scattered), jnp.zeros(config.latent))


def draw_noise(config: StyleGANConfig, key: Key[Array, ""], shape: tuple[int, ...] = ()) -> Any:
    """Random noise for every convolution, in the tree of `Generator.noise`, with leading axes of `shape`."""
    shapes = noise_shapes(config)
    leaves, treedef = jax.tree.flatten(shapes)
    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(
        treedef, [jax.random.normal(one, (*shape, *leaf.shape)) for one, leaf in zip(keys, leaves, strict=True)]
    )


def apply_mapping(config: StyleGANConfig, generator: Generator, z: Float[Array, "N W"]) -> Float[Array, "N W"]:
    """Normal random numbers to latents w."""
    return _Mapping(config).apply({"params": generator.params["mapping"]}, z)  # type: ignore[return-value]


def to_layers(config: StyleGANConfig, w: Float[Array, "*B W"]) -> Float[Array, "*B L W"]:
    """The same latent for every layer."""
    return jnp.broadcast_to(w[..., None, :], (*w.shape[:-1], config.layers, w.shape[-1]))


def truncate(
    ws: Float[Array, "*B L W"], w_avg: Float[Array, " W"], psi: float | Float[Array, ""], *, cutoff: int | None = None
) -> Float[Array, "*B L W"]:
    """Latents moved towards their mean: w_avg + psi (w - w_avg).

    Args:
      ws: (..., L, W), one latent per layer.
      w_avg: the mean.
      psi: 1 changes nothing, 0 gives the mean.
      cutoff: only in the first so many layers; None: in all.

    Returns:
      The latents, same shape.
    """
    mean = along_last(w_avg, ws)
    short = mean + psi * (ws - mean)
    if cutoff is None:
        return short
    return jnp.where(jnp.arange(ws.shape[-2])[:, None] < cutoff, short, ws)


def latent_statistics(
    config: StyleGANConfig, generator: Generator, key: Key[Array, ""], *, count: int = 100_000, batch: int = 1000
) -> tuple[Float[Array, " W"], Float[Array, " W"]]:
    """Mean and standard deviation of each component of w over random z.

    Args:
      config, generator: the network.
      key: consumed.
      count: at least so many draws.
      batch: draws at once.

    Returns:
      Mean and standard deviation, (W,) each.
    """

    def moments(one):
        w = apply_mapping(config, generator, jax.random.normal(one, (batch, config.latent)))
        return jnp.mean(w, axis=0), jnp.var(w, axis=0)

    means, variances = jax.lax.map(moments, jax.random.split(key, -(-count // batch)))
    return jnp.mean(means, axis=0), jnp.sqrt(jnp.mean(variances, axis=0) + jnp.var(means, axis=0))


def apply_synthesis(
    config: StyleGANConfig,
    generator: Generator,
    ws: Float[Array, "N L W"],
    *,
    noise: NoiseMode = "const",
    key: Key[Array, ""] | None = None,
    places: Any = None,
) -> Float[Array, "N R R 3"]:
    """Pictures from one latent per layer; display values with black at -1 and white at 1, not clamped.

    All pictures share the same convolutions, also under `jax.vmap`.

    Args:
      config, generator: the network.
      ws: (N, L, W).
      noise: "const" is the same in every picture, "random" is drawn with `key` for each, "none" leaves it out.
      key: for random noise only.
      places: a scale and a shift for each pixel of each convolution's result, (N, side, side, 2) in the tree of
        `Generator.noise` (`nets.place_maps`). None: 1 and 0.

    Returns:
      Pictures (N, R, R, 3).

    Raises ValueError for another number of layers, and for a key that does not go with the noise.
    """
    if ws.shape[1:] != (config.layers, config.latent):
        raise ValueError(f"latents of shape {ws.shape}: this generator takes (N, {config.layers}, {config.latent})")
    if (noise == "random") != (key is not None):
        raise ValueError(f"noise={noise!r} with key={key}: pass a key for 'random' noise, and only for it")
    maps = {"const": generator.noise, "none": None}.get(noise)
    if key is not None:
        maps = draw_noise(config, key, ws.shape[:1])
    return _synthesise(config, generator.params["synthesis"], ws, maps, places)


@partial(jax.jit, static_argnums=0)
def _synthesise(config: StyleGANConfig, params: Any, ws: Array, noise: Any, places: Any) -> Array:
    """A separate function, so that a program that makes pictures in several places traces the network once."""
    return _Synthesis(config).apply({"params": params}, ws, noise, places)  # type: ignore[return-value]


class _Mapping(nn.Module):
    config: StyleGANConfig

    @nn.compact
    def __call__(self, z):
        x = z * jax.lax.rsqrt(jnp.mean(jnp.square(z), axis=-1, keepdims=True) + 1e-8)
        for number in range(self.config.mapping_layers):
            x = activate(Dense(self.config.latent, rate=self.config.mapping_rate, name=f"fc{number}")(x))
        return x


class _Block(nn.Module):
    """Two convolutions at one resolution, the first of which doubles the side, and the colours so far."""

    config: StyleGANConfig
    resolution: int

    @nn.compact
    def __call__(self, x, colours, ws, noise, places):
        config, side = self.config, self.resolution
        features = config.channels(side)
        first, second, last = layer_index(config.resolutions.index(side))
        noise, places = noise or {}, places or {}
        if x is None:
            const = self.param("const", nn.initializers.zeros, (4, 4, features))
            x = jnp.broadcast_to(const, (len(ws), *const.shape))
        else:
            x = x.astype(jnp.bfloat16) if config.is_half(side) else x
            layer = ModulatedConv(features, up=True, clamp=config.clamp, name="conv0")
            x = layer(x, ws[:, first], noise.get("conv0"), places.get("conv0"))
        layer = ModulatedConv(features, clamp=config.clamp, name="conv1")
        x = layer(x, ws[:, second], noise.get("conv1"), places.get("conv1"))
        found = ToRGB(clamp=config.clamp, name="torgb")(x, ws[:, last])
        return x, found if colours is None else upsample(colours) + found


class _Synthesis(nn.Module):
    config: StyleGANConfig

    @nn.compact
    def __call__(self, ws, noise, places=None):
        x = colours = None
        for side in self.config.resolutions:
            name = f"b{side}"
            block = _Block(self.config, side, name=name)
            x, colours = block(x, colours, ws, (noise or {}).get(name), (places or {}).get(name))
        return colours

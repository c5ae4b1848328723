"""Importers of weights of NVIDIA's stylegan2-ada-pytorch.

The layout is that of github.com/NVlabs/stylegan2-ada-pytorch, training/networks.py; FFHQ-UV's texture decoder is such a
state dict. The networks that NVIDIA released are pickles that contain code: they are refused.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from facejax.checkpoints.torch_files import read_tensors
from facejax.nets.stylegan2 import (
    Generator,
    StyleGANConfig,
    discriminator_shapes,
    generator_shapes,
)

_GENERATOR_KEYS, _DISCRIMINATOR_KEYS = ("g_ema", "G_ema", "G", "state_dict"), ("D", "d", "state_dict")
_NAMES = {"kernel": "weight", "strength": "noise_strength"}


class ImportedGenerator(NamedTuple):
    """A generator, and its sizes as read from its weights."""

    config: StyleGANConfig
    generator: Generator


class ImportedDiscriminator(NamedTuple):
    """A discriminator, and its sizes as read from its weights."""

    config: StyleGANConfig
    params: Any


def import_stylegan2(path: str | Path, *, clamp: float | None = 256.0) -> ImportedGenerator:
    """The generator in a .pth or .safetensors file, without labels, with skip connections.

    Its sizes are read from the tensors' shapes. `clamp` is not in the file: it is 256 where the network was trained
    with 16-bit layers, as FFHQ-UV's was, and None elsewhere. Raises FileNotFoundError or ValueError, of one line, for a
    file that is damaged or contains code, and for a tensor that is missing, left over or of another shape.
    """
    tensors = read_tensors(path, _GENERATOR_KEYS)
    tensors = {name: value for name, value in tensors.items() if not name.endswith("resample_filter")}
    config = _generator_config(path, tensors, clamp)
    shapes = generator_shapes(config)
    w_avg = tensors.setdefault("mapping.w_avg", np.zeros(config.latent, np.float32))
    if w_avg.shape != (config.latent,):
        raise _wrong_shape(path, "mapping.w_avg", w_avg.shape, (config.latent,))
    taken = {"mapping.w_avg"}
    params = _fill(path, shapes.params, tensors, taken, lambda name: name)
    noise = _fill(path, shapes.noise, tensors, taken, lambda name: f"synthesis.{name}.noise_const")
    _check_all_used(path, tensors, taken)
    return ImportedGenerator(config, Generator(params, noise, jnp.asarray(w_avg)))


def import_stylegan2_discriminator(path: str | Path, *, clamp: float | None = 256.0) -> ImportedDiscriminator:
    """The discriminator in a .pth or .safetensors file, without labels, residual. Raises like `import_stylegan2`."""
    tensors = read_tensors(path, _DISCRIMINATOR_KEYS)
    tensors = {name: value for name, value in tensors.items() if not name.endswith("resample_filter")}
    side = _largest_block(path, tensors, "b")
    channels = len(_need(path, tensors, "b4.conv.weight"))
    base = len(_need(path, tensors, f"b{side}.fromrgb.weight")) * side
    config = StyleGANConfig(side, base, channels, clamp=clamp)
    taken: set[str] = set()
    params = _fill(path, discriminator_shapes(config), tensors, taken, lambda name: _discriminator_name(name, side))
    _check_all_used(path, tensors, taken)
    params["fc"]["kernel"] = _rows_by_channel_last(params["fc"]["kernel"], channels)
    return ImportedDiscriminator(config, params)


def read_latent_statistics(path: str | Path) -> tuple[jax.Array, jax.Array]:
    """Mean and standard deviation of w, from the file that FFHQ-UV keeps beside its decoder. Raises like
    `import_stylegan2`.
    """
    tensors = read_tensors(path)
    mean, std = (_need(path, tensors, name).reshape(-1) for name in ("w_avg", "w_std"))
    if mean.shape != std.shape or not np.all(std > 0):
        raise ValueError(f"{path}: 'w_std' is not positive, or not as long as 'w_avg'; compute the statistics again")
    return jnp.asarray(mean), jnp.asarray(std)


def _generator_config(path: str | Path, tensors: Mapping[str, np.ndarray], clamp: float | None) -> StyleGANConfig:
    side = _largest_block(path, tensors, "synthesis.b")
    channels = len(_need(path, tensors, "synthesis.b4.const"))
    base = len(_need(path, tensors, f"synthesis.b{side}.conv1.weight")) * side
    latent = _need(path, tensors, "mapping.fc0.weight").shape[-1]
    depth = sum(name.startswith("mapping.fc") and name.endswith(".weight") for name in tensors)
    return StyleGANConfig(side, base, channels, latent, depth, clamp=clamp)


def _largest_block(path: str | Path, tensors: Mapping[str, np.ndarray], prefix: str) -> int:
    starts = {name.removeprefix(prefix).split(".")[0] for name in tensors if name.startswith(prefix)}
    sides = [int(start) for start in starts if start.isdigit()]
    if not sides:
        raise ValueError(f"{path}: no {prefix}4...: not a state dict of stylegan2-ada-pytorch; see docs/texture.md")
    return max(sides)


def _need(path: str | Path, tensors: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in tensors:
        raise ValueError(f"{path}: {name!r} is missing: not a whole state dict of this network; see docs/texture.md")
    return tensors[name]


def _fill(path: str | Path, shapes: Any, tensors: Mapping[str, np.ndarray], taken: set[str], rename: Any) -> Any:
    """The tree with one tensor per shape; `rename` converts our dotted name to theirs."""
    leaves, treedef = jax.tree_util.tree_flatten_with_path(shapes)
    values = []
    for keys, leaf in leaves:
        *folders, last = jax.tree_util.keystr(keys, simple=True, separator="/").split("/")
        name = rename(".".join([*folders, _NAMES.get(last, last)]))
        value = _to_ours(name, _need(path, tensors, name))
        if value.shape != leaf.shape:
            raise _wrong_shape(path, name, value.shape, leaf.shape)
        taken.add(name)
        values.append(jnp.asarray(value))
    return jax.tree.unflatten(treedef, values)


def _to_ours(name: str, value: np.ndarray) -> np.ndarray:
    """Outputs last instead of first. Their up-sampling layers convolve where ours correlate: the kernel is rotated by
    180 degrees.
    """
    if value.ndim == 4:
        value = value.transpose(2, 3, 1, 0)
        return value[::-1, ::-1] if name.startswith("synthesis.") and name.endswith("conv0.weight") else value
    if name.endswith("const") and value.ndim == 3:
        return value.transpose(1, 2, 0)
    return value.T if name.endswith(".weight") else value


def _discriminator_name(name: str, side: int) -> str:
    start = name.split(".")[0]
    return {"fromrgb": f"b{side}.{name}"}.get(start, name if start.startswith("b") else f"b4.{name}")


def _rows_by_channel_last(kernel: jax.Array, channels: int) -> jax.Array:
    """Reorder the rows of the layer after the flattening: channel by channel there, pixel by pixel here."""
    return kernel.reshape(channels, 16, -1).swapaxes(0, 1).reshape(kernel.shape)


def _wrong_shape(path: str | Path, name: str, found: tuple, wanted: tuple) -> ValueError:
    return ValueError(
        f"{path}: {name!r} becomes {found}, the network has {wanted}: weights of another network; see docs/texture.md"
    )


def _check_all_used(path: str | Path, tensors: Mapping[str, np.ndarray], taken: set[str]) -> None:
    left = tensors.keys() - taken
    if left:
        raise ValueError(f"{path}: unknown {min(left)!r}: weights of another network; see docs/texture.md")

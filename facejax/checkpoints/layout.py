"""Conversion of PyTorch's tensor names and axes to those of a Flax network."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from facejax.nets import Network

# The last part of a name here and in PyTorch; the weights of a parametric ReLU are its slopes.
KINDS = {
    "kernel": "weight",
    "scale": "weight",
    "slope": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


def fill(
    path: str | Path,
    shapes: Network,
    tensors: dict[str, np.ndarray],
    names: Callable[[list[str]], list[str]],
    *,
    ignore: tuple[str, ...] = (),
) -> Network:
    """The network's variables from the tensors. Each tensor is used once and its shape is checked.

    Args:
      path: of the file, for errors.
      shapes: the network's variables.
      tensors: by their PyTorch names.
      names: from the parts of a variable's name to the tensors it is made of, concatenated along the outputs.
      ignore: prefixes of tensors to leave out.

    Returns:
      The network.

    Raises ValueError, of one line that names the file, for a tensor that is missing, of another shape, or left over.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(shapes)
    left = {name: value for name, value in tensors.items() if not name.startswith(ignore)}
    values = []
    for keys, leaf in leaves:
        _, *parts = jax.tree_util.keystr(keys, simple=True, separator="/").split("/")
        wanted = names(parts)
        missing = [name for name in wanted if name not in left]
        if missing:
            raise ValueError(f"{path}: {missing[0]!r} is missing: weights of another network; see docs/weights.md")
        value = _to_flax(np.concatenate([left.pop(name) for name in wanted]), len(leaf.shape))
        if value.shape != leaf.shape:
            raise ValueError(
                f"{path}: {wanted[0]!r} becomes {value.shape}, the network has {leaf.shape}: "
                "weights of another network; see docs/weights.md"
            )
        values.append(jnp.asarray(value))
    if left:
        raise ValueError(f"{path}: unknown {min(left)!r}: weights of another network; see docs/weights.md")
    return jax.tree.unflatten(treedef, values)


def _to_flax(value: np.ndarray, dimensions: int) -> np.ndarray:
    """The tensor in Flax's order of axes (outputs last). A dense layer here may be a 1x1 convolution there."""
    if dimensions == 4 and value.ndim == 4:
        return value.transpose(2, 3, 1, 0)
    if dimensions == 2:
        return value.reshape(len(value), -1).T
    return value.reshape(-1)

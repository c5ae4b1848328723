"""Imports dlib's face recognition network, and finds the file in the package that `facejax[identity]` brings."""

import importlib.util
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.checkpoints.dlib_files import ADD_LAYER, TAG, DlibLayer, read_dlib_network
from facejax.checkpoints.released import Released
from facejax.nets import DlibResNetConfig, Network
from facejax.nets.dlib_resnet import dlib_resnet_shapes

PACKAGE = "face_recognition_models"  # brought by facejax[identity]
_FILE = "models/dlib_face_recognition_resnet_model_v1.dat"

_LARGEST = 1024  # side of the pictures

_Layers = list[tuple[str, tuple[int, ...]]]


def find_dlib_recognition() -> Path | None:
    """The network's file in the package face_recognition_models, which is not imported; None: not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = [] if spec is None else spec.submodule_search_locations or []
    return next((path for folder in folders if (path := Path(folder) / _FILE).is_file()), None)


def import_dlib_recognition(path: str | Path) -> Released:
    """dlib's `dlib_face_recognition_resnet_model_v1.dat`, for `facejax.nets.apply_dlib_resnet`.

    Sizes are read from the file; the order and the windows of its layers must be dlib's. Raises FileNotFoundError or
    ValueError, of one line that names the file and the fix.
    """
    found = read_dlib_network(path)
    convolutions = [layer for layer in found.layers if layer.kind == "con"]
    blocks = tuple(
        (len(layer.weights[1]), layer.window[2] == 2)
        for layer in convolutions[1::2]  # the first of each block
    )
    rows, columns = found.size
    if not convolutions or len(found.layers[-1].weights) != 1 or rows != columns or rows > _LARGEST:
        raise _other(path)
    config = DlibResNetConfig(
        stem=len(convolutions[0].weights[1]),
        blocks=blocks,
        size=rows,
        features=found.layers[-1].weights[0].shape[-1],
        mean=found.mean,
    )
    layers, nesting = _layout(config)
    if [(layer.kind, layer.window) for layer in found.layers] != layers or found.nesting != nesting:
        raise _other(path)
    params: dict[str, Any] = {"fc": {"kernel": found.layers[-1].weights[0]}}
    folded = [
        _fold(path, *pair)
        for pair in zip(convolutions, (one for one in found.layers if one.kind == "affine"), strict=True)
    ]
    params["stem"] = folded[0]
    for k in range(len(blocks)):
        params[f"block{k}"] = {"conv1": folded[2 * k + 1], "conv2": folded[2 * k + 2]}
    network = jax.tree.map(jnp.asarray, Network(params, {}))
    if jax.tree.map(jnp.shape, network) != jax.tree.map(lambda leaf: leaf.shape, dlib_resnet_shapes(config)):
        raise _other(path)
    return Released(network, None, config)


def _layout(config: DlibResNetConfig) -> tuple[_Layers, tuple[int, ...]]:
    """The layers with their windows, first to last, and the nesting, last to first, of dlib's example program."""
    same, convolved = (3, 3, 1, 1, 1, 1), [("affine", ()), ("relu", ())]
    layers: _Layers = [("con", (7, 7, 2, 2, 0, 0)), *convolved, ("max_pool", (3, 3, 2, 2, 0, 0))]
    nesting = [ADD_LAYER] * 3
    for _, halve in config.blocks:
        layers += [("con", (3, 3, 2, 2, 0, 0) if halve else same), *convolved, ("con", same), ("affine", ())]
        layers += [("avg_pool", (2, 2, 2, 2, 0, 0))] if halve else []
        layers += [("add_prev", ()), ("relu", ())]
        shortcut = [TAG, TAG, ADD_LAYER] if halve else []  # a tag on the block, a skip to its input, the mean
        nesting += [TAG, *[ADD_LAYER] * 5, *shortcut, *[ADD_LAYER] * 2]
    layers += [("avg_pool", (0, 0, 1, 1, 0, 0)), ("fc", ())]
    return layers, tuple([*nesting, *[ADD_LAYER] * 2][::-1])


def _fold(path: str | Path, convolution: DlibLayer, affine: DlibLayer) -> dict[str, np.ndarray]:
    """A convolution multiplied with the scales and biases that follow it, its axes in Flax's order."""
    (kernel, bias), (scale, shift) = convolution.weights, affine.weights
    if scale.shape != bias.shape:
        raise _other(path)
    return {"kernel": kernel.transpose(2, 3, 1, 0) * scale, "bias": bias * scale + shift}


def _other(path: str | Path) -> ValueError:
    return ValueError(f"{path}: another network than dlib's face recognition network: see docs/weights.md")

"""How close generated maps are to real ones: the Frechet distance of features, as in FID, with this project's networks.

Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash equilibrium", NIPS 2017. Numbers
are comparable only for the same feature network, and never with FID by Inception.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.nets.encoder import EncoderConfig, apply_encoder, init_encoder
from facejax.programs import jit
from facejax.regression.regressor import ASSET, load_regressor

Features = Callable[[Array], Array]  # maps (N, R, R, 3) in [-1, 1] to (N, C)


class Moments(NamedTuple):
    mean: np.ndarray  # (C,)
    covariance: np.ndarray  # (C, C)


def encoder_features(checkpoint: Path | None = None) -> Features:
    """The summary features of the regressor's encoder, which sees a map as if it were a picture of a face.

    Without a checkpoint it is the shipped encoder. If that is missing, it is an untrained encoder, always the same: its
    features still distinguish distributions, more by colour and texture than by content.
    """
    if checkpoint is None and not ASSET.exists():
        config = EncoderConfig()
        weights: Any = init_encoder(config, jax.random.key(0))
    else:
        regressor = load_regressor("default" if checkpoint is None else checkpoint)
        config, weights = regressor.config.encoder, regressor.weights
    if config.channels != 3:
        raise ValueError(f"{checkpoint}: a network of {config.channels} channels; give one without a landmark map")
    run = jit(lambda weights, maps: _features(config, weights, maps))
    return lambda maps: run(weights, maps)


def _features(config: EncoderConfig, weights: Any, maps: Float[Array, "N R R 3"]) -> Float[Array, "N C"]:
    shown = jnp.clip((maps + 1.0) / 2.0, 0.0, 1.0)
    shown = jax.image.resize(shown, (len(maps), config.size, config.size, 3), "linear")
    return apply_encoder(config, weights, shown).features


def moments(features: Features, batches: Iterable[Array]) -> Moments:
    """Mean and covariance of the features of all maps."""
    values = np.concatenate([np.asarray(features(maps), np.float64) for maps in batches])
    return Moments(values.mean(axis=0), np.cov(values, rowvar=False))


def frechet_distance(first: Moments, second: Moments) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)): the squared distance of two normal distributions (2-Wasserstein)."""
    root = _root(first.covariance)
    inner = np.linalg.eigvalsh(root @ second.covariance @ root)
    cross = np.sqrt(np.maximum(inner, 0)).sum()
    apart = np.sum((first.mean - second.mean) ** 2)
    return float(apart + np.trace(first.covariance) + np.trace(second.covariance) - 2 * cross)


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def sheet(maps: np.ndarray, columns: int) -> np.ndarray:
    """Maps (N, R, R, 3) side by side, row by row, in [0, 1]; `maps` are bytes or in [-1, 1]."""
    shown = maps / 255 if maps.dtype == np.uint8 else np.clip((maps + 1) / 2, 0, 1)
    rows, side = -(-len(shown) // columns), shown.shape[1]
    page = np.zeros((rows * columns, side, side, 3), np.float32)
    page[: len(shown)] = shown
    return page.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)

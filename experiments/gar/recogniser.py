"""A network that tells people apart, trained on rendered people, for the identity loss of the pairs.

Two pictures of one person, with other poses, expressions, lights and surroundings, have features that point in similar
directions; those of different persons do not (Oord et al. 2018, "Representation learning with contrastive predictive
coding").
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key
from regressor.pool import batch_rows, read_pool
from tqdm import tqdm

from facejax.checkpoints import load, save
from facejax.nets._layers import unit_vectors
from facejax.nets.encoder import EncoderConfig, apply_encoder, init_encoder
from facejax.programs import jit
from facejax.regression.regressor import RegressorConfig
from facejax.regression.training import Augmentation, crop_picture

SCHEMA, VERSION = "facejax.gar.recogniser", 1
SIZES = EncoderConfig(outputs=1, size=64, widths=(32, 64, 128), blocks=(0, 1, 1), hidden=128, code=16)
CROP = RegressorConfig(encoder=SIZES)  # how faces are cropped
JITTER = Augmentation(stretch=0.0, bend=0.0, occluders=0.0, camera=0.0)  # the pictures have those already
TEMPERATURE = 0.1


class People(NamedTuple):
    """Rendered pictures of N persons."""

    image: np.ndarray  # (N, V, S, S, 3) bytes
    corners: np.ndarray  # (N, V, 2, 2): corners of the landmarks' box, pixels


def read_people(folder: Path, views: int) -> People:
    """A pool that was rendered with several views of each person."""
    arrays = read_pool(folder)
    points = arrays["landmarks"]
    corners = np.stack([points.min(axis=1), points.max(axis=1)], axis=1)
    return People(*(x.reshape(-1, views, *x.shape[1:]) for x in (arrays["image"], corners)))


def recognise(params: Any, crops: Float[Array, "N S S 3"]) -> Float[Array, "N F"]:
    """Unit vectors of face crops of `SIZES.size` pixels, display values."""
    return unit_vectors(apply_encoder(SIZES, params, crops).features)


def contrast(features: Float[Array, "N 2 F"]) -> Float[Array, ""]:
    """Cross entropy of finding each person's second picture among all second pictures by the first, and the reverse."""
    likeness = features[:, 0] @ features[:, 1].T / TEMPERATURE
    own = jnp.diagonal(likeness)
    return jnp.mean(jax.nn.logsumexp(likeness, axis=0) + jax.nn.logsumexp(likeness, axis=1) - 2 * own)


def train_recogniser(
    people: People, *, steps: int, persons: int = 48, rate: float = 1e-3, held_out: int = 128, seed: int = 0
) -> tuple[Any, dict[str, float]]:
    """Train the network.

    Args:
      people: the pictures.
      steps: of training.
      persons: per batch.
      rate: of the optimiser.
      held_out: the last so many persons are not trained on.
      seed: of the run.

    Returns:
      The parameters, and how well they do on the held-out persons.
    """
    train, held = (People(*(x[part] for x in people)) for part in (slice(-held_out), slice(-held_out, None)))
    params = init_encoder(SIZES, jax.random.key(seed))
    adam = optax.adamw(optax.cosine_decay_schedule(rate, steps), weight_decay=0.02)
    moments = adam.init(params)

    def crop(key: Key[Array, ""], image: Array, corners: Array) -> Array:
        return crop_picture(key, CROP, JITTER, image, *corners).image

    @jit
    def step(params, moments, key, image, corners):
        keys = jax.random.split(key, 2 * persons)
        crops = jax.vmap(crop)(keys, *(x.reshape(2 * persons, *x.shape[2:]) for x in (image, corners)))
        loss, gradient = jax.value_and_grad(lambda params: contrast(recognise(params, crops).reshape(persons, 2, -1)))(
            params
        )
        updates, moments = adam.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments, loss

    views = train.image.shape[1]
    with tqdm(range(steps), unit="step") as bar:
        for number in bar:
            rows = batch_rows(len(train.image), persons, number, seed=seed)[:, None]
            rng = np.random.default_rng([seed, number])
            picked = rows, rng.permuted(np.tile(np.arange(views), (persons, 1)), axis=1)[:, :2]
            key = jax.random.fold_in(jax.random.key(seed), number)
            params, moments, loss = step(params, moments, key, *(x[picked] for x in train))
            if number % 100 == 99:
                bar.set_postfix_str(f"contrast {float(loss):.3f}")
    return params, verify(params, held)


def verify(params: Any, people: People) -> dict[str, float]:
    """How often a person's other picture is more similar than a stranger's, and the mean similarity of both."""
    still = replace(JITTER, shift=0.0, zoom=0.0, roll=0.0)
    cut = jit(jax.vmap(lambda image, corners: crop_picture(jax.random.key(0), CROP, still, image, *corners).image))
    count, views = people.image.shape[:2]
    crops = cut(*(jnp.asarray(x.reshape(-1, *x.shape[2:])) for x in people))
    features = np.asarray(recognise(params, crops)).reshape(count, views, -1)
    same = np.concatenate([np.sum(features[:, 0] * features[:, k], axis=-1) for k in range(1, views)])
    likeness = features[:, 0] @ features[:, 1].T
    other = likeness[~np.eye(count, dtype=bool)]
    right = (same[:, None] > other).mean()
    return {"order right": float(right), "same": float(same.mean()), "other": float(other.mean())}


def save_recogniser(path: Path, params: Any, found: dict[str, float]) -> None:
    save(path, params, schema=SCHEMA, version=VERSION, half=True, verified=found)


def load_recogniser(path: Path) -> Any:
    return jax.tree.map(jnp.asarray, load(path, schema=SCHEMA, version=VERSION).tree)

"""A pool of rendered pictures in files, for training where rendering is slower than reading (on CPUs)."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
import numpy as np

from facejax.atomic import atomic_path, write_text
from facejax.camera import PerspectiveCamera, Pose
from facejax.face_model import FaceModel, FaceParams
from facejax.programs import jit
from facejax.synthetic.generate import Generator, Labelled, generate

SHARD = 256  # pictures per file


def render_pool(
    folder: Path,
    model: FaceModel,
    generator: Generator,
    *,
    shards: range,
    size: int = 192,
    seed: int = 0,
    views: int = 1,
    dense: bool = False,
    progress: Callable[[int], object] = lambda count: None,
) -> None:
    """Render shards of pictures. Existing shards are kept, so a killed run resumes.

    Shard k always holds the same pictures: they depend on the seed, k and the generator only.

    Args:
      folder: of the pool.
      model: the face model.
      generator: what is in the pictures.
      shards: which ones to render.
      size: pixels per side.
      seed: of the pool.
      views: so many pictures in a row show one person.
      dense: keep the labels of every pixel too (`dense_arrays`); a file is then four times as large.
      progress: called with the number of pictures of each finished shard.
    """
    if SHARD % views:
        raise ValueError(f"--views {views}: pictures of one person lie in one file of {SHARD}; pass a divisor of it")
    folder.mkdir(parents=True, exist_ok=True)
    describe_pool(folder, generator, size, seed, views, dense)

    def one(keys, model):
        key, who = keys
        return generate(key, model, size=size, generator=generator, who=who)

    draw = jit(lambda keys, model: jax.lax.map(lambda pair: one(pair, model), keys))
    for shard in shards:
        path = shard_path(folder, shard)
        if path.exists():
            continue
        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), shard), SHARD)
        pictures = jax.device_get(draw((keys, keys[np.arange(SHARD) // views * views]), model))
        arrays: dict[str, Any] = to_arrays(pictures) | (dense_arrays(pictures) if dense else {})
        with atomic_path(path) as partial:
            np.savez(partial, **arrays)
        progress(SHARD)


def shard_path(folder: Path, shard: int) -> Path:
    return folder / f"shard_{shard:05d}.npz"


def describe_pool(
    folder: Path, generator: Generator, size: int, seed: int, views: int = 1, dense: bool = False
) -> None:
    """Write pool.json, or check that the pool in `folder` was made with the same settings.

    Args:
      folder: of the pool.
      generator, size, seed, views, dense: as for `render_pool`.
    """
    several = ({} if views == 1 else {"views": views}) | ({"dense": True} if dense else {})
    text = json.dumps({"generator": asdict(generator), "size": size, "seed": seed, **several}, indent=1)
    path = folder / "pool.json"
    if not path.exists():
        write_text(path, text)
    elif path.read_text() != text:
        raise ValueError(f"{path}: this pool was made with other settings; use another folder, or delete it")


def to_arrays(pictures: Labelled) -> dict[str, np.ndarray]:
    """A batch of pictures as named arrays, with the image in bytes."""
    params = pictures.params
    assert isinstance(params.camera, PerspectiveCamera)
    named = {
        "image": np.round(np.clip(pictures.image, 0, 1) * 255).astype(np.uint8),
        "landmarks": pictures.landmarks,
        "identity": params.identity,
        "expression": params.expression,
        "albedo": params.appearance["albedo"],
        "rotation": params.pose.rotation,
        "translation": params.pose.translation,
        "focal": params.camera.focal,
        "principal": params.camera.principal,
        "light": params.light,
    }
    return {name: np.asarray(array) for name, array in named.items()}


NOTHING = 65535  # in "surface": the head is not there


def dense_arrays(pictures: Labelled) -> dict[str, np.ndarray]:
    """What every pixel of a batch of pictures shows, in few bytes.

    Args:
      pictures: the batch.

    Returns:
      "parsing" (N, S, S), positions in `facejax.synthetic.labels.CLASSES`; "surface" (N, S, S, 2), texture coordinates
      times 65,534, or NOTHING; "normal" (N, S, S, 3), in camera space times 127.
    """
    surface = np.asarray(pictures.surface)
    found = np.round(np.clip(surface, 0.0, 1.0) * (NOTHING - 1)).astype(np.uint16)
    return {
        "parsing": np.asarray(pictures.parsing),
        "surface": np.where(surface < 0, np.uint16(NOTHING), found),
        "normal": np.round(np.asarray(pictures.normal) * 127).astype(np.int8),
    }


def to_params(arrays: Mapping[str, Any]) -> FaceParams:
    """The faces of a batch from `to_arrays`, as numpy or jax arrays, without copying."""
    pose = Pose(arrays["rotation"], arrays["translation"])
    camera = PerspectiveCamera(arrays["focal"], arrays["principal"])
    appearance = {"albedo": arrays["albedo"]}
    return FaceParams(arrays["identity"], arrays["expression"], appearance, pose, camera, arrays["light"])


def read_pool(folder: Path, *, limit: int | None = None) -> dict[str, np.ndarray]:
    """All finished shards of a pool as one set of arrays (the images as bytes)."""
    paths = sorted(folder.glob("shard_*.npz"))[:limit]
    if not paths:
        raise ValueError(f"{folder}: no rendered pictures here; make them with experiments/train_regressor.py render")
    shards = []
    for path in paths:
        with np.load(path) as file:
            shards.append(dict(file))
    return {name: np.concatenate([shard[name] for shard in shards]) for name in shards[0]}


def batch_rows(count: int, size: int, step: int, *, seed: int) -> np.ndarray:
    """The rows of one step's batch: every row once an epoch, in an order that depends on seed and epoch only.

    Args:
      count: number of rows.
      size: of a batch.
      step: its number.
      seed: of the order.
    """
    per_epoch = max(count // size, 1)
    epoch, place = divmod(step, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return order[np.arange(place * size, (place + 1) * size) % count]

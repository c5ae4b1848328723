"""Pictures of faces with the parameters of their geometry: rendered pools, or a folder of photographs."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from regressor.pool import batch_rows
from regressor.pool import to_params as pool_params
from tqdm import tqdm

from facejax.atomic import atomic_path
from facejax.camera import transform_camera
from facejax.face_model import FaceModel, FaceParams
from facejax.generative_renderer import render_normals
from facejax.images import list_photos, read_image
from facejax.images.crop import apply_crop, face_crop
from facejax.programs import jit
from facejax.regression.photos import regress_photos
from facejax.regression.regressor import Regressor

MARGIN = 0.52  # around the landmarks' box, as in the crops of `fitting.GAR` and in the pools


class Pictures(NamedTuple):
    """A set of pictures, or a batch of one."""

    image: UInt8[np.ndarray, "N R R 3"]
    normals: Float[np.ndarray, "N R R 3"]  # times coverage, in float16
    params: FaceParams  # cameras in pixels of the pictures


Source = Callable[[int], Pictures]  # step to a batch


def read_rendered(folder: Path, model: FaceModel, side: int, *, limit: int | None = None) -> Pictures:
    """The pictures of a pool of experiments/train_regressor.py. Their normals are drawn once and kept beside each file.

    Args:
      folder: of the pool.
      model: the face model.
      side: pixels to reduce them to.
      limit: number of files of 256 pictures.

    Returns:
      The set.

    Raises ValueError when there are none, or they are smaller.
    """
    parts = []
    for path in tqdm(sorted(folder.glob("shard_*.npz"))[:limit], unit="file"):
        with np.load(path) as file:
            arrays = dict(file)
        images, params = reduce(arrays["image"], side), scaled(pool_params(arrays), side, arrays["image"])
        kept = path.with_name(f"{path.stem}_normals{side}.npy")
        if kept.exists():
            parts.append(Pictures(images, np.load(kept), params))
            continue
        parts.append(with_normals(model, images, params))
        with atomic_path(kept) as partial, open(partial, "wb") as file:
            np.save(file, parts[-1].normals)
    if not parts:
        raise ValueError(f"{folder}: no rendered pictures here; make them with experiments/train_regressor.py render")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def read_photos(folder: Path, regressor: Regressor, side: int) -> Pictures:
    """A folder of photographs, cropped to the faces that the regressor finds, with the geometry that it estimates."""
    images, found = [], []
    for one in tqdm(list_photos([folder]), unit="photo"):
        photo = read_image(one)
        seen = regress_photos(regressor, [photo], names=[one.name], batch=1)
        for regression in (face.regression for face in seen.faces):
            crop = face_crop(np.asarray(regression.landmarks), side, margin=MARGIN)
            images.append(np.round(255 * apply_crop(photo, crop, side)[0]).astype(np.uint8))
            camera = transform_camera(regression.params.camera, jnp.asarray(crop.scale), jnp.asarray(crop.offset))
            found.append(replace(regression.params, camera=camera))
    if not images:
        raise ValueError(f"{folder}: no face in any photograph")
    params = jax.tree.map(lambda *leaves: np.stack([np.asarray(leaf) for leaf in leaves]), *found)
    return with_normals(regressor.model, np.stack(images), params)


def scaled(params: FaceParams, side: int, images: np.ndarray) -> FaceParams:
    """Cameras for pictures of another size."""
    scale = jnp.asarray(side / images.shape[1])
    camera = jax.vmap(lambda camera: transform_camera(camera, scale, jnp.zeros(2)))(params.camera)
    return jax.tree.map(np.asarray, replace(params, camera=camera))


def reduce(images: UInt8[np.ndarray, "N S S 3"], side: int) -> UInt8[np.ndarray, "N R R 3"]:
    """Smaller copies, antialiased."""
    if images.shape[1] < side:
        raise ValueError(f"pictures of {images.shape[1]} px for a network of {side}: render larger ones")
    if images.shape[1] == side:
        return images
    shrink = jax.jit(lambda x: jnp.round(jax.image.resize(x.astype(jnp.float32), (len(x), side, side, 3), "linear")))
    parts = [np.asarray(shrink(images[k : k + 256])) for k in range(0, len(images), 256)]
    return np.clip(np.concatenate(parts), 0, 255).astype(np.uint8)


def with_normals(model: FaceModel, images: np.ndarray, params: FaceParams) -> Pictures:
    """Draw the normals of every face once; they take 6 bytes per pixel."""
    side = images.shape[1]
    parts, draw = [], _drawing(side)
    for k in range(0, len(images), 256):
        parts.append(np.asarray(draw(model, take(params, slice(k, k + 256))), np.float16))
    return Pictures(images, np.concatenate(parts), params)


@cache
def _drawing(side: int) -> Callable[[FaceModel, FaceParams], Array]:
    return jit(lambda model, params: jax.lax.map(lambda one: head_normals(model, one, side), params))


def head_normals(model: FaceModel, params: FaceParams, side: int) -> Float[Array, "R R 3"]:
    return render_normals(model, params, size=(side, side)).color


def batches(pictures: Pictures, batch: int, *, seed: int) -> Source:
    """Every picture once an epoch, in an order that depends on seed and epoch only."""
    count = len(pictures.image)
    if count < batch:
        raise ValueError(f"{count} pictures for a batch of {batch}: give more pictures or a smaller batch")

    return lambda step: take(pictures, np.sort(batch_rows(count, batch, step, seed=seed)))


def take(tree: Any, rows: slice | np.ndarray) -> Any:
    """The chosen rows of every leaf."""
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def split(pictures: Pictures, held_out: int) -> tuple[Pictures, Pictures]:
    """All but the last `held_out`, and those."""
    at = len(pictures.image) - held_out
    return take(pictures, slice(at)), take(pictures, slice(at, None))

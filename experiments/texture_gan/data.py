"""Texture maps from a folder, as batches of bytes."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from regressor.pool import batch_rows

from facejax.face_model import FaceModel
from facejax.lighting import srgb_to_linear

Source = Callable[[int], np.ndarray]  # step to maps (N, R, R, 3), uint8 display values
_KINDS = ("npy", "npz", "png")


def read_maps(folder: Path, size: int, *, limit: int | None = None) -> np.ndarray:
    """The maps (N, size, size, 3), uint8 display values, in a folder's .npy, .npz or .png files.

    Larger maps are reduced, in linear light. All are kept in memory: 5,000 maps of 256 texels are 1 GB. Raises
    ValueError when there are none, or one is not a square of a whole multiple of `size`.
    """
    found, count = [], 0
    for path, maps in _arrays(folder):
        if maps.shape[1] != maps.shape[2] or maps.shape[1] % size:
            raise ValueError(f"{path}: maps of {maps.shape[2]}x{maps.shape[1]}; they must be squares of k x {size}")
        found.append(reduce(maps[: None if limit is None else limit - count], size))
        count += len(found[-1])
        if limit is not None and count >= limit:
            break
    if not found:
        raise ValueError(f"{folder}: no maps in .npy, .npz or .png files; make them with make_texture_set.py")
    return np.concatenate(found)


def _arrays(folder: Path) -> Iterator[tuple[Path, np.ndarray]]:
    """Bytes (N, S, S, 3) of each file of the first kind found."""
    for kind in _KINDS:
        some = False
        for path in sorted(Path(folder).rglob(f"*.{kind}")):
            for maps in _open(path):
                if maps.dtype == np.uint8 and maps.ndim == 4 and maps.shape[3] == 3:
                    some = True
                    yield path, maps
        if some:
            return


def _open(path: Path) -> list[np.ndarray]:
    if path.suffix == ".npy":
        return [np.load(path, mmap_mode="r", allow_pickle=False)]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return [file[name] for name in file.files]
    with Image.open(path) as image:
        return [np.asarray(image.convert("RGB"))[None]]


def reduce(maps: np.ndarray, size: int) -> np.ndarray:
    """Means of square blocks of texels, in linear light."""
    factor = maps.shape[1] // size
    if factor == 1:
        return np.array(maps)
    levels = np.arange(256) / 255
    linear = srgb_to_linear(levels).astype(np.float32)
    edges = np.interp((np.arange(255) + 0.5) / 255, levels, linear)  # midpoints of two levels, in display values
    small = np.empty((len(maps), size, size, 3), np.uint8)
    for row, one in enumerate(maps):
        mean = linear[one].reshape(size, factor, size, factor, 3).mean(axis=(1, 3))
        small[row] = np.searchsorted(edges, mean)
    return small


def folder_source(maps: np.ndarray, batch: int, *, seed: int) -> Source:
    """Every map once an epoch, in an order that depends on seed and epoch only."""
    if len(maps) < batch:
        raise ValueError(f"{len(maps)} maps for a batch of {batch}: give more maps or a smaller --batch")
    return lambda step: maps[np.sort(batch_rows(len(maps), batch, step, seed=seed))]


def drawn_source(draw: Callable[[int], np.ndarray], batch: int) -> Source:
    """Maps that `draw` makes when they are needed; each index is used once."""
    pool = ThreadPoolExecutor(os.cpu_count())

    def maps(step: int) -> np.ndarray:
        return np.stack(list(pool.map(draw, range(step * batch, (step + 1) * batch))))

    return maps


def check_mirror(model: FaceModel) -> None:
    """Raises ValueError when a map of this head mirrored left to right is not a valid map."""
    uv, mirror = np.asarray(model.uv), np.asarray(model.topology.mirror)
    corners, uv_corners = np.asarray(model.faces).ravel(), np.asarray(model.topology.uv_faces).ravel()
    place = np.full((len(model.mean), 2), np.nan)
    place[corners] = uv[uv_corners]
    gap = np.abs(place[mirror] - (place * [-1, 1] + [1, 0])).max(axis=1)
    if np.nanquantile(gap, 0.95) > 0.01:
        raise ValueError("this head's UV layout is not symmetric: train without --mirror")

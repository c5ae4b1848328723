"""Files that say which vertices are the face, the ears, and so on: FLAME's `FLAME_masks.pkl`, and others like it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facejax.face_model.formats._common import fail, open_container
from facejax.face_model.model import FaceModel
from facejax.face_model.regions import with_regions

WANTED = "give FLAME_masks.pkl, or a .npz or .pkl with a mask (V,) or a list of vertex numbers under each region's name"
_UNIONS = {"eyeballs": ("left_eyeball", "right_eyeball"), "ears": ("left_ear", "right_ear")}
_BESIDE = ("FLAME_masks.pkl", "FLAME_masks/FLAME_masks.pkl")


def masks_beside(model: Path) -> Path | None:
    """FLAME's masks in the folder of the model, if they are there."""
    return next((path for name in _BESIDE if (path := model.parent / name).is_file()), None)


def with_masks(model: FaceModel, path: Path) -> FaceModel:
    """The model with the regions of a mask file, under their names, in place of its own.

    Left and right eyeballs and ears are also put together ("eyeballs", "ears"), and eyeballs are no part of "face".
    What the file does not name is added, see `with_regions`. Raises FileNotFoundError, or ValueError: one line.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of masks")
    with open_container(path) as data:
        masks = {name: _mask(path, data, name, len(model.mean)) for name in data}
    if "face" not in masks:
        fail(path, f"no region 'face' (it has {', '.join(sorted(masks)[:8]) or 'none'})", WANTED)
    for name, sides in _UNIONS.items():
        if name not in masks and all(side in masks for side in sides):
            masks[name] = np.maximum(*(masks[side] for side in sides))
    if "eyeballs" in masks:
        masks["face"] = np.minimum(masks["face"], 1 - masks["eyeballs"])
    return with_regions(model, masks)


def _mask(path: Path, data: Mapping[str, Any], name: str, count: int) -> np.ndarray:
    """A mask from one entry: as it is, or from vertex numbers."""
    value = np.asarray(data[name]).reshape(-1)
    if value.dtype.kind == "b" or (value.dtype.kind == "f" and len(value) == count):
        if len(value) != count:
            fail(path, f"{name!r} is a mask of {len(value)} vertices, but the model has {count}", WANTED)
        return np.clip(np.nan_to_num(value.astype(np.float64)), 0.0, 1.0)
    mask = np.zeros(count)
    if len(value):
        if value.dtype.kind not in "iu":
            fail(path, f"{name!r} holds no vertex numbers ({value.dtype})", WANTED)
        if value.min() < 0 or value.max() >= count:
            fail(path, f"{name!r} points outside the model's {count} vertices", "give the masks of this very model")
        mask[value.astype(np.int64)] = 1.0
    return mask

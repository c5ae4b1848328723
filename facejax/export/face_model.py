"""A face model as a .npz file of plain arrays, for `facejax.load_face_model`."""

from pathlib import Path

import numpy as np

from facejax.atomic import atomic_path
from facejax.face_model import FaceModel
from facejax.face_model.formats.plain import BASES, model_arrays


def save_face_model(path: str | Path, model: FaceModel, *, half: bool = False, made_from: str = "") -> Path:
    """Write a complete face model: arrays, names, regions, landmarks. `load_face_model` reads the same model again.

    An existing file is replaced atomically.

    Args:
      path: of the file.
      model: the face model.
      half: store the bases in 16 bits (11 bits of precision, up to 65504 mm), which halves the size.
      made_from: a note about the model's source.

    Raises ValueError for an albedo that is no `LinearAlbedo`, and for numbers beyond 16 bits.
    """
    path, arrays = Path(path), model_arrays(model)
    for name in BASES if half else ():
        if name in arrays:
            if np.abs(arrays[name]).max(initial=0) > np.finfo(np.float16).max:
                raise ValueError(f"{path}: {name} exceeds the largest 16-bit number; save without half")
            arrays[name] = arrays[name].astype(np.float16)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, made_from=np.array(made_from))
    return path

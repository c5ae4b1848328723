"""The head that ships with facejax: `assets/default_head.npz`, its encoding and its reader.

Displacements are stored as 16-bit multiples of a step, with low and high bytes apart (which compresses better), UV and
masks as 16- and 8-bit fractions, albedo as bytes. Built by `experiments/build_default_head.py`.
"""

from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facejax.face_model.make import make_face_model
from facejax.face_model.model import FaceModel
from facejax.face_model.morphable import truncate

FORMAT = 1
STEP = 0.004  # mm: resolution of stored displacements
UV_STEPS = 65536


def load_default_head(*, identity: int | None = None, expression: int | None = None) -> FaceModel:
    """The shipped head: a free face, ears, scalp and neck with eyeballs, in mm, on its own symmetric topology.

    Identity coefficients are standard deviations. Expressions are named blendshapes with weights in [0, 1]; the names
    are ARKit's, with browInnerUp and cheekPuff split into left and right. `identity` and `expression` keep the first
    components only. The file is read once.
    """
    return truncate(_load(), identity=identity, expression=expression)


@lru_cache(maxsize=1)
def _load() -> FaceModel:
    with as_file(files("facejax.assets") / "default_head.npz") as path:
        return read_head(path)


def read_head(path: Path) -> FaceModel:
    """Read a head that `write_default_head` wrote. Raises ValueError for a file of another kind or version."""
    with np.load(path, allow_pickle=False) as z:
        if "facejax_head" not in z or int(z["facejax_head"]) != FORMAT:
            raise ValueError(f"{path}: not a facejax head of format {FORMAT}; rebuild it with build_default_head.py")
        names = [str(name) for name in z["region_names"]]
        albedo = None
        if "albedo_mean" in z:
            mean, basis = z["albedo_mean"] / np.float32(255), z["albedo_basis"].astype(np.float32)
            scale = z["albedo_scale"].astype(np.float32).reshape(-1, *[1] * mean.ndim)
            albedo = mean, basis * scale, z["albedo_std"]
        std = z["identity_std"]
        return make_face_model(
            "facejax-head",
            z["mean"],
            z["faces"],
            identity_basis=unpack(z["identity"]) / std[:, None, None],
            identity_std=std,
            expression_basis=unpack(z["expression"]),
            expression_names=tuple(str(name) for name in z["expression_names"]),
            blendshapes=True,
            albedo=albedo,
            uv=z["uv"] / np.float32(UV_STEPS),
            uv_faces=z["uv_faces"],
            landmark_faces=z["landmark_faces"],
            landmark_weights=z["landmark_weights"],
            contour_faces=z["contour_faces"],
            contour_weights=z["contour_weights"],
            contour_direction=z["contour_direction"],
            regions=dict(zip(names, z["regions"] / np.float32(255), strict=True)),
            mirror=z["mirror"],
            face_part=z["face_part"],
            part_names=tuple(str(name) for name in z["part_names"]),
        )


def write_default_head(path: Path, *, albedo: Mapping[str, np.ndarray] | None, **arrays: Any) -> None:
    """Encode the arrays of a head into one .npz, named as in `make_face_model`; albedo has mean, basis and std."""
    std = np.asarray(arrays["identity_std"], np.float32)
    masks = arrays["regions"]
    stored = {
        "facejax_head": np.int32(FORMAT),
        "mean": np.asarray(arrays["mean"], np.float32),
        "uv": np.round(np.asarray(arrays["uv"]) * UV_STEPS).astype(np.uint16),
        "identity": pack(np.asarray(arrays["identity_basis"]) * std[:, None, None]),
        "identity_std": std,
        "expression": pack(arrays["expression_basis"]),
        "expression_names": np.array(arrays["expression_names"]),
        "part_names": np.array(arrays["part_names"]),
        "region_names": np.array(sorted(masks)),
        "regions": np.stack([np.round(masks[name] * 255).astype(np.uint8) for name in sorted(masks)]),
        **{name: np.asarray(arrays[name], np.int32) for name in ("faces", "uv_faces", "mirror", "face_part")},
        **{name: np.asarray(arrays[name], np.int32) for name in ("landmark_faces", "contour_faces")},
        **{
            name: np.asarray(arrays[name], np.float32)
            for name in ("landmark_weights", "contour_weights", "contour_direction")
        },
    }
    if albedo is not None:
        stored |= _pack_albedo(albedo)
    with open(path, "wb") as file:
        np.savez_compressed(file, **stored)


def _pack_albedo(albedo: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    basis = np.asarray(albedo["basis"], np.float32)
    scale = np.maximum(np.abs(basis).reshape(len(basis), -1).max(1), 1e-12) / 127
    coded = np.round(basis / scale.reshape(-1, *[1] * (basis.ndim - 1))).astype(np.int8)
    return {
        "albedo_mean": np.round(np.clip(albedo["mean"], 0, 1) * 255).astype(np.uint8),
        "albedo_basis": coded,
        "albedo_scale": scale.astype(np.float32),
        "albedo_std": np.asarray(albedo["std"], np.float32),
    }


def pack(values: Float[np.ndarray, "K V 3"]) -> np.ndarray:
    """(2, 3, K, V) bytes: low and high halves of the 16-bit multiples of `STEP`, one coordinate after another."""
    steps = np.round(np.asarray(values, np.float64) / STEP)
    if np.abs(steps).max(initial=0) > 32767:
        raise ValueError(f"a displacement is larger than {32767 * STEP:.0f} mm: is the unit millimetres?")
    coded = np.ascontiguousarray(np.moveaxis(steps.astype("<i2"), 2, 0))
    return np.moveaxis(coded[..., None].view(np.uint8), -1, 0)


def unpack(planes: np.ndarray) -> Float[np.ndarray, "K V 3"]:
    """Inverse of `pack`, up to half a `STEP`."""
    steps = planes[0].astype(np.int16) | (planes[1].astype(np.int16) << 8)
    return np.moveaxis(steps, 0, 2) * np.float32(STEP)

"""`FaceParams` as a .npz file: plain arrays, no pickles, with a schema name and version."""

import io
import math
import zipfile
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.atomic import atomic_path
from facejax.camera import PerspectiveCamera, Pose, WeakPerspectiveCamera
from facejax.face_model.model import FaceParams
from facejax.fitting.ingredients import LINEAR

SCHEMA = "facejax.face_params"
VERSION = 1


class SavedParams(NamedTuple):
    """The content of a parameter file."""

    params: FaceParams
    model: str  # the name of their face model
    appearance: str  # the name of their appearance in a recipe's stages; "linear": the face model's own albedo


def save_params(path: str | Path, params: FaceParams, model: str, appearance: str = LINEAR) -> None:
    """Write the parameters of one face or a batch, with the names of their model and appearance, atomically.

    The array "albedo" holds the appearance's blocks, one after the other; "blocks" says how to split it.

    Args:
        path: of the .npz file.
        params: what to write.
        model: the name of their face model.
        appearance: the name of their appearance in a recipe's stages; "linear" is the face model's own albedo.
    """
    camera = params.camera
    perspective = isinstance(camera, PerspectiveCamera)
    arrays = {
        "schema": np.array(SCHEMA),
        "version": np.array(VERSION),
        "model": np.array(model),
        "albedo_model": np.array(appearance),
        "blocks": np.array(_block_lines(params), dtype=str),
        "camera": np.array("perspective" if perspective else "weak_perspective"),
        "identity": params.identity,
        "expression": params.expression,
        "albedo": appearance_row(params),
        "rotation": params.pose.rotation,
        "translation": params.pose.translation,
        "focal" if perspective else "scale": camera.focal if isinstance(camera, PerspectiveCamera) else camera.scale,
        "principal": camera.principal,
        "light": params.light,
    } | ({} if params.gaze is None else {"gaze": params.gaze})
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{name: np.asarray(value) for name, value in arrays.items()})


def load_params(path: str | Path) -> SavedParams:
    """Read parameters exactly as saved. `facejax.load_face` also gives the face model and the appearance.

    A face without a gaze has no such array in its file. Files written before version 0.1.0 do not say how to split the
    appearance's blocks: they give one block, "albedo".

    Raises FileNotFoundError, or ValueError if the file is no parameter file of a version that this library reads.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such parameter file")
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:  # numpy leaves a broken file open
            arrays = {name: file[name] for name in file.files}
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: not a parameter file, or damaged; write it with save_params") from error
    schema, version = str(arrays.get("schema", "none")), int(arrays.get("version", 0))
    if schema != SCHEMA:
        raise ValueError(f"{path}: has schema {schema!r}, expected {SCHEMA!r}; write it with save_params")
    if version != VERSION:
        raise ValueError(f"{path}: has version {version}, this library reads {VERSION}; use the facejax that wrote it")
    try:
        return SavedParams(_assemble(arrays), str(arrays["model"]), str(arrays.get("albedo_model", LINEAR)))
    except KeyError as error:
        raise ValueError(f"{path}: lacks the array {error.args[0]!r}; write it with save_params") from error


def _assemble(arrays: dict[str, np.ndarray]) -> FaceParams:
    get = {name: jnp.asarray(value) for name, value in arrays.items() if value.dtype.kind == "f"}
    if str(arrays["camera"]) == "perspective":
        camera = PerspectiveCamera(get["focal"], get["principal"])
    else:
        camera = WeakPerspectiveCamera(get["scale"], get["principal"])
    return FaceParams(
        identity=get["identity"],
        expression=get["expression"],
        appearance=_blocks(get["albedo"], [str(line) for line in arrays.get("blocks", ["albedo -1"])]),
        pose=Pose(get["rotation"], get["translation"]),
        camera=camera,
        light=get["light"],
        gaze=get.get("gaze"),
    )


def appearance_row(params: FaceParams) -> Float[np.ndarray, "*B A"]:
    """All blocks of the appearance, one after the other."""
    batch = params.identity.shape[:-1]
    rows = [np.asarray(block, np.float32).reshape(*batch, -1) for block in params.appearance.values()]
    return np.concatenate([np.zeros((*batch, 0), np.float32), *rows], axis=-1)


def _block_lines(params: FaceParams) -> list[str]:
    """The name and shape of each block of one face, such as "latents 8 256"."""
    axes = params.identity.ndim - 1
    return [" ".join([name, *map(str, block.shape[axes:])]) for name, block in params.appearance.items()]


def _blocks(row: Float[Array, "*B A"], lines: list[str]) -> dict[str, Array]:
    """Split a row of numbers into blocks, as `_block_lines` describes them."""
    found, begin = {}, 0
    for line in lines:
        name, *shape = line.split()
        sides = [int(side) for side in shape]
        count = row.shape[-1] if sides == [-1] else math.prod(sides)
        found[name] = row[..., begin : begin + count].reshape(*row.shape[:-1], *sides)
        begin += count
    return found

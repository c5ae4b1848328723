"""`facejax measure-textures`: how evenly lit texture maps are, how much of them was seen, how diverse a set is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import tyro

from facejax import ingredients
from facejax.export import versions, write_summary
from facejax.face_model.load import load_face_model
from facejax.face_model.texture_layout import with_layout
from facejax.fitting import identity_network
from facejax.images import read_image
from facejax.programs import jit
from facejax.regression.appearance import appearance, frontal_params, portrait_params, recognised
from facejax.regression.regressor import load_regressor
from facejax.texture.metrics import KERNEL, brightness_symmetry_error, identity_spread
from facejax.unwrap.masks import scaled_kernel

SPREAD = "standard deviation of {} of frontal renders, per dimension, mean over dimensions"


@dataclass(frozen=True)
class MeasureTextures:
    """BS error and valid ratio of each map, and the spread of the whole set, as a table (or --json).

    The BS error's kernel is 55 texels of a 1024 map, scaled with the map. The valid ratio is the share of a map's
    texels that its mask marks: <stem>_mask.png beside <stem>.png, or filled.png beside albedo.png. The identity spread
    is not ArcFace's: maps are rendered on the mean face and seen by dlib's recogniser, where facejax[identity] is
    installed, or else by the shipped regressor's encoder, so it compares with numbers of this command alone. Example:

        facejax measure-textures textures --json textures.json
    """

    maps: tyro.conf.Positional[tuple[Path, ...]]
    """texture maps, square; a folder stands for the albedo.png in it, or in its folders"""
    model: str = "default"
    """face model in whose layout the maps are"""
    spread: bool = True
    """measure the set's identity spread (needs maps in the model's layout)"""
    json: Path | None = None
    """also write everything to this file"""


def run_measure_textures(command: MeasureTextures) -> int:
    """Prints a table; returns the exit status."""
    paths = list_maps(command.maps)
    look, seen = appearance_of(command.model) if command.spread and len(paths) > 1 else (None, "")
    rows, vectors = [], []
    for path in paths:
        texture = read_map(path)
        rows.append({"map": str(path), **measure(path, texture)})
        if look is not None:
            vectors.append(np.asarray(look(texture)))
    spread = float(identity_spread(jnp.asarray(np.stack(vectors)))) if vectors else None
    measured_as = SPREAD.format(seen) if seen else None
    print(table(rows, spread, measured_as))
    if command.json is not None:
        means = {"bs": _mean(row["bs"] for row in rows), "valid": _mean(row["valid"] for row in rows)}
        spread_of = {"value": spread, "measured_as": measured_as}
        content = {"maps": rows, "means": means, "identity_spread": spread_of, "versions": versions()}
        write_summary(command.json, content)
    return 0


def list_maps(paths: Sequence[Path]) -> list[Path]:
    """List the files; a folder stands for its own albedo.png, or for those of the folders in it (not filtered/)."""
    if not paths:
        raise ValueError("no maps: name at least one")
    found = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        own = path / "albedo.png"
        inside = [own] if own.is_file() else sorted(path.glob("*/albedo.png"))
        if not inside:
            raise ValueError(f"{path}: holds no albedo.png, nor do its folders: name the maps themselves")
        found += inside
    return found


def read_map(path: Path) -> np.ndarray:
    """Raises ValueError for a map that is not square."""
    texture = read_image(path)
    if texture.shape[0] != texture.shape[1] or texture.shape[0] < 16:
        size = f"{texture.shape[1]} x {texture.shape[0]}"
        raise ValueError(f"{path}: {size} pixels: texture maps are square, with at least 16 texels a side")
    return texture


def measure(path: Path, texture: np.ndarray) -> dict[str, int | float | None]:
    """The figures of one map; `valid` is None without a mask."""
    kernel = scaled_kernel(KERNEL, len(texture), least=3)
    return {"size": len(texture), "bs": float(_bs_error(texture, kernel=kernel)), "valid": valid_ratio(path, texture)}


_bs_error = jit(brightness_symmetry_error, static_argnames=("kernel", "sigma"))


def valid_ratio(path: Path, texture: np.ndarray) -> float | None:
    """Share of the texels that the mask beside a map marks; None without one."""
    name = "filled.png" if path.name == "albedo.png" else f"{path.stem}_mask.png"
    mask_path = path.parent / name
    if not mask_path.is_file():
        return None
    mask = read_image(mask_path)[..., 0]
    if mask.shape != texture.shape[:2]:
        raise ValueError(
            f"{mask_path}: {mask.shape[1]} x {mask.shape[0]} texels, but its map has {len(texture)} a side"
        )
    return float(np.mean(mask > 0.5))


def appearance_of(name: str) -> tuple[Callable[[np.ndarray], Any], str]:
    """A function from a map to its identity vector, and the name of such vectors.

    They are those of dlib's recogniser where it is installed, or else of the shipped regressor.
    """
    model, recogniser = with_layout(load_face_model(name)), ingredients.load_recogniser()
    if recogniser is None:
        network: Any = load_regressor()
        params, compiled, seen = frontal_params(model, network), jit(appearance), "the shipped regressor's features"
    else:
        network = identity_network(recogniser)
        params, compiled, seen = portrait_params(model), jit(recognised), "dlib's descriptors"
    return lambda texture: compiled(network, model, params, jnp.asarray(texture)), seen


def table(rows: Sequence[dict[str, Any]], spread: float | None, measured_as: str | None) -> str:
    """One line per map, their mean, and the spread."""
    width = max(len(row["map"]) for row in rows)
    lines = [f"{'map':<{width}}  size      BS  valid"]
    lines += [_line(row["map"], f"{row['size']:d}", row["bs"], row["valid"], width) for row in rows]
    if len(rows) > 1:
        lines.append(_line("mean", "", _mean(row["bs"] for row in rows), _mean(row["valid"] for row in rows), width))
    if spread is not None:
        lines.append(f"identity spread {spread:.4f} ({measured_as})")
    return "\n".join(lines)


def _line(name: str, size: str, bs: float | None, valid: float | None, width: int) -> str:
    seen = "    -" if valid is None else f"{100 * valid:3.0f} %"
    return f"{name:<{width}}  {size:>4}  {bs:6.2f}  {seen}"


def _mean(values: Any) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

"""JSON summaries, and the versions that made them."""

import dataclasses
import json
import math
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from facejax.atomic import write_text


def write_summary(path: str | Path, content: dict[str, Any]) -> None:
    """Write a nested dict as strict JSON, atomically.

    Arrays and scalars of numpy and jax become lists and numbers, dataclasses objects and paths strings; NaN and
    infinity, which JSON lacks, become null. Raises TypeError, with the place, for a value that has no JSON form.
    """
    write_text(path, json.dumps(_plain(content, "summary"), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def versions() -> dict[str, str]:
    """Versions of python, jax, numpy and facejax, and the device that jax computes on."""
    device = jax.devices()[0]
    return {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
        "facejax": _facejax_version(),
        "device": f"{device.platform}: {device.device_kind}",
    }


def _facejax_version() -> str:
    try:
        return version("facejax")
    except PackageNotFoundError:
        return "unknown (not installed)"


def _plain(value: Any, place: str) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{k}]") for k, item in enumerate(value)]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return _plain(np.asarray(value).tolist(), place)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    raise TypeError(f"{place}: a {type(value).__name__} has no JSON form; pass numbers, strings, lists or dicts")

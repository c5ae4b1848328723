"""How many faces are fitted at once."""

import os
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import jax
import numpy as np

from facejax.fitting import RECIPES, Recipe
from facejax.fitting.recipes import DEFAULT
from facejax.images import Photo
from facejax.images.read import held_bytes

FACE_BYTES = {"landmarks": 20e6, "linear": 35e6}  # of a compiled fit at 224 pixels, as reported by XLA
PAINTED_BYTES = 120e6  # of recipes with a texture decoder (65 to 109 MB) or a generative renderer
SHARE = 0.6  # of the free memory
MOST = {"cpu": 16}  # faces per device; more were not tried
ELSEWHERE = 128  # not measured yet
GROUPS = 3  # groups whose photographs are in memory: one is read, one fitted, one written
PHOTOS = 0.3  # share of the host's memory that they may take
LOOKED_AT = 8  # photographs whose sizes are read


def choose_batch(recipe: str | None, count: int, held: int = 0) -> int:
    """Choose the batch for `count` photographs on this process's devices: a power of two per device, or all of them.

    It is an estimate: a batch that is too large is halved when memory runs out (`facejax.engine.fitter`).

    Args:
        recipe: its name; None: `DEFAULT`.
        count: of the photographs.
        held: bytes of a photograph, which stays in the host's memory until its results are written.
    """
    known = DEFAULT if recipe is None else RECIPES[recipe]
    devices = jax.local_devices()
    fits = int(SHARE * free_bytes(devices[0]) / face_bytes(known))
    most = min(fits, MOST.get(devices[0].platform, ELSEWHERE))
    if held:
        most = min(most, int(PHOTOS * host_bytes() / (GROUPS * held * len(devices))))
    each = 1 << max(most.bit_length() - 1, 0)
    return max(min(each * len(devices), count), 1)


def face_bytes(recipe: Recipe) -> float:
    """Memory of one face during a fit, in bytes, approximately."""
    painted = any(stage.appearance != "linear" for stage in recipe.stages)
    known = FACE_BYTES["linear"] if recipe.stages else FACE_BYTES["landmarks"]
    return (PAINTED_BYTES if painted else known) * max((recipe.size / 224) ** 2, 1.0)


def photo_bytes(photos: Sequence[Photo]) -> int:
    """Bytes of the largest of some of the photographs, by the files' headers; 0 if none of them can be read."""
    found = [0]
    for k in np.linspace(0, len(photos) - 1, min(LOOKED_AT, len(photos))).astype(int):
        with suppress(Exception):  # reported when the photograph is read
            found.append(held_bytes(photos[k]))
    return max(found)


def free_bytes(device: Any) -> float:
    """Free memory: of an accelerator what jax may take, of a host each device's share."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return host_bytes() / jax.local_device_count()


def host_bytes() -> float:
    """Free memory of the host."""
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (ValueError, OSError, AttributeError):  # not a POSIX system
        return 4e9

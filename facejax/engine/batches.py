"""How many faces at once."""

import os
from typing import Any

import jax

from facejax.engine.worker import FitOptions
from facejax.fitting import RECIPES, Recipe
from facejax.fitting.recipes import DEFAULT

FACE_BYTES = {"landmarks": 20e6, "linear": 35e6}  # of a compiled fit at 224 pixels, by XLA's own count
PAINTED_BYTES = 120e6  # of recipes with a texture decoder (65 to 109 MB) or a generative renderer
SHARE = 0.6  # of the memory that is there
MOST = {"cpu": 16}  # faces a device; more were not tried
ELSEWHERE = 128  # not measured yet


def choose_batch(options: FitOptions, count: int) -> int:
    """Faces at once for `count` photographs on this process's devices: a power of two for each, or all of them.

    An estimate: a fit that is larger after all is halved when memory runs out (`facejax.engine.worker`).
    """
    recipe = DEFAULT if options.recipe is None else RECIPES[options.recipe]
    devices = jax.local_devices()
    fits = int(SHARE * free_bytes(devices[0]) / face_bytes(recipe))
    most = min(fits, MOST.get(devices[0].platform, ELSEWHERE))
    each = 1 << max(most.bit_length() - 1, 0)
    return max(min(each * len(devices), count), 1)


def face_bytes(recipe: Recipe) -> float:
    """What one face takes while it is fitted, about."""
    painted = any(stage.albedo != "linear" for stage in recipe.stages)
    known = FACE_BYTES["linear"] if recipe.stages else FACE_BYTES["landmarks"]
    return (PAINTED_BYTES if painted else known) * max((recipe.size / 224) ** 2, 1.0)


def free_bytes(device: Any) -> float:
    """Of an accelerator what jax may take, of a host what its devices have each."""
    stats = device.memory_stats() if device.platform != "cpu" else None
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / jax.local_device_count()
    except (ValueError, OSError, AttributeError):  # not a POSIX system
        return 4e9

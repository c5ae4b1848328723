"""Compiled fits: one cached program per recipe and number of faces, run batch by batch on all devices."""

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from facejax.camera import PerspectiveCamera, Pose
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting.crops import Crops
from facejax.fitting.fit import FittedFaces, busy_faces, faces_together, fit_crops
from facejax.fitting.ingredients import NO_INGREDIENTS, Ingredients
from facejax.fitting.recipe import Recipe
from facejax.fitting.recipes import LINEAR
from facejax.fitting.terms import TERMS, Term
from facejax.programs import compile_cached

log: logging.Logger = logging.getLogger(__name__)

BATCH = "batch"  # the axis along which devices share a batch


def fit_batches(
    model: FaceModel,
    crops: Crops,
    *,
    recipe: Recipe = LINEAR,
    ingredients: Ingredients = NO_INGREDIENTS,
    terms: Mapping[str, Term] = TERMS,
    batch: int | None = None,
) -> tuple[FittedFaces, dict[str, float]]:
    """Fit all crops, a batch at a time, on all local devices.

    Accelerators fit `batch` faces in one program (None: all). A processor runs one program for just as many faces as
    keep it busy (`busy_faces`), again and again, so that a batch costs what its faces cost. The last group is padded
    with copies of the last face, so that no second program is needed.

    Args:
        model, crops, recipe, ingredients, terms: as for `fit_crops`.
        batch: faces at once on accelerators.

    Returns: the fitted faces in the order of the crops, and the seconds spent in "compile" and "fit".
    """
    count, devices = len(crops.scale), jax.local_devices()
    size = batch or count
    if jax.default_backend() == "cpu":
        size = min(size, busy_faces() * len(devices))
    results, seconds = [], {"compile": 0.0, "fit": 0.0}
    for begin in range(0, count, size):
        rows = np.minimum(np.arange(begin, begin + size), count - 1)
        some = crops if size == count else jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], crops)
        model, some, ingredients = over_devices(model, jax.device_put(some), ingredients)  # moves each of them once
        start = time.perf_counter()
        program = compile_fit(model, some, recipe=recipe, ingredients=ingredients, terms=terms)
        compiled = time.perf_counter()
        results.append(jax.block_until_ready(program(model, some, ingredients)))
        seconds["compile"] += compiled - start
        seconds["fit"] += time.perf_counter() - compiled
    if len(results) == 1 and len(results[0]) == count:
        return results[0], seconds
    host = jax.device_get(results)  # joined on the host: on the device each shape would compile a program
    return jax.device_put(jax.tree.map(lambda *leaves: np.concatenate(leaves)[:count], *host)), seconds


def compile_fit(
    model: FaceModel,
    crops: Crops,
    *,
    recipe: Recipe = LINEAR,
    ingredients: Ingredients = NO_INGREDIENTS,
    terms: Mapping[str, Term] = TERMS,
) -> Callable[[FaceModel, Crops, Ingredients], FittedFaces]:
    """`fit_crops` compiled for arrays of these shapes; cached, so a second batch of the same size starts at once.

    Args:
        model, crops, recipe, ingredients, terms: as for `fit_crops`.

    Returns: a function of a face model, crops and ingredients of the same shapes.
    """
    fit = lambda model, crops, ingredients: fit_crops(  # noqa: E731
        model, crops, recipe=recipe, ingredients=ingredients, terms=terms
    )
    sharding = getattr(crops.scale, "sharding", None)
    if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
        # Each device runs the program on its own faces: none waits for another's loops, and kernels are not split.
        specs = (P(), P(BATCH), P())
        fit = jax.shard_map(fit, mesh=sharding.mesh, in_specs=specs, out_specs=P(BATCH), check_vma=False)
    own = tuple((name, terms[name]) for name in sorted(terms) if terms[name] is not TERMS.get(name))
    decides = recipe, faces_together(recipe, len(crops.scale)), own
    parts = (FittedFaces, FaceParams, Pose, PerspectiveCamera)
    program = compile_cached(fit, model, crops, ingredients, name="fit", closes_over=decides, results=parts)
    return _OneAtATime(program) if jax.default_backend() == "cpu" else program


class _OneAtATime:
    """A compiled fit that several threads may call. On a processor they take turns.

    Fits that run side by side could deadlock: jaxlib's LAPACK calls (before 0.11) hold a thread of XLA's pool while
    they wait for work that they have put into the same pool.
    """

    _turn = threading.Lock()  # shared by all fits

    def __init__(self, program: Any):
        self.program = program

    def __call__(self, *arguments: Any) -> Any:
        with self._turn:
            return jax.block_until_ready(self.program(*arguments))

    def __getattr__(self, name: str) -> Any:  # memory_analysis and the like
        return getattr(self.program, name)


def over_devices(
    model: FaceModel,
    crops: Crops,
    ingredients: Ingredients = NO_INGREDIENTS,
    *,
    devices: Sequence[jax.Device] | None = None,  # type: ignore[valid-type]
) -> tuple[FaceModel, Crops, Ingredients]:
    """Spread the faces over all local devices, and copy the model and the ingredients to each.

    The last face is repeated until every device has the same number. With one device nothing is moved. A processor that
    is split into as many devices as it has cores needs NPROC=8 or so in the environment: XLA's pool has one thread per
    core, and each device's program may wait in one of them (`_OneAtATime`), so that none is left for the work.

    Args:
        model, crops, ingredients: the arguments of a compiled fit.
        devices: None: all local devices.

    Returns: the same three, on the devices.
    """
    count = len(crops.scale)
    devices = (jax.local_devices() if devices is None else devices)[:count]
    if len(devices) == 1:
        return model, crops, ingredients
    if devices[0].platform == "cpu" and len(devices) >= (os.cpu_count() or 1) and "NPROC" not in os.environ:
        threads = 4 * len(devices)
        log.warning("%d devices of one processor may wait for ever: start with NPROC=%d", len(devices), threads)
    mesh = Mesh(np.array(devices), (BATCH,))
    rows = np.minimum(np.arange(-(-count // len(devices)) * len(devices)), count - 1)
    filled = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], crops)
    model, ingredients = jax.device_put((model, ingredients), NamedSharding(mesh, P()))
    return model, jax.device_put(filled, NamedSharding(mesh, P(BATCH))), ingredients

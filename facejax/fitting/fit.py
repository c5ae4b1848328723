"""The fit of a batch of crops: one compiled program a recipe and batch size runs every stage."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from facejax.camera import PerspectiveCamera, Pose, transform_camera
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting.landmarks import JAW, FaceStart, box_size, fit_landmarks
from facejax.fitting.light import solve_skin
from facejax.fitting.recipe import Recipe
from facejax.fitting.recipes import LINEAR
from facejax.fitting.scene import Observation, face_mask, look
from facejax.fitting.stages import check_stage, run_stage, switch_albedo
from facejax.fitting.terms import TERMS
from facejax.fitting.tools import LINEAR as OWN
from facejax.fitting.tools import NO_TOOLS, Tools
from facejax.images.crop import apply_crop, face_crop
from facejax.images.read import as_photo
from facejax.objectives import psnr
from facejax.programs import compile_cached

log = logging.getLogger(__name__)

FACES = "faces"  # the axis along which devices share a batch


class Crops(NamedTuple):
    """What the compiled program takes, a batch of faces: square crops and where they come from."""

    images: Float[Array, "N S S 3"]  # display values
    valid: Float[Array, "N S S"]
    landmarks: Float[Array, "N 68 2"]  # pixels of the crop
    principal: Float[Array, "N 2"]  # the photograph's centre, pixels of the crop
    focal: Float[Array, " N"] | None  # pixels of the crop; None: unknown
    scale: Float[Array, " N"]  # crop = scale * photograph + offset
    offset: Float[Array, "N 2"]
    start: FaceStart | None = None  # None: nothing is known but the landmarks


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FittedFaces:
    """A batch of fitted faces; every leaf has a leading axis N (none for one face: `faces[0]`)."""

    params: FaceParams  # the camera is in pixels of the photograph
    landmarks: Float[Array, "*N 68 2"]  # projected, pixels of the photograph
    moving: Bool[Array, "*N"]  # the jaw landmarks follow the visible outline
    psnr_face: Float[Array, "*N"]  # dB over the rendered face
    losses: dict[str, Float[Array, "*N T"]]  # per stage: the weighted total before each step
    terms: dict[str, dict[str, Float[Array, "*N T"]]]  # per stage: the weighted terms that make it up
    converged: dict[str, Bool[Array, "*N"]]
    frozen: dict[str, Int[Array, "*N"]]  # per stage: the step from which on the face diverged and was held; or -1
    finite: Bool[Array, "*N"]  # parameters are finite, and no stage diverged
    stages: dict[str, FaceParams]  # per stage: the parameters after it, as `params`

    def __len__(self) -> int:
        return self.psnr_face.shape[0]

    def __getitem__(self, index: int) -> "FittedFaces":
        return jax.tree.map(lambda leaf: leaf[index], self)


def fit_crops(model: FaceModel, crops: Crops, *, recipe: Recipe = LINEAR, tools: Tools = NO_TOOLS) -> FittedFaces:
    """The whole fit of a batch of crops as one pure function: jit it, shard it, differentiate around it."""
    for stage in recipe.stages:
        check_stage(stage, tools, TERMS)
    one = partial(_fit_one, model, recipe=recipe, tools=tools)
    if len(crops.scale) == 1:  # a batch of one is traced in half the time without its axis
        return jax.tree.map(lambda leaf: leaf[None], one(jax.tree.map(lambda leaf: leaf[0], crops)))
    together = faces_together(recipe, len(crops.scale))
    if together == len(crops.scale):
        return jax.vmap(one)(crops)
    return jax.lax.map(one, crops, batch_size=None if together == 1 else together)


def faces_together(recipe: Recipe, count: int) -> int:
    """How many faces of a batch a program fits side by side; groups of so many follow each other.

    On accelerators, and where no pixels are looked at, all. A processor is kept busy by one face for every two cores;
    more only fill its caches. A divisor of `count`, so that no face is fitted in vain.
    """
    if jax.default_backend() != "cpu" or not recipe.stages:
        return count
    most = max((os.cpu_count() or 1) // 2, 1)
    return max(size for size in range(1, min(count, most) + 1) if count % size == 0)


def _fit_one(model: FaceModel, crop: Crops, *, recipe: Recipe, tools: Tools) -> FittedFaces:
    start = fit_landmarks(
        model,
        crop.landmarks,
        focal=crop.focal,
        principal=crop.principal,
        start=crop.start,
        contour=recipe.contour,
        priors=recipe.priors,
        steps=recipe.landmark_steps,
    )
    weights = jnp.where(jnp.arange(crop.landmarks.shape[0]) < JAW, 0.5, 1.0)
    weights = weights if crop.start is None else weights * crop.start.confidence
    seen = Observation(crop.images, crop.valid, crop.landmarks, weights, box_size(crop.landmarks), start.moving)
    params = solve_skin(model, start.params, seen, priors=recipe.priors)
    after, traces = {"landmarks": params}, {}
    drawn, albedo = model, OWN
    for stage in recipe.stages:
        if stage.albedo != albedo:
            albedo_model = tools.albedo(stage.albedo, model)
            drawn, params = switch_albedo(drawn, params, albedo_model, stage.start, photo=seen.image)
            albedo = stage.albedo
        params, traces[stage.name] = run_stage(drawn, params, seen, stage=stage, priors=recipe.priors, tools=tools)
        after[stage.name] = params
    scene = look(drawn, params, seen)
    finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
    frozen = {name: trace.frozen for name, trace in traces.items()}
    in_photo = lambda params: replace(  # noqa: E731
        params, camera=transform_camera(params.camera, 1 / crop.scale, -crop.offset / crop.scale)
    )
    return FittedFaces(
        params=in_photo(params),
        landmarks=(scene.landmarks - crop.offset[None]) / crop.scale,
        moving=start.moving,
        psnr_face=psnr(scene.rendering.color, crop.images, face_mask(drawn, scene.rendering) * crop.valid),
        losses={"landmarks": start.costs} | {name: trace.losses for name, trace in traces.items()},
        terms={name: trace.terms for name, trace in traces.items()},
        converged={"landmarks": start.converged} | {name: trace.converged for name, trace in traces.items()},
        frozen=frozen,
        finite=finite & jnp.all(jnp.array([step < 0 for step in frozen.values()], dtype=bool)),
        stages={name: in_photo(params) for name, params in after.items()},
    )


def model_after(model: FaceModel, recipe: Recipe, tools: Tools, stage: str | None = None) -> FaceModel:
    """The face model with the albedo that the parameters after a stage (None: the last) belong to."""
    albedo = albedo_after(recipe, stage)
    return model if albedo == OWN else replace(model, albedo=tools.albedo(albedo, model))


def albedo_after(recipe: Recipe, stage: str | None = None) -> str:
    """The name of the albedo model that the parameters after a stage (None: the last) belong to."""
    albedo = OWN
    for one in recipe.stages if stage != "landmarks" else ():
        albedo = one.albedo
        if one.name == stage:
            break
    return albedo


def prepare_crops(
    images: Sequence[np.ndarray],
    landmarks: Sequence[np.ndarray],
    *,
    recipe: Recipe = LINEAR,
    focal: Sequence[float] | float | None = None,
    start: FaceStart | None = None,
) -> Crops:
    """Cut the faces out of photographs (each (H, W, 3), see `as_photo`) by their landmarks ((68, 2), pixels).

    `focal`: the photographs' focal length in their own pixels, one for all or one each; None: unknown.
    `start`: what else is known of the faces, with a leading axis N.
    """
    if len(images) != len(landmarks):
        raise ValueError(f"{len(images)} photographs but {len(landmarks)} sets of landmarks: pass one set a photograph")
    if len(images) == 0:
        raise ValueError("no photographs to fit: pass at least one")
    focals = [focal] * len(images) if focal is None or isinstance(focal, int | float) else list(focal)
    cut = partial(_prepare_crop, recipe=recipe)
    crops = [cut(*one) for one in zip(range(len(images)), images, landmarks, focals, strict=True)]
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *crops)  # on the host: nothing to compile
    return Crops(**jax.device_put(stacked), start=start)


def _prepare_crop(
    index: int, image: np.ndarray, landmarks: np.ndarray, focal: float | None, *, recipe: Recipe
) -> dict[str, np.ndarray | None]:
    """What `Crops` has of one face, without the leading axis."""
    image, points = as_photo(image, f"photograph {index}"), np.asarray(landmarks, np.float32)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"landmarks of photograph {index} have shape {points.shape}: pass (68, 2) finite pixels")
    crop = face_crop(points, recipe.size, margin=recipe.margin)
    pixels, valid = apply_crop(image, crop, recipe.size)
    centre = np.array([[image.shape[1], image.shape[0]]], np.float32) / 2
    return {
        "images": pixels,
        "valid": valid,
        "landmarks": np.asarray(crop.apply_points(points)),
        "principal": np.asarray(crop.apply_points(centre))[0],
        "focal": None if focal is None else np.asarray(focal * crop.scale, np.float32),
        "scale": np.asarray(crop.scale),
        "offset": np.asarray(crop.offset),
    }


def compile_fit(
    model: FaceModel, crops: Crops, *, recipe: Recipe = LINEAR, tools: Tools = NO_TOOLS
) -> Callable[[FaceModel, Crops, Tools], FittedFaces]:
    """`fit_crops` compiled for arrays of these shapes; remembered, so a second batch of that size starts at once."""
    fit = lambda model, crops, tools: fit_crops(model, crops, recipe=recipe, tools=tools)  # noqa: E731
    sharding = getattr(crops.scale, "sharding", None)
    if isinstance(sharding, NamedSharding) and sharding.mesh.size > 1:
        # Each device runs the program of its own faces: none waits for another's loops, and kernels are not split.
        specs = (P(), P(FACES), P())
        fit = jax.shard_map(fit, mesh=sharding.mesh, in_specs=specs, out_specs=P(FACES), check_vma=False)
    decides = recipe, faces_together(recipe, len(crops.scale))
    parts = (FittedFaces, FaceParams, Pose, PerspectiveCamera)
    program = compile_cached(fit, model, crops, tools, name="fit", closes_over=decides, results=parts)
    return _OneAtATime(program) if jax.default_backend() == "cpu" else program


class _OneAtATime:
    """A compiled fit that several threads may call, of whom one after the other gets a processor's cores.

    Side by side they could wait for ever: jaxlib's LAPACK calls (before 0.11) wait in a thread of XLA's pool for what
    they put into the same pool, and as many at once as it has threads leave none to do it.
    """

    _turn = threading.Lock()  # all fits'

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
    tools: Tools = NO_TOOLS,
    *,
    devices: Sequence[jax.Device] | None = None,  # type: ignore[valid-type]
) -> tuple[FaceModel, Crops, Tools]:
    """The same with the faces spread over all local devices, each of which has the model and the tools.

    The last face is repeated until every device has as many. On one device nothing is moved. A processor that is split
    into as many devices as it has cores needs NPROC=8 or so in the environment: XLA's pool has a thread for each core,
    and each device's program may wait in one of them (`_OneAtATime`), so that none is left for the work.
    """
    count = len(crops.scale)
    devices = (jax.local_devices() if devices is None else devices)[:count]
    if len(devices) == 1:
        return model, crops, tools
    if devices[0].platform == "cpu" and len(devices) >= (os.cpu_count() or 1) and "NPROC" not in os.environ:
        threads = 4 * len(devices)
        log.warning("%d devices of one processor may wait for ever: start with NPROC=%d", len(devices), threads)
    mesh = Mesh(np.array(devices), (FACES,))
    rows = np.minimum(np.arange(-(-count // len(devices)) * len(devices)), count - 1)
    filled = jax.tree.map(lambda leaf: np.asarray(leaf)[rows], crops)
    model, tools = jax.device_put((model, tools), NamedSharding(mesh, P()))
    return model, jax.device_put(filled, NamedSharding(mesh, P(FACES))), tools

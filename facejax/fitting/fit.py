"""The fit of a batch of crops as one pure function: landmarks, light, then every stage of the recipe."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from facejax.camera import transform_camera
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.gaze import EYEBALLS
from facejax.fitting.crops import Crops
from facejax.fitting.gaze import look_at_seen
from facejax.fitting.ingredients import LINEAR as OWN
from facejax.fitting.ingredients import NO_INGREDIENTS, Ingredients
from facejax.fitting.landmarks import JAW, box_size, fit_landmarks, place_face
from facejax.fitting.light import solve_skin
from facejax.fitting.newton import Newton, run_newton
from facejax.fitting.recipe import Recipe
from facejax.fitting.recipes import LINEAR
from facejax.fitting.scene import Observation, Scene, face_mask, look
from facejax.fitting.stages import Stage, change_appearance, check_stage, run_stage
from facejax.fitting.surface_points import NO_POINTS, see
from facejax.fitting.terms import TERMS, Term
from facejax.objectives import psnr


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FittedFaces:
    """A batch of fitted faces; every leaf has a leading axis N (none for one face: `faces[0]`)."""

    params: FaceParams  # the camera is in pixels of the photograph
    landmarks: Float[Array, "*N 68 2"]  # projected, pixels of the photograph
    moving: Bool[Array, "*N"]  # the jaw landmarks follow the visible outline
    psnr_face: Float[Array, "*N"]  # dB where the photo shows the rendered face; NaN where that is almost nothing
    losses: dict[str, Float[Array, "*N T"]]  # per stage: the weighted total before each step
    terms: dict[str, dict[str, Float[Array, "*N T"]]]  # per stage: the weighted terms that make it up
    converged: dict[str, Bool[Array, "*N"]]
    diverged_at: dict[str, Int[Array, "*N"]]  # per stage: the step at which a diverging face was frozen; or -1
    finite: Bool[Array, "*N"]  # parameters are finite, and no stage diverged
    stages: dict[str, FaceParams]  # per stage: the parameters after it, as `params`
    identity_distance: Float[Array, "*N"] | None = None  # of the render over the photo, to the photo; None: no network
    gaze_seen: Bool[Array, "*N 2"] | None = None  # whether the right and the left eye were seen; None: no gaze
    shown: Float[Array, "*N"] | None = None  # share of the rendered face that the photo shows; None: no network looked

    def __len__(self) -> int:
        return self.psnr_face.shape[0]

    def __getitem__(self, index: int) -> "FittedFaces":
        return jax.tree.map(lambda leaf: leaf[index], self)


def fit_crops(
    model: FaceModel,
    crops: Crops,
    *,
    recipe: Recipe = LINEAR,
    ingredients: Ingredients = NO_INGREDIENTS,
    terms: Mapping[str, Term] = TERMS,
) -> FittedFaces:
    """The whole fit of a batch of crops as one pure function that can be jitted, sharded and differentiated.

    Args:
        model: which shapes a face can have.
        crops: the photographs, see `prepare_crops`.
        recipe: the stages.
        ingredients: the appearances and networks that the stages name.
        terms: the loss terms that they name.

    Raises ValueError for a recipe that names anything else.
    """
    for stage in recipe.stages:
        check_stage(stage, ingredients.appearance(stage.appearance, model), ingredients, terms)
    one = partial(_fit_one, model, recipe=recipe, ingredients=ingredients, terms=terms)
    if len(crops.scale) == 1:  # a batch of one is traced in half the time without its axis
        return jax.tree.map(lambda leaf: leaf[None], one(jax.tree.map(lambda leaf: leaf[0], crops)))
    together = faces_together(recipe, len(crops.scale))
    if together == len(crops.scale):
        return jax.vmap(one)(crops)
    return jax.lax.map(one, crops, batch_size=None if together == 1 else together)


def faces_together(recipe: Recipe, count: int) -> int:
    """How many faces of a batch a program fits side by side, before it goes on to the next group.

    All of them on accelerators, and for recipes without pixels. On a processor just as many as keep it busy
    (`busy_faces`), and a divisor of `count`, so that no face is fitted in vain.
    """
    if jax.default_backend() != "cpu" or not recipe.stages:
        return count
    return max(size for size in range(1, min(count, busy_faces()) + 1) if count % size == 0)


def busy_faces() -> int:
    """How many faces keep this machine's processor busy: one per two cores. More would only fill its caches."""
    return max((os.cpu_count() or 1) // 2, 1)


def _fit_one(
    model: FaceModel, crop: Crops, *, recipe: Recipe, ingredients: Ingredients, terms: Mapping[str, Term]
) -> FittedFaces:
    known = {"focal": crop.focal, "principal": crop.principal, "start": crop.start, "priors": recipe.priors}
    rough = place_face(model, crop.landmarks, **known)
    sight = see(ingredients.seers, model, rough, crop.images, crop.landmarks)
    points = sight.points if sight.points is not None and recipe.priors.points else NO_POINTS
    options = {"contour": recipe.contour, "steps": recipe.landmark_steps, "points": points}
    start = fit_landmarks(model, crop.landmarks, **known, **options)
    weights = jnp.where(jnp.arange(crop.landmarks.shape[0]) < JAW, 0.5, 1.0)
    weights = weights if crop.start is None else weights * crop.start.confidence
    size = box_size(crop.landmarks)
    seen = Observation(crop.images, crop.valid, crop.landmarks, weights, size, start.moving, crop.data, sight)
    see_gaze = _gaze_finder(model, crop, recipe, ingredients)
    params = solve_skin(model, see_gaze(start.params)[0], seen, priors=recipe.priors)
    after, traces = {"landmarks": params}, {}
    name, appearance = OWN, ingredients.appearance(OWN, model)
    for stage in recipe.stages:
        settings = {"stage": stage, "priors": recipe.priors, "ingredients": ingredients, "terms": terms}
        if stage.appearance != name:
            name, last, appearance = stage.appearance, appearance, ingredients.appearance(stage.appearance, model)
            begin = stage.start if isinstance(stage, Stage) else "near"
            params = change_appearance(params, last, appearance, seen.image, begin)
        if isinstance(stage, Newton):
            params, traces[stage.name] = run_newton(model, params, seen, **settings)
        else:
            params, traces[stage.name] = run_stage(model, params, seen, appearance, **settings)
        after[stage.name] = params
    params, gaze_seen = see_gaze(params)
    after[list(after)[-1]] = params
    scene = look(model, params, seen, appearance)
    finite = jnp.all(jnp.array([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(params)]))
    diverged_at = {name: trace.diverged_at for name, trace in traces.items()}
    in_photo = lambda params: replace(  # noqa: E731
        params, camera=transform_camera(params.camera, 1 / crop.scale, -crop.offset / crop.scale)
    )
    return FittedFaces(
        params=in_photo(params),
        landmarks=(scene.landmarks - crop.offset[None]) / crop.scale,
        moving=start.moving,
        psnr_face=psnr(scene.rendering.color, crop.images, face_mask(model, scene.rendering) * seen.comparable),
        losses={"landmarks": start.costs} | {name: trace.losses for name, trace in traces.items()},
        terms={name: trace.terms for name, trace in traces.items()},
        converged={"landmarks": start.converged} | {name: trace.converged for name, trace in traces.items()},
        diverged_at=diverged_at,
        finite=finite & jnp.all(jnp.array([step < 0 for step in diverged_at.values()], dtype=bool)),
        stages={name: in_photo(params) for name, params in after.items()},
        identity_distance=_identity_distance(scene, ingredients),
        gaze_seen=gaze_seen,
        shown=_shown(model, scene),
    )


def _gaze_finder(
    model: FaceModel, crop: Crops, recipe: Recipe, ingredients: Ingredients
) -> Callable[[FaceParams], tuple[FaceParams, Bool[Array, " 2"] | None]]:
    """A function that turns the eyes of a fitted face to where the network in the role "iris" sees them; one that
    changes nothing without such a network, or for a model without eyeballs."""
    network = ingredients.networks.get("iris")
    eyes = None
    if network is not None and EYEBALLS in model.regions:
        eyes = network.see(crop.images, crop.landmarks)
    confidence = None if crop.start is None else crop.start.confidence
    return lambda params: look_at_seen(model, params, eyes, confidence=confidence, priors=recipe.priors)


def _shown(model: FaceModel, scene: Scene) -> Float[Array, ""] | None:
    """How much of the rendered face nothing hides: no hair, glasses or hands."""
    if scene.seen.sight.shown is None:
        return None
    whole = face_mask(model, scene.rendering) * scene.seen.valid
    return jnp.sum(whole * scene.seen.sight.shown) / jnp.maximum(jnp.sum(whole), 1.0)


def _identity_distance(scene: Scene, ingredients: Ingredients) -> Float[Array, ""] | None:
    """How different the network in the role "identity" finds the person in the render; None without one."""
    network = ingredients.networks.get("identity")
    if network is None:
        return None
    photo = network.see(scene.seen.image, scene.seen.landmarks)
    return network.compare(network.see(scene.composite, scene.landmarks), photo, scene.mask)

"""A face fitted to one view and rendered into others, which shows what comparing with the fitted view alone hides.

Identity, expression, albedo and camera stay; only the pose follows the other view's landmarks.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import facejax
from facejax.appearance import Appearance, SurfaceAppearance
from facejax.camera import (
    PerspectiveCamera,
    Pose,
    axis_angle_to_quaternion,
    matrix_to_quaternion,
    project,
    quaternion_multiply,
    to_camera,
)
from facejax.evaluation.normalized_error import nme
from facejax.export.material import base_color
from facejax.face_model import FaceModel, FaceParams, LinearAlbedo, decode
from facejax.face_model.surface_landmarks import landmarks
from facejax.fitting import Ingredients, Recipe, prepare_crops, solve_light
from facejax.fitting.landmarks import box_size, landmark_noise, scaled_orthographic
from facejax.fitting.least_squares import levenberg_marquardt
from facejax.fitting.priors import PRIORS
from facejax.fitting.scene import Observation, look
from facejax.images import read_image
from facejax.lighting import uniform_light
from facejax.objectives import psnr
from facejax.programs import jit
from texture_fit.faces import draw_over, in_crop

VIEWS = ("left", "right")


@dataclass(frozen=True)
class Views:
    """The views of one person, with the regressor's results for each."""

    images: dict[str, np.ndarray]  # "front" and `VIEWS`
    seen: dict[str, facejax.RegressResult]


def read_views(folder: Path) -> Views | None:
    """<name>_front.png, _left.png and _right.png of a folder; None without them."""
    fronts = sorted(folder.glob("*_front.png"))
    if not fronts:
        return None
    files = {view: fronts[0].with_name(fronts[0].name.replace("_front", f"_{view}")) for view in ("front", *VIEWS)}
    images = {view: read_image(file) for view, file in files.items()}
    return Views(images, {view: facejax.regress(image) for view, image in images.items()})


def align_pose(
    model: FaceModel,
    params: FaceParams,
    points: Float[Array, "68 2"],
    confidence: Float[Array, " 68"],
    *,
    steps: int = 30,
) -> FaceParams:
    """The face in the pose that brings its landmarks (fixed points of the surface) to the given pixels.

    Args:
      model: the face model.
      params: the face, with the camera of the view.
      points: pixels.
      confidence: weights of the points.
      steps: of the least squares.
    """
    surface = landmarks(model, decode(model, params))
    sigma = jnp.maximum(PRIORS.noise, landmark_noise(confidence))
    rotation, scale, offset = scaled_orthographic(surface, points, sigma**-2)
    base, camera = matrix_to_quaternion(rotation), params.camera
    assert isinstance(camera, PerspectiveCamera)
    middle = (offset - camera.principal) * jnp.array([1.0, -1.0]) / scale
    start = jnp.concatenate([middle, -camera.focal[None] / scale])

    def pose(x: Float[Array, " 6"]) -> Pose:
        return Pose(quaternion_multiply(axis_angle_to_quaternion(x[:3]), base), start + x[3:])

    def residuals(x: Float[Array, " 6"]) -> Float[Array, " R"]:
        places = project(camera, to_camera(pose(x), surface))[:, :2]
        return ((places - points) / (sigma * box_size(points))[:, None]).reshape(-1)

    return replace(params, pose=pose(levenberg_marquardt(residuals, jnp.zeros(6), steps=steps).x))


@jit
def _see(
    model: FaceModel, params: FaceParams, seen: Observation, appearance: Appearance, confidence: Float[Array, " 68"]
):
    """With the pose aligned: the fit over the crop, its PSNR, that with the light solved for this view, landmarks."""
    posed = align_pose(model, params, seen.landmarks, confidence)
    lit = solve_light(model, posed, seen, appearance)
    scene, relit = (look(model, one, seen, appearance) for one in (posed, lit))
    values = (psnr(one.rendering.color, seen.image, one.mask) for one in (scene, relit))
    return scene.composite, *values, scene.landmarks


def side_views(
    model: FaceModel, views: Views, recipe: Recipe, ingredients: Ingredients
) -> tuple[dict[str, Any], dict[str, tuple[np.ndarray, np.ndarray]]]:
    """Measure a fit of the front view on all views.

    Args:
      model: the face model.
      views: of one person.
      recipe: of the fit.
      ingredients: what the recipe needs.

    Returns:
      Numbers (PSNR of the front view and of each side, with the front's light and with its own; landmark NME; the
      same with the maps of the face's skin, and with the photograph over them, unlit, where there are any), and for
      each view the photograph's crop and the fit over it.
    """
    result = facejax.fit(
        model, views.images["front"], recipe=recipe, start=views.seen["front"], ingredients=ingredients
    )
    numbers: dict[str, Any] = {"front": float(result.faces.psnr_face[0])}
    pictures, crops = {}, {}
    for view, image in views.images.items():
        points = [views.seen[view].landmarks[0]]
        crops[view] = jax.tree.map(lambda leaf: leaf[0], prepare_crops([image], points, recipe=recipe))
    front, face = crops["front"], result.faces[0].params
    params = in_crop(face, front)
    pictures["front"] = (front.images, draw_over(result.model, params, result.appearance, front.images))
    skin, maps, photo, light = result.material(0), result.appearance, result.appearance, face.light
    if skin is not None:  # the same face with the maps of its skin, under the light that suits them in the front view
        maps, photo = (_painted(base_color(*skin, look)) for look in ("material", "photo"))
        bare = replace(params, appearance={"albedo": jnp.zeros(0)})
        light, numbers["maps front"] = _light(result.model, bare, observation(front), maps)
    for view in VIEWS:
        crop, confidence = crops[view], jnp.asarray(views.seen[view].confidence[0])
        params, seen = in_crop(face, crop), observation(crop)
        drawn, value, relit, places = _see(result.model, params, seen, result.appearance, confidence)
        pictures[view] = (np.asarray(crop.images), np.asarray(drawn))
        error = float(nme(np.asarray(places), np.asarray(crop.landmarks)))
        numbers[view] = {"psnr": float(value), "psnr_own_light": float(relit), "landmark_nme": error}
        if skin is not None:
            bare = replace(params, appearance={"albedo": jnp.zeros(0)}, light=light)
            _, value, relit, _ = _see(result.model, bare, seen, maps, confidence)
            numbers[f"maps {view}"] = {"psnr": float(value), "psnr_own_light": float(relit)}
            _, value, _, _ = _see(result.model, replace(bare, light=uniform_light()), seen, photo, confidence)
            numbers[f"photo {view}"] = {"psnr": float(value)}
    return numbers, {view: (np.asarray(photo), np.asarray(drawn)) for view, (photo, drawn) in pictures.items()}


def _painted(texture: Float[np.ndarray, "T T 3"]) -> Appearance:
    return SurfaceAppearance(LinearAlbedo(jnp.asarray(texture), jnp.zeros((0, *texture.shape)), jnp.zeros(0)))


def observation(crop: Any) -> Observation:
    """A view as the fit sees it, all of its landmarks equally sure."""
    size = box_size(crop.landmarks)
    return Observation(crop.images, crop.valid, crop.landmarks, jnp.ones(68), size, jnp.asarray(False))


@jit
def _light(model: FaceModel, params: FaceParams, seen: Observation, appearance: Appearance):
    """The light that suits an appearance, and the PSNR with it."""
    lit = solve_light(model, params, seen, appearance)
    scene = look(model, lit, seen, appearance)
    return lit.light, psnr(scene.rendering.color, seen.image, scene.mask)

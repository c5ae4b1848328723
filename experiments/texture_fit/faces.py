"""Annotated photographs, fitted in batches, and the measurements of each."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from facejax.appearance import Appearance
from facejax.camera import transform_camera
from facejax.evaluation import read_aflw2000
from facejax.evaluation.normalized_error import nme
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting import LINEAR, Crops, FittedFaces, Ingredients, Recipe, compile_fit, prepare_crops
from facejax.fitting.scene import face_mask, project_landmarks
from facejax.images import read_image
from facejax.programs import jit
from facejax.rendering import render
from facejax.unwrap.photos import Layout
from facejax.unwrap.regions import face_regions
from facejax.unwrap.texels import mesh_texels
from facejax.unwrap.views import unwrap_view
from texture_fit.brightness import brightness_errors

SLANTED = 0.2  # cosine between normal and line of sight below which a texel counts as unseen


@dataclass(frozen=True)
class Subject:
    name: str
    set: str
    read: Callable[[], np.ndarray]
    points: np.ndarray  # (68, 2), pixels


@dataclass(frozen=True)
class Fitted:
    """A fitted face and its measurements."""

    numbers: dict[str, Any]
    photo: np.ndarray  # (S, S, 3), the crop
    drawn: np.ndarray  # (S, S, 3), the fit over the crop
    albedo: np.ndarray  # (T, T, 3)
    unwrapped: np.ndarray  # (T, T, 3), the photograph in the UV layout, grey where it does not show the face


def read_subjects(data: Path, *, aflw: int, limit: int | None = None) -> list[Subject]:
    """The photographs with 68 points, then the first development images of AFLW2000-3D (without look-alikes)."""
    folder = data / "photos"
    if not (folder / "index.json").is_file():
        raise FileNotFoundError(f"{folder / 'index.json'}: no such file; pass --data with photos/ and aflw2000/")
    entries = [e for e in json.loads((folder / "index.json").read_text())["images"] if e["landmark_kind"] == "ibug68"]
    subjects = [
        Subject(
            entry["id"],
            "photos",
            lambda file=folder / entry["file"]: read_image(file),
            np.load(folder / entry["landmarks"]).astype(np.float32) + 0.5,  # 0-based pixel centres
        )
        for entry in entries[:limit]
    ]
    if aflw == 0:
        return subjects
    faces = read_aflw2000(data / "aflw2000")
    count = min(aflw, len(faces), aflw if limit is None else limit)
    return subjects + [
        Subject(faces.names[k], "aflw2000", lambda k=k: faces.read(k), faces.points["68"][k].astype(np.float32))
        for k in range(count)
    ]


def linear_like(recipe: Recipe) -> Recipe:
    """The linear recipe with the start of another: its crop, landmarks and priors."""
    return replace(recipe, name=LINEAR.name, stages=LINEAR.stages)


def fit_subjects(
    model: FaceModel,
    subjects: Sequence[Subject],
    recipe: Recipe,
    ingredients: Ingredients,
    *,
    batch: int,
    progress: Callable[[int], object] = lambda count: None,
) -> list[Fitted]:
    """Fit and measure all faces.

    Args:
      model: the face model.
      subjects: the photographs.
      recipe: of the fit.
      ingredients: what the recipe needs.
      batch: faces at once; the last batch is filled up, so that one program serves all.
      progress: called with 1 for each face.
    """
    appearance = ingredients.appearance(recipe.appearance_after(), model)
    layout, found = None, []
    for first in range(0, len(subjects), batch):
        group = [subjects[min(k, len(subjects) - 1)] for k in range(first, first + batch)]
        crops = prepare_crops([one.read() for one in group], [one.points for one in group], recipe=recipe)
        program = compile_fit(model, crops, recipe=recipe, ingredients=ingredients)
        faces = jax.block_until_ready(program(model, crops, ingredients))
        for k, subject in enumerate(group[: len(subjects) - first]):
            crop, face = jax.tree.map(lambda leaf, k=k: leaf[k], crops), faces[k]
            albedo = appearance.texture(model, face.params, subject.read(), subject.points)
            layout = make_layout(model, len(albedo)) if layout is None else layout
            found.append(measure(model, appearance, recipe, subject, crop, face, albedo, layout))
            progress(1)
    return found


def measure(
    model: FaceModel,
    appearance: Appearance,
    recipe: Recipe,
    subject: Subject,
    crop: Crops,
    face: FittedFaces,
    albedo: np.ndarray,
    layout: Layout,
) -> Fitted:
    """Measure one face without batch axis.

    Args:
      model: the face model.
      appearance: that of the last stage.
      recipe: of the fit.
      subject: the photograph and its annotation.
      crop: of the photograph.
      face: the fit.
      albedo: the fitted map.
      layout: of the map.

    Returns:
      The measurements.
    """
    params = in_crop(face.params, crop)
    view = _unwrap(model, without_appearance(params), crop.images, layout.texels)
    seen = np.asarray(view.valid) > 0.5
    errors = brightness_errors(np.asarray(view.color), albedo, seen, np.asarray(layout.regions.face) > 0.5)
    numbers = {
        "name": subject.name,
        "set": subject.set,
        "psnr": float(face.psnr_face),
        "bs_photo": None if errors is None else errors[0],
        "bs_albedo": None if errors is None else errors[1],
        "nme": landmark_errors(model, recipe, face, subject.points),
        "finite": bool(face.finite),
    }
    drawn = draw_over(model, params, appearance, crop.images)
    shown = np.where(seen[..., None], np.asarray(view.color), 0.5)
    return Fitted(numbers, np.asarray(crop.images), np.asarray(drawn), albedo, shown)


def make_layout(model: FaceModel, size: int) -> Layout:
    """Of maps with `size` texels a side."""
    texels = mesh_texels(model, size)
    return Layout(texels, face_regions(model, texels))


_unwrap = jit(partial(unwrap_view, facing=SLANTED))


def landmark_errors(model: FaceModel, recipe: Recipe, face: FittedFaces, points: np.ndarray) -> dict[str, float]:
    """NME of the landmark fit and of every stage, in order.

    Args:
      model: the face model.
      recipe: of the fit.
      face: the fit.
      points: annotated.
    """
    names = ["landmarks", *(stage.name for stage in recipe.stages)]
    places = {name: _places(model, without_appearance(face.stages[name]), face.moving) for name in names}
    return {name: float(nme(np.asarray(place), points)) for name, place in places.items()}


def in_crop(params: FaceParams, crop: Crops) -> FaceParams:
    """Parameters for the photograph, converted to pixels of its crop."""
    return replace(params, camera=transform_camera(params.camera, crop.scale, crop.offset))


def without_appearance(params: FaceParams) -> FaceParams:
    """Geometry, pose and light: the same shapes for all appearances, so that one program serves them."""
    return replace(params, appearance={})


_places = jit(project_landmarks)


@jit
def draw_over(model: FaceModel, params: FaceParams, appearance: Appearance, photo: jax.Array) -> jax.Array:
    """The fit composed over a crop, as fits are compared."""
    drawn = render(model, params, appearance, size=(photo.shape[0], photo.shape[1]), background=photo)
    blend = face_mask(model, drawn)[..., None]
    return blend * drawn.color + (1 - blend) * photo

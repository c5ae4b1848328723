"""Does inverting the generative renderer improve the geometry? Numbers on held-out renders, and sheets to look at.

    python experiments/evaluate_gar.py --pool POOL --out OUT [--gar RUN/gar] [--photos DIR] [--count 48]

The last `--count` pictures of a pool of rendered faces, none of which the renderer may have learned from
(`train_gar.py` keeps the last 256 out), are fitted three ways, each from what the regressor sees: not at all, with the
texture decoder, and by inverting the generative renderer; no stage is given landmarks. The true box says where the
face is. Mean distance of the face's vertices from the true ones after the best similarity, mm, and of the 68 projected
landmarks, percent of the face's size.

Writes OUT/table.md, OUT/table.json, OUT/renders.jpg, OUT/photos.jpg (photograph, inversion, geometry: look at it).
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from regressor.pool import read_pool
from regressor.pool import to_params as pool_params
from texture_fit.tables import caption, markdown, write_sheet
from tqdm import tqdm

from facejax import fit, regress
from facejax.api import FitResult, RegressResult, join
from facejax.evaluation.normalized_error import nme
from facejax.evaluation.surface import aligned_vertex_distance
from facejax.export import versions, write_summary, write_text
from facejax.export.overlay import fit_pictures
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.face_model.load import load_face_model
from facejax.fitting import ACCELERATOR, GAR, Ingredients, Recipe
from facejax.images import list_photos, read_image
from facejax.ingredients import ingredients_for
from facejax.programs import cache_compilations

SIDE = 192  # pixels of the sheets' pictures


@dataclass(frozen=True)
class Args:
    pool: Path
    out: Path
    gar: Path | None = None
    """folder of a generative renderer (default: the shipped one)"""
    photos: Path | None = None
    """folder of photographs for a sheet"""
    count: int = 48
    batch: int = 16
    """faces that are fitted at once"""


def without_landmarks(recipe: Recipe) -> Recipe:
    """The recipe without its landmark terms, so that only pixels count. The start stays."""
    weights = [
        tuple((name, weight) for name, weight in stage.weights if name != "landmarks") for stage in recipe.stages
    ]
    stages = tuple(replace(stage, weights=some) for stage, some in zip(recipe.stages, weights, strict=True))
    return replace(recipe, name=f"{recipe.name}, no landmarks", stages=stages)


def main(args: Args) -> None:
    cache_compilations()
    model = load_face_model()
    arrays = read_pool(args.pool)
    arrays = {name: array[-args.count :] for name, array in arrays.items()}
    truth, images = pool_params(arrays), list(arrays["image"] / np.float32(255))
    boxes = [np.concatenate([p.min(axis=0), p.max(axis=0)]) for p in arrays["landmarks"]]
    start = regress(images, boxes=boxes)
    rows = {"regressor": errors(model, start.params, np.asarray(start.faces.landmarks), truth, arrays["landmarks"])}
    pictures = {"photo": images}
    for recipe in (without_landmarks(ACCELERATOR), without_landmarks(GAR)):
        ingredients = ingredients_for(recipe, model=model, renderer=args.gar or "default")
        results = fit_all(model, images, start, recipe, ingredients, args.batch)
        params = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(one.params for one in results))
        marks = np.concatenate([one.landmarks for one in results])
        rows[f"{recipe.name}"] = errors(model, params, marks, truth, arrays["landmarks"])
        first = results[0]
        drawn = [drawn_panels(first, k) for k in range(min(8, len(first)))]
        pictures |= {f"{recipe.name}: {name}": [one[name] for one in drawn] for name in drawn[0]}
    write(args, rows, pictures)
    if args.photos is not None:
        photo_sheet(args, model)


def fit_all(
    model: FaceModel,
    images: list[np.ndarray],
    start: RegressResult,
    recipe: Recipe,
    ingredients: Ingredients,
    batch: int,
) -> list[FitResult]:
    """Fit the faces in batches.

    Args:
      model: the face model.
      images: photographs.
      start: what the regressor found in them.
      recipe: of the fit.
      ingredients: what the recipe needs.
      batch: faces at once.
    """
    results = []
    for first in tqdm(range(0, len(images), batch), desc=recipe.name, unit="group"):
        rows = range(first, min(first + batch, len(images)))
        begun = join([start[k] for k in rows])
        results.append(fit(model, [images[k] for k in rows], recipe=recipe, start=begun, ingredients=ingredients))
    return results


def errors(
    model: FaceModel, params: FaceParams, marks: np.ndarray, truth: FaceParams, true_marks: np.ndarray
) -> dict[str, list[float]]:
    """For every face: mm over the face's vertices, and percent over the landmarks.

    Args:
      model: the face model.
      params: the fitted faces.
      marks: their landmarks, pixels.
      truth: the true faces.
      true_marks: their landmarks.
    """
    face = np.asarray(model.regions["face"]) > 0.5
    shape = jax.jit(jax.vmap(lambda one: decode(model, one)))
    found, wanted = np.asarray(shape(params)), np.asarray(shape(truth))
    mm = [
        float(np.mean(aligned_vertex_distance(one[face], other[face])))
        for one, other in zip(found, wanted, strict=True)
    ]
    percent = [float(nme(one, other)) for one, other in zip(marks, true_marks, strict=True)]
    return {"mm": mm, "percent": percent}


def write(args: Args, rows: dict[str, dict[str, list[float]]], pictures: dict[str, Any]) -> None:
    first = rows["regressor"]
    cells = []
    for name, row in rows.items():
        better = np.mean(np.asarray(row["mm"]) < np.asarray(first["mm"]))
        means = [f"{np.mean(row['mm']):.3f}", f"{np.median(row['mm']):.3f}", f"{np.mean(row['percent']):.2f}"]
        cells.append([name, *means, "" if name == "regressor" else f"{100 * better:.0f} %"])
    head = ["geometry from", "vertices, mm: mean", "median", "landmarks, %", "vertices better than the regressor's"]
    lines = f"{len(first['mm'])} held-out renders\n\n" + markdown(head, cells)
    write_text(args.out / "table.md", lines)
    write_summary(args.out / "table.json", {"rows": rows, "versions": versions()})
    count = min(8, *(len(several) for several in pictures.values()))
    sheet = [
        caption(several[k], name if k == 0 else "", SIDE) for k in range(count) for name, several in pictures.items()
    ]
    write_sheet(args.out / "renders.jpg", sheet, len(pictures))
    print(lines)


def drawn_panels(result: FitResult, index: int) -> dict[str, np.ndarray]:
    """Photograph, fit and geometry of one face."""
    params, photo, observed = result.faces[index].params, result.photos[index], result.observed[index]
    texture = result.appearance.texture(result.model, params, photo, observed)
    pictures = fit_pictures(result.model, params, result.appearance, photo, observed, texture)
    return dict(list(pictures.items())[:3])


def photo_sheet(args: Args, model: FaceModel) -> None:
    """Photograph, inversion and geometry of every photograph with a face."""
    assert args.photos is not None
    paths = [photo.source for photo in list_photos([args.photos])]
    found = regress(paths)
    images = [read_image(paths[k]) for k in found.photo]
    recipe = GAR
    ingredients = ingredients_for(recipe, model=model, renderer=args.gar or "default")
    cells, columns = [], 1
    for result in fit_all(model, images, found, recipe, ingredients, args.batch):
        for k in range(len(result)):
            drawn = drawn_panels(result, k)
            columns = len(drawn)
            cells += [caption(picture, name if not cells else "", SIDE) for name, picture in drawn.items()]
    write_sheet(args.out / "photos.jpg", cells, 2 * columns)


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")

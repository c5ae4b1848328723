"""`facejax fit`: read, fit in batches, write a folder a photo. One bad photo does not stop the others."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import tyro
from tqdm import tqdm

from facejax.commands.faces import Face, about_start, check_names, check_source, find_faces, fit_padded
from facejax.commands.regress import boxes_of
from facejax.face_model import FaceModel
from facejax.face_model.load import load_face_model
from facejax.fitting import RECIPES, Recipe, Tools
from facejax.regress.photos import Faces
from facejax.regress.regressor import load_regressor
from facejax.toolbox import recipe_for, tools_for


@dataclass(frozen=True)
class Fit:
    """Fit the faces of photographs: a textured 3D face, pose and light for each, under OUT/<stem of the photo>/.

    Without --landmarks the faces are found and a network gives the first landmarks and coefficients.
    """

    photos: tyro.conf.Positional[tuple[Path, ...]]
    """photographs"""
    out: Path
    """folder for the results; each photo gets a folder of its own in it"""
    landmarks: Path | None = None
    """68 points in the iBUG order: one file (.pts, .npy, .npz, .json), or a folder with <stem>.npy and so on; without
    them the face is looked for and its landmarks are regressed"""
    boxes: Path | None = None
    """where the faces are: a JSON file {file name: [left, top, right, bottom]} in pixels, or lists of such boxes"""
    faces: Faces = "largest"
    """without landmarks, of the faces found in a photo: the largest, or all (in folders <stem>_0, <stem>_1, ...)"""
    model: str = "default"
    """face model: "default", or the path of a model file or folder (see docs/models.md)"""
    recipe: str | None = None
    """what is fitted: "landmarks" only, "linear" (landmarks, pixels), "default" (the same, then a texture decoder),
    "gar" (a generative renderer run backwards), or a published recipe, see docs/fitting.md. Default: "default" for the
    default head, "linear" for other models"""
    decoder: Path | None = None
    """folder of a texture decoder, for recipes that use one (default: the package's own)"""
    renderer: Path | None = None
    """folder of a generative renderer, for the recipe "gar" (default: the package's own)"""
    lpips: tuple[Path, ...] = ()
    """weights of LPIPS, one file or two, for recipes with a perceptual term (default: the regressor's encoder)"""
    arcface: Path | None = None
    """weights of ArcFace, for recipes with a recognition term"""
    contour: Literal["auto", "static", "moving"] = "auto"
    """jaw points: fixed on the surface (3D annotations), on the visible outline (2D detectors), or what fits better"""
    fov: float | None = None
    """angle in degrees that the longer side of the photos spans, if you know it"""
    keep_stages: bool = False
    """also write the face after every stage, and the losses as a table and a plot, to OUT/<stem>/stages/"""
    batch: int = 8
    """faces fitted at once in one compiled program"""


def run_fit(command: Fit) -> int:
    """Returns the exit status: 0, or 1 when some photos failed."""
    check_command(command)
    model = load_face_model(command.model)
    boxes = [None] * len(command.photos) if command.boxes is None else boxes_of(command.photos, command.boxes)
    recipe = recipe_for(model) if command.recipe is None else RECIPES[command.recipe]
    decoder = command.decoder or "default"
    weights = {"lpips": command.lpips, "arcface": command.arcface, "renderer": command.renderer or "default"}
    tools = tools_for(recipe, decoder, model=model, **weights)
    recipe = replace(recipe, contour=command.contour)
    regressor = load_regressor() if command.landmarks is None else None
    command.out.mkdir(parents=True, exist_ok=True)
    size = min(command.batch, len(command.photos)) if command.faces == "largest" else command.batch
    failed: set[Path] = set()
    with tqdm(total=len(command.photos), unit="photo", disable=not sys.stderr.isatty(), leave=False) as bar:
        for begin in range(0, len(command.photos), size):
            some = slice(begin, begin + size)
            faces, failures = find_faces(
                command.photos[some], boxes[some], regressor, landmarks=command.landmarks, faces=command.faces
            )
            for first in range(0, len(faces), size):
                failures |= fit_group(model, faces[first : first + size], size, command, recipe, tools, bar.write)
            for failure in failures.values():
                bar.write(f"facejax: error: {failure}", file=sys.stderr)
            failed |= set(failures)
            bar.update(len(command.photos[some]))
    if failed:
        done = len(command.photos) - len(failed)
        print(f"{done} of {len(command.photos)} photos fitted", file=sys.stderr)
    return 1 if failed else 0


def fit_group(
    model: FaceModel,
    faces: list[Face],
    size: int,
    command: Fit,
    recipe: Recipe,
    tools: Tools,
    write: Callable[..., object],
) -> dict[Path, str]:
    """Fit and write at most `size` faces; returns a line for each photo that failed."""
    failures = {}
    result = fit_padded(model, faces, size, command.fov, recipe, tools)
    for index, face in enumerate(faces):
        if not bool(result.faces.finite[index]):
            failures[face.path] = f"{face.path}: the fit did not stay finite; check that the landmarks are its own"
            continue
        folder = result.save_one(
            index,
            command.out / face.name,
            image=face.path.name,
            extra=about_start(face),
            keep_stages=command.keep_stages,
        )
        quality = float(result.faces.psnr_face[index])
        line = f"{folder}: landmarks {result.landmark_nme(index):.2f} % of the face, pixels {quality:.1f} dB"
        write(line, file=sys.stdout)
    return failures


def check_command(command: Fit) -> None:
    """What can be wrong before anything is read."""
    check_source(
        command.photos,
        landmarks=command.landmarks,
        boxes=command.boxes,
        recipe=command.recipe,
        batch=command.batch,
    )
    if command.fov is not None and not 0 < command.fov < 180:
        raise ValueError(f"--fov {command.fov}: an angle between 0 and 180 degrees")
    if command.landmarks is not None and command.faces == "all":
        raise ValueError("--landmarks says where the faces are: leave out --boxes and --faces, or --landmarks")
    check_names(command.photos)

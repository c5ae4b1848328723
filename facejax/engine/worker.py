"""A group of photographs to the folders of their faces: read, fit, write, and a line of the manifest for each."""

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jax.errors import JaxRuntimeError

from facejax.api import FitResult
from facejax.engine.faces import TAKEN, UNSOUND, Face, about_start, failure, find_faces, fit_padded
from facejax.engine.store import open_store
from facejax.export.fitted import FILES, File
from facejax.export.manifest import Line
from facejax.face_model.load import load_face_model
from facejax.fitting import RECIPES
from facejax.images import Photo, box_of, read_boxes
from facejax.ingredients import ingredients_for, recipe_for
from facejax.regression.photos import Faces
from facejax.regression.regressor import load_regressor

log = logging.getLogger(__name__)

OK, FAILED = "ok", "failed"
WRITERS = 2  # threads


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How photographs are fitted and what is written."""

    out: str | Path
    """folder for the results, or its URL where fsspec can write (s3://, gs://, ...); each photo gets a folder of its
    own in it"""
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
    "accelerator" (the same, with more steps, for GPUs), "gar" (a generative renderer run backwards), or a published
    recipe, see docs/fitting.md. Default: "default" for the default head, "linear" for other models"""
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
    files: tuple[File, ...] = FILES
    """what is written of every face besides summary.json; "params" alone is fast and small"""


class Group(NamedTuple):
    """Photographs that are fitted together, always the same ones."""

    number: int
    photos: Sequence[Photo]
    taken: Mapping[str, str]  # of those whose folder is another photo's: their name to that one's


class Found(NamedTuple):
    """A group that was read."""

    group: Group
    faces: list[Face]
    failures: dict[Photo, str]
    seconds: float  # that reading took


class Fitted(NamedTuple):
    """A group that was fitted: of every face the result that holds it, and its row there; None where it failed."""

    found: Found
    places: list[tuple[FitResult, int] | None]
    seconds: float  # that reading and fitting took, without the time in between


class FitWorker:
    """Loads what a fit needs once, then fits group after group."""

    def __init__(self, options: FitOptions, batch: int):
        """`batch`: faces in one compiled program; halved when they do not fit into the device's memory."""
        self.options, self.batch, self.together = options, batch, batch
        self.store = open_store(options.out)
        self.model = load_face_model(options.model)
        recipe = recipe_for(self.model) if options.recipe is None else RECIPES[options.recipe]
        weights: dict[str, Any] = {"lpips": options.lpips, "arcface": options.arcface}
        weights["renderer"] = options.renderer or "default"
        self.ingredients = ingredients_for(recipe, options.decoder or "default", model=self.model, **weights)
        self.recipe = replace(recipe, contour=options.contour)
        self.regressor = load_regressor() if options.landmarks is None else None
        self.boxes = {} if options.boxes is None else read_boxes(options.boxes)

    def find(self, group: Group) -> Found:
        """Read the photographs and look for their faces."""
        begin, options = time.perf_counter(), self.options
        photos = [photo for photo in group.photos if photo.file not in group.taken]
        boxes = [box_of(photo, self.boxes) for photo in photos]
        faces, failures = find_faces(
            photos, boxes, self.regressor, landmarks=options.landmarks, faces=options.faces, batch=self.together
        )
        for photo in (photo for photo in group.photos if photo.file in group.taken):
            failures[photo] = TAKEN.format(photo, group.taken[photo.file])
        return Found(group, faces, failures, time.perf_counter() - begin)

    def fit(self, found: Found) -> Fitted:
        """Fit the faces of a group, as many at once as the device holds."""
        begin = time.perf_counter()
        while True:
            some = [found.faces[k : k + self.batch] for k in range(0, len(found.faces), self.batch)]
            try:
                places = [place for faces in some for place in self._fit_some(faces, found)]
                return Fitted(found, places, found.seconds + time.perf_counter() - begin)
            except JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or self.batch == 1:
                    raise
                log.warning("%d faces at once are too many for the device's memory: going on with half", self.batch)
                self.batch //= 2

    def _fit_some(self, faces: list[Face], found: Found) -> list[tuple[FitResult, int] | None]:
        """Where the faces together cannot be fitted, each is fitted alone."""
        try:
            result = fit_padded(self.model, faces, self.batch, self.options.fov, self.recipe, self.ingredients)
        except ValueError as error:
            if len(faces) == 1:
                photo = faces[0].photo
                found.failures[photo] = f"{photo}: {' '.join(str(error).split())}"
                return [None]
            return [place for face in faces for place in self._fit_some([face], found)]
        sound = np.asarray(result.faces.finite)
        for row, face in enumerate(faces):
            if not sound[row]:
                found.failures[face.photo] = UNSOUND.format(face.photo)
        return [(result, row) if sound[row] else None for row in range(len(faces))]

    def write(self, fitted: Fitted) -> tuple[int, list[Line]]:
        """Write the folders of a group; its number and its lines of the manifest, in the order of the photographs.

        Each line has an equal share of the seconds that the group was read, fitted and written in.
        """
        begin, group = time.perf_counter(), fitted.found.group
        pairs = [(face, *place) for face, place in zip(fitted.found.faces, fitted.places, strict=True) if place]
        with ThreadPoolExecutor(WRITERS) as pool:
            written = list(pool.map(lambda one: self.write_one(*one), pairs))
        seconds = (fitted.seconds + time.perf_counter() - begin) / len(group.photos)
        lines = []
        for photo in group.photos:
            mine = [entry for (face, *_), entry in zip(pairs, written, strict=True) if face.photo == photo]
            line: Line = {"file": photo.file, "status": OK if mine else FAILED}
            if photo in fitted.found.failures:
                given = {"--landmarks": self.options.landmarks}
                line |= failure(photo, fitted.found.failures[photo], given)
            lines.append(line | ({"faces": mine} if mine else {}) | {"seconds": round(seconds, 3)})
        return group.number, lines

    def write_one(self, face: Face, result: FitResult, row: int) -> dict[str, Any]:
        """The folder of one face, and what the manifest says of it."""
        with self.store.face(face.folder) as folder:
            result.save_one(
                row,
                folder,
                image=face.photo.name,
                extra=about_start(face),
                keep_stages=self.options.keep_stages,
                files=self.options.files,
            )
        return {
            "folder": face.folder,
            "landmark_nme_percent": _figure(result.landmark_nme(row)),
            "psnr_face": _figure(result.faces.psnr_face[row]),
            "converged": bool(all(flags[row] for flags in result.faces.converged.values())),
        }


def _figure(value: Any) -> float | None:
    value = float(value)
    return round(value, 3) if np.isfinite(value) else None

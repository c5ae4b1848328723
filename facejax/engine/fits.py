"""The job of `facejax fit`: it fits faces, and writes a folder for each."""

import logging
import time
from collections import Counter
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Literal, NamedTuple

import numpy as np

from facejax.camera import focal_from_fov
from facejax.engine.cameras import LOOK, camera_name, read_cameras
from facejax.engine.faces import Face, FaceFinder, Found, about_doubt, load_finder
from facejax.engine.fitter import Fitted, Fitter, plain_result
from facejax.engine.job import Group, describe_options, lines_of
from facejax.engine.models import load_model
from facejax.engine.store import open_store
from facejax.export.fitted import FILES, File
from facejax.export.manifest import FAILED, OK, Line
from facejax.fitting import LANDMARKS, RECIPES
from facejax.fitting.ingredients import NO_INGREDIENTS
from facejax.images import Lens, Photo, given_lens, read_boxes
from facejax.images.box_files import Boxes, box_count
from facejax.ingredients import DECODED, ingredients_for, recipe_for
from facejax.programs import compile_only
from facejax.regression.photos import Faces
from facejax.skin import Keep, has_skin

log: logging.Logger = logging.getLogger(__name__)

WRITERS = 2  # threads


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How photographs are fitted and what is written."""

    out: str | Path
    """folder for the results, or its URL where fsspec can write (s3://, gs://, ...); each photo gets a folder of its
    own in it"""
    landmarks: Path | None = None
    """68 points in the iBUG order: one file (.pts, .npy, .npz, .json, .mat, .txt, .csv), or a folder with <stem>.npy
    and so on; without them the face is looked for and its landmarks are regressed"""
    landmark_group: str | None = None
    """which group of menpo's .ljson files with several (default: the only one with 68 points)"""
    boxes: Path | None = None
    """where the faces are: a JSON file {file name: [left, top, right, bottom]} in pixels, or lists of such boxes"""
    faces: Faces = "largest"
    """without landmarks, which of the faces found in a photo: the largest, or all (folders <stem>_0, <stem>_1, ...)"""
    model: str = "default"
    """face model: "default", or the path of a model file or folder (see docs/models.md)"""
    recipe: str | None = None
    """what is fitted: "landmarks" only, "linear" (landmarks, pixels), "default" (the same, then the maps of the
    skin), "accelerator" (with a texture decoder and many steps, for GPUs), "gar" (a generative renderer run backwards),
    or a published recipe, see docs/fitting.md. Default: "default" for the default head, "linear" for other models"""
    decoder: Path | None = None
    """folder of a texture decoder, for recipes that use one (default: the package's own)"""
    renderer: Path | None = None
    """folder of a generative renderer, for the recipe "gar" (default: the package's own)"""
    lpips: tuple[Path, ...] = ()
    """weights of LPIPS, one file or two, for recipes with a perceptual term (default: the regressor's encoder)"""
    arcface: Path | None = None
    """weights of ArcFace, for recipes with a recognition term (default: dlib's network, with facejax[identity])"""
    contour: Literal["auto", "static", "moving"] = "auto"
    """jaw points: fixed on the surface (3D annotations), on the visible outline (2D detectors), or what fits better"""
    fov: float | None = None
    """angle in degrees that the longer side of the photos spans, if you know it; otherwise the photo's EXIF block tells
    it, or else it is estimated"""
    same_camera: bool = False
    """photos of one size in one folder are from one camera, such as the frames of a clip: they share a focal length"""
    keep_stages: bool = False
    """also write the face after every stage, and the losses as a table and a plot, to OUT/<stem>/stages/"""
    files: tuple[File, ...] = FILES
    """what is written of every face besides summary.json; "params" alone is fast and small"""
    look: Literal["photo"] | None = None
    """what face.glb shows of a face with maps: these, or the photo over their albedo, with its own light ("photo")"""
    paint: bool = False
    """keep make-up, tattoos and face paint in the albedo, and with them glasses and the sharp edges of shadows and
    highlights"""
    everything: bool = False
    """keep what covers the skin in the albedo: hair, hands, glasses, masks, headwear"""


def asked_of_maps(options: FitOptions) -> list[str]:
    """The options that mean something only for faces with the maps of a skin."""
    flags = {"--look": options.look, "--paint": options.paint, "--everything": options.everything}
    return [name for name, on in flags.items() if on] + ["--files relight"] * ("relight" in options.files)


class Worked(NamedTuple):
    """A group that was fitted."""

    group: Group
    fitted: list[Fitted]
    failures: dict[Photo, str]
    seconds: float  # for reading and fitting, without the time in between


class FitJob:
    """A `Job` (`facejax.engine.job`)."""

    reserved: Collection[str] = ()

    def __init__(self, options: FitOptions):
        self.options = options

    @property
    def several(self) -> bool:
        return self.options.faces == "all"

    def describe(self) -> dict[str, Any]:
        return describe_options(self.options, FitOptions)

    def folders(self, photo: Photo) -> Sequence[str]:
        """One for each face, as far as the boxes tell; with `faces="all"` each face has a number, so that folders
        never collide."""
        return photo.folders(box_count(photo, self._boxes))

    @cached_property
    def _boxes(self) -> dict[str, Boxes]:
        return {} if self.several or self.options.boxes is None else read_boxes(self.options.boxes)

    def load(self, together: int) -> None:
        options = self.options
        model = load_model(options.model)
        recipe = recipe_for(model) if options.recipe is None else RECIPES[options.recipe]
        if not (recipe.maps and has_skin(model)) and (asked := asked_of_maps(options)):
            makes = f"the recipe {recipe.name!r} makes none" if not recipe.maps else "only the default head has them"
            raise ValueError(f"{asked[0]} is about the maps of a skin, and {makes}: leave it out, or use the default")
        if options.decoder is not None and not any(stage.appearance in DECODED for stage in recipe.stages):
            raise ValueError(
                f"--decoder: the recipe {recipe.name!r} has none: leave it out, or use --recipe accelerator"
            )
        weights: dict[str, Any] = {"lpips": options.lpips, "arcface": options.arcface}
        weights["renderer"] = options.renderer or "default"
        ingredients = ingredients_for(recipe, options.decoder or "default", model=model, **weights)
        recipe = replace(recipe, contour=options.contour)
        self.ahead: Thread | None = None
        self.store = open_store(options.out)
        self.cameras = read_cameras(self.store) if options.same_camera else {}
        self.fitter = Fitter(model, recipe, ingredients, together, lens=self.lens)
        self.finder = load_finder(
            landmarks=options.landmarks,
            landmark_group=options.landmark_group,
            boxes=options.boxes,
            faces=options.faces,
            batch=together,
        )

    def lens(self, face: Face) -> Lens | None:
        """What is known of a face's lens: the view that was given, its camera's, or what its file says."""
        height, width = face.image.shape[:2]
        if self.options.fov is not None:
            return given_lens(focal_from_fov(self.options.fov, max(width, height)))
        shared = self.cameras.get(camera_name(face.photo, width, height))
        return face.lens if shared is None else given_lens(shared, "shared")

    def find(self, group: Group) -> Found:
        return self.finder.find(group)

    def work(self, found: Found) -> Worked:
        begin = time.perf_counter()
        if found.faces and self.ahead is None:
            self.ahead = Thread(target=self._compile_ahead, args=(found.faces[0],), name="ahead")
            self.ahead.start()
        fitted, failures = self.fitter.fit(found.faces)
        seconds = found.seconds + time.perf_counter() - begin
        return Worked(found.group, fitted, found.failures | failures, seconds)

    def _compile_ahead(self, face: Face) -> None:
        """Compile what the files of a face take while its fit is compiled. All that can go wrong comes again later."""
        try:
            with TemporaryDirectory() as folder, compile_only():
                result = plain_result(self.fitter, face)
                result.save_one(0, Path(folder), image=face.photo.name, **self._files)
        except Exception as error:
            log.info("nothing is compiled ahead: %s", error)

    @property
    def _files(self) -> dict[str, Any]:
        """What `FitResult.save_one` writes of a face."""
        options = self.options
        keep = Keep(options.paint, options.everything)
        return {"files": options.files, "look": options.look or "material", "keep": keep}

    def write(self, worked: Worked) -> tuple[int, list[Line]]:
        """See `Job.write`. Each line gets an equal share of the group's seconds."""
        begin, group = time.perf_counter(), worked.group
        with ThreadPoolExecutor(WRITERS) as pool:
            written = list(pool.map(self.write_one, worked.fitted))
        results: dict[Photo, Line] = {}
        for one, entry in zip(worked.fitted, written, strict=True):
            results.setdefault(one.face.photo, {"faces": []})["faces"].append(entry)
        for line in results.values():
            if doubts := [face["doubtful"] for face in line["faces"] if "doubtful" in face]:
                line["doubtful"] = "; ".join(dict.fromkeys(doubts))
        lines = lines_of(group, results, worked.failures, {"--landmarks": self.options.landmarks})
        seconds = (worked.seconds + time.perf_counter() - begin) / len(group.photos)
        return group.number, [line | {"seconds": round(seconds, 3)} for line in lines]

    def write_one(self, one: Fitted) -> dict[str, Any]:
        """Write the folder of one face, and return its entry in the manifest."""
        face, result, row = one
        with self.store.face(face.folder) as folder:
            result.save_one(
                row,
                folder,
                image=face.photo.name,
                extra=about_face(face),
                keep_stages=self.options.keep_stages,
                **self._files,
            )
        return {
            "folder": face.folder,
            "landmark_nme_percent": _figure(result.landmark_nme(row)),
            "psnr_face": _figure(result.faces.psnr_face[row]),
            "converged": bool(all(flags[row] for flags in result.faces.converged.values())),
            **about_doubt(face),
        }


def load_for_cameras(options: FitOptions) -> tuple[FaceFinder, Fitter]:
    """What `find_cameras` needs: it fits landmarks only."""
    recipe = replace(LANDMARKS, contour=options.contour)
    fitter = Fitter(load_model(options.model), recipe, NO_INGREDIENTS, LOOK)
    return load_finder(landmarks=options.landmarks, boxes=options.boxes, faces=options.faces, batch=LOOK), fitter


def about_face(face: Face) -> dict[str, object]:
    """The summary's entries about how a face was found, if its landmarks were not given, and why it is doubtful.

    `turned_degrees` is how far the photograph was turned counter-clockwise for the network.
    """
    start = face.start
    if start is None:
        return {**about_doubt(face)}
    found = {"box": start.boxes[0], "confidence": start.confidence[0], "turned_degrees": 90 * start.turns[0]}
    return {"regressed": found, **about_doubt(face)}


def count_fits(lines: Sequence[Line]) -> dict[str, Any]:
    """Count photographs by status, and failures by cause.

    `partly` are those of status ok with a face that failed, and `doubtful` those with a face that is.
    """
    causes = Counter(line["cause"] for line in lines if "cause" in line)
    return {
        "photos": len(lines),
        **{status: sum(line["status"] == status for line in lines) for status in (OK, FAILED)},
        "partly": sum(line["status"] == OK and "error" in line for line in lines),
        "doubtful": sum("doubtful" in line for line in lines),
        "faces": sum(len(line.get("faces", ())) for line in lines),
        "failed_by": dict(causes.most_common()),
    }


def _figure(value: Any) -> float | None:
    value = float(value)
    return round(value, 3) if np.isfinite(value) else None

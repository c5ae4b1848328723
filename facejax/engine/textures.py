"""From photographs to textures: the job of `facejax unwrap`, and the base of that of `facejax build-uv-dataset`."""

import re
import time
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from facejax.engine.faces import Face, Found, about_doubt, load_finder
from facejax.engine.fitter import Fitted, Fitter
from facejax.engine.job import Group, describe_options, lines_of
from facejax.engine.models import load_model
from facejax.engine.store import open_store
from facejax.export import to_uint8, versions, write_summary
from facejax.export.manifest import Line
from facejax.export.material import is_grey, material_pictures
from facejax.export.pictures import write_pixels
from facejax.face_model import FaceModel
from facejax.face_model.texture_layout import with_layout
from facejax.fitting import RECIPES
from facejax.images import Photo
from facejax.images.read import as_photo
from facejax.ingredients import ingredients_for
from facejax.regression.dense import face_in_square, load_dense
from facejax.skin.maps import SIZES, Keep, SkinTools, has_skin, skin_maps, skin_quality, skin_tools
from facejax.unwrap import View
from facejax.unwrap.photos import (
    CutOut,
    Quality,
    cut_out,
    face_layout,
    fitted_template,
    most_frontal,
    unwrap_face,
)

WRITERS = 2  # threads
UNSOUND = "{}: the texture is not a number: the fit failed; give landmarks, or leave the photo out"


@dataclass(frozen=True, kw_only=True)
class TextureOptions:
    """How photographs become textures."""

    out: str | Path
    """folder for the results, or its URL where fsspec can write (s3://, gs://, ...)"""
    size: int = 1024
    """texels a side: a power of two from 64 to 4096"""
    landmarks: Path | None = None
    """68 points in the iBUG order: one file (.pts, .npy, .npz, .json, .mat, .txt, .csv), or a folder with <stem>.npy
    and so on; without them the face is looked for and its landmarks are regressed"""
    landmark_group: str | None = None
    """which group of menpo's .ljson files with several (default: the only one with 68 points)"""
    boxes: Path | None = None
    """where the faces are: a JSON file {file name: [left, top, right, bottom]} in pixels, or lists of such boxes"""
    masks: Path | None = None
    """folder with <stem>.png of each photo's size (folders in it that are named like the photos' own go first): white
    is skin that may be used"""
    model: str = "default"
    """face model: "default", or the path of a model file or folder (see docs/models.md)"""
    recipe: str = "linear"
    """how the face is fitted, see docs/fitting.md; the albedo it finds fills what no photo shows"""
    delight: bool = True
    """divide the fitted light out: an albedo; without it the texture keeps the photo's light"""
    everything: bool = False
    """also use what is no skin: hair, hands, glasses, headwear"""
    paint: bool = False
    """keep make-up, tattoos and face paint, and with them glasses and the sharp edges of shadows and highlights"""
    batch: int = 8
    """faces fitted at once in one compiled program"""


class Made(NamedTuple):
    """What one face's photographs became, on the host."""

    views: View  # leading axis: the photographs
    pictures: dict[str, np.ndarray]  # by file name; bytes
    quality: dict[str, float | None]  # see facejax.unwrap.photos.Quality
    about: dict[str, object]  # more for the summary


class Texture(NamedTuple):
    """The texture of one photograph's face, on the host."""

    face: Face
    pictures: dict[str, np.ndarray]  # by file name; bytes
    fit: dict[str, float | None]  # figures
    quality: dict[str, float | None]
    about: dict[str, object]  # more for the summary
    seconds: float  # for unwrapping


class Worked(NamedTuple):
    """A group whose faces were fitted and unwrapped."""

    group: Group
    textures: list[Texture]
    failures: dict[Photo, str]
    seconds: float  # per face, for reading and fitting


class TextureJob:
    """A `Job` (`facejax.engine.job`) that writes a folder for the largest face of each photograph."""

    reserved: Collection[str] = ()
    several = False

    def __init__(self, options: TextureOptions):
        self.options = options

    def describe(self) -> dict[str, Any]:
        return describe_options(self.options, TextureOptions)

    def folders(self, photo: Photo) -> Sequence[str]:
        return [photo.folder]

    def load(self, together: int) -> None:
        options = self.options
        model, recipe = with_layout(load_model(options.model)), RECIPES[options.recipe]
        self.skin = self.skin_tools(model)
        if options.paint and self.skin is None:
            sizes = ", ".join(map(str, SIZES))
            raise ValueError(
                f"--paint is about the maps of a skin: the default head has them, de-lit, in {sizes} texels"
            )
        self.store = open_store(options.out)
        self.layout = face_layout(model, options.size) if self.skin is None else self.skin.layout
        self.parser = load_dense()
        self.fitter = Fitter(model, recipe, ingredients_for(recipe, model=model, measure=False), together)
        self.finder = load_finder(
            landmarks=options.landmarks,
            landmark_group=options.landmark_group,
            boxes=options.boxes,
            masks=options.masks,
            single=True,
            batch=together,
        )

    def find(self, group: Group) -> Found:
        return self.finder.find(group)

    def work(self, found: Found) -> Worked:
        begin = time.perf_counter()
        fitted, failures = self.fitter.fit(found.faces)
        seconds = (found.seconds + time.perf_counter() - begin) / max(len(found.faces), 1)
        textures = [self.make(one) for one in fitted]
        unsound = {one.face.photo: UNSOUND.format(one.face.photo) for one in textures if one.quality["seen"] is None}
        textures = [one for one in textures if one.face.photo not in unsound]
        return Worked(found.group, textures, found.failures | failures | unsound, seconds)

    def write(self, worked: Worked) -> tuple[int, list[Line]]:
        with ThreadPoolExecutor(WRITERS) as pool:
            lines = list(pool.map(lambda one: self.write_one(one, worked.seconds), worked.textures))
        results = {one.face.photo: line for one, line in zip(worked.textures, lines, strict=True)}
        given = {"--landmarks": self.options.landmarks, "--masks": self.options.masks}
        return worked.group.number, lines_of(worked.group, results, worked.failures, given)

    def make(self, one: Fitted) -> Texture:
        """The texture of one face."""
        begin = time.perf_counter()
        cut = self.cut(one)
        made = self.unwrap([one], [cut], ["seen"])
        pictures = self.pictures(made, cut)
        seconds = time.perf_counter() - begin
        return Texture(one.face, pictures, fit_figures(one), made.quality, made.about, seconds)

    def cut(self, one: Fitted) -> CutOut:
        """The square of a photograph that its texture is taken from."""
        cut = cut_out(as_photo(one.face.image), one.landmarks, self.layout, mask=one.face.mask)
        if self.skin is not None:
            return cut
        points = (one.landmarks * np.asarray(cut.scale) + np.asarray(cut.offset)).astype(np.float32)
        shown, understood = face_in_square(self.parser, cut.image, points, one.params.pose)
        return cut._replace(shown=np.asarray(shown)) if understood else cut

    def unwrap(self, views: Sequence[Fitted], cuts: Sequence[CutOut], seen: Sequence[str]) -> Made:
        """The texture of one face from one or several photographs; `seen` has the names of their masks' files."""
        if self.skin is not None:
            return self.find_skin(self.skin, views, cuts, seen)
        if any(cut.shown is None for cut in cuts):  # then all are judged by the fit's colours
            cuts = [cut._replace(shown=None) for cut in cuts]
        each = [one.params for one in views]
        best = each[most_frontal([params.pose for params in each])]
        template = fitted_template(self.fitter.model, views[0].result.appearance, best.appearance, self.layout.texels)
        delight, skin_only = self.options.delight, not self.options.everything
        found = unwrap_face(self.fitter.model, each, cuts, self.layout, template, delight=delight, skin_only=skin_only)
        completed = found.completed
        maps = {"albedo": completed.texture, "filled": completed.filled, "repaired": completed.repaired}
        maps |= {name: found.views.valid[k] for k, name in enumerate(seen)}
        pictures = {f"{name}.png": to_uint8(one) for name, one in maps.items()}
        return Made(found.views, pictures, figures(found.quality), {})

    def find_skin(self, tools: SkinTools, views: Sequence[Fitted], cuts: Sequence[CutOut], seen: Sequence[str]) -> Made:
        """The maps of one face's skin from one or several photographs."""
        params, points = [one.params for one in views], [one.landmarks for one in views]
        keep = Keep(self.options.paint, self.options.everything)
        found = skin_maps(self.fitter.model, params, cuts, points, tools, keep=keep)
        quality = figures(skin_quality(found, tools))
        maps = material_pictures(found.material, found.layer) | {"filled.png": to_uint8(found.layer.shown)}
        maps |= {f"{name}.png": to_uint8(found.views.valid[k]) for k, name in enumerate(seen)}
        return Made(found.views, maps, quality, {"maps": {"colour_guessed": is_grey(found.layer)}})

    def skin_tools(self, model: FaceModel) -> SkinTools | None:
        """What finds skin maps; None where a photograph is only unwrapped: other models, its own light, small maps."""
        options = self.options
        return skin_tools(options.size) if has_skin(model) and options.delight and options.size in SIZES else None

    def pictures(self, made: Made, cut: CutOut) -> dict[str, np.ndarray]:
        """The files of a texture."""
        return made.pictures

    def write_one(self, one: Texture, seconds: float) -> Line:
        """Write the folder of one texture, and return its photograph's line."""
        summary = {
            "image": one.face.photo.name,
            **self.about(),
            **about_doubt(one.face),
            "fit": one.fit,
            "quality": one.quality,
            **one.about,
            "seconds": {"fit": seconds, "unwrap": one.seconds},
        }
        self.save(one.face.folder, one.pictures, summary)
        return {"folder": one.face.folder, "figures": one.quality, **about_doubt(one.face)}

    def save(self, folder: str, pictures: Mapping[str, np.ndarray], summary: dict[str, Any]) -> None:
        """Write the pictures, then `summary.json`, which marks the folder as complete."""
        with self.store.face(folder, is_texture_file) as place:
            for name, picture in pictures.items():
                write_pixels(place / name, picture)
            write_summary(place / "summary.json", summary)

    def about(self) -> dict[str, Any]:
        """The summary's entries about how a texture was made."""
        options = self.options
        return {
            "model": self.fitter.model.name,
            "recipe": self.fitter.recipe.name,
            "options": {
                "size": options.size,
                "landmarks": "regressed" if options.landmarks is None else "given",
                "masks": options.masks is not None,
                "delight": options.delight,
                "everything": options.everything,
                "paint": options.paint,
                "batch": options.batch,
            },
            "versions": versions(),
        }


def is_texture_file(name: str) -> bool:
    """Whether a file in a texture's folder may be from an earlier run."""
    names = r"(albedo|normal|roughness|specular|trust|photo|filled|repaired|seen|seen_.+)\.png|photo\.jpg|summary\.json"
    return re.fullmatch(names, name) is not None


def fit_figures(one: Fitted) -> dict[str, float | None]:
    """Figures of how well one photograph was fitted."""
    face, result, row = one
    sure = {} if face.start is None else {"confidence": float(np.mean(face.start.confidence))}
    found = {
        "landmark_nme_percent": result.landmark_nme(row),
        "psnr_face": float(result.faces.psnr_face[row]),
        "face_pixels": float(np.sqrt(np.prod(np.ptp(one.landmarks, axis=0)))),
        **sure,
    }
    return {name: _short(value) for name, value in found.items()}


def figures(quality: Quality) -> dict[str, float | None]:
    """Figures of how good a texture is."""
    return {name: _short(float(value)) for name, value in quality._asdict().items()}


def _short(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None

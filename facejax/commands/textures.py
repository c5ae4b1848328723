"""What `unwrap` and `build-uv-dataset` share: photographs to fitted faces to textures, and the files of one texture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.api import FitResult
from facejax.camera import Pose, quaternion_to_matrix
from facejax.engine.faces import UNSOUND, Face, check_source, find_faces, fit_padded
from facejax.export import versions, write_png, write_summary
from facejax.face_model import FaceModel, FaceParams, decode_albedo
from facejax.face_model.load import load_face_model
from facejax.fitting import RECIPES, Recipe, Tools
from facejax.images import Photo, read_image
from facejax.images.detect import box_area
from facejax.images.read import as_photo
from facejax.programs import jit
from facejax.regression.regressor import Regressor, load_regressor
from facejax.toolbox import tools_for
from facejax.unwrap.photos import CutOut, Layout, Unwrapped, cut_out, face_layout, unwrap_photos
from facejax.unwrap.regions import template_map
from facejax.unwrap.texels import Texels


@dataclass(frozen=True, kw_only=True)
class TextureOptions:
    """How photographs become textures."""

    size: int = 1024
    """texels a side: a power of two from 64 to 4096"""
    landmarks: Path | None = None
    """68 points in the iBUG order: one file (.pts, .npy, .npz, .json), or a folder with <stem>.npy and so on; without
    them the face is looked for and its landmarks are regressed"""
    boxes: Path | None = None
    """where the faces are: a JSON file {file name: [left, top, right, bottom]} in pixels, or lists of such boxes"""
    masks: Path | None = None
    """folder with <stem>.png of each photo's size (folders in it as the photos' own go first): white is skin that may
    be taken"""
    model: str = "default"
    """face model: "default", or the path of a model file or folder (see docs/models.md)"""
    recipe: str = "linear"
    """how the face is fitted, see docs/fitting.md; the albedo it finds fills what no photo shows"""
    delight: bool = True
    """divide the fitted light out: an albedo; without it the texture keeps the photo's light"""
    everything: bool = False
    """also take what does not look like skin: hair, hands, glasses, hard shadows; also beards"""
    batch: int = 8
    """faces fitted at once in one compiled program"""


class Setup(NamedTuple):
    """What all faces of one command share."""

    model: FaceModel
    layout: Layout
    recipe: Recipe
    tools: Tools
    regressor: Regressor | None  # None: landmarks are given
    options: TextureOptions


class Portrait(NamedTuple):
    """One face of one photograph, with the photograph's mask."""

    face: Face
    mask: Float[np.ndarray, "H W"] | None


class Fitted(NamedTuple):
    """One face of a fit, with its portrait."""

    portrait: Portrait
    result: FitResult
    row: int  # of the fit

    @property
    def landmarks(self) -> Float[np.ndarray, "68 2"]:
        """The fit's, pixels of the photograph."""
        return self.result.landmarks[self.row]


def check_options(photos: Sequence[Photo], options: TextureOptions) -> None:
    """What can be wrong before anything is read."""
    check_source(
        photos,
        landmarks=options.landmarks,
        boxes=options.boxes,
        recipe=options.recipe,
        batch=options.batch,
    )
    if options.masks is not None and not options.masks.is_dir():
        raise ValueError(f"--masks {options.masks}: no such folder")


def set_up(options: TextureOptions) -> Setup:
    """Load the model and what the fit needs; raises ValueError like the loaders."""
    model = load_face_model(options.model)
    recipe = RECIPES[options.recipe]
    return Setup(
        model=model,
        layout=face_layout(model, options.size),
        recipe=recipe,
        tools=tools_for(recipe, model=model),
        regressor=load_regressor() if options.landmarks is None else None,
        options=options,
    )


def find_portraits(
    setup: Setup, photos: Sequence[Photo], boxes: Sequence[np.ndarray | None]
) -> tuple[list[Portrait], dict[Photo, str]]:
    """The largest face of each photo that can be read, and a line for each photo without one, or without its mask.

    Of a photo's `boxes` the largest is taken.
    """
    boxes = [None if some is None else some[[np.argmax([box_area(box) for box in some])]] for some in boxes]
    faces, failures = find_faces(
        photos, boxes, setup.regressor, landmarks=setup.options.landmarks, batch=min(setup.options.batch, len(photos))
    )
    portraits = []
    for face in faces:
        try:
            portraits.append(Portrait(face, _read_mask(setup.options.masks, face)))
        except (ValueError, OSError) as error:
            failures[face.photo] = " ".join(str(error).split())
    return portraits, failures


def _read_mask(folder: Path | None, face: Face) -> Float[np.ndarray, "H W"] | None:
    if folder is None:
        return None
    paths = [folder / f"{name}.png" for name in (face.photo.folder, face.photo.stem)]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{face.photo}: has no mask; add {paths[-1]}, or leave out --masks")
    mask = read_image(path)[..., 0]
    if mask.shape != face.image.shape[:2]:
        size, wanted = (f"{shape[1]} x {shape[0]}" for shape in (mask.shape, face.image.shape))
        raise ValueError(
            f"{face.photo}: its mask is of another size ({size} pixels): give one of {wanted}, as the photo"
        )
    return mask


def fit_portraits(setup: Setup, portraits: list[Portrait], size: int) -> tuple[list[Fitted], dict[Photo, str]]:
    """Fit a group of at most `size` faces, and a line for each whose fit failed.

    Where one of them cannot be fitted at all, each is fitted alone.
    """
    if not portraits:
        return [], {}
    try:
        faces = [one.face for one in portraits]
        result = fit_padded(setup.model, faces, size, None, setup.recipe, setup.tools)
    except ValueError as error:
        if len(portraits) == 1:
            photo = portraits[0].face.photo
            return [], {photo: f"{photo}: {' '.join(str(error).split())}"}
        each = [fit_portraits(setup, [one], size) for one in portraits]
        failures = {photo: line for _, some in each for photo, line in some.items()}
        return [one for fitted, _ in each for one in fitted], failures
    sound = np.asarray(result.faces.finite)
    fitted = [Fitted(one, result, row) for row, one in enumerate(portraits) if sound[row]]
    unsound = [one.face.photo for row, one in enumerate(portraits) if not sound[row]]
    return fitted, {photo: UNSOUND.format(photo) for photo in unsound}


def unwrap_fitted(setup: Setup, faces: Sequence[Fitted]) -> Unwrapped:
    """The texture of one face from one or several photographs."""
    options, layout = setup.options, setup.layout
    cuts = [cut(setup, face) for face in faces]
    each = [jax.tree.map(lambda leaf, row=face.row: np.asarray(leaf[row]), face.result.params) for face in faces]
    params = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    best = jax.tree.map(lambda leaf: leaf[most_frontal(params.pose)], params)
    template = _template(faces[0].result.model, layout.texels, best)
    # What the fit's albedo takes may differ from stage to stage; where the texels lie does not depend on it.
    params = replace(params, albedo=jnp.zeros((len(faces), 0)))
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *cuts)
    return _unwrap(
        setup.model,
        params,
        stacked,
        layout,
        template,
        delight=options.delight,
        skin_only=not options.everything,
    )


def cut(setup: Setup, face: Fitted) -> CutOut:
    """The square of a photograph that its texture is taken from."""
    portrait = face.portrait
    return cut_out(as_photo(portrait.face.image), face.landmarks, setup.layout, mask=portrait.mask)


def most_frontal(pose: Pose) -> int:
    """Which of several poses (leading axis) turns the face to the camera most."""
    forward = np.asarray(quaternion_to_matrix(pose.rotation))[..., 2]
    place = np.asarray(pose.translation)
    return int(np.argmax(-np.sum(forward * place, axis=-1) / np.linalg.norm(place, axis=-1)))


_unwrap = jit(unwrap_photos, static_argnames=("delight", "skin_only", "blending"))


@jit
def _template(model: FaceModel, texels: Texels, params: FaceParams) -> Float[Array, "S S 3"]:
    return jnp.clip(template_map(model, texels, decode_albedo(model, params)), 0.0, 1.0)


def fit_figures(one: Fitted) -> dict[str, float | None]:
    """How well one photograph was fitted."""
    face, result, row = one.portrait.face, one.result, one.row
    sure = {} if face.start is None else {"confidence": float(np.mean(face.start.confidence))}
    figures = {
        "landmark_nme_percent": result.landmark_nme(row),
        "psnr_face": float(result.faces.psnr_face[row]),
        "face_pixels": float(np.sqrt(np.prod(np.ptp(one.landmarks, axis=0)))),
        **sure,
    }
    return {name: _short(value) for name, value in figures.items()}


def texture_figures(unwrapped: Unwrapped) -> dict[str, float | None]:
    """How good the texture is, see `facejax.unwrap.photos.Quality`."""
    return {name: _short(float(value)) for name, value in unwrapped.quality._asdict().items()}


def _short(value: float) -> float | None:
    return round(value, 4) if np.isfinite(value) else None


def about(setup: Setup) -> dict[str, Any]:
    """What a summary says of how a texture was made."""
    options = setup.options
    return {
        "model": setup.model.name,
        "recipe": setup.recipe.name,
        "options": {
            "size": options.size,
            "landmarks": "regressed" if setup.regressor is not None else "given",
            "masks": options.masks is not None,
            "delight": options.delight,
            "everything": options.everything,
            "batch": options.batch,
        },
        "versions": versions(),
    }


def write_texture(
    folder: Path,
    pictures: Mapping[str, Float[Array | np.ndarray, "S S *C"]],
    summary: dict[str, Any],
) -> None:
    """The PNG files by name, then `summary.json`: where it is, the folder is complete."""
    (folder / "summary.json").unlink(missing_ok=True)
    for name, picture in pictures.items():
        write_png(folder / f"{name}.png", np.asarray(picture))
    write_summary(folder / "summary.json", summary)

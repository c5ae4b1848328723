"""`regress` and `fit`: photographs in, faces out, and their files."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from facejax.camera import quaternion_to_euler
from facejax.evaluation.normalized_error import nme
from facejax.export.fitted import FILES, File, write_fitted_face
from facejax.export.params import load_params
from facejax.export.regressed import save_regression
from facejax.export.stages import write_stages
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.load import load_face_model
from facejax.fitting import FaceStart, FittedFaces, Recipe, Tools, compile_fit, model_after, over_devices, prepare_crops
from facejax.fitting.tools import LINEAR as OWN
from facejax.generative_renderer import GenerativeRenderer
from facejax.images.read import as_photo, read_pixels
from facejax.regression.photos import ARRAYS, Boxes, Faces, RegressedPhotos, Source, regress_photos, stack_regressions
from facejax.regression.regressor import Regression, Regressor, load_regressor
from facejax.texture import TextureDecoder
from facejax.toolbox import albedo_model, recipe_for, tools_for


@dataclass(frozen=True)
class FitResult:
    """The fitted faces of N photographs, with what they were fitted to."""

    model: FaceModel  # with the albedo that the parameters belong to
    recipe: Recipe
    photos: list[np.ndarray]  # (H, W, 3) each, display values or bytes
    observed: list[np.ndarray]  # the landmarks that were given, (68, 2) each, pixels
    faces: FittedFaces  # every leaf with a leading axis N
    seconds: dict[str, float]  # compile, fit
    stage_models: dict[str, FaceModel]  # by stage, in order: the face model with its albedo
    tools: Tools  # the albedo models and networks that the recipe drew on

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def params(self) -> FaceParams:
        """Parameters with a leading axis N; the cameras are in pixels of the photographs."""
        return self.faces.params

    @property
    def landmarks(self) -> Float[np.ndarray, "N 68 2"]:
        """The fit's landmarks, pixels of the photographs."""
        return np.asarray(self.faces.landmarks)

    def save(self, out: str | Path, names: Sequence[str] | None = None, *, keep_stages: bool = False) -> list[Path]:
        """Write the files of every face to `out/<name>/` and return those folders.

        mesh.obj with mesh.mtl and albedo.png (expressive, un-posed, millimetres), face.glb (metres, with its
        expressions as morph targets), neutral.obj, overlay.png, params.npz, and summary.json, which is written last.
        Names default to face0, face1, ... With `keep_stages` also the face after every stage, and the losses as
        losses.csv and losses.png, in `stages/`.
        """
        names = [f"face{index}" for index in range(len(self))] if names is None else list(names)
        if len(names) != len(self) or len(set(names)) != len(names):
            raise ValueError(f"{len(names)} names for {len(self)} faces: give each face its own")
        return [
            self.save_one(index, Path(out) / name, image=name, keep_stages=keep_stages)
            for index, name in enumerate(names)
        ]

    def save_one(
        self,
        index: int,
        folder: Path,
        *,
        image: str,
        extra: dict[str, object] | None = None,
        keep_stages: bool = False,
        files: Collection[File] = FILES,
    ) -> Path:
        """Write the files of one face into `folder`; `image` and `extra` go into its summary."""
        photo, observed = as_photo(self.photos[index]), self.observed[index]
        # Taken out on the host, where that needs no program for each shape.
        face = jax.device_put(jax.tree.map(lambda leaf: np.asarray(leaf)[index], self.faces))
        if keep_stages:
            write_stages(folder / "stages", self.stage_models, face, photo=photo, observed=observed, recipe=self.recipe)
        write_fitted_face(
            folder,
            self.model,
            face,
            photo=photo,
            observed=observed,
            recipe=self.recipe,
            tools=self.tools,
            image=image,
            seconds=self.seconds,
            extra=extra,
            files=files,
        )
        return folder

    def landmark_nme(self, index: int) -> float:
        """Mean distance of the landmarks to the given ones, percent of the square root of their box's area."""
        return float(nme(self.landmarks[index], self.observed[index]))


@dataclass(frozen=True)
class RegressResult:
    """What the network alone says about the faces of some photographs; every array has a leading axis N of faces."""

    regressor: Regressor
    images: list[str]  # file name of each face's photograph
    photo: list[int]  # its position among the photographs
    boxes: Float[np.ndarray, "N 4"]  # where the detector or the caller saw the face; left, top, right, bottom; pixels
    faces: Regression  # in pixels of the photographs
    failures: list[str]  # a line for each photograph without a face

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> "RegressResult":
        """One face, still with the leading axis."""
        one = slice(index, index + 1)
        faces = jax.tree.map(lambda leaf: leaf[one], self.faces)
        return replace(self, images=self.images[one], photo=self.photo[one], boxes=self.boxes[one], faces=faces)

    @property
    def params(self) -> FaceParams:
        """Coefficients, pose, camera (pixels of the photographs) and light."""
        return self.faces.params

    @property
    def landmarks(self) -> Float[np.ndarray, "N 68 2"]:
        """Fixed points of the surface, pixels of the photographs."""
        return np.asarray(self.faces.landmarks)

    @property
    def confidence(self) -> Float[np.ndarray, "N 68"]:
        """The network's own estimate of the chance that a point is within 5 % of the face's size of the truth."""
        return np.asarray(self.faces.confidence)

    @property
    def pose_degrees(self) -> Float[np.ndarray, "N 3"]:
        """Pitch, yaw and roll as seen from the camera's place."""
        return np.asarray(quaternion_to_euler(self.params.pose.rotation))

    def save(self, path: str | Path) -> Path:
        """Write everything to one .npz file (see `facejax.export.save_regression`), whole or not at all."""
        save_regression(path, self.faces, self.images, self.boxes, self.regressor.model.name)
        return Path(path)


def join(results: Sequence[RegressResult]) -> RegressResult:
    """The faces of several results of one regressor as one."""
    return replace(
        results[0],
        images=[name for result in results for name in result.images],
        photo=[index for result in results for index in result.photo],
        boxes=np.concatenate([result.boxes for result in results]),
        faces=jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(result.faces for result in results)),
        failures=[line for result in results for line in result.failures],
    )


def regress(
    images: Sequence[Source] | Source,
    *,
    boxes: Boxes | None = None,
    faces: Faces = "largest",
    regressor: Regressor | None = None,
    batch: int = 8,
) -> RegressResult:
    """Find the faces of photographs and give each its coefficients, pose and 68 landmarks, without a fit.

    Args:
        images: one photograph or a sequence of them: files, or arrays (H, W, 3) of display values in [0, 1], or of 8
            or 16 bits.
        boxes: [left, top, right, bottom] or rows of them, in pixels, around the landmarks; by file name, or one entry
            for each photograph (None: look for the face).
        faces: "largest" or "all" of those found in a photograph.
        regressor: the shipped one by default, see `facejax.regression.regressor.load_regressor`.
        batch: faces the compiled program takes at once.

    A photograph that cannot be read or shows no face becomes a line of `failures`; when that is all of them, a
    ValueError says so.
    """
    sources = _several(images)
    if not sources:
        raise ValueError("no photographs to regress: pass at least one")
    if boxes is not None and len(sources) == 1 and not isinstance(boxes, Mapping) and not _per_photo(boxes):
        boxes = [np.asarray(boxes)]
    regressor = load_regressor() if regressor is None else regressor
    found = regress_photos(regressor, sources, boxes=boxes, faces=faces, batch=batch)
    if not found.faces:
        raise ValueError(found.failures[0] if len(sources) == 1 else f"no face in any photograph: {found.failures[0]}")
    return collect(regressor, found)


def collect(regressor: Regressor, found: RegressedPhotos) -> RegressResult:
    """The faces of some photographs as one result; at least one face."""
    return RegressResult(
        regressor=regressor,
        images=[found.names[face.photo] for face in found.faces],
        photo=[face.photo for face in found.faces],
        boxes=np.stack([face.box for face in found.faces]),
        faces=stack_regressions([face.regression for face in found.faces]),
        failures=found.failures,
    )


def _several(images: Sequence[Source] | Source) -> list[Source]:
    """All photographs; a file, or an array with the three axes of a photograph, is one."""
    one = isinstance(images, str | Path) or (isinstance(images, ARRAYS) and images.ndim == 3)
    return [images] if one else list(images)  # type: ignore[list-item]


def _per_photo(boxes: Sequence[Any] | np.ndarray) -> bool:
    """One entry a photograph, each a box or rows of boxes; False for what belongs to a single photograph."""
    first = boxes[0]
    return first is None or (np.ndim(first) >= 1 and not isinstance(boxes, np.ndarray))


def fit(
    model: FaceModel,
    images: Sequence[Source] | Source,
    landmarks: Sequence[np.ndarray] | np.ndarray | None = None,
    *,
    recipe: Recipe | None = None,
    focal: Sequence[float] | float | None = None,
    start: RegressResult | None = None,
    tools: Tools | None = None,
) -> FitResult:
    """Fit the faces of one or many photographs, all in one compiled program, spread over all local devices.

    Without landmarks the largest face of each photograph is found and regressed (`regress`), and the fit starts from
    its landmarks, their confidences and its coefficients.

    Args:
        model: what a face can be, e.g. `load_face_model()`.
        images: one photograph or a sequence of them: files, or arrays (H, W, 3) of display (sRGB) values in [0, 1],
            or of 8 or 16 bits; sizes may differ.
        landmarks: 68 points in the iBUG order, (68, 2) for one photograph or one set each, pixels with (0, 0) at the
            image's top-left corner. None: those of `start`.
        recipe: the stages to run, see `facejax.fitting.recipes`; None: `DEFAULT` for the default head, `LINEAR` for
            other models. One that paints ("gar") runs at its generator's own size.
        focal: focal length in pixels of the photographs, where it is known; one for all or one each.
        start: what `regress` said of these faces, one for each photograph.
        tools: the albedo models and networks that the recipe's stages name; by default the package's own
            (`facejax.toolbox.tools_for`).

    Raises ValueError for inputs that do not fit together. The first call with a new batch size compiles.
    """
    given = _several(images)
    photos = [read_pixels(one) if isinstance(one, str | Path) else np.asarray(one) for one in given]
    recipe = recipe_for(model) if recipe is None else recipe
    if landmarks is None:
        if start is None:
            names = [Path(one).name if isinstance(one, str | Path) else f"photo {k}" for k, one in enumerate(given)]
            start = _regress_each(photos, names)
        landmarks, recipe = start.landmarks, _without_outline(recipe)
    tools = tools_for(recipe, model=model) if tools is None else tools
    recipe = replace(recipe, size=tools.painter_side() or recipe.size)
    alone = len(landmarks) > 0 and np.ndim(landmarks[0]) == 1
    landmarks = [np.asarray(points) for points in ([landmarks] if alone else landmarks)]
    known = None if start is None else face_start(model, start)
    crops = prepare_crops(photos, landmarks, recipe=recipe, focal=focal, start=known)
    begin = time.perf_counter()
    everywhere = over_devices(model, crops, tools)
    program = compile_fit(*everywhere[:2], recipe=recipe, tools=everywhere[2])
    compiled = time.perf_counter()
    faces = jax.block_until_ready(program(*everywhere))
    if len(faces) > len(photos):
        faces = jax.tree.map(lambda leaf: leaf[: len(photos)], faces)
    seconds = {"compile": compiled - begin, "fit": time.perf_counter() - compiled}
    names = ["landmarks", *(stage.name for stage in recipe.stages)]
    after = {name: model_after(model, recipe, tools, name) for name in names}
    return FitResult(model_after(model, recipe, tools), recipe, photos, landmarks, faces, seconds, after, tools)


def load_face(
    path: str | Path,
    *,
    model: FaceModel | str | Path = "default",
    decoder: TextureDecoder | str | Path = "default",
    renderer: GenerativeRenderer | str | Path = "default",
) -> tuple[FaceModel, FaceParams]:
    """A face that a fit wrote: the face model with the albedo that the parameters belong to, and the parameters, whose
    leaves have the axes of the file: none before their own for one face.

    >>> model, params = load_face("out/photo")  # doctest: +SKIP
    >>> picture = facejax.render(model, params, size=(480, 640)).color  # doctest: +SKIP

    Args:
        path: a `params.npz`, or the folder that holds it.
        model: the face model that was fitted, or its path.
        decoder, renderer: those of the fit, or their folders, where it was not the package's own
            (`facejax.toolbox.tools_for`). After the recipe "gar" the model paints whole pictures and has no map: see
            `facejax.generative_renderer`.

    Raises ValueError for another model than the one that was fitted, and like `load_params` and the loaders.
    """
    path = Path(path)
    path = path / "params.npz" if path.is_dir() else path
    params, name, albedo = load_params(path)
    model = model if isinstance(model, FaceModel) else load_face_model(model)
    if model.name != name:
        raise ValueError(f"{path}: a face of the model {name!r}, not of {model.name!r}: pass it as model=")
    found = model if albedo == OWN else replace(model, albedo=albedo_model(albedo, decoder, renderer))
    takes, has = 0 if found.albedo is None else found.albedo.count, params.albedo.shape[-1]
    if has > takes or (has < takes and albedo != OWN):  # of a linear model the last ones may be left out
        raise ValueError(
            f"{path}: {has} albedo coefficients, but {albedo!r} takes {takes}: pass the fit's decoder= or renderer="
        )
    return found, params


def _without_outline(recipe: Recipe) -> Recipe:
    """The recipe for a regressor's landmarks, whose jaw points are fixed points of the surface."""
    return replace(recipe, contour="static") if recipe.contour == "auto" else recipe


def face_start(model: FaceModel, start: RegressResult) -> FaceStart:
    """What a fit takes over from the regressor: its confidences, and its coefficients where they are this model's."""
    params, count = start.params, len(start)
    own = model.name == start.regressor.model.name
    identity, expression = (params.identity, params.expression) if own else (np.zeros((count, 0)),) * 2
    return FaceStart(*(jnp.asarray(part, jnp.float32) for part in (start.confidence, identity, expression)))


def _regress_each(photos: list[np.ndarray], names: list[str]) -> RegressResult:
    """The largest face of each photograph; a photograph without one is an error, since faces must match photographs."""
    if not photos:
        raise ValueError("no photographs to fit: pass at least one")
    regressor = load_regressor()
    found = regress_photos(regressor, photos, names=names)
    if found.failures:
        raise ValueError(found.failures[0])
    return collect(regressor, found)

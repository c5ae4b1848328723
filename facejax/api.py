"""`regress` and `fit`: photographs in, faces out, and their files."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from facejax.appearance import Appearance
from facejax.camera import quaternion_to_euler
from facejax.evaluation.normalized_error import nme
from facejax.export.fitted import COLORED, FILES, File, write_fitted_face
from facejax.export.material import Look
from facejax.export.regressed import save_regression
from facejax.export.stages import write_stages
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting import TERMS, FaceStart, FittedFaces, Ingredients, Recipe, Scene, Term, fit_batches, share_focal
from facejax.fitting.crops import one_each, prepare_crop, stack_crops
from facejax.fitting.face_data import PhotoData, check_data
from facejax.fitting.landmark_check import check_landmarks, mean_landmarks
from facejax.images.lens import Lens
from facejax.images.read import as_photo, read_with_lens
from facejax.ingredients import ingredients_for, recipe_for
from facejax.material import Material, PhotoLayer
from facejax.regression.candidates import SURE_CONFIDENCE
from facejax.regression.photos import ARRAYS, Boxes, Faces, RegressedPhotos, Source, regress_photos, stack_regressions
from facejax.regression.regressor import Regression, Regressor, load_regressor
from facejax.skin import NOTHING, Keep, has_skin, skin_maps, skin_tools
from facejax.unwrap.photos import cut_out


@dataclass(frozen=True)
class FitResult:
    """The fitted faces of N photographs, with what they were fitted to."""

    model: FaceModel
    recipe: Recipe
    photos: list[np.ndarray]  # (H, W, 3) each, display values or bytes
    observed: list[np.ndarray]  # the landmarks that were given, (68, 2) each, pixels
    faces: FittedFaces  # every leaf with a leading axis N
    seconds: dict[str, float]  # compile, fit
    ingredients: Ingredients  # the appearances and networks that the recipe used
    photo: list[int]  # each face's position among the photographs that were passed
    failures: list[str]  # a line for each photograph that could not be fitted
    failed: list[int]  # the positions of those photographs
    focal_from: list[str]  # what each face's focal length is from: "given", "exif", "shared" or "estimated"

    def __len__(self) -> int:
        return len(self.photos)

    @property
    def params(self) -> FaceParams:
        """Parameters with a leading axis N; the cameras are in pixels of the photographs."""
        return self.faces.params

    @property
    def appearance(self) -> Appearance:
        """What colours the faces; draw one with `facejax.render(model, params, appearance, size=...)`."""
        return self.ingredients.appearance(self.recipe.appearance_after(), self.model)

    @property
    def appearances(self) -> dict[str, Appearance]:
        """What colours the faces after each stage, first to last."""
        names = ["landmarks", *(stage.name for stage in self.recipe.stages)]
        return {name: self.ingredients.appearance(self.recipe.appearance_after(name), self.model) for name in names}

    @property
    def landmarks(self) -> Float[np.ndarray, "N 68 2"]:
        """The fit's landmarks, pixels of the photographs."""
        return np.asarray(self.faces.landmarks)

    def material(self, index: int, *, size: int = 1024, keep: Keep = NOTHING) -> tuple[Material, PhotoLayer] | None:
        """The maps of a face's skin, and the photograph in the same layout, on the host (`facejax.skin.skin_maps`).

        None for a model other than the default head, whose layout the network knows, and for a fit that failed.

        Args:
            index: the face's position in this result.
            size: texels along a side: 512, 1024, 2048 or 4096. Raises ValueError for another one.
            keep: what of the photograph stays in the albedo although it is no bare skin.
        """
        one = jax.tree.map(lambda leaf: np.asarray(leaf)[index], self.params)
        if not has_skin(self.model) or not self.faces.finite[index]:
            return None
        tools, points = skin_tools(size), self.observed[index]
        cut = cut_out(as_photo(self.photos[index]), points, tools.layout)
        found = skin_maps(self.model, [one], [cut], [points], tools, keep=keep)
        return found.material, found.layer

    def save(
        self,
        out: str | Path,
        names: Sequence[str] | None = None,
        *,
        keep_stages: bool = False,
        look: Look = "material",
        keep: Keep = NOTHING,
    ) -> list[Path]:
        """Write the files of every face to `out/<name>/` and return those folders.

        mesh.obj with mesh.mtl and albedo.png (expressive, un-posed, millimetres), face.glb (metres, with its
        expressions as morph targets), neutral.obj, overlay.png, params.npz, and summary.json, which is written last; a
        face with a `material` also gets its maps. Names default to face0, face1, ... With `keep_stages` also the face
        after every stage, and the losses as losses.csv and losses.png, in `stages/`. `look`, `keep`: as for `save_one`.
        """
        names = [f"face{index}" for index in range(len(self))] if names is None else list(names)
        if len(names) != len(self) or len(set(names)) != len(names):
            raise ValueError(f"{len(names)} names for {len(self)} faces: give each face its own")
        return [
            self.save_one(index, Path(out) / name, image=name, keep_stages=keep_stages, look=look, keep=keep)
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
        look: Look = "material",
        keep: Keep = NOTHING,
    ) -> Path:
        """Write the files of one face and return its folder.

        Args:
            index: the face's position in this result.
            folder: where to.
            image: the photograph's name, for the summary.
            extra: what else the summary says.
            keep_stages: also write the face after every stage, to `stages/`.
            files, look: see `facejax.export.fitted.write_fitted_face`.
            keep: as for `material`.
        """
        photo, observed = as_photo(self.photos[index]), self.observed[index]
        # Indexed on the host: on the device each shape would compile a program.
        face = jax.device_put(jax.tree.map(lambda leaf: np.asarray(leaf)[index], self.faces))
        if keep_stages:
            given = {"photo": photo, "observed": observed, "recipe": self.recipe}
            write_stages(folder / "stages", self.model, self.appearances, face, **given)
        wanted = self.recipe.maps and COLORED & set(files)
        material, layer = (self.material(index, keep=keep) if wanted else None) or (None, None)
        write_fitted_face(
            folder,
            self.model,
            self.appearance,
            face,
            photo=photo,
            observed=observed,
            recipe=self.recipe,
            ingredients=self.ingredients,
            image=image,
            focal_from=self.focal_from[index],
            seconds=self.seconds,
            extra=extra,
            files=files,
            material=material,
            layer=layer,
            look=look,
        )
        return folder

    def landmark_nme(self, index: int) -> float:
        """Mean distance of the landmarks to the given ones, percent of the square root of their box's area."""
        return float(nme(self.landmarks[index], self.observed[index]))


@dataclass(frozen=True)
class RegressResult:
    """The network's prediction for the faces of some photographs; every array has a leading axis N of faces."""

    regressor: Regressor
    images: list[str]  # file name of each face's photograph
    photo: list[int]  # its position among the photographs
    boxes: Float[np.ndarray, "N 4"]  # from the detector or the caller: left, top, right, bottom; pixels
    faces: Regression  # in pixels of the photographs
    failures: list[str]  # a line for each photograph without a face, or with a box that cannot be used
    turns: list[int]  # quarter turns counter-clockwise after which the network saw each face; 0: as the photograph is

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> "RegressResult":
        """One face, with a leading axis of length 1."""
        one = slice(index, index + 1)
        faces = jax.tree.map(lambda leaf: leaf[one], self.faces)
        rows = {"images": self.images[one], "photo": self.photo[one], "turns": self.turns[one]}
        return replace(self, **rows, boxes=self.boxes[one], faces=faces)

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
    def doubtful(self) -> Bool[np.ndarray, " N"]:
        """The faces whose landmarks the network itself doubts: their mean confidence is below `SURE_CONFIDENCE`."""
        return ~(self.confidence.mean(axis=1) >= SURE_CONFIDENCE)

    @property
    def pose_degrees(self) -> Float[np.ndarray, "N 3"]:
        """Pitch, yaw and roll relative to the camera."""
        return np.asarray(quaternion_to_euler(self.params.pose.rotation))

    def save(self, path: str | Path) -> Path:
        """Write everything to one .npz file (see `facejax.export.save_regression`), atomically."""
        save_regression(path, self.faces, self.images, self.boxes, self.regressor.model.name)
        return Path(path)


def join(results: Sequence[RegressResult]) -> RegressResult:
    """Join several results of one regressor into one."""
    return replace(
        results[0],
        images=[name for result in results for name in result.images],
        photo=[index for result in results for index in result.photo],
        boxes=np.concatenate([result.boxes for result in results]),
        faces=jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *(result.faces for result in results)),
        failures=[line for result in results for line in result.failures],
        turns=[turn for result in results for turn in result.turns],
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
        faces: which of the faces found in a photograph: the "largest", or "all".
        regressor: the shipped one by default, see `facejax.regression.regressor.load_regressor`.
        batch: faces that the compiled program takes at once.

    A photograph that cannot be read, shows no face or has a wrong box becomes a line of `failures`. Raises ValueError
    when no photograph gives a face.
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
    """Put the faces found in some photographs into one result; there must be at least one face."""
    return RegressResult(
        regressor=regressor,
        images=[found.names[face.photo] for face in found.faces],
        photo=[face.photo for face in found.faces],
        boxes=np.stack([face.box for face in found.faces]),
        faces=stack_regressions([face.regression for face in found.faces]),
        failures=found.failures,
        turns=[face.turn for face in found.faces],
    )


def _several(images: Sequence[Source] | Source) -> list[Source]:
    """The photographs as a list; a single file, or a single array with three axes, becomes a list of one."""
    if isinstance(images, ARRAYS) and images.ndim < 3:
        raise ValueError(f"the photograph has shape {images.shape}: pass (H, W, 3) display values in [0, 1]")
    if not isinstance(images, Path | Iterable):
        raise ValueError(f"{type(images).__name__}: pass a file, an array (H, W, 3), or a sequence of these")
    one = isinstance(images, str | Path) or (isinstance(images, ARRAYS) and images.ndim == 3)
    return [images] if one else list(images)  # type: ignore[list-item, arg-type]


def _per_photo(boxes: Sequence[Any] | np.ndarray) -> bool:
    """Whether the boxes have one entry for each photograph; False for the boxes of a single photograph."""
    first = boxes[0]
    return first is None or (np.ndim(first) >= 1 and not isinstance(boxes, np.ndarray))


def fit(
    model: FaceModel,
    images: Sequence[Source] | Source,
    landmarks: Sequence[np.ndarray] | np.ndarray | None = None,
    *,
    recipe: Recipe | None = None,
    focal: Sequence[float | Lens | None] | float | None = None,
    cameras: Sequence[Hashable] | None = None,
    start: RegressResult | None = None,
    ingredients: Ingredients | None = None,
    terms: Mapping[str, Term | Callable[[Scene], Any]] | None = None,
    batch: int | None = None,
) -> FitResult:
    """Fit the faces of one or many photographs with one compiled program, spread over all local devices.

    Without landmarks the largest face of each photograph is found and regressed (`regress`), and the fit starts from
    its landmarks, their confidences and its coefficients.

    Args:
        model: which shapes a face can have, e.g. `load_face_model()`.
        images: one photograph or a sequence of them: files, or arrays (H, W, 3) of display (sRGB) values in [0, 1],
            or of 8 or 16 bits; sizes may differ.
        landmarks: 68 points in the iBUG order, (68, 2) for one photograph or one set each, pixels with (0, 0) at the
            image's top-left corner. None: those of `start`. Those that cannot be a face's, because they are mirrored,
            upside down, in another order or in other units, fail their photograph.
        recipe: the stages to run, see `facejax.fitting.recipes`; None: `DEFAULT` for the default head, `LINEAR` for
            other models. The recipe "gar" runs at its generator's own picture size.
        focal: focal length in pixels of the photographs, where it is known; one for all or one each. None: that of the
            file's EXIF block, or else a usual one that the perspective of the face refines.
        cameras: for each photograph the camera that took it, by any name: photographs (of one size) with the same name
            share one focal length. None: each has its own.
        start: the result of `regress` for these faces, one for each photograph.
        ingredients: the appearances and networks that the recipe's stages name; by default the package's own
            (`facejax.ingredients.ingredients_for`).
        terms: loss terms of your own by name: functions of a `Scene`, or `Term`s with a weight and data for each
            photograph. A term that no stage names joins all stages.
        batch: faces at once on an accelerator; None: all. On a processor the batch is just large enough to keep it
            busy.

    Returns: the fitted faces; each photograph that could not be fitted has a line in `failures`.

    Raises ValueError when no photograph can be fitted, and for inputs that do not match. The first call with a
    new batch size compiles.
    """
    given = _several(images)
    if not given:
        raise ValueError("no photographs to fit: pass at least one")
    recipe = recipe_for(model) if recipe is None else recipe
    recipe, own, data = _with_terms(recipe, {} if terms is None else terms)
    check_data(data, len(given))
    focals = one_each(focal, len(given))
    names = [Path(one).name if isinstance(one, str | Path) else f"photo {k}" for k, one in enumerate(given)]
    if cameras is not None and len(cameras) != len(given):
        raise ValueError(f"{len(cameras)} cameras for {len(given)} photographs: name one for each")
    photos, lenses, failures = _read_each(given, names)
    if landmarks is None:
        recipe = _without_outline(recipe)
        rows, start = _started(photos, names, failures, start, len(given))
        points = {k: start.landmarks[row] for k, row in rows.items()}
    else:
        rows, points = {}, dict(enumerate(_one_set_each(landmarks, len(given))))
    if ingredients is None:
        ingredients = ingredients_for(recipe, model=model)
    recipe = replace(recipe, size=ingredients.side() or recipe.size)
    crops, sources = {}, {}
    for k in (k for k in photos if k in points):
        try:
            lens = focals[k] if focals[k] is not None else lenses.get(k)
            crop = prepare_crop(k, photos[k], points[k], lens, recipe=recipe, data=data, name=names[k])
            if landmarks is not None:
                check_landmarks(points[k], photos[k].shape, mean_landmarks(model), names[k])
            crops[k] = crop
            sources[k] = "given" if isinstance(lens, float | int) else lens.source if lens else "estimated"
        except ValueError as error:
            failures[k] = str(error)
    if not crops:
        first = failures[min(failures)]
        raise ValueError(first if len(given) == 1 else f"no photograph can be fitted: {first}")
    known = None
    if start is not None:
        some = [rows[k] if rows else k for k in crops]
        known = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)[some]), face_start(model, start))
    stacked = stack_crops(list(crops.values()), known)
    if cameras is not None:
        stacked = share_focal(model, stacked, [cameras[k] for k in crops], recipe)
    settings = {"recipe": recipe, "ingredients": ingredients, "terms": {**TERMS, **own}}
    faces, seconds = fit_batches(model, stacked, **settings, batch=batch)
    return FitResult(
        model=model,
        recipe=recipe,
        photos=[photos[k] for k in crops],
        observed=[points[k] for k in crops],
        faces=faces,
        seconds=seconds,
        ingredients=ingredients,
        photo=list(crops),
        failures=[failures[k] for k in sorted(failures)],
        failed=sorted(failures),
        focal_from=[sources[k] for k in crops],
    )


def _with_terms(
    recipe: Recipe, terms: Mapping[str, Term | Callable[[Scene], Any]]
) -> tuple[Recipe, dict[str, Term], dict[str, PhotoData]]:
    """The recipe with the user's own terms in its stages, the terms without their data, and the data."""
    if terms and not recipe.stages:
        raise ValueError(f"recipe {recipe.name!r} has no stages, so terms have no effect: use another, such as LINEAR")
    own = {name: term if isinstance(term, Term) else Term(term) for name, term in terms.items()}
    named = {name for stage in recipe.stages for name, _ in stage.weights}
    more = tuple((name, term.weight) for name, term in own.items() if name not in named)
    if more:
        stages = tuple(replace(stage, weights=(*stage.weights, *more)) for stage in recipe.stages)
        recipe = replace(recipe, stages=stages)
    data = {name: term.data for name, term in own.items() if term.data is not None}
    return recipe, {name: replace(term, data=None) for name, term in own.items()}, data


def _without_outline(recipe: Recipe) -> Recipe:
    """The recipe for landmarks from the regressor, whose jaw points are fixed on the surface."""
    return replace(recipe, contour="static") if recipe.contour == "auto" else recipe


def face_start(model: FaceModel, start: RegressResult) -> FaceStart:
    """A fit's start from the regressor: its confidences, and its coefficients if they belong to this face model."""
    params, count = start.params, len(start)
    own = model.name == start.regressor.model.name
    identity, expression = (params.identity, params.expression) if own else (np.zeros((count, 0)),) * 2
    return FaceStart(*(jnp.asarray(part, jnp.float32) for part in (start.confidence, identity, expression)))


def _read_each(
    given: list[Source], names: list[str]
) -> tuple[dict[int, np.ndarray], dict[int, Lens | None], dict[int, str]]:
    """The pixels and lenses of the photographs that can be read, and a line for each of the others, by position."""
    photos, lenses, failures = {}, {}, {}
    for k, one in enumerate(given):
        try:
            photos[k], lenses[k] = read_with_lens(one) if isinstance(one, str | Path) else (np.asarray(one), None)
        except (ValueError, OSError) as error:
            failures[k] = " ".join(str(error).split())
    return photos, lenses, failures


def _one_set_each(landmarks: Sequence[np.ndarray] | np.ndarray, count: int) -> list[np.ndarray]:
    """The landmarks of each photograph. Raises ValueError for files, and for another number of sets."""
    if isinstance(landmarks, str | Path) or any(isinstance(points, str | Path) for points in landmarks):
        raise ValueError("landmarks: pass arrays (68, 2); facejax.images.read_landmarks reads a file of them")
    alone = len(landmarks) > 0 and np.ndim(landmarks[0]) == 1
    each = [np.asarray(points) for points in ([landmarks] if alone else landmarks)]
    if len(each) != count:
        raise ValueError(f"{count} photographs but {len(each)} sets of landmarks: pass one set a photograph")
    return each


def _started(
    photos: dict[int, np.ndarray], names: list[str], failures: dict[int, str], start: RegressResult | None, count: int
) -> tuple[dict[int, int], RegressResult]:
    """The row of each photograph in the regression result, which is computed now if it was not given.

    A photograph without a face becomes a line of `failures`.
    """
    if start is not None:
        if len(start) != count:
            raise ValueError(f"{count} photographs but {len(start)} faces in start: pass one face a photograph")
        return {k: k for k in photos}, start
    order, regressor = list(photos), load_regressor()
    found = regress_photos(regressor, list(photos.values()), names=[names[k] for k in order], blend=False)
    failures |= {order[k]: line for k, line in zip(found.failed, found.failures, strict=True)}
    if not found.faces:
        first = failures[min(failures)]
        raise ValueError(first if count == 1 else f"no photograph can be fitted: {first}")
    return {order[face.photo]: row for row, face in enumerate(found.faces)}, collect(regressor, found)

"""Fit faces, as many at once as fit into the device's memory."""

import logging
import re
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.errors import JaxRuntimeError
from jaxtyping import Float

from facejax.api import FitResult, fit, join
from facejax.camera import PerspectiveCamera, Pose
from facejax.engine.faces import Face
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.gaze import EYEBALLS
from facejax.fitting import FittedFaces, Ingredients, Recipe
from facejax.images import Lens, Photo

log: logging.Logger = logging.getLogger(__name__)

UNSOUND = "{}: the fit did not stay finite; check that the landmarks are its own"


class Fitted(NamedTuple):
    """One face, and its row in the result of a fit."""

    face: Face
    result: FitResult
    row: int  # of the result

    @property
    def params(self) -> FaceParams:
        """This face's parameters, on the host."""
        return jax.tree.map(lambda leaf: np.asarray(leaf)[self.row], self.result.params)

    @property
    def landmarks(self) -> Float[np.ndarray, "68 2"]:
        """The fit's landmarks, pixels of the photograph."""
        return self.result.landmarks[self.row]


class Fitter:
    """A face model and a recipe with its ingredients."""

    def __init__(
        self,
        model: FaceModel,
        recipe: Recipe,
        ingredients: Ingredients,
        together: int,
        *,
        lens: Callable[[Face], Lens | None] = lambda face: face.lens,
    ):
        """Make a fitter; it compiles at the first fit.

        Args:
            model, recipe, ingredients: as for `facejax.fit`.
            together: faces at once on an accelerator; halved when they do not fit into its memory.
            lens: what is known of a face's lens; by default what its file says.
        """
        self.model, self.recipe, self.ingredients, self.together, self.lens = model, recipe, ingredients, together, lens

    def fit(self, faces: Sequence[Face]) -> tuple[list[Fitted], dict[Photo, str]]:
        """Fit faces.

        Returns: the fitted faces in the given order, and a line for each photograph with a face that failed.
        """
        while True:
            try:
                return self._fit(faces)
            except JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or self.together == 1:
                    raise
                log.warning("%d faces at once are too many for the device's memory: going on with half", self.together)
                self.together //= 2

    def _fit(self, faces: Sequence[Face]) -> tuple[list[Fitted], dict[Photo, str]]:
        if not faces:
            return [], {}
        try:
            result = fit_faces(self, faces)
        except ValueError as error:
            if len(faces) == 1:
                return [], {faces[0].photo: _line(faces[0].photo, 0, error)}
            parts = [self._fit([face]) for face in faces]  # none can be fitted: one by one, each tells why
            return [one for some, _ in parts for one in some], {k: v for _, failed in parts for k, v in failed.items()}
        failures = {}
        for k, error in zip(result.failed, result.failures, strict=True):
            failures[faces[k].photo] = _line(faces[k].photo, k, error)
        fitted, sound = [], np.asarray(result.faces.finite)
        for row, k in enumerate(result.photo):
            if sound[row]:
                fitted.append(Fitted(faces[k], result, row))
            else:
                failures[faces[k].photo] = UNSOUND.format(faces[k].photo)
        return fitted, failures


def fit_faces(fitter: Fitter, faces: Sequence[Face], *, cameras: Sequence[Hashable] | None = None) -> FitResult:
    """Fit some faces in one call of `facejax.fit`. Without `cameras`, each photograph has its own."""
    starts = [face.start for face in faces if face.start is not None]
    return fit(
        fitter.model,
        [face.image for face in faces],
        None if starts else [face.landmarks for face in faces],
        recipe=fitter.recipe,
        focal=[fitter.lens(face) for face in faces],
        cameras=[face.photo.file for face in faces] if cameras is None else cameras,
        start=join(starts) if starts else None,
        ingredients=fitter.ingredients,
        batch=fitter.together,
    )


def plain_result(fitter: Fitter, face: Face) -> FitResult:
    """The result of a fit as it would be for the mean face, on the host: its arrays have the shapes of a real one."""
    model, recipe = fitter.model, fitter.recipe
    looks = fitter.ingredients.appearance(recipe.appearance_after(), model).blocks
    height, width = face.image.shape[:2]
    eyes = "iris" in fitter.ingredients.networks and EYEBALLS in model.regions
    count = {"identity": len(model.identity_std), "expression": len(model.expression_std)}
    about: Any = {
        **{name: np.zeros((1, size), np.float32) for name, size in count.items()},
        "appearance": {name: np.zeros((1, *shape), np.float32) for name, shape in looks.items()},
        "light": np.zeros((1, 9, 3), np.float32),
        "gaze": np.zeros((1, 2, 2), np.float32) if eyes else None,
    }
    place: Any = np.array([[1, 0, 0, 0]], np.float32), np.array([[0, 0, -1000]], np.float32)
    lens: Any = np.full(1, width, np.float32), np.array([[width / 2, height / 2]], np.float32)
    params = FaceParams(pose=Pose(*place), camera=PerspectiveCamera(*lens), **about)
    found: Any = {
        "landmarks": np.asarray(face.landmarks, np.float32)[None],
        "moving": np.zeros(1, bool),
        "psnr_face": np.zeros(1, np.float32),
        "finite": np.ones(1, bool),
        "gaze_seen": np.zeros((1, 2), bool) if eyes else None,
    }
    course: Any = {name: {} for name in ("losses", "terms", "converged", "diverged_at", "stages")}
    faces = FittedFaces(params=params, **found, **course)
    given = {"photos": [face.image], "observed": [face.landmarks], "ingredients": fitter.ingredients}
    rest: Any = {"seconds": {}, "photo": [0], "failures": [], "failed": [], "focal_from": ["estimated"]}
    return FitResult(model, recipe, faces=faces, **given, **rest)


def _line(photo: Photo, index: int, error: object) -> str:
    """An error of `facejax.fit` about the photograph at a position, with the photograph's name instead."""
    line = re.sub(rf"\bphoto {index}\b", lambda _: str(photo), " ".join(str(error).split()))
    return line if str(photo) in line else f"{photo}: {line}"

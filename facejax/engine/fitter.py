"""Fits faces, as many at once as the device holds."""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jax.errors import JaxRuntimeError
from jaxtyping import Float

from facejax.api import FitResult, fit, join
from facejax.camera import focal_from_fov
from facejax.engine.faces import Face
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting import Recipe, Tools
from facejax.images import Photo

log = logging.getLogger(__name__)

UNSOUND = "{}: the fit did not stay finite; check that the landmarks are its own"


class Fitted(NamedTuple):
    """One face, and where its fit is."""

    face: Face
    result: FitResult
    row: int  # of the result

    @property
    def params(self) -> FaceParams:
        """Of this face, on the host."""
        return jax.tree.map(lambda leaf: np.asarray(leaf)[self.row], self.result.params)

    @property
    def landmarks(self) -> Float[np.ndarray, "68 2"]:
        """The fit's, pixels of the photograph."""
        return self.result.landmarks[self.row]


class Fitter:
    """A face model and a recipe with all that it draws on."""

    def __init__(self, model: FaceModel, recipe: Recipe, tools: Tools, together: int, *, fov: float | None = None):
        """`together`: faces in one compiled program; halved when they do not fit into the device's memory.
        `fov`: the angle in degrees that the longer side of each photograph spans, where it is known."""
        self.model, self.recipe, self.tools, self.together, self.fov = model, recipe, tools, together, fov

    def fit(self, faces: Sequence[Face]) -> tuple[list[Fitted], dict[Photo, str]]:
        """Those that could be fitted, in their order, and a line for each photograph with one that could not."""
        while True:
            some = [faces[k : k + self.together] for k in range(0, len(faces), self.together)]
            try:
                parts = [self._fit_some(each) for each in some]
                break
            except JaxRuntimeError as error:
                if "RESOURCE_EXHAUSTED" not in str(error) or self.together == 1:
                    raise
                log.warning("%d faces at once are too many for the device's memory: going on with half", self.together)
                self.together //= 2
        failures = {photo: line for _, failed in parts for photo, line in failed.items()}
        return [one for fitted, _ in parts for one in fitted], failures

    def _fit_some(self, faces: Sequence[Face]) -> tuple[list[Fitted], dict[Photo, str]]:
        """Where the faces together cannot be fitted, each is fitted alone."""
        try:
            result = fit_faces(self, faces)
        except ValueError as error:
            if len(faces) == 1:
                photo = faces[0].photo
                return [], {photo: f"{photo}: {' '.join(str(error).split())}"}
            parts = [self._fit_some([face]) for face in faces]
            return [one for part, _ in parts for one in part], {k: v for _, failed in parts for k, v in failed.items()}
        sound = np.asarray(result.faces.finite)
        fitted = [Fitted(face, result, row) for row, face in enumerate(faces) if sound[row]]
        unsound = [face.photo for row, face in enumerate(faces) if not sound[row]]
        return fitted, {photo: UNSOUND.format(photo) for photo in unsound}


def fit_faces(fitter: Fitter, faces: Sequence[Face]) -> FitResult:
    """One call of `facejax.fit`."""
    faces = [*faces, *[faces[-1]] * (fitter.together - len(faces))]
    focal = None
    if fitter.fov is not None:
        focal = [focal_from_fov(fitter.fov, max(face.image.shape[:2])) for face in faces]
    starts = [face.start for face in faces if face.start is not None]
    return fit(
        fitter.model,
        [face.image for face in faces],
        None if starts else [face.landmarks for face in faces],
        recipe=fitter.recipe,
        focal=focal,
        start=join(starts) if starts else None,
        tools=fitter.tools,
    )

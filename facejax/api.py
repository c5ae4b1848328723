"""`fit`: photographs and landmarks in, faces out, and the files of a fitted face."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jaxtyping import Float

from facejax.evaluation.nme import nme
from facejax.export.fitted import write_fitted_face
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting import LINEAR, FittedFaces, Recipe, compile_fit, prepare_crops


@dataclass(frozen=True)
class FitResult:
    """The fitted faces of N photographs, with what they were fitted to."""

    model: FaceModel
    recipe: Recipe
    photos: list[np.ndarray]  # (H, W, 3) each, display values
    observed: list[np.ndarray]  # the landmarks that were given, (68, 2) each, pixels
    faces: FittedFaces  # every leaf with a leading axis N
    seconds: dict[str, float]  # compile, fit

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

    def save(self, out: str | Path, names: Sequence[str] | None = None) -> list[Path]:
        """Write the files of every face to `out/<name>/` and return those folders.

        mesh.obj with mesh.mtl and albedo.png (expressive, un-posed, millimetres), neutral.obj, overlay.png, params.npz,
        and summary.json, which is written last. Names default to face0, face1, ...
        """
        names = [f"face{index}" for index in range(len(self))] if names is None else list(names)
        if len(names) != len(self) or len(set(names)) != len(names):
            raise ValueError(f"{len(names)} names for {len(self)} faces: give each face its own")
        return [self.save_one(index, Path(out) / name, image=name) for index, name in enumerate(names)]

    def save_one(self, index: int, folder: Path, *, image: str, extra: dict[str, object] | None = None) -> Path:
        """Write the files of one face into `folder`; `image` and `extra` go into its summary."""
        write_fitted_face(
            folder,
            self.model,
            self.faces[index],
            photo=self.photos[index],
            observed=self.observed[index],
            recipe=self.recipe.name,
            image=image,
            seconds=self.seconds,
            extra=extra,
        )
        return folder

    def landmark_nme(self, index: int) -> float:
        """Mean distance of the landmarks to the given ones, percent of the square root of their box's area."""
        return float(nme(self.landmarks[index], self.observed[index]))


def fit(
    model: FaceModel,
    images: Sequence[np.ndarray] | np.ndarray,
    landmarks: Sequence[np.ndarray] | np.ndarray,
    *,
    recipe: Recipe = LINEAR,
    focal: Sequence[float] | float | None = None,
) -> FitResult:
    """Fit the faces of one or many photographs, all in one compiled program.

    Args:
        model: what a face can be, e.g. `load_face_model()`.
        images: one photograph (H, W, 3) or a sequence of them, display (sRGB) values in [0, 1]; sizes may differ.
        landmarks: 68 points in the iBUG order, (68, 2) for one photograph or one set each, pixels with (0, 0) at the
            image's top-left corner.
        recipe: the stages to run, see `facejax.fitting.recipes`.
        focal: focal length in pixels of the photographs, where it is known; one for all or one each.

    Raises ValueError for inputs that do not fit together. The first call with a new batch size compiles.
    """
    if isinstance(images, np.ndarray) and images.ndim == 3:
        images, landmarks = [images], [np.asarray(landmarks)]
    images, landmarks = list(images), [np.asarray(points) for points in landmarks]
    crops = prepare_crops(images, landmarks, recipe=recipe, focal=focal)
    begin = time.perf_counter()
    program = compile_fit(model, crops, recipe=recipe)
    compiled = time.perf_counter()
    faces = jax.block_until_ready(program(model, crops))
    seconds = {"compile": compiled - begin, "fit": time.perf_counter() - compiled}
    return FitResult(model, recipe, images, landmarks, faces, seconds)

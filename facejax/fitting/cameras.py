"""Faces that one camera saw: the focal length that they share."""

from collections import Counter
from collections.abc import Hashable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import PerspectiveCamera
from facejax.face_model import FaceModel
from facejax.fitting.crops import Crops
from facejax.fitting.landmarks import FaceStart, fit_landmarks
from facejax.fitting.priors import FocalPrior
from facejax.fitting.recipe import Recipe
from facejax.images.lens import KNOWN
from facejax.programs import compile_cached


def share_focal(model: FaceModel, crops: Crops, cameras: Sequence[Hashable], recipe: Recipe) -> Crops:
    """Crops whose faces of one camera share a focal length, in pixels of their photographs.

    Each face is fitted to its landmarks alone, which gives its own focal length and how much it tells of it. The
    camera's is the mode of the product of all of these and the camera's prior.

    Args:
        model: which shapes a face can have.
        crops: the faces; those of a camera have one prior of its focal length.
        cameras: each face's camera, by any name. A camera with a single face is left as it is.
        recipe: has the priors of the landmarks' fit.
    """
    known = np.asarray(crops.focal.longer) < 2 * KNOWN
    several = {one for one, count in Counter(cameras).items() if count > 1}
    rows = [k for k, one in enumerate(cameras) if one in several and not known[k]]
    if not rows:
        return crops
    found = {k: _alone(model, jax.tree.map(lambda leaf, k=k: np.asarray(leaf)[k], crops), recipe) for k in rows}
    focal, shorter, longer = (np.array(part, np.float32) for part in crops.focal)
    scale = np.asarray(crops.scale)
    for camera in {cameras[k] for k in rows}:
        mine = [k for k in rows if cameras[k] == camera]
        logs = np.array([np.log(found[k][0] / scale[k]) for k in mine])
        prior = np.log(focal[mine[0]] / scale[mine[0]]), shorter[mine[0]], longer[mine[0]]
        shared = combine_focals(logs, np.array([found[k][1] for k in mine]), *map(float, prior))
        focal[mine], shorter[mine], longer[mine] = np.exp(shared) * scale[mine], KNOWN, KNOWN
    return crops._replace(focal=FocalPrior(*jax.device_put((focal, shorter, longer))))


def combine_focals(
    logs: Float[np.ndarray, " N"], information: Float[np.ndarray, " N"], mean: float, shorter: float, longer: float
) -> float:
    """The logarithm of the focal length of several faces' camera.

    Args:
        logs: that of each face alone, found under the prior.
        information: what each face tells of it besides the prior, see `LandmarkFit.focal_information`.
        mean, shorter, longer: the camera's prior.
    """
    width = lambda log: shorter if log < mean else longer  # noqa: E731
    own = np.array([1 / width(log) ** 2 for log in logs])
    pull = information * logs + own * (logs - mean)  # information * (the face's own mode, without the prior)
    weight, shared = float(np.sum(information)), mean
    for _ in range(4):
        prior = 1 / width(shared) ** 2
        shared = (float(np.sum(pull)) + prior * mean) / (weight + prior)
    return shared


def _alone(model: FaceModel, crop: Crops, recipe: Recipe) -> tuple[float, float]:
    """The focal length (pixels of the crop) of one face, and what the face tells of it."""

    def solve(model: FaceModel, pixels: Array, focal: FocalPrior, principal: Array, start: FaceStart | None) -> Array:
        given = {"contour": recipe.contour, "priors": recipe.priors, "steps": recipe.landmark_steps}
        found = fit_landmarks(model, pixels, focal=focal, principal=principal, start=start, **given)
        camera = found.params.camera
        assert isinstance(camera, PerspectiveCamera)
        return jnp.stack([camera.focal, found.focal_information])

    known = jax.device_put((crop.landmarks, crop.focal, crop.principal, crop.start))
    decides = recipe.contour, recipe.priors, recipe.landmark_steps
    program = compile_cached(solve, model, *known, name="focal", closes_over=decides)
    focal, information = np.asarray(program(model, *known))
    return float(focal), float(information)

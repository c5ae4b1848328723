"""Prior distributions of a face's parameters."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.face_model import FaceModel
from facejax.images.lens import KNOWN, whole_shape


@dataclass(frozen=True)
class Priors:
    """Standard deviations of everything that the landmarks alone do not determine (static and hashable)."""

    noise: float = 0.010  # of a landmark, as a share of the landmarks' box (the square root of its area)
    jaw_noise: float = 0.014  # of the jaw points, whose position along the outline is ambiguous
    points: float = 0.0  # landmarks that all other points of the surface count as in the landmark fit; 0: none
    identity: float = 1.0  # coefficients are standard deviations already
    expression: float = 0.35  # of blendshape weights; 1.0 is used for statistical expression models
    seldom: float = 0.1  # of the blendshapes that people seldom show, which else explain wide cheeks or a long chin
    seldom_names: tuple[str, ...] = ("cheekPuff", "mouthClose", "jawForward")  # beginnings of their names
    distance: float = 1000.0  # mm from the camera
    nearer: float = 0.3  # of the logarithm of a shorter distance
    farther: float = 1.0  # of a longer one
    view: float = 50.0  # degrees across the diagonal of a photograph; in full-frame terms a lens of 46 mm
    shorter: float = 0.35  # of the logarithm of a focal length that is shorter than that
    longer: float = 0.6  # of a longer one
    cut_view: float = 35.0  # the same two of a photograph whose shape is no camera's: it was cut out of a larger one
    cut_longer: float = 1.0
    gaze_yaw: float = 15.0  # degrees, of the common direction of both eyes, around straight ahead
    gaze_pitch: float = 10.0
    vergence: float = 2.0  # degrees, of the difference between both eyes
    iris_noise: float = 4.0  # degrees, of the direction of one eye that looks into the camera
    eye_noise: float = 2.0  # degrees, of the error that both eyes share, since the fitted head is not exact
    log_light: float = 0.5  # of the light's strength, around what the picture's white suggests (`solve_skin`)
    log_tint: float = 0.2  # of each colour channel, on top of that


PRIORS = Priors()
SEEN = Priors(points=30.0)
"""The priors of a fit that sees points of the surface besides the landmarks."""


class FocalPrior(NamedTuple):
    """What is known of a focal length before the fit: its logarithm is Gaussian, with a width for each side."""

    focal: Float[Array, "*N"]  # the most likely one, pixels
    shorter: Float[Array, "*N"]  # standard deviation of the logarithm of a shorter one
    longer: Float[Array, "*N"]  # of a longer one


def usual_focal(width: int, height: int, priors: Priors = PRIORS) -> FocalPrior:
    """The focal length (pixels) of a photograph of `width` x `height` pixels of which nothing else is known."""
    whole = whole_shape(width, height)
    view, longer = (priors.view, priors.longer) if whole else (priors.cut_view, priors.cut_longer)
    focal = math.hypot(width, height) / (2 * math.tan(math.radians(view) / 2))
    return FocalPrior(*np.array([focal, priors.shorter, longer], np.float32))


def known_focal(focal: float | int | Float[Array, "*N"]) -> FocalPrior:
    """A focal length that is known, pixels."""
    focal = jnp.asarray(focal, jnp.float32)
    return FocalPrior(focal, *(jnp.full_like(focal, KNOWN),) * 2)


def expression_std(model: FaceModel, priors: Priors) -> Float[Array, " E"]:
    """Standard deviation of each expression coefficient."""
    if not model.blendshapes:
        return jnp.ones(len(model.expression_names))
    seldom = [name.startswith(priors.seldom_names) for name in model.expression_names]
    return jnp.array([priors.seldom if rare else priors.expression for rare in seldom])

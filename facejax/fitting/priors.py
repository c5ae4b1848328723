"""Prior distributions of a face's parameters."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.face_model import FaceModel


@dataclass(frozen=True)
class Priors:
    """Standard deviations of everything that the landmarks alone do not determine (static and hashable)."""

    noise: float = 0.010  # of a landmark, as a share of the landmarks' box (the square root of its area)
    jaw_noise: float = 0.014  # of the jaw points, whose position along the outline is ambiguous
    identity: float = 1.0  # coefficients are standard deviations already
    expression: float = 0.35  # of blendshape weights; 1.0 is used for statistical expression models
    seldom: float = 0.1  # of the blendshapes that people seldom show, which else explain wide cheeks or a long chin
    seldom_names: tuple[str, ...] = ("cheekPuff", "mouthClose", "jawForward")  # beginnings of their names
    distance: float = 1000.0  # mm from the camera
    log_distance: float = 0.25
    log_focal: float = 1e-3  # of a given focal length; an unknown one is free
    log_light: float = 0.5  # of the light's strength, around what the picture's white suggests (`solve_skin`)
    log_tint: float = 0.2  # of each colour channel, on top of that


PRIORS = Priors()


def expression_std(model: FaceModel, priors: Priors) -> Float[Array, " E"]:
    """Standard deviation of each expression coefficient."""
    if not model.blendshapes:
        return jnp.ones(len(model.expression_names))
    seldom = [name.startswith(priors.seldom_names) for name in model.expression_names]
    return jnp.array([priors.seldom if rare else priors.expression for rare in seldom])

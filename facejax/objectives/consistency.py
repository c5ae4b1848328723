"""2DASL's self-supervision: landmarks must survive the way into 3D and back, and a second time.

Tu et al., TMM 2021, on self-supervised consistency: given 2D landmarks are drawn into the network's input; the face it
regresses has 3D landmarks, whose projections are drawn in turn and regressed again. Squared distances here; the paper's
norm was not found.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.objectives.eighteen import Variant, eighteen_points, eighteen_weights
from facejax.objectives.landmark_map import draw_landmarks
from facejax.objectives.landmarks import landmark_distance


class SelfMapping(NamedTuple):
    """What the two passes of the network made of N pictures."""

    vector: Float[Array, "N P"]  # coefficients of the first pass
    first: Float[Array, "N 68 3"]  # X3d: landmarks of the first pass, pixels; x and y are Y2d
    second: Float[Array, "N 68 3"]  # landmarks of the second pass, from the drawn Y2d; x and y are X2d-hat


def self_mapping(
    regress: Callable[[Float[Array, "N S S 4"]], Float[Array, "N P"]],
    points: Callable[[Float[Array, " P"]], Float[Array, "68 3"]],
    images: Float[Array, "N S S 3"],
    landmarks: Float[Array, "N 68 2"],
    *,
    variant: Variant = "centres",
    background: float = -1.0,
) -> SelfMapping:
    """Regress, redraw the projected landmarks, regress again.

    `regress` is the network on a batch with the landmark map as a fourth channel; `points` gives one vector's landmarks
    in pixels, y down, with a depth. Drawing has no gradient: each pass is trained by what it put out itself.
    """

    def draw(marks: Float[Array, "68 2"]) -> Float[Array, "S S"]:
        return draw_landmarks(eighteen_points(marks, variant), images.shape[1], background=background)

    def run(marks: Float[Array, "N 68 2"]) -> tuple[Float[Array, "N P"], Float[Array, "N 68 3"]]:
        maps = jax.vmap(draw)(marks).astype(images.dtype)
        vector = regress(jnp.concatenate([images, maps[..., None]], axis=-1))
        return vector, jax.vmap(points)(vector)

    vector, first = run(landmarks)
    return SelfMapping(vector, first, run(first[..., :2])[1])


def landmark_consistency(
    predicted: Float[Array, "68 2"],
    given: Float[Array, "68 2"],
    *,
    size: float | Float[Array, ""] = 1.0,
    variant: Variant = "centres",
) -> Float[Array, ""]:
    """L_2d-con (the first pass) and L_cyc (the second): weighted squared distances of the 18 points.

    In pixels^2 as published, or in units of the face's size when it is given.
    """
    found, wanted = eighteen_points(predicted, variant), eighteen_points(given, variant)
    weights = eighteen_weights().astype(found.dtype)
    return landmark_distance(found, wanted, weights, jnp.asarray(size, found.dtype))


def shape_consistency(
    first: Float[Array, "68 3"], second: Float[Array, "68 3"], *, size: float | Float[Array, ""] = 1.0
) -> Float[Array, ""]:
    """L_3d-con: the mean squared distance of the 3D landmarks of the two passes. Gradients reach both."""
    return jnp.mean(jnp.sum((first - second) ** 2, axis=-1)) / size**2

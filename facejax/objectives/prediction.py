"""2DASL's weighted coefficient prediction: coefficients weighted by how far each moves the projected landmarks.

Tu et al., "3D face reconstruction from a single image assisted by 2D face images in the wild", TMM 2021, on the
weighted coefficient prediction loss.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.objectives.coefficients import CoefficientSpace, posed_points
from facejax.objectives.weights import normalize_weights, one_wrong_errors


def prediction_weights(
    space: CoefficientSpace, predicted: Float[Array, " P"], true: Float[Array, " P"]
) -> Float[Array, " P"]:
    """w_i = ||H(a^(i)) - H(a*)|| / sum_k w_k, where a^(i) has entry i of the prediction and the truth elsewhere.

    H is the orthographic projection of the space's points, which should be the 68 landmarks. It keeps x and y only, so
    depth and the third row of f R have no weight. Computed anew for each sample, without gradient.
    """
    return normalize_weights(one_wrong_errors(lambda p: posed_points(space, p)[:, :2], predicted, true), by="sum")


def coefficient_prediction(
    space: CoefficientSpace, predicted: Float[Array, " P"], true: Float[Array, " P"]
) -> Float[Array, ""]:
    """L_3d = (a - a*)^T diag(w) (a - a*) of whitened vectors.

    The pose dominates first, then what remains: a coefficient's weight falls as its own error does.
    """
    weights = jax.lax.stop_gradient(prediction_weights(space, predicted, true))
    return jnp.sum(weights * (predicted - true) ** 2)

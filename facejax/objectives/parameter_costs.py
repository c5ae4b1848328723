"""The costs on coefficient vectors by name, for training recipes: `PARAMETER_COSTS[name](space, predicted, true)`.

All take one face's whitened vectors; vmap over a batch and average.
"""

from collections.abc import Callable

from jaxtyping import Array, Float

from facejax.objectives.coefficients import CoefficientSpace
from facejax.objectives.distances import (
    fast_vertex_distance,
    parameter_distance,
    vertex_distance,
)
from facejax.objectives.prediction import coefficient_prediction
from facejax.objectives.weights import (
    closed_form_weights,
    definition_weights,
    fast_weights,
    optimal_weights,
    weighted_distance,
)

Vector = Float[Array, " P"]
ParameterCost = Callable[[CoefficientSpace, Vector, Vector], Float[Array, ""]]


def _weighted_by(rule: Callable[[CoefficientSpace, Vector, Vector], Vector]) -> ParameterCost:
    def cost(space: CoefficientSpace, predicted: Vector, true: Vector) -> Float[Array, ""]:
        return weighted_distance(rule(space, predicted, true), predicted, true)

    return cost


PARAMETER_COSTS: dict[str, ParameterCost] = {
    "pdc": parameter_distance,
    "vdc": vertex_distance,
    "vdc-fast": fast_vertex_distance,
    "wpdc": _weighted_by(closed_form_weights),
    "wpdc-definition": _weighted_by(definition_weights),
    "fwpdc": _weighted_by(fast_weights),
    "owpdc": _weighted_by(optimal_weights),
    "2dasl": coefficient_prediction,
}

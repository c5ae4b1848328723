"""3DDFA_V2's ways to train with several losses at once.

Guo et al., "Towards fast, accurate and stable 3D dense face alignment", ECCV 2020: landmark-regression regularisation,
vanilla joint and meta-joint optimisation. Training code was not released: the balance factors follow the paper's text.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from facejax.objectives.coefficients import TINY

State = Any  # a tree of arrays
Batch = Any  # another tree of arrays


def match_magnitude(term: Float[Array, ""], reference: Float[Array, ""]) -> Float[Array, ""]:
    """The term scaled to the reference's magnitude: |reference| / |term| * term. The factor carries no gradient.

    A term that is zero stays zero.
    """
    size = jnp.abs(jax.lax.stop_gradient(term))
    factor = jnp.where(size > 0, jnp.abs(jax.lax.stop_gradient(reference)) / jnp.maximum(size, TINY), 0.0)
    return factor * term


def landmark_regression(
    predicted: Float[Array, "L 2"], true: Float[Array, "L 2"], size: float | Float[Array, ""] = 1.0
) -> Float[Array, ""]:
    """The L2 loss of an extra head that regresses landmark coordinates directly: mean square over coordinates, in
    `size`.

    The head is on the pooled features and is dropped after training.
    """
    return jnp.mean(((predicted - true) / size) ** 2)


def regularize(main: Float[Array, ""], landmark_term: Float[Array, ""]) -> Float[Array, ""]:
    """The main loss plus the landmark head's at equal magnitude. The value is always twice the main; the gradient
    matters.
    """
    return main + match_magnitude(landmark_term, main)


def vanilla_joint(fwpdc: Float[Array, ""], vdc: Float[Array, ""], beta: float = 0.5) -> Float[Array, ""]:
    """beta L_fWPDC + (1 - beta) |L_fWPDC| / |L_VDC| L_VDC."""
    return beta * fwpdc + (1.0 - beta) * match_magnitude(vdc, fwpdc)


def meta_joint_step(
    steps: Sequence[Callable[[State, Batch], State]],
    error: Callable[[State, Batch], Float[Array, ""]],
    state: State,
    train: Batch,
    test: Batch,
) -> tuple[State, Int[Array, ""], Float[Array, " B"]]:
    """One round of meta-joint optimisation: look ahead with each loss from the same start, and keep the best branch.

    Memory: one state per branch.

    Args:
      steps: one training step per loss (fWPDC's first, VDC's second), (state, batch) to state.
      error: judges the end of each branch, (state, batch) to error. The paper uses the vertex error.
      state: any tree of arrays, including the optimiser's state and a key.
      train: the k meta-train batches along the leading axis of the leaves; every branch sees all of them in order.
      test: the batch to judge by, disjoint from those.

    Returns:
      The state to go on from, the index of its branch, and all errors. The first of equal branches wins. A branch whose
      error is not finite never does; if all are such, the state stays as it was and the index is -1.
    """

    def look_ahead(step: Callable[[State, Batch], State]) -> State:
        return jax.lax.scan(lambda carry, batch: (step(carry, batch), None), state, train)[0]

    ends = [look_ahead(step) for step in steps]
    errors = jnp.stack([error(end, test) for end in ends])
    finite = jnp.isfinite(errors)
    chosen = jnp.where(finite.any(), jnp.argmin(jnp.where(finite, errors, jnp.inf)), -1)
    kept = jax.tree.map(lambda *leaves: jnp.stack(leaves)[chosen], *[*ends, state])  # -1 is the last one: the start
    return kept, chosen, errors

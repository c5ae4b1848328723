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
Batch = Any  # another


def match_magnitude(term: Float[Array, ""], reference: Float[Array, ""]) -> Float[Array, ""]:
    """The term scaled to the reference's magnitude: |reference| / |term| * term, the factor carrying no gradient.

    A term at zero stays there.
    """
    size = jnp.abs(jax.lax.stop_gradient(term))
    factor = jnp.where(size > 0, jnp.abs(jax.lax.stop_gradient(reference)) / jnp.maximum(size, TINY), 0.0)
    return factor * term


def landmark_regression(
    predicted: Float[Array, "L 2"], true: Float[Array, "L 2"], size: float | Float[Array, ""] = 1.0
) -> Float[Array, ""]:
    """The L2 loss of an extra head that regresses the landmarks' coordinates directly: mean squared, over coordinates.

    In units of `size`. The head sits on the pooled features and is dropped after training.
    """
    return jnp.mean(((predicted - true) / size) ** 2)


def regularize(main: Float[Array, ""], landmark_term: Float[Array, ""]) -> Float[Array, ""]:
    """Main loss plus the landmark head's at equal magnitude. The value is twice the main; its gradient counts."""
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
    """One round of meta-joint optimisation: look ahead with each loss from the same start, keep the best branch.

    `steps`: one training step for each loss (fWPDC's first, VDC's second), state and batch to state; the state is any
    tree of arrays, the optimiser's and a key included. `train` holds the k meta-train batches along the leading axis of
    its leaves, which every branch sees in order; `error` judges the end of each branch on the batch `test`, disjoint
    from them (the paper: the vertex error). Returns the state to go on from, the branch it comes from, and all errors.
    The first of equals wins; a branch whose error is not finite never does, and when all are such the state stays as it
    was and the branch is -1. Memory: one state a branch.
    """

    def look_ahead(step: Callable[[State, Batch], State]) -> State:
        return jax.lax.scan(lambda carry, batch: (step(carry, batch), None), state, train)[0]

    ends = [look_ahead(step) for step in steps]
    errors = jnp.stack([error(end, test) for end in ends])
    finite = jnp.isfinite(errors)
    chosen = jnp.where(finite.any(), jnp.argmin(jnp.where(finite, errors, jnp.inf)), -1)
    kept = jax.tree.map(lambda *leaves: jnp.stack(leaves)[chosen], *[*ends, state])  # -1: the last, the start
    return kept, chosen, errors

"""The published weights of 2DASL's terms, and a weighted sum. A term that a branch leaves out counts nothing."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float


@dataclass(frozen=True)
class TwoDASLWeights:
    """2DASL (Tu et al., TMM 2021): L_3d + l1 L_2d-con + l2 L_3d-con + l3 L_cyc + l4 L_sc, distances in pixels of 120.

    A labelled picture has all terms but the critic's; a picture in the wild has all but the first.
    """

    coefficients: float = 1.0
    landmarks: float = 0.005
    shape: float = 0.005
    cycle: float = 1.0
    critic: float = 0.005


def weighted_sum(
    terms: Mapping[str, Float[Array, ""]], weights: TwoDASLWeights | Mapping[str, float]
) -> Float[Array, ""]:
    """Sum of weight times term. Raises ValueError for a term without a weight."""
    known = dict(weights) if isinstance(weights, Mapping) else asdict(weights)
    for name in terms:
        if name not in known:
            raise ValueError(f"no weight for the term {name!r}: the weights name {', '.join(known)}")
    return jnp.sum(jnp.stack([known[name] * term for name, term in terms.items()]))

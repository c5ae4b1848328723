"""2DASL's self-supervision: the landmarks of both passes must agree in 3D (Tu et al., TMM 2021).

The first pass sees the given 2D landmarks. The second sees those of the face that the first pass regressed. Squared
distances here; the paper's norm was not found.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def shape_consistency(
    first: Float[Array, "68 3"], second: Float[Array, "68 3"], *, size: float | Float[Array, ""] = 1.0
) -> Float[Array, ""]:
    """L_3d-con: the mean squared distance of the 3D landmarks of the two passes. Gradients reach both."""
    return jnp.mean(jnp.sum((first - second) ** 2, axis=-1)) / size**2

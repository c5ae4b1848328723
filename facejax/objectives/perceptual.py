"""Faces compared as a recognition network sees them."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def cosine_distance(rendered: Float[Array, " D"], photo: Float[Array, " D"]) -> Float[Array, ""]:
    """1 - cos of two feature vectors: 0 for the same direction, 2 for opposite ones, 1 if either is zero.

    Deep3DFaceRecon's perception-level loss (Deng et al., CVPR-W 2019). The features are the caller's: any network that
    was trained to tell people apart, whose own weights stay as they are.
    """
    return 1.0 - jnp.dot(_unit(rendered), _unit(photo))


def _unit(x: Float[Array, " D"]) -> Float[Array, " D"]:
    square = jnp.sum(x * x)
    tiny = square < 1e-12
    return jnp.where(tiny, 0.0, x / jnp.sqrt(jnp.where(tiny, 1.0, square)))

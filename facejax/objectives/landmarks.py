"""Landmark terms."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def landmark_distance(
    projected: Float[Array, "L 2"], observed: Float[Array, "L 2"], weights: Float[Array, " L"], size: Float[Array, ""]
) -> Float[Array, ""]:
    """Weighted mean of the squared distances, in units of the face's size (pixels of the landmarks' box).

    Deep3DFaceRecon's landmark loss (Deng et al., CVPR-W 2019, eq. 2), made independent of the image's resolution.
    """
    square = jnp.sum((projected - observed) ** 2, axis=-1)
    return jnp.sum(square * weights) / (jnp.sum(weights) * size * size)

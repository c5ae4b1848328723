"""GAR's pairwise disentanglement: pictures of one geometry share landmarks, pictures of one code show one person.

Piao et al., CVPR 2021. A batch holds codes (z1, z2, z1, z2) on geometries (n1, n1, n2, n2). For any batch that is a
multiple of four, by the released code's rule: neighbours 2k and 2k + 1 share a geometry, i and i + B/2 share a code.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int


class Pairing(NamedTuple):
    """Which code, geometry and person each picture of the batch has."""

    code: Int[np.ndarray, " B"]  # index into the B/2 codes
    geometry: Int[np.ndarray, " B"]  # index into the B/2 geometries
    person: Int[np.ndarray, " G"]  # index of the geometry whose identity coefficients each geometry uses


def pairing(batch: int) -> Pairing:
    """Codes and geometries of a batch.

    The two geometries of a code belong to one person, in another pose with another expression: otherwise the identity
    loss would contradict the geometry.

    Raises ValueError unless the batch is a multiple of four.
    """
    if batch < 4 or batch % 4:
        raise ValueError(f"a batch of {batch}: pairs of pairs need a multiple of four")
    half = batch // 2
    return Pairing(np.tile(np.arange(half), 2), np.arange(batch) // 2, np.arange(half) % (half // 2))


def same_geometry(points: Float[Array, "B 68 2"], *, size: float | Float[Array, " B"] = 1.0) -> Float[Array, ""]:
    """Smooth L1 between the landmarks of neighbours, in units of `size`, averaged over all coordinates."""
    size = jnp.broadcast_to(jnp.asarray(size), points.shape[:1])[:, None, None]
    scaled = points / size
    return jnp.mean(smooth_l1(scaled[0::2] - scaled[1::2]))


def same_code(features: Float[Array, "B F"]) -> Float[Array, ""]:
    """Mean squared distance between the features of the first half and of the second."""
    half = len(features) // 2
    return jnp.mean(jnp.square(features[:half] - features[half:]))


def normal_consistency(
    predicted: Float[Array, "*N S S 3"], normals: Float[Array, "*N S S 3"], *, threshold: float = 1e-3
) -> Float[Array, ""]:
    """Smooth L1 between normals predicted from pictures and the normals they were generated from, where there is a
    head.
    """
    there = (jnp.sum(jnp.square(normals), axis=-1) > threshold).astype(predicted.dtype)
    each = jnp.mean(smooth_l1(predicted - normals), axis=-1)
    return jnp.sum(there * each) / jnp.maximum(jnp.sum(there), 1.0)


def coverage_distance(
    alpha: Float[Array, "S S"], coverage: Float[Array, "S S"], valid: Float[Array, "S S"]
) -> Float[Array, ""]:
    """Mean absolute difference of two coverages, a silhouette term; its gradient is at the outline of `alpha`."""
    return jnp.sum(valid * jnp.abs(alpha - coverage)) / jnp.maximum(jnp.sum(valid), 1.0)


def smooth_l1(x: Float[Array, "*S"]) -> Float[Array, "*S"]:
    """Half the square below 1, the absolute value less a half beyond."""
    size = jnp.abs(x)
    return jnp.where(size < 1.0, 0.5 * jnp.square(x), size - 0.5)


def normal_distance(
    rendered: Float[Array, "H W 3"], seen: Float[Array, "H W 3"], mask: Float[Array, "H W"]
) -> Float[Array, ""]:
    """One minus the cosine between two maps of normals, as a weighted mean over the pixels.

    Giebenhain et al., "Pixel3DMM", 2025, compare a rendered head's normals with predicted ones. A predicted normal that
    is shorter than 1 counts less.

    Args:
      rendered: unit normals, camera space.
      seen: normals that a network saw, with lengths up to 1.
      mask: the weight of each pixel.

    Returns:
      The mean, between 0 and 2.

    >>> up, away = jnp.array([[[0.0, 1.0, 0.0]]]), jnp.array([[[0.0, 0.0, 1.0]]])
    >>> float(normal_distance(up, up, jnp.ones((1, 1)))), float(normal_distance(up, away, jnp.ones((1, 1))))
    (0.0, 1.0)
    """
    length = jnp.sqrt(jnp.sum(seen * seen, axis=-1) + 1e-12)
    apart = length - jnp.sum(rendered * seen, axis=-1)
    return jnp.sum(apart * mask) / jnp.maximum(jnp.sum(mask), 1.0)

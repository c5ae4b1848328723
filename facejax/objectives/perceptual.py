"""Faces compared in the feature spaces of networks: recognisers, LPIPS, the project's own encoder."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def cosine_distance(rendered: Float[Array, " D"], photo: Float[Array, " D"]) -> Float[Array, ""]:
    """1 - cos of two feature vectors: 0 for the same direction, 2 for opposite ones, 1 if either is zero.

    Deep3DFaceRecon's perception-level loss (Deng et al., CVPR-W 2019) and FFHQ-UV's identity loss. The features come
    from any network trained to recognise people; its weights stay fixed.
    """
    return 1.0 - jnp.dot(_unit(rendered), _unit(photo))


def descriptor_distance(rendered: Float[Array, " D"], photo: Float[Array, " D"]) -> Float[Array, ""]:
    """Half the squared Euclidean distance of two descriptors, which is `cosine_distance` for vectors of unit length.

    For recognisers trained with a loss on distances, such as dlib's. Their vectors are not of unit length and share a
    large mean, so that the angle between two people is small.
    """
    return 0.5 * jnp.sum((rendered - photo) ** 2)


def lpips_distance(rendered: Float[Array, " F"], photo: Float[Array, " F"]) -> Float[Array, ""]:
    """Squared distance of two `facejax.nets.lpips_features`, which is LPIPS (Zhang et al., CVPR 2018).

    FFHQ-UV sums it over the pictures of its batch; vmap and sum.
    """
    return jnp.sum((rendered - photo) ** 2)


def feature_distance(
    rendered: Sequence[Float[Array, "_ _ _"]], photo: Sequence[Float[Array, "_ _ _"]], mask: Float[Array, "H W"]
) -> Float[Array, ""]:
    """LPIPS without its trained weights, for the feature maps of any network: the mean over maps of a masked mean.

    In each cell the channels are scaled to unit length, and the squared distance of the two vectors is taken: between 0
    and 4, or 2 for maps that are never negative. `mask` is averaged over each cell. The maps are of one picture, for
    instance from `facejax.nets.encoder_features`; their sides must divide the mask's. The default recipe uses it where
    LPIPS' weights are not at hand.
    """
    total = jnp.zeros(())
    for a, b in zip(rendered, photo, strict=True):
        weight = _cells(mask, a.shape[0], a.shape[1])
        square = jnp.sum((_unit(a) - _unit(b)) ** 2, axis=-1)
        total += jnp.sum(weight * square) / jnp.maximum(jnp.sum(weight), 1.0)
    return total / len(rendered)


def _cells(mask: Float[Array, "H W"], rows: int, columns: int) -> Float[Array, "h w"]:
    height, width = mask.shape
    if height % rows or width % columns:
        raise ValueError(f"a mask of {mask.shape} for maps of {(rows, columns)}: give one of the pictures' size")
    return jnp.mean(mask.reshape(rows, height // rows, columns, width // columns), axis=(1, 3))


def _unit(x: Float[Array, "*B D"]) -> Float[Array, "*B D"]:
    square = jnp.sum(x * x, axis=-1, keepdims=True)
    tiny = square < 1e-12
    return jnp.where(tiny, 0.0, x / jnp.sqrt(jnp.where(tiny, 1.0, square)))

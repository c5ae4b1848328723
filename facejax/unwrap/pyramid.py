"""Blending of two maps band by band, so that coarse detail gets a wide seam and fine detail a narrow one.

Burt and Adelson, "A multiresolution spline with application to image mosaics", ACM Transactions on Graphics 1983: the
binomial filter (1, 4, 6, 4, 1) / 16, then every second texel; up-sampling inserts zeros, filters again and multiplies
by four. (FFHQ-UV repeats texels instead; any up-sampling gives the two maps back where the mask is 0 or 1.)
"""

from itertools import pairwise

import jax.numpy as jnp
from jaxtyping import Array, Float

LEVELS = 5  # as in FFHQ-UV (Bai et al., CVPR 2023)


def pyramid_blend(
    first: Float[Array, "H W 3"], second: Float[Array, "H W 3"], mask: Float[Array, "H W"], levels: int = LEVELS
) -> Float[Array, "H W 3"]:
    """`first` where `mask` is 0, `second` where it is 1, blended across the mask's edge in `levels` + 1 bands.

    The sum over bands of `(1 - m) * band of first + m * band of second`, with `m` the mask at that band's resolution.
    Bands are linear in the image, so only those of the difference are computed: `first + sum of m * band of
    difference`. Coarse bands reach about 2^levels texels, so both maps must hold sensible colours that far beyond the
    edge. Not clipped.

    Args:
      first, second: maps (S, S, C).
      mask: (S, S) in [0, 1].
      levels: halvings.

    Returns:
      The blended map.

    Raises ValueError unless both sides of the maps can be halved `levels` times.
    """
    height, width = mask.shape
    if height % 2**levels or width % 2**levels:
        raise ValueError(
            f"a map of {height} x {width} cannot be halved {levels} times: use sides divisible by {2**levels}"
        )
    bands = laplacian_pyramid(second - first, levels)
    weights = gaussian_pyramid(mask[..., None], levels)
    return first + collapse([weight * band for weight, band in zip(weights, bands, strict=True)])


def gaussian_pyramid(image: Float[Array, "H W C"], levels: int) -> list[Float[Array, "_ _ C"]]:
    """The image and `levels` halvings of it, finest first."""
    pyramid = [image]
    for _ in range(levels):
        pyramid.append(halve(pyramid[-1]))
    return pyramid


def laplacian_pyramid(image: Float[Array, "H W C"], levels: int) -> list[Float[Array, "_ _ C"]]:
    """The detail that each halving loses, finest first, then the last halving itself; `collapse` is the inverse."""
    fine = gaussian_pyramid(image, levels)
    return [above - double(below) for above, below in pairwise(fine)] + fine[-1:]


def collapse(bands: list[Float[Array, "_ _ C"]]) -> Float[Array, "H W C"]:
    """The image whose Laplacian pyramid this is."""
    image = bands[-1]
    for band in bands[-2::-1]:
        image = band + double(image)
    return image


def halve(image: Float[Array, "H W C"]) -> Float[Array, "H//2 W//2 C"]:
    """Binomial filter, then every second texel from the first; mirrored at the outermost texels."""
    return _halve_rows(_halve_rows(image).swapaxes(0, 1)).swapaxes(0, 1)


def double(image: Float[Array, "H W C"]) -> Float[Array, "2*H 2*W C"]:
    """Twice the size: the texels of `halve` stay at even positions, those between are interpolated."""
    return _double_rows(_double_rows(image).swapaxes(0, 1)).swapaxes(0, 1)


def _halve_rows(image: Float[Array, "H W C"]) -> Float[Array, "H//2 W C"]:
    padded = jnp.pad(image, ((2, 2), (0, 0), (0, 0)), mode="reflect")
    a, b, c, d, e = (padded[start : start + image.shape[0] : 2] for start in range(5))
    return (a + e + 4 * (b + d) + 6 * c) / 16


def _double_rows(image: Float[Array, "H W C"]) -> Float[Array, "2*H W C"]:
    before = jnp.concatenate([image[1:2] if len(image) > 1 else image[:1], image[:-1]])  # mirrored at the border
    after = jnp.concatenate([image[1:], image[-1:]])
    even, odd = (before + 6 * image + after) / 8, (image + after) / 2
    return jnp.stack([even, odd], axis=1).reshape(2 * image.shape[0], *image.shape[1:])

"""Masks in UV space: square erosion and dilation, box blurs, and the soft weights with which views are pasted.

Masks are (S, S) in [0, 1]. The kernels of FFHQ-UV (Bai et al., CVPR 2023) are given in texels of a 1024 map;
`scaled_kernel` converts them, so that a face looks alike at every resolution.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

REFERENCE_SIZE = 1024  # texels per side of the maps for which the kernels below are given

ERODE_FIRST, ERODE_MOUTH, ERODE_ELSEWHERE = 3, 5, 9
MINOR_BLUR, MINOR_WEIGHT = 51, 0.8
MAJOR_BLUR, EDGE_BLUR = 31, 21


def scaled_kernel(texels: int | float, size: int, *, least: int = 1) -> int:
    """The odd kernel side that covers as much of a map of `size` as `texels` cover of one of 1024; at least `least`."""
    return max(2 * round((texels * size / REFERENCE_SIZE - 1) / 2) + 1, least)


def erode(mask: Float[Array, "H W"], kernel: int) -> Float[Array, "H W"]:
    """The smallest value in a square of `kernel` texels per side. The map's border does not erode."""
    return _extreme(mask, kernel, lax.min, np.inf)


def dilate(mask: Float[Array, "H W"], kernel: int) -> Float[Array, "H W"]:
    """The largest value in a square of `kernel` texels per side."""
    return _extreme(mask, kernel, lax.max, -np.inf)


def box_blur(image: Float[Array, "H W"], kernel: int) -> Float[Array, "H W"]:
    """The mean over a square of `kernel` texels per side; the map is mirrored at its outermost texels.

    Raises ValueError where the kernel is even, or reaches farther than the map.
    """
    _check(kernel)
    if kernel // 2 >= min(image.shape):
        raise ValueError(f"a blur of {kernel} texels reaches beyond a map of {image.shape}: use a smaller kernel")
    return _box_rows(_box_rows(image, kernel).T, kernel).T


def soft_weight(
    mask: Float[Array, "S S"],
    major: Float[Array, "S S"],
    minor: Float[Array, "S S"],
    *,
    mouth: Float[Array, "S S"] | None = None,
) -> Float[Array, "S S"]:
    """How much of a view to paste at each texel: FFHQ-UV's weights, zero outside `mask`.

    Weights are near 1 in `major`, at most 0.8 in the rest of `minor`, and fade out towards the mask's edge. The mask is
    first eroded by squares of 3, 5 and 9 texels; around the mouth, where little can be spared, by 3 and 5.

    Args:
      mask: where the view shows the face well.
      major: where this view is the best one.
      minor: where it is usable; contains `major`.
      mouth: the region around the mouth.

    Returns:
      Weights (S, S) in [0, 1].
    """
    size = mask.shape[0]

    def kernel(texels: int) -> int:
        return scaled_kernel(texels, size)

    drawn_in = erode(erode(mask, kernel(ERODE_FIRST)), kernel(ERODE_MOUTH))
    further = erode(drawn_in, kernel(ERODE_ELSEWHERE))
    drawn_in = further if mouth is None else jnp.where(mouth > 0.5, drawn_in, further)

    weight = MINOR_WEIGHT * minor * box_blur(minor, kernel(MINOR_BLUR))
    weight = jnp.maximum(weight, major)
    weight = box_blur(weight, kernel(MAJOR_BLUR))
    return mask * box_blur(weight * drawn_in, kernel(EDGE_BLUR))


def _check(kernel: int) -> None:
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"a kernel of {kernel} texels has no centre: use an odd one, 1 or more")


def _extreme(mask: Float[Array, "H W"], kernel: int, operation, start: float) -> Float[Array, "H W"]:
    """Extreme over a square: the extreme over columns of the extremes over rows."""
    _check(kernel)
    for window in ((kernel, 1), (1, kernel)):
        mask = lax.reduce_window(mask, np.asarray(start, mask.dtype), operation, window, (1, 1), "SAME")
    return mask


def _box_rows(image: Float[Array, "H W"], kernel: int) -> Float[Array, "H W"]:
    padded = jnp.pad(image, ((kernel // 2, kernel // 2), (0, 0)), mode="reflect")
    return lax.reduce_window(padded, np.asarray(0, image.dtype), lax.add, (kernel, 1), (1, 1), "VALID") / kernel

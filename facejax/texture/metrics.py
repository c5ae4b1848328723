"""How good a set of texture maps is: how evenly lit, and how diverse (FFHQ-UV, Bai et al., CVPR 2023).

Both are pure functions, of one map or of one set of vectors.
"""

import jax.numpy as jnp
import numpy as np
from jax.scipy.signal import convolve
from jaxtyping import Array, Bool, Float

from facejax.lighting import luma

KERNEL = 55  # texels of a 1024 x 1024 map, as in the paper


def brightness_symmetry_error(
    texture: Float[Array, "H W 3"],
    *,
    kernel: int = KERNEL,
    sigma: float | None = None,
    where: Bool[Array, "H W"] | None = None,
) -> Float[Array, ""]:
    """BS error: how much the blurred luma differs from its mirror image, the mean over texels on the 0 to 255 scale.

    `BS(T) = || B(T^Y) - F_h B(T^Y) ||_1` (FFHQ-UV, section 4.2), which the paper gives as a mean.

    Args:
        texture: display values in [0, 1], in a layout that is symmetric about u = 1/2.
        kernel: side of the Gaussian in texels, odd; scale it with the map (27 at 512).
        sigma: its width; None: the one that OpenCV derives from the side, since the paper gives none.
        where: restricts the mean to texels that are set on both sides.

    Raises ValueError for an even kernel, or one that reaches beyond the map.
    """
    height, width, _ = texture.shape
    reach = kernel // 2
    if kernel % 2 == 0 or reach >= min(height, width):
        raise ValueError(f"kernel {kernel} must be odd and less than twice the map's side ({height} x {width})")
    grey = 255.0 * luma(texture)
    weights = _gaussian(kernel, sigma)
    padded = jnp.pad(grey, reach, mode="reflect")
    blurred = convolve(convolve(padded, weights[:, None], mode="valid"), weights[None, :], mode="valid")
    gap = jnp.abs(blurred - blurred[:, ::-1])
    if where is None:
        return gap.mean()
    both = where & where[:, ::-1]
    return jnp.sum(gap, where=both) / jnp.maximum(jnp.sum(both, dtype=gap.dtype), 1)


def _gaussian(kernel: int, sigma: float | None) -> Float[Array, " K"]:
    """Normalised weights; the default width is OpenCV's for a kernel of that side."""
    sigma = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8 if sigma is None else sigma
    weights = np.exp(-0.5 * ((np.arange(kernel) - kernel // 2) / sigma) ** 2)
    return jnp.asarray(weights / weights.sum(), jnp.float32)


def identity_spread(vectors: Float[Array, "N D"]) -> Float[Array, ""]:
    """How much the people of a set differ: the standard deviation of each dimension, averaged over dimensions.

    `vectors` has one identity vector per map, from the same network for all sets that are compared; the ratio of two
    sets' spreads is FFHQ-UV's "identity std relative to FFHQ". The paper does not say how it reduces over dimensions.
    """
    return jnp.std(vectors, axis=0).mean()

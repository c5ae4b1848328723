"""Light and colour: spherical harmonics with nine coefficients per channel in camera space, and colour conversions.

Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", SIGGRAPH 2001.
"""

import math
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Real spherical harmonics' constants times the cosine lobe's factors (1, 2/3, 1/4), order (0,0) (1,-1) ... (2,2).
_C0 = math.sqrt(1 / (4 * math.pi))
_C1 = (2 / 3) * math.sqrt(3 / (4 * math.pi))
_C2 = (1 / 4) * math.sqrt(15 / (4 * math.pi))
_C20 = (1 / 4) * math.sqrt(5 / (16 * math.pi))

Values = TypeVar("Values", Array, np.ndarray)  # what a function takes it returns
# Linear sRGB to CIE XYZ, a row for each primary (IEC 61966-2-1); the columns add up to white (D65).
_SRGB_TO_XYZ = np.array([[0.4124, 0.2126, 0.0193], [0.3576, 0.7152, 0.1192], [0.1805, 0.0722, 0.9505]])
LUMA = (0.299, 0.587, 0.114)  # shares of display red, green and blue in their grey, ITU-R BT.601
_CB, _CR = 0.5 / (1 - LUMA[2]), 0.5 / (1 - LUMA[0])  # scale blue and red minus grey to [-0.5, 0.5]

# Towards the faces, edges and corners of a cube.
_DIRECTIONS = [
    [x / math.sqrt(n), y / math.sqrt(n), z / math.sqrt(n)]
    for x in (-1, 0, 1)
    for y in (-1, 0, 1)
    for z in (-1, 0, 1)
    if (n := x * x + y * y + z * z)
]


def sh_basis(normals: Float[Array, "... 3"]) -> Float[Array, "... 9"]:
    """The nine irradiance basis functions at unit normals, with the cosine-lobe factors (1, 2/3, 1/4) folded in.

    Order (0,0) (1,-1) (1,0) (1,1) (2,-2) (2,-1) (2,0) (2,1) (2,2). A light that has only coefficient (0,0) shades every
    normal equally, with coefficient / sqrt(4 pi).
    """
    return jnp.stack(_basis(normals), axis=-1)


def _basis(normals: Float[Array, "... 3"]) -> list[Float[Array, "..."]]:
    x, y, z = jnp.unstack(normals, axis=-1)
    constant, across = jnp.full_like(x, _C0), 0.5 * _C2 * (x * x - y * y)
    return [constant, _C1 * y, _C1 * z, _C1 * x, _C2 * x * y, _C2 * y * z, _C20 * (3 * z * z - 1), _C2 * x * z, across]


def shade(normals: Float[Array, "... 3"], light: Float[Array, "9 3"]) -> Float[Array, "... 3"]:
    """Diffuse shading (irradiance over pi) of unit normals in camera space; multiply by linear albedo for the colour.

    Not clamped: some lights are negative in places. A prior should prevent that; a clamp would only remove the
    gradient.

    >>> from_above = uniform_light(0.5).at[1].set(0.5)
    >>> up, down = jnp.array([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    >>> bool(shade(up, from_above)[0] > shade(down, from_above)[0])
    True
    """
    basis = _basis(normals)
    channels = [sum(part * by for part, by in zip(basis, light[:, k], strict=True)) for k in range(light.shape[1])]
    return jnp.stack(channels, axis=-1)


def front_level(light: Float[Array, "9 3"]) -> Float[Array, " 3"]:
    """The mean shading over all normals that face the camera; 1 for `uniform_light`."""
    return _C0 * light[0] + 0.5 * _C1 * light[2]


def uniform_light(intensity: float = 1.0) -> Float[Array, "9 3"]:
    """White light from everywhere: shading equals `intensity` for every normal."""
    return jnp.zeros((9, 3)).at[0].set(intensity / _C0)


def luma(display: Float[Values, "*S 3"]) -> Float[Values, "*S"]:
    """The grey of display values: Y of YUV and YCbCr (ITU-R BT.601)."""
    red, green, blue = LUMA
    return red * display[..., 0] + green * display[..., 1] + blue * display[..., 2]


def rgb_to_lab(display: Float[Values, "*S 3"]) -> Float[Values, "*S 3"]:
    """sRGB display values in [0, 1] to CIE 1976 L*a*b*, L* from 0 to 100, white point D65 (IEC 61966-2-1)."""
    xp: Any = np if isinstance(display, np.ndarray) else jnp
    xyz = srgb_to_linear(display) @ (xp.asarray(_SRGB_TO_XYZ / _SRGB_TO_XYZ.sum(axis=0), display.dtype))
    low = xyz <= 216 / 24389
    root = xp.where(low, xyz * (841 / 108) + 4 / 29, xp.cbrt(xp.where(low, 1.0, xyz)))
    x, y, z = (root[..., k] for k in range(3))
    return xp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def rgb_to_ycbcr(display: Float[Array, "*S 3"]) -> Float[Array, "*S 3"]:
    """Display values in [0, 1] to Y in [0, 1], Cb and Cr in [-0.5, 0.5] around zero (ITU-R BT.601, full range)."""
    y = luma(display)
    return jnp.stack([y, _CB * (display[..., 2] - y), _CR * (display[..., 0] - y)], axis=-1)


def ycbcr_to_rgb(ycbcr: Float[Array, "*S 3"]) -> Float[Array, "*S 3"]:
    """The inverse of `rgb_to_ycbcr`, not clipped."""
    y, cb, cr = ycbcr[..., 0], ycbcr[..., 1], ycbcr[..., 2]
    red, blue = y + cr / _CR, y + cb / _CB
    green = (y - LUMA[0] * red - LUMA[2] * blue) / LUMA[1]
    return jnp.stack([red, green, blue], axis=-1)


def luminance(linear: Float[Array, "*S 3"]) -> Float[Array, "*S"]:
    """Relative luminance of linear RGB with sRGB's primaries (ITU-R BT.709)."""
    return linear @ jnp.array([0.212671, 0.715160, 0.072169], linear.dtype)


def srgb_to_linear(x: Float[Values, "*S"]) -> Float[Values, "*S"]:
    """Display values in [0, 1] to linear light (IEC 61966-2-1). Below 0 the linear segment continues.

    numpy arrays are converted on the host, in their own precision.
    """
    xp: Any = np if isinstance(x, np.ndarray) else jnp
    low = x <= 0.04045
    return xp.where(low, x / 12.92, _power((xp.where(low, 0.04045, x) + 0.055) / 1.055, 2.4))


def linear_to_srgb(x: Float[Values, "*S"]) -> Float[Values, "*S"]:
    """Linear light to display values (IEC 61966-2-1); finite gradient everywhere, no clamp.

    numpy arrays are converted on the host, in their own precision.
    """
    xp: Any = np if isinstance(x, np.ndarray) else jnp
    low = x <= 0.0031308
    return xp.where(low, 12.92 * x, 1.055 * _power(xp.where(low, 0.0031308, x), 1 / 2.4) - 0.055)


def _power(x: Float[Values, "*S"], exponent: float) -> Float[Values, "*S"]:
    """Power of positive numbers. Unlike that of `**`, its derivative reuses the result, and processors vectorise it."""
    xp: Any = np if isinstance(x, np.ndarray) else jnp
    return xp.exp(exponent * xp.log(x))


def roll_light(light: Float[Array, "9 3"], angle: Float[Array, ""]) -> Float[Array, "9 3"]:
    """The light after everything is rotated counter-clockwise by `angle` (radians) about the view axis (+z)."""
    c, s, c2, s2 = jnp.cos(angle), jnp.sin(angle), jnp.cos(2 * angle), jnp.sin(2 * angle)
    _, y, _, x, xy, yz, _, xz, xx_yy = light
    turned = {1: s * x + c * y, 3: c * x - s * y, 5: s * xz + c * yz, 7: c * xz - s * yz}
    turned |= {4: s2 * xx_yy + c2 * xy, 8: c2 * xx_yy - s2 * xy}
    return jnp.stack([turned.get(row, light[row]) for row in range(9)])


def rotate_light(light: Float[Array, "9 3"], rotation: Float[Array, "3 3"]) -> Float[Array, "9 3"]:
    """The light after everything around the head is rotated: it shades R n as the old light shades n.

    Rotations mix the functions of each band among themselves. So the new coefficients follow from the shading at any
    set of directions that distinguishes the nine functions.
    """
    directions = jnp.asarray(_DIRECTIONS, light.dtype)
    return jnp.linalg.pinv(sh_basis(directions)) @ shade(directions @ rotation, light)

"""Effects of cameras, editors and file formats on a picture: one small function each, and `photograph`, which applies
all.

Pictures are display values in [0, 1]. All functions take one picture; sizes must be multiples of 16.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from facejax.lighting import LUMA, rgb_to_ycbcr, ycbcr_to_rgb
from facejax.synthetic.fields import normal, pixel_centres, separable, uniform

_SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)

# Annex K of ITU-T T.81: the quantisation tables that most encoders scale by their quality setting.
_LUMA_STEPS = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ],
    np.float32,
)
_CHROMA_STEPS = np.full((8, 8), 99, np.float32)
_CHROMA_STEPS[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


def photograph(
    key: Key[Array, ""], image: Float[Array, "S S 3"], strength: Float[Array, ""] | float = 1.0
) -> Float[Array, "S S 3"]:
    """The picture after a random camera and a random editor.

    `strength` scales every effect and its probability: 0 changes nothing. At 1 about half of the pictures stay nearly
    clean, and a tenth are as bad as old news photographs.
    """
    keys = jax.random.split(key, 12)
    u = uniform(keys[0], (16,))
    # One number says how strongly this picture is affected; each effect then varies on its own.
    harsh = strength * jnp.where(u[0] < 0.5, 0.15, 0.15 + 0.85 * uniform(keys[1]))
    luck = uniform(keys[2], (12,)) < 0.35 + 0.3 * harsh
    on = harsh * luck.astype(jnp.float32)
    size = image.shape[0]

    image = tone(
        image,
        jnp.exp2(strength * (0.38 * normal(keys[3]) - 0.1)),
        1.0 + 0.12 * strength * normal(keys[4], (3,)) * (0.3 + on[0]),
        jnp.exp2(0.35 * strength * normal(keys[5])),
    )
    image = contrast(image, jnp.exp(0.25 * strength * normal(keys[6]) * (0.4 + harsh)), jnp.mean(image))
    image = colours(image, 1.0 + 0.4 * harsh * (2 * u[1] - 1), *_washes(u[2], u[3], strength))
    image = vignette(image, 0.6 * on[1] * u[4], keys[7])
    direction = normal(keys[8], (2,))
    trail = 0.06 * size * on[2] * u[5] ** 2 * direction / (jnp.linalg.norm(direction) + 1e-6)
    image = optics(image, 0.018 * size * on[3] * u[6] ** 2, trail, 1.5 * on[4] * u[7])
    grain = on[5] * jnp.array([0.06, 0.07]) * u[8:10] ** 2
    image = noise(keys[9], image, shot=grain[0], read=grain[1], chroma=0.8 * u[10])
    image = resolution(image, 1.0 - 0.7 * jnp.clip(on[6], 0.0, 1.0) * u[11])
    levels = jnp.where((u[12] < 0.03) & luck[7], 6.0 + 20.0 * u[13], 255.0)
    image = posterise(image, levels + jnp.where(strength == 0, 1e6, 0.0))
    quality = jnp.where(luck[8], 95.0 - 80.0 * jnp.clip(harsh, 0.0, 1.0) * u[14] ** 0.7, 95.0)
    compressed = jpeg(image, quality)
    return jnp.clip(image + jnp.where((strength > 0) & (u[15] < 0.8), 1.0, 0.0) * (compressed - image), 0.0, 1.0)


def _washes(grey: Array, sepia: Array, strength: Array | float) -> tuple[Array, Array]:
    """Shares of grey and sepia: one picture in nine is greyscale, one in fifty brownish."""
    return (grey < 0.11 * strength).astype(jnp.float32), jnp.where(sepia < 0.02 * strength, 1.0, 0.0)


def tone(
    image: Float[Array, "S S 3"], exposure: Float[Array, ""], balance: Float[Array, " 3"], gamma: Float[Array, ""]
) -> Float[Array, "S S 3"]:
    """`clip(exposure * balance * image) ** gamma`: exposure and white balance as gains, with clipped highlights.

    Args:
      image: (S, S, 3).
      exposure: gain of all channels.
      balance: gain of each channel.
      gamma: exponent.

    Returns:
      The picture.
    """
    return jnp.clip(image * exposure * balance[None, None], 1e-6, 1.0) ** gamma


def contrast(image: Float[Array, "S S 3"], gain: Float[Array, ""], pivot: Float[Array, ""]) -> Float[Array, "S S 3"]:
    """Differences from `pivot` times `gain`, clipped."""
    return jnp.clip(pivot + gain * (image - pivot), 0.0, 1.0)


def colours(
    image: Float[Array, "S S 3"], saturation: Float[Array, ""], grey: Float[Array, ""], sepia: Float[Array, ""]
) -> Float[Array, "S S 3"]:
    """Saturation, then shares of greyscale and of sepia, as one 3x3 matrix; clipped.

    Args:
      image: (S, S, 3).
      saturation: 1 keeps it.
      grey, sepia: shares in [0, 1].

    Returns:
      The picture.
    """
    greyscale = jnp.broadcast_to(jnp.asarray(LUMA), (3, 3))
    matrix = greyscale + saturation * (1.0 - grey) * (jnp.eye(3) - greyscale)
    matrix = matrix + sepia * (jnp.asarray(_SEPIA) - matrix)
    return jnp.clip(_mix(image, matrix), 0.0, 1.0)


def _mix(image: Float[Array, "S S 3"], matrix: Array | np.ndarray) -> Float[Array, "S S 3"]:
    """`image @ matrix.T`, written out: XLA's small matrix products are slow on a CPU."""
    return sum((image[..., k : k + 1] * matrix[None, None, :, k] for k in range(3)), start=jnp.zeros_like(image))


def vignette(image: Float[Array, "S S 3"], strength: Float[Array, ""], key: Key[Array, ""]) -> Float[Array, "S S 3"]:
    """Darkening away from a point near the middle: `1 - strength * r^2`, with r = 1 at a corner's distance."""
    x, y = pixel_centres(image.shape[0])
    cx, cy = 0.5 + 0.15 * normal(key, (2,))
    square = jnp.minimum(2.0 * ((x - cx) ** 2 + (y - cy) ** 2), 1.0)
    return image * (1.0 - strength * square)[..., None]


def optics(
    image: Float[Array, "S S 3"], defocus: Float[Array, ""], trail: Float[Array, " 2"], halo: Float[Array, ""]
) -> Float[Array, "S S 3"]:
    """Defocus, motion blur and sharpening, as one filter on the spectrum of the mirrored picture. All keep its mean.

    Args:
      image: (S, S, 3).
      defocus: standard deviation of a Gaussian, pixels.
      trail: path (x, y) of the motion, pixels.
      halo: share of the difference to a blurred copy (1.5 pixels) that is added.

    Returns:
      The picture.
    """
    size = image.shape[0]
    margin = size // 16  # defocus and motion reach no farther
    padded = jax.lax.optimization_barrier(
        jnp.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="symmetric")
    )
    side = size + 2 * margin
    fy = jnp.fft.fftfreq(side)[:, None]  # cycles per pixel
    fx = jnp.fft.rfftfreq(side)[None, :]
    square = (2 * jnp.pi) ** 2 * (fx * fx + fy * fy)
    response = jnp.exp(-0.5 * square * defocus**2) * jnp.sinc(fx * trail[0] + fy * trail[1])
    response = response * (1.0 + halo * (1.0 - jnp.exp(-0.5 * square * 1.5**2)))
    response = jax.lax.optimization_barrier(response)
    spectrum = jnp.fft.rfft2(jnp.moveaxis(padded, 2, 0))
    planes = jnp.fft.irfft2(spectrum * response.astype(spectrum.dtype), s=(side, side))
    return jnp.clip(jnp.moveaxis(planes, 0, 2)[margin : margin + size, margin : margin + size], 0.0, 1.0)


def noise(
    key: Key[Array, ""],
    image: Float[Array, "S S 3"],
    *,
    shot: Float[Array, ""],
    read: Float[Array, ""],
    chroma: Float[Array, ""],
) -> Float[Array, "S S 3"]:
    """Sensor noise of variance `shot^2 * value + read^2`.

    Args:
      key: consumed.
      image: (S, S, 3).
      shot, read: see above.
      chroma: share of the variance that differs between channels.

    Returns:
      The picture.
    """
    k1, k2 = jax.random.split(key)
    common = normal(k1, (*image.shape[:2], 1))
    own = normal(k2, image.shape)
    deviation = jnp.sqrt(shot**2 * image + read**2)
    return jnp.clip(image + deviation * (jnp.sqrt(1.0 - chroma) * common + jnp.sqrt(chroma) * own), 0.0, 1.0)


def resolution(image: Float[Array, "S S 3"], share: Float[Array, ""]) -> Float[Array, "S S 3"]:
    """Shrunk to `share` of its side (box filter) and enlarged again (linear), by one matrix per axis."""
    matrix = _there_and_back(image.shape[0], share)
    return separable(matrix, matrix, image)


def _there_and_back(size: int, share: Array) -> Float[Array, "{size} {size}"]:
    """The (size, size) matrix that shrinks and enlarges; the small picture's unused rows stay zero."""
    small = jnp.maximum(jnp.round(size * share), 1.0)
    at = jnp.arange(size, dtype=jnp.float32)
    step = size / small  # pixels of the picture per small pixel
    low, high = at[:, None] * step, (at[:, None] + 1.0) * step
    shrink = jnp.clip(jnp.minimum(high, at + 1.0) - jnp.maximum(low, at), 0.0, 1.0) / step
    position = jnp.clip((at + 0.5) / step - 0.5, 0.0, small - 1.0)
    enlarge = jnp.maximum(0.0, 1.0 - jnp.abs(position[:, None] - at[None, :]))
    return enlarge @ shrink


def posterise(image: Float[Array, "S S 3"], levels: Float[Array, ""]) -> Float[Array, "S S 3"]:
    """Values rounded to multiples of `1 / levels`."""
    return jnp.round(image * levels) / levels


def jpeg(image: Float[Array, "S S 3"], quality: Float[Array, ""]) -> Float[Array, "S S 3"]:
    """The effect of JPEG at `quality` (1 to 100) with halved chroma; all of it except the lossless coding.

    JFIF's colours, the tables of ITU-T T.81 Annex K scaled by the rule of the Independent JPEG Group's library, and 8x8
    blocks of the discrete cosine transform. Chroma is averaged two by two and repeated.
    """
    size = image.shape[0]
    scale = jnp.where(quality < 50, 50.0 / quality, 2.0 - quality / 50.0)
    ycc = 255.0 * rgb_to_ycbcr(image)
    luma = _quantise(ycc[..., 0] - 128.0, _LUMA_STEPS, scale) + 128.0
    chroma = jnp.moveaxis(ycc[..., 1:], 2, 0).reshape(2, size // 2, 2, size // 2, 2).mean(axis=(2, 4))
    chroma = jax.vmap(lambda plane: _quantise(plane, _CHROMA_STEPS, scale))(chroma)
    chroma = jnp.repeat(jnp.repeat(chroma, 2, axis=1), 2, axis=2)
    back = ycbcr_to_rgb(jnp.stack([luma, chroma[0], chroma[1]], axis=-1))
    return jnp.clip(jnp.round(back) / 255.0, 0.0, 1.0)


def _quantise(plane: Float[Array, "S S"], steps: np.ndarray, scale: Array) -> Float[Array, "S S"]:
    """The plane with the cosine coefficients of its blocks rounded to multiples of the scaled steps.

    The transform of all blocks at once is one block-diagonal matrix per axis.
    """
    count = plane.shape[0] // 8
    k = np.arange(8)
    dct = 0.5 * np.cos((2 * k[None, :] + 1) * k[:, None] * np.pi / 16)
    dct[0] /= np.sqrt(2.0)
    dct = jnp.asarray(np.kron(np.eye(count), dct), jnp.float32)
    step = jnp.tile(jnp.clip(jnp.floor(steps * scale + 0.5), 1.0, 255.0), (count, count))
    return dct.T @ (jnp.round((dct @ plane @ dct.T) / step) * step) @ dct

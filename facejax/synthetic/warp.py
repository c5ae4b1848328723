"""Pictures resampled under affine maps and smooth displacements, and points moved along with them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, Shaped

from facejax.synthetic.fields import normal, separable, stretch


def draw_bend(key: Key[Array, ""], size: int, spread: float, *, cells: int = 5) -> Float[Array, "K K 2"]:
    """Control points of a smooth random displacement, for `resample` and `bend_points`: a uniform cubic B-spline.

    Args:
      key: consumed.
      size: pixels per side of the picture.
      spread: standard deviation of the displacement along each axis, as a share of the side.
      cells: squares per side of the spline.

    Returns:
      The control points, pixels.
    """
    # 0.479: the standard deviation that the spline leaves
    return spread * size / 0.479 * normal(key, (cells + 3, cells + 3, 2))


def bend_points(
    control: Float[Array, "K K 2"], size: int, points: Float[Array, "N 2"], *, rounds: int = 6
) -> Float[Array, "N 2"]:
    """Where the bent picture shows points of the unbent one: the p with p + bend(p) = point.

    Args:
      control: of the bend.
      size: pixels per side of the picture.
      points: pixels.
      rounds: of the fixed-point iteration.

    Returns:
      The points.
    """

    def displacement(p):
        across, down = (_spline(p[:, axis] / size, control.shape[0]) for axis in (0, 1))
        return jnp.einsum("nr,rcd,nc->nd", down, control, across)

    moved = points
    for _ in range(rounds):
        moved = points - displacement(moved)
    return moved


def _spline(at: Float[Array, " N"], count: int) -> Float[Array, "N K"]:
    """Weights of `count` control points of a uniform cubic B-spline over [0, 1]; 0 beyond two cells."""
    t = jnp.abs(at[:, None] * (count - 3) + 1.0 - jnp.arange(count, dtype=at.dtype)[None])
    inner, outer = 2.0 / 3.0 - t * t * (1.0 - 0.5 * t), (2.0 - t) ** 3 / 6.0
    return jnp.where(t < 1.0, inner, jnp.where(t < 2.0, outer, 0.0))


def resample(
    image: Float[Array, "H W 3"],
    affine: Float[Array, "2 3"],
    size: int,
    border: Array | int = 0,
    *,
    bend: Float[Array, "K K 2"] | None = None,
) -> Float[Array, "{size} {size} 3"]:
    """The picture under an affine map of its pixels, `new = affine[:, :2] @ old + affine[:, 2]`, by bilinear sampling.

    When it shrinks, a three-tap smoothing first removes what would alias, for factors down to about 1/2. The smoothing
    is equal along both axes, so the map should be close to a similarity.

    Args:
      image: (H, W, 3).
      affine: the map.
      size: pixels per side of the result.
      border: what lies beyond the picture: 0 its border values, 1 those fading into a blurred copy, 2 a mirror image, 3
        black.
      bend: from `draw_bend`; then pixel p shows what would be at p + bend(p).

    Returns:
      The new picture.
    """
    height, width = image.shape[:2]
    linear = affine[:, :2]
    square = _squared_scale(linear)
    image = jax.lax.optimization_barrier(_smooth(image, jnp.clip(0.125 * (1.0 / square - 1.0), 0.0, 0.375)))
    x, y = source_positions(affine, size, bend)
    outside = jnp.maximum(jnp.maximum(-x, x - width) / width, jnp.maximum(-y, y - height) / height)
    mirrored = border == 2
    crop = _bilinear(image, jnp.where(mirrored, _mirror(x, width), x), jnp.where(mirrored, _mirror(y, height), y))
    far = jnp.where(border == 1, jnp.clip(8.0 * outside, 0.0, 1.0), 0.0)
    crop = crop + far[..., None] * (_blurred(image, size) - crop)
    return crop * jnp.where((border == 3) & (outside > 0), 0.0, 1.0)[..., None]


def source_positions(
    affine: Float[Array, "2 3"], size: int, bend: Float[Array, "K K 2"] | None = None
) -> tuple[Float[Array, "{size} {size}"], Float[Array, "{size} {size}"]]:
    """The x and y in the old picture of each pixel of the new one, pixels (a pixel's centre is at a half).

    Args:
      affine, size, bend: as for `resample`.
    """
    linear, offset = affine[:, :2], affine[:, 2]
    square = _squared_scale(linear)
    inverse = jnp.stack([jnp.stack([linear[1, 1], -linear[0, 1]]), jnp.stack([-linear[1, 0], linear[0, 0]])]) / square
    at = jnp.arange(size, dtype=float) + 0.5
    dx, dy = (at - offset[0])[None, :], (at - offset[1])[:, None]
    if bend is not None:
        weights = _spline(at / size, bend.shape[0])
        dx, dy = (step + weights @ bend[..., axis] @ weights.T for axis, step in enumerate((dx, dy)))
    x = inverse[0, 0] * dx + inverse[0, 1] * dy
    y = inverse[1, 0] * dx + inverse[1, 1] * dy
    return x, y


def pick(
    labels: Shaped[Array, "H W *C"], affine: Float[Array, "2 3"], size: int, bend: Float[Array, "K K 2"] | None = None
) -> tuple[Shaped[Array, "{size} {size} *C"], Bool[Array, "{size} {size}"]]:
    """The nearest pixels of a map of labels under the map that `resample` applies, and whether they lie in it.

    Args:
      labels: (H, W, ...), of any type.
      affine, size, bend: as for `resample`.
    """
    height, width = labels.shape[:2]
    x, y = (jnp.floor(at).astype(jnp.int32) for at in source_positions(affine, size, bend))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    return labels[jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1)], inside


def _squared_scale(linear: Float[Array, "2 2"]) -> Float[Array, ""]:
    return jnp.maximum(linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0], 1e-12)


def _smooth(image: Float[Array, "H W 3"], side: Float[Array, ""]) -> Float[Array, "H W 3"]:
    """Weights (side, 1 - 2 side, side) along both axes; border values are repeated."""
    for axis in (0, 1):
        length = image.shape[axis]
        before = jnp.concatenate([_slice(image, 0, 1, axis), _slice(image, 0, length - 1, axis)], axis)
        after = jnp.concatenate([_slice(image, 1, length, axis), _slice(image, length - 1, length, axis)], axis)
        image = image + side * (before + after - 2.0 * image)
    return image


def _slice(image: Array, start: int, stop: int, axis: int) -> Array:
    return jax.lax.slice_in_dim(image, start, stop, axis=axis)


def _mirror(at: Float[Array, "S S"], length: int) -> Float[Array, "S S"]:
    """Reflected at 0 and at `length`, repeatedly."""
    return length - jnp.abs(at - 2.0 * length * jnp.floor(at / (2.0 * length)) - length)  # jnp.mod is slow


def _bilinear(image: Float[Array, "H W 3"], x: Float[Array, "S S"], y: Float[Array, "S S"]) -> Float[Array, "S S 3"]:
    """Values at pixel positions (the first pixel's centre is 0.5); the border's value beyond it."""
    height, width = image.shape[:2]
    x, y = jnp.clip(x - 0.5, 0.0, width - 1.0), jnp.clip(y - 0.5, 0.0, height - 1.0)
    left = jnp.minimum(x.astype(jnp.int32), width - 2)
    top = jnp.minimum(y.astype(jnp.int32), height - 2)
    fx, fy = (x - left.astype(x.dtype))[..., None], (y - top.astype(y.dtype))[..., None]
    flat = image.reshape(height * width, 3)
    corner = top * width + left
    a, b, c, d = jax.lax.optimization_barrier([flat[corner + step] for step in (0, 1, width, width + 1)])
    return (1.0 - fy) * ((1.0 - fx) * a + fx * b) + fy * ((1.0 - fx) * c + fx * d)


def _blurred(image: Float[Array, "H W 3"], size: int) -> Float[Array, "{size} {size} 3"]:
    """The whole picture as a few soft patches of colour."""
    height, width = image.shape[:2]
    rows, columns = stretch(height, 4), stretch(width, 4)
    small = separable((rows / rows.sum(0, keepdims=True)).T, (columns / columns.sum(0, keepdims=True)).T, image)
    return separable(stretch(size, 4), stretch(size, 4), small)

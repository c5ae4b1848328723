"""Another view of a picture that exists already: shifted, scaled and turned, its points moved along exactly."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.synthetic.fields import choice, normal, separable, stretch


def random_view(
    key: Key[Array, ""],
    image: Float[Array, "H W 3"],
    points: Float[Array, "N 2"],
    size: int,
    *,
    margin: float = 1.6,
    shift: float = 0.05,
    scale: float = 0.1,
    roll: float = 15.0,
) -> tuple[Float[Array, "{size} {size} 3"], Float[Array, "N 2"], Float[Array, "2 3"]]:
    """A crop of `size` pixels around the points of a picture turned at random: (crop, points, affine).

    The picture turns by a normal angle of deviation `roll` (degrees) about the middle of the points; the crop is the
    square around the turned points' box, its side `margin * sqrt(w * h)` times the exponential of a normal number of
    deviation `scale`, its centre off by `shift` of the side (normal deviation, each axis). `affine` takes old pixels
    to new ones: `new = affine[:, :2] @ old + affine[:, 2]`. Beyond the picture lie, by chance, its border values
    (half of the time), those fading into a blurred copy, a mirror image, or black.
    """
    k1, k2, k3, k4 = jax.random.split(key, 4)
    angle = jnp.deg2rad(roll) * normal(k1)
    c, s = jnp.cos(angle), jnp.sin(angle)
    turn = jnp.stack([jnp.stack([c, -s]), jnp.stack([s, c])])
    turned = points @ turn.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    side = margin * jnp.sqrt(jnp.prod(high - low)) * jnp.exp(scale * normal(k2))
    centre = 0.5 * (low + high) + shift * side * normal(k3, (2,))
    factor = size / side
    affine = jnp.concatenate([factor * turn, (0.5 * size - factor * centre)[:, None]], axis=1)
    border = choice(k4, (0.5, 0.2, 0.1, 0.2))
    crop = resample(image, affine, size, border)
    return crop, points @ affine[:, :2].T + affine[:, 2], affine


def draw_bend(key: Key[Array, ""], size: int, spread: float, *, cells: int = 5) -> Float[Array, "K K 2"]:
    """Control points of a smooth random displacement over a picture of `size` pixels, for `resample` and `bend_points`.

    A uniform cubic B-spline over `cells` x `cells` squares. `spread`: the standard deviation of the displacement along
    each axis, as a share of the side.
    """
    return spread * size / 0.479 * normal(key, (cells + 3, cells + 3, 2))  # 0.479: 1 / what the spline smooths away


def bend_points(
    control: Float[Array, "K K 2"], size: int, points: Float[Array, "N 2"], *, rounds: int = 6
) -> Float[Array, "N 2"]:
    """Where points (pixels) of the picture that was not bent are in the bent one: p with p + bend(p) = point."""

    def displacement(p):
        across, down = (_spline(p[:, axis] / size, control.shape[0]) for axis in (0, 1))
        return jnp.einsum("nr,rcd,nc->nd", down, control, across)

    moved = points
    for _ in range(rounds):
        moved = points - displacement(moved)
    return moved


def _spline(at: Float[Array, " N"], count: int) -> Float[Array, "N K"]:
    """Weights of `count` control points of a uniform cubic B-spline over [0, 1]; 0 outside by more than two cells."""
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
    """The picture after its pixels moved, `new = affine[:, :2] @ old + affine[:, 2]`, by bilinear sampling.

    When it shrinks, a three-tap smoothing comes first that removes what would alias, for factors down to about 1/2; it
    is the same along both axes, so a map should be nearly a similarity.
    `border`: 0 its border values go on, 1 they fade into a blurred copy, 2 it is mirrored, 3 black. With `bend`
    (`draw_bend`) the new pixel p shows what would be at p + bend(p).
    """
    height, width = image.shape[:2]
    linear, offset = affine[:, :2], affine[:, 2]
    square = jnp.maximum(linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0], 1e-12)  # scale^2
    image = jax.lax.optimization_barrier(_smooth(image, jnp.clip(0.125 * (1.0 / square - 1.0), 0.0, 0.375)))
    inverse = jnp.stack([jnp.stack([linear[1, 1], -linear[0, 1]]), jnp.stack([-linear[1, 0], linear[0, 0]])]) / square
    at = jnp.arange(size, dtype=float) + 0.5
    dx, dy = (at - offset[0])[None, :], (at - offset[1])[:, None]
    if bend is not None:
        weights = _spline(at / size, bend.shape[0])
        dx, dy = (step + weights @ bend[..., axis] @ weights.T for axis, step in enumerate((dx, dy)))
    x = inverse[0, 0] * dx + inverse[0, 1] * dy
    y = inverse[1, 0] * dx + inverse[1, 1] * dy
    outside = jnp.maximum(jnp.maximum(-x, x - width) / width, jnp.maximum(-y, y - height) / height)
    mirrored = border == 2
    crop = _bilinear(image, jnp.where(mirrored, _mirror(x, width), x), jnp.where(mirrored, _mirror(y, height), y))
    far = jnp.where(border == 1, jnp.clip(8.0 * outside, 0.0, 1.0), 0.0)
    crop = crop + far[..., None] * (_blurred(image, size) - crop)
    return crop * jnp.where((border == 3) & (outside > 0), 0.0, 1.0)[..., None]


def _smooth(image: Float[Array, "H W 3"], side: Float[Array, ""]) -> Float[Array, "H W 3"]:
    """Weights (side, 1 - 2 side, side) along both axes, border values repeated."""
    for axis in (0, 1):
        length = image.shape[axis]
        before = jnp.concatenate([_slice(image, 0, 1, axis), _slice(image, 0, length - 1, axis)], axis)
        after = jnp.concatenate([_slice(image, 1, length, axis), _slice(image, length - 1, length, axis)], axis)
        image = image + side * (before + after - 2.0 * image)
    return image


def _slice(image: Array, start: int, stop: int, axis: int) -> Array:
    return jax.lax.slice_in_dim(image, start, stop, axis=axis)


def _mirror(at: Float[Array, "S S"], length: int) -> Float[Array, "S S"]:
    """Reflected at 0 and at `length`, over and over."""
    return length - jnp.abs(at - 2.0 * length * jnp.floor(at / (2.0 * length)) - length)  # jnp.mod is slow


def _bilinear(image: Float[Array, "H W 3"], x: Float[Array, "S S"], y: Float[Array, "S S"]) -> Float[Array, "S S 3"]:
    """Values at pixel positions (the first pixel's centre is 0.5), the border's beyond it."""
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

"""The colours of the eyes. Their whites are nearly neutral and much alike in all people: they tell light from skin."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facejax.images.align import warp
from facejax.lighting import luminance, srgb_to_linear
from facejax.nets.facemesh import IRIS_SIDE, apply_iris
from facejax.regression.iris_points import CORNERS, LIDS, SIGNS, eye_square

WHITES = 8  # numbers about the two whites
INSIDE, WELL_INSIDE = 0.95, 0.8  # the lids' contour is drawn in by this, towards its middle: for white and iris
BEYOND = 1.15  # radii of the iris that are left out
RING = (0.5, 0.9)  # radii of the iris between which it is looked at
BRIGHT = (0.5, 0.95)  # quantiles of a white's brightness that count: shadows of lids and mirrored lamps do not
MIDDLE = (0.1, 0.6)  # of an iris: not lashes, nor lamps
FEWEST = 0.004  # share of the eye's square below which nothing is said


class EyeColors(NamedTuple):
    """Of the right and the left eye: mean log linear colour, and root of the share of the eye's square; zeros for an
    eye of which too little is seen."""

    white: Float[Array, "2 4"]
    iris: Float[Array, "2 4"]  # without the pupil


def eye_colors(weights: Any, picture: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> EyeColors:
    """The colours of whites and irises; MediaPipe's iris network finds lids and irises.

    Args:
      weights: of `facejax.regression.iris_points.load_iris`.
      picture: display values.
      landmarks: of the face, pixels of the picture.
    """
    transforms = jax.vmap(eye_square)(landmarks[jnp.array(CORNERS)], jnp.array(SIGNS))
    crops = jax.vmap(lambda transform: warp(picture, transform, IRIS_SIDE))(transforms)
    contour, iris = apply_iris(weights, crops)
    return jax.vmap(colors_of_eye)(crops, contour[:, :LIDS, :2], iris[..., :2])


def colors_of_eye(crop: Float[Array, "S S 3"], lids: Float[Array, "L 2"], iris: Float[Array, "5 2"]) -> EyeColors:
    """The colours of what lies within the lids: outside the iris, and within it around the pupil.

    Args:
      crop: display values.
      lids: points of their contour in any order, pixels.
      iris: its centre and four points of its rim.
    """
    side = crop.shape[0]
    x, y = jnp.meshgrid(jnp.arange(side, dtype=crop.dtype), jnp.arange(side, dtype=crop.dtype))
    middle = jnp.mean(lids, axis=0, keepdims=True)
    radius = jnp.max(jnp.linalg.norm(iris[1:] - iris[:1], axis=-1))
    away = jnp.hypot(x - iris[0, 0], y - iris[0, 1]) / jnp.maximum(radius, 1e-3)
    open_, wide_open = (_within(middle + share * (lids - middle), x, y) for share in (INSIDE, WELL_INSIDE))
    linear = srgb_to_linear(jnp.clip(crop, 0.0, 1.0))
    return EyeColors(
        _mean_color(linear, open_ & (away > BEYOND), BRIGHT),
        _mean_color(linear, wide_open & (away > RING[0]) & (away < RING[1]), MIDDLE),
    )


def _mean_color(
    linear: Float[Array, "S S 3"], where: Bool[Array, "S S"], between: tuple[float, float]
) -> Float[Array, " 4"]:
    """Mean log colour between two quantiles of brightness, and root of the share."""
    bright = luminance(linear)
    low, high = jnp.nanquantile(jnp.where(where, bright, jnp.nan), jnp.array(between, linear.dtype))
    chosen = (where & (bright >= low) & (bright <= high)).astype(linear.dtype)
    color = jnp.einsum("hw,hwc->c", chosen, linear) / jnp.maximum(jnp.sum(chosen), 1.0)
    share = jnp.mean(where.astype(linear.dtype))
    return jnp.where(share > FEWEST, jnp.append(jnp.log(color + 0.003), jnp.sqrt(share)), 0.0)


def _within(points: Float[Array, "L 2"], x: Float[Array, "S S"], y: Float[Array, "S S"]) -> Bool[Array, "S S"]:
    """Whether each place lies in the polygon of these points, taken in the order of their angles around its middle."""
    apart = points - jnp.mean(points, axis=0, keepdims=True)
    first = points[jnp.argsort(jnp.arctan2(apart[:, 1], apart[:, 0]))]
    x0, y0 = first.T[:, :, None, None]
    x1, y1 = jnp.roll(first, -1, axis=0).T[:, :, None, None]
    x, y = x[None], y[None]
    crossed = (y0 > y) != (y1 > y)
    at = x0 + (y - y0) * (x1 - x0) / jnp.where(crossed, y1 - y0, 1.0)
    return jnp.sum(crossed & (x < at), axis=0) % 2 == 1

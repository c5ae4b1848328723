"""Objects in front of a face, painted over the finished picture: blobs, bars, boards, hands, cut-outs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.synthetic.fields import (
    Shapes,
    chance,
    choice,
    clouds,
    coverage,
    normal,
    object_colours,
    pixel_centres,
    ramp,
    skin_colours,
    uniform,
)

_SLOTS = 3  # blobs, bars and boards
_PARTS = 6  # of a hand: palm, four fingers, thumb


def occlude(
    key: Key[Array, ""], image: Float[Array, "S S 3"], share: Float[Array, ""] | float = 0.4
) -> tuple[Float[Array, "S S 3"], Float[Array, "S S"]]:
    """The picture with something in front of it, with probability `share`, and a mask that is 1 where it is hidden.

    The objects: one to three ellipses, bars or boards; a polygon; a hand in a skin colour. They are filled with a
    colour, with clouds of two colours, with stripes, or with other parts of the picture itself.
    """
    keys = jax.random.split(key, 6)
    size = image.shape[0]
    softness = jnp.exp(uniform(keys[0], (), low=jnp.log(1.0 / size), high=jnp.log(0.06)))
    there = chance(keys[1], share)
    kind = choice(keys[2], (0.45, 0.2, 0.35))
    some, one, skinned = jnp.where(kind == jnp.arange(3), 1.0, 0.0)
    solid = some * _union(_blobs(keys[3], softness), size) + one * _polygon(keys[3], size, softness)
    hand = skinned * _union(_hand(keys[4], softness), size)
    mask = there * (solid + hand)
    fill = _fill(keys[5], image)
    skin = _skin(keys[5], hand)
    fill = fill + skinned * (skin - fill)
    return image + mask[..., None] * (fill - image), mask


def _union(shapes: Shapes, size: int) -> Float[Array, "{size} {size}"]:
    """Coverage by any of the shapes."""

    def add(covered, shape):
        return jnp.maximum(covered, coverage(shape, size)), None

    return jax.lax.scan(add, jnp.zeros((size, size)), shapes)[0]


def _blobs(key: Key[Array, ""], softness: Array) -> Shapes:
    """Ellipses, boards, and long bars."""
    keys = jax.random.split(key, 6)
    half = 0.05 * jnp.exp(uniform(keys[0], (_SLOTS, 2), high=1.6))
    bar = chance(keys[1], 0.25, (_SLOTS, 1))
    half = half * (1.0 + bar * jnp.array([5.0, -0.5]))
    return Shapes(
        centre=0.5 + 0.25 * normal(keys[2], (_SLOTS, 2)),
        half=half,
        angle=uniform(keys[3], (_SLOTS,), high=jnp.pi),
        square=chance(keys[4], 0.5, (_SLOTS,)),
        softness=jnp.broadcast_to(softness, (_SLOTS,)),
        opacity=chance(keys[5], jnp.array([1.0, 0.35, 0.2]), (_SLOTS,)),
        colour=jnp.zeros((_SLOTS, 3)),
    )


def _polygon(key: Key[Array, ""], size: int, softness: Array) -> Float[Array, "{size} {size}"]:
    """A convex polygon: the intersection of five half-planes around a point."""
    k1, k2, k3 = jax.random.split(key, 3)
    x, y = pixel_centres(size)
    centre = 0.5 + 0.25 * normal(k1, (2,))
    angles = 2 * jnp.pi * (jnp.arange(5, dtype=float) + uniform(k2, (5,), low=-0.3, high=0.3)) / 5
    reach = uniform(k3, (5,), low=0.05, high=0.25)
    inside = jnp.full((size, size), jnp.inf)
    for k in range(5):
        along = (x - centre[0]) * jnp.cos(angles[k]) + (y - centre[1]) * jnp.sin(angles[k])
        inside = jnp.minimum(inside, reach[k] - along)
    return ramp(inside, softness)


def _hand(key: Key[Array, ""], softness: Array) -> Shapes:
    """A palm, four fingers and a thumb, anywhere, in any direction, randomly bent."""
    keys = jax.random.split(key, 6)
    scale = 0.1 * jnp.exp(uniform(keys[0], (), high=0.8))
    turn = uniform(keys[1], (), high=2 * jnp.pi)
    spread = uniform(keys[2], (), low=0.02, high=0.25)
    length = jnp.array([0.85, 1.0, 0.95, 0.75, 0.7]) * uniform(keys[3], (5,), low=0.5, high=1.15)
    lean = jnp.append(spread * jnp.array([-1.5, -0.5, 0.5, 1.5]), -1.0) + 0.06 * normal(keys[4], (5,))
    root = jnp.array([[-0.62, -0.7], [-0.21, -0.85], [0.21, -0.8], [0.6, -0.6], [-0.7, 0.2]])
    forward = jnp.stack([jnp.sin(lean), -jnp.cos(lean)], axis=-1)
    centre = jnp.concatenate([jnp.zeros((1, 2)), root + length[:, None] * forward])
    half = jnp.concatenate([jnp.array([[0.85, 1.05]]), jnp.stack([jnp.full(5, 0.24), length + 0.2], axis=-1)])
    angle = jnp.concatenate([jnp.zeros(1), lean])
    c, s = jnp.cos(turn), jnp.sin(turn)
    placed = centre @ jnp.stack([jnp.stack([c, s]), jnp.stack([-s, c])])
    return Shapes(
        centre=0.5 + 0.25 * normal(keys[5], (2,)) + scale * placed,
        half=scale * half,
        angle=angle + turn,
        square=jnp.full(_PARTS, 0.35),
        softness=jnp.broadcast_to(softness, (_PARTS,)),
        opacity=jnp.ones(_PARTS),
        colour=jnp.zeros((_PARTS, 3)),
    )


def _fill(key: Key[Array, ""], image: Float[Array, "S S 3"]) -> Float[Array, "S S 3"]:
    """A colour, clouds, stripes, or the picture upside down."""
    k1, k2, k3, k4 = jax.random.split(key, 4)
    x, y = pixel_centres(image.shape[0])
    first, second = object_colours(k1, 2)
    kind = choice(k2, (0.25, 0.25, 0.25, 0.25))
    angle, period, phase, rough, light = uniform(k3, (5,))
    wave = jnp.cos((x * jnp.cos(3.1 * angle) + y * jnp.sin(3.1 * angle)) * 2 * jnp.pi * (4 + 20 * period) + 6 * phase)
    cloud = clouds(k4, image.shape[0], 1, 0.4 + 0.6 * rough, finest=16)[..., 0]
    pattern = jnp.where(kind == 1, 0.5 + 0.4 * cloud, jnp.where(kind == 2, 0.5 + wave, 0.0))
    painted = first + jnp.clip(pattern, 0.0, 1.0)[..., None] * (second - first)
    shaded = painted * (1.0 - 0.4 * light * (y - x + 0.5))[..., None]
    return jnp.clip(jnp.where(kind == 3, image[::-1, ::-1], shaded), 0.0, 1.0)


def _skin(key: Key[Array, ""], hand: Float[Array, "S S"]) -> Float[Array, "S S 3"]:
    """Skin, lit from one side."""
    k1, k2 = jax.random.split(key)
    x, y = pixel_centres(hand.shape[0])
    slope = 0.8 * normal(k2, (2,))
    light = 1.0 + slope[0] * (x - 0.5) + slope[1] * (y - 0.5)
    return jnp.clip(skin_colours(k1, 1)[0] * jnp.clip(light, 0.5, 1.4)[..., None], 0.0, 1.0)

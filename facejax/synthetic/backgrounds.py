"""Backgrounds behind a head: walls, windows, shelves, foliage, horizons, lights, and other people out of focus.

A background is a stack of layers, each present by chance, all under one random defocus. They need not look like places;
they must offer every edge and colour with which a face's outline could be confused.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from facejax.synthetic.fields import (
    Shapes,
    cells,
    chance,
    clouds,
    normal,
    object_colours,
    paint,
    pixel_centres,
    ramp,
    separable,
    skin_colours,
    uniform,
)

_THINGS = 8  # rectangles and discs
_PEOPLE = 2


def background(key: Key[Array, ""], size: int) -> Float[Array, "{size} {size} 3"]:
    """A random background, display values in [0, 1]. A quarter are plain walls with little on them."""
    keys = jax.random.split(key, 11)
    busy = chance(keys[1], 0.75)
    softness = jnp.exp(uniform(keys[2], (), low=jnp.log(1.0 / size), high=jnp.log(0.12)))
    there = busy * chance(keys[0], np.array([0.3, 0.25, 0.4, 0.2, 0.6, 0.25], np.float32), (6,))
    image = _wall(keys[3], size)
    image = _horizon(keys[4], image, there[0], softness)
    image = _texture(keys[5], image, 0.15 + 0.85 * busy, there[1])
    image = _grid(keys[6], image, there[2], softness)
    image = _stripes(keys[7], image, there[3], softness)
    shapes = _things(keys[8], there[4], softness) + _people(keys[9], there[5], softness)
    image = paint(image, shapes)
    return jnp.clip(image + _grain(keys[10], size, softness), 0.0, 1.0)


def _wall(key: Key[Array, ""], size: int) -> Float[Array, "{size} {size} 3"]:
    """One colour, lit from one side and darker towards a random corner."""
    k1, k2, k3, k4 = jax.random.split(key, 4)
    x, y = pixel_centres(size)
    near, far = object_colours(k1, 2)
    far = near + uniform(k2) ** 2 * (far - near)
    angle = uniform(k3, high=2 * jnp.pi)
    along = jnp.clip(0.5 + (x - 0.5) * jnp.cos(angle) + (y - 0.5) * jnp.sin(angle), 0.0, 1.0)
    glow = uniform(k4, (3,))
    radial = 1.0 - 0.7 * glow[2] ** 2 * ((x - glow[0]) ** 2 + (y - glow[1]) ** 2)
    return (near + along[..., None] * (far - near)) * radial[..., None]


def _horizon(key: Key[Array, ""], image: Array, there: Array, softness: Array) -> Array:
    """A sky that brightens downwards above a ground, with an uneven border between them."""
    k1, k2, k3, k4, k5 = jax.random.split(key, 5)
    x, y = pixel_centres(image.shape[0])
    ground = object_colours(k1, 1)[0] * 0.7
    blue = jnp.array([0.45, 0.62, 0.85]) + 0.12 * normal(k2, (3,))
    level, tilt, wave, phase, pale, even = uniform(k3, (6,))
    border = 0.15 + 0.8 * level + 0.3 * (tilt - 0.5) * (x - 0.5) + 0.05 * wave * jnp.sin(6 * wave * x + 6 * phase)
    skyline = cells(k4, image.shape[0], 10, softness, even, jnp.ones(())) @ uniform(k5, (10,))
    border = border - 0.2 * wave * skyline[None, :]
    sky = blue + (pale * jnp.clip(y / jnp.maximum(border, 0.05), 0.0, 1.0))[..., None] * (0.97 - blue)
    scene = sky + ramp(y - border, softness)[..., None] * (ground * (1.2 - 0.5 * y)[..., None] - sky)
    return image + there * (scene - image)


def _texture(key: Key[Array, ""], image: Array, strength: Array, foliage: Array) -> Array:
    """Colour noise of random roughness. As foliage its ridges are sharpened, and greens and browns replace the wall."""
    k1, k2, k3, k4 = jax.random.split(key, 4)
    rough, amount, sharp, grey = uniform(k1, (4,))
    noise = clouds(k2, image.shape[0], 3, 0.4 + 0.6 * rough)
    plain = image + 0.25 * strength * amount**2 * (noise * (1.0 - grey) + noise[..., :1] * grey)
    leaf = jnp.array([0.25, 0.38, 0.13]) * jnp.exp(0.35 * normal(k3, (2, 1))) + 0.06 * normal(k4, (2, 3))
    ridge = jnp.clip(0.5 + (1.0 + 3.0 * sharp) * (0.55 - jnp.abs(noise[..., :1])), 0.0, 1.0)
    leaves = leaf[0] * (0.35 + 0.5 * noise[..., 1:2]) + ridge * (leaf[1] + 0.1 * noise[..., 2:] - leaf[0] * 0.4)
    return plain + foliage * (leaves - plain)


def _grid(key: Key[Array, ""], image: Array, there: Array, softness: Array) -> Array:
    """Rectangles in rows and columns, some of them transparent: windows, shelves, bricks, lines of letters."""
    k1, k2, k3, k4, k5, k6, k7, k8 = jax.random.split(key, 8)
    size, count = image.shape[0], 16
    zoom = uniform(k1, (2,), 0.15, 1.0)  # from a few large cells to all of them
    even = uniform(k2, (2,))
    rows = cells(k3, size, count, softness, even[0], zoom[0])
    columns = cells(k4, size, count, softness, even[1], zoom[1])
    palette = object_colours(k5, 6)
    pick = jnp.floor(6 * uniform(k6, (count, count, 1)))
    colour = (pick == jnp.arange(6, dtype=pick.dtype)).astype(jnp.float32) @ palette
    solid = chance(k7, 0.25 + 0.7 * zoom[0], (count, count, 1))
    line = chance(k8, 0.6, (count, 1, 1))
    opacity = there * solid * line * (0.4 + 0.6 * zoom[1])
    layer = separable(rows, columns, jnp.concatenate([colour * opacity, opacity], axis=-1))
    return image * (1.0 - layer[..., 3:]) + layer[..., :3]


def _stripes(key: Key[Array, ""], image: Array, there: Array, softness: Array) -> Array:
    """Parallel stripes at any angle: blinds, fences, curtains."""
    k1, k2 = jax.random.split(key)
    x, y = pixel_centres(image.shape[0])
    angle, period, duty, phase, opacity = uniform(k1, (5,))
    period = 0.04 * jnp.exp(2.3 * period)
    along = (x * jnp.cos(jnp.pi * angle) + y * jnp.sin(jnp.pi * angle)) / period + phase
    wave = jnp.abs(along - jnp.round(along)) * 2.0  # 0 to 1 and back
    mask = ramp((wave - 0.2 - 0.6 * duty) * 0.5 * period, softness)
    visible = there * (0.2 + 0.8 * opacity) * jnp.minimum(1.0, period / softness)  # defocus blurs fine stripes away
    return image + (visible * mask)[..., None] * (object_colours(k2, 1)[0] - image)


def _things(key: Key[Array, ""], there: Array, softness: Array) -> Shapes:
    """Rectangles and poles, or in some pictures round lights out of focus."""
    keys = jax.random.split(key, 10)
    bokeh = chance(keys[0], 0.3)
    half = 0.02 * jnp.exp(uniform(keys[1], (_THINGS, 2), high=3.2))
    disc = jnp.broadcast_to(0.01 + 0.08 * uniform(keys[2], (1, 1)), (_THINGS, 2))
    colour = object_colours(keys[3], _THINGS)
    lamp = 1.0 - 0.5 * uniform(keys[4], (_THINGS, 3)) * jnp.array([0.2, 0.6, 1.0])
    return Shapes(
        centre=uniform(keys[5], (_THINGS, 2)),
        half=half + bokeh * (disc - half),
        angle=chance(keys[6], 0.5, (_THINGS,)) * 0.6 * normal(keys[7], (_THINGS,)),
        square=chance(keys[8], 0.5, (_THINGS,)) * (1.0 - bokeh),
        softness=jnp.broadcast_to(softness * (1.0 - 0.8 * bokeh) + 0.008, (_THINGS,)),
        opacity=there * jnp.sqrt(uniform(keys[9], (_THINGS,))),
        colour=colour + bokeh * (lamp - colour),
    )


def _people(key: Key[Array, ""], there: Array, softness: Array) -> Shapes:
    """Other people: shoulders, hair, face, and dark spots for eyes and mouth, each an ellipse."""
    keys = jax.random.split(key, 8)
    n, parts = _PEOPLE, 6
    at = uniform(keys[0], (n, 1, 2))
    scale = 0.06 * jnp.exp(uniform(keys[1], (n, 1, 1), high=1.6))
    lean = 0.25 * normal(keys[2], (n, 1))
    #                      body        hair         face         eyes                        mouth
    place = jnp.array([[0.0, 2.9], [0.0, -0.25], [0.0, 0.1], [-0.35, -0.1], [0.35, -0.1], [0.0, 0.65]])
    half = jnp.array([[2.0, 1.8], [0.95, 1.15], [0.75, 1.0], [0.16, 0.09], [0.16, 0.09], [0.25, 0.08]])
    half = half * jnp.exp(0.15 * normal(keys[3], (n, parts, 2)))
    skin = skin_colours(keys[4], n)[:, None]
    dark = 0.35 * skin
    colour = jnp.concatenate(
        [object_colours(keys[5], n)[:, None], object_colours(keys[6], n)[:, None] * 0.5, skin, dark, dark, dark], axis=1
    )
    shown = there * chance(keys[7], 0.7, (n, 1))
    c, s = jnp.cos(lean)[..., None], jnp.sin(lean)[..., None]
    turned = jnp.concatenate([c * place[:, :1] - s * place[:, 1:], s * place[:, :1] + c * place[:, 1:]], axis=-1)
    return Shapes(
        centre=(at + scale * turned).reshape(n * parts, 2),
        half=(scale * half).reshape(n * parts, 2),
        angle=jnp.broadcast_to(lean, (n, parts)).reshape(-1),
        square=jnp.zeros(n * parts),
        softness=jnp.broadcast_to(jnp.maximum(softness, 0.006), (n * parts,)),
        opacity=jnp.broadcast_to(shown, (n, parts)).reshape(-1),
        colour=colour.reshape(n * parts, 3),
    )


def _grain(key: Key[Array, ""], size: int, softness: Array) -> Float[Array, "{size} {size} 1"]:
    """Fine texture of surfaces; the more defocus, the less of it."""
    k1, k2 = jax.random.split(key)
    amount = 0.06 * uniform(k1) ** 2 * jnp.minimum(1.0, 1.5 / (size * softness))
    return amount * normal(k2, (size, size, 1))

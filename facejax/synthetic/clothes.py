"""Neck, shoulders and chest with a neckline or a collar, and sometimes a scarf.

Without them heads float. They are attached to the loop of vertices at the default head's neck.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import euler_to_quaternion, quaternion_to_matrix
from facejax.synthetic.anchors import NECK_POINTS, neck_loop, neck_rings
from facejax.synthetic.props import Head, Prop
from facejax.synthetic.shapes import Piece, any_color, grid, join, noise, skin_tone, tube

SIZE = 64  # texels
BODY, SCARF = (0.01, 0.27, 0.99, 0.99), (0.01, 0.01, 0.99, 0.23)  # patches of the texture
HEIGHTS = (14.0, 30.0)  # of the rings that a collar may reach, mm above the neck's edge
# Rows of the body below the neck: share of the way out to the shoulders, mm down, share of the body's rotation.
SLOPE = (
    (0.3, -6.0, 0.15),
    (0.62, -20.0, 0.5),
    (0.88, -42.0, 0.85),
    (1.0, -75.0, 1.0),
    (1.0, -150.0, 1.0),
    (0.96, -280.0, 1.0),
)
SCARVES = 0.12  # share of people with clothes who wear one
ROWS = 3 + len(SLOPE)


def clothes(key: jax.Array, head: Head, skin: Float[Array, " 3"] | None = None) -> Prop:
    """Shoulders and clothes for one head, which may be turned on them by some tens of degrees.

    `skin` is the display colour of neck and chest above the neckline; a random tone without it.
    """
    keys = jax.random.split(key, 7)
    uniform = jax.random.uniform(keys[0], (8,))
    skin = skin_tone(keys[1]) if skin is None else skin
    open_neck = uniform[0] < 0.45
    high = jnp.where(open_neck, 0.0, uniform[1] ** 1.5)  # how high the collar reaches
    stands_off = jnp.where(open_neck, 0.0, 2.5 + 9.0 * uniform[2] ** 2)
    rings = head.vertices[neck_rings(HEIGHTS)]
    loop = head.vertices[neck_loop()]
    middle = loop.mean(0)
    body = _body(keys[2], loop, _collar_ring(loop, rings, high), stands_off)
    scarf = _scarf(keys[3], rings.mean(0), jnp.where(uniform[3] < SCARVES, 1.0, 0.0))
    turn = euler_to_quaternion(jax.random.normal(keys[4], (3,)) * jnp.array([7.0, 22.0, 6.0]))
    turned = middle + (body - middle) @ quaternion_to_matrix(turn).T
    share = jnp.array([0.0, 0.0, 0.0] + [row[2] for row in SLOPE])[:, None, None]
    neckline = jnp.where(open_neck, uniform[4] * 0.45 + 0.12, -0.2)
    texture = _texture(keys[5], skin, neckline, uniform[5:])
    return join([grid(body + share * (turned - body), BODY, closed=True), scarf], texture, gloss=0.1)


def _collar_ring(loop: Float[Array, "40 3"], rings: Float[Array, "2 40 3"], high: Array) -> Float[Array, "40 3"]:
    """The ring on the neck's skin that a collar reaches: 0 at the neck's edge, 1 at the highest ring."""
    place = 2 * high
    return jnp.where(place < 1, loop + place * (rings[0] - loop), rings[0] + (place - 1) * (rings[1] - rings[0]))


def _body(key: jax.Array, loop: Float[Array, "40 3"], top: Float[Array, "40 3"], off: Array) -> Float[Array, "R 40 3"]:
    """Rows from the inside of the collar over its edge and the shoulders down to the chest."""
    wide, deep, down, square = jax.random.uniform(key, (4,))
    middle = loop.mean(0)
    outward = loop - middle
    outward = outward.at[:, 1].set(0.0)
    outward = outward / jnp.maximum(jnp.linalg.norm(outward, axis=1, keepdims=True), 1e-3)
    angle = 2 * np.pi * np.arange(NECK_POINTS) / NECK_POINTS  # from the front over the subject's left
    s, c = (jnp.sign(x) * jnp.abs(x) ** (0.6 + 0.3 * square) for x in (np.sin(angle).round(6), np.cos(angle).round(6)))
    width, depth = 165.0 + 60.0 * wide, 85.0 + 45.0 * deep
    edge = middle + jnp.stack([width * s, 0 * s, depth * c - 10.0], axis=1)
    rows = [top - 1.5 * outward, top + off * outward + jnp.array([0.0, 0.2, 0.0]) * off, loop + (off + 1.0) * outward]
    for share, drop, _ in SLOPE:
        at = loop + share * (edge - loop)
        level = jnp.minimum(loop[:, 1], middle[1] + 8.0) * (1 - share) + share * middle[1]
        rows.append(at.at[:, 1].set(level + drop * (0.7 + 0.6 * down)))
    return jnp.stack(rows)


def _scarf(key: jax.Array, ring: Float[Array, "40 3"], worn: Array) -> Piece:
    """A lumpy ring around the neck; shrunk to nothing where it is not worn."""
    size, lumps = jax.random.split(key)
    radius = jax.random.uniform(size, (2,), minval=jnp.array([9.0, 14.0]), maxval=jnp.array([20.0, 30.0])) * worn
    path = ring[::2]
    out = (path - path.mean(0)) * jnp.array([1.0, 0.0, 1.0])
    path = path + radius[0] * out / jnp.linalg.norm(out, axis=1, keepdims=True)
    bumps = 1 + 0.12 * jax.random.normal(lumps, (len(path), 1))
    return tube(path, bumps * radius, jnp.array([0.0, 1.0, 0.0]), SCARF, sides=8, loop=True)


def _texture(
    key: jax.Array, skin: Float[Array, " 3"], neckline: Array, uniform: Float[Array, " 3"]
) -> Float[Array, "T T 4"]:
    """Cloth with a pattern and folds, skin above the neckline, or a shirt front with a tie; a strip for the scarf.

    u runs from the front (0) to the back (1), v from the collar down.
    """
    keys = jax.random.split(key, 7)
    cloth, shirt, tie, wool = jax.vmap(any_color)(keys[:4])
    u, row = jnp.meshgrid(jnp.linspace(0, 1, SIZE), jnp.linspace(0, 1, 48))
    pattern = jax.random.uniform(keys[4], (4,))
    stripes = jnp.sin((4 + 40 * pattern[0]) * jnp.where(pattern[1] < 0.5, u, 2 * row))
    checked = jnp.where(pattern[2] < 0.2, 0.3, 0.0) * jnp.sign(stripes)
    rgb = cloth * (1 + checked[..., None]) * (1 + 0.25 * noise(keys[5], SIZE, 9)[:48, :, None])
    # A jacket open on a pale shirt, with or without a tie.
    suit = (uniform[0] < 0.4) & (neckline < 0)
    lapel = 0.2 * jnp.clip(1.15 - row / 0.75, 0, 1)
    shirt = 0.6 + 0.4 * shirt
    rgb = jnp.where((suit & ((u < lapel) | (row < 0.2)))[..., None], shirt, rgb)
    rgb = jnp.where((suit & (uniform[1] < 0.6) & (u < 0.035) & (row > 0.12))[..., None], tie, rgb)
    bare = row < neckline * (0.55 + 0.75 * jnp.exp(-((u / (0.12 + 0.2 * uniform[2])) ** 2)))
    rgb = jnp.where(bare[..., None], skin, rgb)
    scarf = jnp.broadcast_to(wool, (SIZE - 48, SIZE, 3)) * (1 + 0.35 * noise(keys[6], SIZE, 24)[:16, :, None])
    return jnp.concatenate([jnp.concatenate([rgb, scarf]), jnp.ones((SIZE, SIZE, 1))], axis=-1)

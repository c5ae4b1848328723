"""What somebody's hair is like: a handful of random numbers. One key makes one person's hair, beard and headwear."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

KINDS = ("bald", "horseshoe", "crop", "volume", "medium", "long", "tied")
_SHARE = np.array([0.10, 0.05, 0.25, 0.17, 0.14, 0.20, 0.09])
_RANGES = {  # of each kind, in the order of KINDS
    "volume": [(0, 0), (2, 6), (2.5, 11), (12, 50), (6, 26), (5, 24), (2.5, 10)],  # mm above the scalp
    "length": [(0, 0), (0, 0), (0, 0), (0, 0), (-95, -5), (-270, -95), (0, 0)],  # height of the ends, mm
    "front": [(95, 95), (128, 142), (76, 112), (78, 108), (80, 104), (82, 104), (84, 104)],  # the hairline's height
    "temple": [(0, 0), (0, 14), (-6, 26), (-8, 18), (-8, 12), (-8, 12), (-6, 12)],  # how far it recedes at the sides
    "fringe": [(0, 0), (0, 0), (0, 0.15), (0, 0.45), (0, 0.55), (0, 0.45), (0, 0.35)],  # (unused, its probability)
    "hang": [(0, 0), (0, 0), (0, 0.02), (0, 0.15), (1, 1), (1, 1), (0, 0.0)],  # (unused, probability of falling ends)
}
COLORS = np.array(  # display values at the lit middle of a strand
    [
        [0.09, 0.075, 0.07],  # black
        [0.15, 0.115, 0.095],
        [0.25, 0.17, 0.12],  # dark brown
        [0.36, 0.25, 0.17],
        [0.50, 0.37, 0.25],  # light brown
        [0.68, 0.54, 0.36],  # dark blond
        [0.85, 0.73, 0.53],
        [0.52, 0.25, 0.12],  # auburn
        [0.72, 0.36, 0.16],  # red
        [0.55, 0.54, 0.53],  # grey
        [0.82, 0.81, 0.79],  # white
    ],
    np.float32,
)
_COLOR_SHARE = np.array([0.18, 0.16, 0.15, 0.12, 0.09, 0.08, 0.06, 0.04, 0.03, 0.06, 0.03])


class Style(NamedTuple):
    """Scalars unless a shape is given; heights are of the mean head, mm; pairs are (right, left)."""

    kind: Int[Array, ""]  # position in KINDS
    volume: Float[Array, ""]
    front: Float[Array, ""]
    temple: Float[Array, ""]
    length: Float[Array, ""]
    hang: Float[Array, ""]  # 1 where the sides and the back fall below the hairline
    frame: Float[Array, " 2"]  # radians from the front at which falling hair begins
    fringe: Float[Array, ""]  # 1 with a fringe
    fringe_height: Float[Array, ""]
    fringe_slope: Float[Array, ""]  # mm a radian
    fringe_arch: Float[Array, ""]  # mm, how much higher the middle ends than the sides
    wave: Float[Array, ""]  # mm
    sweep: Float[Array, ""]  # texture shear
    curl: Float[Array, ""]  # 0 straight strands to 1 isotropic
    color: Float[Array, " 3"]
    hat: Int[Array, ""]  # position in HATS


HATS = ("none", "beanie", "cap", "brim", "scarf", "hood", "band")
_HAT_SHARE = np.array([0.80, 0.045, 0.05, 0.03, 0.035, 0.03, 0.01])


def _between(key: Array, low: Array | float, high: Array | float) -> Array:
    return jax.random.uniform(key, minval=low, maxval=high)


def draw_style(key: Array) -> Style:
    """A random style. The same key gives `hair`, `beard` and `headwear` the same one."""
    keys = iter(jax.random.split(key, 24))
    kind = jax.random.choice(next(keys), len(KINDS), p=jnp.asarray(_SHARE / _SHARE.sum()))
    ranged = {
        name: _between(next(keys), *jnp.asarray(rows, jnp.float32)[kind])
        for name, rows in _RANGES.items()
        if name not in ("fringe", "hang")
    }
    chance = {name: jnp.asarray(_RANGES[name], jnp.float32)[kind, 1] for name in ("fringe", "hang")}
    falls = _between(next(keys), 0.0, 1.0) < chance["hang"]
    frame = jnp.deg2rad(jax.random.uniform(next(keys), (2,), minval=42.0, maxval=88.0))
    tucked = jax.random.bernoulli(next(keys), 0.25, (2,)) | jax.random.bernoulli(next(keys), 0.15)
    behind = jnp.deg2rad(jax.random.uniform(next(keys), (2,), minval=102.0, maxval=118.0))
    slope = _between(next(keys), -1.0, 1.0)
    return Style(
        kind=kind,
        **ranged,
        hang=falls.astype(jnp.float32),
        frame=jnp.where(tucked, behind, frame),
        fringe=(_between(next(keys), 0.0, 1.0) < chance["fringe"]).astype(jnp.float32),
        fringe_height=_between(next(keys), 46.0, 84.0),
        fringe_slope=55.0 * slope * jnp.abs(slope),
        fringe_arch=_between(next(keys), -10.0, 25.0),
        wave=_between(next(keys), 0.0, 1.0) ** 2 * 9.0,
        sweep=_between(next(keys), -1.0, 1.0),
        curl=_between(next(keys), 0.0, 1.0) ** 2,
        color=_draw_color(next(keys)),
        hat=jax.random.choice(next(keys), len(HATS), p=jnp.asarray(_HAT_SHARE / _HAT_SHARE.sum())),
    )


def _draw_color(key: Array) -> Float[Array, " 3"]:
    """Natural colours, two of them mixed, and now and then a dye."""
    first, second, share, bright, dye, dyed = jax.random.split(key, 6)
    portion = jnp.asarray(_COLOR_SHARE / _COLOR_SHARE.sum())
    pair = jnp.asarray(COLORS)[jnp.stack([jax.random.choice(k, len(COLORS), p=portion) for k in (first, second)])]
    mixed = pair[0] + 0.35 * jax.random.uniform(share) * (pair[1] - pair[0])
    mixed = mixed * jax.random.uniform(bright, minval=0.8, maxval=1.2)
    strange = jax.random.uniform(dye, (3,), minval=0.08, maxval=0.85)
    return jnp.clip(jnp.where(jax.random.bernoulli(dyed, 0.04), strange, mixed), 0.03, 0.95)

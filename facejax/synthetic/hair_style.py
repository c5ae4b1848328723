"""The style of a person's hair as a few random numbers. One key gives a person's hair, beard and headwear."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

KINDS = ("bald", "horseshoe", "crop", "volume", "medium", "long", "tied")
_SHARE = np.array([0.10, 0.05, 0.25, 0.17, 0.14, 0.20, 0.09])
_RANGES = {  # (low, high) for each kind, in the order of KINDS
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
    """Scalars unless a shape is given; heights are those of the mean head, mm; pairs are (right, left)."""

    kind: Int[Array, ""]  # position in KINDS
    volume: Float[Array, ""]
    front: Float[Array, ""]
    temple: Float[Array, ""]
    length: Float[Array, ""]
    hang: Float[Array, ""]  # 1 where the sides and the back fall below the hairline
    frame: Float[Array, " 2"]  # radians from the front at which falling hair begins
    fringe: Float[Array, ""]  # 1 with a fringe
    fringe_height: Float[Array, ""]
    fringe_slope: Float[Array, ""]  # mm per radian
    fringe_arch: Float[Array, ""]  # mm by which the middle ends higher than the sides
    wave: Float[Array, ""]  # mm
    sweep: Float[Array, ""]  # texture shear
    curl: Float[Array, ""]  # 0 straight strands to 1 isotropic
    color: Float[Array, " 3"]
    hat: Int[Array, ""]  # position in HATS


HATS = ("none", "beanie", "cap", "brim", "scarf", "hood", "band")
_HAT_SHARE = np.array([0.78, 0.05, 0.055, 0.03, 0.035, 0.03, 0.02])


def draw_style(key: Array) -> Style:
    """A random style. The same key gives `hair` and `beard` the same one."""
    numbers = iter(jax.random.uniform(key, (40,)))

    def between(low: Array | float, high: Array | float) -> Array:
        return low + next(numbers) * (high - low)

    def pair(low: float, high: float) -> Array:
        return jnp.stack([between(low, high), between(low, high)])

    kind = _choose(next(numbers), _SHARE)
    ranges = {name: jnp.asarray(rows, jnp.float32)[kind] for name, rows in _RANGES.items()}
    ranged = {name: between(*ranges[name]) for name in ("volume", "length", "front", "temple")}
    frame, tucked, behind = pair(42.0, 88.0), pair(0.0, 1.0), pair(102.0, 118.0)
    slope = between(-1.0, 1.0)
    hat = _choose(next(numbers), _HAT_SHARE)
    wrapped = (hat == HATS.index("scarf")) | (hat == HATS.index("hood"))
    ranged["front"] = jnp.where(hat == HATS.index("scarf"), 116.0, ranged["front"])
    return Style(
        kind=kind,
        **ranged,
        hang=((next(numbers) < ranges["hang"][1]) & ~wrapped).astype(jnp.float32),
        frame=jnp.deg2rad(jnp.where((tucked < 0.25) | (next(numbers) < 0.15), behind, frame)),
        fringe=((next(numbers) < ranges["fringe"][1]) & ~wrapped).astype(jnp.float32),
        fringe_height=86.0 - 64.0 * next(numbers) ** 1.7,  # sometimes over the eyes
        fringe_slope=55.0 * slope * jnp.abs(slope),
        fringe_arch=between(-10.0, 25.0),
        wave=9.0 * next(numbers) ** 2,
        sweep=between(-1.0, 1.0),
        curl=next(numbers) ** 2,
        color=_mix_color(jnp.stack([next(numbers) for _ in range(8)])),
        hat=hat,
    )


def _choose(number: Float[Array, ""], shares: np.ndarray) -> Int[Array, ""]:
    """The index of the interval in which a uniform number lies, when [0, 1] is divided in these shares."""
    limits = np.cumsum(shares)[:-1] / np.sum(shares)
    return jnp.sum(number > limits).astype(jnp.int32)


def _mix_color(numbers: Float[Array, " 8"]) -> Float[Array, " 3"]:
    """From uniform numbers: two natural colours mixed, and sometimes a dye."""
    first, second = (jnp.asarray(COLORS)[_choose(number, _COLOR_SHARE)] for number in numbers[:2])
    mixed = (first + 0.35 * numbers[2] * (second - first)) * (0.8 + 0.4 * numbers[3])
    dye = 0.08 + 0.77 * numbers[4:7]
    return jnp.clip(jnp.where(numbers[7] < 0.04, dye, mixed), 0.03, 0.95)

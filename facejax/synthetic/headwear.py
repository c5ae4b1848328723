"""Hats, caps, headscarves, hoods and bands: a sheet like the hair's, and a brim, or the cloth below a wrapped face."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.synthetic.hair_layout import AZIMUTHS, CENTRE, ELEVATIONS, Paths, Sheet, comb, place, two_sided
from facejax.synthetic.hair_style import HATS, Style
from facejax.synthetic.shapes import Piece, any_color
from facejax.synthetic.strands import noise_cells, smooth

_RANGES = {  # (low, high) for each kind, in the order of HATS; heights are on the mean head, all mm
    "front": [(0, 0), (68, 102), (80, 102), (80, 102), (84, 108), (92, 116), (84, 108)],  # the edge's height in front
    "side": [(0, 0), (16, 62), (46, 64), (44, 66), (40, 60), (40, 60), (26, 64)],  # over the ears
    "back": [(0, 0), (-20, 30), (8, 40), (5, 35), (-190, -110), (-200, -140), (0, 30)],
    "lift": [(0, 0), (4, 9), (5, 9), (6, 10), (3, 8), (9, 26), (3, 5)],  # off the skin
    "top": [(0, 0), (2, 34), (8, 22), (25, 60), (2, 14), (4, 26), (0, 0)],  # additional height at the crown
    "frame": [(0, 0), (0, 0), (0, 0), (0, 0), (47, 62), (58, 82), (0, 0)],  # degrees at which a wrapped face ends
    "brim": [(0, 0), (0, 0), (55, 82), (28, 95), (0, 0), (0, 0), (0, 0)],  # its width
}
_COLUMNS = np.concatenate([[0], np.arange(1, len(AZIMUTHS), 2)])  # every other path
_TURN = AZIMUTHS[_COLUMNS]
_ROWS = np.linspace(0, 1, 9).astype(np.float32)
_LOWER_ROWS = np.linspace(0, 1, 4).astype(np.float32)


def headwear(
    key: Array, style: Style, paths: Paths, size: tuple[int, int]
) -> tuple[list[Piece], Float[Array, "H W 4"]]:
    """The pieces of the style's headwear and their texture.

    Args:
      key: consumed.
      style: which headwear.
      paths: the head's.
      size: rows and columns of the texture: the lowest rows of a square texture.

    Returns:
      The pieces, and the texture of those rows.
    """
    shape_key, cloth_key = jax.random.split(key)
    numbers = jax.random.uniform(shape_key, (len(_RANGES) + 3,))
    number = {}
    for i, (name, rows) in enumerate(_RANGES.items()):
        low, high = jnp.asarray(rows, jnp.float32)[style.hat]
        number[name] = low + numbers[i] * (high - low)
    paths = Paths(*(part[_COLUMNS] for part in paths))
    sheet = _crown(style, paths, number)
    wrapped = (style.hat == HATS.index("scarf")) | (style.hat == HATS.index("hood"))
    brim = _brim(style, sheet, number["brim"], *numbers[-3:])
    lower_out, lower_height = (jnp.where(wrapped, a, b) for a, b in zip(_below_chin(paths, number), brim, strict=True))
    worn = style.hat != HATS.index("none")
    heights = (0.5 / size[1], (size[0] - 0.5) / size[1])
    crown, lower = place(paths, sheet.out, sheet.height), place(paths, lower_out, lower_height)
    pieces = [
        two_sided(jnp.where(worn, crown, CENTRE), _TURN, _ROWS, heights, 1.5),
        two_sided(jnp.where(worn, lower, CENTRE), _TURN, _LOWER_ROWS, heights, 1.0),
    ]
    return pieces, _cloth(cloth_key, size).at[..., 3].multiply(jnp.where(worn, 1.0, 0.0))


def _crown(style: Style, paths: Paths, number: dict[str, Array]) -> Sheet:
    """The part over the skull; for a wrapped face also its sides."""
    angle = np.abs(_TURN)
    side = np.sin(angle) ** 2
    edge = jnp.where(angle < np.pi / 2, number["front"], number["back"])
    edge = edge + side * (number["side"] - edge)
    wrapped = number["frame"] > 0
    falls = jnp.where(wrapped, jax.nn.sigmoid((angle - jnp.deg2rad(number["frame"])) / 0.05), 0.0)
    edge = jnp.where(wrapped, number["front"] + falls * (number["back"] - number["front"]), edge)
    flat = 1.9 * 0.15 * style.volume  # room for the flattened hair below
    up = np.clip((np.rad2deg(ELEVATIONS) - 15.0) / 45.0, 0.0, 1.0)
    up = np.concatenate([up * up * (3 - 2 * up), np.zeros(paths.out.shape[1] - len(up))]).astype(np.float32)
    lift = number["lift"] + flat + number["top"] * up
    ears = np.exp(-(((angle - 1.62) / 0.36) ** 2))
    over_ears = 14.0 * jnp.clip((50.0 - edge) / 25.0, 0.0, 1.0) * ears
    low = np.exp(-(((np.linspace(0.0, 1.0, paths.out.shape[1]) - 0.5) / 0.22) ** 2)).astype(np.float32)
    lift = lift + over_ears[:, None] * low
    start = jnp.where(style.hat == HATS.index("band"), 0.72, 0.0)
    fall = jnp.broadcast_to(jnp.where(wrapped, 0.85 * falls, 0.6)[:, None], paths.out.shape)
    return comb(paths, lift, fall, edge, start + (1 - start) * _ROWS)


def _brim(
    style: Style, sheet: Sheet, width: Array, slope: Array, turned: Array, curve: Array
) -> tuple[Float[Array, "C 4"], Float[Array, "C 4"]]:
    """Outwards from the crown's edge: all around a hat, in front of a cap (or behind it)."""
    cap = style.hat == HATS.index("cap")
    away = jnp.where(turned < 0.2, np.pi - np.abs(_TURN), np.abs(_TURN))
    bill = jnp.sqrt(jnp.maximum(jnp.cos(1.5 * jnp.minimum(away, 1.06)), 0.0))
    reach = width * jnp.where(cap, bill, 1.0)[:, None] * _LOWER_ROWS
    tilt = jnp.where(cap, -0.15 - 0.4 * slope, 0.35 - 0.75 * slope)
    bend = -0.25 * curve * np.sin(_TURN)[:, None] ** 2
    return sheet.out[:, -1:] - 1.0 + reach, sheet.height[:, -1:] + 1.5 + (tilt + bend) * reach


def _below_chin(paths: Paths, number: dict[str, Array]) -> tuple[Float[Array, "C 4"], Float[Array, "C 4"]]:
    """From under the jaw down over the throat and the chest."""
    jaw = jnp.max(paths.height[:, -10:-9], axis=1, keepdims=True)
    reach = paths.out[:, -10:-9]
    drop = jnp.stack([jnp.zeros(()), jnp.asarray(14.0), jnp.asarray(55.0), -number["back"] - 40.0])
    spread = jnp.array([-14.0, -4.0, -2.0, 18.0]) + 0.4 * number["lift"]
    return reach + spread, jaw - drop


def _cloth(key: Array, size: tuple[int, int]) -> Float[Array, "H W 4"]:
    """Plain, striped, knitted or printed cloth."""
    first, second, pattern = jax.random.split(key, 3)
    fine, print_, numbers = noise_cells(pattern, (size[0], size[1]), (9, 24), (1, 5))
    rows, columns = np.arange(size[0], dtype=np.float32)[:, None], np.arange(size[1], dtype=np.float32)
    pick = numbers[0]
    stripes = jnp.sin(rows * (0.4 + 0.3 * pick[1]) + 3 * pick[2]) > pick[3]
    blots = smooth(print_, size) > 0.25
    mask = jnp.where((pick[0] >= -0.2) & jnp.where(pick[0] < 0.3, stripes, blots), 1.0, 0.0)
    color = any_color(first) + mask[..., None] * (any_color(second) - any_color(first))
    shade = 1 + 0.12 * fine + 0.12 * pick[4] * jnp.cos(np.pi * columns)
    return jnp.concatenate([jnp.clip(color * shade[..., None], 0.01, 0.98), jnp.ones((*size, 1))], axis=-1)

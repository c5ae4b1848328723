"""Hair: a sheet combed over the scalp that ends at the hairline, hangs as a fringe, or falls beside the face.

Each column of the sheet follows one of the head's paths (`hair_layout`) from the crown to the end at its azimuth. The
style (`hair_style`) sets the ends, raises the sheet, adds a bun or a tail, and covers it with `headwear`.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.synthetic.hair_layout import AZIMUTHS, CENTRE, Paths, across, comb, head_paths, place, two_sided
from facejax.synthetic.hair_style import HATS, KINDS, Style, draw_style
from facejax.synthetic.headwear import headwear
from facejax.synthetic.props import Head, Prop
from facejax.synthetic.shapes import Piece, grid_faces, join
from facejax.synthetic.strands import ragged, strand_noise, value_at

SIZE = 144  # texels
_HAT_ROWS = 32  # how many of the texture's rows, at the bottom, belong to headwear
HAT_SHARE = _HAT_ROWS / SIZE  # of the texture's height
_ROWS = (1 - np.linspace(1, 0, 16) ** 1.3).astype(np.float32)  # positions along a path, denser at its end
_HAIRLINE = np.array(  # degrees from the front, height on the mean head
    [[0, 0.0], [20, -2.0], [38, -7.0], [52, -22.0], [60, -50.0], [70, -58.0], [78, -85.0]], np.float32
)
_BEHIND = np.array([[80, 18.0], [84, 46.0], [100, 52.0], [112, 30.0], [122, -15.0], [180, -52.0]], np.float32)
_UNDER_HAT = 0.15  # share of its volume that covered hair keeps
_INSIDE = 2.0  # mm between the sheet's outer and inner side


def hair(key: Array, head: Head) -> Prop:
    """A random head of hair with headwear: about one in ten is bald, one in five has a hat, scarf or hood.

    Without hair or hat those parts have zero opacity and no area. For one head of the shipped topology; vmap for many.
    `beard` with the same key has the same colour. Raises ValueError for another topology.
    """
    style = draw_style(key)
    keys = jax.random.split(jax.random.fold_in(key, 1), 5)
    paths, ends = head_paths(head), hair_ends(style)
    points, distance = _sheet(keys[0], style, paths, *ends)
    exists = style.kind != KINDS.index("bald")
    points = jnp.where(exists, points, CENTRE)
    low = (_HAT_ROWS + 0.5) / SIZE
    sheet = two_sided(points, AZIMUTHS, _ROWS, (low, 1 - 0.5 / SIZE), _INSIDE)
    texture = _texture(keys[1], style, distance, ends[1])
    hats, cloth = headwear(keys[3], style, paths, (_HAT_ROWS, SIZE))
    texture = jnp.concatenate([texture.at[..., 3].multiply(exists.astype(texture.dtype)), cloth])
    gloss = 0.5 * jax.random.uniform(keys[4]) * (1 - 0.7 * style.curl)
    return join([sheet, _knot(keys[2], style, paths), *hats], texture, gloss)


def hair_ends(style: Style) -> tuple[Float[Array, " C"], Float[Array, " C"]]:
    """Height (mean head, mm) at which each column ends, and 0 (combed to a hairline) to 1 (hanging loose)."""
    degrees, side = np.rad2deg(np.abs(AZIMUTHS)), jnp.asarray((AZIMUTHS > 0).astype(np.int32))
    receding = style.temple * np.exp(-(((degrees - 34) / 14) ** 2))
    front = style.front + np.interp(degrees, *_HAIRLINE.T) + receding
    behind = np.interp(degrees, *_BEHIND.T)
    line = jnp.where(degrees < 79, front, behind)
    bare_top = style.kind == KINDS.index("horseshoe")
    line = jnp.where(bare_top & (degrees < 79), jnp.maximum(line, 145 - np.exp((degrees - 50) / 8)), line)
    angle = np.abs(AZIMUTHS)
    falls = style.hang * jax.nn.sigmoid((angle - style.frame[side]) / 0.05)
    length = style.length + 0.5 * style.fringe_arch * np.cos(angle)
    ends = line + falls * jnp.minimum(0.0, length - line)
    across = np.sin(AZIMUTHS)
    fringe = style.fringe * jax.nn.sigmoid((jnp.minimum(style.frame[side], 1.05) - angle) / 0.08)
    fringe_ends = style.fringe_height + style.fringe_slope * across + style.fringe_arch * (1 - 3 * across**2)
    drop = fringe * jnp.maximum(0.0, ends - jnp.maximum(fringe_ends, 8.0))
    return ends - drop, jnp.maximum(falls, fringe * jnp.clip(drop / 40, 0.0, 1.0))


def _sheet(
    key: Array, style: Style, paths: Paths, ends: Float[Array, " C"], loose: Float[Array, " C"]
) -> tuple[Float[Array, "R C 3"], Float[Array, "C R"]]:
    """The outer side of the sheet, and each point's distance from its column's end, mm."""
    numbers = jax.random.uniform(key, (6, 3), minval=-1.0, maxval=1.0)
    loose = loose[:, None]
    # The front edge of falling hair lies on the cheek, or the background would show between the two.
    edge = _near_frame(style)[:, None]
    lift = _lift(numbers, style, paths, loose) * (1 - edge) + 2.0 * edge
    sheet = comb(paths, lift, jnp.broadcast_to(loose, paths.out.shape), ends, _ROWS)
    # Combed hair meets the skin at its ragged ends; hanging hair keeps its distance.
    rooted = sheet.distance - jnp.minimum(9.0, 0.7 * style.volume)
    taper = 1 - (1 - loose) * jnp.clip(1 - rooted / (4.0 + 0.8 * style.volume), 0.0, 1.0) ** 2
    out = sheet.skin_out + 1.0 + taper * (sheet.out - sheet.skin_out)
    height = sheet.skin_height + taper * (sheet.height - sheet.skin_height)
    phase = 3.14 * numbers[:2, 2]
    ripple = jnp.sin(height * 0.07 + phase[0] + 2 * jnp.sin(3 * jnp.asarray(AZIMUTHS) + phase[1])[:, None])
    out = out + style.wave * loose * ripple * jnp.clip((100 - height) / 100, 0.0, 1.0)
    return place(paths, out, height), sheet.distance


def _lift(numbers: Float[Array, "6 3"], style: Style, paths: Paths, loose: Float[Array, "C 1"]) -> Float[Array, "C P"]:
    """How far the sheet lies above the skin, mm: smooth random waves, more on top, with room for covered ears."""
    azimuth = jnp.asarray(AZIMUTHS)[:, None]
    down = jnp.linspace(0.0, 1.0, paths.out.shape[1])
    turns, steps = np.array([1.0, 1.0, 2.0, 3.0, 5.0, 7.0]), np.array([2.0, 5.0, 4.0, 7.0, 9.0, 12.0])
    waves = [
        numbers[i, 0] * jnp.cos(turns[i] * azimuth + steps[i] * down + 3.14 * numbers[i, 1]) for i in range(len(turns))
    ]
    uneven = 1 + 0.22 * sum(waves) * jnp.clip(8 * down, 0.0, 1.0)  # all columns meet at the crown
    on_top = 1 + 0.5 * numbers[0, 2] * jnp.cos(2.2 * down * 3.14)
    flat = jnp.where(style.hat > 0, _UNDER_HAT, 1.0)
    bare_top = jnp.where(style.kind == KINDS.index("horseshoe"), 0.5, 1.0)
    lift = jnp.maximum(style.volume * flat * bare_top * jnp.clip(uneven * on_top, 0.25, 1.9), 1.5)
    # A fringe lies on the forehead, however voluminous the hair above.
    in_front = loose * (np.abs(AZIMUTHS) < 1.15).astype(np.float32)[:, None] * jnp.clip(4 * down - 0.4, 0.0, 1.0)
    lift = lift - in_front * jnp.maximum(lift - 9.0, 0.0)
    ears = 16.0 * jnp.exp(-(((jnp.abs(azimuth) - 1.62) / 0.33) ** 2)) * loose
    return lift + ears * jnp.exp(-(((down - 0.5) / 0.25) ** 2)) * (
        jnp.where((numbers[1, 2] > -0.7) & (style.hat == 0), style.hang, 0.0)
    )


def _near_frame(style: Style) -> Float[Array, " C"]:
    """1 where falling hair begins beside the face, 0 well behind and in front of it."""
    beyond = jnp.abs(AZIMUTHS) - style.frame[jnp.asarray((AZIMUTHS > 0).astype(np.int32))]
    return style.hang * jnp.where(beyond > -0.25, jnp.clip(1 - jnp.maximum(beyond, 0.0) / 0.4, 0.0, 1.0), 0.0)


def _knot(key: Array, style: Style, paths: Paths) -> Piece:
    """A bun or a tail of tied hair: a rounded body behind the head or on top; of zero size on other heads."""
    columns, rows = 9, 7
    numbers = jax.random.uniform(key, (7,))
    top = jnp.max(paths.height[:, 0])
    back = jnp.max(paths.out[0, :18])
    lean = jnp.stack([numbers[0] - 0.5, 1.5 * numbers[1] - 0.2])
    along = jnp.stack([jnp.sin(lean[0]) * 0.5, jnp.sin(lean[1]), -jnp.cos(lean[1])])
    reach = back + jnp.sin(jnp.clip(lean[1], 0.0)) * (top - CENTRE[1] - back)
    middle = CENTRE + along * (reach + 12.0)
    radius = 20.0 + 22.0 * numbers[2:5]
    tail = jnp.where(numbers[5] < 0.5, 40.0 + 110.0 * numbers[6], 0.0)
    tilt, turn = np.meshgrid(
        np.linspace(np.pi / 2, -np.pi / 2, rows), np.linspace(-np.pi, np.pi, columns), indexing="ij"
    )
    ball = np.stack([np.cos(tilt) * np.sin(turn), np.sin(tilt), np.cos(tilt) * np.cos(turn)], -1).reshape(-1, 3)
    body = ball * radius + np.minimum(ball[:, 1:2], 0.0) * jnp.array([0.0, 1.0, 0.0]) * tail
    exists = (style.kind == KINDS.index("tied")) & (style.hat == HATS.index("none"))
    uv = np.stack([0.02 + 0.1 * (turn / np.pi + 1) / 2, 0.9 - 0.4 * (0.5 - tilt / np.pi)], -1).reshape(-1, 2)
    return Piece(jnp.where(exists, middle + body, CENTRE), grid_faces(rows, columns), uv.astype(np.float32))


def _texture(
    key: Array, style: Style, distance: Float[Array, "C R"], loose: Float[Array, " C"]
) -> Float[Array, "H T 4"]:
    tone_key, edge_key, mix_key = jax.random.split(key, 3)
    size = (SIZE - _HAT_ROWS, SIZE)
    down = jnp.asarray(((np.arange(size[0], dtype=np.float32) + 0.5) / size[0])[:, None])
    centres = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    column = jnp.asarray(np.interp(centres, across(AZIMUTHS), np.arange(len(AZIMUTHS))).astype(np.float32))
    length, hanging = value_at(column, distance[:, 0]), value_at(column, loose)
    contrast = jax.random.uniform(mix_key, (3,))
    tone = strand_noise(tone_key, size, style.curl, style.sweep)
    roots = 1 - 0.35 * contrast[1] * jnp.clip(1 - 2.5 * down, 0.0, 1.0)
    color = jnp.clip(style.color * ((1 + (0.25 + 0.45 * contrast[0]) * tone) * roots)[..., None], 0.0, 1.0)
    depth = 3.0 + 5.0 * contrast[2] + hanging**2 * (4.0 + 0.12 * length) * (0.5 + contrast[1])
    alpha = ragged(edge_key, (1 - down) * length, jnp.broadcast_to(depth, size))
    return jnp.concatenate([color, alpha[..., None]], axis=-1)

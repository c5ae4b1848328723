"""Hair: a sheet combed over the scalp that ends at the hairline, hangs as a fringe, or falls beside the face.

Every column of the sheet follows one of the head's paths (`hair_layout`) from the crown to that azimuth's end; the
style (`hair_style`) moves the ends, lifts the sheet, and adds a knot or a tail.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.synthetic.hair_layout import AZIMUTHS, CENTRE, ELEVATIONS, Paths, head_paths, layout
from facejax.synthetic.hair_style import HATS, KINDS, Style, draw_style
from facejax.synthetic.props import Head, Prop
from facejax.synthetic.strands import index_of, ragged, strand_noise, value_at

SIZE = 128  # texels
_ROWS = (1 - np.linspace(1, 0, 18) ** 1.3).astype(np.float32)  # shares of a path, denser at its end
_HAIRLINE = np.array(  # degrees from the front, height on the mean head
    [[0, 0.0], [20, -2.0], [38, -7.0], [52, -22.0], [60, -50.0], [70, -58.0], [78, -85.0]], np.float32
)
_BEHIND = np.array([[80, 18.0], [84, 46.0], [100, 52.0], [112, 30.0], [122, -15.0], [180, -52.0]], np.float32)
_INSIDE = 2.0  # mm between the sheet's outer and inner side
_FRONT_SHARE = 0.8  # of the texture's width, for azimuths within 100 degrees of the front


def hair(key: Array, head: Head) -> Prop:
    """Somebody's hair, or, about one time in ten, none: zero opacity and no area.

    For one head of the shipped topology; vmap for many. `headwear` and `beard` with the same key belong to it. Raises
    ValueError for another topology.
    """
    style = draw_style(key)
    shape_key, texture_key, tail_key, gloss_key = jax.random.split(jax.random.fold_in(key, 1), 4)
    paths, ends = head_paths(head), hair_ends(style)
    outer, distance = _sheet(shape_key, style, paths, ends)
    exists = (style.kind != KINDS.index("bald")).astype(jnp.float32)
    outer = jnp.where(exists > 0, outer, CENTRE)
    pull = jnp.concatenate([outer[..., ::2] - CENTRE[::2], jnp.zeros_like(outer[..., :1])], axis=-1)
    inner = outer - _INSIDE * _flat_unit(pull)
    knot, knot_uv, knot_faces = _knot(tail_key, style, paths)
    columns, rows = outer.shape[:2]
    faces = grid_faces(columns, rows)
    count = columns * rows
    uv = jnp.asarray(_sheet_uv())
    texture = _texture(texture_key, style, distance)
    return Prop(
        vertices=jnp.concatenate([outer.reshape(-1, 3), inner.reshape(-1, 3), knot]),
        faces=jnp.asarray(np.concatenate([faces, faces[:, ::-1] + count, knot_faces + 2 * count])),
        uv=jnp.concatenate([uv, uv, knot_uv]),
        texture=texture.at[..., 3].multiply(exists),
        gloss=0.5 * jax.random.uniform(gloss_key) * (1 - 0.7 * style.curl),
    )


def grid_faces(columns: int, rows: int) -> np.ndarray:
    """Triangles of a grid of points (columns, rows) whose columns turn to the left and whose rows run down."""
    corner = np.arange(columns * rows, dtype=np.int32).reshape(columns, rows)
    a, b, c, d = corner[:-1, :-1], corner[:-1, 1:], corner[1:, 1:], corner[1:, :-1]
    return np.concatenate([np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)])


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
    return ends - drop, jnp.maximum(falls, fringe * jnp.clip(drop / 15, 0.0, 1.0))


def _sheet(
    key: Array, style: Style, paths: Paths, ends: tuple[Float[Array, " C"], Float[Array, " C"]]
) -> tuple[Float[Array, "C R 3"], Float[Array, "C R"]]:
    """The outer side of the sheet and each point's distance from its column's end, mm."""
    end_heights, loose = ends
    mean = layout().height
    end = index_of(-end_heights[:, None], -jnp.asarray(mean))
    numbers = jax.random.uniform(key, (6, 3), minval=-1.0, maxval=1.0)
    lift = _lift(numbers, style, paths, loose)
    rise = jnp.concatenate([ELEVATIONS, jnp.zeros(mean.shape[1] - len(ELEVATIONS))])
    rise = jnp.clip(rise, 0.0)
    out, height = paths.out + lift * jnp.cos(rise), paths.height + lift * jnp.sin(rise)
    free = jax.lax.cummax(out, axis=1)
    out = out + loose[:, None] * (free - out)
    # The front edge of falling hair lies on the cheek, else the background would show between the two.
    edge = _near_frame(style)[:, None]
    out = out + edge * (jax.lax.cummax(paths.out, axis=1) + 2.0 - out)
    step = jnp.hypot(jnp.diff(out, axis=1), jnp.diff(height, axis=1))
    arc = jnp.pad(jnp.cumsum(step, axis=1), [(0, 0), (1, 0)])
    total = value_at(end, arc)
    place = total * _ROWS
    where = index_of(place, arc)
    distance = total - place
    # Combed hair leaves the skin at the hairline; hanging hair keeps its distance.
    taper = 1 - (1 - loose[:, None]) * jnp.clip(1 - distance / (4.0 + 0.8 * style.volume), 0.0, 1.0) ** 2
    bare_out, bare_height = value_at(where, paths.out), value_at(where, paths.height)
    out = bare_out + 1.0 + taper * (value_at(where, out) - bare_out)
    height = bare_height + taper * (value_at(where, height) - bare_height)
    phase = 3.14 * numbers[:2, 2]
    ripple = jnp.sin(height * 0.07 + phase[0] + 2 * jnp.sin(3 * jnp.asarray(AZIMUTHS) + phase[1])[:, None])
    out = out + style.wave * loose[:, None] * ripple * jnp.clip((100 - height) / 100, 0.0, 1.0)
    direction = paths.direction[:, :1]
    flat = CENTRE[::2] + out[..., None] * direction
    return jnp.stack([flat[..., 0], height, flat[..., 1]], axis=-1), distance


def _lift(numbers: Float[Array, "6 3"], style: Style, paths: Paths, loose: Float[Array, " C"]) -> Float[Array, "C P"]:
    """How far the sheet lies above the skin, mm: smooth random waves, more on top, room for covered ears."""
    azimuth = jnp.asarray(AZIMUTHS)[:, None]
    down = jnp.linspace(0.0, 1.0, paths.out.shape[1])
    turns, steps = np.array([1, 1, 2, 3, 5, 7]), np.array([2.0, 5.0, 4.0, 7.0, 9.0, 12.0])
    waves = [
        numbers[i, 0] * jnp.cos(turns[i] * azimuth + steps[i] * down + 3.14 * numbers[i, 1]) for i in range(len(turns))
    ]
    uneven = 1 + 0.22 * sum(waves) * jnp.clip(8 * down, 0.0, 1.0)  # all columns meet at the crown
    on_top = 1 + 0.5 * numbers[0, 2] * jnp.cos(2.2 * down * 3.14)
    flat = jnp.where(style.hat > 0, 0.15, 1.0)
    bare_top = jnp.where(style.kind == KINDS.index("horseshoe"), 0.5, 1.0)
    lift = style.volume * flat * bare_top * jnp.clip(uneven * on_top, 0.25, 1.9)
    ears = 16.0 * jnp.exp(-(((jnp.abs(azimuth) - 1.62) / 0.33) ** 2)) * loose[:, None]
    return lift + ears * jnp.exp(-(((down - 0.5) / 0.25) ** 2)) * (style.hang * (numbers[1, 2] > -0.7))


def _near_frame(style: Style) -> Float[Array, " C"]:
    """1 where falling hair begins beside the face, 0 well behind and in front of it."""
    beyond = jnp.abs(AZIMUTHS) - style.frame[jnp.asarray((AZIMUTHS > 0).astype(np.int32))]
    return style.hang * jnp.clip(1 - jnp.maximum(beyond, 0.0) / 0.4, 0.0, 1.0) * (beyond > -0.25)


def _knot(key: Array, style: Style, paths: Paths) -> tuple[Array, Array, np.ndarray]:
    """A bun or a tail of tied hair: a rounded body behind the head or on top, of no size on other heads."""
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
    turn, tilt = np.meshgrid(
        np.linspace(-np.pi, np.pi, columns), np.linspace(np.pi / 2, -np.pi / 2, rows), indexing="ij"
    )
    ball = np.stack([np.cos(tilt) * np.sin(turn), np.sin(tilt), np.cos(tilt) * np.cos(turn)], -1).reshape(-1, 3)
    body = ball * radius + jnp.asarray(ball[:, 1:2] < 0) * ball[:, 1:2] * jnp.array([0.0, 1.0, 0.0]) * tail
    exists = (style.kind == KINDS.index("tied")) & (style.hat == HATS.index("none"))
    uv = np.stack([0.02 + 0.1 * (turn / np.pi + 1) / 2, 0.9 - 0.4 * (0.5 - tilt / np.pi)], -1).reshape(-1, 2)
    vertices = jnp.where(exists, middle + body, CENTRE)
    return vertices, jnp.asarray(uv, jnp.float32), grid_faces(columns, rows)


def _texture(key: Array, style: Style, distance: Float[Array, "C R"]) -> Float[Array, "T T 4"]:
    tone_key, edge_key, mix_key = jax.random.split(key, 3)
    centres = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    column = np.interp(centres, _across(AZIMUTHS), np.arange(len(AZIMUTHS))).astype(np.float32)
    length = value_at(jnp.asarray(column), distance[:, 0])
    left = (1 - centres[:, None]) * length
    contrast = jax.random.uniform(mix_key, (3,))
    tone = strand_noise(tone_key, SIZE, style.curl, style.sweep)
    roots = 1 - 0.35 * contrast[1] * np.clip(1 - 2.5 * centres, 0.0, 1.0)[:, None]
    shade = (1 + (0.25 + 0.45 * contrast[0]) * tone) * roots
    color = jnp.clip(style.color * shade[..., None], 0.0, 1.0)
    hanging = value_at(jnp.asarray(column), hair_ends(style)[1])
    depth = 3.0 + 5.0 * contrast[2] + hanging * (4.0 + 0.12 * length) * (0.5 + contrast[1])
    alpha = ragged(edge_key, left, jnp.broadcast_to(depth, left.shape))
    return jnp.concatenate([color, alpha[..., None]], axis=-1)


def _across(azimuth: np.ndarray) -> np.ndarray:
    """Azimuth (radians) to u; most of the texture lies within 100 degrees of the front."""
    limit = np.deg2rad(100.0)
    inner = 0.5 * _FRONT_SHARE * np.clip(azimuth / limit, -1, 1)
    outer = 0.5 * (1 - _FRONT_SHARE) * np.sign(azimuth) * np.clip((np.abs(azimuth) - limit) / (np.pi - limit), 0, 1)
    return (0.5 + inner + outer).astype(np.float32)


def _sheet_uv() -> np.ndarray:
    u, v = np.meshgrid(_across(AZIMUTHS), 1 - _ROWS, indexing="ij")
    return np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)


def _flat_unit(pull: Float[Array, "*S 3"]) -> Float[Array, "*S 3"]:
    """Unit vectors in the horizontal plane from (x, z, 0) rows; zero stays zero."""
    x, z = pull[..., 0], pull[..., 1]
    size = jnp.maximum(jnp.hypot(x, z), 1e-6)
    return jnp.stack([x / size, jnp.zeros_like(x), z / size], axis=-1)

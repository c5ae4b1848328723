"""Small meshes of fixed topology from which props are built: grids and tubes, and colours to paint them.

Faces and texture coordinates are host arrays that depend on sizes only; vertices are traced.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.mesh import safe_normalize
from facejax.synthetic.props import Prop

Box = tuple[float, float, float, float]  # left, bottom, right, top of a patch of the texture, u right, v up


class Piece(NamedTuple):
    """One part of a prop, with its own vertex indices."""

    vertices: Float[Array, "N 3"]
    faces: Int[np.ndarray, "M 3"]
    uv: Float[Array | np.ndarray, "N 2"]


def join(pieces: list[Piece], texture: Float[Array, "T T 4"], gloss: Array | float) -> Prop:
    """Several pieces that share one texture, as one prop."""
    starts = np.cumsum([0] + [len(piece.uv) for piece in pieces])
    faces = np.concatenate([piece.faces + start for piece, start in zip(pieces, starts, strict=False)])
    return Prop(
        vertices=jnp.concatenate([piece.vertices for piece in pieces]),
        faces=jnp.asarray(faces, jnp.int32),
        uv=jnp.concatenate([jnp.asarray(piece.uv) for piece in pieces]),
        texture=jnp.clip(texture, 0.0, 1.0),
        gloss=jnp.asarray(gloss, jnp.float32),
    )


def repeat(make: Callable[..., Piece], *arguments: Array) -> Piece:
    """One piece made of `make(*row)` for every row of the arguments, as one program instead of one each."""
    faces = []

    def traced(*row):
        piece = make(*row)
        faces.append(piece.faces)  # a host array that does not depend on the row
        return piece.vertices, jnp.asarray(piece.uv)

    vertices, uv = jax.vmap(traced)(*arguments)
    copies, count, _ = vertices.shape
    shifted = faces[0] + count * np.arange(copies)[:, None, None]
    return Piece(vertices.reshape(-1, 3), shifted.reshape(-1, 3), uv.reshape(-1, 2))


def grid_faces(rows: int, columns: int, *, closed: bool = False) -> Int[np.ndarray, "M 3"]:
    """Two triangles per cell of a grid of vertices (row by row); `closed` joins the last column to the first.

    Counter-clockwise for a viewer who sees columns go to the right and rows go down.
    """
    last = columns if closed else columns - 1
    row, column = (part.ravel() for part in np.meshgrid(np.arange(rows - 1), np.arange(last), indexing="ij"))
    following = (column + 1) % columns
    a, b = row * columns + column, row * columns + following
    c, d = a + columns, b + columns
    return np.concatenate([np.stack([a, c, d], 1), np.stack([a, d, b], 1)])


def grid_uv(rows: int, columns: int, box: Box, *, closed: bool = False) -> Float[np.ndarray, "N 2"]:
    """Texture coordinates of a grid, row 0 on top.

    Args:
      rows, columns: of the grid.
      box: the patch of the texture.
      closed: the grid runs through the patch to the right and back, so that it needs no seam.

    Returns:
      The coordinates, row by row.
    """
    along = np.arange(columns) / (columns if closed else columns - 1)
    if closed:
        along = 1 - np.abs(2 * along - 1)
    u = box[0] + (box[2] - box[0]) * np.tile(along, rows)
    v = box[3] + (box[1] - box[3]) * np.repeat(np.linspace(0, 1, rows), columns)
    return np.stack([u, v], 1).astype(np.float32)


def grid(points: Float[Array, "R C 3"], box: Box, *, closed: bool = False, flip: bool = False) -> Piece:
    """A sheet through a grid of points, visible from one side.

    Args:
      points: (R, C, 3).
      box: the patch of the texture.
      closed: joins the last column to the first.
      flip: False: visible where `grid_faces` are counter-clockwise; True: from the other side.

    Returns:
      The piece.
    """
    rows, columns = points.shape[:2]
    faces = grid_faces(rows, columns, closed=closed)
    return Piece(points.reshape(-1, 3), faces[:, ::-1] if flip else faces, grid_uv(rows, columns, box, closed=closed))


def both_sides(piece: Piece) -> Piece:
    """A sheet that is visible from both sides. Its vertices are doubled, so that each side has its own normals."""
    count = len(piece.uv)
    return Piece(
        jnp.concatenate([piece.vertices, piece.vertices]),
        np.concatenate([piece.faces, piece.faces[:, ::-1] + count]),
        jnp.concatenate([jnp.asarray(piece.uv), jnp.asarray(piece.uv)]),
    )


def tube(
    path: Float[Array, "R 3"],
    radii: Float[Array, "R 2"],
    across: Float[Array, " 3"],
    box: Box,
    *,
    sides: int = 8,
    square: Array | float = 1.0,
    loop: bool = False,
) -> Piece:
    """A tube along a path, with superellipses as cross-sections.

    Args:
      path: points (N, 3), mm.
      radii: half-axes of each cross-section, mm: towards `across`, and normal to it. A radius of 0 closes an end.
      across: direction of the first half-axis.
      box: the patch of the texture.
      sides: vertices around the tube.
      square: exponent of |cos| and |sin|: 1 is an ellipse, towards 0 a box.
      loop: whether the path is closed.

    Returns:
      The piece.
    """
    if loop:
        tangent = jnp.roll(path, -1, axis=0) - jnp.roll(path, 1, axis=0)
    else:
        tangent = jnp.concatenate([path[1:2] - path[:1], path[2:] - path[:-2], path[-1:] - path[-2:-1]])
    tangent = safe_normalize(tangent)
    second = safe_normalize(jnp.cross(tangent, across))
    first = jnp.cross(second, tangent)
    angle = 2 * np.pi * np.arange(sides) / sides
    c, s = (jnp.sign(x) * jnp.abs(x) ** square for x in (np.cos(angle).round(6), np.sin(angle).round(6)))
    ring = (
        path[:, None] + (radii[:, :1] * c)[..., None] * first[:, None] + (radii[:, 1:] * s)[..., None] * second[:, None]
    )
    if loop:
        ring = jnp.concatenate([ring, ring[:1]])
    return grid(ring, box, closed=True, flip=True)  # seen along the path, the columns go counter-clockwise


def rounded(rows: int, cap: Array | float) -> tuple[Float[Array, " R"], Float[Array, " R"]]:
    """Positions along a tube (0 to 1), and radius factors that round both ends off over a share `cap` of its length."""
    ends = rows // 3
    turn = np.linspace(0, np.pi / 2, ends + 1)[:-1]
    place, size = cap * (1 - np.cos(turn)), np.sin(turn)
    middle = cap + (1 - 2 * cap) * np.linspace(0, 1, rows - 2 * ends)
    along = jnp.concatenate([place, middle, 1 - place[::-1]])
    return along, jnp.concatenate([size, np.ones(rows - 2 * ends), size[::-1]])


def bezier(
    a: Float[Array, " 3"], b: Float[Array, " 3"], c: Float[Array, " 3"], t: Float[Array, " R"]
) -> Float[Array, "R 3"]:
    """The quadratic Bezier curve from a to c with control point b.

    Args:
      a, b, c: points.
      t: parameters, 0 at a and 1 at c.

    Returns:
      The points.
    """
    t = t[:, None]
    return (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t**2 * c


def rotation_about(axis: Float[Array, " 3"], angle: Float[Array, ""]) -> Float[Array, "3 3"]:
    """The rotation matrix of `angle` (radians) about a unit axis (Rodrigues)."""
    x, y, z = axis
    cross = jnp.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return jnp.eye(3) + jnp.sin(angle) * cross + (1 - jnp.cos(angle)) * cross @ cross


def noise(key: jax.Array, size: int, cells: int) -> Float[Array, "T T"]:
    """Smooth noise in [-1, 1] with `cells` bumps across."""
    coarse = jax.random.uniform(key, (cells, cells), minval=-1.0, maxval=1.0)
    return jax.image.resize(coarse, (size, size), "linear")


def skin_tone(key: jax.Array) -> Float[Array, " 3"]:
    """A display-valued skin colour, from pale to dark."""
    ramp = jnp.array(
        [[0.93, 0.77, 0.69], [0.86, 0.66, 0.54], [0.72, 0.51, 0.39], [0.53, 0.35, 0.25], [0.33, 0.21, 0.15]]
    )
    draw = jax.random.uniform(key, (4,))
    where = 4 * draw[0] ** 1.4
    low = jnp.minimum(where.astype(jnp.int32), 3)
    tone = ramp[low] + (where - low.astype(where.dtype)) * (ramp[low + 1] - ramp[low])
    return tone * (0.85 + 0.2 * draw[1] + 0.06 * (draw[1:] - 0.5))


def any_color(key: jax.Array) -> Float[Array, " 3"]:
    """A colour of an object: often near grey, sometimes strong."""
    draw = jax.random.uniform(key, (5,))
    bright, strength = draw[0], draw[1] ** 2.5
    return jnp.clip(bright * (1 - strength) + strength * draw[2:], 0.02, 0.98)

"""Paths along which hair falls: meridians of the head from the crown down, and straight down below it.

A path lies in the half plane of its azimuth (0 in front, positive to the subject's left). Its coordinates are `out`,
the distance from the head's vertical axis, and `height`. Anchors tie the paths to the shipped head's vertices, so that
they follow any identity.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.face_model.formats.default import load_default_head
from facejax.mesh import safe_normalize
from facejax.synthetic.props import Head
from facejax.synthetic.shapes import Piece, grid_faces
from facejax.synthetic.strands import index_of, value_at

CENTRE = np.array([0.0, 45.0, 8.0], np.float32)  # mm, inside the skull
LOWEST = -320.0  # mm, where every path ends
_NEAREST = 8  # vertices that an anchor is interpolated from
_BLUR = np.deg2rad(3.0)
AZIMUTHS = np.deg2rad(
    np.concatenate([[-180, -160, -140, -122, -108], np.linspace(-98, 98, 40), [108, 122, 140, 160, 180]])
).astype(np.float32)  # C columns, dense where the hairline is visible; the last repeats the first
ELEVATIONS = np.deg2rad(np.linspace(90, -68, 30)).astype(np.float32)
_TAIL = 6  # samples below the last elevation


class Layout(NamedTuple):
    """What the paths need of the mean head, computed once on the host."""

    rows: np.ndarray  # (C, K, 8) vertices of each anchor
    weight: np.ndarray  # (C, K, 8), sums to 1
    height: np.ndarray  # (C, K + tail) of the mean head's paths, mm, falling
    vertices: int


class Paths(NamedTuple):
    """One person's paths: P samples on each of C columns."""

    out: Float[Array, "C P"]  # mm from the axis
    height: Float[Array, "C P"]  # of each point, mm, model space
    direction: Float[Array, "C P 2"]  # unit, (x, z): where `out` points
    mean: Float[Array, "C P"]  # heights on the mean head, mm, in which hairlines are given


@lru_cache(maxsize=1)
def layout() -> Layout:
    """Anchors of the shipped head's paths; not on ears and eyeballs."""
    with jax.ensure_compile_time_eval():
        model = load_default_head()
        mean = np.asarray(model.mean)
        held = (np.asarray(model.regions["ears"]) < 0.5) & (np.asarray(model.regions["eyeballs"]) < 0.5)
    usable = np.flatnonzero(held)
    away = mean[usable] - CENTRE
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    azimuth, elevation = np.meshgrid(AZIMUTHS, ELEVATIONS, indexing="ij")
    flat = np.cos(elevation)
    rays = np.stack([flat * np.sin(azimuth), np.sin(elevation), flat * np.cos(azimuth)], axis=-1)
    distance = 2.0 - 2.0 * np.einsum("ckd,vd->ckv", rays, away)  # squared chord, close to the squared angle
    index = np.argpartition(distance, _NEAREST, axis=-1)[..., :_NEAREST]
    near = np.take_along_axis(distance, index, axis=-1)
    weight = np.exp(-(near - near.min(axis=-1, keepdims=True)) / (2 * _BLUR**2))
    weight = (weight / weight.sum(axis=-1, keepdims=True)).astype(np.float32)
    index = usable[index].astype(np.int32)
    height = np.minimum.accumulate(np.einsum("ckn,ckn->ck", weight, mean[index][..., 1]), axis=1)
    tail = np.linspace(height[:, -1], LOWEST, _TAIL + 1)[1:].T
    return Layout(index, weight, np.concatenate([height, tail], axis=1).astype(np.float32), len(mean))


def head_paths(head: Head) -> Paths:
    """This head's paths. Raises ValueError for a head of another topology."""
    held = layout()
    if head.vertices.shape[0] != held.vertices:
        raise ValueError(f"hair needs the shipped head ({held.vertices} vertices), got {head.vertices.shape[0]}")
    anchors = jnp.einsum("ckn,cknd->ckd", held.weight, head.vertices[held.rows])
    radial = anchors[..., ::2] - CENTRE[::2]
    out = jnp.linalg.norm(radial + 1e-6, axis=-1)
    # At the pole and under the chin the direction is not stable: the column's is used instead.
    column = jnp.stack([jnp.sin(AZIMUTHS), jnp.cos(AZIMUTHS)], axis=-1)[:, None]
    direction = jnp.broadcast_to(column, radial.shape)
    height = anchors[..., 1]
    tail = jnp.linspace(height[:, -1], jnp.full(len(AZIMUTHS), LOWEST), _TAIL + 1)[1:].T
    repeat = [(0, 0), (0, _TAIL)]
    return Paths(
        out=jnp.pad(out, repeat, mode="edge"),
        height=jnp.concatenate([height, tail], axis=1),
        direction=jnp.pad(direction, [*repeat, (0, 0)], mode="edge"),
        mean=jnp.asarray(held.height),
    )


class Sheet(NamedTuple):
    """A sheet along the paths; C columns, R rows from the crown down."""

    out: Float[Array, "C R"]  # mm from the axis
    height: Float[Array, "C R"]
    skin_out: Float[Array, "C R"]  # of the head below each point
    skin_height: Float[Array, "C R"]
    distance: Float[Array, "C R"]  # mm to the column's end


def comb(
    paths: Paths,
    lift: Float[Array, "C P"],
    fall: Float[Array, "C P"],
    ends: Float[Array, " C"],
    shares: Float[Array | np.ndarray, "*C R"],
) -> Sheet:
    """Lay a sheet over the head.

    Args:
      paths: the head's.
      lift: height above the skin, mm.
      fall: 1 where the sheet hangs straight down from its widest point, 0 where it follows the head.
      ends: heights (mean head, mm) where the columns end.
      shares: positions of the rows along a column, 0 at the crown and 1 at the end.

    Returns:
      The sheet.
    """
    rise = np.concatenate([np.clip(ELEVATIONS, 0, None), np.zeros(paths.out.shape[1] - len(ELEVATIONS), np.float32)])
    out, height = paths.out + lift * np.cos(rise), paths.height + lift * np.sin(rise)
    out = out + fall * (jax.lax.cummax(out, axis=1) - out)
    step = jnp.hypot(jnp.diff(out, axis=1), jnp.diff(height, axis=1))
    arc = jnp.pad(jnp.cumsum(step, axis=1), [(0, 0), (1, 0)])
    total = value_at(index_of(-ends[:, None], -paths.mean), arc)
    place = total * shares
    where = index_of(place, arc)
    return Sheet(
        out=value_at(where, out),
        height=value_at(where, height),
        skin_out=value_at(where, paths.out),
        skin_height=value_at(where, paths.height),
        distance=total - place,
    )


def place(paths: Paths, out: Float[Array, "C R"], height: Float[Array, "C R"]) -> Float[Array, "R C 3"]:
    """Model-space points of a grid along the paths, row by row."""
    flat = CENTRE[::2] + out[..., None] * paths.direction[:, :1]
    return jnp.stack([flat[..., 0], height, flat[..., 1]], axis=-1).swapaxes(0, 1)


def across(azimuth: np.ndarray) -> np.ndarray:
    """Azimuth (radians) to u; four fifths of the texture lie within 100 degrees of the front."""
    limit = np.deg2rad(100.0)
    front = 0.4 * np.clip(azimuth / limit, -1, 1)
    back = 0.1 * np.sign(azimuth) * np.clip((np.abs(azimuth) - limit) / (np.pi - limit), 0, 1)
    return (0.5 + front + back).astype(np.float32)


def two_sided(
    points: Float[Array, "R C 3"], azimuths: np.ndarray, shares: np.ndarray, heights: tuple[float, float], gap: float
) -> Piece:
    """A sheet with an inner side.

    Args:
      points: of the outer side, row by row.
      azimuths: of the columns, radians.
      shares: positions of the rows, 0 to 1.
      heights: v at its lower and upper end.
      gap: how far inside the inner side is, mm.

    Returns:
      The piece.
    """
    rows, columns = points.shape[:2]
    faces = grid_faces(rows, columns)
    v, u = np.meshgrid(heights[1] + shares * (heights[0] - heights[1]), across(azimuths), indexing="ij")
    uv = np.stack([u, v], axis=-1).reshape(-1, 2).astype(np.float32)
    inner = points - gap * safe_normalize((points - CENTRE) * np.array([1.0, 0.0, 1.0], np.float32))
    return Piece(
        jnp.concatenate([points.reshape(-1, 3), inner.reshape(-1, 3)]),
        np.concatenate([faces, faces[:, ::-1] + rows * columns]),
        np.concatenate([uv, uv]),
    )

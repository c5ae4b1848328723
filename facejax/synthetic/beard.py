"""Beards: a layer over the lower face, from stubble painted on the skin to hair that hangs from the chin.

The layer consists of the head's own triangles, raised from the skin. Its texture is laid out by direction from a point
inside the lower face. Where hair grows is decided in millimetres on the mean head.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.face_model.formats.default import load_default_head
from facejax.synthetic.hair_style import draw_style
from facejax.synthetic.props import Head, Prop
from facejax.synthetic.strands import noise_cells, smooth

SIZE = 128  # texels
KINDS = ("stubble", "moustache", "goatee", "short", "long")
_LIMITS = np.cumsum([0.3, 0.14, 0.16, 0.25])  # thresholds of a uniform number that choose one of KINDS
_CENTRE = np.array([0.0, -20.0, 25.0], np.float32)
_AZIMUTH, _ELEVATION = np.deg2rad((-112.0, 112.0)), np.deg2rad((-86.0, 42.0))  # the directions at the texture's edges
_SKIN_GAP = 0.4  # mm


class _Chart(NamedTuple):
    """The part of the head that can carry a beard."""

    rows: np.ndarray  # (N,) vertices of the head
    faces: np.ndarray  # (M, 3) into rows
    uv: np.ndarray  # (N, 2)
    points: np.ndarray  # (N, 3) on the mean head
    lips: np.ndarray  # (N,) mask
    texels: np.ndarray  # (T, T, 3) the mean head's surface at each texel
    texel_lips: np.ndarray  # (T, T)


class _Shape(NamedTuple):
    """The outline of a beard in mm on the mean head, unless said otherwise; from uniform numbers."""

    full: Float[Array, ""]  # 1: cheeks and jaw too
    chin: Float[Array, ""]  # 1: chin and the strips beside the mouth
    moustache: Float[Array, ""]
    cheek_line: Float[Array, " 2"]  # height at the sideburn and beside the mouth
    neck_line: Float[Array, ""]  # height below which the neck is shaved
    width: Float[Array, ""]  # half the moustache's width
    chin_width: Float[Array, ""]
    thickness: Float[Array, ""]
    fall: Float[Array, ""]  # how far the chin's hair hangs


def beard(key: Array, head: Head) -> Prop:
    """A random beard: stubble, a moustache, a goatee, or a full beard of 1 to some 40 mm.

    For one head of the shipped topology; vmap for many. `hair` with the same key gives matching colours. Raises
    ValueError for another topology.
    """
    chart, style = _chart(), draw_style(key)
    if head.vertices.shape[0] != _head_size():
        raise ValueError(f"beard needs the shipped head ({_head_size()} vertices), got {head.vertices.shape[0]}")
    shape_key, texture_key = jax.random.split(jax.random.fold_in(key, 3))
    numbers = jax.random.uniform(shape_key, (16,))
    shape, opacity = _shape(numbers)
    depth = _depth(shape, jnp.asarray(chart.points)) - 4.0 * jnp.asarray(chart.lips)
    rise = shape.thickness * jnp.clip(depth / (4.0 + 0.8 * shape.thickness), 0.0, 1.0)
    low = jnp.clip((-45.0 - jnp.asarray(chart.points[:, 1])) / 25.0, 0.0, 1.0)
    front = jnp.clip((jnp.asarray(chart.points[:, 2]) - 30.0) / 40.0, 0.0, 1.0)
    hanging = shape.fall * low * front * jnp.clip(depth / 14.0, 0.0, 1.0)
    lifted = head.vertices[chart.rows] + (_SKIN_GAP + rise)[:, None] * head.normals[chart.rows]
    vertices = lifted + hanging[:, None] * jnp.array([0.0, -1.0, 0.25])
    tone = style.color * (0.75 + 0.3 * numbers[13]) + jnp.array([0.03, 0.0, -0.01]) * numbers[14]
    return Prop(
        vertices=vertices,
        faces=jnp.asarray(chart.faces),
        uv=jnp.asarray(chart.uv),
        texture=_texture(texture_key, shape, jnp.clip(tone, 0.02, 0.95), opacity),
        gloss=0.15 * numbers[15],
    )


def _shape(numbers: Float[Array, " 16"]) -> tuple[_Shape, Float[Array, ""]]:
    """The beard and its opacity."""
    kind = jnp.sum(numbers[0] > _LIMITS)
    stubble, long = kind == KINDS.index("stubble"), kind == KINDS.index("long")
    full = stubble | (kind >= KINDS.index("short"))
    chin = full | (kind == KINDS.index("goatee"))
    moustache = (kind == KINDS.index("moustache")) | (chin & (numbers[1] < 0.88))
    thick = jnp.where(long, 8.0 + 10.0 * numbers[3], 0.8 + 6.0 * numbers[3] ** 2)
    shape = _Shape(
        full=full.astype(jnp.float32),
        chin=chin.astype(jnp.float32),
        moustache=moustache.astype(jnp.float32),
        cheek_line=jnp.array([-8.0, -46.0]) + jnp.array([26.0, 26.0]) * numbers[4:6],
        neck_line=-108.0 + 34.0 * numbers[6],
        width=20.0 + 16.0 * numbers[7],
        chin_width=12.0 + 22.0 * numbers[8],
        thickness=jnp.where(stubble, 0.0, thick),
        fall=jnp.where(long, 45.0 * numbers[9], jnp.where(stubble, 0.0, 8.0 * numbers[9] ** 2)),
    )
    return shape, jnp.where(stubble, 0.12 + 0.4 * numbers[10], 0.75 + 0.25 * numbers[10])


def _depth(shape: _Shape, points: Float[Array, "*S 3"]) -> Float[Array, "*S"]:
    """How far inside the beard's outline a point of the mean head lies, about mm; negative outside."""
    x, y, z = jnp.abs(points[..., 0]), points[..., 1], points[..., 2]
    along = jnp.clip((x - 30.0) / 44.0, 0.0, 1.0)
    line = shape.cheek_line[1] + along * (shape.cheek_line[0] - shape.cheek_line[1])
    sideburn = jnp.where(x > 66.0, jnp.minimum(36.0 - y, 3.0 * (x - 67.0)), -20.0)
    cheeks = jnp.maximum(jnp.minimum(line - y, 0.9 * (x - 22.0) + jnp.maximum(0.0, -52.0 - y)), sideburn)
    cheeks = jnp.minimum(jnp.minimum(cheeks, y - shape.neck_line), z - 26.0 + 0.12 * y)
    patch = jnp.minimum(jnp.minimum(shape.chin_width - x, -49.0 - y), y + 88.0)
    soul = jnp.minimum(jnp.minimum(7.0 - x, -46.0 - y), y + 62.0)
    beside = jnp.minimum(jnp.minimum(4.5 - jnp.abs(x - 32.0), -24.0 - y), y + 66.0)
    lip = jnp.minimum(jnp.minimum(shape.width - x, -13.0 - 0.12 * x - y), y + 27.5 + 0.35 * jnp.maximum(x - 6.0, 0.0))
    chin = jnp.maximum(jnp.maximum(patch, soul), beside)
    parts = ((shape.full, cheeks), (shape.chin, chin), (shape.moustache, lip))
    return jnp.max(jnp.stack([jnp.where(present > 0, part, -20.0) for present, part in parts]), axis=0)


def _texture(key: Array, shape: _Shape, tone: Float[Array, " 3"], opacity: Float[Array, ""]) -> Float[Array, "T T 4"]:
    chart = _chart()
    fine, lock, patch, numbers = noise_cells(key, (64, SIZE), (12, 64), (9, 12), (1, 3))
    strands = 0.6 * smooth(fine, (SIZE, SIZE)) + 0.4 * smooth(lock, (SIZE, SIZE))
    uneven = smooth(patch, (SIZE, SIZE))
    depth = _depth(shape, jnp.asarray(chart.texels)) + (1.5 + 1.5 * numbers[0, 0]) * uneven + 1.5 * strands
    soft = (3.0 + 4.0 * (0.5 + 0.5 * numbers[0, 1])) * jnp.where(opacity < 0.6, 2.0, 1.0)
    thin = 0.35 + 0.25 * numbers[0, 2]
    alpha = opacity * jnp.clip(depth / soft, 0.0, 1.0) * jnp.clip(1.0 + thin * (strands + 0.7 * uneven), 0.0, 1.0)
    alpha = alpha * (1 - jnp.asarray(chart.texel_lips))
    color = jnp.clip(tone * (1 + 0.5 * strands)[..., None], 0.0, 1.0)
    return jnp.concatenate([color, alpha[..., None]], axis=-1)


@lru_cache(maxsize=1)
def _head_size() -> int:
    with jax.ensure_compile_time_eval():
        return len(load_default_head().mean)


@lru_cache(maxsize=1)
def _chart() -> _Chart:
    with jax.ensure_compile_time_eval():
        model = load_default_head()
        mean, faces = np.asarray(model.mean), np.asarray(model.faces)
        masks = {name: np.asarray(mask) for name, mask in model.regions.items()}
    skin = (masks["face"] + masks["neck"] + masks["jaw"] + masks["chin"] > 0.1) & (masks["ears"] < 0.9)
    x, y, z = mean.T
    below = (y < np.where(np.abs(x) > 60, 42.0, np.where(np.abs(x) > 34, 24.0, -6.0))) & (y > -116) & (z > 8)
    kept = skin & below & (masks["eyeballs"] < 0.1) & (masks["nose"] < 0.9)
    faces = faces[kept[faces].all(axis=1)]
    rows, faces = np.unique(faces, return_inverse=True)
    away = mean[rows] - _CENTRE
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    azimuth = np.arctan2(away[:, 0], away[:, 2])
    u = (azimuth - _AZIMUTH[0]) / (_AZIMUTH[1] - _AZIMUTH[0])
    v = (np.arcsin(away[:, 1]) - _ELEVATION[0]) / (_ELEVATION[1] - _ELEVATION[0])
    weight, near = _nearest_to_texels(away)
    texels = np.einsum("ijk,ijkd->ijd", weight, mean[rows][near])
    lips = masks["lips"][rows]
    return _Chart(
        rows=rows.astype(np.int32),
        faces=faces.reshape(-1, 3).astype(np.int32),
        uv=np.stack([u, v], axis=-1).astype(np.float32),
        points=mean[rows].astype(np.float32),
        lips=lips.astype(np.float32),
        texels=texels.astype(np.float32),
        texel_lips=np.einsum("ijk,ijk->ij", weight, lips[near]).astype(np.float32),
    )


def _nearest_to_texels(away: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and indices (T, T, 4) of the directions nearest to each texel's direction."""
    share = (np.arange(SIZE) + 0.5) / SIZE
    azimuth = _AZIMUTH[0] + share * (_AZIMUTH[1] - _AZIMUTH[0])
    elevation = _ELEVATION[1] - share * (_ELEVATION[1] - _ELEVATION[0])
    tilt, turn = np.meshgrid(elevation, azimuth, indexing="ij")
    rays = np.stack([np.cos(tilt) * np.sin(turn), np.sin(tilt), np.cos(tilt) * np.cos(turn)], -1).astype(np.float32)
    distance = 2.0 - 2.0 * rays @ away.T.astype(np.float32)
    near = np.argpartition(distance, 4, axis=-1)[..., :4]
    weight = 1.0 / (np.take_along_axis(distance, near, axis=-1) + 1e-5)
    return weight / weight.sum(axis=-1, keepdims=True), near

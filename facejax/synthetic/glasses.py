"""Glasses: two rims, lenses, a bridge and temples that reach over the ears."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.face_model import landmarks
from facejax.synthetic.anchors import EYE_LEFT, EYE_RIGHT, nearest_skin
from facejax.synthetic.props import Head, Prop
from facejax.synthetic.shapes import Piece, any_color, bezier, both_sides, join, noise, repeat, tube

SIZE = 64  # texels
FRAME, LENS = (0.02, 0.02, 0.48, 0.98), (0.52, 0.02, 0.98, 0.98)  # patches of the texture
OUTLINE = 28  # points of a rim
SUNGLASSES = 0.18  # share of dark lenses
# The path of the left temple along the mean's skull, ending behind the ear (mm, model space).
TEMPLE = ((70.0, 44.0, 60.0), (76.0, 44.5, 35.0), (79.0, 45.0, 12.0), (79.0, 42.0, -2.0), (78.0, 25.0, -16.0))


def glasses(key: jax.Array, head: Head) -> Prop:
    """A pair of glasses on the nose: round, square, pilot, cat's-eye or rimless, with clear or dark lenses."""
    keys = jax.random.split(key, 4)
    rim = _place(keys[0], head)
    thickness = _frame_thickness(keys[1])
    sides = jnp.array([1.0, -1.0])
    outlines = rim.outline * jnp.stack([sides, sides**2, sides**2], axis=1)[:, None] + rim.middle
    forwards, section = jnp.array([0.0, 0.0, 1.0]), jnp.broadcast_to(thickness, (OUTLINE, 2))
    rims = repeat(lambda outline: tube(outline, section, forwards, FRAME, sides=5, loop=True), outlines)
    skull = head.vertices[jnp.stack([_skull(side) for side in (1.0, -1.0)])]
    temples = repeat(partial(_temple, rim, jnp.maximum(thickness, 0.9)), outlines, skull, sides)
    pieces = [rims, repeat(_lens, outlines), temples, _bridge(rim, head, thickness)]
    return join(pieces, _texture(keys[2], keys[3]), gloss=0.6)


class _Rim(NamedTuple):
    outline: Float[Array, "28 3"]  # of the subject's left lens, relative to `middle`, mm
    middle: Float[Array, " 3"]  # between the lenses, in their plane
    inner: Float[Array, ""]  # |x| of the rims next to the nose
    outer: Float[Array, ""]
    half_height: Float[Array, ""]


def _place(key: jax.Array, head: Head) -> _Rim:
    """Size and outline of the lenses, and their distance from the face, so that they touch only the nose."""
    uniform = jax.random.uniform(key, (8,))
    marks = landmarks(head.model, head.vertices)
    right, left = marks[EYE_RIGHT].mean(0), marks[EYE_LEFT].mean(0)
    half_width = 19.0 + 11.0 * uniform[0]
    half_height = half_width * (0.52 + 0.48 * uniform[1] ** 1.3)
    inner = 8.5 + 3.5 * uniform[2]
    centre = jnp.maximum(0.5 * (left[0] - right[0]) + 2.0, inner + half_width)
    slip = jnp.where(uniform[3] < 0.12, 12.0, 0.0) + 3.0 * uniform[4]  # some are worn low on the nose
    middle = jnp.stack([0.5 * (left[0] + right[0]), 0.5 * (left[1] + right[1]) - slip - 0.15 * half_height, left[2]])
    angle = 2 * np.pi * np.arange(OUTLINE) / OUTLINE
    square = 0.42 + 0.58 * uniform[5]
    c, s = (jnp.sign(x) * jnp.abs(x) ** square for x in (np.cos(angle).round(6), np.sin(angle).round(6)))
    pilot = jnp.where(uniform[6] < 0.25, 0.3, 0.06) * uniform[7]
    cat = jnp.where(uniform[6] > 0.8, 0.22, 0.03) * uniform[7]
    x = half_width * (c * (1 + 0.5 * pilot * s) + 0.5 * pilot * (s - 1) * jnp.abs(s))
    y = half_height * (s - pilot * jnp.maximum(-c, 0) * jnp.minimum(s, 0) + cat * c * (1 + s))
    tilt, wrap = 0.06 + 0.12 * uniform[4], 0.001 + 0.0012 * uniform[3]
    # In front of every skin vertex behind the lenses, less the depth of the nose pads.
    skin = head.vertices - middle
    beside = jnp.abs(jnp.abs(skin[:, 0]) - centre) / (half_width + 1.5)
    behind = (beside**3 + jnp.abs(skin[:, 1] / (half_height + 1.5)) ** 3 < 1) & (jnp.abs(skin[:, 0]) > 13.0)
    rest = skin[:, 2] - tilt * skin[:, 1] + wrap * skin[:, 0] ** 2
    lift = jnp.max(jnp.where(behind & (head.vertices[:, 2] > 40.0), rest, -jnp.inf)) + 3.0
    x = x + centre
    outline = jnp.stack([x, y, lift + tilt * y - wrap * x**2], axis=1)
    return _Rim(outline, middle, inner, centre + half_width, half_height)


def _frame_thickness(key: jax.Array) -> Float[Array, " 2"]:
    """Half-axes (mm) of the rim's section: along the view axis, and in the lens's plane. A third are thin wire."""
    kind, deep, wide = jax.random.uniform(key, (3,))
    wire = jnp.stack([0.5 + 0.4 * deep, 0.45 + 0.4 * wide])
    plastic = jnp.stack([1.0 + 1.2 * deep, 0.8 + 2.2 * wide**1.5])
    rimless = jnp.full(2, 0.12)
    return jnp.where(kind < 0.1, rimless, jnp.where(kind < 0.45, wire, plastic))


def _lens(outline: Float[Array, "28 3"]) -> Piece:
    """A fan over the outline, slightly curved, visible from both sides."""
    centre = outline.mean(0).at[2].add(1.0)
    low, high = outline[:, :2].min(0), outline[:, :2].max(0)
    points = jnp.concatenate([centre[None], outline])
    place = (points[:, :2] - low) / (high - low)
    uv = jnp.array(LENS[:2]) + place * (jnp.array(LENS[2:]) - jnp.array(LENS[:2]))
    around = np.arange(OUTLINE)
    fan = np.stack([np.zeros_like(around), 1 + around, 1 + (around + 1) % OUTLINE], axis=1)
    return both_sides(Piece(points, fan, uv))


def _skull(side: float) -> Int[np.ndarray, " T"]:
    """Vertices of the skull along a temple's path, on the subject's left (1) or right (-1)."""
    way = tuple((side * x, y, z) for x, y, z in TEMPLE)
    return nearest_skin(way, without=("ears", "eyeballs"))


def _temple(
    rim: _Rim, thickness: Float[Array, " 2"], outline: Float[Array, "28 3"], skull: Float[Array, "T 3"], side: Array
) -> Piece:
    """From the lens's outer edge along the skull, over the ear and down behind it."""
    corner = int(0.06 * OUTLINE)  # a little above the lens's middle
    hinge = outline[corner]
    # The mesh decides where vertices lie, so they only give the skull's width; the heights are fixed.
    wide = jnp.max(jnp.abs(skull[:, 0] - rim.middle[0])[None] * jnp.tri(len(TEMPLE)), axis=1) + 2.5
    wide = jnp.maximum(wide, jnp.abs(hinge[0] - rim.middle[0]) * jnp.array([1.0, 0.97, 0.9, 0.8, 0.0]))
    ear_top = skull[2, 1]
    share = (hinge[2] - skull[:, 2]) / (hinge[2] - skull[2, 2])
    height = jnp.where(np.arange(len(TEMPLE)) < 3, hinge[1] + share * (ear_top - hinge[1]), skull[:, 1])
    bend = hinge + jnp.stack([2.5 * side, 0 * side, 0 * side - 4.0])
    along = jnp.stack([rim.middle[0] + side * wide, height, skull[:, 2]], axis=1)
    path = jnp.concatenate([hinge[None], bend[None], along])
    radii = jnp.stack(
        [thickness[0] * 0.5 + 0 * path[:, 0], jnp.minimum(thickness[1] * 1.1, 2.5) + 0 * path[:, 0]], axis=1
    )
    radii = radii.at[-1].multiply(0.0)
    return tube(path, radii, jnp.array([1.0, 0.0, 0.0]), FRAME, sides=4)


def _bridge(rim: _Rim, head: Head, thickness: Float[Array, " 2"]) -> Piece:
    """A bow between the lenses that clears the nose."""
    inner = rim.outline[OUTLINE // 2 - 2]  # above the middle, next to the nose
    a = inner * jnp.array([-1.0, 1.0, 1.0]) + rim.middle
    c = inner + rim.middle
    near = (jnp.abs(head.vertices[:, 0] - rim.middle[0]) < 9) & (jnp.abs(head.vertices[:, 1] - a[1] - 1.5) < 4)
    nose = jnp.max(jnp.where(near & (head.vertices[:, 2] > 40.0), head.vertices[:, 2], -jnp.inf)) + 1.5 + thickness[0]
    top = 0.5 * (a + c) + jnp.stack([0.0, 3.0, 0.0])
    top = top.at[2].set(jnp.maximum(2 * nose - a[2], a[2] + 1.0))
    path = bezier(a, top, c, jnp.linspace(0.0, 1.0, 9))
    radii = jnp.broadcast_to(jnp.clip(thickness, 0.6, 1.6), (9, 2))
    return tube(path, radii, jnp.array([0.0, 0.0, 1.0]), FRAME, sides=5)


def _texture(frame_key: jax.Array, lens_key: jax.Array) -> Float[Array, "T T 4"]:
    kind, color, mottle = jax.random.split(frame_key, 3)
    which, bright = jax.random.uniform(kind, (2,))
    metal = jnp.array([0.75, 0.68, 0.5]) * (0.5 + 0.7 * bright)
    shell = jnp.array([0.36, 0.2, 0.1]) * (1 + 0.8 * noise(mottle, SIZE, 12)[..., None])
    black = jnp.full(3, 0.06)
    frame = jnp.where(
        which < 0.35, black, jnp.where(which < 0.55, metal, jnp.where(which < 0.75, shell, any_color(color)))
    )
    frame = jnp.broadcast_to(frame, (SIZE, SIZE, 3))[:, : SIZE // 2]
    frame = jnp.concatenate([frame, jnp.ones((SIZE, SIZE // 2, 1))], axis=-1)
    return jnp.concatenate([frame, _lens_texture(lens_key)], axis=1)


def _lens_texture(key: jax.Array) -> Float[Array, "T 32 4"]:
    """Colour and opacity of a lens: a faint tint with the reflection of a bright patch, or dark glass."""
    uniform = jax.random.uniform(key, (9,))
    x, y = jnp.meshgrid(jnp.linspace(-1, 1, SIZE // 2), jnp.linspace(1, -1, SIZE))
    dark = uniform[0] < SUNGLASSES
    fade = 1 - jnp.where(uniform[3] < 0.5, uniform[2], 0.0) * jnp.clip(0.5 - 0.5 * y, 0, 1)  # paler downwards
    opacity = jnp.where(dark, (0.72 + 0.27 * uniform[1]) * fade, 0.02 + 0.1 * uniform[1] ** 2)
    tint = jnp.where(dark, 0.12, 0.6) * (0.5 + uniform[6:])
    # A window or a flash: a slanted bright band.
    slant = x * jnp.cos(6.3 * uniform[4]) + y * jnp.sin(6.3 * uniform[4]) - (2 * uniform[5] - 1)
    strength = jnp.where(uniform[3] < 0.5, 0.0, 0.75 * uniform[1] ** 2) * jnp.where(dark, 0.6, 1.0)
    shine = strength * jnp.exp(-((slant / (0.15 + 0.4 * uniform[2])) ** 2))
    total = 1 - (1 - opacity) * (1 - shine)
    mix = (shine / jnp.maximum(total, 1e-4))[..., None]
    rgb = tint * (1 - mix) + jnp.array([0.92, 0.95, 1.0]) * mix
    return jnp.concatenate([rgb, total[..., None]], axis=-1)

"""A hand at the face, flat or a fist, or an object held in front of it: a microphone, a phone, a cup."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.face_model import landmarks
from facejax.mesh import safe_normalize
from facejax.synthetic.props import Head, Prop
from facejax.synthetic.shapes import (
    Piece,
    any_color,
    bezier,
    join,
    noise,
    repeat,
    rotation_about,
    rounded,
    skin_tone,
    tube,
)

SIZE = 64  # texels
SKIN, SLEEVE, THING = (0.02, 0.52, 0.98, 0.98), (0.02, 0.02, 0.48, 0.48), (0.52, 0.02, 0.98, 0.48)
# Where hands go: the mean of some landmarks, shifted outwards along x and up (mm); and how often.
PLACES = (
    ((8,), (0.0, 0.0), 3.0),  # chin
    ((6,), (0.0, 0.0), 1.0),
    ((4,), (0.0, 0.0), 1.5),  # jaw
    ((48, 57), (0.0, 0.0), 2.0),  # mouth
    ((51, 57), (0.0, 0.0), 1.5),
    ((3, 31), (0.0, 0.0), 1.5),  # cheek
    ((36, 41), (0.0, 0.0), 1.0),  # eye
    ((19,), (-5.0, 15.0), 1.0),  # forehead
    ((1,), (0.0, 0.0), 1.0),  # ear
    ((17,), (-8.0, 5.0), 0.7),  # temple
)
MICROPHONE, PHONE, CUP = 0, 1, 2
FINGERS = (
    (-29.0, 68.0, 8.6),
    (-10.0, 78.0, 9.2),
    (10.0, 73.0, 8.8),
    (29.0, 58.0, 7.8),
)  # mm aside, long, thick (radius)
HAND_ONLY = 0.6  # share of hands without an object


class _Frame(NamedTuple):
    """Position and orientation: fingers point along `along`, the palm faces along -`out`."""

    at: Float[Array, " 3"]
    along: Float[Array, " 3"]
    side: Float[Array, " 3"]
    out: Float[Array, " 3"]


def hand(key: jax.Array, head: Head, skin: Float[Array, " 3"] | None = None) -> Prop:
    """A hand, with or without an object, near chin, mouth, cheek, eye, ear or forehead on either side.

    `skin` is its display colour; a random tone without it.
    """
    keys = jax.random.split(key, 7)
    chance = jax.random.uniform(keys[0], (2,))
    empty = chance[0] < HAND_ONLY
    kind = jnp.minimum((3 * chance[1]).astype(jnp.int32), 2)
    target = _target(keys[2], head, jnp.where(empty, -1, kind))
    frame = _hand_frame(keys[3], target)
    thing, grip = _thing(keys[4], target, kind, empty)
    held = _Frame(*(jnp.where(empty, free, gripped) for free, gripped in zip(frame, grip, strict=True)))
    pieces = _hand(keys[5], held, empty)
    skin = skin_tone(keys[6]) if skin is None else skin
    return join([*pieces, thing], _texture(keys[1], skin, kind), gloss=0.15)


def _target(key: jax.Array, head: Head, kind: Array) -> _Frame:
    """A point of the face, its outward direction, and the upward direction along the face."""
    place, flip, jitter = jax.random.split(key, 3)
    marks = landmarks(head.model, head.vertices)
    groups = np.array([row[0] if len(row[0]) == 2 else row[0] * 2 for row in PLACES])
    odds = jnp.log(jnp.array([row[2] for row in PLACES]))
    choice = jax.random.categorical(place, odds)
    choice = jnp.where((kind == MICROPHONE) | (kind == CUP), 4, jnp.where(kind == PHONE, 8, choice))
    at = marks[jnp.asarray(groups)].mean(1)[choice] + jnp.pad(jnp.array([row[1] for row in PLACES])[choice], (0, 1))
    inside = 0.5 * (marks[0] + marks[16]) + jnp.array([0.0, -15.0, 10.0])
    # `marks` are on the subject's right and are mirrored for the left.
    mirror = jnp.where(jax.random.bernoulli(flip), jnp.array([-1.0, 1.0, 1.0]), 1.0)
    at = at * mirror + 6.0 * jax.random.normal(jitter, (3,)) * jnp.array([1.0, 1.0, 0.3])
    out = safe_normalize(at - inside)
    up = safe_normalize(jnp.array([0.0, 1.0, 0.0]) - out[1] * out)
    return _Frame(at, up, jnp.cross(up, out), out)


def _hand_frame(key: jax.Array, target: _Frame) -> _Frame:
    """A free hand: from below or from the side, on the face or a little in front of it."""
    turns, places = jax.random.split(key)
    spin, lean = jax.random.normal(turns, (2,))
    off, slide = jax.random.uniform(places, (2,))
    outwards = jnp.sign(target.at[0])
    angle = outwards * (0.35 + 0.7 * spin)
    turn = rotation_about(target.out, angle)
    along, side = turn @ target.along, turn @ target.side
    tip = rotation_about(side, 0.25 * lean)
    along, out = tip @ along, tip @ target.out
    distance = 10.0 + 15.0 * off**2
    reach = -15.0 + 90.0 * slide  # 0: the palm's middle, 75: the fingertips
    return _Frame(target.at + distance * out - reach * along, along, side, out)


def _hand(key: jax.Array, frame: _Frame, empty: Array) -> list[Piece]:
    """Palm, four fingers, a thumb and a forearm. Some objects stand in front of the face without a hand."""
    even, bell = jax.random.split(key)
    uniform, normal = jax.random.uniform(even, (6,)), jax.random.normal(bell, (5,))
    missing = ~empty & (uniform[0] < 0.25)
    size = (0.85 + 0.25 * uniform[1]) * jnp.where(missing, 1e-3, 1.0)
    left = jnp.where(uniform[2] < 0.5, 1.0, -1.0)  # side of the thumb
    curl = jnp.where(empty, jnp.where(uniform[3] < 0.35, 0.7 + 0.3 * uniform[4], 0.45 * uniform[4]), 0.75)
    spread = 0.1 * normal[4] + 0.06

    def point(along, side, out):
        return frame.at + size * (along * frame.along + left * side * frame.side + out * frame.out)

    across = frame.out
    place, round_ = rounded(9, 0.14)
    palm_path = bezier(point(-46, 0, -2), point(0, 0, 5), point(48, 0, -1), place)
    widths = jnp.stack([15 - 2 * place, 30 + 12 * jnp.sin(2.2 * place)], axis=1)
    pieces = [tube(palm_path, size * widths * round_[:, None], across, SKIN, sides=10, square=0.8)]
    offset, length, thick = (jnp.array(row) for row in zip(*FINGERS, strict=True))
    bend = jnp.clip(curl + 0.12 * normal[:4], 0, 1)
    reach, drop = length * (1 - 0.75 * bend), -0.62 * length * bend
    aside = offset * (1 + 2 * spread) + 12 * offset * spread * (1 - bend)
    tip = 30 * uniform[5]
    # Knuckle, bow and tip of the four fingers and the thumb, in the palm's frame.
    knuckles = jnp.stack([jnp.full(4, 38.0), offset, 0 * offset], 1)
    bows = jnp.stack([44 + 0.62 * length, offset, 6 + 14 * bend], 1)
    tips = jnp.stack([44 + reach, aside, drop], 1)
    thumb = jnp.stack(
        [jnp.array([-25.0, -30, -2]), jnp.array([5.0, -62, 2]), jnp.stack([22 + tip, -48 + 0.6 * tip, -6])]
    )
    joints = jnp.concatenate([jnp.stack([knuckles, bows, tips], 1), thumb[None]])
    thick = size * jnp.append(thick, 10.0)

    def digit(joint, thick):
        path = bezier(point(*joint[0]), point(*joint[1]), point(*joint[2]), place)
        return tube(path, thick * jnp.stack([round_, round_], 1), across, SKIN, sides=6)

    pieces.append(repeat(digit, joints, thick))
    down = jnp.array([0.0, -1.0, 0.0]) + 0.3 * frame.out
    wrist, elbow = point(-40, 0, -1), point(-150, 0, 8) + 200 * size * down
    arm = bezier(wrist, point(-120, 0, 5), elbow, jnp.linspace(0, 1, 6))
    thick = jnp.linspace(0.0, 1.0, 6)
    radii = size * jnp.stack([12 + 27 * thick, 20 + 23 * thick], axis=1)
    pieces.append(tube(arm, radii, across, SLEEVE, sides=8))
    return pieces


def _thing(key: jax.Array, target: _Frame, kind: Array, empty: Array) -> tuple[Piece, _Frame]:
    """A microphone, a phone or a cup in front of the target, and the frame of the hand that holds it."""
    draws, bell = jax.random.split(key)
    uniform = jax.random.uniform(draws, (4,))
    place = np.array([0.0, 0.01, 0.04, 0.09, 0.15, 0.21, 0.25, 0.28, 0.3, 0.6, 0.98, 1.0])
    round_ = np.array([0.0, 0.6, 0.9] + [1.0] * 7 + [0.8, 0.0])
    ball = jnp.sqrt(jnp.clip(1 - ((place - 0.14) / 0.145) ** 2, 0, 1))
    microphone = jnp.maximum(25.0 * ball, 11.0 * round_ * (place > 0.1)) * (0.8 + 0.5 * uniform[0])
    phone = jnp.stack([6.0 * round_, 37.0 * round_], axis=1)
    cup = (34.0 + 10.0 * uniform[0] - 8.0 * place) * round_
    radii = jnp.stack([jnp.stack([microphone] * 2, 1), phone, jnp.stack([cup] * 2, 1)])[kind]
    length = jnp.stack([jnp.array(190.0), jnp.array(145.0), 90.0 + 40.0 * uniform[1]])[kind]
    # The directions of the three: away from the mouth and down; along the jaw to the mouth; upright.
    noise_ = 0.3 * jax.random.normal(bell, (3,))
    down = jnp.array([0.0, -1.0, 0.0])
    axes = jnp.stack([down + (0.2 + 0.8 * uniform[2]) * target.out, down + 0.5 * jnp.array([0.0, 0.0, 1.0]), down])
    axis = safe_normalize(axes[kind] + noise_ * jnp.array([2.0, 0.5, 0.5])[kind])
    off = jnp.stack([18.0 + 50.0 * uniform[3] ** 2, 12.0 + 8.0 * uniform[3], 36.0 + 20.0 * uniform[3]])[kind]
    start = jnp.stack([-15.0 * jnp.ones(()), -40.0 - 30 * uniform[2], -10.0 - 30 * uniform[2]])[kind]
    top = target.at + off * target.out + start * axis
    path = top + place[:, None] * length * axis
    square = jnp.where(kind == PHONE, 0.35, 1.0)
    thing = tube(path, radii * jnp.where(empty, 0.0, 1.0), target.out, THING, sides=12, square=square)
    hold = top + axis * length * jnp.array([0.62, 0.6, 0.55])[kind]
    away = safe_normalize(target.out - (target.out @ axis) * axis)
    along = jnp.cross(axis, away) * jnp.where(uniform[1] < 0.5, 1.0, -1.0)
    thickness = jnp.array([16.0, 14.0, 46.0])[kind]
    return thing, _Frame(hold + thickness * away - 20.0 * along, along, jnp.cross(along, away), away)


def _texture(key: jax.Array, skin: Float[Array, " 3"], kind: Array) -> Float[Array, "T T 4"]:
    fine, grille, cloth, colors, chances = jax.random.split(key, 5)
    half = SIZE // 2
    wool, color = jax.vmap(any_color)(jax.random.split(colors))
    bare, black = jax.random.uniform(chances, (2,))
    flesh = skin * (1 + 0.1 * noise(fine, SIZE, 10)[:half, :, None])
    folds = noise(cloth, half, 6)[..., None]
    sleeve = jnp.where(bare < 0.4, skin, wool) * (1 + 0.2 * folds)
    color = color * jnp.where((kind != CUP) & (black < 0.7), 0.25, 1.0)
    row = jnp.linspace(0, 1, half)[:, None, None]
    grey = (0.5 + 0.3 * noise(grille, half, 16)[..., None]) * (0.4 + color)  # a microphone's grille
    thing = jnp.where((kind == MICROPHONE) & (row < 0.28), grey, color * (1 + 0.15 * folds))
    rgb = jnp.concatenate([flesh, jnp.concatenate([sleeve, thing], axis=1)])
    return jnp.concatenate([rgb, jnp.ones((SIZE, SIZE, 1))], axis=-1)

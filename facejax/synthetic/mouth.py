"""The inside of the mouth: a dark bag behind the lips, two rows of teeth and a tongue.

Made for the default head: the bag is attached to the loop of skin vertices at the inner edge of the lips. The upper
teeth keep their place below the nose; the lower teeth and the tongue follow the chin. All stays behind the lips.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.face_model import landmarks
from facejax.synthetic.anchors import lip_loop
from facejax.synthetic.props import Head, Prop
from facejax.synthetic.shapes import Piece, grid, join, noise

SIZE = 64  # texels
# Patches of the texture: left, bottom, right, top.
BAG, UPPER, LOWER, TONGUE = (
    (0.02, 0.02, 0.98, 0.23),
    (0.02, 0.27, 0.98, 0.48),
    (0.02, 0.52, 0.98, 0.73),
    (0.02, 0.77, 0.98, 0.98),
)
TEETH = 12  # visible in a row
BEHIND_LIPS = 2.5  # mm between the lips' inner edge and the teeth
NOSE_BASE, CHIN = 33, 8


def mouth_interior(key: jax.Array, head: Head) -> Prop:
    """Bag, teeth and tongue for one head with its expression; hidden when the lips are closed."""
    shape, paint = jax.random.split(key)
    jitter = jax.random.uniform(shape, (6,), minval=-1.0, maxval=1.0)
    rim = head.vertices[lip_loop()]
    marks = landmarks(head.model, head.vertices)
    upper_lip, lower_lip = rim[0], rim[rim.shape[0] // 2]
    nose, chin = marks[NOSE_BASE], marks[CHIN]
    width = 24.0 + 1.5 * jitter[0]
    # The upper teeth are fixed to the skull; the nose's base is its nearest landmark.
    upper = jnp.stack([0.6 * nose[0], nose[1] - 24.5 + 1.5 * jitter[1], nose[2] - 10.5 + jitter[2]])
    upper = upper.at[2].min(upper_lip[2] - BEHIND_LIPS)
    # The lower teeth are fixed to the jaw, which rotates by about the gap of the lips over its length.
    gap = upper_lip[1] - lower_lip[1] - 11.0
    turn = jnp.clip(gap / 100.0, 0.0, 0.5)
    lower = chin + jnp.stack([0.0 * turn, 38.5 + 1.5 * jitter[3] - 20 * turn**2, 1.0 + 38.5 * turn])
    lower = lower.at[2].min(jnp.minimum(lower_lip[2] - BEHIND_LIPS, upper[2] - 1.5))
    return join(
        [
            _bag(rim),
            _teeth(upper, width, -9.5 + jitter[4], UPPER),
            _teeth(lower, width - 2.5, 8.5 + jitter[4], LOWER),
            _tongue(lower, width, jitter[5]),
        ],
        _texture(paint, _openness(marks)),
        gloss=0.5,
    )


def _openness(marks: Float[Array, "68 3"]) -> Float[Array, ""]:
    """How much light enters: 0 for lips a millimetre apart or less, 1 from some millimetres on."""
    gap = jnp.max(marks[61:64, 1] - marks[65:68, 1][::-1])
    return jnp.clip((gap - 1.0) / 4.0, 0.0, 1.0)


def _bag(rim: Float[Array, "L 3"]) -> Piece:
    """A funnel from the lips' inner edge into the head."""
    centre = jnp.mean(rim, axis=0)
    rows = []
    for scale, back in ((1.0, 0.0), (1.08, 5.0), (1.0, 14.0), (0.75, 28.0), (0.0, 40.0)):
        at = centre + scale * (rim - centre)
        rows.append(at.at[:, 2].set(jnp.minimum(at[:, 2], rim[:, 2]) - back))
    # Farther back the bag is a flat disc that no longer follows the lips' curve.
    rows = jnp.stack(rows)
    level = jnp.min(rows[:, :, 2], axis=1, keepdims=True)
    flat = jnp.array([0.0, 0.2, 0.6, 1.0, 1.0])[:, None]
    return grid(rows.at[:, :, 2].add(flat * (level - rows[:, :, 2])), BAG, closed=True, flip=True)


def _teeth(edge: Float[Array, " 3"], width: Array, height: Array, box: tuple[float, float, float, float]) -> Piece:
    """A row of teeth on a dental arch. `edge` is the middle of the biting edge, the gums lie `height` mm below."""
    side = np.linspace(-1, 1, 21)
    arch = jnp.stack([width * np.sin(1.45 * side), 0 * side, -34.0 * np.abs(np.sin(0.725 * side)) ** 2 * 1.8], axis=1)
    # From the gums (row 0) to the biting edge and around it to the back.
    profile = jnp.array([[-1.0, -1.5], [-0.55, 0.0], [-0.1, 0.0], [0.0, -0.8], [-0.1, -4.0]])
    lift = profile[:, 0] * height
    points = edge + arch[None] + jnp.stack([0 * lift, lift, profile[:, 1]], axis=1)[:, None]
    return grid(points, box, flip=box is LOWER)  # the lower row runs upside down


def _tongue(edge: Float[Array, " 3"], width: Array, raised: Array) -> Piece:
    """A flattened ball behind the lower teeth."""
    polar, around = np.meshgrid(np.linspace(0, np.pi, 7), 2 * np.pi * np.arange(12) / 12, indexing="ij")
    ball = np.stack([np.sin(polar) * np.cos(around), np.cos(polar), -np.sin(polar) * np.sin(around)], axis=-1)
    middle = edge + jnp.stack([0 * raised, -4.0 + 2.5 * raised, -26.0 + 2 * raised])
    return grid(middle + ball * jnp.stack([0.72 * width, 7.5 + 0 * width, 20.0 + 0 * width]), TONGUE, closed=True)


def _texture(key: jax.Array, openness: Float[Array, ""]) -> Float[Array, "T T 4"]:
    bumps, colors = jax.random.split(key)
    shade, white, pink = jax.random.uniform(colors, (3,))
    row = (jnp.arange(SIZE // 4, dtype=float) + 0.5) / (SIZE // 4)  # from the top of each patch
    column = (jnp.arange(SIZE, dtype=float) + 0.5) / SIZE
    flesh = jnp.array([0.55, 0.25, 0.23]) * (0.75 + 0.4 * pink)
    deep = jnp.array([0.16, 0.04, 0.04]) * (0.2 + shade)
    blend = jnp.clip(row / 0.5, 0, 1)[:, None, None]
    bag = jnp.broadcast_to(flesh * (1 - blend) + deep * blend, (SIZE // 4, SIZE, 3))
    enamel = jnp.array([0.90, 0.86, 0.78]) * (0.75 + 0.3 * white)
    teeth = _tooth_row(enamel, flesh, row, column)
    tongue = jnp.broadcast_to(flesh * 1.2, (SIZE // 4, SIZE, 3))
    rgb = jnp.concatenate([tongue, teeth, teeth, bag])  # top row of the texture first
    rgb = rgb * (1 + 0.06 * noise(bumps, SIZE, 16)[..., None]) * (0.3 + 0.7 * openness)
    return jnp.concatenate([rgb, jnp.ones((SIZE, SIZE, 1))], axis=-1)


def _tooth_row(enamel, flesh, row, column) -> Float[Array, "R T 3"]:
    """Gums on top with a scalloped border, dark gaps between the teeth, darker towards the cheeks."""
    phase = jnp.abs((column * TEETH) % 1.0 - 0.5) * 2  # 1 in the gaps
    gums = (row[:, None] < 0.22 + 0.12 * phase**2)[..., None]
    gap = 1 - 0.5 * jnp.exp(-(((1 - phase) / 0.15) ** 2))
    sides = 1 - 0.75 * jnp.abs(2 * column - 1) ** 2.5
    back = jnp.where(row > 0.8, 0.6, 1.0)  # the rear of the biting edge
    shaded = (gap * sides)[None, :, None] * back[:, None, None]
    return jnp.where(gums, flesh * 1.1 * sides[None, :, None], enamel * shaded)

"""Eyeballs drawn at the size of the maps: what a small map and a photograph's few pixels cannot hold.

The colour of the irises is the photograph's (`facejax.skin.eye_colors`), under even light. All else is usual: pupil,
fibres that run to it, the dark rim of the iris, and a white that turns pink towards the corners.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from facejax.face_model import FaceModel
from facejax.face_model.gaze import EYEBALLS, find_eyeballs
from facejax.lighting import linear_to_srgb
from facejax.material import Material
from facejax.skin.eye_colors import EyeColors
from facejax.unwrap import Texels

IRIS, PUPIL = np.deg2rad(21.0), np.deg2rad(7.0)  # of the default head's eyeballs, seen from their centres
SOFT = np.deg2rad(1.2)  # width of their edges
FIBRES = (13, 29, 47, 83)  # around the pupil
BLACK, WHITE, PINK = (0.008, 0.008, 0.009), (0.62, 0.57, 0.53), (0.52, 0.36, 0.32)  # linear
USUAL = (0.075, 0.04, 0.022)  # linear: an iris that is not seen
SHADED = 0.7  # light on an iris behind lids and lashes, over that on the face
BRIGHTEST = 0.3  # linear: an iris
ROUGHNESS, SPECULAR = 0.1, 0.65  # the latter in units of 0.04


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class EyeLayout:
    """Where the texels of a map lie on the eyeballs."""

    angle: Float[Array, "S S"]  # radians from the axis along which the eye looks
    turn: Float[Array, "S S"]  # radians around it
    ball: Bool[Array, "S S"]


def eye_layout(model: FaceModel, texels: Texels) -> EyeLayout:
    """The layout of a model with eyeballs. Raises ValueError for one without."""
    corners = np.asarray(model.faces)[np.asarray(texels.triangle)]
    weights = np.asarray(texels.weights, np.float32)
    vertices = np.asarray(model.mean, np.float32)
    centres = np.asarray(find_eyeballs(model, model.mean).centre)
    nearest = np.where(vertices[:, :1] < 0, centres[0], centres[1])  # the right eye first
    away = np.einsum("hwk,hwkc->hwc", weights, (vertices - nearest)[corners])
    ball = np.einsum("hwk,hwk->hw", weights, np.asarray(model.regions[EYEBALLS])[corners]) > 0.5
    angle = np.arctan2(np.hypot(away[..., 0], away[..., 1]), away[..., 2])
    turn = np.arctan2(away[..., 1], away[..., 0])
    arrays = angle.astype(np.float32), turn.astype(np.float32), ball & np.asarray(texels.covered)
    return EyeLayout(*(jnp.asarray(array) for array in arrays))


def iris_albedo(seen: EyeColors, light: Float[Array, " 3"]) -> Float[Array, " 3"]:
    """The colour of a person's irises under even light, linear: the mean of the eyes, by how much is seen of each.

    The white beside an iris tells the light on it; both are blurred with the lids alike.

    Args:
      seen: the colours in the photograph.
      light: what a white face would look like in the photograph, linear, for eyes whose white is not seen.
    """
    shaded = jnp.exp(seen.white[:, :3]) / jnp.array(WHITE)[None]
    on_eyes = jnp.where(seen.white[:, 3:] > 0, shaded, SHADED * light[None])
    share = seen.iris[:, 3] ** 2
    each = jnp.exp(seen.iris[:, :3]) / jnp.maximum(on_eyes, 1e-3)
    color = share @ each / jnp.maximum(jnp.sum(share), 1e-6)
    return jnp.where(jnp.sum(share) > 0, jnp.clip(color, 0.008, BRIGHTEST), jnp.array(USUAL))


def draw_eyeballs(material: Material, eyes: EyeLayout, iris: Float[Array, " 3"]) -> Material:
    """The material with eyeballs that are drawn; the normal map is flat there.

    Args:
      material: of the layout's size.
      eyes: of `eye_layout`.
      iris: linear colour.
    """
    ball = eyes.ball[..., None]
    color = linear_to_srgb(jnp.clip(_color(eyes, iris), 0.0, 1.0))
    flat = jnp.zeros_like(material.normal).at[..., 2].set(1.0)
    return Material(
        jnp.where(ball, color, material.albedo),
        jnp.where(ball, flat, material.normal),
        jnp.where(eyes.ball, ROUGHNESS, material.roughness),
        jnp.where(eyes.ball, SPECULAR, material.specular),
        material.trust,
    )


def _color(eyes: EyeLayout, iris: Float[Array, " 3"]) -> Float[Array, "S S 3"]:
    """Linear colours."""

    def within(limit: float) -> Float[Array, "S S 1"]:
        return jax.nn.sigmoid(4.0 * (limit - eyes.angle) / SOFT)[..., None]

    out = jnp.clip((eyes.angle - PUPIL) / (IRIS - PUPIL), 0.0, 1.0)  # from the pupil's edge to the white's
    waves = [jnp.cos(count * eyes.turn + 2.4 * count + 3.0 * jnp.sin(3.0 * out + count)) for count in FIBRES]
    fibres = 1.0 + 0.16 * jnp.asarray(sum(waves)) * (1.0 - 0.5 * out)
    collar = 1.0 + 0.35 * jnp.exp(-(((out - 0.25) / 0.15) ** 2))
    rim = 1.0 - 0.65 * jnp.clip((out - 0.72) / 0.28, 0.0, 1.0) ** 2
    coloured = iris[None, None] * (fibres * collar * rim)[..., None]
    corner = jnp.clip((eyes.angle - 0.8) / 0.7, 0.0, 1.0)[..., None]
    front, back, black = (jnp.array(color)[None, None] for color in (WHITE, PINK, BLACK))
    white = front + corner * (back - front)
    color = white + within(IRIS) * (coloured - white)
    return color + within(PUPIL) * (black - color)

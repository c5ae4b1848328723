"""`relight_strip`: a face under five fixed lights, to see at a glance whether its maps hold light of their own."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import PerspectiveCamera, Pose
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.lighting import uniform_light
from facejax.material.brdf import SKIN_WRAP
from facejax.material.draw import render_material
from facejax.material.environment import Environment, make_environment, map_directions
from facejax.material.lamps import Lamps, distant_lamps
from facejax.material.maps import Material
from facejax.programs import jit

DISTANCE = 1200.0  # mm
MARGIN = 1.02  # of the picture's height over the head's
WIDTH = 0.8  # of a picture, over its height
PAPER = (0.16, 0.17, 0.2)
NAMES = ("front", "left", "right", "top", "rim")


class Light(NamedTuple):
    """One light of the strip."""

    light: Float[Array, "*B 9 3"]
    lamps: Lamps
    environment: Environment


def relight_strip(
    model: FaceModel, params: FaceParams, material: Material, *, size: int = 256, shadows: int | None = 512
) -> Float[Array, "S W 3"]:
    """The face, turned to the camera, under five lights side by side: display values in [0, 1].

    They are a soft light from the front; a hard lamp from the viewer's left; a warm lamp from the right with a cool
    fill; a lamp from above; and two rim lights from behind in a room with a window. Identity, expression and gaze are
    the face's own, light and camera are not.

    Args:
      model, params: the face.
      material: maps in the model's UV layout.
      size: height of the pictures, pixels; their width is 0.8 of it.
      shadows: as of `render_material`.
    """
    return _strip(model, params, material, strip_lights(), size=size, shadows=shadows)


@partial(jit, static_argnames=("size", "shadows"))
def _strip(
    model: FaceModel, params: FaceParams, material: Material, lights: Light, *, size: int, shadows: int | None
) -> Float[Array, "S W 3"]:
    width = round(WIDTH * size)
    face = _facing(model, params, size, width)

    def draw(light: Light) -> Float[Array, "H W 3"]:
        return render_material(
            model,
            replace(face, light=light.light),
            material,
            size=(size, width),
            lamps=light.lamps,
            environment=light.environment,
            background=jnp.array(PAPER),
            wrap=jnp.array(SKIN_WRAP),
            shadows=shadows,
        ).color

    return jnp.clip(jnp.concatenate(list(jax.vmap(draw)(lights)), axis=1), 0.0, 1.0)


def _facing(model: FaceModel, params: FaceParams, height: int, width: int) -> FaceParams:
    """The face upright in front of a camera that just shows all of it."""
    vertices = jax.lax.stop_gradient(decode(model, params))
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    middle = (low + high) / 2
    extent = (high - low)[:2] / jnp.array([width, height], vertices.dtype)  # mm per pixel that just fit
    camera = PerspectiveCamera(DISTANCE / (MARGIN * extent.max()), jnp.array([width / 2, height / 2], vertices.dtype))
    away = -jnp.stack([middle[0], middle[1], middle[2] + DISTANCE])
    return replace(params, pose=Pose(jnp.array([1.0, 0.0, 0.0, 0.0], vertices.dtype), away), camera=camera)


def strip_lights() -> Light:
    """The five lights of `relight_strip`, in the order of `NAMES`, as one batch."""
    white, warm, cool, off = [1.0, 1.0, 1.0], [1.25, 0.85, 0.5], [0.75, 0.95, 1.3], [0.0, 0.0, 0.0]
    # Two lamps each: where they are, and their colours.
    lamps = [
        ([[0.0, 0.3, 1.0], [0.0, 0.0, 1.0]], [_times(white, 0.45), off]),
        ([[-1.0, 0.35, 0.45], [0.0, 0.0, 1.0]], [_times(white, 1.15), off]),
        ([[0.9, 0.3, 0.7], [-0.9, 0.0, 0.6]], [_times(warm, 0.9), _times(cool, 0.18)]),
        ([[0.0, 1.0, 0.45], [0.0, 0.0, 1.0]], [_times(white, 1.1), off]),
        ([[-0.75, 0.4, -1.0], [0.75, 0.4, -1.0]], [_times(white, 1.0), _times(cool, 1.0)]),
    ]
    fill = jnp.array([0.38, 0.05, 0.1, 0.07, 0.0])
    soft = jnp.zeros((5, 9, 3)).at[0, 2].set(0.25)  # from the front
    room = make_environment(_room())
    in_room = jnp.array([0.0, 0.0, 0.0, 0.0, 1.0])
    return Light(
        light=soft + fill[:, None, None] * uniform_light()[None],
        lamps=jax.vmap(distant_lamps)(*(jnp.array(part) for part in zip(*lamps, strict=True))),
        environment=jax.tree.map(lambda leaf: in_room.reshape((5,) + (1,) * leaf.ndim) * leaf[None], room),
    )


def _times(color: list[float], factor: float) -> list[float]:
    return [factor * channel for channel in color]


def _room(height: int = 32) -> Float[Array, "H W 3"]:
    """A made-up room: bright above, brown below, a tall window behind the camera on the viewer's left."""
    directions, _ = map_directions(height)
    x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
    up = np.clip(0.5 + y, 0, 1)[..., None]
    walls = up * np.array([0.42, 0.42, 0.44]) + (1 - up) * np.array([0.16, 0.11, 0.08])
    window = (np.abs(np.arctan2(x, z) + 0.8) < 0.35) & (np.abs(y) < 0.6)
    return jnp.asarray(np.where(window[..., None], np.array([2.6, 3.0, 3.5]), walls), jnp.float32)

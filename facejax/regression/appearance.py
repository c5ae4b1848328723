"""Features of a texture map, of the regressor or of a recogniser: how much do the faces of a set differ?"""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import PerspectiveCamera, project, to_camera, transform_camera
from facejax.face_model import FaceModel, FaceParams, neutral_params
from facejax.face_model.surface_landmarks import landmarks
from facejax.fitting import FeatureNetwork
from facejax.images.crop import face_crop
from facejax.regression.regressor import Regressor, apply_regressor, box_crop
from facejax.rendering import render

DISTANCE = 1000.0  # mm
PORTRAIT = 256  # pixels


def frontal_params(model: FaceModel, regressor: Regressor) -> FaceParams:
    """The model's mean face, upright under uniform light, at the size in the picture that the network expects."""
    params = _upright(model)
    points = np.asarray(_points(model, params))
    crop = box_crop(np.concatenate([points.min(axis=0), points.max(axis=0)]), regressor.config)
    scale = regressor.config.encoder.size / regressor.config.side  # the network sees a reduced copy of the crop
    camera = transform_camera(params.camera, jnp.asarray(scale * crop.scale), jnp.asarray(scale * crop.offset))
    return replace(params, camera=camera)


def portrait_params(model: FaceModel) -> FaceParams:
    """The same face in a picture of `PORTRAIT` pixels, with some margin, for a recogniser."""
    params = _upright(model)
    crop = face_crop(np.asarray(_points(model, params)), PORTRAIT)
    return replace(params, camera=transform_camera(params.camera, jnp.asarray(crop.scale), jnp.asarray(crop.offset)))


def _upright(model: FaceModel) -> FaceParams:
    return neutral_params(model, PerspectiveCamera(jnp.asarray(1000.0), jnp.zeros(2)), distance=DISTANCE)


def _points(model: FaceModel, params: FaceParams) -> Float[Array, "68 2"]:
    """The landmarks of the mean face, pixels."""
    return project(params.camera, to_camera(params.pose, landmarks(model, model.mean)))[:, :2]


def draw_frontal(
    model: FaceModel, params: FaceParams, texture: Float[Array, "T T 3"], size: int
) -> Float[Array, "S S 3"]:
    """Draw a face with a texture before grey, in display values.

    Rendered twice as large and averaged, since thin features would alias.

    Args:
      model: the face model.
      params: the face; its camera is in pixels of the picture.
      texture: one map of display values in the model's layout.
      size: side of the picture, pixels.
    """
    double = replace(params, camera=transform_camera(params.camera, jnp.asarray(2.0), jnp.zeros(2)))
    drawn = render(model, double, size=(2 * size, 2 * size), texture=texture, background=jnp.full(3, 0.5)).color
    return jnp.clip(drawn.reshape(size, 2, size, 2, 3).mean(axis=(1, 3)), 0.0, 1.0)


def appearance(
    regressor: Regressor, model: FaceModel, params: FaceParams, texture: Float[Array, "T T 3"]
) -> Float[Array, " H"]:
    """The network's features of a face with the given texture.

    They tell skins, brows and lips apart, not people: this is no face recognition network. Use the same `params` for
    all maps, so that only the textures differ.

    Args:
      regressor: the network.
      model: the face model.
      params: the face, from `frontal_params`.
      texture: one map of display values in the model's layout.

    Returns:
      The feature vector.
    """
    picture = draw_frontal(model, params, texture, regressor.config.encoder.size)
    return apply_regressor(regressor, picture[None]).features[0]


def recognised(
    network: FeatureNetwork, model: FaceModel, params: FaceParams, texture: Float[Array, "T T 3"]
) -> Float[Array, " D"]:
    """A recogniser's features of the mean face with the given texture.

    Args:
      network: the recogniser, from `facejax.fitting.identity_network`.
      model: the face model.
      params: the face, from `portrait_params`.
      texture: one map of display values in the model's layout.

    Returns:
      The feature vector.
    """
    return network.see(draw_frontal(model, params, texture, PORTRAIT), _points(model, params))

"""The regressor's features of a texture map: vectors that measure how much the faces of a set differ."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import PerspectiveCamera, project, to_camera, transform_camera
from facejax.face_model import FaceModel, FaceParams, neutral_params
from facejax.face_model.surface_landmarks import landmarks
from facejax.regression.regressor import Regressor, apply_regressor, box_crop
from facejax.rendering import render

DISTANCE = 1000.0  # mm


def frontal_params(model: FaceModel, regressor: Regressor) -> FaceParams:
    """The model's mean face, upright under uniform light, at the size in the picture that the network expects."""
    params = neutral_params(model, PerspectiveCamera(jnp.asarray(1000.0), jnp.zeros(2)), distance=DISTANCE)
    points = np.asarray(project(params.camera, to_camera(params.pose, landmarks(model, model.mean))))[:, :2]
    crop = box_crop(np.concatenate([points.min(axis=0), points.max(axis=0)]), regressor.config)
    scale = regressor.config.encoder.size / regressor.config.side  # the network sees a reduced copy of the crop
    camera = transform_camera(params.camera, jnp.asarray(scale * crop.scale), jnp.asarray(scale * crop.offset))
    return replace(params, camera=camera)


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
    size = regressor.config.encoder.size
    # Rendered twice as large and averaged, since thin features would alias at the network's own size.
    double = replace(params, camera=transform_camera(params.camera, jnp.asarray(2.0), jnp.zeros(2)))
    drawn = render(model, double, size=(2 * size, 2 * size), texture=texture, background=jnp.full(3, 0.5)).color
    small = drawn.reshape(size, 2, size, 2, 3).mean(axis=(1, 3))
    return apply_regressor(regressor, jnp.clip(small, 0.0, 1.0)[None]).features[0]

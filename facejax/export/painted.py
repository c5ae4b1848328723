"""What a fit with a painter leaves: its picture and, in place of an albedo, the photograph in the UV layout."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.camera import transform_camera
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting import Painter
from facejax.images.crop import Crop
from facejax.programs import jit
from facejax.unwrap import Texels, cut_out, face_layout, unwrap_view

TEXTURE = 512  # texels along a side


def unwrapped_photo(
    model: FaceModel, params: FaceParams, photo: Float[np.ndarray, "H W 3"], observed: Float[np.ndarray, "68 2"]
) -> Float[np.ndarray, "T T 3"]:
    """Display values as they were photographed, light and all; the mean of what is seen where nothing is."""
    bare = replace(model, albedo=None)
    layout = face_layout(bare, TEXTURE)
    cut = cut_out(photo, observed, layout)
    camera = transform_camera(params.camera, jnp.asarray(cut.scale), jnp.asarray(cut.offset))
    params = replace(params, camera=camera, albedo=np.zeros(0, np.float32))
    color, valid = jax.device_get(_unwrap(bare, params, jnp.asarray(cut.image), jnp.asarray(cut.inside), layout.texels))
    mean = (color * valid[..., None]).sum(axis=(0, 1)) / max(float(valid.sum()), 1.0)
    return np.clip(mean + valid[..., None] * (color - mean), 0.0, 1.0)


def painted_picture(
    model: FaceModel, params: FaceParams, crop: Crop, size: int
) -> Float[np.ndarray, "{size} {size} 3"]:
    """The painter's picture of a crop, display values; the camera is in the photograph's pixels."""
    camera = transform_camera(params.camera, jnp.asarray(crop.scale), jnp.asarray(crop.offset))
    params = jax.tree.map(jnp.asarray, replace(params, camera=camera))
    return np.clip(np.asarray(_paint(model, params, size)), 0.0, 1.0)


@partial(jit, static_argnums=2)
def _paint(model: FaceModel, params: FaceParams, size: int) -> Float[Array, "S S 3"]:
    assert isinstance(model.albedo, Painter)
    return model.albedo.draw(model, params, size=(size, size)).color


@jit
def _unwrap(
    model: FaceModel, params: FaceParams, image: Float[Array, "P P 3"], inside: Float[Array, "P P"], texels: Texels
) -> tuple[Float[Array, "T T 3"], Float[Array, "T T"]]:
    view = unwrap_view(model, params, image, texels, parsing=inside)
    return view.color, view.valid

"""How evenly lit a photograph is in the UV layout of the face that was fitted to it, beside the fit's albedo."""

from functools import cache

import jax
import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float

from facejax.texture import brightness_symmetry_error
from facejax.texture.metrics import KERNEL
from facejax.unwrap.masks import scaled_kernel

ENOUGH = 0.1  # share of the face's texels that must be seen on both sides for a BS error


def brightness_errors(
    photo: Float[np.ndarray, "T T 3"],
    albedo: Float[np.ndarray, "T T 3"],
    seen: Bool[np.ndarray, "T T"],
    face: Bool[np.ndarray, "T T"],
) -> tuple[float, float] | None:
    """BS errors of the unwrapped photograph and of the albedo map, both over the face's texels seen on both sides.

    What is not seen takes the nearest seen texel's colour in either map, so that the blur is the same for both. None
    where too little of the face is seen on both sides.
    """
    both = seen & seen[:, ::-1] & face & face[:, ::-1]
    if both.sum() < ENOUGH * face.sum():
        return None
    rows, columns = np.asarray(scipy.ndimage.distance_transform_edt(~both, return_distances=False, return_indices=True))
    maps = (np.clip(one, 0, 1)[rows, columns] for one in (photo, albedo))
    error = _error(scaled_kernel(KERNEL, len(albedo)))
    unwrapped, fitted = (float(error(one, both)) for one in maps)
    return unwrapped, fitted


@cache
def _error(kernel: int):
    return jax.jit(lambda texture, where: brightness_symmetry_error(texture, kernel=kernel, where=where))

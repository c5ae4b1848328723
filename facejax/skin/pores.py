"""Grain of skin that no photograph shows: pores and freckles at their true scale, on any model's layout.

A Gaussian field with the power spectrum of the CC0 skins that the default head's albedo comes from
(`experiments/measure_grain.py`). Those show about 0.4 mm per pixel; what is finer continues their power law. The field
is laid onto the mean head from the three axes, weighted by the normal, so it has no seam and is not stretched where the
layout is.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.face_model import FaceModel
from facejax.mesh import points_on_faces, safe_normalize, vertex_normals
from facejax.programs import jit
from facejax.unwrap.photos import Layout
from facejax.unwrap.texels import Texels

BAND = (0.4, 1.4)  # cycles per mm between which the skins were measured
CONTRAST = 0.020  # standard deviation of log luminance in that band
SLOPE = 3.3  # power per area of the spectrum falls with the frequency to this power
COARSEST = 0.2  # cycles per mm: nothing slower, which maps of 256 texels hold
SIDE = 512  # texels of the tile, which repeats: 82 mm on a map of 2048
SHARPNESS = 4  # power of the normal's components with which the axes are weighted
AXES = ((1, 2), (2, 0), (0, 1))  # the plane seen along each axis
SHIFT = 0.37  # of a tile between opposite sides


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Grain:
    """What the skin maps of all faces of one layout share at one size."""

    pores: Float[Array, "S S"]  # logarithm of what the luminance is multiplied with; 0 where there is no skin
    pitch: Float[Array, "S S 2"]  # mm from texel to texel along +u and +v on the mean head; 0 off the layout


def skin_grain(model: FaceModel, layout: Layout, *, key: Array) -> Grain:
    """The grain of a model's layout. Host code, once for all faces.

    Args:
      model: the face model.
      layout: of the maps, from `face_layout`.
      key: of the random field.
    """
    pitch = texel_pitch(model, layout.texels)
    face = np.asarray(layout.regions.face) > 0.5
    step = float(np.median(np.asarray(pitch)[face]))
    tile = pore_tile(step, key=key)
    pores = _lay(model, layout.texels, tile, jnp.asarray(step, tile.dtype))
    return Grain(pores * layout.regions.skin, pitch)


def pore_tile(step: float, *, side: int = SIDE, key: Array) -> Float[Array, "P P"]:
    """A tile of grain that can be repeated: log luminance around 0, with the measured spectrum.

    Args:
      step: mm from texel to texel; what the tile cannot resolve is left out.
      side: texels.
      key: of the random field.

    Raises ValueError for a step or side that is not positive.
    """
    if not step > 0 or side < 1:
        raise ValueError(f"a tile of {side} texels, {step} mm apart: both must be more than 0")
    each = np.fft.fftfreq(side, step)
    frequency = np.hypot(each[:, None], each[None, :])
    inside = (frequency >= COARSEST) & (frequency <= 0.5 / step)
    power = np.where(inside, power_density(np.where(inside, frequency, 1.0)), 0.0)
    shape = np.sqrt(power) / step  # the discrete transform of white noise has power side^2, of density step^2
    noise = jax.random.normal(key, (side, side))
    return jnp.real(jnp.fft.ifft2(jnp.fft.fft2(noise) * jnp.asarray(shape, jnp.complex64)))


def power_density(frequency: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    """Power of log luminance per area of the spectrum, mm^2, at frequencies in cycles per mm: a power law.

    Its integral over the ring of `BAND` is `CONTRAST` squared.
    """
    low, high = BAND
    rest = 2.0 - SLOPE
    ring = np.log(high / low) if abs(rest) < 1e-6 else (high**rest - low**rest) / rest
    return CONTRAST**2 / (2 * np.pi * ring) * frequency**-SLOPE


@jit
def texel_pitch(model: FaceModel, texels: Texels) -> Float[Array, "S S 2"]:
    """mm on the mean head from texel to texel along +u and along +v; 0 off the layout."""
    a, b, c = (model.mean[model.faces[:, k]] for k in range(3))
    ua, ub, uc = (model.uv[model.topology.uv_faces[:, k]] for k in range(3))
    (bu, bv), (cu, cv) = (ub - ua).T[..., None], (uc - ua).T[..., None]
    area = bu * cv - bv * cu
    scale = jnp.where(area == 0, 0.0, 1.0 / jnp.where(area == 0, 1.0, area)) / texels.triangle.shape[0]
    along_u, along_v = (b - a) * cv - (c - a) * bv, (c - a) * bu - (b - a) * cu
    length = jnp.stack([jnp.linalg.norm(way * scale, axis=1) for way in (along_u, along_v)], axis=1)
    return jnp.where(texels.covered[..., None], length[texels.triangle], 0.0)


@jit
def _lay(model: FaceModel, texels: Texels, tile: Float[Array, "P P"], step: Float[Array, ""]) -> Float[Array, "S S"]:
    """The tile on the mean head, row by row of the map."""
    table = jnp.concatenate([model.mean, vertex_normals(model.mean, model.faces)], axis=1)

    def row(part: Texels) -> Float[Array, " S"]:
        place = points_on_faces(table, model.faces, part.triangle, part.weights)
        normal = safe_normalize(place[:, 3:])
        weights = jnp.abs(normal) ** SHARPNESS
        weights = weights / jnp.maximum(jnp.linalg.norm(weights, axis=1, keepdims=True), 1e-9)  # keeps the contrast
        total = jnp.zeros_like(normal[:, 0])
        for axis, (first, second) in enumerate(AXES):
            moved = SHIFT * len(tile) * (axis + jnp.sign(normal[:, axis]))
            at = place[:, jnp.array([first, second])] / step + moved[:, None]
            total = total + weights[:, axis] * _repeat(tile, at)
        return jnp.where(part.covered, total, 0.0)

    return jax.lax.map(row, texels)


def _repeat(tile: Float[Array, "P P"], at: Float[Array, "N 2"]) -> Float[Array, " N"]:
    """Bilinear lookup in a repeated tile, at places in texels."""
    low = jnp.floor(at)
    (fx, fy), side = (at - low).T, len(tile)
    x, y = (low.astype(jnp.int32) % side).T
    right, below = (x + 1) % side, (y + 1) % side
    top = tile[y, x] * (1 - fx) + tile[y, right] * fx
    return top * (1 - fy) + (tile[below, x] * (1 - fx) + tile[below, right] * fx) * fy

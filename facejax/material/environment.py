"""Light from everywhere: a picture of the surroundings, as harmonics for the diffuse layer and blurred for highlights.

The picture is a latitude-longitude map of linear RGB in camera space. Its middle is what the camera looks at (-z), its
quarter is to the left (-x), row 0 looks up (+y). So a face that looks at the camera is lit by what is near the left and
right border.
"""

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.lighting import sh_basis, uniform_light
from facejax.material.brdf import LEAST_ROUGHNESS, ggx_distribution
from facejax.rendering.texture import sample_texture

LEVELS = 6  # of roughness, evenly from 0 to 1


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Environment:
    """What surrounds the face. Made by `make_environment`; both leaves are linear in its map."""

    harmonics: Float[Array, "*B 9 3"]  # see `facejax.lighting`
    levels: Float[Array, "*B K H W 3"]  # the map seen in mirrors of roughness 0 to 1, evenly spaced


def make_environment(radiance: Float[Array, "H W 3"], *, levels: int = LEVELS, height: int = 32) -> Environment:
    """The environment that a latitude-longitude map shows.

    A white diffuse surface in uniform light of 1 has the display value 1. The map is averaged to `height` x 2 `height`
    for the levels, which are blurred by GGX seen along the normal: the first factor of the split sum. Karis, "Real
    shading in Unreal Engine 4", SIGGRAPH 2013 course.

    Args:
      radiance: linear RGB, twice as wide as high; see above for its directions.
      levels: of roughness.
      height: of the blurred maps, texels. 32 is enough for skin.

    Raises ValueError for another shape.
    """
    rows, columns = radiance.shape[:2]
    if columns != 2 * rows or rows < 2:
        raise ValueError(f"an environment map is twice as wide as high; this one is {columns} x {rows} pixels")
    small = jax.image.resize(radiance, (height, 2 * height, 3), "linear", antialias=True) if rows > height else radiance
    blurred = [small, *(prefilter(small, float(r)) for r in np.linspace(0, 1, levels)[1:])]
    return Environment(project_harmonics(radiance), jnp.stack(blurred))


def uniform_environment(intensity: float = 1.0, *, levels: int = LEVELS) -> Environment:
    """White light from everywhere."""
    return Environment(uniform_light(intensity), jnp.full((levels, 2, 4, 3), intensity))


def map_directions(height: int) -> tuple[Float[np.ndarray, "H W 3"], Float[np.ndarray, " H"]]:
    """The direction of each pixel of a map of `height` x 2 `height`, and the solid angle of the pixels of each row."""
    edges = np.linspace(0.0, np.pi, height + 1)
    polar = (edges[1:] + edges[:-1]) / 2
    around = (np.arange(2 * height) + 0.5) / (2 * height) * 2 * np.pi - np.pi
    sine = np.sin(polar)[:, None]
    x, z = sine * np.sin(around), -sine * np.cos(around)
    y = np.broadcast_to(np.cos(polar)[:, None], x.shape)
    return np.stack([x, y, z], axis=-1), (np.cos(edges[:-1]) - np.cos(edges[1:])) * np.pi / height


def project_harmonics(radiance: Float[Array, "H W 3"]) -> Float[Array, "9 3"]:
    """The nine coefficients with which `facejax.lighting.shade` gives the map's irradiance over pi.

    Ramamoorthi and Hanrahan, "An efficient representation for irradiance environment maps", SIGGRAPH 2001.
    """
    directions, solid = map_directions(radiance.shape[0])
    basis = sh_basis(jnp.asarray(directions, radiance.dtype))
    bare = basis / jnp.asarray(np.repeat([1.0, 2 / 3, 1 / 4], [1, 3, 5]), radiance.dtype).reshape(1, 1, 9)
    return jnp.einsum("hwk,hwc,h->kc", bare, radiance, jnp.asarray(solid, radiance.dtype))


def prefilter(radiance: Float[Array, "H W 3"], roughness: float) -> Float[Array, "H W 3"]:
    """The map averaged over GGX's lobe around each direction, with the normal and the view along that direction."""
    height, width, _ = radiance.shape
    directions, solid = map_directions(height)
    directions = jnp.asarray(directions, radiance.dtype)
    flat = directions.reshape(-1, 3)
    area = jnp.asarray(np.repeat(solid, width), radiance.dtype)
    alpha = jnp.asarray(max(roughness, LEAST_ROUGHNESS) ** 2, radiance.dtype)

    def row(around: Float[Array, "W 3"]) -> Float[Array, "W 3"]:
        cosine = around @ flat.T
        n_h = jnp.sqrt(jnp.clip((1 + cosine) / 2, 0.0, 1.0))
        weight = ggx_distribution(n_h, alpha) * jnp.maximum(cosine, 0.0) * area[None]
        return weight @ radiance.reshape(-1, 3) / weight.sum(axis=1, keepdims=True)

    return jax.lax.map(row, directions)


def look_up(radiance: Float[Array, "H W C"], direction: Float[Array, "*N 3"]) -> Float[Array, "*N C"]:
    """The map in a unit direction, bilinear, across its left and right border too."""
    x, y, z = jnp.unstack(direction, axis=-1)
    pole = x * x + z * z < 1e-12
    around = jnp.arctan2(jnp.where(pole, 0.0, x), jnp.where(pole, 1.0, -z))
    # arccos(y), with a finite gradient at the poles
    polar = jnp.arctan2(jnp.sqrt(jnp.where(pole, 1e-12, x * x + z * z)), y)
    width = radiance.shape[1]
    padded = jnp.concatenate([radiance[:, -1:], radiance, radiance[:, :1]], axis=1)
    u = ((around / (2 * math.pi) + 0.5) * width + 1) / (width + 2)
    return sample_texture(padded, jnp.stack([u, 1 - polar / math.pi], axis=-1))


def reflection(
    environment: Environment, mirrored: Float[Array, "*N 3"], roughness: Float[Array, "*N"]
) -> Float[Array, "*N 3"]:
    """Radiance around the mirror direction, averaged over GGX's lobe: linear between the levels of roughness.

    Args:
      environment: of one face.
      mirrored: the view direction mirrored at the normal, unit, camera space.
      roughness: of each point.
    """
    count, height, width, _ = environment.levels.shape
    every = jnp.moveaxis(environment.levels, 0, 2).reshape(height, width, count * 3)
    seen = look_up(every, mirrored).reshape(*roughness.shape, count, 3)
    level = jnp.clip(roughness, 0.0, 1.0) * (count - 1)
    steps = level[..., None] - jnp.arange(count, dtype=level.dtype).reshape((1,) * level.ndim + (count,))
    share = jnp.maximum(1 - jnp.abs(steps), 0.0)
    return jnp.sum(share[..., None] * seen, axis=-2)

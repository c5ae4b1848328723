"""How a skin reflects light: a GGX highlight over a diffuse layer. Pure functions of cosines, in linear light.

`n_l`, `n_v` and `n_h` are the cosines between the normal and the directions to the lamp, to the camera and halfway
between the two; `v_h` is that between the camera and halfway. A BRDF here is per steradian: a white diffuse surface has
1 / pi.
"""

import functools
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.lighting import sh_basis
from facejax.rendering.texture import sample_texture

NORMAL_REFLECTANCE = 0.04  # of skin at normal incidence; an index of refraction of 1.5
LEAST_ROUGHNESS = 0.05  # smoother surfaces are drawn with this: their highlights are too narrow for float32
NODES = 33  # of the tables, from 0 to 1

# How far light travels in skin, mm: red, green, blue. Jensen, Marschner, Levoy and Hanrahan, "A practical model for
# subsurface light transport", SIGGRAPH 2001, "Skin1".
MEAN_FREE_PATH = (3.67, 1.37, 0.68)
SKIN_WRAP = tuple(path / 15.0 for path in MEAN_FREE_PATH)  # on a surface with a radius of 15 mm, about that of a nose


# --- the highlight ----------------------------------------------------------------------------------------------------


def ggx_alpha(roughness: Float[Array, "..."]) -> Float[Array, "..."]:
    """GGX's alpha: the square of the roughness of glTF 2.0, from Burley, "Physically-based shading at Disney", 2012."""
    return jnp.maximum(roughness, LEAST_ROUGHNESS) ** 2


def ggx_distribution(n_h: Float[Array, "..."], alpha: Float[Array, "..."]) -> Float[Array, "..."]:
    """Density of the microfacets' normals. Its integral times `n_h` over the hemisphere is 1.

    Walter et al., "Microfacet models for refraction through rough surfaces", EGSR 2007, eq. 33.
    """
    square = alpha * alpha
    spread = 1 - n_h * n_h + square * n_h * n_h
    return square / (math.pi * spread * spread)


def smith_visibility(
    n_l: Float[Array, "..."], n_v: Float[Array, "..."], alpha: Float[Array, "..."]
) -> Float[Array, "..."]:
    """Height-correlated masking and shadowing of GGX, divided by 4 n_l n_v.

    Heitz, "Understanding the masking-shadowing function in microfacet-based BRDFs", JCGT 2014, eq. 99.
    """
    square = alpha * alpha
    seen = n_l * jnp.sqrt(n_v * n_v * (1 - square) + square)
    reached = n_v * jnp.sqrt(n_l * n_l * (1 - square) + square)
    return 0.5 / (seen + reached)


def schlick_fresnel(v_h: Float[Array, "..."], specular: Float[Array, "..."]) -> Float[Array, "..."]:
    """Share of the light that is reflected: 0.04 at normal incidence, 1 at grazing, all times `specular`.

    Schlick, "An inexpensive BRDF model for physically-based rendering", Eurographics 1994; the factor as in
    KHR_materials_specular.
    """
    return specular * (NORMAL_REFLECTANCE + (1 - NORMAL_REFLECTANCE) * (1 - v_h) ** 5)


def ggx_brdf(
    n_l: Float[Array, "..."],
    n_v: Float[Array, "..."],
    n_h: Float[Array, "..."],
    v_h: Float[Array, "..."],
    roughness: Float[Array, "..."],
    specular: Float[Array, "..."],
) -> Float[Array, "..."]:
    """The highlight's BRDF: distribution, visibility and Fresnel multiplied. The cosines must be positive.

    Cook and Torrance, "A reflectance model for computer graphics", SIGGRAPH 1981.
    """
    alpha = ggx_alpha(roughness)
    return ggx_distribution(n_h, alpha) * smith_visibility(n_l, n_v, alpha) * schlick_fresnel(v_h, specular)


def blinn_phong_brdf(n_h: Float[Array, "..."], exponent: Float[Array, "..."]) -> Float[Array, "..."]:
    """Blinn's highlight, the cheaper lobe that AvatarMe++ renders skin with, normalised.

    Seen at normal incidence it reflects exactly as much light as it receives, whatever the exponent. Blinn, "Models of
    light reflection for computer synthesized pictures", SIGGRAPH 1977; Lattas et al., "AvatarMe++", PAMI 2021.
    """
    level = (exponent + 2) * (exponent + 4) / (8 * math.pi * (2 ** (-exponent / 2) + exponent))
    return level * jnp.maximum(n_h, 0.0) ** exponent


def blinn_phong_exponent(alpha: Float[Array, "..."]) -> Float[Array, "..."]:
    """The exponent whose lobe is as wide as GGX's with `alpha`: 2 / alpha^2 - 2 (Walter et al. 2007, section 5.2)."""
    return 2 / (alpha * alpha) - 2


# --- the share of light that the highlight takes from the diffuse layer -----------------------------------------------


class _Tables(NamedTuple):
    directional: Float[np.ndarray, "R M 2"]  # rows: roughness, columns: n_v; what Schlick's 1 - c and c integrate to
    mean: Float[np.ndarray, "R 2"]  # its cosine-weighted mean over n_v


@functools.cache
def _tables() -> _Tables:
    """The highlight's integral over all lamps, on NODES x NODES nodes from 0 to 1, by importance sampling of GGX."""
    nodes = np.linspace(0.0, 1.0, NODES)
    n_v = np.maximum(nodes, 1e-3)[None, :, None, None]
    alpha = np.maximum(nodes, LEAST_ROUGHNESS)[:, None, None, None] ** 2
    share = ((np.arange(64) + 0.5) / 64)[:, None]
    turn = np.cos(np.pi * (np.arange(24) + 0.5) / 24)
    n_h = np.sqrt((1 - share) / (1 + (alpha**2 - 1) * share))
    v_h = n_v * n_h + np.sqrt(1 - n_v**2) * np.sqrt(1 - n_h**2) * turn
    n_l = 2 * v_h * n_h - n_v
    lit = (n_l > 0) & (v_h > 0)
    n_l, v_h = np.where(lit, n_l, 1.0), np.where(lit, v_h, 1.0)
    visibility = 0.5 / (
        n_l * np.sqrt(n_v**2 * (1 - alpha**2) + alpha**2) + n_v * np.sqrt(n_l**2 * (1 - alpha**2) + alpha**2)
    )
    weight = np.where(lit, 4 * visibility * n_l * v_h / n_h, 0.0)
    grazing = (1 - v_h) ** 5
    both = np.stack([(weight * (1 - grazing)).mean((2, 3)), (weight * grazing).mean((2, 3))], axis=-1)
    share = nodes * np.where(nodes < 1, 1.0, 0.5)  # of the cosine-weighted hemisphere, by the trapezoidal rule
    mean = np.einsum("m,rmk->rk", share / share.sum(), both)
    return _Tables(both.astype(np.float32), mean.astype(np.float32))


def directional_albedo(
    n_v: Float[Array, "..."], roughness: Float[Array, "..."], specular: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The share of uniform light that the highlight sends to the camera: the second factor of the split sum.

    A table, interpolated. Karis, "Real shading in Unreal Engine 4", SIGGRAPH 2013 course.
    """
    n_v, roughness = jnp.broadcast_arrays(n_v, roughness)
    place = [(jnp.clip(x, 0.0, 1.0) * (NODES - 1) + 0.5) / NODES for x in (n_v, 1 - roughness)]
    scale, bias = jnp.unstack(
        sample_texture(jnp.asarray(_tables().directional, n_v.dtype), jnp.stack(place, axis=-1)), axis=-1
    )
    return specular * (NORMAL_REFLECTANCE * scale + bias)


def mean_albedo(roughness: Float[Array, "..."], specular: Float[Array, "..."]) -> Float[Array, "..."]:
    """The cosine-weighted mean of `directional_albedo` over the hemisphere."""
    nodes = jnp.linspace(0.0, 1.0, NODES, dtype=roughness.dtype)
    scale, bias = (jnp.interp(roughness, nodes, jnp.asarray(row, roughness.dtype)) for row in _tables().mean.T)
    return specular * (NORMAL_REFLECTANCE * scale + bias)


def entering(
    n_l: Float[Array, "..."], roughness: Float[Array, "..."], specular: Float[Array, "..."]
) -> Float[Array, "..."]:
    """The share of a lamp's light that passes the surface, over the mean share of all directions.

    The diffuse BRDF is `entering(n_l) * (1 - directional_albedo(n_v)) / pi`: reciprocal, and together with the
    highlight it neither makes nor loses energy. Kelemen and Szirmay-Kalos, "A microfacet based coupled specular-matte
    BRDF model with importance sampling", Eurographics 2001.
    """
    return (1 - directional_albedo(n_l, roughness, specular)) / (1 - mean_albedo(roughness, specular))


# --- light that travels below the surface -----------------------------------------------------------------------------


def wrapped_cosine(n_l: Float[Array, "..."], wrap: float | Float[Array, "..."]) -> Float[Array, "..."]:
    """Diffuse light that reaches around the terminator: max(0, n_l + wrap) / (1 + wrap)^2.

    A cheap approximation of subsurface scattering: the mean over all normals is that of max(0, n_l). `wrap` is in [0,
    1], about the distance that light travels in the skin over the radius of the surface; see `SKIN_WRAP`. Green,
    "Real-time approximations to subsurface scattering", GPU Gems, 2004; normalised as in Sloan et al., "Wrap shading",
    Journal of Graphics, GPU, and Game Tools 2011.
    """
    return jnp.maximum(n_l + wrap, 0.0) / (1 + wrap) ** 2


def wrapped_light(light: Float[Array, "9 3"], wrap: Float[Array, " 3"]) -> Float[Array, "9 3"]:
    """Harmonics that shade as `light` does through `wrapped_cosine`, which scales the bands by 1, 1 - w/2, (1 - w)^2.

    Args:
      light: spherical harmonics, see `facejax.lighting`.
      wrap: of red, green and blue.
    """
    bands = jnp.stack([jnp.ones_like(wrap), 1 - wrap / 2, (1 - wrap) ** 2])
    return light * jnp.repeat(bands, np.array([1, 3, 5]), axis=0, total_repeat_length=9)


# --- soft reflections of spherical harmonics --------------------------------------------------------------------------


@functools.cache
def _lobe_bands() -> Float[np.ndarray, "R 3"]:
    """How much of each band of radiance is left after the blur by GGX's lobe around the mirror direction."""
    node, weight = np.polynomial.legendre.leggauss(512)
    angle = np.pi / 4 * (node + 1)  # between the lamp and the mirror direction, 0 to 90 degrees
    cosine = np.cos(angle)
    alpha = np.maximum(np.linspace(0.0, 1.0, NODES), LEAST_ROUGHNESS)[:, None] ** 2
    n_h = np.cos(angle / 2)
    lobe = (alpha / (1 - n_h**2 + alpha**2 * n_h**2)) ** 2 * cosine * np.sin(angle) * weight
    legendre = np.stack([np.ones_like(cosine), cosine, 1.5 * cosine**2 - 0.5])
    return (lobe @ legendre.T / lobe.sum(axis=1, keepdims=True)).astype(np.float32)


def harmonics_reflection(
    light: Float[Array, "9 3"], mirrored: Float[Array, "*N 3"], roughness: Float[Array, "*N"]
) -> Float[Array, "*N 3"]:
    """Radiance of nine harmonics around the mirror direction, averaged over GGX's lobe; never negative.

    Nine coefficients are too few for sharp reflections. They do for skin, whose lobe is wide.

    Args:
      light: spherical harmonics, see `facejax.lighting`.
      mirrored: the view direction mirrored at the normal, unit, camera space.
      roughness: of each point.
    """
    return jnp.maximum(reflection_basis(mirrored, roughness) @ light, 0.0)


def reflection_basis(mirrored: Float[Array, "*N 3"], roughness: Float[Array, "*N"]) -> Float[Array, "*N 9"]:
    """What each harmonic of the light adds to the radiance around the mirror direction, averaged over GGX's lobe.

    Args:
      mirrored, roughness: as for `harmonics_reflection`.
    """
    nodes = jnp.linspace(0.0, 1.0, NODES, dtype=roughness.dtype)
    bands = [
        jnp.interp(roughness, nodes, jnp.asarray(_lobe_bands()[:, band], roughness.dtype)) / cosine_factor
        for band, cosine_factor in enumerate((1.0, 2 / 3, 1 / 4))
    ]
    return sh_basis(mirrored) * jnp.stack([bands[band] for band in (0, 1, 1, 1, 2, 2, 2, 2, 2)], axis=-1)

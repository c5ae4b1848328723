"""`Material`: the maps of one skin, and `PhotoLayer`: the photograph that they were found from."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Material:
    """The maps of a skin in the UV layout of its model, row 0 on top. Leaves may carry leading batch axes.

    They mean what the metallic-roughness material of glTF 2.0 means: `albedo` is its base colour, `normal` its normal
    texture (x along +u, y along +v, z out of the surface), `roughness` the square root of GGX's alpha, and `specular`
    the factor of KHR_materials_specular, which scales the reflectance of 0.04 at normal incidence. Metalness is 0.
    """

    albedo: Float[Array, "*B S S 3"]  # display values: the skin under even light
    normal: Float[Array, "*B S S 3"]  # unit, in the tangent space of the texture layout
    roughness: Float[Array, "*B S S"]  # 0..1, linear
    specular: Float[Array, "*B S S"]  # 0..1, linear
    trust: Float[Array, "*B S S"]  # 1 where the photograph shows what the albedo says, 0 where it is a guess


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PhotoLayer:
    """The photograph in the same layout, with its own light, highlights and whatever covers the skin."""

    color: Float[Array, "*B S S 3"]  # display values; 0 where the face is not seen
    shown: Float[Array, "*B S S"]  # 1 where the photograph shows the person's own surface

"""Props: textured meshes that move with the head (hair, beard, glasses, hands, clothes)."""

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float, Int

from facejax.face_model import FaceModel


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Head:
    """The head that a prop is made for: one person's surface in model space."""

    model: FaceModel
    vertices: Float[Array, "V 3"]  # mm, with identity and expression
    normals: Float[Array, "V 3"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Prop:
    """A mesh with an RGBA texture. Array shapes and `faces` do not depend on the random key."""

    vertices: Float[Array, "N 3"]  # model space, mm
    faces: Int[Array, "M 3"]  # counter-clockwise seen from outside; back faces are not drawn
    uv: Float[Array, "N 2"]  # u right, v up
    texture: Float[Array, "T T 4"]  # display values and opacity, row 0 on top
    gloss: Float[Array, ""]  # strength of the highlight, 0 (matt) to 1 (wet)

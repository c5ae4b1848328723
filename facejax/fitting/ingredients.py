"""What a recipe's stages refer to by name: appearances, networks to compare pictures with, and networks that find
points of the surface."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from jaxtyping import Array, Float

from facejax.appearance import Appearance, own_appearance
from facejax.face_model import FaceModel
from facejax.fitting.surface_points import Seer

LINEAR = "linear"  # the face model's own albedo


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FeatureNetwork:
    """A network whose features compare a rendered face with a photograph. A pytree: its weights are arguments of the
    compiled fit. The functions must be hashable and the same object from call to call (module-level functions are)."""

    weights: Any
    apply: Callable[[Any, Float[Array, "S S 3"], Float[Array, "68 2"]], Any] = field(metadata={"static": True})
    """(weights, display values, landmarks in pixels) -> features of one picture"""
    compare: Callable[[Any, Any, Float[Array, "S S"]], Float[Array, ""]] = field(metadata={"static": True})
    """(features of the render, of the photograph, mask) -> distance"""
    name: str = field(metadata={"static": True})  # for the summary

    def see(self, image: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> Any:
        """Features of one picture; a program that uses the network several times traces it once."""
        return jax.jit(self.apply)(self.weights, image, landmarks)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Ingredients:
    """Appearances by the names that stages use, and networks by their role ("perceptual", "normals", ...).

    A network in the role "identity" measures the finished faces; one in the role "iris" sees where their eyes look
    (its features are `facejax.fitting.gaze.SeenEyes`). `seers` find points of the surface in the crop, by any name; the
    term "surface_points" compares all of them.

    `facejax.ingredients.ingredients_for` makes those of the package's recipes.
    """

    appearances: Mapping[str, Appearance] = field(default_factory=dict)
    networks: Mapping[str, FeatureNetwork] = field(default_factory=dict)
    seers: Mapping[str, Seer] = field(default_factory=dict)

    def appearance(self, name: str, model: FaceModel) -> Appearance:
        """The appearance of that name; "linear" is the face model's own unless another is given."""
        if name == LINEAR and name not in self.appearances:
            return own_appearance(model)
        if name not in self.appearances:
            known = sorted({LINEAR, *self.appearances})
            raise ValueError(
                f"there is no appearance {name!r}: known are {known}; pass "
                f"Ingredients(appearances={{{name!r}: ...}}), or register_appearance"
            )
        return self.appearances[name]

    def side(self) -> int | None:
        """Pixels along a side of the pictures that must be fitted at that size; None: any size will do."""
        return next((one.side for one in self.appearances.values() if one.side is not None), None)


NO_INGREDIENTS = Ingredients()

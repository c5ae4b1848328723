"""What a fit may draw on besides the face model: other albedo models, and networks to compare pictures with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from jaxtyping import Array, Float

from facejax.face_model import AlbedoModel, FaceModel

LINEAR = "linear"  # the face model's own albedo


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FeatureNetwork:
    """A network through which a rendered face and a photograph are compared. A pytree: its weights are arguments of the
    compiled fit. The functions must be hashable and the same object from call to call (module level functions are)."""

    weights: Any
    apply: Callable[[Any, Float[Array, "S S 3"], Float[Array, "68 2"]], Any] = field(metadata={"static": True})
    """(weights, display values, landmarks in pixels) -> features of one picture"""
    compare: Callable[[Any, Any, Float[Array, "S S"]], Float[Array, ""]] = field(metadata={"static": True})
    """(features of the render, of the photograph, mask) -> distance"""
    name: str = field(metadata={"static": True})  # for the summary


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tools:
    """Albedo models by the names that stages use, and networks by their role ("perceptual", "recognition")."""

    albedos: Mapping[str, AlbedoModel] = field(default_factory=dict)
    networks: Mapping[str, FeatureNetwork] = field(default_factory=dict)

    def albedo(self, name: str, model: FaceModel) -> AlbedoModel | None:
        """The albedo model of that name; "linear" is the face model's own."""
        if name == LINEAR:
            return model.albedo
        if name not in self.albedos:
            known = sorted({LINEAR, *self.albedos})
            raise ValueError(
                f"there is no albedo model {name!r}: known are {known}; pass Tools(albedos={{{name!r}: ...}})"
            )
        return self.albedos[name]


NO_TOOLS = Tools()

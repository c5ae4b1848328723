"""What a fit may draw on besides the face model: other albedo models, painters, networks to compare pictures with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, Float

from facejax.face_model import AlbedoModel, FaceModel, FaceParams
from facejax.rendering import Rendering

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

    def see(self, image: Float[Array, "S S 3"], landmarks: Float[Array, "68 2"]) -> Any:
        """Features of one picture; a program that looks through the network several times traces it once."""
        return jax.jit(self.apply)(self.weights, image, landmarks)


@runtime_checkable
class Painter(AlbedoModel, Protocol):
    """In the place of an albedo model: it makes the whole picture of a posed head, hair, light and background too.

    Its coefficients are what the picture is painted with, and there is no light; `decode` gives no map, and raises.
    """

    @property
    def side(self) -> int:
        """Pixels along a side of its pictures: the size at which it is best fitted."""
        ...

    def draw(self, model: FaceModel, params: FaceParams, *, size: tuple[int, int]) -> Rendering:
        """The picture of one face, differentiable in geometry and coefficients; the camera is in its pixels."""
        ...

    def begin(self, photo: Float[Array, "S S 3"]) -> Float[Array, " A"]:
        """Coefficients that the photograph may have been painted with (display values, its crop as it was fitted)."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Tools:
    """Albedo models and painters by the names that stages use, and networks by their role ("perceptual", "normals")."""

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

    def painter_side(self) -> int | None:
        """Pixels along a side of the first painter's pictures; None without one."""
        return next((one.side for one in self.albedos.values() if isinstance(one, Painter)), None)


NO_TOOLS = Tools()

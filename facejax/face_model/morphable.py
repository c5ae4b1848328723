"""Albedo models: the linear albedo from a face model's file, and the protocol that other albedo models implement."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.camera import Camera, Pose
from facejax.face_model.model import FaceModel, FaceParams, combine
from facejax.lighting import uniform_light

GREY = 0.6  # display value of a face model without colours


@runtime_checkable
class AlbedoModel(Protocol):
    """Diffuse colour from named blocks of numbers: the linear model below, a texture decoder, or your own (a pytree).

    `facejax.appearance.SurfaceAppearance` draws a face with it.
    """

    @property
    def blocks(self) -> Mapping[str, tuple[int, ...]]:
        """The name and shape of each block of parameters."""
        ...

    def decode(self, blocks: Mapping[str, Array]) -> Float[Array, "*S 3"]:
        """Display (sRGB) values, not clipped: per vertex (V, 3), or a UV map (T, T, 3) with row 0 on top."""
        ...

    def encode(self, albedo: Float[Array, "*S 3"]) -> dict[str, Array]:
        """Blocks whose albedo is near this one, in closed form: the start of a fit."""
        ...


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class LinearAlbedo:
    """Diffuse colour as a mean and a basis, display (sRGB) values in [0, 1]: an `AlbedoModel`.

    Per vertex (*S = V) or as UV maps, row 0 on top (*S = T T). Its one block, "albedo", counts standard deviations.
    """

    mean: Float[Array, "*S 3"]
    basis: Float[Array, "A *S 3"]
    std: Float[Array, " A"]

    @property
    def per_vertex(self) -> bool:
        return self.mean.ndim == 2

    @property
    def count(self) -> int:
        """The number of components."""
        return self.basis.shape[0]

    @property
    def blocks(self) -> dict[str, tuple[int, ...]]:
        return {"albedo": (self.count,)}

    def decode(self, blocks: Mapping[str, Array]) -> Float[Array, "*S 3"]:
        """Mean plus basis, not clipped. Fewer coefficients than components leave the rest at zero."""
        return self.mean + combine(blocks["albedo"], self.std, self.basis, "albedo")

    def encode(self, albedo: Float[Array, "*S 3"]) -> dict[str, Array]:
        """The least-squares coefficients, with a small ridge."""
        flat = self.basis.reshape(self.count, -1) * self.std[:, None]
        gram = flat @ flat.T
        ridge = 1e-3 * jnp.trace(gram) / max(self.count, 1) * jnp.eye(self.count)
        return {"albedo": jnp.linalg.solve(gram + ridge, flat @ (albedo - self.mean).reshape(-1))}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MorphableModel(FaceModel):
    """A face model with colours: what `load_face_model` returns for the shipped head, the Basel models and others."""

    albedo: LinearAlbedo


def own_albedo(model: FaceModel) -> LinearAlbedo:
    """The linear albedo of a face model; grey, without components, if the model has none."""
    if isinstance(model, MorphableModel):
        return model.albedo
    grey = jnp.full_like(model.mean, GREY)
    return LinearAlbedo(grey, jnp.zeros((0, *grey.shape)), jnp.zeros(0))


def decode_albedo(model: FaceModel, params: FaceParams) -> Float[Array, "*S 3"]:
    """The albedo of a face from its model's own linear albedo; grey if the model has none.

    Display values, per vertex (V, 3) or as a UV map (T, T, 3); not clipped. Raises ValueError for the parameters of
    another appearance: draw those with that appearance (`FitResult.appearance`, `load_face`).
    """
    if not params.appearance:
        return own_albedo(model).mean
    if set(params.appearance) != {"albedo"}:
        raise ValueError(
            f"these are the parameters of another appearance ({', '.join(params.appearance)}), not of the model's own "
            "albedo: pass the appearance= of the fit, or of load_face"
        )
    return own_albedo(model).decode(params.appearance)


def neutral_params(model: FaceModel, camera: Camera, *, distance: float = 1000.0) -> FaceParams:
    """The mean face in its mean colours, upright, `distance` mm in front of the camera, under uniform white light."""
    pose = Pose(jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.array([0.0, 0.0, -distance]))
    return FaceParams(
        identity=jnp.zeros(len(model.identity_std)),
        expression=jnp.zeros(len(model.expression_std)),
        appearance={name: jnp.zeros(shape) for name, shape in own_albedo(model).blocks.items()},
        pose=pose,
        camera=camera,
        light=uniform_light(),
    )


def truncate(
    model: FaceModel, *, identity: int | None = None, expression: int | None = None, albedo: int | None = None
) -> FaceModel:
    """Keep only the first components of a model.

    Args:
        model: the face model.
        identity, expression, albedo: how many; None, or more than the model has, keeps all.
    """
    if isinstance(model, MorphableModel):
        colour = model.albedo
        model = replace(model, albedo=LinearAlbedo(colour.mean, colour.basis[:albedo], colour.std[:albedo]))
    return replace(
        model,
        identity_basis=model.identity_basis[:identity],
        identity_std=model.identity_std[:identity],
        identity_names=model.identity_names[:identity],
        expression_basis=model.expression_basis[:expression],
        expression_std=model.expression_std[:expression],
        expression_names=model.expression_names[:expression],
    )

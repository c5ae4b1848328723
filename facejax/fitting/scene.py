"""What a loss term sees: the observation, the current parameters, and the picture they make."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facejax.camera import project, to_camera, transform_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.face_model.landmarks import landmark_candidates, place_landmarks
from facejax.fitting.priors import PRIORS, Priors
from facejax.fitting.tools import NO_TOOLS, Painter, Tools
from facejax.mesh import points_on_faces
from facejax.render import Rendering, render


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Observation:
    """One photograph as the fit sees it: a square crop with its landmarks."""

    image: Float[Array, "*B S S 3"]  # display values
    valid: Float[Array, "*B S S"]  # 1 inside the photograph, 0 where the crop leaves it
    landmarks: Float[Array, "*B 68 2"]  # pixels of the crop
    landmark_weights: Float[Array, "*B 68"]
    size: Float[Array, "*B"]  # square root of the area of the landmarks' box, pixels
    moving: Bool[Array, "*B"]  # the jaw landmarks follow the visible outline


class Scene(NamedTuple):
    model: FaceModel
    priors: Priors
    params: FaceParams
    seen: Observation
    rendering: Rendering
    mask: Float[Array, "S S"]  # where rendered face and photograph are compared; carries no gradient
    landmarks: Float[Array, "L 2"]  # projected, pixels
    tools: Tools
    targets: Mapping[str, Any]  # the photograph's features, by the role of the network that made them

    @property
    def composite(self) -> Float[Array, "S S 3"]:
        """The render laid over the photograph."""
        blend = self.mask[..., None]
        return blend * self.rendering.color + (1 - blend) * self.seen.image

    @property
    def latents(self) -> Float[Array, "L D"]:
        """The albedo's coefficients without the details, a row for each layer of a texture decoder."""
        found, _ = split_details(self.model, self.params.albedo)
        return found.reshape(getattr(self.model.albedo, "latent_layers", 1), -1)

    @property
    def details(self) -> Float[Array, " N"]:
        """The albedo's details, if its model has any (`facejax.texture.DetailedTexture`)."""
        return split_details(self.model, self.params.albedo)[1]


def split_details(model: FaceModel, albedo: Float[Array, " A"]) -> tuple[Float[Array, " B"], Float[Array, " C"]]:
    """The coefficients that say what an albedo is like, and those of its details: the last `detail_count`, or none."""
    at = len(albedo) - getattr(model.albedo, "detail_count", 0)
    return albedo[:at], albedo[at:]


def look(
    model: FaceModel,
    params: FaceParams,
    seen: Observation,
    *,
    priors: Priors = PRIORS,
    tools: Tools = NO_TOOLS,
    targets: Mapping[str, Any] = MappingProxyType({}),
    albedo: Float[Array, "*S 3"] | None = None,
) -> Scene:
    """Render the parameters and project the landmarks, one face. `albedo` spares decoding one that does not change.

    What a painter made is compared with all of the photograph, not with the face alone.
    """
    side = seen.image.shape[-2]
    if isinstance(model.albedo, Painter):
        rendering, mask = model.albedo.draw(model, params, size=(side, side)), seen.valid
    else:
        rendering = render(model, params, size=(side, side), texture=albedo, background=seen.image, edges=False)
        mask = face_mask(model, rendering) * seen.valid
    points = project_landmarks(model, params, seen.moving)
    return Scene(model, priors, params, seen, rendering, mask, points, tools, targets)


def resize(seen: Observation, params: FaceParams, side: int) -> tuple[Observation, FaceParams]:
    """The same photograph with another number of pixels, and the parameters with the camera that belongs to it."""
    scale = side / seen.image.shape[-2]
    small = replace(
        seen,
        image=jax.image.resize(seen.image, (side, side, 3), "linear"),  # antialiased
        valid=jnp.floor(jax.image.resize(seen.valid, (side, side), "linear") + 1e-4),
        landmarks=seen.landmarks * scale,
        size=seen.size * scale,
    )
    camera = transform_camera(params.camera, jnp.asarray(scale), jnp.zeros(2))
    return small, replace(params, camera=camera)


def project_landmarks(model: FaceModel, params: FaceParams, moving: Bool[Array, ""]) -> Float[Array, "L 2"]:
    """Landmarks of the posed face in pixels of its camera."""
    candidates = points_on_faces(decode(model, params), model.faces, *landmark_candidates(model))
    fixed = place_landmarks(model, candidates, None)
    outline = place_landmarks(model, candidates, params.pose.rotation)
    points = jnp.where(moving, outline, fixed)
    return project(params.camera, to_camera(params.pose, points))[:, :2]


def face_mask(model: FaceModel, rendering: Rendering, regions: tuple[str, ...] | None = None) -> Float[Array, "H W"]:
    """Where regions of the model are seen, in [0, 1]; no gradient. Regions that the model lacks are left out.

    By default what a photograph usually shows of a face: the eyes, and the face without hairline and temples
    ("face_inner"), or all of "face" in a model that does not tell them apart.
    """
    if regions is None:
        regions = ("face_inner" if "face_inner" in model.regions else "face", "eyeballs")
    known = [model.regions[region] for region in regions if region in model.regions]
    if not known:
        wanted, has = " or ".join(regions), sorted(model.regions)
        raise ValueError(f"face model {model.name!r} has no region {wanted}: it has {has}")
    corners = jnp.max(jnp.stack(known), axis=0)[model.faces][jnp.maximum(rendering.triangle, 0)]
    inside = jnp.sum(corners * rendering.barycentric, axis=-1)
    return jax.lax.stop_gradient(jnp.where(rendering.triangle >= 0, inside, 0.0))

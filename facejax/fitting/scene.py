"""What a loss term sees: the observation, the current parameters, and the picture they make."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facejax.camera import project, to_camera, transform_camera
from facejax.face_model import FaceModel, FaceParams, LinearAlbedo, decode, decode_albedo
from facejax.face_model.surface_landmarks import landmark_candidates, place_landmarks
from facejax.fitting.priors import PRIORS, Priors
from facejax.fitting.tools import NO_TOOLS, Painter, Tools
from facejax.mesh import points_on_faces
from facejax.rendering import Rendering, render, repaint


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
    """What a loss term may look at: the parameters, what they look like, and the photograph. One face."""

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
    before: Scene | None = None,
) -> Scene:
    """Render the parameters and project the landmarks, one face.

    `albedo` spares decoding one that does not change; `before`, a scene of the same geometry, spares finding again what
    is seen where. What a painter made is compared with all of the photograph, not with the face alone.
    """
    if before is not None:
        albedo = decode_albedo(model, params) if albedo is None else albedo
        rendering = repaint(before.rendering, model.faces, albedo, params.light, seen.image)
        return before._replace(params=params, rendering=rendering)
    if isinstance(model.albedo, Painter):
        side = seen.image.shape[-2]
        rendering, mask = model.albedo.draw(model, params, size=(side, side)), seen.valid
        points = project_landmarks(model, params, seen.moving)
    else:
        albedo = decode_albedo(model, params) if albedo is None else albedo
        painted = LinearAlbedo(albedo, jnp.zeros((0, *albedo.shape)), jnp.zeros(0))
        plain = replace(model, albedo=painted), replace(params, albedo=jnp.zeros(0))
        rendering, mask, points = _draw(*plain, seen)
    return Scene(model, priors, params, seen, rendering, mask, points, tools, targets)


@jax.jit
def _draw(
    model: FaceModel, params: FaceParams, seen: Observation
) -> tuple[Rendering, Float[Array, "S S"], Float[Array, "L 2"]]:
    """Rendering, mask and landmarks. A function of its own, for models without albedo coefficients, so that a program
    traces it once for all stages, whatever their albedo models are."""
    side = seen.image.shape[-2]
    rendering = render(model, params, size=(side, side), background=seen.image, edges=False)
    return rendering, face_mask(model, rendering) * seen.valid, project_landmarks(model, params, seen.moving)


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

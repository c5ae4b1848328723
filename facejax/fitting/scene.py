"""The input of a loss term: the observation, the current parameters, and their picture."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facejax.appearance import GEOMETRY, Appearance
from facejax.camera import project, seen_rotation, to_camera, transform_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.face_model.surface_landmarks import landmark_candidates, place_landmarks
from facejax.fitting.face_data import NO_DATA, FaceData, resize_data
from facejax.fitting.ingredients import NO_INGREDIENTS, Ingredients
from facejax.fitting.priors import PRIORS, Priors
from facejax.fitting.surface_points import NOTHING_SEEN, Sight, resize_sight
from facejax.mesh import points_on_faces
from facejax.rendering import Rendering


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
    data: FaceData = NO_DATA  # of the user's own terms
    sight: Sight = NOTHING_SEEN  # what the networks of `Ingredients.seers` see

    @property
    def comparable(self) -> Float[Array, "*B S S"]:
        """How far a pixel can be compared with the rendered face: it is inside the photograph, and shows the face."""
        return self.valid if self.sight.shown is None else self.valid * self.sight.shown


class Scene(NamedTuple):
    """The input of a loss term: the parameters, their rendering, and the photograph. One face."""

    model: FaceModel
    priors: Priors
    params: FaceParams
    seen: Observation
    rendering: Rendering
    mask: Float[Array, "S S"]  # where rendered face and photograph are compared; carries no gradient
    landmarks: Float[Array, "L 2"]  # projected, pixels
    ingredients: Ingredients
    targets: Mapping[str, Any]  # the photograph's features, by the role of the network that made them

    @property
    def composite(self) -> Float[Array, "S S 3"]:
        """The render laid over the photograph."""
        blend = self.mask[..., None]
        return blend * self.rendering.color + (1 - blend) * self.seen.image

    @property
    def data(self) -> dict[str, Array]:
        """The data of the user's own terms, by the term's name: maps and points of this picture, and numbers."""
        return {**self.seen.data.maps, **self.seen.data.points, **self.seen.data.numbers}


def observe(
    model: FaceModel,
    params: FaceParams,
    seen: Observation,
    appearance: Appearance,
    *,
    moving: Collection[str],
    priors: Priors = PRIORS,
    ingredients: Ingredients = NO_INGREDIENTS,
    targets: Mapping[str, Any] = MappingProxyType({}),
) -> Callable[[FaceParams], Scene]:
    """A function from parameters to their `Scene`, one face.

    Args:
        model, params, seen, appearance: the face now, its photograph, and what colours it.
        moving: the blocks in which the parameters will differ from `params`; everything else is decoded, drawn and
            projected once.
        priors, ingredients, targets: passed on to the scenes.
    """
    side = seen.image.shape[-2]
    draw = appearance.drawing(model, params, size=(side, side), background=seen.image, moving=moving, edges=False)

    def where(
        params: FaceParams, draw: Callable[[FaceParams], Rendering]
    ) -> tuple[Float[Array, "S S"], Float[Array, "L 2"]]:
        points = _project(model, replace(params, appearance={}), seen.moving)
        return (seen.valid if appearance.whole_picture else _mask(model, draw(params)) * seen.comparable), points

    fixed = None if GEOMETRY & set(moving) else where(params, draw)

    def scene(now: FaceParams) -> Scene:
        rendering = draw(now)
        mask, points = where(now, lambda _: rendering) if fixed is None else fixed
        return Scene(model, priors, now, seen, rendering, mask, points, ingredients, targets)

    return scene


def look(
    model: FaceModel, params: FaceParams, seen: Observation, appearance: Appearance, *, priors: Priors = PRIORS
) -> Scene:
    """The scene of parameters, one face.

    Args:
        model, params, seen, appearance, priors: as for `observe`.
    """
    return observe(model, params, seen, appearance, moving=GEOMETRY, priors=priors)(params)


def resize(seen: Observation, params: FaceParams, side: int) -> tuple[Observation, FaceParams]:
    """The same photograph at another resolution, and the parameters with the camera for it."""
    scale = side / seen.image.shape[-2]
    small = replace(
        seen,
        image=jax.image.resize(seen.image, (side, side, 3), "linear"),  # antialiased
        valid=jnp.floor(jax.image.resize(seen.valid, (side, side), "linear") + 1e-4),
        landmarks=seen.landmarks * scale,
        size=seen.size * scale,
        data=resize_data(seen.data, scale, side),
        sight=resize_sight(seen.sight, scale, side),
    )
    camera = transform_camera(params.camera, jnp.asarray(scale), jnp.zeros(2))
    return small, replace(params, camera=camera)


def project_landmarks(model: FaceModel, params: FaceParams, moving: Bool[Array, ""]) -> Float[Array, "L 2"]:
    """Landmarks of the posed face in pixels of its camera."""
    candidates = points_on_faces(decode(model, params), model.faces, *landmark_candidates(model))
    fixed = place_landmarks(model, candidates, None)
    outline = place_landmarks(model, candidates, seen_rotation(params.pose))
    points = jnp.where(moving, outline, fixed)
    return project(params.camera, to_camera(params.pose, points))[:, :2]


def face_region(model: FaceModel, regions: tuple[str, ...] | None = None) -> Float[Array, " V"]:
    """The weight of each vertex in any of these regions, in [0, 1]. Regions that the model lacks are left out.

    By default what a photograph usually shows of a face: the eyes, and the face without hairline and temples
    ("face_inner"), or all of "face" in a model without that region. Raises ValueError for a model without any of them.
    """
    if regions is None:
        regions = ("face_inner" if "face_inner" in model.regions else "face", "eyeballs")
    known = [model.regions[region] for region in regions if region in model.regions]
    if not known:
        wanted, has = " or ".join(regions), sorted(model.regions)
        raise ValueError(f"face model {model.name!r} has no region {wanted}: it has {has}")
    return jnp.max(jnp.stack(known), axis=0)


def face_mask(model: FaceModel, rendering: Rendering, regions: tuple[str, ...] | None = None) -> Float[Array, "H W"]:
    """Where regions of the model are visible, in [0, 1]; no gradient. See `face_region`."""
    corners = face_region(model, regions)[model.faces][jnp.maximum(rendering.triangle, 0)]
    inside = jnp.sum(corners * rendering.barycentric, axis=-1)
    return jax.lax.stop_gradient(jnp.where(rendering.triangle >= 0, inside, 0.0))


# Separate functions, so that a program traces them once for all stages.

_mask = jax.jit(face_mask)
_project = jax.jit(project_landmarks)

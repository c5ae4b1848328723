"""Points of the model's surface that a network finds in a photograph, as evidence of a fit besides the 68 landmarks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from facejax.camera import project, to_camera
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.mesh import points_on_faces


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SurfacePoints:
    """N places of a model's surface, and where a picture shows them. N is the same for all pictures of a network."""

    faces: Int[Array, "*B N"]  # triangles
    barycentric: Float[Array, "*B N 3"]  # weights of the triangles' corners
    pixels: Float[Array, "*B N 2"]  # of the crop
    weights: Float[Array, "*B N"]  # 0: not seen; those of a network sum to 1 for a face that shows all of them

    @property
    def count(self) -> int:
        """N."""
        return self.weights.shape[-1]


NO_POINTS = SurfacePoints(*(np.zeros(shape, kind) for shape, kind in  # type: ignore[arg-type]  # nothing on a device
                            [(0, np.int32), ((0, 3), np.float32), ((0, 2), np.float32), (0, np.float32)]))  # fmt: skip


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Seer:
    """A network that finds points of one face model's surface in a picture. A pytree: its weights are arguments of the
    compiled fit. The function must be hashable and the same object from call to call (module-level functions are)."""

    weights: Any
    apply: Callable[[Any, FaceModel, FaceParams, Float[Array, "S S 3"], Float[Array, "68 2"]], SurfacePoints] = field(
        metadata={"static": True}
    )
    """(weights, model, the landmark fit of the face, display values, landmarks in pixels) -> points of one picture"""
    model: str = field(metadata={"static": True})  # the name of the face model; the fit of another one does without
    name: str = field(metadata={"static": True})  # for the summary


def see_points(
    seers: Mapping[str, Seer],
    model: FaceModel,
    params: FaceParams,
    image: Float[Array, "S S 3"],
    landmarks: Float[Array, "68 2"],
) -> SurfacePoints:
    """The points of all networks that know the model's surface, one face. No gradient passes.

    Args:
        seers: the networks.
        model: which face model is fitted.
        params: the face as its landmarks tell it, with the camera of the crop.
        image: the crop, display values.
        landmarks: of the face, pixels of the crop.
    """
    own = [seer for seer in seers.values() if seer.model == model.name]
    if not own:
        return NO_POINTS
    each = [seer.apply(seer.weights, model, params, image, landmarks) for seer in own]
    points: SurfacePoints = jax.lax.stop_gradient(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *each))
    sound = jnp.isfinite(points.weights) & jnp.all(jnp.isfinite(points.pixels), axis=-1)
    return replace(
        points,
        pixels=jnp.where(sound[:, None], points.pixels, 0.0),
        weights=jnp.where(sound, points.weights, 0.0),
    )


def project_points(model: FaceModel, params: FaceParams, points: SurfacePoints) -> Float[Array, "N 2"]:
    """Where the posed face has the points, pixels of its camera."""
    on_face = points_on_faces(decode(model, params), model.faces, points.faces, points.barycentric)
    return project(params.camera, to_camera(params.pose, on_face))[:, :2]


def resize_points(points: SurfacePoints, scale: float) -> SurfacePoints:
    """The points in the same crop at another resolution."""
    return replace(points, pixels=points.pixels * scale)

"""What networks see in a photograph, as evidence of a fit besides the 68 landmarks.

That is: points of the model's surface, which pixels show the face, and the surface's normals.
"""

import math
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
class Sight:
    """What is seen of one face in its crop. A network leaves out what it does not see."""

    points: SurfacePoints | None = None
    shown: Float[Array, "*B S S"] | None = None  # 1 where a pixel shows the face, 0 where hair, glasses or hands do
    normal: Float[Array, "*B S S 3"] | None = None  # unit, camera space; shorter where it is less certain


NOTHING_SEEN = Sight()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Seer:
    """A network that sees more of a face than its landmarks. A pytree: its weights are arguments of the compiled fit.
    The function must be hashable and the same object from call to call (module-level functions are)."""

    weights: Any
    apply: Callable[[Any, FaceModel, FaceParams, Float[Array, "S S 3"], Float[Array, "68 2"]], Sight] = field(
        metadata={"static": True}
    )
    """(weights, model, the face as `place_face` finds it, display values, landmarks in pixels) -> what is seen"""
    model: str | None = field(metadata={"static": True})  # name of the only face model that it knows; None: any
    name: str = field(metadata={"static": True})  # for the summary


def see(
    seers: Mapping[str, Seer],
    model: FaceModel,
    params: FaceParams,
    image: Float[Array, "S S 3"],
    landmarks: Float[Array, "68 2"],
) -> Sight:
    """What all networks see that know the model, one face. No gradient passes.

    Points are joined, of several masks the product counts, of several normals the first.

    Args:
        seers: the networks.
        model: which face model is fitted.
        params: the face roughly, as `place_face` finds it, with the camera of the crop.
        image: the crop, display values.
        landmarks: of the face, pixels of the crop.
    """
    own = [seer for seer in seers.values() if seer.model in (None, model.name)]
    sights = [jax.lax.stop_gradient(seer.apply(seer.weights, model, params, image, landmarks)) for seer in own]
    masks = [jnp.nan_to_num(sight.shown) for sight in sights if sight.shown is not None]
    normals = [jnp.nan_to_num(sight.normal) for sight in sights if sight.normal is not None]
    return Sight(
        points=_join([sight.points for sight in sights if sight.points is not None]),
        shown=math.prod(masks[1:], start=masks[0]) if masks else None,
        normal=normals[0] if normals else None,
    )


def _join(each: list[SurfacePoints]) -> SurfacePoints | None:
    if not each:
        return None
    points = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *each)
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


def resize_sight(sight: Sight, scale: float, side: int) -> Sight:
    """The same in the crop at another resolution.

    Args:
        sight: in the crop as it is.
        scale: of the resolutions, new over old.
        side: of the new crop, pixels.
    """

    def resized(maps: Array | None) -> Array | None:
        return None if maps is None else jax.image.resize(maps, (side, side, *maps.shape[2:]), "linear")

    points = sight.points
    points = None if points is None else replace(points, pixels=points.pixels * scale)
    return Sight(points, resized(sight.shown), resized(sight.normal))

"""From what a network sees of the eyes to the direction in which they look, for a face whose head is fitted.

The eye's sphere is known, so the ray through the middle of the iris says how the eyeball is turned. One eye is never
quite sure: both are taken together with what is usual, a common direction that is not far from straight ahead.
"""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from facejax.camera import PerspectiveCamera, quaternion_to_matrix
from facejax.face_model import FaceModel, FaceParams, neutral_vertices
from facejax.face_model.gaze import direction_gaze, find_eyeballs, lids_following
from facejax.fitting.priors import PRIORS, Priors

RIM = 0.94  # distance of the iris's rim from the middle of the ball, in distances of its front (measured on the head)
CLOSED = 0.2  # opening of the lids, in widths of the eye, below which the iris is not seen
NEAR, FAR = np.deg2rad(60.0), np.deg2rad(32.0)  # the nearer and the farther eye of a head turned further is not seen
UNSURE = 0.3  # an eye with less confident corners is not seen
NEVER = 1e3  # radians: standard deviation of an eye that is not seen


class SeenEyes(NamedTuple):
    """What a network sees of the right and the left eye of a face, pixels of the picture."""

    iris: Float[Array, "2 2"]  # middle of its disc
    rim: Float[Array, "2 4 2"]  # its four extremes
    lids: Float[Array, "2 16 2"]  # from the outer corner along the lower lid to the inner one (8), then the upper lid

    @property
    def opening(self) -> Float[Array, " 2"]:
        """Distance of the lids' middles, in distances of the corners."""
        apart = lambda a, b: jnp.sqrt(jnp.sum((self.lids[:, a] - self.lids[:, b]) ** 2, axis=-1) + 1e-12)  # noqa: E731
        return apart(4, 12) / apart(0, 8)


class Gaze(NamedTuple):
    """The direction of the right and the left eye of one face."""

    angles: Float[Array, "2 2"]  # (yaw, pitch), radians, see facejax.face_model.gaze
    seen: Bool[Array, " 2"]  # the eye was seen; if not, its direction follows from the other and from what is usual


def solve_gaze(
    model: FaceModel,
    params: FaceParams,
    eyes: SeenEyes,
    *,
    confidence: Float[Array, " 68"] | None = None,
    priors: Priors = PRIORS,
) -> Gaze:
    """The gaze of one face with a known head, in closed form.

    Each eye's own angles bring the front of its iris to the pixel where it was seen (`aim`). The result is the mean of
    a Gaussian: both eyes' angles with their noise, which grows where the iris is seen from the side, under the priors
    of a common direction and of a small difference between the eyes. Eyes that contradict each other count less.

    Args:
        model, params: the face, with a perspective camera in pixels of the picture.
        eyes: what was seen.
        confidence: of the 68 landmarks, see `FaceStart`; None: all are trusted.
        priors: what is expected of a face.
    """
    angles, facing = aim(model, params, eyes.iris)
    seen = visible(params, eyes, confidence)
    usual = jnp.deg2rad(jnp.array([priors.gaze_yaw, priors.gaze_pitch]))
    apart, noise, common = (jnp.deg2rad(x) for x in (priors.vergence, priors.iris_noise, priors.eye_noise))
    sigma = jnp.where(seen, noise / jnp.maximum(facing, 0.25), NEVER)
    contrast = jnp.sum((angles[0] - angles[1]) ** 2) / (9.0 * (jnp.sum(sigma**2) + apart**2))
    variance = sigma**2 * (1.0 + contrast) ** 2

    def mean(both: Float[Array, " 2"], width: Float[Array, ""]) -> Float[Array, " 2"]:
        prior = width**2 + 0.25 * apart**2 * jnp.array([[1.0, -1.0], [-1.0, 1.0]])
        return prior @ jnp.linalg.solve(prior + common**2 + jnp.diag(variance), both)

    return Gaze(jnp.stack([mean(angles[:, axis], usual[axis]) for axis in (0, 1)], axis=1), seen)


def aim(
    model: FaceModel, params: FaceParams, iris: Float[Array, "2 2"]
) -> tuple[Float[Array, "2 2"], Float[Array, " 2"]]:
    """The angles with which each eyeball shows the middle of its iris at a pixel, and the cosine between its direction
    and the ray to the camera there.

    The ray through the pixel meets the sphere of the iris; a ray that passes it is brought to its nearest point.
    """
    camera, turn = params.camera, quaternion_to_matrix(params.pose.rotation)
    assert isinstance(camera, PerspectiveCamera)
    eyeballs = find_eyeballs(model, neutral_vertices(model, params))
    flat = (iris - camera.principal[None]) / camera.focal * jnp.array([[1.0, -1.0]])
    ray = jnp.concatenate([flat, -jnp.ones((2, 1))], axis=1)
    ray = ray / jnp.linalg.norm(ray, axis=1, keepdims=True) @ turn  # in the head's frame
    to_eye = eyeballs.centre + (params.pose.translation @ turn)[None]
    along = jnp.sum(to_eye * ray, axis=1)
    beside = jnp.sum(to_eye**2, axis=1) - along**2
    radius = jnp.maximum(RIM * eyeballs.front, 1e-3)
    depth = jnp.sqrt(jnp.maximum(radius**2 - beside, 0.0))
    return direction_gaze((along - depth)[:, None] * ray - to_eye), depth / radius


def visible(params: FaceParams, eyes: SeenEyes, confidence: Float[Array, " 68"] | None) -> Bool[Array, " 2"]:
    """Whether each eye is open, on a side of the head that is in sight, and not covered."""
    turn = quaternion_to_matrix(params.pose.rotation)
    x, _, z = jnp.unstack(-params.pose.translation @ turn)  # from the head to the camera
    side = jnp.arctan2(x, z)
    away = side * jnp.array([1.0, -1.0])
    seen = (eyes.opening > CLOSED) & (away < FAR) & (away > -NEAR)
    if confidence is None:
        return seen
    return seen & (jnp.minimum(confidence[jnp.array([36, 42])], confidence[jnp.array([39, 45])]) > UNSURE)


def look_at_seen(
    model: FaceModel,
    params: FaceParams,
    eyes: SeenEyes | None,
    *,
    confidence: Float[Array, " 68"] | None = None,
    priors: Priors = PRIORS,
) -> tuple[FaceParams, Bool[Array, " 2"] | None]:
    """The face with the gaze of what was seen, lids included, and which eyes were seen; unchanged without eyes."""
    if eyes is None:
        return params, None
    gaze = solve_gaze(model, params, eyes, confidence=confidence, priors=priors)
    return lids_following(model, replace(params, gaze=gaze.angles)), gaze.seen

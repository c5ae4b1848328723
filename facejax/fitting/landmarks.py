"""Pose, camera, identity and expression from 68 landmarks, by Levenberg-Marquardt.

Two steps, as in Bas and Smith, "Fitting a 3D morphable model to edges", ACCV 2016: a closed-form scaled-orthographic
start from the mean face, then all unknowns together under their Gaussian priors. Landmarks are linear in the
coefficients, so the bases are first restricted to them and a step costs next to nothing.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from facejax import camera as cam
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.landmarks import landmark_candidates, place_landmarks
from facejax.fitting.least_squares import levenberg_marquardt
from facejax.lighting import uniform_light
from facejax.mesh import points_on_faces

Contour = Literal["static", "moving", "auto"]
JAW = 17  # landmarks 0..16 lie on the outline of the face


@dataclass(frozen=True)
class LandmarkPriors:
    """Standard deviations of everything that the landmarks alone do not fix (static and hashable)."""

    noise: float = 0.010  # of a landmark, as a share of the landmarks' box (the square root of its area)
    jaw_noise: float = 0.014  # of the jaw points, whose place along the outline is vague
    identity: float = 1.0  # coefficients are standard deviations already
    expression: float = 0.35  # of blendshape weights; 1.0 is used for statistical expression models
    distance: float = 1000.0  # mm from the camera
    log_distance: float = 0.25
    log_focal: float = 1e-3  # of a focal length that is given; one that is not is free


class LandmarkFit(NamedTuple):
    params: FaceParams
    landmarks: Float[Array, "L 2"]  # projected, pixels
    moving: Bool[Array, ""]  # the jaw points follow the visible outline
    cost: Float[Array, ""]
    costs: Float[Array, " S"]
    converged: Bool[Array, ""]


def box_size(points: Float[Array, "L 2"]) -> Float[Array, ""]:
    """Square root of the area of the points' bounding box, pixels."""
    extent = jnp.max(points, axis=0) - jnp.min(points, axis=0)
    return jnp.sqrt(jnp.maximum(extent[0] * extent[1], 1e-6))


def scaled_orthographic(
    points: Float[Array, "L 3"], pixels: Float[Array, "L 2"], weights: Float[Array, " L"]
) -> tuple[Float[Array, "3 3"], Float[Array, ""], Float[Array, " 2"]]:
    """Rotation, scale (pixels per mm) and offset (pixels) with `pixels ~ scale * (R points)_xy, y down, + offset`.

    Weighted least squares for the affine camera, whose two rows are then made orthonormal (Bas and Smith, section 3.1).
    """
    weight = weights / jnp.sum(weights)
    centre, middle = weight @ points, weight @ pixels
    root = jnp.sqrt(weight)[:, None]
    target = (pixels - middle) * jnp.array([1.0, -1.0]) * root
    affine = jnp.linalg.lstsq((points - centre) * root, target)[0].T  # (2, 3)
    u, singular, vt = jnp.linalg.svd(affine, full_matrices=False)
    rows = u @ vt
    rotation = jnp.concatenate([rows, jnp.cross(rows[0], rows[1])[None]])
    scale = jnp.mean(singular)
    offset = middle - scale * jnp.array([1.0, -1.0]) * (rows @ centre)
    return rotation, scale, offset


def fit_landmarks(
    model: FaceModel,
    pixels: Float[Array, "68 2"],
    *,
    focal: Float[Array, ""] | None = None,
    principal: Float[Array, " 2"],
    contour: Contour = "auto",
    priors: LandmarkPriors = LandmarkPriors(),
    steps: int = 40,
) -> LandmarkFit:
    """Fit one face to 68 landmarks (pixels of the image that the camera describes).

    `principal` is the optical centre in the same pixels. Without `focal` the face is taken to be about
    `priors.distance` mm away and the focal length follows; the perspective in the landmarks then refines both.
    `contour`: jaw annotations are fixed surface points ("static", 3D annotations), follow the visible outline
    ("moving", people and 2D detectors), or whichever explains them better ("auto").
    """
    if contour == "auto":
        flags = jnp.array([False, True])
        both = jax.vmap(lambda flag: _solve(model, pixels, focal, principal, flag, priors, steps))(flags)
        best = jnp.argmin(jnp.where(jnp.isfinite(both.cost), both.cost, jnp.inf))
        return jax.tree.map(lambda leaf: leaf[best], both)
    return _solve(model, pixels, focal, principal, jnp.asarray(contour == "moving"), priors, steps)


def _solve(model, pixels, focal, principal, moving, priors: LandmarkPriors, steps: int) -> LandmarkFit:
    candidates = landmark_candidates(model)
    mean = points_on_faces(model.mean, model.faces, *candidates)
    on_points = jax.vmap(lambda basis: points_on_faces(basis, model.faces, *candidates))
    identity_basis = on_points(model.identity_basis) * model.identity_std[:, None, None]
    expression_basis = on_points(model.expression_basis) * model.expression_std[:, None, None]
    count_i, count_e = len(model.identity_std), len(model.expression_std)

    size = box_size(pixels)
    is_jaw = jnp.arange(pixels.shape[0]) < JAW
    sigma = jnp.where(is_jaw, priors.jaw_noise, priors.noise) * size
    start_points = place_landmarks(model, mean, None)
    rotation, scale, offset = scaled_orthographic(start_points, pixels, jnp.where(is_jaw, 0.1, 1.0))
    base = cam.matrix_to_quaternion(rotation)
    focal0 = scale * priors.distance if focal is None else focal
    distance0 = focal0 / scale
    shift0 = (offset - principal) * jnp.array([1.0, -1.0]) / focal0  # (X, Y) over depth

    # The unknowns: rotation increment, (X, Y)/depth, log depth, log focal, then the coefficients.
    def unpack(x):
        rot = cam.quaternion_multiply(cam.axis_angle_to_quaternion(x[:3]), base)
        depth = distance0 * jnp.exp(x[5])
        translation = depth * jnp.concatenate([x[3:5], -jnp.ones(1)])
        pose = cam.Pose(rot, translation)
        return pose, cam.PerspectiveCamera(focal0 * jnp.exp(x[6]), principal), x[7 : 7 + count_i], x[7 + count_i :]

    def project(x):
        pose, camera, identity, expression = unpack(x)
        points = mean + jnp.tensordot(identity, identity_basis, 1) + jnp.tensordot(expression, expression_basis, 1)
        fixed = place_landmarks(model, points, None)
        outline = place_landmarks(model, points, pose.rotation)
        return cam.project(camera, cam.to_camera(pose, jnp.where(moving, outline, fixed)))[:, :2]

    sd_expression = priors.expression if model.blendshapes else 1.0
    sd_distance, sd_focal = (priors.log_distance, 1e3) if focal is None else (1e3, priors.log_focal)
    log_distance = jnp.log(distance0 / priors.distance)

    def residuals(x):
        misfit = ((project(x) - pixels) / sigma[:, None]).reshape(-1)
        prior = [(x[5:6] + log_distance) / sd_distance, x[6:7] / sd_focal]
        return jnp.concatenate([misfit, *prior, x[7 : 7 + count_i] / priors.identity, x[7 + count_i :] / sd_expression])

    free = jnp.full(7 + count_i, jnp.inf)
    ends = (0.0, 1.0) if model.blendshapes else (-3.0, 3.0)
    lower = jnp.concatenate([-free, jnp.full(count_e, ends[0])])
    upper = jnp.concatenate([free, jnp.full(count_e, ends[1])])
    start = jnp.concatenate([jnp.zeros(3), shift0, jnp.zeros(2 + count_i + count_e)])
    rigid_bound = jnp.concatenate([jnp.full(7, jnp.inf), jnp.zeros(count_i + count_e)])
    rigid = levenberg_marquardt(residuals, start, steps=max(steps // 3, 1), lower=-rigid_bound, upper=rigid_bound)
    full = levenberg_marquardt(residuals, rigid.x, steps=steps, lower=lower, upper=upper)

    pose, camera, identity, expression = unpack(full.x)
    albedo = jnp.zeros(0 if model.albedo is None else len(model.albedo.std))
    params = FaceParams(identity, expression, albedo, pose, camera, uniform_light())
    costs = jnp.concatenate([rigid.costs, full.costs])
    return LandmarkFit(params, project(full.x), moving, full.cost, costs, full.converged)

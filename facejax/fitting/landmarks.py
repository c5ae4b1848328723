"""Pose, camera, identity and expression from 68 landmarks, by Levenberg-Marquardt.

Two steps, as in Bas and Smith, "Fitting a 3D morphable model to edges", ACCV 2016: a closed-form scaled-orthographic
start from the mean face, then all unknowns together under their Gaussian priors. Landmarks are linear in the
coefficients, so the bases are first restricted to them and a step costs next to nothing.
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from facejax import camera as cam
from facejax.appearance import own_appearance, zero_blocks
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.surface_landmarks import choose_landmarks, landmark_candidates, place_landmarks
from facejax.fitting.least_squares import levenberg_marquardt
from facejax.fitting.priors import PRIORS, Priors, expression_std
from facejax.lighting import uniform_light
from facejax.mesh import points_on_faces

Contour = Literal["static", "moving", "auto"]
JAW = 17  # landmarks 0..16 lie on the outline of the face
NEAR_SHARE = 0.05  # of the face's size: a landmark's confidence is the probability that its error is smaller
RIGID = 7  # unknowns before the coefficients


class FaceStart(NamedTuple):
    """What is known of a face besides the positions of its landmarks, for instance from a regressor."""

    confidence: Float[Array, "*N 68"]  # probability that each landmark is within 5 % of the face's size of the truth
    identity: Float[Array, "*N K"]  # expected coefficients; fewer than the model's leave the rest at zero
    expression: Float[Array, "*N E"]


class LandmarkFit(NamedTuple):
    """The result of `fit_landmarks`, one face."""

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
    target = (pixels - middle[None]) * jnp.array([[1.0, -1.0]]) * root
    affine = jnp.linalg.lstsq((points - centre[None]) * root, target)[0].T  # (2, 3)
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
    start: FaceStart | None = None,
    contour: Contour = "auto",
    priors: Priors = PRIORS,
    steps: int = 24,
) -> LandmarkFit:
    """Fit one face to 68 landmarks.

    Args:
        model: which shapes a face can have.
        pixels: the landmarks in the iBUG order, pixels of the camera's image.
        focal: focal length in pixels. None: the face is taken to be about `priors.distance` mm away, which gives a
            focal length; the perspective in the landmarks then refines both.
        principal: the optical centre, pixels.
        start: coefficients to expect instead of the mean face's, and how far to trust each landmark.
        contour: the jaw annotations are fixed surface points ("static", as in 3D annotations), follow the visible
            outline ("moving", as people and 2D detectors mark them), or whichever explains them better ("auto").
        priors: what is expected of a face.
        steps: of Levenberg-Marquardt.
    """
    if contour == "auto":
        flags = jnp.array([False, True])
        both = jax.vmap(lambda flag: _solve(model, pixels, focal, principal, start, flag, priors, steps))(flags)
        best = jnp.argmin(jnp.where(jnp.isfinite(both.cost), both.cost, jnp.inf))
        return jax.tree.map(lambda leaf: leaf[best], both)
    return _solve(model, pixels, focal, principal, start, jnp.asarray(contour == "moving"), priors, steps)


def landmark_noise(confidence: Float[Array, "*N 68"]) -> Float[Array, "*N 68"]:
    """Standard deviation of x and y, as a share of the face's size, for a probability to be within 5 % of the truth.

    The inverse of the Rayleigh distribution's cumulative probability, 1 - exp(-0.5 (0.05 / sigma)^2).
    """
    return NEAR_SHARE / jnp.sqrt(-2.0 * jnp.log1p(-jnp.clip(confidence, 0.01, 1.0 - 1e-6)))


def _solve(model, pixels, focal, principal, start: FaceStart | None, moving, priors: Priors, steps: int) -> LandmarkFit:
    problem = _Problem.of(model, pixels, focal, principal, start, moving, priors)
    rigid, expected = RIGID, problem.prior_mean[2:]
    free = jnp.full(rigid, jnp.inf)
    begin = jnp.concatenate([jnp.zeros(3), problem.base.shift, jnp.zeros(2), expected])
    solve = partial(levenberg_marquardt, problem.residuals, jacobian=problem.jacobian)
    low, high = jnp.concatenate([-free, expected]), jnp.concatenate([free, expected])
    first = solve(begin, steps=max(steps // 3, 1), lower=low, upper=high)
    last = solve(first.x, steps=steps, lower=problem.lower, upper=problem.upper)
    pose, camera = _posed(problem.base, last.x[:rigid])
    identity, expression = jnp.split(last.x[rigid:], [len(model.identity_std)])
    params = FaceParams(identity, expression, zero_blocks(own_appearance(model)), pose, camera, uniform_light())
    costs = jnp.concatenate([first.costs, last.costs])
    return LandmarkFit(params, problem.project(last.x), moving, last.cost, costs, last.converged)


def _fill(coefficients: Float[Array, " n"], count: int) -> Float[Array, " m"]:
    """The first `count` coefficients, zeros after the last."""
    some = coefficients[:count]
    return jnp.concatenate([some, jnp.zeros(count - len(some))])


class _Base(NamedTuple):
    """The scaled-orthographic start, which the first seven unknowns change."""

    rotation: Float[Array, " 4"]
    shift: Float[Array, " 2"]
    distance: Float[Array, ""]
    focal: Float[Array, ""]
    principal: Float[Array, " 2"]


# Separate functions, so that a program traces them once for all residuals and Jacobians.


@jax.jit
def _posed(base: _Base, rigid: Float[Array, " 7"]) -> tuple[cam.Pose, cam.PerspectiveCamera]:
    rotation = cam.quaternion_multiply(cam.axis_angle_to_quaternion(rigid[:3]), base.rotation)
    depth = base.distance * jnp.exp(rigid[5])
    translation = depth * jnp.concatenate([rigid[3:5], -jnp.ones(1)])
    return cam.Pose(rotation, translation), cam.PerspectiveCamera(base.focal * jnp.exp(rigid[6]), base.principal)


@jax.jit
def _place(base: _Base, rigid: Float[Array, " 7"], points: Float[Array, "L 3"]) -> Float[Array, "L 2"]:
    pose, camera = _posed(base, rigid)
    return cam.project(camera, cam.to_camera(pose, points))[:, :2]


_choose = jax.jit(choose_landmarks)


class _Problem(NamedTuple):
    """The least-squares problem of one face. Unknowns: rotation vector, (X, Y) / depth, log depth, log focal, then
    identity and expression coefficients."""

    model: FaceModel
    mean: Float[Array, "P 3"]  # all landmark candidates
    basis: Float[Array, "N P 3"]  # mm per coefficient
    pixels: Float[Array, "L 2"]
    sigma: Float[Array, " L"]  # of the landmarks, pixels
    base: _Base
    moving: Bool[Array, ""]
    prior_mean: Float[Array, " M"]  # of log depth, log focal and the coefficients
    prior_std: Float[Array, " M"]
    lower: Float[Array, " X"]
    upper: Float[Array, " X"]

    @classmethod
    def of(
        cls, model: FaceModel, pixels, focal, principal, start: FaceStart | None, moving, priors: Priors
    ) -> "_Problem":
        where = landmark_candidates(model)
        on_points = jax.vmap(lambda directions: points_on_faces(directions, model.faces, *where))
        identity = on_points(model.identity_basis) * model.identity_std[:, None, None]
        expression = on_points(model.expression_basis) * model.expression_std[:, None, None]
        mean = points_on_faces(model.mean, model.faces, *where)

        is_jaw = jnp.arange(pixels.shape[0]) < JAW
        sigma = jnp.where(is_jaw, priors.jaw_noise, priors.noise)
        expected = jnp.zeros(len(identity) + len(expression))
        if start is not None:
            sigma = jnp.maximum(sigma, landmark_noise(start.confidence))
            expected = jnp.concatenate([_fill(start.identity, len(identity)), _fill(start.expression, len(expression))])
        points = place_landmarks(
            model, mean + jnp.tensordot(expected, jnp.concatenate([identity, expression]), 1), None
        )
        rotation, scale, offset = scaled_orthographic(points, pixels, jnp.where(is_jaw, 0.1, 1.0))
        known = focal is not None
        focal = scale * priors.distance if focal is None else focal
        distance = focal / scale
        shift = (offset - principal) * jnp.array([1.0, -1.0]) / focal

        # A known focal length gives the distance from the size; else the expected distance gives the focal length.
        camera_std = (1e3, priors.log_focal) if known else (priors.log_distance, 1e3)
        prior_mean = jnp.concatenate([-jnp.log(distance / priors.distance)[None], jnp.zeros(1), expected])
        coefficient_std = jnp.concatenate([jnp.full(len(identity), priors.identity), expression_std(model, priors)])
        free = jnp.full(RIGID + len(identity), jnp.inf)
        low, high = (0.0, 1.0) if model.blendshapes else (-3.0, 3.0)
        return cls(
            model=model,
            mean=mean,
            basis=jnp.concatenate([identity, expression]),
            pixels=pixels,
            sigma=sigma * box_size(pixels),
            base=_Base(cam.matrix_to_quaternion(rotation), shift, distance, focal, principal),
            moving=moving,
            prior_mean=prior_mean,
            prior_std=jnp.concatenate([jnp.array(camera_std), coefficient_std]),
            lower=jnp.concatenate([-free, jnp.full(len(expression), low)]),
            upper=jnp.concatenate([free, jnp.full(len(expression), high)]),
        )

    def chosen(self, x: Float[Array, " X"]) -> Int[Array, " L"]:
        """The current candidate of each landmark: itself, or for jaw points on the outline the outermost one."""
        points = self.mean + jnp.tensordot(x[RIGID:], self.basis, axes=1)
        rotation = _posed(self.base, x[:RIGID])[0].rotation
        return jnp.where(self.moving, _choose(self.model, points, rotation), _choose(self.model, points, None))

    def points(self, x: Float[Array, " X"], chosen: Int[Array, " L"]) -> Float[Array, "L 3"]:
        return self.mean[chosen] + jnp.tensordot(x[RIGID:], self.basis[:, chosen], axes=1)

    def project(self, x: Float[Array, " X"]) -> Float[Array, "L 2"]:
        return _place(self.base, x[:RIGID], self.points(x, self.chosen(x)))

    def residuals(self, x: Float[Array, " X"]) -> Float[Array, " R"]:
        misfit = ((self.project(x) - self.pixels) / self.sigma[:, None]).reshape(-1)
        return jnp.concatenate([misfit, (x[5:] - self.prior_mean) / self.prior_std])

    def jacobian(self, x: Float[Array, " X"]) -> Float[Array, "R X"]:
        """By the chain rule through the landmarks, which are linear in the coefficients."""
        chosen = self.chosen(x)
        rigid, points = x[:RIGID], self.points(x, chosen)
        by_rigid = jax.jacfwd(_place, argnums=1)(self.base, rigid, points)  # (L, 2, 7)
        by_point = jax.vmap(jax.jacfwd(lambda p: _place(self.base, rigid, p[None])[0]))(points)  # (L, 2, 3)
        by_coefficient = jnp.einsum("lij,nlj->lin", by_point, self.basis[:, chosen])
        misfit = jnp.concatenate([by_rigid, by_coefficient], axis=-1) / self.sigma[:, None, None]
        prior = jnp.eye(x.shape[0])[5:] / self.prior_std[:, None]
        return jnp.concatenate([misfit.reshape(-1, x.shape[0]), prior])

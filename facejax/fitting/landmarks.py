"""Pose, camera, identity and expression from 68 landmarks, by Levenberg-Marquardt.

Two steps, as in Bas and Smith, "Fitting a 3D morphable model to edges", ACCV 2016: a closed-form scaled-orthographic
start from the mean face, then all unknowns together under their Gaussian priors. Landmarks are linear in the
coefficients, so the bases are first restricted to them and a step costs next to nothing.
"""

import math
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from facejax import camera as cam
from facejax.appearance import own_appearance, zero_blocks
from facejax.face_model import FaceModel, FaceParams
from facejax.face_model.surface_landmarks import choose_landmarks, landmark_candidates, place_landmarks
from facejax.fitting.least_squares import levenberg_marquardt
from facejax.fitting.priors import PRIORS, FocalPrior, Priors, expression_std
from facejax.fitting.surface_points import NO_POINTS, SurfacePoints
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
    focal_information: Float[Array, ""]  # of the face about the logarithm of its focal length: 1 / variance
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


def likely_distance(scale: Float[Array, ""], focal: FocalPrior, priors: Priors = PRIORS) -> Float[Array, ""]:
    """The most likely distance, mm, of a face of `scale` pixels per mm, before its perspective is looked at.

    The focal length is `scale * distance`: a small face in a large photograph is far away, and one that fills a
    photograph is near, or was cut out of a larger one.
    """
    by_focal, by_distance = jnp.log(focal.focal / scale), jnp.log(priors.distance)
    logarithm = by_distance
    for _ in range(4):  # the mode of two Gaussians whose widths depend on the side
        length = jnp.where(logarithm < by_focal, focal.shorter, focal.longer) ** -2
        away = jnp.where(logarithm < by_distance, priors.nearer, priors.farther) ** -2
        logarithm = (length * by_focal + away * by_distance) / (length + away)
    return jnp.exp(logarithm)


def fit_landmarks(
    model: FaceModel,
    pixels: Float[Array, "68 2"],
    *,
    focal: FocalPrior | None = None,
    principal: Float[Array, " 2"],
    start: FaceStart | None = None,
    contour: Contour = "auto",
    priors: Priors = PRIORS,
    steps: int = 24,
    points: SurfacePoints = NO_POINTS,
) -> LandmarkFit:
    """Fit one face to 68 landmarks.

    Args:
        model: which shapes a face can have.
        pixels: the landmarks in the iBUG order, pixels of the camera's image.
        focal: what is known of the focal length, pixels of the camera's image. The perspective in the landmarks, and
            the usual distances of faces (`priors.distance`), refine it. None: a usual one of pictures cut out of
            photographs, with their centre at `principal`.
        principal: the optical centre, pixels.
        start: coefficients to expect instead of the mean face's, and how far to trust each landmark.
        contour: the jaw annotations are fixed surface points ("static", as in 3D annotations), follow the visible
            outline ("moving", as people and 2D detectors mark them), or whichever explains them better ("auto").
        priors: what is expected of a face.
        steps: of Levenberg-Marquardt.
        points: more points of the surface. Together they count as much as `priors.points` landmarks.
    """
    if focal is None:
        usual = jnp.linalg.norm(principal) / math.tan(math.radians(priors.cut_view) / 2)
        focal = FocalPrior(usual, jnp.float32(priors.shorter), jnp.float32(priors.cut_longer))
    if contour == "auto":
        solve = lambda flag: _solve(model, pixels, focal, principal, start, flag, priors, steps, points)  # noqa: E731
        both = jax.lax.map(solve, jnp.array([False, True]))  # one after the other: half as much to compile
        best = jnp.argmin(jnp.where(jnp.isfinite(both.cost), both.cost, jnp.inf))
        return jax.tree.map(lambda leaf: leaf[best], both)
    return _solve(model, pixels, focal, principal, start, jnp.asarray(contour == "moving"), priors, steps, points)


def place_face(
    model: FaceModel,
    pixels: Float[Array, "68 2"],
    *,
    focal: FocalPrior,
    principal: Float[Array, " 2"],
    start: FaceStart | None = None,
    priors: Priors = PRIORS,
) -> FaceParams:
    """Where the landmarks show a face, in closed form: the start of `fit_landmarks`, with the coefficients of `start`.

    Args:
        model, pixels, focal, principal, start, priors: as for `fit_landmarks`.
    """
    problem = _Problem.of(model, pixels, focal, principal, start, jnp.asarray(False), priors, NO_POINTS)
    return _face(problem, problem.begin())


def landmark_noise(confidence: Float[Array, "*N 68"]) -> Float[Array, "*N 68"]:
    """Standard deviation of x and y, as a share of the face's size, for a probability to be within 5 % of the truth.

    The inverse of the Rayleigh distribution's cumulative probability, 1 - exp(-0.5 (0.05 / sigma)^2).
    """
    return NEAR_SHARE / jnp.sqrt(-2.0 * jnp.log1p(-jnp.clip(confidence, 0.01, 1.0 - 1e-6)))


def _solve(
    model,
    pixels,
    focal: FocalPrior,
    principal,
    start: FaceStart | None,
    moving,
    priors: Priors,
    steps: int,
    points: SurfacePoints,
) -> LandmarkFit:
    problem = _Problem.of(model, pixels, focal, principal, start, moving, priors, points)
    begin = problem.begin()
    first = max(steps // 3, 1)  # steps in which the head alone moves
    last = levenberg_marquardt(
        problem.residuals,
        begin,
        steps=first + steps,
        lower=problem.lower,
        upper=problem.upper,
        jacobian=problem.jacobian,
        held=jnp.arange(len(begin)) >= RIGID,
        hold=first,
    )
    params = _face(problem, last.x)
    information = problem.focal_information(last.x)
    landmarks = problem.project(last.x)[: len(pixels)]
    return LandmarkFit(params, landmarks, moving, last.cost, information, last.costs, last.converged)


def _face(problem: "_Problem", x: Float[Array, " X"]) -> FaceParams:
    model, (pose, camera) = problem.model, _posed(problem.base, x[:RIGID])
    identity, expression = jnp.split(x[RIGID:], [len(model.identity_std)])
    return FaceParams(identity, expression, zero_blocks(own_appearance(model)), pose, camera, uniform_light())


def _fill(coefficients: Float[Array, " n"], count: int) -> Float[Array, " m"]:
    """The first `count` coefficients, zeros after the last."""
    some = coefficients[:count]
    return jnp.concatenate([some, jnp.zeros(count - len(some))])


class _Base(NamedTuple):
    """The scaled-orthographic start, which the first seven unknowns change."""

    rotation: Float[Array, " 4"]  # as seen along the ray to the model's origin
    shift: Float[Array, " 2"]  # that ray's x and y where its z is -1
    distance: Float[Array, ""]
    focal: Float[Array, ""]
    principal: Float[Array, " 2"]


class _Prior(NamedTuple):
    """A Gaussian with a width for each side of its mode."""

    mean: Float[Array, " M"]
    below: Float[Array, " M"]  # standard deviation of what is smaller than the mean
    above: Float[Array, " M"]

    def std(self, x: Float[Array, " M"]) -> Float[Array, " M"]:
        return jnp.where(x < self.mean, self.below, self.above)


# Separate functions, so that a program traces them once for all residuals and Jacobians.


@jax.jit
def _posed(base: _Base, rigid: Float[Array, " 7"]) -> tuple[cam.Pose, cam.PerspectiveCamera]:
    """The pose and the camera. Another focal length alone keeps the face's place and size in the picture, and the side
    that it shows; only its perspective changes."""
    zoom = jnp.exp(rigid[6])
    ray = jnp.concatenate([rigid[3:5] / zoom, -jnp.ones(1)])
    distance = base.distance * jnp.exp(rigid[5]) * zoom
    seen = cam.quaternion_multiply(cam.axis_angle_to_quaternion(rigid[:3]), base.rotation)
    pose = cam.Pose(cam.quaternion_multiply(cam.facing(ray), seen), distance * ray)
    return pose, cam.PerspectiveCamera(base.focal * zoom, base.principal)


@jax.jit
def _place(base: _Base, rigid: Float[Array, " 7"], points: Float[Array, "L 3"]) -> Float[Array, "L 2"]:
    pose, camera = _posed(base, rigid)
    return cam.project(camera, cam.to_camera(pose, points))[:, :2]


_choose = jax.jit(choose_landmarks)


class _Problem(NamedTuple):
    """The least-squares problem of one face. Unknowns: rotation vector, place in the picture, log (depth / focal), log
    focal, then identity and expression coefficients."""

    model: FaceModel
    mean: Float[Array, "P 3"]  # all landmark candidates, then the other points of the surface
    basis: Float[Array, "N P 3"]  # mm per coefficient
    pixels: Float[Array, "L 2"]  # of the landmarks, then of the other points
    sigma: Float[Array, " L"]  # of the same, pixels
    base: _Base
    moving: Bool[Array, ""]
    prior: _Prior  # of log depth, log focal and the coefficients
    lower: Float[Array, " X"]
    upper: Float[Array, " X"]

    @classmethod
    def of(
        cls,
        model: FaceModel,
        pixels,
        focal: FocalPrior,
        principal,
        start: FaceStart | None,
        moving,
        priors: Priors,
        others: SurfacePoints,
    ) -> "_Problem":
        faces, corners = landmark_candidates(model)
        candidates = len(faces)
        where = jnp.concatenate([faces, others.faces]), jnp.concatenate([corners, others.barycentric])
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
            model, (mean + jnp.tensordot(expected, jnp.concatenate([identity, expression]), 1))[:candidates], None
        )
        rotation, scale, offset = scaled_orthographic(points, pixels, jnp.where(is_jaw, 0.1, 1.0))
        distance = likely_distance(scale, focal, priors)
        length = distance * scale
        shift = (offset - principal) * jnp.array([1.0, -1.0]) / length
        coefficient_std = jnp.concatenate([jnp.full(len(identity), priors.identity), expression_std(model, priors)])
        near = [jnp.log(priors.distance / distance), jnp.log(focal.focal / length)]
        free = jnp.full(RIGID + len(identity), jnp.inf)
        low, high = (0.0, 1.0) if model.blendshapes else (-3.0, 3.0)
        return cls(
            model=model,
            mean=mean,
            basis=jnp.concatenate([identity, expression]),
            pixels=jnp.concatenate([pixels, others.pixels]),
            sigma=jnp.concatenate([sigma, priors.noise / jnp.sqrt(priors.points * others.weights)]) * box_size(pixels),
            base=_Base(cam.matrix_to_quaternion(rotation), shift, distance, length, principal),
            moving=moving,
            prior=_Prior(
                jnp.concatenate([jnp.stack(near), expected]),
                jnp.concatenate([jnp.stack([jnp.float32(priors.nearer), focal.shorter]), coefficient_std]),
                jnp.concatenate([jnp.stack([jnp.float32(priors.farther), focal.longer]), coefficient_std]),
            ),
            lower=jnp.concatenate([-free, jnp.full(len(expression), low)]),
            upper=jnp.concatenate([free, jnp.full(len(expression), high)]),
        )

    def begin(self) -> Float[Array, " X"]:
        return jnp.concatenate([jnp.zeros(3), self.base.shift, jnp.zeros(2), self.prior.mean[2:]])

    def chosen(self, x: Float[Array, " X"]) -> Int[Array, " L"]:
        """The current candidate of each landmark: itself, or for jaw points on the outline the outermost one. Then the
        other points."""
        points = self.mean + jnp.tensordot(x[RIGID:], self.basis, axes=1)
        rotation = cam.seen_rotation(_posed(self.base, x[:RIGID])[0])
        count = len(landmark_candidates(self.model)[0])
        some, others = points[:count], jnp.arange(count, len(points))
        landmarks = jnp.where(self.moving, _choose(self.model, some, rotation), _choose(self.model, some, None))
        return jnp.concatenate([landmarks, others])

    def points(self, x: Float[Array, " X"], chosen: Int[Array, " L"]) -> Float[Array, "L 3"]:
        return self.mean[chosen] + jnp.tensordot(x[RIGID:], self.basis[:, chosen], axes=1)

    def project(self, x: Float[Array, " X"]) -> Float[Array, "L 2"]:
        return _place(self.base, x[:RIGID], self.points(x, self.chosen(x)))

    def residuals(self, x: Float[Array, " X"]) -> Float[Array, " R"]:
        misfit = ((self.project(x) - self.pixels) / self.sigma[:, None]).reshape(-1)
        expected = self.expected(x)
        return jnp.concatenate([misfit, (expected - self.prior.mean) / self.prior.std(expected)])

    def expected(self, x: Float[Array, " X"]) -> Float[Array, " M"]:
        """What has a prior: log depth, log focal, and the coefficients."""
        return x[5:].at[0].add(x[6])

    def jacobian(self, x: Float[Array, " X"]) -> Float[Array, "R X"]:
        """By the chain rule through the landmarks, which are linear in the coefficients."""
        chosen = self.chosen(x)
        rigid, points = x[:RIGID], self.points(x, chosen)
        by_rigid = jax.jacfwd(_place, argnums=1)(self.base, rigid, points)  # (L, 2, 7)
        by_point = jax.vmap(jax.jacfwd(lambda p: _place(self.base, rigid, p[None])[0]))(points)  # (L, 2, 3)
        by_coefficient = jnp.einsum("lij,nlj->lin", by_point, self.basis[:, chosen])
        misfit = jnp.concatenate([by_rigid, by_coefficient], axis=-1) / self.sigma[:, None, None]
        prior = jnp.eye(x.shape[0])[5:].at[0, 6].set(1.0) / self.prior.std(self.expected(x))[:, None]
        return jnp.concatenate([misfit.reshape(-1, x.shape[0]), prior])

    def focal_information(self, x: Float[Array, " X"]) -> Float[Array, ""]:
        """What the face tells of log focal, without the focal length's own prior: the Hessian without all others."""
        jacobian = self.jacobian(x).at[2 * len(self.pixels) + 1].set(0.0)
        column, others = jacobian[:, 6], jnp.delete(jacobian, 6, axis=1)
        hessian = others.T @ others
        hessian = hessian + jnp.diag(1e-6 * jnp.diagonal(hessian) + 1e-9)
        explained = others @ jax.scipy.linalg.solve(hessian, others.T @ column, assume_a="pos")
        return jnp.sum(column * (column - explained))

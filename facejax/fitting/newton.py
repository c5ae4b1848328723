"""A stage of Gauss-Newton steps: pose, identity, expression, linear albedo and light, all from the pixels at once.

Each step looks at the surface that the picture shows now. It takes some thousand of its visible points, and asks how
their colours, and those of the photograph where they lie, change with all unknowns. Points are linear in the
coefficients, so this needs no differentiated renderer: a pixel's triangle has the rows of the bases. The normal
equations also hold the landmarks, other points of the surface, and the priors, with the same weights as the loss terms
of the same names. Robust terms are reweighted at each step. The photograph is blurred at first and sharp at last.

Lucas and Kanade, "An iterative image registration technique", IJCAI 1981, with a morphable model (Romdhani and Vetter,
"Estimating 3D shape and texture using pixel intensity, edges, specular highlights, texture constraints and a prior",
CVPR 2005); the dense Gauss-Newton solver is that of Thies et al., "Face2Face", CVPR 2016.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from facejax import camera as cam
from facejax.appearance import own_appearance
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.face_model.gaze import look_rows
from facejax.face_model.surface_landmarks import choose_landmarks, landmark_candidates
from facejax.fitting.ingredients import LINEAR, NO_INGREDIENTS, Ingredients
from facejax.fitting.least_squares import minimum_in_box
from facejax.fitting.priors import PRIORS, Priors, expression_std
from facejax.fitting.scene import Observation, observe, resize
from facejax.fitting.stages import find_targets
from facejax.fitting.surface_points import NO_POINTS, SurfacePoints
from facejax.fitting.terms import TERMS, Term
from facejax.fitting.visible import Photo, Pixels, Points, blur_photo, difference_slopes, differences, find_visible
from facejax.lighting import sh_basis
from facejax.objectives import landmark_distance, light_below_zero, light_colour, mean_square, surface_point_distance
from facejax.objectives.priors import light_directions

SHARPEST = 0.02  # display values: nearer than this, the distance of two colours counts by its square
SEEN_SCALE = 0.03  # of the face's size: see `surface_point_distance`
EVERYTHING = ("rotation", "translation", "identity", "expression", "albedo", "light")
DAMPING = 1e-3  # of the diagonal of the normal equations, at the first step
SQUARES = (
    "pixels",
    "landmarks",
    "surface_points",
    "identity",
    "squared_identity",
    "expression",
    "albedo",
    "light_colour",
    "light_below_zero",
)  # terms of `TERMS` that a step has in closed form; near its target "pixels" is smooth, see SHARPEST


@dataclass(frozen=True)
class Newton:
    """Gauss-Newton steps on all blocks of a face with its model's own albedo. Static and hashable: a recipe is compiled
    once.

    A term that is no sum of squares, such as one of the user's own, counts as the square of its root. It must not be
    negative, and the renderer is differentiated for it at each step.
    """

    name: str
    weights: tuple[tuple[str, float], ...]  # terms of `SQUARES` -> weight
    blurs: tuple[float, ...] = (4.0, 4.0, 2.0, 1.0, 0.0, 0.0, 0.0)
    """for each step, how far the photograph is blurred, pixels of the stage's size (standard deviation)"""
    size: int = 112  # side at which the surface is looked at, pixels
    samples: int = 4096  # the most visible points that count
    appearance: str = field(default=LINEAR, init=False)  # the model's own albedo, always
    moves: tuple[str, ...] = field(default=EVERYTHING, init=False)

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.blurs)


Others = Callable[[FaceParams], dict[str, Array]]  # the weighted terms that are no sums of squares


class NewtonTrace(NamedTuple):
    """The course of a `Newton` stage, one face."""

    losses: Float[Array, " T"]  # weighted total before each step, over the points that it took
    terms: dict[str, Float[Array, " T"]]  # the weighted terms that make it up
    diverged_at: Int[Array, ""]  # -1: a step that does not lower the loss is not taken
    converged: Bool[Array, ""]  # the last step lowered the loss by less than 2 %


class _Unknowns(NamedTuple):
    """Where each block of unknowns lies in the vector of a step."""

    rotation: slice
    translation: slice
    identity: slice
    expression: slice
    albedo: slice
    light: slice

    @classmethod
    def of(cls, params: FaceParams) -> "_Unknowns":
        sizes = (3, 3, params.identity.size, params.expression.size, params.appearance["albedo"].size, 27)
        ends = np.cumsum(sizes)
        return cls(*(slice(int(end - size), int(end)) for size, end in zip(sizes, ends, strict=True)))

    @property
    def total(self) -> int:
        return self.light.stop

    @property
    def coefficients(self) -> slice:
        return slice(self.identity.start, self.expression.stop)


class _Squares(NamedTuple):
    """Half the Hessian of a term, and half its gradient."""

    hessian: Float[Array, "X X"]
    gradient: Float[Array, " X"]

    @classmethod
    def of(cls, jacobian: Float[Array, "R X"], residual: Float[Array, " R"], weight: Float[Array, " R"]) -> "_Squares":
        """Of sum(weight residual^2)."""
        weighted = jacobian * weight[:, None]
        return cls(weighted.T @ jacobian, weighted.T @ residual)


@dataclass(frozen=True)
class _Problem:
    """What stays the same through the steps of a stage."""

    model: FaceModel
    seen: Observation
    photos: Photo  # leading axis: blurs
    table: Float[Array, "V C"]  # 3 (K + E): what moves each vertex, model space, mm
    targets: Points  # candidates of the landmarks, then points that networks see
    target_rows: Float[Array, "Q C"]
    at: _Unknowns
    stage: Newton
    priors: Priors
    weights: Mapping[str, float]  # of the terms in closed form
    others: Others

    def moved(self, params: FaceParams, step: Float[Array, " X"]) -> FaceParams:
        at, pose = self.at, params.pose
        turned = cam.quaternion_multiply(cam.axis_angle_to_quaternion(step[at.rotation]), pose.rotation)
        return replace(
            params,
            identity=params.identity + step[at.identity],
            expression=params.expression + step[at.expression],
            appearance={"albedo": params.appearance["albedo"] + step[at.albedo]},
            light=params.light + step[at.light].reshape(9, 3),
            pose=cam.Pose(turned, pose.translation + step[at.translation]),
        )

    def place(self, params: FaceParams, points: Float[Array, "Q 3"]) -> Float[Array, "Q 2"]:
        """Where points of model space lie in the picture, pixels."""
        return cam.project(params.camera, cam.to_camera(params.pose, points))[:, :2]

    def place_slopes(self, params: FaceParams, points: Float[Array, "Q 3"]) -> Float[Array, "Q 2 X"]:
        """The Jacobian of `place` for `targets`."""
        turn = cam.quaternion_to_matrix(params.pose.rotation)
        turned = points @ turn.T
        project = lambda x: cam.project(params.camera, x[None])[0, :2]  # noqa: E731
        by_place = jax.vmap(jax.jacfwd(project))(turned + params.pose.translation[None])
        shape = jnp.einsum("pdi,pin->pdn", by_place @ turn, self.target_rows.reshape(len(points), 3, -1))
        spin = jnp.cross(turned[:, None], by_place)
        none = jnp.zeros((*spin.shape[:2], self.at.total - self.at.coefficients.stop), spin.dtype)
        return jnp.concatenate([spin, by_place, shape, none], axis=-1)


def run_newton(
    model: FaceModel,
    params: FaceParams,
    seen: Observation,
    *,
    stage: Newton,
    priors: Priors = PRIORS,
    ingredients: Ingredients = NO_INGREDIENTS,
    terms: Mapping[str, Term] = TERMS,
) -> tuple[FaceParams, NewtonTrace]:
    """Run one stage on one face.

    Args:
        model, params, seen: the face, with the blocks of its model's own albedo, and its photograph.
        stage: the steps and terms.
        priors: what is expected of a face.
        ingredients: holds the networks that other terms use.
        terms: the other loss terms by name.

    Returns: the parameters after the last step, and the stage's losses.
    """
    camera = params.camera
    if stage.size != seen.image.shape[-2]:
        seen, params = resize(seen, params, stage.size)
    closed = {name: by for name, by in stage.weights if name in SQUARES and terms.get(name) is TERMS[name]}
    rest = {name: by for name, by in stage.weights if name not in closed}
    others = _other_terms(model, params, seen, stage, priors, ingredients, terms, rest)
    problem = _problem(model, params, seen, stage, priors, closed, others)
    kinds = sorted(set(stage.blurs), reverse=True)
    level = jnp.asarray([kinds.index(blur) for blur in stage.blurs])

    def step(carry, level):
        params, damping = carry
        photo = jax.tree.map(lambda leaf: leaf[level], problem.photos)
        vertices = decode(model, params)
        pixels = find_visible(model, params, cam.to_camera(params.pose, vertices), seen.comparable, stage.samples)
        now, squares = _expand(problem, params, vertices, pixels, photo)
        diagonal = damping * jnp.diagonal(squares.hessian) + 1e-9
        low, high = _box(model, params, problem.at)
        zero = jnp.zeros(problem.at.total, seen.image.dtype)
        moved = minimum_in_box(zero, squares.gradient, squares.hessian + jnp.diag(diagonal), low, high)
        trial = problem.moved(params, moved)
        then = _values(problem, trial, pixels, differences(model, trial, pixels, photo))
        total, after = (jnp.asarray(sum(parts.values())) for parts in (now, then))
        better = after < total  # False for NaN
        params = jax.tree.map(lambda new, old: jnp.where(better, new, old), trial, params)
        damping = jnp.clip(jnp.where(better, damping / 5.0, damping * 10.0), 1e-6, 1e4)
        return (params, damping), (total, now, (total - jnp.minimum(after, total)) / total)

    damping = DAMPING + 0.0 * seen.size  # one per face under vmap, so that the scan is traced once
    (params, _), (losses, parts, gained) = jax.lax.scan(step, (params, damping), level)
    trace = NewtonTrace(losses, parts, jnp.asarray(-1), gained[-1] < 0.02)
    return replace(params, camera=camera), trace


def _problem(
    model: FaceModel,
    params: FaceParams,
    seen: Observation,
    stage: Newton,
    priors: Priors,
    weights: Mapping[str, float],
    others: Others,
) -> _Problem:
    identity = model.identity_basis * model.identity_std[:, None, None]
    expression = model.expression_basis * model.expression_std[:, None, None]
    if params.gaze is not None and (rows := look_rows(model)) is not None:
        expression = expression.at[rows.reshape(-1)].set(0.0)  # they follow from the gaze
    table = jnp.moveaxis(jnp.concatenate([identity, expression]), 0, 2).reshape(len(model.mean), -1)
    faces, inner = landmark_candidates(model)
    points = _seen_points(seen)
    faces, inner = jnp.concatenate([faces, points.faces]), jnp.concatenate([inner, points.barycentric])
    targets = Points(model.faces[faces], inner)
    blurs = sorted(set(stage.blurs), reverse=True)
    photos = [blur_photo(seen.image, blur) for blur in blurs]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *photos)
    return _Problem(
        model, seen, stacked, table, targets, targets.of(table), _Unknowns.of(params), stage, priors, weights, others
    )


def _seen_points(seen: Observation) -> SurfacePoints:
    return jax.tree.map(jnp.asarray, NO_POINTS if seen.sight.points is None else seen.sight.points)


def _box(model: FaceModel, params: FaceParams, at: _Unknowns) -> tuple[Float[Array, " X"], Float[Array, " X"]]:
    """Limits of a step: blendshapes stay in [0, 1], and those that follow from a gaze as they are."""
    far = jnp.full(at.total, jnp.inf, params.light.dtype)
    if not model.blendshapes:
        return -far, far
    low, high = -params.expression, 1.0 - params.expression
    if params.gaze is not None and (rows := look_rows(model)) is not None:
        low, high = low.at[rows.reshape(-1)].set(0.0), high.at[rows.reshape(-1)].set(0.0)
    return (-far).at[at.expression].set(low.astype(far.dtype)), far.at[at.expression].set(high.astype(far.dtype))


def _expand(
    problem: _Problem, params: FaceParams, vertices: Float[Array, "V 3"], pixels: Pixels, photo: Photo
) -> tuple[dict[str, Array], _Squares]:
    """The weighted terms, and half of their gradient and Hessian."""
    at, seen, weights = problem.at, problem.seen, problem.weights
    jacobian = difference_slopes(problem.model, params, vertices, pixels, photo, problem.table)
    residual = differences(problem.model, params, pixels, photo)
    values = _values(problem, params, pixels, residual)
    far = jnp.sqrt(jnp.sum(residual**2, axis=-1) + SHARPEST**2)
    share = jnp.repeat(0.5 * weights.get("pixels", 0.0) * pixels.weight / far, 3)
    found = [_Squares.of(jacobian.reshape(-1, at.total), residual.reshape(-1), share)]

    points = problem.targets.of(vertices)
    jacobian, place = problem.place_slopes(params, points), problem.place(params, points)
    observed, share, rows = _observed(problem, params, points, place)
    residual = (place[rows] - observed) / seen.size
    found.append(
        _Squares.of(jacobian[rows].reshape(-1, at.total) / seen.size, residual.reshape(-1), jnp.repeat(share, 2))
    )
    if len(weights) < len(problem.stage.weights):
        found.append(_root_squares(problem, params))
    hessian = sum(one.hessian for one in found)
    gradient = sum(one.gradient for one in found)
    diagonal = jnp.zeros(at.total, seen.image.dtype)
    std = jnp.asarray(expression_std(problem.model, problem.priors), seen.image.dtype)
    mean_of = lambda name, block: weights.get(name, 0.0) / max(block.stop - block.start, 1)  # noqa: E731
    narrow = mean_of("identity", at.identity) + weights.get("squared_identity", 0.0)
    diagonal = diagonal.at[at.identity].set(narrow).at[at.albedo].set(mean_of("albedo", at.albedo))
    diagonal = diagonal.at[at.expression].set(mean_of("expression", at.expression) / std**2)
    coefficients = [params.identity, params.expression, params.appearance["albedo"]]
    x = jnp.concatenate([jnp.zeros(6, seen.image.dtype), *coefficients, params.light.reshape(-1)])
    light = _light_hessian(params.light, weights)
    hessian = hessian + jnp.diag(diagonal)
    hessian = hessian.at[at.light, at.light].add(light)
    gradient = gradient + diagonal * x
    gradient = gradient.at[at.light].add(light @ x[at.light])
    own = seen.image.dtype  # also where jax counts in float64
    return values, _Squares(hessian.astype(own), gradient.astype(own))


def _observed(
    problem: _Problem, params: FaceParams, targets: Float[Array, "Q 3"], place: Float[Array, "Q 2"]
) -> tuple[Float[Array, "T 2"], Float[Array, " T"], Int[Array, " T"]]:
    """Where the targets were seen, their weights, and which of `problem.targets` they are now."""
    seen, weights, model = problem.seen, problem.weights, problem.model
    count = len(landmark_candidates(model)[0])
    candidates = targets[:count]
    moving = choose_landmarks(model, candidates, cam.seen_rotation(params.pose))
    rows = jnp.where(seen.moving, moving, choose_landmarks(model, candidates, None))
    rows = jnp.concatenate([rows, jnp.arange(count, len(place))])
    share = weights.get("landmarks", 0.0) * seen.landmark_weights / jnp.sum(seen.landmark_weights)
    points = _seen_points(seen)
    observed = jnp.concatenate([seen.landmarks, points.pixels])
    square = jnp.sum((place[count:] - points.pixels) ** 2, axis=-1) / seen.size**2
    robust = weights.get("surface_points", 0.0) * points.weights / (1.0 + square / SEEN_SCALE**2) ** 2
    return observed, jnp.concatenate([share, robust]), rows


def _light_hessian(light: Float[Array, "9 3"], weights: Mapping[str, float]) -> Float[Array, "27 27"]:
    """Half the Hessian of `light_colour` and `light_below_zero`: both are quadratic here, around zero."""
    level, three = jnp.maximum(jnp.mean(light[0]) ** 2, 1e-6), jnp.eye(3, dtype=light.dtype)
    apart = jnp.kron(jnp.eye(9, dtype=light.dtype), three - 1 / 3) * (weights.get("light_colour", 0.0) / 27 / level)
    basis = sh_basis(light_directions())
    dark = (basis @ light < 0).astype(light.dtype)
    below = jnp.einsum("di,dc,dj,ck->icjk", basis, dark, basis, three).reshape(27, 27)
    return apart + below * (weights.get("light_below_zero", 0.0) / dark.size)


def _values(problem: _Problem, params: FaceParams, pixels: Pixels, residual: Float[Array, "P 3"]) -> dict[str, Array]:
    """The weighted terms."""
    seen, targets = problem.seen, problem.targets.of(decode(problem.model, params))
    place = problem.place(params, targets)
    rows = _observed(problem, params, targets, place)[2]
    points = _seen_points(seen)
    count, size = len(seen.landmarks), seen.size
    std = jnp.asarray(expression_std(problem.model, problem.priors), seen.image.dtype)
    far = jnp.sqrt(jnp.sum(residual**2, axis=-1) + SHARPEST**2)
    every = {
        "pixels": jnp.sum(pixels.weight * far),
        "landmarks": landmark_distance(place[rows][:count], seen.landmarks, seen.landmark_weights, size),
        "surface_points": surface_point_distance(place[rows][count:], points.pixels, points.weights, size),
        "identity": mean_square(params.identity),
        "squared_identity": jnp.sum(params.identity**2),
        "expression": mean_square(params.expression / std),
        "albedo": mean_square(params.appearance["albedo"]),
        "light_colour": light_colour(params.light),
        "light_below_zero": light_below_zero(params.light),
    }
    own = {name: weight * every[name] for name, weight in problem.weights.items()}
    return own | problem.others(params)


def _other_terms(
    model: FaceModel,
    params: FaceParams,
    seen: Observation,
    stage: Newton,
    priors: Priors,
    ingredients: Ingredients,
    terms: Mapping[str, Term],
    named: Mapping[str, float],
) -> Others:
    """A function that gives these terms of a stage, weighted."""
    if not named:
        return lambda params: {}
    targets = find_targets(stage, seen, ingredients, terms)
    given = {"priors": priors, "ingredients": ingredients, "targets": targets}
    see = observe(model, params, seen, own_appearance(model), moving=stage.moves, **given)

    def values(params: FaceParams) -> dict[str, Array]:
        scene = see(params)
        return {name: weight * terms[name].value(scene) for name, weight in named.items()}

    return values


def _root_squares(problem: _Problem, params: FaceParams) -> _Squares:
    """Of all other terms together, as the square of their root."""
    total = lambda step: sum(problem.others(problem.moved(params, step)).values())  # noqa: E731
    value, slope = jax.value_and_grad(total)(jnp.zeros(problem.at.total, params.light.dtype))
    return _Squares(jnp.outer(slope, slope) / jnp.maximum(4.0 * value, 1e-9), slope / 2.0)

"""The loss terms that a stage can name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.fitting.face_data import PhotoData
from facejax.fitting.priors import expression_std
from facejax.fitting.scene import Scene
from facejax.fitting.surface_points import project_points
from facejax.objectives import (
    absolute_photometric,
    coverage_distance,
    deep3d_landmark_distance,
    gamma_spread,
    geodesic_cross,
    landmark_distance,
    light_below_zero,
    light_colour,
    mean_square,
    normal_consistency,
    normal_distance,
    robust_photometric,
    surface_point_distance,
)


@dataclass(frozen=True)
class Term:
    """A loss term: a function of the scene.

    Pass your own with `facejax.fit(..., terms={"name": Term(function, ...)})`. The function must be hashable and the
    same object from call to call, or every call compiles again.
    """

    value: Callable[[Scene], Float[Array, ""]]
    network: str | None = None  # the role of the network that it uses (see `Ingredients`)
    block: str | None = None  # the block of the appearance's parameters that it needs
    weight: float = 1.0  # in all stages, if no stage of the recipe names the term
    data: PhotoData | None = None  # one array per photograph, found in `scene.data` under the term's name


def _through(role: str) -> Term:
    """The distance between the photograph with the render laid over it and the photograph, in a network's features."""

    def value(s: Scene) -> Float[Array, ""]:
        network = s.ingredients.networks[role]
        return network.compare(network.see(s.composite, s.landmarks), s.targets[role], s.mask)

    return Term(value, network=role)


def _normals(s: Scene) -> Float[Array, "S S 3"]:
    return s.rendering.normal * s.rendering.alpha[..., None]


def _surface_points(s: Scene) -> Float[Array, ""]:
    points = s.seen.sight.points
    if points is None:  # no network knows this model's surface
        return jnp.zeros(())
    projected = project_points(s.model, s.params, points)
    return surface_point_distance(projected, points.pixels, points.weights, s.seen.size)


def _seen_normals(s: Scene) -> Float[Array, ""]:
    seen = s.seen.sight.normal
    return jnp.zeros(()) if seen is None else normal_distance(s.rendering.normal, seen, s.mask)


def _sum_square(x: Float[Array, " N"]) -> Float[Array, ""]:
    return jnp.sum(x * x)


TERMS: Mapping[str, Term] = MappingProxyType(
    {
        "pixels": Term(lambda s: robust_photometric(s.rendering.color, s.seen.image, s.mask)),
        "absolute_pixels": Term(lambda s: absolute_photometric(s.rendering.color, s.seen.image, s.mask)),
        "perceptual": _through("perceptual"),
        "recognition": _through("recognition"),
        "normals": Term(lambda s: normal_consistency(s.targets["normals"][0], _normals(s)), network="normals"),
        "outline": Term(
            lambda s: coverage_distance(s.rendering.alpha, s.targets["normals"][1], s.seen.valid), network="normals"
        ),
        "landmarks": Term(
            lambda s: landmark_distance(s.landmarks, s.seen.landmarks, s.seen.landmark_weights, s.seen.size)
        ),
        "surface_points": Term(_surface_points),
        "seen_normals": Term(_seen_normals),
        "deep3d_landmarks": Term(lambda s: deep3d_landmark_distance(s.landmarks, s.seen.landmarks)),
        "identity": Term(lambda s: mean_square(s.params.identity)),
        "expression": Term(lambda s: mean_square(s.params.expression / expression_std(s.model, s.priors))),
        "albedo": Term(lambda s: mean_square(s.params.appearance["albedo"]), block="albedo"),
        "latents": Term(lambda s: mean_square(s.params.appearance["latents"].reshape(-1)), block="latents"),
        "details": Term(lambda s: mean_square(s.params.appearance["details"]), block="details"),
        "squared_identity": Term(lambda s: _sum_square(s.params.identity)),
        "squared_expression": Term(lambda s: _sum_square(s.params.expression)),
        "latents_together": Term(lambda s: geodesic_cross(s.params.appearance["latents"]), block="latents"),
        "light_colour": Term(lambda s: light_colour(s.params.light)),
        "light_spread": Term(lambda s: gamma_spread(s.params.light)),
        "light_below_zero": Term(lambda s: light_below_zero(s.params.light)),
    }
)

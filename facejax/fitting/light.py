"""The light in closed form: given albedo and normals, the shading is linear in the coefficients."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.face_model import FaceModel, FaceParams
from facejax.fitting.scene import Observation, look
from facejax.lighting import sh_basis, srgb_to_linear, uniform_light

ROUNDS = 5  # of reweighting
SATURATED = 0.95  # linear value from which a photograph only says "at least"
RIDGE = (1e-4, *[1e-3] * 3, *[5e-3] * 5)  # a share of the system's mean diagonal, per band: dim light is smooth light


def solve_light(model: FaceModel, params: FaceParams, seen: Observation) -> FaceParams:
    """The parameters with the light that best explains the photograph (one face; linear RGB).

    Iteratively reweighted ridge regression: pixels far from the last solution (hair, highlights, cast shadows) count
    less (Cauchy weights at the mean distance), and a saturated value counts as what the last solution makes of it, if
    that is brighter.
    """
    scene = look(model, replace(params, light=uniform_light()), seen)
    own = partial(jnp.asarray, dtype=seen.image.dtype)  # whatever type jax gives to numbers by itself
    view, mask = jax.lax.stop_gradient(scene.rendering), own(scene.mask).reshape(-1)
    basis = own(sh_basis(view.normal)).reshape(-1, 9)
    albedo = own(srgb_to_linear(jnp.clip(view.color, 0.0, 1.0))).reshape(-1, 3)
    seen_linear = srgb_to_linear(jnp.clip(seen.image, 0.0, 1.0)).reshape(-1, 3)
    ridge = own(RIDGE)

    def channel(a: Float[Array, " P"], y: Float[Array, " P"], weight: Float[Array, " P"]) -> Float[Array, " 9"]:
        x = basis * a[:, None]
        normal = (x * weight[:, None]).T @ x
        scale = jnp.trace(normal) / 9 + 1e-9
        return jnp.linalg.solve(normal + jnp.diag(ridge * scale), (x * weight[:, None]).T @ y)

    def one_round(carry, _):
        weight, target, _ = carry
        light = jax.vmap(channel, in_axes=(1, 1, None), out_axes=1)(albedo, target, weight)
        lit = albedo * (basis @ light)
        target = jnp.where(seen_linear > SATURATED, jnp.maximum(seen_linear, lit), seen_linear)
        distance = jnp.linalg.norm(lit - target, axis=-1)
        mean = jnp.sum(distance * mask) / jnp.maximum(jnp.sum(mask), 1.0)
        return (mask / (1.0 + (distance / jnp.maximum(mean, 1e-3)) ** 2), target, light), None

    (_, _, light), _ = jax.lax.scan(one_round, (mask, seen_linear, own(params.light)), None, length=ROUNDS)
    return replace(params, light=jnp.where(jnp.all(jnp.isfinite(light)), light, params.light))

"""The light in closed form, and how much of a picture's brightness is due to the skin."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from facejax.appearance import Appearance, own_appearance
from facejax.face_model import FaceModel, FaceParams, LinearAlbedo, own_albedo
from facejax.fitting.priors import PRIORS, Priors
from facejax.fitting.scene import Observation, Scene, observe
from facejax.lighting import front_level, luminance, sh_basis, srgb_to_linear, uniform_light
from facejax.material.draw import Surface, harmonic_response

ROUNDS = 5  # of reweighting, and of Gauss-Newton
SATURATED = 0.95  # linear value above which a pixel may be clipped and is only a lower bound
RIDGE = (1e-4, *[1e-3] * 3, *[5e-3] * 5)  # a share of the system's mean diagonal, per band: dim light is smooth light
WHITE = 0.97  # quantile of a picture's luminance that is taken as its white
DARKEST = 0.05  # display value of skin
MOST = 1.5  # largest log brightness that skin shall explain: about the distance of the darkest skin from the mean
FACE = ("face_inner", "face")  # the skin's colour is this region's mean: the first region that the model has


def solve_light(
    model: FaceModel, params: FaceParams, seen: Observation, appearance: Appearance | None = None
) -> FaceParams:
    """The parameters with the light that best explains the photograph (one face; linear RGB).

    Iteratively reweighted ridge regression: pixels far from the last solution (hair, highlights, cast shadows) count
    less (Cauchy weights at the mean distance). A saturated value is replaced by the last solution's, if that is
    brighter.

    Args:
        model, params: the face; its light stays if the solution is not finite.
        seen: its photograph.
        appearance: what colours the face; None: the model's own albedo.
    """
    return _with_light(params, _evenly_lit(model, params, seen, appearance)(params), seen)


def solve_skin(model: FaceModel, params: FaceParams, seen: Observation, *, priors: Priors = PRIORS) -> FaceParams:
    """`solve_light`, and an albedo that explains its share of the brightness; one face, the model's own linear albedo.

    A dark face has dark skin or little light. A fit with the mean albedo would explain all of it by light, and give
    everybody the same skin. Here both have priors: the coefficients are standard normal, and the logarithm of the light
    towards the camera (`front_level`) is normal around half the logarithm of the picture's white, the 97th percentile
    of its luminance. Half, because cameras make pictures of all scenes nearly, but not quite, equally bright. Its
    standard deviations are `priors.log_light` and, for each channel, `priors.log_tint`. The most probable coefficients,
    given the light that the mean albedo needs, follow from three numbers (`share_brightness`).

    The ambiguity is that of Feng et al., "Towards racially unbiased skin tone estimation via scene disambiguation",
    ECCV 2022, who resolve it with the whole scene; the white is Land's (Retinex, 1977); the rest is ours.

    Args:
        model, params: the face with the mean albedo; its light stays if the solution is not finite.
        seen: its photograph.
        priors: standard deviations of the light.
    """
    own, evenly_lit = own_albedo(model), _evenly_lit(model, params, seen)
    lit = _with_light(params, evenly_lit(params), seen)
    if own.count == 0 or not set(FACE) & set(model.regions):
        return lit
    surplus = jnp.log(jnp.maximum(front_level(lit.light), 1e-3)) - 0.5 * jnp.log(_white(seen))
    params = replace(params, appearance={"albedo": share_brightness(*skin_color(model, own), surplus, priors)})
    return _with_light(params, evenly_lit(params), seen)


def share_brightness(
    mean: Float[Array, " 3"], moves: Float[Array, "A 3"], surplus: Float[Array, " 3"], priors: Priors
) -> Float[Array, " A"]:
    """The most probable albedo coefficients when the mean albedo needs a stronger or weaker light than expected.

    Gauss-Newton steps; zeros if those find nothing more probable. The part of a surplus beyond `MOST` is left to the
    light: a coloured lamp, light from behind.

    Args:
        mean: the mean colour of the skin, display values.
        moves: how each coefficient moves it.
        surplus: logarithm of the light over the expected one, per channel.
        priors: standard deviations of the light.
    """
    spread = priors.log_light**2 + priors.log_tint**2 * jnp.eye(3, dtype=mean.dtype)
    none, surplus = jnp.zeros(len(moves), mean.dtype), jnp.clip(surplus, -MOST, MOST)

    def color(albedo: Float[Array, " A"]) -> Float[Array, " 3"]:
        return jnp.log(srgb_to_linear(jnp.clip(mean + albedo @ moves, DARKEST, 1.0)))

    def left(albedo: Float[Array, " A"]) -> Float[Array, " 3"]:
        return surplus + color(none) - color(albedo)

    def unlikely(albedo: Float[Array, " A"]) -> Float[Array, ""]:
        return albedo @ albedo + left(albedo) @ jnp.linalg.solve(spread, left(albedo))

    def step(albedo: Float[Array, " A"], _: None) -> tuple[Float[Array, " A"], None]:
        slope = jax.jacfwd(color)(albedo)  # (3, A)
        return slope.T @ jnp.linalg.solve(slope @ slope.T + spread, left(albedo) + slope @ albedo), None

    found, _ = jax.lax.scan(step, none, None, length=ROUNDS)
    return jnp.where(unlikely(found) < unlikely(none), found, none)


def skin_color(model: FaceModel, albedo: LinearAlbedo) -> tuple[Float[Array, " 3"], Float[Array, "A 3"]]:
    """The mean colour of the face, display values, and its derivative by each coefficient."""
    region = next(model.regions[name] for name in FACE if name in model.regions)
    if albedo.per_vertex:
        weight, mean, basis = region, albedo.mean, albedo.basis
    else:  # one texel per triangle, at its centre
        height, width, _ = albedo.mean.shape
        u, v = jnp.mean(model.uv[model.topology.uv_faces], axis=1).T
        column, row = (jnp.clip(x, 0.0, 1.0 - 1e-6) for x in (u, 1.0 - v))
        column, row = (column * width).astype(jnp.int32), (row * height).astype(jnp.int32)
        weight = jnp.mean(region[model.faces], axis=1)
        mean, basis = albedo.mean[row, column], albedo.basis[:, row, column]
    weight = weight / jnp.sum(weight)
    return weight @ mean, albedo.std[:, None] * jnp.einsum("p,apc->ac", weight, basis)


def _white(seen: Observation) -> Float[Array, ""]:
    """The linear luminance that only few pixels of the photograph exceed."""
    bright = luminance(srgb_to_linear(jnp.clip(seen.image, 0.0, 1.0)))
    white = jnp.nanquantile(jnp.where(seen.valid > 0.5, bright, jnp.nan), WHITE)
    return jnp.maximum(white, 1e-3).astype(bright.dtype)


def _evenly_lit(
    model: FaceModel, params: FaceParams, seen: Observation, appearance: Appearance | None = None
) -> Callable[[FaceParams], Scene]:
    """A function that draws the albedo of parameters with the same geometry under uniform light."""
    appearance = own_appearance(model) if appearance is None else appearance
    see = observe(model, params, seen, appearance, moving=("albedo", "light"))
    return lambda face: see(replace(face, light=uniform_light()))


def ridge_light(
    basis: Float[Array, "P 9"],
    albedo: Float[Array, "P 3"],
    target: Float[Array, "P 3"],
    weight: Float[Array, " P"],
    ridge: Float[Array, " 9"],
) -> Float[Array, "9 3"]:
    """The harmonics that make an albedo look most like a target: ridge regression, channel by channel.

    Args:
        basis: of `sh_basis` at the points.
        albedo, target: linear.
        weight: how much each point counts.
        ridge: of each coefficient, as a share of the system's mean diagonal.
    """
    channel = lambda a, y: _ridge(basis * a[:, None], y, weight, ridge)  # noqa: E731
    return jax.vmap(channel, in_axes=1, out_axes=1)(albedo, target)


def _ridge(
    x: Float[Array, "P 9"], y: Float[Array, " P"], weight: Float[Array, " P"], ridge: Float[Array, " 9"]
) -> Float[Array, " 9"]:
    normal = (x * weight[:, None]).T @ x
    scale = jnp.trace(normal) / 9 + 1e-9
    return jnp.linalg.solve(normal + jnp.diag(ridge * scale), (x * weight[:, None]).T @ y)


def solve_material_light(
    params: FaceParams, surface: Surface, image: Float[Array, "H W 3"], mask: Float[Array, "H W"]
) -> FaceParams:
    """`solve_light` for the maps of a skin: the light under which `render_material` best explains a photograph.

    Its highlights count, as far as nine harmonics make any.

    Args:
        params: the face; its light stays if the solution is not finite.
        surface: of `facejax.material.draw.look`: the face in its maps, at the pixels of the picture.
        image: display values.
        mask: how much each pixel counts.
    """
    response = harmonic_response(surface).reshape(-1, 9, 3)
    share = jnp.where(surface.drawn.triangle >= 0, mask, 0.0).reshape(-1)
    ridge = jnp.asarray(RIDGE, image.dtype)

    def solve(target: Float[Array, "P 3"], weight: Float[Array, " P"]) -> tuple[Array, Array]:
        light = jax.vmap(lambda x, y: _ridge(x, y, weight, ridge), in_axes=(2, 1), out_axes=1)(response, target)
        return light, jnp.einsum("pkc,kc->pc", response, light)

    return _robust_light(params, solve, srgb_to_linear(jnp.clip(image, 0.0, 1.0)).reshape(-1, 3), share)


def _with_light(params: FaceParams, scene: Scene, seen: Observation) -> FaceParams:
    own = partial(jnp.asarray, dtype=seen.image.dtype)  # not jax's default type, which may be float64
    view, mask = jax.lax.stop_gradient(scene.rendering), own(scene.mask).reshape(-1)
    basis = own(sh_basis(view.normal)).reshape(-1, 9)
    albedo = own(srgb_to_linear(jnp.clip(view.color, 0.0, 1.0))).reshape(-1, 3)
    seen_linear = srgb_to_linear(jnp.clip(seen.image, 0.0, 1.0)).reshape(-1, 3)

    def solve(target: Float[Array, "P 3"], weight: Float[Array, " P"]) -> tuple[Array, Array]:
        light = ridge_light(basis, albedo, target, weight, own(RIDGE))
        return light, albedo * (basis @ light)

    return _robust_light(params, solve, seen_linear, mask)


def _robust_light(
    params: FaceParams,
    solve: Callable[[Float[Array, "P 3"], Float[Array, " P"]], tuple[Array, Array]],
    seen: Float[Array, "P 3"],
    mask: Float[Array, " P"],
) -> FaceParams:
    """The light of the last of some rounds, after each of which pixels far from their solution count less.

    Args:
        params: their light stays if the solution is not finite.
        solve: gives the light for a target and the weights of its pixels, and what that light makes of them.
        seen: the photograph, linear.
        mask: how much each pixel counts.
    """

    def one_round(carry, _):
        weight, target, _ = carry
        light, lit = solve(target, weight)
        target = jnp.where(seen > SATURATED, jnp.maximum(seen, lit), seen)
        distance = jnp.linalg.norm(lit - target, axis=-1)
        mean = jnp.sum(distance * mask) / jnp.maximum(jnp.sum(mask), 1.0)
        return (mask / (1.0 + (distance / jnp.maximum(mean, 1e-3)) ** 2), target, light), None

    before = jnp.asarray(params.light, seen.dtype)
    (_, _, light), _ = jax.lax.scan(one_round, (mask, seen, before), None, length=ROUNDS)
    return replace(params, light=jnp.where(jnp.all(jnp.isfinite(light)), light, before))

"""Skin attention: how likely a pixel is skin by its colour, so that hair, beard and glasses pull less.

Deep3DFaceRecon (Deng et al., CVPR-W 2019, on the robust photometric loss): a naive Bayes classifier with one Gaussian
mixture for skin colours and one for all others, in YCbCr, after Jones and Rehg, "Statistical color models with
application to skin detection", IJCV 2002. The mixtures here are the caller's, or are fitted to colours that the caller
gives.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from facejax.face_model import FaceModel, LinearAlbedo
from facejax.lighting import linear_to_srgb, srgb_to_linear
from facejax.objectives.pixels import robust_photometric
from facejax.promotion import along_last

_NOT_SKIN = ("eyes", "eyeballs", "brows", "lips", "mouth", "scalp", "ears", "neck")


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GaussianMixture:
    """M Gaussians in D dimensions."""

    weights: Float[Array, " M"]  # sum to 1
    means: Float[Array, "M D"]
    covariances: Float[Array, "M D D"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SkinModel:
    """Colours (YCbCr) of skin and of everything else, and the share of skin expected before looking."""

    skin: GaussianMixture
    other: GaussianMixture
    prior: Float[Array, ""]


def rgb_to_ycbcr(rgb: Float[Array, "... 3"]) -> Float[Array, "... 3"]:
    """Display RGB in [0, 1] to Y in [0, 1], Cb and Cr in [-0.5, 0.5] (ITU-R BT.601, full range)."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    return jnp.stack([luma, (blue - luma) / 1.772, (red - luma) / 1.402], axis=-1)


def log_density(mixture: GaussianMixture, x: Float[Array, "... D"]) -> Float[Array, "..."]:
    """Log of the mixture's density."""
    return jax.nn.logsumexp(_log_components(mixture, x), axis=-1)


def skin_probability(model: SkinModel, image: Float[Array, "... 3"]) -> Float[Array, "..."]:
    """Posterior probability of skin for display colours in [0, 1]; from log-odds, so it never divides by zero."""
    colour = rgb_to_ycbcr(image)
    odds = jnp.log(model.prior) - jnp.log1p(-model.prior)
    return jax.nn.sigmoid(odds + log_density(model.skin, colour) - log_density(model.other, colour))


def skin_attention(
    model: SkinModel, image: Float[Array, "... 3"], *, threshold: float | None = None
) -> Float[Array, "..."]:
    """The weight of each pixel of a photograph; no gradient.

    The probability itself (the released code), or with `threshold` 0.5 the paper's: 1 where it is above, else itself.
    """
    chance = jax.lax.stop_gradient(skin_probability(model, image))
    return chance if threshold is None else jnp.where(chance > threshold, 1.0, chance)


def skin_photometric(
    rendered: Float[Array, "H W 3"],
    image: Float[Array, "H W 3"],
    attention: Float[Array, "H W"],
    front: Float[Array, "H W"],
) -> Float[Array, ""]:
    """`robust_photometric` over skin attention times the rendered face's mask; both masks carry no gradient."""
    return robust_photometric(rendered, image, jax.lax.stop_gradient(attention * front))


def fit_mixture(
    samples: Float[Array, "N D"], *, components: int = 4, steps: int = 60, floor: float = 1e-4
) -> GaussianMixture:
    """Maximum-likelihood mixture by expectation maximisation, started from equal shares along the first coordinate.

    `floor` is added to every covariance's diagonal, so no component collapses onto one colour.
    """
    count, size = samples.shape
    rank = jnp.argsort(jnp.argsort(samples[:, 0]))
    start = jax.nn.one_hot(rank * components // count, components, dtype=samples.dtype)

    def maximize(share: Float[Array, "N M"]) -> GaussianMixture:
        total = jnp.maximum(jnp.sum(share, axis=0), 1e-6)
        means = share.T @ samples / total[:, None]
        centred = samples[:, None] - means[None]
        spread = jnp.einsum("nm,nmi,nmj->mij", share, centred, centred) / total[:, None, None]
        return GaussianMixture(total / jnp.sum(total), means, spread + floor * jnp.eye(size, dtype=samples.dtype)[None])

    def improve(mixture: GaussianMixture, _: None) -> tuple[GaussianMixture, None]:
        return maximize(jax.nn.softmax(_log_components(mixture, samples), axis=-1)), None

    return jax.lax.scan(improve, maximize(start), None, length=steps)[0]


def fit_skin_model(skin: Float[Array, "N 3"], other: Float[Array, "M 3"], *, prior: float = 0.8) -> SkinModel:
    """A skin model from display colours of skin and of other things, four Gaussians each."""
    return SkinModel(fit_mixture(rgb_to_ycbcr(skin)), fit_mixture(rgb_to_ycbcr(other)), jnp.asarray(prior, skin.dtype))


def model_skin_colours(model: FaceModel, key: Key[Array, ""], *, count: int = 8192) -> Float[Array, "N 3"]:
    """Display colours that the skin of random people of a face model has under lights of random strength and hue.

    Needs an albedo; eyes, brows, lips and hair are left out. The key is consumed. Raises ValueError without an albedo.
    """
    if not isinstance(model.albedo, LinearAlbedo):
        raise ValueError(
            f"face model {model.name!r} has no linear albedo: give skin colours of your own to fit_skin_model"
        )
    who, where, bright, hue = jax.random.split(key, 4)
    excluded = sum((model.regions[name] for name in _NOT_SKIN if name in model.regions), jnp.zeros(len(model.mean)))
    chance = jnp.where(excluded < 0.1, model.regions["face"], 0.0)
    vertices = jax.random.choice(where, len(model.mean), (count,), p=chance / jnp.sum(chance))
    mean, basis = _at_vertices(model, vertices)
    people = jax.random.normal(who, (count, len(model.albedo.std)))
    albedo = mean + jnp.einsum("nk,knc->nc", people * model.albedo.std[None], basis)
    tint = jax.random.normal(hue, (count, 2)) @ jnp.array([[0.2, 0.0, -0.2], [0.0, 0.1, 0.0]])  # warm to cold; green
    light = jnp.exp(0.6 * jax.random.normal(bright, (count, 1)) - 0.2 + tint)
    return jnp.clip(linear_to_srgb(srgb_to_linear(jnp.clip(albedo, 0.0, 1.0)) * light), 0.0, 1.0)


def any_colours(key: Key[Array, ""], *, count: int = 8192) -> Float[Array, "N 3"]:
    """Display colours of nothing in particular: every grey with a tint, from none to strong. The key is consumed."""
    level, tint, strength = jax.random.split(key, 3)
    grey = jax.random.uniform(level, (count, 1))
    spread = 0.25 * jax.random.uniform(strength, (count, 1)) ** 2
    return jnp.clip(grey + spread * jax.random.normal(tint, (count, 3)), 0.0, 1.0)


def _at_vertices(model: FaceModel, vertices: Array) -> tuple[Float[Array, "N 3"], Float[Array, "A N 3"]]:
    """Albedo mean and basis at vertices: theirs, or the texels where their (last) corner of the chart lies."""
    assert isinstance(model.albedo, LinearAlbedo)
    if model.albedo.per_vertex:
        return model.albedo.mean[vertices], model.albedo.basis[:, vertices]
    side = model.albedo.mean.shape[0]
    chart = (
        jnp.zeros((len(model.mean), 2)).at[model.faces.reshape(-1)].set(model.uv[model.topology.uv_faces.reshape(-1)])
    )
    columns, rows = jnp.clip(jnp.floor(chart[vertices] * side), 0, side - 1).astype(jnp.int32).T
    return model.albedo.mean[side - 1 - rows, columns], model.albedo.basis[:, side - 1 - rows, columns]


def _log_components(mixture: GaussianMixture, x: Float[Array, "... D"]) -> Float[Array, "... M"]:
    """Log of each component's share of the density."""
    root = jnp.linalg.cholesky(mixture.covariances)
    whitener = jax.vmap(lambda lower: jax.scipy.linalg.solve_triangular(lower, jnp.eye(len(lower)), lower=True))(root)
    centred = x[..., None, :] - jnp.broadcast_to(mixture.means, (*x.shape[:-1], *mixture.means.shape))
    square = jnp.sum(jnp.einsum("mij,...mj->...mi", whitener, centred) ** 2, axis=-1)
    log_volume = jnp.sum(jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)), axis=-1)
    level = jnp.log(mixture.weights) - log_volume - 0.5 * x.shape[-1] * jnp.log(2 * jnp.pi)
    return along_last(level, square) - 0.5 * square

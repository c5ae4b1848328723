"""StyleGAN2's regularisers and the bookkeeping of its training.

The log-loss itself is `critic_loss` for the discriminator and `fooling_loss` for the generator. Regularisers take
networks as functions of a batch; the value of one member does not depend on the others, unless the network makes it so.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

R1_WEIGHT = 10.0  # gamma, the weight of half the squared slope
PATH_WEIGHT = 2.0
R1_INTERVAL, PATH_INTERVAL = 16, 4  # steps between two regularisations


def slope_penalty(
    discriminator: Callable[[Array], Array], images: Float[Array, "N H W C"]
) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """The squared length of the logits' gradient at each real picture, and the logits.

    R1 of Mescheder et al., "Which training methods for GANs do actually converge?", ICML 2018: times gamma / 2.
    """
    logits, pull = jax.vjp(discriminator, images)
    (slope,) = pull(jnp.ones_like(logits))
    return jnp.sum(jnp.square(slope), axis=(1, 2, 3)), logits


def path_lengths(
    synthesis: Callable[[Array], Array], ws: Float[Array, "N L D"], noise: Float[Array, "N H W C"]
) -> Float[Array, " N"]:
    """How far each picture moves along the direction of the normal `noise` for a unit step of the latents.

    The Jacobian norm |J_w^T y| of Karras et al., CVPR 2020, section 3.2: y is the noise over the square root of the
    number of pixels, and the squares are averaged over the layers.
    """
    return _latent_length(*_pulled(synthesis, (ws,), noise))


def conditioned_path_lengths(
    synthesis: Callable[[Array, Any], Array], ws: Float[Array, "N L D"], maps: Any, noise: Float[Array, "N H W C"]
) -> Float[Array, " N"]:
    """`path_lengths` plus the length of the gradient with respect to each conditioning map, as GAR does for its
    normals.

    Args:
      synthesis: (latents, maps) to pictures.
      ws: (N, L, D).
      maps: tree of arrays (N, ...).
      noise: (N, H, W, C), normal.

    Returns:
      One length per picture.
    """
    moved, *slopes = _pulled(synthesis, (ws, maps), noise)
    lengths = [jnp.sqrt(jnp.sum(jnp.square(s.reshape(len(ws), -1)), axis=1) + 1e-12) for s in jax.tree.leaves(slopes)]
    return sum(lengths, _latent_length(moved))


def _pulled(synthesis: Callable[..., Array], inputs: tuple[Any, ...], noise: Array) -> Any:
    """Gradients of the pictures' projection on the noise with respect to each input."""
    images, pull = jax.vjp(synthesis, *inputs)
    return pull((noise / jnp.sqrt(1.0 * noise.shape[1] * noise.shape[2])).astype(images.dtype))


def _latent_length(moved: Float[Array, "N L D"]) -> Float[Array, " N"]:
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(moved), axis=2), axis=1))


class PathPenalty(NamedTuple):
    """The result of `path_penalty`."""

    penalty: Float[Array, " N"]  # to be weighted by PATH_WEIGHT
    mean: Float[Array, ""]  # running mean, for the next step


def path_penalty(lengths: Float[Array, " N"], mean: Float[Array, ""], *, decay: float = 0.01) -> PathPenalty:
    """The squared distance of each length from their running mean.

    The mean takes in this batch before it is used, and the gradient passes through that, as in the authors' code.
    """
    fresh = mean + decay * (jnp.mean(lengths) - mean)
    return PathPenalty(jnp.square(lengths - fresh), jax.lax.stop_gradient(fresh))


def lazy_adam(rate: float, *, interval: int, betas: tuple[float, float] = (0.0, 0.99)) -> optax.GradientTransformation:
    """Adam for a network whose regulariser takes its own step every `interval` steps, weighted by `interval`.

    With c = interval / (interval + 1), the rate becomes c times the rate and the decays beta^c, so that a whole round
    moves as far as it would without (Karras et al., CVPR 2020, appendix B, "lazy regularization").
    """
    share = interval / (interval + 1)
    return optax.adam(rate * share, b1=betas[0] ** share, b2=betas[1] ** share, eps=1e-8)


def finite_gradients(gradients: Any) -> Any:
    """NaN becomes 0 and infinities plus or minus 1e5, so that one bad number does not ruin a run of days."""
    return jax.tree.map(lambda leaf: jnp.nan_to_num(leaf, nan=0.0, posinf=1e5, neginf=-1e5), gradients)


def average_decay(batch: int, *, half_life: float = 10_000.0) -> float:
    """Decay of the running average of a generator's weights, with a half-life of `half_life` pictures."""
    return 0.5 ** (batch / half_life)


def adapt_strength(
    strength: Float[Array, ""], signs: Float[Array, ""], *, images: int, target: float = 0.6, ramp: float = 500_000
) -> Float[Array, ""]:
    """The next probability of augmentation. Karras et al., "Training generative adversarial networks with limited
    data", NeurIPS 2020, section 3.

    Above `target` the discriminator has memorised its pictures and the probability rises, by 1 in `ramp` pictures;
    below it falls. It stays in [0, 1].

    Args:
      strength: the present probability.
      signs: mean sign of the logits of real pictures since the last change.
      images: number of pictures shown since.
      target: the mean sign aimed for.
      ramp: pictures.

    Returns:
      The next probability.
    """
    return jnp.clip(strength + jnp.sign(signs - target) * (images / ramp), 0.0, 1.0)

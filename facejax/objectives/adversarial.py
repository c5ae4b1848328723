"""The self-critic: a network that tells true pairs of picture and coefficients from regressed ones.

The log-loss of Goodfellow et al., "Generative adversarial nets", NIPS 2014, as 2DASL uses it (Tu et al., TMM 2021, on
self-critic learning): E_J log C(z_J, a*) + E_I log(1 - C(z_I, a)) with C = sigmoid(logit), where J are labelled and I
in-the-wild pictures. Computed from logits, so that a confident critic gives neither infinities nor NaN.
"""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def critic_loss(real: Float[Array, " N"], fake: Float[Array, " M"]) -> Float[Array, ""]:
    """What the critic minimises: -E log C(real) - E log(1 - C(fake)); 2 log 2 for a critic that knows nothing."""
    return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake))


def fooling_loss(
    fake: Float[Array, " M"], form: Literal["saturating", "non-saturating"] = "non-saturating"
) -> Float[Array, ""]:
    """What the regressor minimises so that the critic accepts its coefficients as true.

    "saturating" is the formula as written, E log(1 - C), unbounded below and flat where the critic is sure.
    "non-saturating", -E log C, has the same fixed point and a gradient where it is needed (Goodfellow et al., section
    3).
    """
    return jnp.mean(jax.nn.softplus(-fake)) if form == "non-saturating" else -jnp.mean(jax.nn.softplus(fake))

"""Row gathers that XLA:CPU computes once, forward and backward (see `barrier.once`)."""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from facejax.kernels.barrier import once


def gather_rows(table: Float[Array, "V C"], rows: Int[Array, "*N"]) -> Float[Array, "*N C"]:
    """`table[rows]`; a row number outside the table reads zeros and receives no gradient.

    Linear in `table`, differentiable forward and backward to any order; the transpose is a scatter-add.
    """
    return once(once(jnp.asarray(table)).at[rows].get(mode="fill", fill_value=0))

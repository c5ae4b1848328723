"""Row gathers that XLA:CPU computes once, forward and backward.

XLA:CPU fuses a gather, and the scatter-add that is its transpose, into each consumer and repeats it there; the
barriers below keep it a step of its own. They reach the CPU's code generator only under `facejax.compilation.jit`.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def gather_rows(table: Float[Array, "V C"], rows: Int[Array, "*N"]) -> Float[Array, "*N C"]:
    """`table[rows]`; a row number outside the table reads zeros and receives no gradient.

    Linear in `table`, differentiable forward and backward to any order; the transpose is a scatter-add.
    """
    once = jax.lax.optimization_barrier
    return once(once(jnp.asarray(table)).at[rows].get(mode="fill", fill_value=0))

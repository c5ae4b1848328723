"""Steps that shall not be computed again inside each of their uses."""

from typing import TypeVar

import jax

T = TypeVar("T")


def once(values: T) -> T:
    """The same values, computed once.

    XLA:CPU fuses a gather, and what leads to it, into every use and repeats it there. The barrier reaches its code
    generator only in programs compiled with `facejax.compilation.jit`. On accelerators nothing is held back: there
    fusing is what makes programs fast, and barriers would send every step through memory.
    """
    return jax.lax.optimization_barrier(values) if jax.default_backend() == "cpu" else values


def stored(values: T) -> T:
    """The same values, written to memory before anything uses them, on every platform, forward and backward.

    For a step that many later ones read from several places: fused into them it would be computed at each place again.
    """
    return jax.lax.optimization_barrier(values)

"""For jax's strict promotion, which a caller may have switched on: what meets what is said, not guessed by jax.

With `jax_numpy_rank_promotion="raise"` arrays of different ranks do not meet, and with
`jax_numpy_dtype_promotion="strict"` neither do floats and integers.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
from jaxtyping import Array, Shaped

A = ParamSpec("A")
R = TypeVar("R")


def along_last(values: Shaped[Array, " _"], like: Shaped[Array, "... _"]) -> Shaped[Array, "... _"]:
    """`values`, one for each channel or one for all, with as many axes as `like`, whose last are the channels."""
    return values.reshape((1,) * (like.ndim - 1) + values.shape)


def standard_promotion(function: Callable[A, R]) -> Callable[A, R]:
    """`function` of another library, called or traced under jax's standard promotion of types.

    optax and flax divide floats by their int32 counts.

    >>> import optax
    >>> update = standard_promotion(optax.adam(0.1).update)
    """

    @functools.wraps(function)
    def call(*args: A.args, **options: A.kwargs) -> R:
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **options)

    return call

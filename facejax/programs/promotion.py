"""Explicit promotion of ranks and types, because a caller may have switched on jax's strict promotion.

With `jax_numpy_rank_promotion="raise"` jax refuses to combine arrays of different ranks, and with
`jax_numpy_dtype_promotion="strict"` floats and integers.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
from jaxtyping import Array, Shaped

A = ParamSpec("A")
R = TypeVar("R")


def along_last(values: Shaped[Array, " _"], like: Shaped[Array, "... _"]) -> Shaped[Array, "... _"]:
    """Give `values` (one per channel, or one for all) as many axes as `like`, whose last axis is the channels."""
    return values.reshape((1,) * (like.ndim - 1) + values.shape)


def standard_promotion(function: Callable[A, R]) -> Callable[A, R]:
    """Wrap a function of another library so that it runs under jax's standard promotion of types.

    optax and flax divide floats by their int32 counts.

    >>> import optax
    >>> update = standard_promotion(optax.adam(0.1).update)
    """

    @functools.wraps(function)
    def call(*args: A.args, **options: A.kwargs) -> R:
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **options)

    return call

"""Other libraries under jax's strict promotion of types, where a caller switched it on: optax and flax divide floats
by their int32 counts."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax

A = ParamSpec("A")
R = TypeVar("R")


def standard_promotion(function: Callable[A, R]) -> Callable[A, R]:
    """`function`, called or traced under jax's standard promotion of types.

    >>> import optax
    >>> adam = optax.adam(0.1)
    >>> update = standard_promotion(adam.update)
    """

    @functools.wraps(function)
    def call(*args: A.args, **options: A.kwargs) -> R:
        with jax.numpy_dtype_promotion("standard"):
            return function(*args, **options)

    return call

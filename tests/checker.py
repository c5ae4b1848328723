"""The type checker of the tests: beartype, on everything but constructors.

jax rebuilds trees with whatever stands for an array at the moment (shapes, tracers' descriptions, nothing at all), so
constructors of the dataclasses that are trees must take anything.
"""

from beartype import beartype


def check(function):
    return function if function.__name__ == "__init__" else beartype(function)

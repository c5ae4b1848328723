"""Barriers around steps that must not be computed again inside each of their uses."""

from typing import TypeVar

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

T = TypeVar("T")


def once(values: T) -> T:
    """The same values, computed only once on a processor.

    XLA:CPU fuses a gather, and the steps before it, into every use and repeats them there. The barrier reaches its code
    generator only in programs compiled with `facejax.programs.jit`. Programs lowered for accelerators have no barrier:
    there fusion makes programs fast, and barriers would send every step through memory.
    """
    leaves, tree = jax.tree.flatten(values)
    return jax.tree.unflatten(tree, _once.bind(*leaves))


def stored(values: T) -> T:
    """The same values, written to memory before anything uses them, on every platform, forward and backward.

    For a step that many later ones read at several places: fused into them, it would be computed again at each place.
    """
    return jax.lax.optimization_barrier(values)


_once = Primitive("once")
_once.multiple_results = True


@_once.def_impl
def _unchanged(*values):
    return list(values)


@_once.def_abstract_eval
def _same_shapes(*values):
    return list(values)


def _behind_barrier(*values):
    return jax.lax.optimization_barrier(values)


def _changed(values, changes):
    return _once.bind(*values), _where_any(changes)


def _transposed(cotangents, *_):
    return _where_any(cotangents)


def _where_any(changes):
    """Put a barrier around the changes that are not known to be zero; the others stay as they are."""
    some = iter(_once.bind(*[one for one in changes if not isinstance(one, ad.Zero)]))
    return [one if isinstance(one, ad.Zero) else next(some) for one in changes]


mlir.register_lowering(_once, mlir.lower_fun(_unchanged))
mlir.register_lowering(_once, mlir.lower_fun(_behind_barrier), platform="cpu")
ad.primitive_jvps[_once] = _changed
ad.primitive_transposes[_once] = _transposed
batching.primitive_batchers[_once] = lambda values, axes: (_once.bind(*values), axes)

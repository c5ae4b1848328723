"""`jax.jit` with the compiler options that the renderer needs."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

# XLA:CPU drops optimization barriers before it fuses, and then repeats gathers inside each of their uses. Leaving the
# barriers in makes a scan-compiled fit about three times faster, and its compilation twice as fast.
_CPU_OPTIONS = {"xla_disable_hlo_passes": "opt-barrier-expander,cse_barrier_expander"}


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit(function, **options)` with this library's compiler options for the default back end.

    The options apply only to programs that are compiled as a whole. Inside another transformation (with tracers as
    arguments) it is a plain `jax.jit`, because jax refuses compiler options there. The back end is looked up at the
    first call, so decorating a function does not start one. `lower` works as on `jax.jit`.

    Do not use it for programs with `jax.checkpoint` (as in `rendering.softras`): that puts barriers around tuples, and
    the CPU back end of jaxlib 0.12 aborts when they are left in. Use `jax.jit` for those.
    """
    inner = jax.jit(function, **options)

    @functools.cache
    def outer():
        return jax.jit(function, compiler_options=compiler_options(), **options)

    @functools.wraps(function)
    def call(*args, **kwargs):
        traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves((args, kwargs)))
        return (inner if traced else outer())(*args, **kwargs)

    wrapped: Any = call
    wrapped.lower = lambda *args, **kwargs: outer().lower(*args, **kwargs)
    return wrapped


def compiler_options() -> dict[str, str] | None:
    """Options for `jax.jit` or `.compile()` on the default back end; None if there are none or XLA lacks them."""
    return dict(_CPU_OPTIONS) if jax.default_backend() == "cpu" and _known() else None


@functools.cache
def _known() -> bool:
    try:
        jax.jit(lambda x: x + 1, compiler_options=dict(_CPU_OPTIONS)).lower(jnp.float32(0)).compile()
    except Exception:  # the error type for an option this version of XLA lacks is not documented
        return False
    return True

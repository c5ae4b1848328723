"""How programs are compiled, in one place: the compiler options that the renderer wants, and a cache on disk."""

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer

# XLA:CPU drops optimization barriers before it fuses, and then repeats gathers inside each of their uses. Leaving the
# barriers in makes a scan-compiled fit about three times faster, and its compilation twice as fast.
_CPU_OPTIONS = {"xla_disable_hlo_passes": "opt-barrier-expander,cse_barrier_expander"}


def jit(function: Callable[..., Any], **options: Any) -> Any:
    """`jax.jit(function, **options)` with this library's compiler options for the default back end.

    The options only reach programs that are compiled as a whole. Inside another transformation (its arguments are
    tracers) it is a plain `jax.jit`, because jax refuses compiler options there. The back end is looked up at the first
    call, so decorating a function does not start one. `lower` works as on `jax.jit`.

    Not for programs with `jax.checkpoint` (`rendering.softras` has it): it puts barriers around tuples, on which the
    CPU back end of jaxlib 0.12 aborts when they are left in. Use `jax.jit` for those.
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
    """Options for `jax.jit` or `.compile()` on the default back end; None where there are none or they are unknown."""
    return dict(_CPU_OPTIONS) if jax.default_backend() == "cpu" and _known() else None


@functools.cache
def _known() -> bool:
    try:
        jax.jit(lambda x: x + 1, compiler_options=dict(_CPU_OPTIONS)).lower(jnp.float32(0)).compile()
    except Exception:  # the error type for an option this version of XLA lacks is not documented
        return False
    return True


def cache_compilations() -> None:
    """Keep compiled programs in FACEJAX_CACHE (default: the user's cache folder), so a second run starts at once.

    There too, in `traced`, what the larger ones were traced to (`facejax.kept_programs`). An environment variable of
    jax's own for this (JAX_COMPILATION_CACHE_DIR) wins, and keeps compiled programs only; an empty FACEJAX_CACHE
    switches it off.
    """
    global _traced
    folder = cache_folder()
    if folder is not None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        _traced = folder / "traced"


_traced: Path | None = None


def traced_folder() -> Path | None:
    """Where traced programs are kept; None until `cache_compilations` says so."""
    return _traced


def cache_folder() -> Path | None:
    """Where compiled programs are kept; None where that is switched off."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    own = os.environ.get("FACEJAX_CACHE", str(Path(base) / "facejax"))
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", own)
    return Path(folder) if folder else None

"""Where programs are kept on disk; nothing is kept before `cache_compilations` is called."""

import os
from pathlib import Path

import jax

_traced: Path | None = None


def cache_compilations() -> None:
    """Keep compiled programs in FACEJAX_CACHE (default: the user's cache folder), so a second run starts at once.

    The traces of the larger ones are kept in its folder `traced` (`facejax.programs.traces`). jax's own environment
    variable JAX_COMPILATION_CACHE_DIR takes precedence, and keeps compiled programs only. An empty FACEJAX_CACHE
    switches the cache off.
    """
    global _traced
    folder = cache_folder()
    if folder is not None and "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        _traced = folder / "traced"


def traced_folder() -> Path | None:
    """Where traced programs are kept; None before `cache_compilations` is called."""
    return _traced


def cache_folder() -> Path | None:
    """Where compiled programs are kept; None if that is switched off."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    own = os.environ.get("FACEJAX_CACHE", str(Path(base) / "facejax"))
    folder = os.environ.get("JAX_COMPILATION_CACHE_DIR", own)
    return Path(folder) if folder else None

"""How programs are compiled, and where compiled ones are kept.

| file | what lives there |
|---|---|
| `compiler.py` | `jit`: `jax.jit` with the compiler options that the renderer needs |
| `cache.py` | `compile_cached`, `cached_jit`: a process compiles each program once, and keeps those used last |
| `traces.py` | traced programs on disk, so that the next start need not trace them again |
| `keys.py` | what distinguishes programs, in a process and on disk |
| `folders.py` | `cache_compilations`: where programs are kept on disk |
| `promotion.py` | helpers for tracing under jax's strict promotion of ranks and types |
"""

from facejax.programs.cache import cached_jit, compile_cached, compile_only, forget_programs, programs_in_work
from facejax.programs.compiler import compiler_options, jit
from facejax.programs.folders import cache_compilations, cache_folder

__all__ = [
    "cache_compilations",
    "cache_folder",
    "cached_jit",
    "compile_cached",
    "compile_only",
    "compiler_options",
    "forget_programs",
    "jit",
    "programs_in_work",
]

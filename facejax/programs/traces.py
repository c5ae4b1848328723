"""Traced programs, kept on disk so that the next start of Python need not trace them again.

jax's own cache keeps compiled programs, but finds them by their traces, and tracing a fit takes longer than reading its
compiled program. So the StableHLO (`jax.export`) is kept under a digest of everything that it was traced from. Programs
are traced as usual if that is not known (`keys.Unknown`), if the file cannot be read or written, and on accelerators,
where this was never tried. A start becomes quicker; nothing else changes.
"""

import functools
import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from jax import export

from facejax.atomic import atomic_path
from facejax.programs.compiler import jit
from facejax.programs.folders import traced_folder
from facejax.programs.keys import Unknown, program_key

log: logging.Logger = logging.getLogger(__name__)


def compile_program(
    function: Callable[..., Any], *arguments: Any, name: str, closes_over: Any = (), results: Sequence[type] = ()
) -> Any:
    """`jit(function).lower(*arguments).compile()`, traced only if its trace is not on disk.

    Call `facejax.programs.compile_cached`, which uses this function.

    Args:
        function, arguments, name, closes_over, results: as for `compile_cached`.
    """
    try:
        path = _path(name, closes_over, arguments)
        if path is not None:
            for kind in results:
                _register(kind)
            program = _read(path) or _trace(path, function, arguments)
            return jit(lambda *some: program.call(*jax.tree.leaves(some))).lower(*arguments).compile()
    except Unknown as reason:
        log.info("%s is not kept: it depends on %s", name, reason)
    except Exception as error:  # of any kind: the line below needs no file
        log.info("%s is traced anew: %s", name, error)
    return jit(function).lower(*arguments).compile()


def _path(name: str, closes_over: Any, arguments: Any) -> Path | None:
    """The file of a program; None if none are kept. Raises `Unknown`."""
    folder = traced_folder()
    if folder is None or jax.default_backend() != "cpu":
        return None
    return folder / f"{name}-{program_key(name, closes_over, arguments)}.stablehlo"


def _read(path: Path) -> export.Exported | None:
    """Read a trace; None if the file is missing, damaged, or another program's."""
    if not path.is_file():
        return None
    data = path.read_bytes()
    digest, program = data[:32], data[32:]
    return export.deserialize(bytearray(program)) if digest == _digest(path, program) else None


def _trace(path: Path, function: Callable[..., Any], arguments: Any) -> export.Exported:
    """Trace a program as it will be read again, and write it if that is possible."""
    leaves, tree = jax.tree.flatten(arguments)
    traced = export.export(jax.jit(lambda *leaves: function(*jax.tree.unflatten(tree, leaves))))(*leaves)
    program = bytes(traced.serialize())
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(_digest(path, program) + program)
    except OSError as error:
        log.warning("%s cannot be kept: %s", path.name, error)
    return export.deserialize(bytearray(program))


def _digest(path: Path, program: bytes) -> bytes:
    """A digest of a file's content and name, so that damage or a wrong name is noticed."""
    return hashlib.sha256(path.name.encode() + program).digest()


@functools.cache
def _register(kind: type) -> None:
    """Let `jax.export` write a dataclass or a named tuple in a program's result."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    if issubclass(kind, tuple):
        export.register_namedtuple_serialization(kind, serialized_name=name)
        return
    export.register_pytree_node_serialization(
        kind, serialized_name=name, serialize_auxdata=lambda static: b"", deserialize_auxdata=lambda data: ()
    )

"""What distinguishes programs: `argument_kinds` within a process, `program_key` on disk.

The key on disk is a digest of everything that a program is traced from: its arguments, what it closes over, the source
code, jax. Only this library's own functions and classes can be described: one from elsewhere may have changed since a
program was kept. `Unknown` is raised for those, and nothing is kept. A process that replaces functions or constants
inside this library's modules must not keep programs: nothing here would notice.
"""

import hashlib
import os
import sys
import time
from collections.abc import Hashable
from dataclasses import fields, is_dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax.programs.compiler import compiler_options

_TRACING = ("jax", "jaxlib", "numpy", "flax", "optax")  # packages whose code is part of a traced program
_IMPORTED = time.time()


class Unknown(Exception):
    """For anything that may change while its description stays the same."""


def argument_kinds(arguments: Any) -> Hashable:
    """What arguments must have in common to share a program: tree, shapes, types, devices, and jax's settings."""
    leaves, tree = jax.tree.flatten(arguments)
    kinds = tuple((jnp.shape(leaf), str(jnp.result_type(leaf)), getattr(leaf, "sharding", None)) for leaf in leaves)
    set_now: Any = jax.config
    return tree, kinds, set_now.jax_enable_x64, set_now.jax_default_matmul_precision, set_now.jax_default_device


def program_key(*deciding: Any) -> str:
    """A digest of `deciding` (see `describe`), the source code and jax. Raises `Unknown`."""
    return hashlib.sha256("\n".join([describe(deciding), _surroundings(), _sources()]).encode()).hexdigest()


def describe(value: Any) -> str:
    """Arrays by shape and type, this library's functions and classes by name, everything else by its value.

    So arrays may only be arguments of a program, never its constants. Hashable values hold no arrays.

    >>> from facejax.fitting import Stage
    >>> describe((np.zeros((2, 3)), Stage.__name__, describe))
    "tuple(float64[2, 3], 'Stage', facejax.programs.keys.describe)"
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return repr(value)
    if kind in (tuple, list):
        return f"{kind.__name__}({', '.join(map(describe, value))})"
    if kind is dict:  # in its own order, because a program may iterate over it
        return f"dict({', '.join(f'{describe(key)}: {describe(one)}' for key, one in value.items())})"
    if isinstance(value, np.ndarray | jax.Array | jax.ShapeDtypeStruct):
        return _describe_array(value)
    if hasattr(value, "__qualname__"):  # a function or a class
        return _own_name(value)
    if is_dataclass(kind):
        return f"{_own_name(kind)} {describe({one.name: getattr(value, one.name) for one in fields(kind)})}"
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return f"{_own_name(kind)} {describe(value._asdict())}"
    raise Unknown(f"a {kind.__module__}.{kind.__qualname__}")


def _describe_array(value: Any) -> str:
    sharding = getattr(value, "sharding", None)
    if sharding is not None and len(sharding.device_set) > 1:
        raise Unknown("an array on several devices")
    weak = " weak" if getattr(value, "weak_type", False) else ""
    return f"{value.dtype}{list(value.shape)}{weak}" + (f" on {sharding}" if sharding is not None else "")


def _own_name(value: Any) -> str:
    """The module and name of a function or class, which must be at the top level of one of this library's modules."""
    module, name = value.__module__, value.__qualname__
    if module.split(".")[0] != "facejax" or getattr(sys.modules.get(module), name, None) is not value:
        raise Unknown(f"{module}.{name}")
    return f"{module}.{name}"


def _surroundings() -> str:
    """The version of jax, its settings except for those about caches, and the devices."""
    settings = {name: getattr(jax.config, name, None) for name in sorted(jax.config.values) if "cache" not in name}
    device = jax.devices()[0]
    machine = device.client.platform_version, device.device_kind, jax.device_count(), jax.process_count()
    versions = {name: version(name) for name in _TRACING}
    return repr((versions, settings, machine, compiler_options(), jax.sharding.get_abstract_mesh(), sys.version))


def _sources() -> str:
    """A digest of this package's modules. Raises `Unknown` if the files are not those that were imported."""
    top = Path(__file__).parents[1]
    files = [Path(folder, name) for folder, _, names in os.walk(top, followlinks=True) for name in names]
    files = sorted(path for path in files if path.suffix == ".py")
    if not files or max(path.stat().st_mtime for path in files) > _IMPORTED:
        raise Unknown("source code that is not there, or changed since it was imported")
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.relative_to(top)}\n".encode() + path.read_bytes())
    return digest.hexdigest()

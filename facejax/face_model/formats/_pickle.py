"""Reading pickled arrays without executing the pickle.

A pickle is a program: loading one with `pickle.load` runs whatever its author wrote. This reader accepts only the names
that build numpy arrays, plain containers, and (empty) stand-ins for objects of chumpy, scipy.sparse and PyTorch. Any
other name is an error before anything is called.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np


class UnsafePickleError(ValueError):
    """The pickle asks for something that is not an array."""


class Inert:
    """Stand-in for an object of a library that is never imported: it keeps the pickled state and does nothing."""

    state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        shell = object.__new__(cls)
        shell.state = {}
        return shell

    def __setstate__(self, state: Any) -> None:
        self.state = state


def _reconstruct_array(kind: Any, shape: Any, dtype: Any) -> np.ndarray:
    """numpy's own recipe: an empty array whose state (shape, dtype, bytes) follows in the pickle."""
    if kind is not np.ndarray:
        raise UnsafePickleError("an array of an unknown class")
    return np.ndarray.__new__(np.ndarray, shape, dtype)


def _from_buffer(buffer: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> np.ndarray:
    """numpy's recipe since pickle protocol 5: the bytes, then the shape."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise UnsafePickleError("an array of Python objects")
    flat = np.frombuffer(buffer, dtype)
    if order == "K":
        return flat.reshape(shape).transpose(axes)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype: Any, data: Any = None) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise UnsafePickleError("a scalar that holds Python objects")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype)[0]


def _reconstruct_object(cls: Any, base: Any, state: Any) -> Any:
    """copyreg's recipe for a plain object (pickle protocols 0 and 1)."""
    if cls is not Inert:
        raise UnsafePickleError("an object of an unknown class")
    return Inert()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise UnsafePickleError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


def _no_bytes(*nothing: Any) -> bytes:
    """What empty bytes are in old pickles."""
    if nothing:
        raise UnsafePickleError("bytes of another object")
    return b""


_ADMITTED = {
    ("builtins", "bytes"): _no_bytes,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
    ("builtins", "object"): object,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("collections", "OrderedDict"): dict,
    ("copyreg", "_reconstructor"): _reconstruct_object,
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED[f"{_core}.multiarray", "_reconstruct"] = _reconstruct_array
    _ADMITTED[f"{_core}.multiarray", "scalar"] = _scalar
    _ADMITTED[f"{_core}.numeric", "_frombuffer"] = _from_buffer
_PYTHON2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_SHELLS = ("chumpy", "scipy.sparse", "torch")


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        module = _PYTHON2.get(module, module)
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        if any(module == shell or module.startswith(shell + ".") for shell in _SHELLS):
            return Inert
        raise UnsafePickleError(f"the name {module}.{name}")


def load_pickle(path: Path, file: IO[bytes]) -> Mapping[str, Any]:
    """Read the dictionary in a pickle (also of Python 2); chumpy arrays become numpy arrays, nothing is executed.

    Raises UnsafePickleError (a ValueError) when the pickle asks for anything but arrays and containers.
    """
    data = _load(path, file)
    if not isinstance(data, Mapping):
        raise ValueError(f"it holds a {type(data).__name__}, not a dictionary")
    return {str(key): _plain(value) for key, value in data.items()}


def load_npy(path: Path, file: IO[bytes]) -> Mapping[str, Any]:
    """Read a .npy file: a plain array as "array", a pickled dictionary (`np.save(path, {...})`) as it is.

    Raises UnsafePickleError (a ValueError) like `load_pickle`, and ValueError for other pickled objects.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    _, _, dtype = read(file)
    if not dtype.hasobject:
        file.seek(0)
        return {"array": np.load(file, allow_pickle=False)}
    data = _load(path, file)
    data = data.reshape(-1)[0] if isinstance(data, np.ndarray) and data.size == 1 else data
    if not isinstance(data, Mapping):
        raise ValueError(f"it holds a pickled {type(data).__name__}, not a dictionary")
    return {str(key): _plain(value) for key, value in data.items()}


def _load(path: Path, file: IO[bytes]) -> Any:
    try:
        return _Reader(file, encoding="latin1").load()
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f"{path}: the pickle asks for {error}, which a model of plain arrays does not need; "
            "it was not executed: get the file from its authors, or save it again with numpy arrays only"
        ) from None


def _plain(value: Any) -> Any:
    """The array inside a chumpy leaf (`Ch` keeps it as `x`); other stand-ins stay as they are."""
    if isinstance(value, Inert) and isinstance(value.state, Mapping) and isinstance(value.state.get("x"), np.ndarray):
        return value.state["x"]
    return value

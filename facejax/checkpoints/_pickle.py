"""Tensors of a TorchScript archive, without PyTorch and without executing anything.

Such a file is a zip of a program, a pickle that describes the module's attributes, and raw numbers. Only the last two
are read, and of the pickle only tensors, modules and plain containers are accepted.
"""

import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from facejax.face_model.formats._pickle import UnsafePickleError

_TYPES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}


def is_torchscript(path: Path) -> bool:
    """Whether it is a zip with a program's constants; files of `torch.save` have none."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, np.ndarray]:
    """Parameters and buffers by their names in the module's state_dict.

    Raises UnsafePickleError (a ValueError) when the pickle asks for anything but tensors and modules, and whatever
    zipfile, pickle and numpy raise on damaged files.
    """
    with zipfile.ZipFile(path) as archive:
        (name,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        with archive.open(name) as file:
            module = _Reader(file, archive, name.removesuffix("data.pkl")).load()
    if not isinstance(module, _Module):
        raise ValueError("it holds no module")
    tensors: dict[str, np.ndarray] = {}
    _collect(module, "", tensors, set())
    return tensors


class _Module:
    """A placeholder for a module, which only keeps its attributes."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    def __init__(self, file: IO[bytes], archive: zipfile.ZipFile, folder: str):
        super().__init__(file)
        self.archive, self.folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return dict
        if module == "torch" and name in _TYPES:
            return np.dtype(_TYPES[name]).newbyteorder("<")
        if module == "torch.jit._pickle":  # typed lists, and tags that say of what a container is
            return _first
        raise UnsafePickleError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> np.ndarray:
        _, dtype, key, _, count = pid
        return np.frombuffer(self.archive.read(f"{self.folder}data/{key}"), dtype, count)


def _first(value: Any, *_: Any) -> Any:
    return value


def _tensor(storage: np.ndarray, offset: int, shape: Any, strides: Any, *_: Any) -> np.ndarray:
    """A copy of a part of the storage; a part that would reach beyond it is refused."""
    last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides, strict=True))
    if 0 in shape:
        return np.zeros(shape, storage.dtype)
    if min((offset, *shape, *strides)) < 0 or last >= storage.size:
        raise ValueError("a tensor reaches beyond its numbers")
    steps = [stride * storage.itemsize for stride in strides]
    return np.lib.stride_tricks.as_strided(storage[offset:], shape, steps).copy()


def _collect(module: _Module, prefix: str, tensors: dict[str, np.ndarray], seen: set[int]) -> None:
    if id(module) in seen or not isinstance(module.state, dict):
        return
    for name, value in module.state.items():
        if isinstance(value, np.ndarray):
            tensors[f"{prefix}{name}"] = value
        elif isinstance(value, _Module):
            _collect(value, f"{prefix}{name}.", tensors, seen | {id(module)})

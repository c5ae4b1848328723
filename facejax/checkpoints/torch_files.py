"""Reading PyTorch weight files: tensors by name, without executing anything.

A .pth file is a pickle, that is, a program. `torch.load(weights_only=True)` accepts tensors and plain containers only;
.safetensors files hold nothing else. Of a TorchScript archive only the numbers are read.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facejax.checkpoints._pickle import is_torchscript, read_torchscript
from facejax.face_model.formats._pickle import UnsafePickleError

SAFE_SINCE = (2, 6)  # in older versions, weights_only could be made to execute code (CVE-2025-32434)

_AGAIN = "if you trust its source, load it in PyTorch and torch.save the state_dict again"


def read_tensors(path: str | Path, keys: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """The float tensors of a .safetensors, PyTorch or TorchScript file by name, as float32.

    The prefix that data parallelism adds to names is removed. Of a training checkpoint with several dictionaries, the
    first of `keys` that is present is read. Raises FileNotFoundError or ValueError, of one line, when the file is
    damaged, holds more than tensors, or needs a package that is not installed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; docs/weights.md says where released weights come from")
    if path.suffix == ".safetensors":
        tensors = _read_safetensors(path)
    elif is_torchscript(path):
        tensors = _read_torchscript(path)
    else:
        tensors = _read_torch(path, tuple(keys))
    return {
        name.removeprefix("module."): value.astype(np.float32)
        for name, value in tensors.items()
        if value.dtype.kind == "f"
    }


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        from safetensors.numpy import load_file
    except ImportError:
        raise ValueError(f"{path}: reading this file needs safetensors; pip install facejax[torch]") from None
    try:
        return load_file(path)
    except Exception as error:
        raise _damaged(path, error) from None


def _read_torchscript(path: Path) -> dict[str, np.ndarray]:
    try:
        return read_torchscript(path)
    except UnsafePickleError as error:
        raise _asks_for(path, str(error)) from None
    except Exception as error:
        raise _damaged(path, error) from None


def _read_torch(path: Path, keys: tuple[str, ...]) -> dict[str, np.ndarray]:
    torch = _safe_torch(path)
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch fails in many ways on foreign and truncated files
        raise _refused(path, error) from None
    for key in keys:
        if isinstance(data, Mapping) and isinstance(data.get(key), Mapping):
            data = data[key]
            break
    tensors = {str(k): v for k, v in data.items() if torch.is_tensor(v)} if isinstance(data, Mapping) else {}
    if not tensors:
        wanted = f" under {' or '.join(map(repr, keys))}" if keys else ""
        raise ValueError(f"{path}: no tensors{wanted}; give a file with the network's state_dict")
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in tensors.items()}


def _safe_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError:
        raise ValueError(
            f"{path}: reading this file needs PyTorch; pip install facejax[torch], or convert it to .safetensors"
        ) from None
    version = tuple(int(number) for number in re.findall(r"\d+", torch.__version__)[:2])
    if version < SAFE_SINCE:
        raise ValueError(
            f"{path}: PyTorch {torch.__version__} does not read files safely (CVE-2025-32434); pip install 'torch>=2.6'"
        )
    return torch


def _refused(path: Path, error: Exception) -> ValueError:
    text = str(error)
    if "legacy .tar format" in text:
        return ValueError(f"{path}: the tar format of PyTorch before 0.1.10 is never read; {_AGAIN}")
    found = re.search(r"GLOBAL ([\w.]+)", text)
    return _asks_for(path, found[1]) if found else _damaged(path, error)


def _asks_for(path: Path, name: str) -> ValueError:
    return ValueError(f"{path}: asks for {name} besides tensors and was not executed; {_AGAIN}")


def _damaged(path: Path, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())[:80] or type(error).__name__
    return ValueError(f"{path}: cannot be read, truncated or no weight file ({reason}); download it again")

"""`facejax info`: prints versions, devices, assets with their licences, and the cache of compiled programs."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from facejax import assets
from facejax.export import versions
from facejax.programs import cache_folder

EXTRAS = {
    "h5": "h5py",
    "torch": "torch",
    "parquet": "pyarrow",
    "deep": "cv2",
    "heic": "pillow_heif",
    "ray": "ray",
    "view": "viser",
    "train": "tensorboardX",
    "identity": "face_recognition_models",
}
LICENCES = {
    "default_head.npz": "free for any use; sources in NOTICE",
    "regressor": "MIT; trained on the project's own renders",
    "face_detector": "Apache-2.0; MediaPipe's, converted",
    "face_mesh": "Apache-2.0; MediaPipe's, converted",
    "iris": "Apache-2.0; MediaPipe's, converted",
    "mesh_map.npz": "MIT; measured on the project's own renders",
    "dense": "MIT; trained on the project's own renders",
    "skin": "MIT; trained on the project's own renders of maps made from CC0 skins",
    "texture_decoder": "MIT; trained on maps made from CC0 skins",
    "generative_renderer": "MIT; trained on the project's own renders",
}


@dataclass(frozen=True)
class Info:
    """What is installed and used: versions, devices, the package's assets and their licences, the cache.

    Example:

        facejax info
    """


def run_info(command: Info) -> int:
    """Print the sections and return the exit status."""
    for title, rows in sections().items():
        print(title)
        for name, value in rows.items():
            print(f"  {name:22} {value}")
    return 0


def sections() -> dict[str, dict[str, str]]:
    """The printed values by section."""
    devices = {f"{one.platform} {one.id}": _device(one) for one in jax.local_devices()}
    extras = {name: _installed(module) for name, module in EXTRAS.items()}
    return {
        "versions": {name: value for name, value in versions().items() if name != "device"},
        "devices": devices | {"processor cores": str(os.cpu_count())},
        "extras": extras,
        "assets": {name: f"{_size(_assets() / name):8} {licence}" for name, licence in LICENCES.items()},
        "cache of programs": _cache(),
    }


def _device(device: Any) -> str:
    stats = device.memory_stats() if device.platform != "cpu" else None
    memory = f", {stats['bytes_limit'] / 1e9:.1f} GB" if stats and "bytes_limit" in stats else ""
    return f"{device.device_kind}{memory}"


def _installed(module: str) -> str:
    return "installed" if importlib.util.find_spec(module) else "not installed"


def _assets() -> Path:
    return Path(str(assets.__path__[0]))


def _cache() -> dict[str, str]:
    folder = cache_folder()
    if folder is None:
        return {"folder": "switched off"}
    return {"folder": str(folder), "size": _size(folder), "empty it": "delete the folder; it is made again"}


def _size(path: Path) -> str:
    files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()] if path.exists() else []
    size = sum(one.stat().st_size for one in files)
    return f"{size / 1e6:.1f} MB" if size >= 1e5 or not size else f"{size / 1e3:.0f} kB"

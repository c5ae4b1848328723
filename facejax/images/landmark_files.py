"""Landmark files: 68 points in the iBUG order, converted to the project's pixels ((0, 0) is the image's corner)."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facejax.images.sources import Photo, photo_file

SUFFIXES = (".pts", ".npy", ".npz", ".json", ".ljson")
COUNT = 68
_NPZ_KEYS = ("landmarks", "landmarks68", "points")


def read_landmarks(path: str | Path) -> Float[np.ndarray, "68 2"]:
    """68 landmarks (x, y) in pixels with (0, 0) at the image's top-left corner.

    - `.pts` (iBUG): 1-based, so the first pixel's centre is (1, 1); 0.5 is subtracted.
    - `.npy`, `.npz` (one array, or one called landmarks, landmarks68 or points) and `.json` (a list of 68 pairs,
      or such a list under "landmarks" or "points"): taken as they are, so already in the project's pixels.
    - menpo's `.ljson` structure (versions 1-3, also inside a `.json`): (row, column) of 0-based pixel centres; swapped,
      and 0.5 added.

    A third column (depth) is dropped. Raises FileNotFoundError, or ValueError naming the file and the fix.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such landmark file")
    readers = {".pts": _read_pts, ".npy": _read_npy, ".npz": _read_npz, ".json": _read_json, ".ljson": _read_json}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: unknown landmark format; use one of {', '.join(SUFFIXES)}")
    try:
        points = np.asarray(reader(path), np.float64)
    except (ValueError, TypeError, KeyError, IndexError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: cannot be read as landmarks ({reason})") from error
    return _checked(points, path)


def find_landmarks(source: str | Path, photo: str | Path | Photo) -> Path:
    """The landmark file of a photo: `source` itself, or `<stem of the photo>.pts|.npy|.npz|.json|.ljson` in that
    folder.

    Subfolders named like the photo's in its collection come first: for sub/one.jpg, `source/sub/one.pts` before
    `source/one.pts`. Raises FileNotFoundError, which says what to add.
    """
    source, photo = Path(source), photo if isinstance(photo, Photo) else photo_file(photo)
    if source.is_file():
        return source
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such landmark file or folder")
    for name in (photo.folder, photo.stem):
        for suffix in SUFFIXES:
            candidate = source / (name + suffix)
            if candidate.is_file():
                return candidate
    raise FileNotFoundError(
        f"{source}: holds no landmarks for {photo.name}; add {photo.stem}.pts (or {', '.join(SUFFIXES[1:])})"
    )


def _checked(points: np.ndarray, path: Path) -> Float[np.ndarray, "68 2"]:
    if points.ndim == 3 and len(points) == 1:
        points = points[0]
    if points.ndim != 2 or points.shape[0] != COUNT or points.shape[1] not in (2, 3):
        raise ValueError(f"{path}: has landmarks of shape {points.shape}, expected (68, 2) in the iBUG order")
    points = points[:, :2]
    if not np.isfinite(points).all():
        raise ValueError(
            f"{path}: landmark {int(np.argmin(np.isfinite(points).all(1)))} is not finite; all 68 are needed"
        )
    width, height = np.ptp(points, axis=0)
    if max(width, height) < 4.0:
        raise ValueError(
            f"{path}: the landmarks span {width:.2g} x {height:.2g} pixels; give pixels, not fractions of the image"
        )
    return points.astype(np.float32)


def _read_pts(path: Path) -> Any:
    text = path.read_text(encoding="utf-8", errors="replace")
    if "{" not in text or "}" not in text:
        raise ValueError("no { ... } block of points: not a .pts file, or cut short")
    body = text[text.index("{") + 1 : text.rindex("}")]
    return np.array([[float(number) for number in line.split()] for line in body.splitlines() if line.strip()]) - 0.5


def _read_npy(path: Path) -> Any:
    return np.load(path, allow_pickle=False)


def _read_npz(path: Path) -> Any:
    try:
        # read first: numpy would leave a broken file open
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            names = file.files
            key = names[0] if len(names) == 1 else next((name for name in _NPZ_KEYS if name in names), None)
            if key is None:
                raise ValueError(f"holds {', '.join(names) or 'nothing'}; name the array landmarks")
            return file[key]
    except TypeError:  # a bare .npy under the name .npz loads as an array
        return np.load(path, allow_pickle=False)
    except Exception as error:  # zipfile.BadZipFile, zlib.error
        raise ValueError(str(error) or type(error).__name__) from error


def _read_json(path: Path) -> Any:
    content = json.loads(path.read_text(encoding="utf-8"))
    menpo = _menpo_points(content)
    if menpo is not None:
        return np.array(menpo, np.float64)[:, ::-1] + 0.5
    if isinstance(content, dict):
        content = next((content[name] for name in _NPZ_KEYS if name in content), None)
        if content is None:
            raise ValueError('no list under "landmarks" or "points"')
    return np.array(content, np.float64)


def _menpo_points(content: Any) -> list | None:
    """The (row, column) points of menpo's JSON layouts, None when it is not one of them."""
    if not isinstance(content, dict):
        return None
    landmarks, groups = content.get("landmarks"), content.get("groups")
    if isinstance(landmarks, dict) and "points" in landmarks:  # version 2
        return landmarks["points"]
    if isinstance(groups, dict) and groups:  # version 3: {group: {"landmarks": {"points": ...}}}
        return next(iter(groups.values()))["landmarks"]["points"]
    if isinstance(groups, list):  # version 1: [{"label", "landmarks": [{"point": [row, column]}]}]
        return [mark["point"] for group in groups for mark in group["landmarks"]]
    return None

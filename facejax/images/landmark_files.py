"""Landmark files: 68 points in the iBUG order, converted to the project's pixels ((0, 0) is the image's corner)."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facejax.images.landmark_tables import read_table
from facejax.images.photo import Photo, name_forms, photo_file
from facejax.text_files import read_json, read_text

SUFFIXES = (".pts", ".npy", ".npz", ".json", ".ljson", ".mat", ".txt", ".csv")
COUNT = 68
_NAMES = ("landmarks", "landmarks68", "points")
# Variables of .mat files, the first that is there: AFLW2000-3D, 300W-LP, 300W-LP's landmarks/, anybody's.
_MAT_NAMES = ("pt3d_68", "pt2d", "pts_3d", "pts_2d", *_NAMES, "pts")
_KNOWN = {
    5: "a detector's eyes, nose and mouth corners",
    21: "AFLW's",
    29: "COFW's",
    49: "iBUG's without jaw and inner mouth corners",
    51: "iBUG's without the jaw",
    66: "iBUG's without inner mouth corners",
    98: "WFLW's",
    106: "JD-landmark's and InsightFace's",
    194: "Helen's",
    468: "MediaPipe's",
    478: "MediaPipe's",
}


def read_landmarks(path: str | Path, *, group: str | None = None) -> Float[np.ndarray, "68 2"]:
    """68 landmarks (x, y) in pixels with (0, 0) at the image's top-left corner.

    - `.pts` (iBUG): 1-based, so the first pixel's centre is (1, 1); 0.5 is subtracted.
    - `.mat` of AFLW2000-3D and 300W-LP (pt3d_68, pt2d, pts_3d or pts_2d): 1-based too; 0.5 is subtracted.
    - `.npy`, `.npz` (one array, or one called landmarks, landmarks68 or points), `.json` (a list of 68 pairs, or such
      a list under "landmarks" or "points"), `.txt` and `.csv` (see `facejax.images.landmark_tables`): taken as they
      are, so already in the project's pixels.
    - menpo's `.ljson` structure (versions 1-3, also inside a `.json`): (row, column) of 0-based pixel centres; swapped,
      and 0.5 added.

    A third column (depth) is dropped, (2, 68) or (3, 68) is transposed, and 136 numbers are 68 pairs. A pair of a JSON
    file may also be {"x": ..., "y": ...}.

    Args:
      path: the file.
      group: which group of menpo's files with several; None: the only one with 68 points.

    Raises FileNotFoundError, or ValueError naming the file and the fix.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such landmark file")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path}: unknown landmark format; use one of {', '.join(SUFFIXES)}")
    try:
        points = np.asarray(reader(path, group), np.float64)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: cannot be read as landmarks ({reason.removeprefix(f'{path}: ')})") from error
    return _checked(points, path)


def find_landmarks(source: str | Path, photo: str | Path | Photo) -> Path:
    """The landmark file of a photo: `source` itself, or `<stem of the photo>.pts`, `.npy`, ... in that folder.

    The suffixes are tried in the order of `SUFFIXES`, in lower and upper case. Subfolders named like the photo's in its
    collection come first: for sub/one.jpg, `source/sub/one.pts` before `source/one.pts`. Raises FileNotFoundError,
    which says what to add.
    """
    source, photo = Path(source), photo if isinstance(photo, Photo) else photo_file(photo)
    if source.is_file():
        return source
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such landmark file or folder")
    for name in (*name_forms(photo.folder), *name_forms(photo.stem)):
        for suffix in (form for one in SUFFIXES for form in (one, one.upper())):
            candidate = source / (name + suffix)
            if candidate.is_file():
                return candidate
    raise FileNotFoundError(
        f"{source}: holds no landmarks for {photo.name}; add {photo.stem}.pts (or {', '.join(SUFFIXES[1:])})"
    )


def _checked(points: np.ndarray, path: Path) -> Float[np.ndarray, "68 2"]:
    if points.ndim == 3 and len(points) == 1:
        points = points[0]
    if points.size == 2 * COUNT and max(points.shape) == points.size:
        points = points.reshape(COUNT, 2)
    if points.ndim == 3 and len(points) > 1:
        raise ValueError(f"{path}: has the landmarks of {len(points)} faces: give those of one, (68, 2)")
    if points.ndim == 2 and points.shape[0] in (2, 3) and points.shape[1] > 3:
        points = points.T
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise ValueError(f"{path}: has landmarks of shape {points.shape}, expected (68, 2) in the iBUG order")
    if len(points) != COUNT:
        known = f" ({_KNOWN[len(points)]})" if len(points) in _KNOWN else ""
        raise ValueError(
            f"{path}: has landmarks of shape {points.shape}, expected (68, 2) in the iBUG order: {len(points)} points"
            f"{known} are not read; give 68, or leave out --landmarks, and the face is found"
        )
    points = points[:, :2]
    if not np.isfinite(points).all():
        raise ValueError(
            f"{path}: landmark {int(np.argmin(np.isfinite(points).all(1)))} is not finite; all 68 are needed"
        )
    width, height = np.ptp(points, axis=0)
    if max(width, height) < 4.0:
        units = "values normalised to -1..1" if -2.0 < points.min() < -0.05 else "fractions of the image"
        raise ValueError(f"{path}: the landmarks span {width:.2g} x {height:.2g} pixels; give pixels, not {units}")
    return points.astype(np.float32)


def _read_pts(path: Path, group: str | None) -> Any:
    text = read_text(path)
    if "{" not in text or "}" not in text:
        raise ValueError("no { ... } block of points: not a .pts file, or cut short")
    body = text[text.index("{") + 1 : text.rindex("}")]
    return np.array([[float(number) for number in line.split()] for line in body.split("\n") if line.strip()]) - 0.5


def _read_text(path: Path, group: str | None) -> Any:
    text = read_text(path)
    return _read_pts(path, group) if "{" in text else read_table(text)


def _read_npy(path: Path, group: str | None) -> Any:
    try:
        return np.load(path, allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise ValueError("holds Python objects, not numbers: save an array (68, 2)") from None
        raise


def _read_npz(path: Path, group: str | None) -> Any:
    try:
        # read first: numpy would leave a broken file open
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            names = file.files
            key = names[0] if len(names) == 1 else next((name for name in _NAMES if name in names), None)
            if key is None:
                raise ValueError(f"holds {', '.join(names) or 'nothing'}; name the array landmarks")
            return file[key]
    except TypeError:  # a bare .npy under the name .npz loads as an array
        return np.load(path, allow_pickle=False)
    except Exception as error:  # zipfile.BadZipFile, zlib.error
        raise ValueError(str(error) or type(error).__name__) from error


def _read_mat(path: Path, group: str | None) -> Any:
    from scipy.io import loadmat

    try:
        content = loadmat(str(path))
    except NotImplementedError:  # HDF5
        raise ValueError("MATLAB's version 7.3; save it with -v7") from None
    except Exception as error:  # MatReadError, zlib.error, ...
        raise ValueError(str(error) or type(error).__name__) from error
    arrays = {name: value for name, value in content.items() if not name.startswith("__")}
    found = [name for name in _MAT_NAMES if name in arrays]
    if not found:
        raise ValueError(f"holds {', '.join(arrays) or 'nothing'}, but none of {', '.join(_MAT_NAMES)}")
    name = next((name for name in found if COUNT in np.shape(arrays[name])), found[0])
    return np.asarray(arrays[name], np.float64) - (0.5 if name.startswith("pt") else 0.0)


def _read_json(path: Path, group: str | None) -> Any:
    content = read_json(path)
    menpo = _menpo_points(content, group)
    if menpo is not None:
        points = np.array(menpo, np.float64)  # null becomes nan
        if points.ndim == 2 and points.shape[1] != 2:
            raise ValueError(f"menpo's points have {points.shape[1]} coordinates, expected row and column")
        return points[:, ::-1] + 0.5
    if isinstance(content, dict):
        content = next((content[name] for name in _NAMES if name in content), None)
        if content is None:
            raise ValueError('no list under "landmarks" or "points"')
    if isinstance(content, list) and all(isinstance(one, dict) for one in content):
        content = [[one["x"], one["y"]] for one in content]
    return np.array(content, np.float64)


def _menpo_points(content: Any, group: str | None) -> list | None:
    """The (row, column) points of menpo's JSON layouts, None when it is not one of them."""
    if not isinstance(content, dict):
        return None
    landmarks, groups = content.get("landmarks"), content.get("groups")
    if isinstance(landmarks, dict) and "points" in landmarks:  # version 2
        return landmarks["points"]
    if isinstance(groups, dict) and groups:  # version 3: {group: {"landmarks": {"points": ...}}}
        return _chosen_group({name: one["landmarks"]["points"] for name, one in groups.items()}, group)
    if isinstance(groups, list):  # version 1: [{"label", "landmarks": [{"point": [row, column]}]}]
        return [mark["point"] for one in groups for mark in one["landmarks"]]
    return None


def _chosen_group(groups: dict[str, list], group: str | None) -> list:
    """The group of that name, or the only one with 68 points."""
    held = ", ".join(f"{name} ({len(points)} points)" for name, points in groups.items())
    if group is not None:
        if group not in groups:
            raise ValueError(f"has no group {group}, but {held}")
        return groups[group]
    fitting = [name for name, points in groups.items() if len(points) == COUNT]
    if len(fitting) > 1:
        raise ValueError(f"has several groups of 68 points: {', '.join(fitting)}; choose one with --landmark-group")
    if not fitting and len(groups) > 1:
        raise ValueError(f"has no group of 68 points, but {held}")
    return groups[fitting[0]] if fitting else next(iter(groups.values()))


_READERS: dict[str, Callable[[Path, str | None], Any]] = {
    ".pts": _read_pts,
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".json": _read_json,
    ".ljson": _read_json,
    ".mat": _read_mat,
    ".txt": _read_text,
    ".csv": _read_text,
}

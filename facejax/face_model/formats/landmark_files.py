"""Files that say where a model's 68 landmarks are: vertex numbers, or triangles with barycentric weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from facejax.face_model.formats._common import Landmarks, fail, open_container

COUNT, JAW, INNER = 68, 17, 51
EMBEDDINGS = (  # names of triangles and weights; the first pair whose number of points fits is taken
    ("triangles", "weights"),
    ("full_lmk_faces_idx", "full_lmk_bary_coords"),
    ("static_lmk_faces_idx", "static_lmk_bary_coords"),
    ("dynamic_lmk_faces_idx", "dynamic_lmk_bary_coords"),
    ("lmk_face_idx", "lmk_b_coords"),
)
STATIC, CONTOUR = "flame_static_embedding.pkl", "flame_dynamic_embedding.npy"
WANTED = (
    "give 68 vertex numbers that count from 0 (.npy, .txt), triangles (68,) and weights (68, 3) (.npz), or FLAME's "
    f"landmark_embedding.npy, or {STATIC} with {CONTOUR}"
)

_Points = tuple[np.ndarray, np.ndarray]  # triangles (n,) and weights (n, 3)


def read_model_landmarks(paths: Path | str | Sequence[Path | str]) -> Landmarks:
    """68 landmarks in the iBUG order for `load_face_model`, from one file or from several that complete each other.

    - `.txt`, `.npy`: vertex numbers that count from 0; also 3DDFA's `keypoints_sim.npy`, which numbers coordinates.
    - `.npz`: `triangles` (68,) and `weights` (68, 3).
    - FLAME: DECA's `landmark_embedding.npy`; or the 51 points of `flame_static_embedding.pkl` with the jaw of
      `flame_dynamic_embedding.npy` for a head that is not turned. A file that lies beside the given one is found.

    Pickles are read without being executed. Raises FileNotFoundError or ValueError: one line that says what is missing.
    """
    files = [Path(paths)] if isinstance(paths, (str, Path)) else [Path(path) for path in paths]
    if not files:
        raise ValueError(f"no file of landmarks: {WANTED}")
    found: dict[int, _Points] = {}
    for path in files:
        one = _read(path)
        if isinstance(one, np.ndarray):
            return one
        found = one | found
    other = files[0].parent / (STATIC if JAW in found else CONTOUR)
    if COUNT not in found and len(found) == 1 and other.is_file() and other not in files:
        more = _read(other)
        found = more | found if isinstance(more, dict) else found
    if COUNT in found:
        return found[COUNT]
    if JAW in found and INNER in found:
        return tuple(np.concatenate(pair) for pair in zip(found[JAW], found[INNER], strict=True))
    if INNER in found:
        fail(files[0], "51 landmarks, without the 17 of the jaw", f"give {CONTOUR} too, or put it beside this file")
    if JAW in found:
        fail(files[0], "the 17 landmarks of the jaw alone", f"give {STATIC} too, or put it beside this file")
    count = next(iter(found), 0)
    fail(files[0], f"{count} landmarks, not the 68 of the iBUG order" if count else "no landmarks", WANTED)


def landmarks_beside(model: Path) -> Landmarks:
    """The landmarks in a file of FLAME's authors, or DECA's, in the model's folder; None if there is no such file."""
    for name in ("landmark_embedding.npy", STATIC):
        path = model.parent / name
        if path.is_file() and (name != STATIC or (model.parent / CONTOUR).is_file()):
            return read_model_landmarks(path)
    return None


def _read(path: Path) -> np.ndarray | dict[int, _Points]:
    """68 vertex numbers, or points by their number."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of landmarks")
    if path.suffix.lower() == ".txt":
        try:
            return _vertex_numbers(path, np.loadtxt(path, dtype=np.int64))
        except ValueError as error:
            if str(path) in str(error):
                raise
            fail(path, "no landmarks", WANTED)
    try:
        with open_container(path) as data:
            if "array" in data:
                return _vertex_numbers(path, np.asarray(data["array"]))
            return _embeddings(path, data)
    except ValueError as error:
        if "not a .mat, .npz" in str(error):
            fail(path, "no landmarks", WANTED)
        raise


def _vertex_numbers(path: Path, ids: np.ndarray) -> np.ndarray:
    ids = ids.reshape(-1)
    if ids.dtype.kind == "f" and np.isfinite(ids).all() and (ids == np.floor(ids)).all():
        ids = ids.astype(np.int64)  # MATLAB's numbers
    if ids.dtype.kind not in "iu":
        fail(path, f"no vertex numbers ({ids.dtype})", WANTED)
    table = ids.reshape(-1, 3) if len(ids) == 3 * COUNT else None
    if table is not None and (table == table[:, :1] + [0, 1, 2]).all() and (table[:, 0] % 3 == 0).all():
        return table[:, 0].astype(np.int64) // 3  # of coordinates: 3 v, 3 v + 1, 3 v + 2
    if len(ids) != COUNT:
        fail(path, f"{len(ids)} vertex numbers, not the 68 of the iBUG order", WANTED)
    return ids.astype(np.int64)


def _embeddings(path: Path, data: Mapping[str, Any]) -> dict[int, _Points]:
    found: dict[int, _Points] = {}
    for names in EMBEDDINGS:
        if not all(name in data for name in names):
            continue
        ids, weights = (_numbers(data[name]) for name in names)
        if ids is None or weights is None:
            continue  # a tensor of PyTorch, say
        if ids.ndim == 2:  # a row for each angle of the head, first the frontal one
            ids, weights = ids[0], weights[0]
        if ids.ndim != 1 or weights.shape != (len(ids), 3):
            fail(path, f"{names[0]!r} and {names[1]!r} of shapes {ids.shape} and {weights.shape}", WANTED)
        found.setdefault(len(ids), (ids.astype(np.int64), weights.astype(np.float32)))
    return found


def _numbers(value: Any) -> np.ndarray | None:
    """An array of numbers, also of nested lists; None for anything else."""
    try:
        return np.asarray(value, np.float64) if np.ndim(value) else None
    except (TypeError, ValueError):
        return None

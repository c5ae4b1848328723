"""Shared by all file formats: reading containers, checking arrays, winding, landmarks, assembly.

Every failure is a ValueError (FileNotFoundError for a missing file) of one line: the file, what is wrong, the fix.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from facejax.face_model import FaceModel, make_face_model
from facejax.face_model.formats._contour import moving_contour
from facejax.face_model.formats._pickle import UnsafePickleError, load_npy, load_pickle
from facejax.face_model.regions import with_regions

logger = logging.getLogger(__name__)

GET_AGAIN = "the file is damaged or of another kind: get it again"
Landmarks = Any  # vertex indices (68,), or triangles (68,) with barycentric weights (68, 3)


@dataclass(frozen=True)
class Options:
    """How much of a file to load. None keeps all; a number beyond the file's keeps all."""

    identity: int | None = None
    expression: int | None = None
    albedo: int | None = None
    landmarks: Landmarks = None


def fail(path: Path, problem: str, fix: str) -> NoReturn:
    raise ValueError(f"{path}: {problem}; {fix}")


@contextmanager
def open_container(path: Path) -> Iterator[Mapping[str, Any]]:
    """Open a .mat, .npz, .npy, .h5 or pickle file and give its arrays by name; the first bytes tell which kind it is.

    Arrays of .npz and .h5 files are read on access. Nothing is executed: pickles go through the restricted reader, and
    object arrays inside a .npz are refused on access.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; give the path of a face-model file or folder")
    with ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        head = file.read(128)
        file.seek(0)
        if not head:
            fail(path, "the file is empty", "download or copy it again")
        kinds = [
            ("npz", b"PK"),
            ("npy", b"\x93NUMPY"),
            ("h5", b"\x89HDF"),
            ("mat73", b"MATLAB 7.3"),
            ("mat", b"MATLAB"),
        ]
        kind = next((kind for kind, magic in kinds if head.startswith(magic)), "pickle")
        try:
            data = _read(kind, path, file, stack)
        except (UnsafePickleError, _MissingReaderError):
            raise
        except Exception as error:  # every reader fails in its own ways on truncated and foreign files
            if kind == "pickle" and path.suffix.lower() not in (".pkl", ".pickle"):
                fix = "give one of the face-model files listed in docs/models.md"
                fail(path, "not a .mat, .npz, .h5 or pickle file", fix)
            reason = " ".join(str(error).split())[:120] or type(error).__name__
            fail(path, f"cannot be read, truncated or damaged ({reason})", "download or copy it again")
        yield data


def _read(kind: str, path: Path, file: IO[bytes], stack: ExitStack) -> Mapping[str, Any]:
    if kind == "npz":
        archive: Any = np.load(file, allow_pickle=False)
        return _Lazy(path, archive, archive.files)
    if kind == "mat":
        from scipy.io import loadmat

        return {key: value for key, value in loadmat(file).items() if not key.startswith("__")}
    if kind == "pickle":
        return load_pickle(path, file)
    if kind == "npy":
        return load_npy(path, file)
    try:
        import h5py
    except ImportError:
        raise _MissingReaderError(f"{path}: reading this file needs h5py; pip install facejax[h5]") from None
    archive = stack.enter_context(h5py.File(path, "r"))
    keys: list[str] = []
    archive.visititems(lambda name, item: keys.append(name) if isinstance(item, h5py.Dataset) else None)
    return _Lazy(path, archive, keys, transpose=kind == "mat73")  # MATLAB 7.3 stores every array transposed


class _MissingReaderError(ValueError):
    """A file needs a package that is not installed."""


class _Lazy(Mapping[str, Any]):
    """Arrays of an open archive, read on access."""

    def __init__(self, path: Path, archive: Any, keys: Iterable[str], transpose: bool = False):
        self.path, self.archive, self.names, self.transpose = path, archive, tuple(keys), transpose

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self.names:
            raise KeyError(key)
        try:
            value = np.asarray(self.archive[key])
        except ValueError as error:
            if "allow_pickle" not in str(error):
                fail(self.path, f"{key!r} cannot be read, truncated or damaged", "download or copy it again")
            fail(self.path, f"{key!r} holds pickled Python objects, which are never loaded", "save it as a plain array")
        except Exception:
            fail(self.path, f"{key!r} cannot be read, truncated or damaged", "download or copy it again")
        return value.T if self.transpose else value

    def __contains__(self, key: object) -> bool:
        return key in self.names  # without reading the array

    def __iter__(self):
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def require(path: Path, data: Mapping[str, Any], keys: Iterable[str], kind: str) -> None:
    """Raises ValueError unless all keys are in the file; `kind` is what the error calls the format."""
    missing = [key for key in keys if key not in data]
    if missing:
        fail(
            path,
            f"not a {kind} file, or truncated: {', '.join(missing)} missing",
            "check the file, or give its format=",
        )


def array(path: Path, data: Mapping[str, Any], key: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """A numeric array of the given shape (None: any), or an error that names it."""
    value = np.asarray(data[key])
    if value.dtype.kind not in "fiub":
        fail(path, f"{key!r} is not numeric ({value.dtype})", GET_AGAIN)
    if value.ndim != len(shape) or any(
        want is not None and want != got for want, got in zip(shape, value.shape, strict=True)
    ):
        wanted = "(" + ", ".join("any" if size is None else str(size) for size in shape) + ")"
        fail(
            path,
            f"{key!r} has shape {value.shape}, expected {wanted}",
            GET_AGAIN,
        )
    return value


def vector(path: Path, data: Mapping[str, Any], key: str, size: int | None = None) -> np.ndarray:
    """An array with a single long axis, as (n,): MATLAB stores vectors as (n, 1) or (1, n)."""
    value = np.asarray(data[key])
    if value.ndim > 2 or (value.ndim == 2 and 1 not in value.shape):
        fail(
            path,
            f"{key!r} has shape {value.shape}, expected a vector",
            GET_AGAIN,
        )
    return array(path, {key: value.reshape(-1)}, key, (size,))


def points(path: Path, data: Mapping[str, Any], key: str, count: int | None = None) -> np.ndarray:
    """A mean stored as x0 y0 z0 x1 ... , as float64 (count, 3)."""
    value = vector(path, data, key, None if count is None else 3 * count)
    if len(value) % 3 or not len(value):
        fail(
            path,
            f"{key!r} has {len(value)} numbers, not a multiple of 3",
            GET_AGAIN,
        )
    return value.astype(np.float64).reshape(-1, 3)


def columns(path: Path, data: Mapping[str, Any], key: str, count: int, keep: int | None) -> np.ndarray:
    """The first `keep` components of a basis stored as (3 count, K), as (K', count, 3)."""
    value = array(path, data, key, (3 * count, None))[:, :keep]
    return value.T.reshape(-1, count, 3)


def rows(path: Path, data: Mapping[str, Any], key: str, count: int, keep: int | None) -> np.ndarray:
    """The first `keep` components of a basis stored as (K, 3 count), as (K', count, 3)."""
    return array(path, data, key, (None, 3 * count))[:keep].reshape(-1, count, 3)


def triangles(path: Path, data: Mapping[str, Any], key: str, count: int, *, first: int, shape=(None, 3)) -> np.ndarray:
    """Triangles (F, 3) with vertices counted from 0; the file counts its `count` vertices from `first` (MATLAB: 1)."""
    value = array(path, data, key, shape)
    if not len(value):
        fail(path, f"{key!r} is empty", GET_AGAIN)
    return _count_from_zero(path, key, value, count, first).astype(np.int32)


def indices(path: Path, data: Mapping[str, Any], key: str, count: int, *, first: int) -> np.ndarray:
    """Vertex numbers (n,) counted from 0; the file counts its `count` vertices from `first` (1 in MATLAB files)."""
    return _count_from_zero(path, key, vector(path, data, key), count, first)


def _count_from_zero(path: Path, key: str, value: np.ndarray, count: int, first: int) -> np.ndarray:
    inside = (value >= first) & (value < first + count) & (value == np.floor(value))  # false for NaN too
    if not inside.all():
        fail(path, f"{key!r} points outside the {count} vertices", GET_AGAIN)
    return value.astype(np.int64) - first


def winds_inward(vertices: np.ndarray, faces: np.ndarray) -> bool:
    """Whether the triangles of a head, or of a face mask, are clockwise seen from outside.

    Integrates normal times direction from the middle of the vertices over the surface (three times the enclosed volume
    of a closed one). The middle of a face mask lies behind it, so open meshes work too.
    """
    corners = vertices[faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.sum(normals * (corners.mean(axis=1) - vertices.mean(axis=0)))) < 0


def on_vertices(path: Path, faces: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices as barycentric points: for each vertex a triangle that it belongs to, and weights with a single 1."""
    flat = faces.reshape(-1)
    order = np.argsort(flat, kind="stable")
    position = np.searchsorted(flat[order], ids)
    found = position < len(flat)
    found[found] = flat[order[position[found]]] == ids[found]
    if not found.all():
        fail(
            path,
            f"landmark vertex {int(ids[~found][0])} is in no triangle",
            "give vertices of the surface as landmarks=",
        )
    corner = order[position]
    return (corner // 3).astype(np.int32), np.eye(3, dtype=np.float32)[corner % 3]


def resolve_landmarks(path: Path, faces: np.ndarray, count: int, landmarks: Landmarks) -> tuple[np.ndarray, np.ndarray]:
    """Landmarks given in either form, as triangles (68,) and weights (68, 3) in the file's triangle and corner order.

    `count` is the number of vertices. Raises ValueError for landmarks of another shape or out of range.
    """
    wanted = "landmarks= takes 68 vertex indices, or a pair of 68 triangles and (68, 3) weights, in the iBUG order"
    if isinstance(landmarks, tuple) and len(landmarks) == 2:
        ids, weights = np.asarray(landmarks[0]), np.asarray(landmarks[1], np.float32)
        if ids.shape != (68,) or weights.shape != (68, 3) or ids.dtype.kind not in "iu":
            fail(path, f"landmarks of shapes {ids.shape} and {weights.shape}", wanted)
        limit, label = len(faces), "triangles"
    else:
        ids, weights = np.asarray(landmarks), None
        if ids.shape != (68,) or ids.dtype.kind not in "iu":
            fail(path, f"landmarks of shape {ids.shape}", wanted)
        limit, label = count, "vertices"
    if ids.min() < 0 or ids.max() >= limit:
        fail(path, f"landmarks point outside the {limit} {label}", wanted)
    return (ids.astype(np.int32), weights) if weights is not None else on_vertices(path, faces, ids)


def assemble(
    path: Path,
    name: str,
    mean: np.ndarray,
    faces: np.ndarray,
    options: Options,
    *,
    landmarks: Landmarks = None,
    uv_faces: np.ndarray | None = None,
    **fields: Any,
) -> FaceModel:
    """Make the model, with every triangle counter-clockwise seen from outside.

    Args:
      path: the file, for errors.
      name: of the model.
      mean: (V, 3), mm.
      faces: triangles (F, 3), in either winding.
      options: its landmarks replace the file's.
      landmarks: the file's own. Jaw landmarks get candidates along the surface (`moving_contour`).
      uv_faces: triangles of texture coordinates.
      fields: the other arguments of `make_face_model`.

    Raises ValueError with the file's name for arrays that do not match.
    """
    landmarks = landmarks if options.landmarks is None else options.landmarks
    if landmarks is not None:
        marks = resolve_landmarks(path, faces, len(mean), landmarks)
        fields |= dict(zip(("landmark_faces", "landmark_weights"), marks, strict=True))
        contour = moving_contour(mean, faces, *marks)
        fields |= dict(zip(("contour_faces", "contour_weights", "contour_direction"), contour, strict=True))
    if winds_inward(mean, faces):
        faces = faces[:, [0, 2, 1]]
        uv_faces = None if uv_faces is None else uv_faces[:, [0, 2, 1]]
        if landmarks is not None:  # weights follow their corners
            for key in ("landmark_weights", "contour_weights"):
                fields[key] = fields[key][..., [0, 2, 1]]
    size = float(np.max(np.ptp(mean, axis=0)))
    if not 50.0 < size < 1000.0:
        logger.warning(
            "%s: the mesh is %.3g mm across, so its unit is not that of an ordinary %s file", path, size, name
        )
    try:
        model = make_face_model(name, mean, faces, uv_faces=uv_faces, **fields)
    except ValueError as error:
        fail(path, str(error), GET_AGAIN)
    return model if "face_inner" in model.regions else with_regions(model, model.regions)

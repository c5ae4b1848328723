"""One function that loads any face model the library knows, told apart by what is in the file."""

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from facejax.face_model.formats import bfm, flame, gnm, hifi3dpp, ict, plain
from facejax.face_model.formats._common import GET_AGAIN, Landmarks, Options, fail, open_container
from facejax.face_model.formats.landmark_files import read_model_landmarks
from facejax.face_model.formats.mask_files import masks_beside, with_masks
from facejax.face_model.model import FaceModel
from facejax.face_model.morphable import truncate

_LOADERS = {
    "ict": ict.load_ict_npz,
    "bfm2009": bfm.load_bfm2009,
    "deep3d": bfm.load_deep3d,
    "bfm2017": bfm.load_bfm2017,
    "flame": flame.load_flame,
    "hifi3dpp": hifi3dpp.load_hifi3dpp,
    "gnm": gnm.load_gnm,
    "facejax": lambda path, data, options: _own_file(path, data, options),
}
FORMATS = tuple(_LOADERS)

# Keys that tell a format; the first row whose keys are all in the file decides.
_SIGNATURES = [
    (("facejax_head",), "facejax"),
    ((plain.KEY,), "facejax"),
    (("template_vertex_positions", "vertex_identity_basis"), "gnm"),
    (("vertices", "identity_deltas"), "ict"),
    (("v_template", "shapedirs"), "flame"),
    (("shapeMU", "shapePC"), "bfm2009"),
    (("shape/model/mean", "shape/model/pcaBasis"), "bfm2017"),
    (("meanshape", "head_tri"), "hifi3dpp"),
    (("mu_shape", "basis_shape"), "hifi3dpp"),
    (("meanshape", "idBase"), "deep3d"),
]
_IN_FOLDERS = {"01_MorphableModel.mat": "bfm2009", "BFM_model_front.mat": "deep3d", "gnm_head.npz": "gnm"}


def load_face_model(
    source: str | Path = "default",
    *,
    format: str | None = None,
    identity: int | None = None,
    expression: int | None = None,
    albedo: int | None = None,
    landmarks: Landmarks = None,
    masks: str | Path | None = None,
) -> FaceModel:
    """Load a face model from a file or folder, in millimetres and this library's conventions.

    The content of the file tells its format: an ICT-FaceKit folder (or its .npz), Basel Face Model 2009 (.mat) and
    2017/2019 (.h5), Deep3D's `BFM_model_front.mat`, FLAME (.pkl or .npz), HiFi3D++ (.mat), GNM Head (.npz), or what
    `facejax convert model` or the builder of the default head wrote (.npz). docs/models.md says where to get each file
    and what is converted. Nothing is executed: the reader of pickles accepts arrays only.

    Args:
        source: a file or folder; "default" is the shipped head.
        format: one of FORMATS, for a file whose content does not tell.
        identity, expression, albedo: keep this many first components; None, or more than the file has: all of them.
        landmarks: 68 landmarks in the iBUG order, in place of the file's or for a file without any: vertex indices, or
            triangles with barycentric weights (68, 3), both in the file's order; or a file of them, or several that
            complete each other (`read_model_landmarks`).
        masks: a file with the vertices of the face and other regions, such as FLAME_masks.pkl (which is found if it
            lies beside the model). A model without any gets regions from its landmarks, see `make_face_model`.

    Returns: the model; one with colours is a `MorphableModel`.

    Raises FileNotFoundError or ValueError, one line with the file, the problem and the fix.

    >>> model = load_face_model(identity=10, expression=5)
    >>> model.mean.shape[1], len(model.identity_std), len(model.expression_names)
    (3, 10, 5)
    """
    for label, count in [("identity", identity), ("expression", expression), ("albedo", albedo)]:
        if count is not None and count < 0:
            raise ValueError(f"{label}={count}: give a number of components, 0 or more, or None for all")
    if format is not None and format not in FORMATS:
        raise ValueError(f"format {format!r} is unknown: use one of {', '.join(FORMATS)}, or leave it out")
    several = isinstance(landmarks, list | tuple) and all(isinstance(one, str | Path) for one in landmarks)
    if several or isinstance(landmarks, str | Path):
        landmarks = read_model_landmarks(landmarks)
    options = Options(identity, expression, albedo, landmarks)
    if str(source) == "default":
        if masks is not None:
            raise ValueError("the default head brings its own regions: leave masks= out")
        return _own_head(None, options)
    path = Path(source).expanduser()
    model = _load(path, format, options)
    place = masks_beside(path) if masks is None and model.name == "flame" else masks
    return model if place is None else with_masks(model, Path(place).expanduser())


def _load(path: Path, format: str | None, options: Options) -> FaceModel:
    if path.is_dir():
        if format in (None, "ict") and ict.is_folder(path):
            return ict.load_ict_folder(path, options)
        path = _file_in_folder(path, format)
    with open_container(path) as data, np.errstate(all="ignore"):  # damaged numbers overflow; assembly refuses them
        return _LOADERS[format or _recognise(path, data)](path, data, options)


def _own_file(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    """Any model that `save_face_model` wrote, or a head in the encoding of the shipped one."""
    return plain.load_plain(path, data, options) if plain.KEY in data else _own_head(path, options)


def _own_head(source: Path | None, options: Options) -> FaceModel:
    """The shipped head, or a head that the user built in the same format."""
    from facejax.face_model.formats.default import load_default_head, read_head

    if options.landmarks is not None:
        name = "the default head" if source is None else f"{source}:"
        raise ValueError(f"{name} brings its own landmarks: leave landmarks= out, or give the path of another model")
    try:
        head = load_default_head() if source is None else read_head(source)
    except (KeyError, IndexError, TypeError, EOFError, OSError, zlib.error, BadZipFile, ValueError) as error:
        if source is None:
            raise
        reason = " ".join(str(error).split()).removeprefix(f"{source}: ")[:160]
        fail(source, f"cannot be read as a facejax head ({reason})", GET_AGAIN)
    return truncate(head, identity=options.identity, expression=options.expression, albedo=options.albedo)


def _file_in_folder(folder: Path, format: str | None) -> Path:
    for name, kind in _IN_FOLDERS.items():
        if format in (None, kind) and (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{folder}: no face model in this folder; give ICT-FaceKit's FaceXModel folder, or a file")


def _recognise(path: Path, data: Mapping[str, Any]) -> str:
    for keys, name in _SIGNATURES:
        if all(key in data for key in keys):
            return name
    found = ", ".join(sorted(map(str, data))[:6]) or "nothing"
    fail(
        path,
        f"not a face model that facejax knows (it holds {found})",
        f"give one of {', '.join(FORMATS)}, see docs/models.md",
    )

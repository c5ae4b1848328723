"""FLAME 2019, 2020 and 2023 (.pkl, or the same keys in a .npz)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facejax.face_model.formats._common import Options, array, assemble, require, triangles
from facejax.face_model.formats.landmark_files import landmarks_beside
from facejax.face_model.model import FaceModel

_METRES = 1000.0
_IDENTITY = 300


def load_flame(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    """FLAME's linear part: 5,023 vertices, 300 identity and 100 expression components.

    T. Li et al., "Learning a model of facial shape and expression from 4D scans", SIGGRAPH Asia 2017. Metres become
    millimetres; standard deviations are inside `shapedirs`. The pickle is read without being executed. The joints are
    IGNORED (`J_regressor`, `posedirs`, `weights`, `kintree_table`): the jaw opens through expression components only,
    neck and eyeballs do not turn, so a mesh posed by FLAME's own code differs where its pose is not zero. The file
    has no texture coordinates, albedo, regions or landmarks. Other files of the authors are used if they lie beside it:
    `landmark_embedding.npy` (DECA), or `flame_static_embedding.pkl` with `flame_dynamic_embedding.npy`; and the masks
    of `FLAME_masks.pkl`.
    """
    require(path, data, ["v_template", "shapedirs", "f"], "FLAME")
    mean = array(path, data, "v_template", (None, 3)).astype(np.float64)
    count = len(mean)
    directions = array(path, data, "shapedirs", (count, 3, None)).transpose(2, 0, 1)
    identity = directions[:_IDENTITY][: options.identity]
    expression = directions[_IDENTITY:][: options.expression]
    return assemble(
        path,
        "flame",
        mean * _METRES,
        triangles(path, data, "f", count, first=0),
        options,
        landmarks=landmarks_beside(path) if options.landmarks is None else None,
        identity_basis=identity,
        identity_std=np.full(len(identity), _METRES),
        expression_basis=expression,
        expression_std=np.full(len(expression), _METRES),
    )

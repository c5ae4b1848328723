"""Basel Face Models: 2009 (.mat), Deep3D's front model made from it (.mat), 2017 and 2019 (.h5).

All have the axes of this library (+x the subject's left, +y up, +z out of the face) and no texture coordinates.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facejax.face_model.formats._common import (
    GET_AGAIN,
    Options,
    array,
    assemble,
    columns,
    fail,
    indices,
    open_container,
    points,
    require,
    triangles,
    vector,
)
from facejax.face_model.model import FaceModel
from facejax.text_files import read_text

_MICROMETRES = 1e-3
_DECIMETRES = 100.0


def load_bfm2009(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    """Basel Face Model 2009, `01_MorphableModel.mat`.

    P. Paysan et al., "A 3D Face Model for Pose and Illumination Invariant Face Recognition", AVSS 2009. Micrometres
    become millimetres; `shapeEV` and `texEV` are standard deviations; colours 0..255 become 0..1; the triangles are
    1-based and clockwise in the file. The model has no expressions: those of Guo et al. ("CNN-based real-time dense
    face reconstruction", PAMI 2018) are added if `Exp_Pca.bin` and `std_exp.txt` are in the same folder, together with
    `BFM_exp_idx.mat`, which lists the 53,215 of the 53,490 vertices that they cover; the model is cut to those.
    Landmarks: none in the file.
    """
    require(path, data, ["shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl"], "BFM 2009")
    mean = points(path, data, "shapeMU")
    count = len(mean)
    faces = triangles(path, data, "tl", count, first=1)
    identity = columns(path, data, "shapePC", count, options.identity)
    identity_std = vector(path, data, "shapeEV", np.shape(data["shapePC"])[1])[: options.identity]
    colour_basis = columns(path, data, "texPC", count, options.albedo)
    colour_std = vector(path, data, "texEV", np.shape(data["texPC"])[1])[: options.albedo]
    colour = points(path, data, "texMU", count)
    expression, expression_std, kept = _guo_expressions(path.parent, count, options.expression)
    if kept is not None:
        new = np.full(count, -1)
        new[kept] = np.arange(len(kept))
        faces = new[faces]
        faces = faces[(faces >= 0).all(axis=1)].astype(np.int32)
        mean, identity, colour, colour_basis = mean[kept], identity[:, kept], colour[kept], colour_basis[:, kept]
    return assemble(
        path,
        "bfm2009",
        mean * _MICROMETRES,
        faces,
        options,
        identity_basis=identity,
        identity_std=identity_std * _MICROMETRES,
        expression_basis=expression,
        expression_std=None if expression_std is None else expression_std * _MICROMETRES,
        albedo=(colour / 255.0, colour_basis, colour_std / 255.0),
    )


def _guo_expressions(folder: Path, count: int, keep: int | None):
    """Basis (E, V', 3), standard deviations (E,) in micrometres, and the vertices they are for (None: all).

    `Exp_Pca.bin`: int32 E, then float32 mean (3 V') and basis (E, 3 V'). The mean is left out, as in Deep3D, so that
    zero coefficients are the neutral face.
    """
    binary, deviations, selection = (folder / name for name in ("Exp_Pca.bin", "std_exp.txt", "BFM_exp_idx.mat"))
    if not binary.is_file() or keep == 0:
        return None, None, None
    raw = binary.read_bytes()
    components = int(np.frombuffer(raw[:4], "<i4")[0]) if len(raw) >= 4 else 0
    vertices, rest = divmod((len(raw) - 4) // 4, 3 * (components + 1)) if components > 0 else (0, 1)
    if rest or not vertices or len(raw) % 4:
        fail(binary, "not an expression basis, or truncated", "copy it again, or pass expression=0")
    if not deviations.is_file():
        raise FileNotFoundError(f"{deviations}: no such file; put it beside {binary.name}, or pass expression=0")
    try:
        std = np.loadtxt(read_text(deviations).split("\n"), ndmin=1).reshape(-1)
    except ValueError:
        fail(deviations, "not a list of numbers", "copy it again, or pass expression=0")
    if len(std) != components:
        fail(
            deviations, f"{len(std)} numbers for the {components} expressions of {binary.name}", "copy both files again"
        )
    basis = np.frombuffer(raw, "<f4", offset=4)[3 * vertices :].reshape(components, vertices, 3)[:keep]
    if vertices == count:
        return basis, std[:keep], None
    if not selection.is_file():
        raise FileNotFoundError(
            f"{selection}: no such file; it maps {binary.name} to the model's vertices, get it or pass expression=0"
        )
    with open_container(selection) as data:
        require(selection, data, ["trimIndex"], "BFM_exp_idx.mat")
        kept = indices(selection, data, "trimIndex", count, first=1)
    if len(kept) != vertices:
        fail(selection, f"{len(kept)} vertices, but {binary.name} has {vertices}", "use the files of one model")
    return basis, std[:keep], kept


def load_deep3d(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    """Deep3D's front model, `BFM_model_front.mat`: 35,709 vertices of BFM 2009, 80 + 64 + 80 components.

    Y. Deng et al., "Accurate 3D Face Reconstruction with Weakly-Supervised Learning", CVPRW 2019. The unit of about
    100 mm becomes millimetres; standard deviations are inside the bases; colours 0..255 become 0..1; triangles and
    keypoints are 1-based. The mean vertex is moved to the origin, as Deep3D does when it loads the file, so its
    coefficients and translations keep their meaning. `keypoints` are the 68 landmarks; `skinmask` and
    `frontmask2_idx` become the regions "skin" and "front".
    """
    require(path, data, ["meanshape", "idBase", "exBase", "meantex", "texBase", "tri"], "Deep3D front model")
    mean = points(path, data, "meanshape")
    count = len(mean)
    regions = {"face": np.ones(count)}
    if "skinmask" in data:
        regions["skin"] = np.clip(vector(path, data, "skinmask", count).astype(np.float64), 0, 1)
    if "frontmask2_idx" in data:
        regions["front"] = np.zeros(count)
        regions["front"][indices(path, data, "frontmask2_idx", count, first=1)] = 1
    return _with_stds_inside(path, "deep3d", data, mean, triangles(path, data, "tri", count, first=1), regions, options)


def _with_stds_inside(path, name, data, mean, faces, regions, options: Options, **fields: Any) -> FaceModel:
    """The keys that Deep3D's file and FFHQ-UV's HiFi3D++ file share."""
    count = len(mean)
    identity = columns(path, data, "idBase", count, options.identity)
    expression = columns(path, data, "exBase", count, options.expression)
    colour = columns(path, data, "texBase", count, options.albedo)
    keypoints = indices(path, data, "keypoints", count, first=1) if "keypoints" in data else None
    return assemble(
        path,
        name,
        (mean - mean.mean(axis=0)) * _DECIMETRES,
        faces,
        options,
        landmarks=keypoints if keypoints is not None and len(keypoints) == 68 else None,
        identity_basis=identity,
        identity_std=np.full(len(identity), _DECIMETRES),
        expression_basis=expression,
        expression_std=np.full(len(expression), _DECIMETRES),
        albedo=(points(path, data, "meantex", count) / 255.0, colour, np.full(len(colour), 1 / 255.0)),
        regions=regions,
        **fields,
    )


def load_bfm2017(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    """Basel Face Model 2017 (`model2017-1_*.h5`) and 2019 (`model2019_*.h5`), which has the same layout.

    T. Gerig et al., "Morphable Face Models - An Open Framework", FG 2018. Already in millimetres and 0-based, colours
    already 0..1; the bases have unit norm and `pcaVariance` is squared standard deviation. The mean is the sum of the
    shape and the expression mean. The file names a few points (`metadata/landmarks`), not the 68: no landmarks.
    """
    model = [
        f"{part}/model/{key}"
        for part in ("shape", "expression", "color")
        for key in ("mean", "pcaBasis", "pcaVariance")
    ]
    require(path, data, [*model, "shape/representer/cells"], "BFM 2017")
    mean = points(path, data, "shape/model/mean")
    count = len(mean)
    cells = array(path, data, "shape/representer/cells", (3, None)).T
    faces = triangles(path, {"shape/representer/cells": cells}, "shape/representer/cells", count, first=0)

    def component(part: str, keep: int | None) -> tuple[np.ndarray, np.ndarray]:
        basis = columns(path, data, f"{part}/model/pcaBasis", count, None)
        variance = vector(path, data, f"{part}/model/pcaVariance", len(basis)).astype(np.float64)
        if (variance < 0).any():
            fail(path, f"'{part}/model/pcaVariance' has negative values", GET_AGAIN)
        return basis[:keep], np.sqrt(variance[:keep])

    identity, identity_std = component("shape", options.identity)
    expression, expression_std = component("expression", options.expression)
    return assemble(
        path,
        "bfm2017",
        mean + points(path, data, "expression/model/mean", count),
        faces,
        options,
        identity_basis=identity,
        identity_std=identity_std,
        expression_basis=expression,
        expression_std=expression_std,
        albedo=(points(path, data, "color/model/mean", count), *component("color", options.albedo)),
    )

"""HiFi3D++ (.mat), in the layout of FFHQ-UV's code and in that of the REALY download. Full heads, 20,481 vertices."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from facejax.face_model.formats._common import Options, array, assemble, points, require, rows, triangles, vector
from facejax.face_model.formats.bfm import _with_stds_inside
from facejax.face_model.model import FaceModel

_CENTIMETRES = 10.0


def load_hifi3dpp(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    """HiFi3D++ (Z. Chai et al., "REALY", ECCV 2022), from either of its two files.

    FFHQ-UV's `hifi3dpp_model_info.mat`: keys as in Deep3D's model plus the full head (`head_tri`), its UVs and an
    albedo; the unit of about 100 mm becomes millimetres, everything is 1-based, the mean vertex moves to the origin
    as in FFHQ-UV's code, `keypoints` are the 68 landmarks. Region "face": vertices of the facial triangles `tri`.

    REALY's `HIFI3D++.mat`: `mu_shape`, `basis_shape`, `basis_exp` with one component per row, 0-based triangles, about
    centimetres; no albedo, and 86 keypoints of another scheme, so no landmarks. Its `EVs` are not used, because public
    code applies coefficients to the bases directly. Its expressions are much larger than one standard deviation.
    """
    return _ffhq_uv(path, data, options) if "idBase" in data else _realy(path, data, options)


def _ffhq_uv(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    needed = [
        "meanshape",
        "idBase",
        "exBase",
        "meantex",
        "texBase",
        "tri",
        "head_tri",
        "head_tri_vt",
        "vt_list",
        "keypoints",
    ]
    require(path, data, needed, "HiFi3D++ (FFHQ-UV)")
    mean = points(path, data, "meanshape")
    count = len(mean)
    uv = array(path, data, "vt_list", (None, 2))
    faces = triangles(path, data, "head_tri", count, first=1)
    uv_faces = triangles(path, data, "head_tri_vt", len(uv), first=1, shape=(len(faces), 3))
    regions = {"face": np.zeros(count)}
    regions["face"][triangles(path, data, "tri", count, first=1)] = 1
    if "skinmask" in data:
        regions["skin"] = np.clip(vector(path, data, "skinmask", count).astype(np.float64), 0, 1)
    return _with_stds_inside(path, "hifi3dpp", data, mean, faces, regions, options, uv=uv, uv_faces=uv_faces)


def _realy(path: Path, data: Mapping[str, Any], options: Options) -> FaceModel:
    require(path, data, ["mu_shape", "basis_shape", "basis_exp", "tri"], "HiFi3D++")
    mean = points(path, data, "mu_shape")
    count = len(mean)
    faces = triangles(path, data, "tri", count, first=0)
    fields: dict[str, Any] = {}
    if "vt_list" in data and "tri_vt" in data:
        fields["uv"] = array(path, data, "vt_list", (None, 2))
        fields["uv_faces"] = triangles(path, data, "tri_vt", len(fields["uv"]), first=0, shape=(len(faces), 3))
    if "mask_face" in data:
        fields["regions"] = {"face": np.clip(vector(path, data, "mask_face", count).astype(np.float64), 0, 1)}
    identity = rows(path, data, "basis_shape", count, options.identity)
    expression = rows(path, data, "basis_exp", count, options.expression)
    return assemble(
        path,
        "hifi3dpp",
        (mean - mean.mean(axis=0)) * _CENTIMETRES,
        faces,
        options,
        identity_basis=identity,
        identity_std=np.full(len(identity), _CENTIMETRES),
        expression_basis=expression,
        expression_std=np.full(len(expression), _CENTIMETRES),
        **fields,
    )

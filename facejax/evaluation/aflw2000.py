"""AFLW2000-3D: 2000 photographs with 68 points from a 3D fit, and AFLW's 21 hand-clicked points.

Zhu et al., "Face alignment across large poses: a 3D solution", CVPR 2016. The points are 1-based pixels (MATLAB): 1 is
the centre of the first pixel, which is 0.5 in the project's pixels. The protocol is the one of the literature's tables:
the box of the true 68 points gives the crop and normalises the errors, and the mean is taken over the three yaw bins.
"""

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from facejax.evaluation.annotated import AnnotatedFaces, box_sizes, point_boxes
from facejax.images import read_image

Labels = Literal["original", "reannotated"]
LOOKALIKE = 0.9  # correlation of two face crops above which they show the same photograph or neighbouring frames
_ARRAYS = ("name", "pts68_3d", "pose_pitch_yaw_roll")


def read_aflw2000(
    folder: str | Path,
    *,
    labels: Labels = "original",
    keep_lookalikes: bool = False,
    keep_out_of_range: bool = True,
) -> AnnotatedFaces:
    """The annotated faces of a folder.

    The folder is either the public one (image*.jpg with .mat beside them), or holds one file of arrays (aflw2000*.npz)
    with the photographs in images/.

    Args:
      folder: path.
      labels: the 68 points of the 3D fits ("original"), or those of Bulat and Tzimiropoulos (only in files of arrays).
        Boxes and sizes are those of the chosen points, for AFLW's 21 points too.
      keep_lookalikes: keep faces that the file marks as look-alikes of held-back ones.
      keep_out_of_range: keep faces with an angle beyond 99 degrees. Their fits are doubtful, but published numbers
        include them.

    Returns:
      The faces.

    Raises FileNotFoundError or ValueError with the path and the fix.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; pass the one with AFLW2000-3D")
    arrays, photos = _from_arrays(folder) if _array_file(folder) else _from_mat_files(folder)
    if labels == "reannotated" and "pts68_2d_reannotated" not in arrays:
        raise ValueError(f"{folder}: holds no re-annotated points; use --labels original")
    stored = arrays["pts68_2d_reannotated"] + 1.0 if labels == "reannotated" else arrays["pts68_3d"][:, :, :2]
    marks = stored - 0.5  # the re-annotated points are 0-based pixel centres, the original ones 1-based
    points = {"68": marks.astype(np.float64)}
    if "pts21_2d" in arrays:
        points["21"] = np.where(arrays["pts21_visible"][..., None], arrays["pts21_2d"] - 0.5, np.nan).astype(np.float64)
    boxes = point_boxes(points["68"])
    pose = arrays["pose_pitch_yaw_roll"].astype(np.float64)
    lookalike = arrays.get("holdout_similarity", np.zeros(len(pose))) > LOOKALIKE
    beyond = np.abs(np.rad2deg(pose)).max(axis=1) > 99.0
    keep = (keep_lookalikes | ~lookalike) & (keep_out_of_range | ~beyond)
    faces = AnnotatedFaces(
        names=tuple(path.name for path in photos),
        points=points,
        boxes=boxes,
        sizes=box_sizes(boxes),
        yaw=np.rad2deg(pose[:, 1]),
        rotations=rotation_matrices(pose),
        read=lambda row: read_image(photos[row]),
        choices={
            "data": f"AFLW2000-3D, {int(keep.sum())} of {len(pose)} photographs",
            "labels": f"{labels} (68 points, x and y); AFLW's clicked points, visible ones (21)",
            "box": "of the true 68 points, for the crop and to divide by: sqrt(width * height)",
            "look-alikes": _words("holdout_similarity" in arrays, int(lookalike.sum()), keep_lookalikes),
            "angles beyond 99": _words(True, int(beyond.sum()), keep_out_of_range),
        },
    )
    return faces.rows(keep)


def rotation_matrices(pose: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "N 3 3"]:
    """R = Rx(pitch) Ry(yaw) Rz(roll) of AFLW2000-3D's angles (radians): model space to camera space.

    The axes are the project's (x to the viewer's right, y up, z to the viewer), but positive yaw turns the nose to the
    image's left, unlike in the project.
    """
    (cx, cy, cz), (sx, sy, sz) = np.cos(pose).T, np.sin(pose).T
    one, zero = np.ones(len(pose)), np.zeros(len(pose))

    def matrix(*rows):
        return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)

    about_x = matrix((one, zero, zero), (zero, cx, sx), (zero, -sx, cx))
    about_y = matrix((cy, zero, -sy), (zero, one, zero), (sy, zero, cy))
    about_z = matrix((cz, sz, zero), (-sz, cz, zero), (zero, zero, one))
    return about_x @ about_y @ about_z


def _words(known: bool, count: int, kept: bool) -> str:
    return f"{count} {'kept' if kept else 'left out'}" if known else "not marked in these files"


def _array_file(folder: Path) -> Path | None:
    return next(iter(sorted(folder.glob("aflw2000*.npz"))), None)


def _from_arrays(folder: Path) -> tuple[dict[str, np.ndarray], list[Path]]:
    path = _array_file(folder)
    assert path is not None
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    missing = [name for name in _ARRAYS if name not in arrays]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}")
    return arrays, [folder / "images" / str(name) for name in arrays["name"]]


def _from_mat_files(folder: Path) -> tuple[dict[str, np.ndarray], list[Path]]:
    """The public layout: imageNNNNN.jpg and imageNNNNN.mat, with pt3d_68, Pose_Para and pt2d."""
    from scipy.io import loadmat

    photos = [path for path in sorted(folder.glob("*.jpg")) if path.with_suffix(".mat").is_file()]
    if not photos:
        raise ValueError(f"{folder}: neither aflw2000*.npz nor *.jpg with .mat beside them; pass AFLW2000-3D's folder")
    points, clicked, pose = [], [], []
    for path in photos:
        mat = path.with_suffix(".mat")
        try:
            content = loadmat(str(mat), variable_names=["pt3d_68", "Pose_Para", "pt2d"])
            points.append(np.asarray(content["pt3d_68"], np.float64).reshape(3, 68).T)
            pose.append(np.asarray(content["Pose_Para"], np.float64).reshape(-1)[:3])
            # A few files have more columns than AFLW's 21 points, which come first.
            clicked.append(np.asarray(content["pt2d"], np.float64).reshape(2, -1)[:, :21].T)
        except Exception as error:  # MatReadError, KeyError, ValueError, zlib.error, ...
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{mat}: cannot be read as an annotation of AFLW2000-3D ({reason})") from error
    arrays = {"pts68_3d": np.stack(points), "pose_pitch_yaw_roll": np.stack(pose)}
    if all(len(marks) == 21 for marks in clicked):
        arrays |= {"pts21_2d": np.stack(clicked), "pts21_visible": (np.stack(clicked) != -1).all(axis=-1)}
    return arrays, photos

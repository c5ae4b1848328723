"""Summaries of a set of predicted landmarks: tables by pose and by group of points, and systematic offsets."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facejax.evaluation.annotated import AnnotatedFaces, to_aflw21
from facejax.evaluation.normalized_error import YawTable, nme_by_yaw, point_errors

GROUPS: dict[str, dict[str, tuple[int, ...]]] = {
    "68": {
        "jaw": tuple(range(17)),
        "brows": tuple(range(17, 27)),
        "nose": tuple(range(27, 36)),
        "eyes": tuple(range(36, 48)),
        "mouth": tuple(range(48, 68)),
    },
    "21": {
        "brows": tuple(range(6)),
        "eyes": tuple(range(6, 12)),
        "ears": (12, 16),
        "nose": (13, 14, 15),
        "mouth": (17, 18, 19),
        "chin": (20,),
    },
}


@dataclass(frozen=True)
class Offsets:
    """The mean offset of each predicted point from the true one, in the head's own frame."""

    bias: Float[np.ndarray, "L 3"]  # percent of the face's size; x to the subject's left, y up, z out of the face
    scatter: Float[np.ndarray, " L"]  # percent: mean 2D distance after removing the bias


@dataclass(frozen=True)
class PointReport:
    """Errors against one set of points."""

    faces: Float[np.ndarray, " N"]  # percent; the mean over a face's annotated points
    table: YawTable
    groups: dict[str, YawTable]
    offsets: Offsets | None  # None where the benchmark has no rotations


def report(predicted: Float[np.ndarray, "N 68 2"], faces: AnnotatedFaces) -> dict[str, PointReport]:
    """One report per set of points, for predictions in pixels of the photographs."""
    return {name: _point_report(predicted, faces, name) for name in faces.points}


def _point_report(predicted: np.ndarray, faces: AnnotatedFaces, name: str) -> PointReport:
    truth = faces.points[name]
    found = to_aflw21(predicted) if name == "21" else predicted
    errors = point_errors(found, truth, faces.sizes)
    seen = np.isfinite(errors).any(axis=1)  # a face may have none of a group's points
    offsets = None if faces.rotations is None else mean_offsets(found, truth, faces.sizes, faces.rotations)
    return PointReport(
        faces=_mean(errors),
        table=nme_by_yaw(_mean(errors)[seen], faces.yaw[seen]),
        groups={label: _table(errors[:, list(rows)], faces.yaw) for label, rows in GROUPS[name].items()},
        offsets=offsets,
    )


def mean_offsets(
    predicted: Float[np.ndarray, "N L 2"],
    truth: Float[np.ndarray, "N L 2"],
    sizes: Float[np.ndarray, " N"],
    rotations: Float[np.ndarray, "N 3 3"],
) -> Offsets:
    """For each point the 3D offset, fixed to the head, that best explains its 2D errors.

    It tells a different definition of a point (a bias that rotates with the head) from scatter. Least squares over
    faces of `R[:2] @ offset = error` (y up), with equal weights.

    Args:
      predicted, truth: landmarks (N, L, 2), pixels.
      sizes: of the faces, pixels.
      rotations: model space to camera space, (N, 3, 3).

    Returns:
      The offsets. If all heads are seen from one side the depth is undetermined, and the offset of least norm is taken.
      NaN for a point that is never annotated.
    """
    error = 100.0 * (np.asarray(predicted) - truth) / sizes[:, None, None] * np.array([1.0, -1.0])
    rows = rotations[:, :2]
    bias, scatter = np.full((truth.shape[1], 3), np.nan), np.full(truth.shape[1], np.nan)
    for point in range(truth.shape[1]):
        seen = np.isfinite(error[:, point]).all(axis=-1)
        if seen.any():
            matrix = rows[seen]
            bias[point] = np.linalg.lstsq(matrix.reshape(-1, 3), error[seen, point].reshape(-1), rcond=1e-6)[0]
            scatter[point] = np.linalg.norm(error[seen, point] - matrix @ bias[point], axis=-1).mean()
    return Offsets(bias, scatter)


def _table(errors: np.ndarray, yaw: np.ndarray) -> YawTable:
    seen = np.isfinite(errors).any(axis=1)
    return nme_by_yaw(_mean(errors)[seen], yaw[seen])


def _mean(errors: np.ndarray) -> np.ndarray:
    """Mean of each row without its NaNs; NaN for a row of NaNs."""
    seen = np.isfinite(errors)
    count = seen.sum(axis=1)
    return np.where(count > 0, np.where(seen, errors, 0.0).sum(axis=1) / np.maximum(count, 1), np.nan)


def format_tables(rows: Mapping[str, YawTable]) -> str:
    """Lines of text: one row per table, one column per bin, then the mean of the three bins and their standard
    deviation.
    """
    width = max(len(name) for name in rows) + 2
    first = next(iter(rows.values()))
    lines = [f"{'|yaw|':<{width}}" + "".join(f"{head:>8}" for head in (*first.bins, "mean", "std"))]
    for name, table in rows.items():
        numbers = (*table.bins.values(), table.mean, table.std)
        lines.append(f"{name:<{width}}" + "".join(f"{number:8.2f}" for number in numbers))
    return "\n".join(lines)


def format_offsets(offsets: Offsets) -> str:
    """Lines of text, one per point."""
    lines = ["point    left      up     out  scatter   (percent of the face's size)"]
    for point, (bias, scatter) in enumerate(zip(offsets.bias, offsets.scatter, strict=True)):
        lines.append(f"{point:5d}" + "".join(f"{value:8.2f}" for value in (*bias, scatter)))
    return "\n".join(lines)

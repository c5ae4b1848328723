"""Annotated photographs of a benchmark in a common form: points in the project's pixels, poses, sizes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float

Predictor = Callable[[Sequence[np.ndarray], Float[np.ndarray, "N 4"]], Float[np.ndarray, "N 68 2"]]
"""Photographs (H, W, 3) and face boxes (left, top, right, bottom), in pixels, to 68 landmarks in the same pixels."""

# For each of AFLW's 21 points, those of the 68 whose mean replaces it (XgTu/2DASL, benchmark_aflw.py): brows, eyes,
# right ear lobe, nose, left ear lobe, mouth, chin.
AFLW21 = (
    *((17,), (19,), (21,), (22,), (24,), (26,)),
    *((36,), tuple(range(36, 42)), (39,), (42,), tuple(range(42, 48)), (45,)),
    *((2,), (31,), (30,), (35,), (14,)),
    *((48,), tuple(range(60, 68)), (54,), (8,)),
)


@dataclass(frozen=True)
class AnnotatedFaces:
    """Photographs with one face each. All is in the project's pixels: (0, 0) is the photograph's corner."""

    names: tuple[str, ...]
    points: dict[str, Float[np.ndarray, "N _ 2"]]  # "68" (iBUG order), "21" (AFLW's); NaN where hidden
    boxes: Float[np.ndarray, "N 4"]  # left, top, right, bottom: the predictor's input
    sizes: Float[np.ndarray, " N"]  # errors are divided by these, pixels
    yaw: Float[np.ndarray, " N"]  # degrees
    rotations: Float[np.ndarray, "N 3 3"] | None  # model space to camera space; None where the benchmark has none
    read: Callable[[int], np.ndarray]  # index to photograph: (H, W, 3) in [0, 1]
    choices: dict[str, str] = field(default_factory=dict)  # the protocol's choices, in words

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, chosen: Bool[np.ndarray, " N"]) -> "AnnotatedFaces":
        """The faces at the chosen indices."""
        index = np.flatnonzero(chosen)
        read = self.read
        return replace(
            self,
            names=tuple(self.names[k] for k in index),
            points={name: marks[index] for name, marks in self.points.items()},
            boxes=self.boxes[index],
            sizes=self.sizes[index],
            yaw=self.yaw[index],
            rotations=None if self.rotations is None else self.rotations[index],
            read=lambda row: read(int(index[row])),
        )


def point_boxes(points: Float[np.ndarray, "N L 2"]) -> Float[np.ndarray, "N 4"]:
    """(left, top, right, bottom) around the points of each face."""
    return np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1)


def box_sizes(boxes: Float[np.ndarray, "N 4"]) -> Float[np.ndarray, " N"]:
    """Square root of each box's area."""
    return np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1))


def to_aflw21(points: Float[np.ndarray, "N 68 2"]) -> Float[np.ndarray, "N 21 2"]:
    """AFLW's 21 points from 68 in the iBUG order: single points, or means for the centres of eyes and mouth."""
    return np.stack([points[:, list(chosen)].mean(axis=1) for chosen in AFLW21], axis=1)


def predict_faces(
    predict: Predictor,
    faces: AnnotatedFaces,
    *,
    batch: int = 32,
    threads: int = 2,
    progress: Callable[[int], object] = lambda count: None,
) -> Float[np.ndarray, "N 68 2"]:
    """The predictor's landmarks for all faces, in batches. Photographs are read ahead in threads.

    Args:
      predict: photographs and boxes of a batch to landmarks.
      faces: what to predict.
      batch: faces at once; the last batch repeats its last face, so that a compiled predictor compiles once.
      threads: that read photographs.
      progress: called with the number of faces of each batch that is done.

    Returns:
      Landmarks (N, 68, 2).

    Raises ValueError when a prediction has the wrong shape or is not finite.
    """
    found = []
    with ThreadPoolExecutor(threads) as pool:
        photos = _read_ahead(pool, faces.read, range(len(faces)), 2 * batch)
        for start in range(0, len(faces), batch):
            group = list(islice(photos, batch))
            count = len(group)
            rows = np.minimum(np.arange(start, start + batch), len(faces) - 1)
            points = np.asarray(predict(group + group[-1:] * (batch - count), faces.boxes[rows]))
            if points.shape != (batch, 68, 2):
                raise ValueError(f"the predictor returned {points.shape} for {batch} faces: expected ({batch}, 68, 2)")
            found.append(points[:count])
            progress(count)
    points = np.concatenate(found).astype(np.float64) if found else np.zeros((0, 68, 2))
    bad = ~np.isfinite(points).all(axis=(1, 2))
    if bad.any():
        raise ValueError(f"{faces.names[int(np.argmax(bad))]}: the predicted landmarks are not finite")
    return points


def _read_ahead(
    pool: ThreadPoolExecutor, read: Callable[[int], np.ndarray], rows: Iterable[int], ahead: int
) -> Iterator[np.ndarray]:
    """`read(row)` for every row in order, with at most `ahead` reads in progress, so that memory stays bounded."""
    rows = iter(rows)
    waiting = [pool.submit(read, row) for row in islice(rows, ahead)]
    while waiting:
        photo = waiting.pop(0).result()
        waiting += [pool.submit(read, row) for row in islice(rows, 1)]
        yield photo

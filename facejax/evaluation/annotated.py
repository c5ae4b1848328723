"""Annotated photographs of a benchmark, as the protocols want them: points in the project's pixels, poses, sizes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
from jaxtyping import Bool, Float

Predictor = Callable[[Sequence[np.ndarray], Float[np.ndarray, "N 4"]], Float[np.ndarray, "N 68 2"]]
"""Photographs (H, W, 3) and face boxes (left, top, right, bottom), in pixels, to 68 landmarks in the same pixels."""

# The 68 points whose mean stands for each of AFLW's 21 (XgTu/2DASL, benchmark_aflw.py): brows, eyes, right ear lobe,
# nose, left ear lobe, mouth, chin.
AFLW21 = (
    *((17,), (19,), (21,), (22,), (24,), (26,)),
    *((36,), tuple(range(36, 42)), (39,), (42,), tuple(range(42, 48)), (45,)),
    *((2,), (31,), (30,), (35,), (14,)),
    *((48,), tuple(range(60, 68)), (54,), (8,)),
)


@dataclass(frozen=True)
class AnnotatedFaces:
    """One face a photograph. Everything is in the project's pixels: (0, 0) is the photograph's corner."""

    names: tuple[str, ...]
    points: dict[str, Float[np.ndarray, "N _ 2"]]  # "68" (iBUG order), "21" (AFLW's); NaN where one is hidden
    boxes: Float[np.ndarray, "N 4"]  # left, top, right, bottom: what the predictor is given
    sizes: Float[np.ndarray, " N"]  # what errors are divided by, pixels
    yaw: Float[np.ndarray, " N"]  # degrees
    rotations: Float[np.ndarray, "N 3 3"] | None  # model space to camera space, where the benchmark knows it
    read: Callable[[int], np.ndarray]  # the photograph of a row: (H, W, 3) in [0, 1]
    choices: dict[str, str] = field(default_factory=dict)  # every choice of the protocol, in words

    def __len__(self) -> int:
        return len(self.names)

    def rows(self, chosen: Bool[np.ndarray, " N"]) -> "AnnotatedFaces":
        """The faces of the chosen rows."""
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
    """The predictor's landmarks for all faces, in groups of `batch`; the photographs are read ahead in threads.

    The last group is filled up by repeating its last face, so that a compiled predictor compiles once. Raises
    ValueError when a prediction has the wrong shape or is not finite.
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
    """`read(row)` for every row, in order, with at most `ahead` of them under way: memory stays bounded."""
    rows = iter(rows)
    waiting = [pool.submit(read, row) for row in islice(rows, ahead)]
    while waiting:
        photo = waiting.pop(0).result()
        waiting += [pool.submit(read, row) for row in islice(rows, 1)]
        yield photo

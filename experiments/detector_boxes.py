"""Where a face's 68 landmarks lie relative to each net's box: the constants of facejax/regression/detector.py.

    python experiments/detector_boxes.py --pool DIR [--limit 1000]

Measured on rendered faces (a pool of experiments/train_regressor.py), which everybody can reproduce. Prints medians and
1.48 times the median absolute deviation over the faces that a net finds, in sides of its box (the square root of its
area).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from regressor import pool
from tqdm import tqdm

from facejax.images.boxes import box_area
from facejax.regression import detector


@dataclass(frozen=True)
class Measure:
    """Compare the nets' boxes with annotated landmarks."""

    pool: Path
    limit: int = 1000
    """pictures"""


def main(command: Measure) -> None:
    arrays = pool.read_pool(command.pool, limit=-(-command.limit // pool.SHARD))
    images, landmarks = (np.asarray(arrays[name][: command.limit]) for name in ("image", "landmarks"))
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in detector.LANDMARK_BOX}
    net = detector.load_detector()
    for picture, points in tqdm(zip(images, landmarks, strict=True), total=len(images)):
        side = picture.shape[0] // 2  # the pool's pictures are cut close to the face
        image = np.pad(picture, ((side, side), (side, side), (0, 0)), mode="edge")
        truth = np.concatenate([points.min(axis=0), points.max(axis=0)]) + side
        best: dict[str, tuple[float, tuple[float, float]]] = {}  # each net's surest detection on the face
        for one in detector.search_parts(net, image, [(0, 0, image.shape[1], image.shape[0])]):
            usual, drop = detector.LANDMARK_BOX[one.net]
            side = np.sqrt(box_area(one.box)) / usual  # of the net's own box
            size = np.sqrt(box_area(truth)) / side
            across, down = ((truth[:2] + truth[2:]) / 2 - (one.box[:2] + one.box[2:]) / 2) / side + np.array([0, drop])
            if abs(across) < 0.4 and abs(down) < 0.5 and 0.4 < size < 1.6:
                best[one.net] = max(best.get(one.net, (0.0, (0.0, 0.0))), (one.score, (size, down)))
        for name, (_, found) in best.items():
            measured[name].append(found)
    for name, values in measured.items():
        shown = np.array(values)
        middle = np.median(shown, axis=0)
        spread = 1.48 * np.median(np.abs(shown - middle), axis=0)
        print(
            f"{name}: {len(shown)} faces in {len(images)} pictures; size {middle[0]:.3f} +- {spread[0]:.3f}, "
            f"drop {middle[1]:.3f} +- {spread[1]:.3f}"
        )


if __name__ == "__main__":
    main(tyro.cli(Measure, description=__doc__))

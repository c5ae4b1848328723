"""Where a face's 68 landmarks lie relative to the square that a cascade finds: constants for facejax/images/detect.py.

    python experiments/detector_boxes.py --pool DIR [--limit 2000]

Measured on rendered faces (a pool of experiments/train_regressor.py), which everybody can reproduce. Prints medians and
1.48 times the median absolute deviation, in sides of the square.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro
from regressor import pool
from tqdm import tqdm

ENLARGE = 2  # the pool's faces are barely large enough for the cascades
CASCADES = ("haarcascade_frontalface_alt2", "haarcascade_frontalface_default", "haarcascade_profileface")


@dataclass(frozen=True)
class Measure:
    """Compare the cascades' squares with the landmarks of rendered faces."""

    pool: Path
    limit: int = 2000
    """pictures"""


def main(command: Measure) -> None:
    arrays = pool.read_pool(command.pool, limit=-(-command.limit // pool.SHARD))
    arrays = {name: arrays[name][: command.limit] for name in ("image", "landmarks")}
    for name in CASCADES:
        cascade = cv2.CascadeClassifier(cv2.data.haarcascades + f"{name}.xml")  # pyright: ignore[reportAttributeAccessIssue]
        rows = []
        for image, points in tqdm(zip(arrays["image"], arrays["landmarks"], strict=True), total=len(arrays["image"])):
            low, high = points.min(axis=0) * ENLARGE, points.max(axis=0) * ENLARGE
            grey = cv2.cvtColor(cv2.resize(np.asarray(image), None, fx=ENLARGE, fy=ENLARGE), cv2.COLOR_RGB2GRAY)
            for x, y, side, _ in cascade.detectMultiScale(grey, scaleFactor=1.1, minNeighbors=2):
                square = np.array([x + side / 2, y + side / 2])
                size = np.sqrt(np.prod(high - low)) / side
                across, drop = ((low + high) / 2 - square) / side
                if abs(across) < 0.4 and abs(drop) < 0.5 and 0.4 < size < 1.6:  # only detections on the face
                    rows.append((size, drop))
        measured = np.array(rows)
        middle = np.median(measured, axis=0)
        spread = 1.48 * np.median(np.abs(measured - middle), axis=0)
        print(
            f"{name}: {len(measured)} squares; size {middle[0]:.3f} +- {spread[0]:.3f}, "
            f"drop {middle[1]:.3f} +- {spread[1]:.3f}"
        )


if __name__ == "__main__":
    main(tyro.cli(Measure, description=__doc__))

"""A contact sheet of what the dense network sees in a folder of photos: photo, parsing, coordinates, normals.

python experiments/dense_sheet.py PHOTOS --out sheet.jpg [--checkpoint RUN/dense]
"""

import argparse
from pathlib import Path

import jax
import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from facejax.camera import quaternion_to_matrix
from facejax.images import read_image
from facejax.images.align import warp
from facejax.images.kinds import is_photo_name
from facejax.programs import jit
from facejax.regression.dense import ASSET, load_dense, see_dense
from facejax.regression.photos import regress_photos
from facejax.regression.regressor import load_regressor
from facejax.synthetic.labels import CLASSES

COLUMNS = 3
COLORS = np.array(
    [
        *([40, 40, 40], [240, 200, 170], [120, 60, 20], [60, 120, 255], [120, 0, 40], [255, 60, 100], [255, 160, 60]),
        *([200, 120, 220], [180, 220, 120], [90, 60, 30], [130, 130, 0], [0, 255, 255], [255, 255, 0], [0, 200, 0]),
        [120, 120, 200],
    ],
    np.uint8,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--checkpoint", type=Path, default=ASSET, help="the network's folder")
    arguments = parser.parse_args()
    regressor, network = load_regressor(), load_dense(arguments.checkpoint)
    size = network.config.size

    @jit
    def look(network, square, landmarks, up):
        sight = see_dense(network, square, landmarks, up)
        return sight, warp(square, sight.transform, size)

    cells = []
    for path in tqdm(sorted(path for path in arguments.photos.iterdir() if is_photo_name(path.name)), unit="photo"):
        image = read_image(path)
        faces = regress_photos(regressor, [image], batch=1).faces
        if not faces:
            continue
        one = faces[0].regression
        points = np.asarray(one.landmarks)
        square, points = around(image, points)
        axes = np.asarray(quaternion_to_matrix(one.params.pose.rotation))
        sight, crop = look(network, square, points, np.array([axes[0, 1], -axes[1, 1]], np.float32))
        cells.append(draw(path.stem, jax.device_get(sight), np.asarray(crop)))
    rows = [np.concatenate(cells[start::COLUMNS], axis=0) for start in range(COLUMNS)]
    tallest = max(len(row) for row in rows)
    rows = [np.pad(row, ((0, tallest - len(row)), (0, 0), (0, 0))) for row in rows]
    Image.fromarray(np.concatenate(rows, axis=1)).save(arguments.out, quality=88)


def around(image: np.ndarray, points: np.ndarray, side: int = 256) -> tuple[np.ndarray, np.ndarray]:
    """A square of the photo around the points, and the points in it."""
    middle, half = (points.min(0) + points.max(0)) / 2, 1.4 * (points.max(0) - points.min(0)).max()
    photo = Image.fromarray(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8))
    box = [round(value) for value in (*(middle - half), *(middle + half))]
    square = photo.crop(tuple(box)).resize((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
    return np.asarray(square, np.float32) / 255, (points - box[:2]).astype(np.float32) * side / (box[2] - box[0])


def draw(stem: str, sight, crop: np.ndarray) -> np.ndarray:
    parsing = COLORS[np.argmax(sight.probability, axis=-1)] / 255
    seen = (np.isin(np.argmax(sight.probability, axis=-1), [0, 9, 12, 13, 14], invert=True))[..., None]
    coordinates = np.concatenate([np.clip(sight.surface, 0, 1), 0 * sight.surface[..., :1]], axis=-1) * seen
    strip = np.concatenate([crop, 0.5 * crop + 0.5 * parsing, parsing, coordinates, sight.normal * 0.5 + 0.5], axis=1)
    picture = Image.fromarray(np.round(np.clip(strip, 0, 1) * 255).astype(np.uint8))
    ImageDraw.Draw(picture).text((2, 2), stem[:20], fill="white")
    return np.asarray(picture)


assert len(COLORS) == len(CLASSES)

if __name__ == "__main__":
    main()

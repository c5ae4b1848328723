"""A contact sheet of a folder of photos: boxes and landmarks drawn, and the share of photos in which the face is found.

    python experiments/photo_sheet.py PHOTOS --out sheet.jpg [--truth PHOTOS] [--detector-only]

Yellow: the detector's candidates. Green: the chosen face with its landmarks (weaker where the network is less certain).
Blue: the annotated box. With `--truth`, a folder of <stem>.npy files with 68 points (0-based pixel centres), a face
counts as found when it overlaps the annotated box by 0.4. For a photo without points any chosen face counts: look at
the sheet to see whether it is one.
"""

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from facejax.images import detect_faces, read_image
from facejax.images.detect import Candidate, box_overlap
from facejax.images.kinds import is_photo_name
from facejax.regression.candidates import landmark_box
from facejax.regression.photos import regress_photos
from facejax.regression.regressor import Regressor, load_regressor

CELL = 240  # pixels
COLUMNS = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder of photos")
    parser.add_argument("--out", type=Path, required=True, help="picture to write")
    parser.add_argument("--truth", type=Path, help="folder of <stem>.npy with 68 points each")
    parser.add_argument("--checkpoint", default="default", help="the regressor's folder")
    parser.add_argument("--detector-only", action="store_true", help="keep the detector's largest sure candidate")
    arguments = parser.parse_args()
    regressor = None if arguments.detector_only else load_regressor(arguments.checkpoint)
    files = sorted(path for path in arguments.photos.iterdir() if is_photo_name(path.name))
    cells, found, seconds = [], [], []
    for path in tqdm(files, unit="photo"):
        image = read_image(path)
        begin = time.perf_counter()
        candidates = detect_faces(image)
        seconds.append(time.perf_counter() - begin)
        box, points, sure = keep(image, candidates, regressor)
        truth = true_box(arguments.truth, path)
        found.append(box is not None and (truth is None or box_overlap(box, truth) > 0.4))
        cells.append(draw(path.stem, image, candidates, box, points, sure, truth, found[-1]))
    sheet(cells).save(arguments.out)
    missed = [path.name for path, hit in zip(files, found, strict=True) if not hit]
    print(f"{sum(found)} of {len(files)} faces found ({100 * np.mean(found):.1f} %)")
    print(f"missed: {', '.join(missed) or 'none'}")
    print(f"detection {np.median(seconds):.2f} s per photo (median), {np.max(seconds):.2f} s at most")


def keep(image: np.ndarray, candidates: list[Candidate], regressor: Regressor | None):
    """The box, landmarks and confidences of the largest face; None where there is none."""
    if regressor is None:
        sure = [one for one in candidates if one.score >= 0.5 * max(other.score for other in candidates)]
        return (sure[0].box if sure else None), None, None
    faces = regress_photos(regressor, [image], batch=1).faces
    if not faces:
        return None, None, None
    points = np.asarray(faces[0].regression.landmarks)
    return landmark_box(points), points, np.asarray(faces[0].regression.confidence)


def true_box(folder: Path | None, photo: Path) -> np.ndarray | None:
    file = None if folder is None else folder / f"{photo.stem}.npy"
    points = np.load(file) + 0.5 if file is not None and file.is_file() else np.zeros((0, 2))
    return landmark_box(points) if len(points) == 68 else None


def draw(stem, image, candidates, box, points, sure, truth, found) -> Image.Image:
    """One cell of the sheet.

    Args:
      stem: name of the photo.
      image: the photo.
      candidates: of the detector.
      box, points, sure: the chosen face: box, landmarks, confidences.
      truth: the annotated box.
      found: whether the face counts as found.
    """
    scale = CELL / max(image.shape[:2])
    photo = Image.fromarray(np.round(image * 255).astype(np.uint8))
    photo = photo.resize((max(round(photo.width * scale), 1), max(round(photo.height * scale), 1)))
    cell = Image.new("RGB", (CELL, CELL + 14))
    cell.paste(photo, (0, 0))
    pen = ImageDraw.Draw(cell)
    for one in candidates:
        pen.rectangle([float(value) * scale for value in one.box], outline=(230, 200, 0))
    if truth is not None:
        pen.rectangle([float(value) * scale for value in truth], outline=(60, 120, 255))
    if box is not None:
        pen.rectangle([float(value) * scale for value in box], outline=(60, 230, 60))
    for point, trust in zip([] if points is None else points, [] if sure is None else sure, strict=True):
        x, y = (float(value) * scale for value in point)
        pen.ellipse([x - 1, y - 1, x + 1, y + 1], fill=(round(255 * (1 - trust)), round(255 * trust), 40))
    trust = "" if sure is None else f" {np.mean(sure):.2f}"
    pen.text((2, CELL), f"{stem[:26]}{trust}", fill="white" if found else (255, 80, 80))
    return cell


def sheet(cells: list[Image.Image]) -> Image.Image:
    rows = -(-len(cells) // COLUMNS)
    whole = Image.new("RGB", (COLUMNS * CELL, rows * (CELL + 14)))
    for index, cell in enumerate(cells):
        whole.paste(cell, (index % COLUMNS * CELL, index // COLUMNS * (CELL + 14)))
    return whole


if __name__ == "__main__":
    main()

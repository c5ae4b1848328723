"""Box files: the user's boxes, for photos where no face or the wrong face would be found."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facejax.images.photo import Photo
from facejax.text_files import read_json

EXPECTED = "[left, top, right, bottom] in pixels"


def read_boxes(path: str | Path) -> dict[str, Float[np.ndarray, "K 4"]]:
    """The boxes of each photo from a JSON file `{file name: box}`, or `{file name: [box, ...]}` for several faces.

    A box is [left, top, right, bottom] in pixels of the upright photo and encloses the 68 landmarks: from the brows to
    the chin, from ear to ear. Raises FileNotFoundError, or ValueError naming the file, the photo and the fix.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such box file")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected {{file name: {EXPECTED}}}")
    named = {name.replace("\\", "/"): boxes for name, boxes in content.items()}  # Windows' paths
    return {name: check_boxes(boxes, f"{path}: {name}") for name, boxes in named.items()}


def check_boxes(boxes: Any, where: str) -> Float[np.ndarray, "K 4"]:
    """One box or a list of boxes as an array of rows. Raises ValueError, beginning with `where`, for anything else."""
    try:
        rows = np.asarray(boxes, np.float64)
    except (ValueError, TypeError):
        raise ValueError(f"{where}: not a box; expected {EXPECTED}, or a list of such boxes") from None
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[0] == 0 or rows.shape[1] != 4:
        raise ValueError(f"{where}: boxes of shape {rows.shape}; expected {EXPECTED}, or a list of such boxes")
    for row in rows:
        if not np.isfinite(row).all() or row[2] - row[0] < 4 or row[3] - row[1] < 4:
            numbers = [round(float(number), 2) for number in row]
            raise ValueError(f"{where}: the box {numbers} is not 4 pixels wide and high; expected {EXPECTED}")
    return rows


def box_of(photo: Photo, boxes: Mapping[str, np.ndarray]) -> np.ndarray | None:
    """The boxes of a photo, looked up by its path, then its name in its collection, then its bare file name."""
    return next((boxes[key] for key in (photo.source, photo.file, photo.name) if key in boxes), None)


def box_count(photo: Photo, boxes: Mapping[str, np.ndarray]) -> int:
    """The number of boxes given for a photo; 1 where there are none."""
    found = box_of(photo, boxes)
    return 1 if found is None else len(found)

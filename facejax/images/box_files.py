"""Box files: the user's boxes, for photos where no face or the wrong face would be found."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from facejax.images.photo import Photo, name_forms
from facejax.text_files import read_json

EXPECTED = "[left, top, right, bottom] in pixels"
SMALLEST = 4  # pixels


Boxes = np.ndarray | ValueError  # (K, 4) of a photo, or what is wrong with them


def read_boxes(path: str | Path) -> dict[str, Boxes]:
    """The boxes of each photo from a JSON file `{file name: box}`, or `{file name: [box, ...]}` for several faces.

    A box is [left, top, right, bottom] in pixels of the upright photo and encloses the 68 landmarks: from the brows to
    the chin, from ear to ear. A photo's entry that is no such box becomes a ValueError in its place, so that it fails
    that photo alone. Raises FileNotFoundError, or ValueError for a file that is not such JSON.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such box file")
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected {{file name: {EXPECTED}}}")
    named = {name.replace("\\", "/"): boxes for name, boxes in content.items()}  # Windows' paths
    return {name: _checked(boxes, name) for name, boxes in named.items()}


def check_boxes(boxes: Any, where: str) -> Float[np.ndarray, "K 4"]:
    """One box or a list of boxes as an array of rows. Raises ValueError, beginning with `where`, for anything else."""
    if isinstance(boxes, ValueError):
        raise boxes
    rows = _numbers(boxes)
    if rows is None:
        raise ValueError(f"{where}: not a box; expected {EXPECTED}, or a list of such boxes")
    if rows.size == 0:
        raise ValueError(f"{where}: no box; expected {EXPECTED}, or leave the photo out to have its face looked for")
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] != 4:
        raise ValueError(f"{where}: boxes of shape {rows.shape}; expected {EXPECTED}, or a list of such boxes")
    for row in rows:
        if (problem := _wrong(row)) is not None:
            numbers = [round(float(number), 2) for number in row]
            raise ValueError(f"{where}: its box {problem}: {numbers}; expected {EXPECTED}")
    return rows


def entry_of(photo: Photo, boxes: Mapping[str, Boxes]) -> Boxes | None:
    """The boxes of a photo, looked up by its path, then its name in its collection, then its bare file name."""
    key = _key_of(photo, boxes)
    return None if key is None else boxes[key]


def box_of(photo: Photo, boxes: Mapping[str, Boxes]) -> np.ndarray | None:
    """The same; raises the ValueError of an entry that is no box."""
    found = entry_of(photo, boxes)
    if isinstance(found, ValueError):
        raise found
    return found


def box_count(photo: Photo, boxes: Mapping[str, Boxes]) -> int:
    """The number of boxes given for a photo; 1 where there are none, or none that can be used."""
    found = entry_of(photo, boxes)
    return 1 if found is None or isinstance(found, ValueError) else len(found)


def unused_boxes(photos: Iterable[Photo], boxes: Mapping[str, Boxes]) -> list[str]:
    """The names in a box file that belong to none of the photos."""
    used = {_key_of(photo, boxes) for photo in photos}
    return [name for name in boxes if name not in used]


def _key_of(photo: Photo, boxes: Mapping[str, Boxes]) -> str | None:
    names = (form for name in (photo.source, photo.file, photo.name) for form in name_forms(name))
    return next((key for key in names if key in boxes), None)


def _checked(boxes: Any, where: str) -> Boxes:
    try:
        return check_boxes(boxes, where)
    except ValueError as error:
        return error


def _numbers(boxes: Any) -> np.ndarray | None:
    """The boxes as an array; None for what is not made of numbers alone: texts, truth values, uneven rows."""
    try:
        found = np.asarray(boxes)
    except ValueError:
        return None
    return found.astype(np.float64) if found.dtype.kind in "iuf" else None


def _wrong(row: Float[np.ndarray, " 4"]) -> str | None:
    """What is wrong with a box, if anything is."""
    if not np.isfinite(row).all():
        return "holds what is not a number"
    if row.min() > -1.5 and row.max() < 1.5:
        return "looks like fractions of the photo"
    if row[2] <= row[0] or row[3] <= row[1]:
        return "has its corners exchanged, or holds a width and a height"
    if row[2] - row[0] < SMALLEST or row[3] - row[1] < SMALLEST:
        return f"is not {SMALLEST} pixels wide and high"
    return None

"""Landmarks in plain text: a table with a point in each row, or all numbers of one face in a single row."""

import re

import numpy as np
from jaxtyping import Float

COUNT = 68
_X = re.compile(r"(?:x[-_ ]?(\d+)|(?:lmk|landmark|point|p)?[-_ ]?(\d+)[-_ ]?x)", re.IGNORECASE)


def read_table(text: str) -> Float[np.ndarray, "N D"]:
    """The points in a text, as rows of 2 or 3 numbers; taken as they are.

    Numbers are separated by spaces, tabs, commas or semicolons (between which a comma is a decimal one). Lines that
    begin with # and a heading are skipped.

    - A point a row: x, y; or x, y, z; or a number that counts from 0 or 1, x, y; or a name, x, y.
    - One row with a heading x_0 ... y_0 ... (OpenFace) or x1, y1, x2, y2, ...: the columns of these names.
    - One row (or column) of 2 N numbers: x, y of the first point, x, y of the second, ...; perhaps after a file name.

    Raises ValueError.
    """
    lines = [line.strip() for line in text.split("\n")]
    rows = [_cells(line) for line in lines if line and not line.startswith(("#", "//", "%"))]
    heading = rows.pop(0) if rows and not any(map(_is_number, rows[0])) else []
    rows = [row for row in rows if row]
    if not rows:
        raise ValueError("holds no numbers")
    if heading and (columns := _named_columns(heading)):
        if len(rows) != 1:
            raise ValueError(f"holds {len(rows)} faces or frames, a row each: keep the row of this photo")
        return np.array([[_number(rows[0], x), _number(rows[0], y)] for x, y in columns])
    named = all(len(row) > 1 and not _is_number(row[0]) for row in rows)
    numbers = [[float(cell) for cell in (row[1:] if named else row)] for row in rows]
    if len({len(row) for row in numbers}) > 1:
        raise ValueError("its rows have different numbers of columns")
    points = np.array(numbers)
    if 1 in points.shape and points.size > 3:
        if points.size % 2:
            raise ValueError(f"{points.size} numbers in one row, expected x and y of each of 68 points")
        return points.reshape(-1, 2)
    return points[:, 1:] if _counts(points, heading) else points


def _cells(line: str) -> list[str]:
    """The cells of a line."""
    if ";" in line:
        cells = re.split(r"\s*;\s*", line.replace(",", ".") if re.search(r"\d,\d", line) else line)
    else:
        cells = re.split(r"\s*,\s*|\s+", line)
    cells = [cell.strip().strip("\"'()[]") for cell in cells]
    return cells[:-1] if cells and not cells[-1] else cells  # a separator at the end


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(row: list[str], column: int) -> float:
    if column >= len(row):
        raise ValueError("its row is shorter than its heading")
    return float(row[column])


def _named_columns(heading: list[str]) -> list[tuple[int, int]]:
    """The columns of x and y of each point, in the order of their numbers; empty if the heading names none."""
    places = {name.lower(): column for column, name in enumerate(heading)}
    found: dict[int, tuple[int, int]] = {}
    for name, column in places.items():
        match = _X.fullmatch(name)
        other = re.sub("x", "y", name) if match else None
        if match and other in places:
            found[int(match[1] or match[2])] = (column, places[other])
    return [found[number] for number in sorted(found)] if len(found) > 3 else []


def _counts(points: np.ndarray, heading: list[str]) -> bool:
    """Whether the first of three or more columns only counts the points."""
    if points.shape[1] < 3 or heading[:1] in (["x"], ["X"]):
        return False
    first = points[:, 0]
    return bool((np.diff(first) == 1).all() and first[0] in (0, 1))

"""The bookkeeping of a set of textures made from many photographs: filters, and a manifest that survives being killed.

Photographs are taken in fixed groups in the order of their names. A group's lines are added to the manifest at once,
when all of its files are written; what is found beyond the last whole group is cut off and that group is made again.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

OK, FILTERED, FAILED = "ok", "filtered", "failed"
Line = dict[str, Any]  # of the manifest: file, group, status, folder and figures, reasons or error


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Which textures are left out of the set; a figure that is not finite is beyond every limit."""

    max_landmark_nme: float = 4.0
    """fit error: distance of the fit's landmarks to those it was fitted to, percent of the face's size"""
    min_confidence: float = 0.5
    """regressed landmarks: the network's own estimate of how many of them are right"""
    min_face_pixels: float = 100.0
    """resolution: sqrt(width * height) of the landmarks' box, pixels of the photo"""
    min_seen: float = 0.6
    """share of the face's texels that came from the photo"""
    max_strange: float = 0.3
    """occlusion: share of the seen face that does not look like skin"""
    max_bs: float = 12.0
    """BS error: brightness against the mirror image, on the 0 to 255 scale"""

    def reasons(self, figures: Mapping[str, float | None]) -> list[str]:
        """Why a texture with these figures is left out; those that are not there are not asked."""
        limits = {
            "fit error": ("landmark_nme_percent", self.max_landmark_nme, -1),
            "landmarks not sure": ("confidence", self.min_confidence, 1),
            "low resolution": ("face_pixels", self.min_face_pixels, 1),
            "too little seen": ("seen", self.min_seen, 1),
            "occluded": ("strange", self.max_strange, -1),
            "uneven light": ("bs", self.max_bs, -1),
        }
        return [reason for reason, limit in limits.items() if limit[0] in figures and not _within(figures, *limit)]


def _within(figures: Mapping[str, float | None], name: str, limit: float, sign: int) -> bool:
    value = figures[name]
    return value is not None and sign * value >= sign * limit


def read_manifest(path: Path, names: Sequence[str], batch: int) -> list[Line]:
    """The lines of the whole groups; what follows them in the file is cut off. No file: no lines.

    Raises ValueError for a manifest that is not of these photographs.
    """
    if not path.exists():
        return []
    content = path.read_bytes()
    lines, length = whole_groups(content, names, batch)
    if length < len(content):
        with path.open("r+b") as file:
            file.truncate(length)
            os.fsync(file.fileno())
    return lines


def whole_groups(content: bytes, names: Sequence[str], batch: int) -> tuple[list[Line], int]:
    """The lines of a manifest's whole groups, and how many bytes they take."""
    lines, ends, length = [], [], 0
    for raw in content.splitlines(keepends=True):
        try:
            line = json.loads(raw) if raw.endswith(b"\n") else None
        except ValueError:
            line = None
        if not isinstance(line, dict):  # torn; nothing after it can be trusted
            break
        length += len(raw)
        lines.append(line)
        ends.append(length)
    for k, line in enumerate(lines):
        if k >= len(names) or line.get("file") != names[k] or line.get("group") != k // batch:
            raise ValueError(
                f"manifest.jsonl, line {k + 1}: {line.get('file')!r} is not what this run would have there"
            )
    count = len(lines) if len(lines) == len(names) else len(lines) // batch * batch
    return lines[:count], ends[count - 1] if count else 0


def append_group(path: Path, lines: Iterable[Line]) -> None:
    """Add a group's lines in one write, and wait until they are on the disk."""
    text = "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines)
    with path.open("ab") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())


def count_lines(lines: Sequence[Line]) -> dict[str, Any]:
    """Counts by status and by cause, and each figure's mean, over the set and over all photographs with a face."""
    reasons = Counter(reason for line in lines for reason in line.get("reasons", ()))
    causes = Counter(line["cause"] for line in lines if line["status"] == FAILED)
    kept = [line["figures"] for line in lines if line["status"] == OK]
    found = [line["figures"] for line in lines if line["status"] != FAILED]
    return {
        "photos": len(lines),
        **{status: sum(line["status"] == status for line in lines) for status in (OK, FILTERED, FAILED)},
        "filtered_by": dict(sorted(reasons.items())),  # a photograph may have several
        "failed_by": dict(sorted(causes.items())),
        "means": _means(kept),
        "means_with_filtered": _means(found),
    }


def _means(figures: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for one in figures:
        for name, value in one.items():
            if value is not None:
                values.setdefault(name, []).append(value)
    return {name: round(float(np.mean(each)), 4) for name, each in sorted(values.items())}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str | None:
    """The first entry in which two runs' descriptions differ, in words; None where they are equal."""
    for name in [*old, *(name for name in new if name not in old)]:
        if old.get(name) != new.get(name):
            return f"{name} was {old.get(name)!r} and is now {new.get(name)!r}"
    return None

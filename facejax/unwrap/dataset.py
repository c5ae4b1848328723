"""Which textures of many photographs are good enough for a set, and what there is to say about the set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

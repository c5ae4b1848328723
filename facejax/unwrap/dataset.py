"""Which textures of many photographs are good enough for a set."""

from collections.abc import Mapping
from dataclasses import dataclass


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
        """The reasons why a texture with these figures is left out; missing figures are not checked."""
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

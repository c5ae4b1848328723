"""Boxes [left, top, right, bottom] in pixels."""

import numpy as np
from jaxtyping import Float

Box = Float[np.ndarray, " 4"]


def box_area(box: Box) -> float:
    """Area in square pixels; 0 for an empty box."""
    return float(max(box[2] - box[0], 0.0) * max(box[3] - box[1], 0.0))


def box_overlap(one: Box, other: Box) -> float:
    """Intersection over union of two boxes."""
    both = np.concatenate([np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])])
    shared = box_area(both)
    return shared / max(box_area(one) + box_area(other) - shared, 1e-9)

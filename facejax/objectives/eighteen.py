"""The 18 of the 68 landmarks that 2DASL draws and compares: brows, eye corners and centres, nose, mouth.

Points of the outline are left out: 2D detectors place them on the visible outline, which is no fixed place on the face.
"""

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Variant = Literal["centres", "nearest"]
# Each of the 18 as the mean of these landmarks (iBUG order, from 0).
CENTRES: tuple[tuple[int, ...], ...] = (
    *((17,), (19,), (21,), (22,), (24,), (26,)),
    *((36,), (37, 40), (39,), (42,), (43, 46), (45,)),
    *((31,), (30,), (35,), (48,), (62, 66), (54,)),
)
NEAREST: tuple[tuple[int, ...], ...] = tuple(
    (k,) for k in (17, 19, 21, 22, 24, 26, 36, 40, 39, 42, 47, 45, 31, 33, 35, 48, 62, 54)
)
_WEIGHTS = (1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 2, 1, 1, 4, 1, 2, 4, 2)


def eighteen_points(points: Float[Array, "68 D"], variant: Variant = "centres") -> Float[Array, "18 D"]:
    """The 18 points of 68.

    "centres" averages opposite lids and lips and takes the tip of the nose, as 2DASL's released test code does.
    "nearest" takes one landmark in place of each average and the point under the nose in place of its tip, as a public
    re-implementation does.
    """
    rows = {"centres": CENTRES, "nearest": NEAREST}[variant]
    matrix = np.zeros((18, 68))
    for row, members in enumerate(rows):
        matrix[row, list(members)] = 1.0 / len(members)
    return jnp.asarray(matrix, points.dtype) @ points


def eighteen_weights() -> Float[Array, " 18"]:
    """Weights that sum to 1: 4 on nose and mouth centre, 2 on eye centres and mouth corners, 1 elsewhere.

    From a public re-implementation; the paper's own numbers were not found.
    """
    return jnp.array(_WEIGHTS) / sum(_WEIGHTS)

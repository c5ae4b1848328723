"""Generalised Procrustes alignment: shapes in correspondence brought to a common frame. Float64 on the host.

Gower, "Generalized Procrustes analysis", Psychometrika 1975; each shape is aligned by `facejax.mesh.align_similarity`.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from facejax.mesh import align_similarity


@dataclass(frozen=True)
class Aligned:
    """`shapes[n] = scales[n] * original[n] @ rotations[n].T + translations[n]`."""

    shapes: Float[np.ndarray, "N P D"]
    mean: Float[np.ndarray, "P D"]
    scales: Float[np.ndarray, " N"]
    rotations: Float[np.ndarray, "N D D"]
    translations: Float[np.ndarray, "N D"]


def generalised_procrustes(
    shapes: Float[np.ndarray, "N P D"],
    weights: Float[np.ndarray, " P"] | None = None,
    *,
    scale: bool = True,
    reference: Float[np.ndarray, "P D"] | None = None,
    iterations: int = 50,
    tolerance: float = 1e-9,
) -> Aligned:
    """Align every shape to the evolving mean until the mean stops moving.

    After each round the mean is itself aligned to the reference, so the result neither drifts nor shrinks.

    Args:
      shapes: N shapes of P corresponding points.
      weights: of the points.
      scale: False keeps the sizes of the shapes.
      reference: gives the frame (position, orientation and size); None: the first shape.
      iterations: the most rounds.
      tolerance: stop when the mean moves less than this share of its size.

    Raises ValueError without a shape, and for weights that sum to zero.
    """
    shapes = np.asarray(shapes, np.float64)
    if shapes.ndim != 3 or len(shapes) == 0:
        raise ValueError(f"shapes has shape {shapes.shape}: pass (shapes, points, dimensions) with at least one shape")
    if weights is not None and not np.sum(weights) > 0:
        raise ValueError("Procrustes weights sum to zero: give some points a positive weight")
    frame = np.asarray(shapes[0] if reference is None else reference, np.float64)
    mean = frame
    size = np.linalg.norm(frame - frame.mean(axis=0))
    moves, moved = [], shapes
    for _ in range(iterations):
        moves = [align_similarity(shape, mean, weights, scale=scale) for shape in shapes]
        moved = np.stack([_apply(move, shape) for move, shape in zip(moves, shapes, strict=True)])
        new = moved.mean(axis=0)
        new = _apply(align_similarity(new, frame, weights, scale=scale), new)
        change = np.linalg.norm(new - mean)
        mean = new
        if change < tolerance * size:
            break
    factors, rotations, translations = (np.array(column) for column in zip(*moves, strict=True))
    return Aligned(moved, mean, factors, rotations, translations)


def _apply(move, shape):
    factor, rotation, translation = move
    return factor * shape @ rotation.T + translation

"""Generalised Procrustes alignment: shapes in correspondence brought to a common frame. Float64 on the host.

Gower, "Generalized Procrustes analysis", Psychometrika 1975; the single alignment is Umeyama's (PAMI 1991).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class Aligned:
    """`shapes[n] = scales[n] * original[n] @ rotations[n].T + translations[n]`."""

    shapes: Float[np.ndarray, "N P D"]
    mean: Float[np.ndarray, "P D"]
    scales: Float[np.ndarray, " N"]
    rotations: Float[np.ndarray, "N D D"]
    translations: Float[np.ndarray, "N D"]


def similarity(
    source: Float[np.ndarray, "P D"],
    target: Float[np.ndarray, "P D"],
    weights: Float[np.ndarray, " P"] | None = None,
    *,
    scale: bool = True,
) -> tuple[float, Float[np.ndarray, "D D"], Float[np.ndarray, " D"]]:
    """Least-squares (s, R, t) with `s * source @ R.T + t` close to `target`; R is never a reflection.

    The float64 host twin of `facejax.mesh.align_similarity`.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    weight = np.ones(len(source)) if weights is None else np.asarray(weights, np.float64)
    weight = weight / weight.sum()
    mean_s, mean_t = weight @ source, weight @ target
    cs, ct = source - mean_s, target - mean_t
    u, singular, vt = np.linalg.svd((ct * weight[:, None]).T @ cs)
    sign = np.ones(source.shape[1])
    sign[-1] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign) @ vt
    factor = float(np.sum(singular * sign) / np.sum(weight[:, None] * cs * cs)) if scale else 1.0
    return factor, rotation, mean_t - factor * rotation @ mean_s


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

    The frame (position, orientation and size) is that of `reference`, by default the first shape: after each round the
    mean is itself aligned to it, so the result neither drifts nor shrinks. With `scale=False` sizes are kept. Ends
    when the mean moves less than `tolerance` of its size.

    Raises ValueError for fewer than one shape or weights that sum to zero.
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
        moves = [similarity(shape, mean, weights, scale=scale) for shape in shapes]
        moved = np.stack([_apply(move, shape) for move, shape in zip(moves, shapes, strict=True)])
        new = moved.mean(axis=0)
        new = _apply(similarity(new, frame, weights, scale=scale), new)
        change = np.linalg.norm(new - mean)
        mean = new
        if change < tolerance * size:
            break
    factors, rotations, translations = (np.array(column) for column in zip(*moves, strict=True))
    return Aligned(moved, mean, factors, rotations, translations)


def _apply(move, shape):
    factor, rotation, translation = move
    return factor * shape @ rotation.T + translation

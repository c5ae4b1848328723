"""Mean, identity modes and named expressions of the head, carried over from the source."""

import numpy as np

from default_head.assemble import Head
from default_head.source import HalfSkin, Source
from default_head.topology import Sheet
from facejax.face_model.builder.pca import LinearGaussian, reorthogonalise

LIP_OVERLAP, LIP_REACH = 0.12, 7.0  # mm: how far the closed lips overlap, and how far from the seam they move
REGION_WEIGHTS = {"ears": 0.3, "scalp": 0.15, "neck": 0.08, "eyeballs": 0.08}  # a face vertex counts 1


def mean_shape(source: Source, head: Head, sheet: Sheet, half: HalfSkin) -> np.ndarray:
    """(V, 3) the source's neutral, exactly symmetric, with the lips touching."""
    mean = head.carry(source.vertices)
    mean = 0.5 * (mean + mean[head.mirror] * [-1, 1, 1])
    mean[head.mirror == np.arange(len(mean)), 0] = 0.0
    return close_lips(mean, head, half)


def close_lips(mean: np.ndarray, head: Head, half: HalfSkin) -> np.ndarray:
    """Move the two lips towards each other until their seam is shut; the source leaves a slit, for its mouth cavity."""
    upper, lower = _lip_seams(half)
    point = mean[: head.skin]
    x = np.abs(point[:, 0])
    middle = 0.5 * (_height_at(upper, x) + _height_at(lower, x))
    gap = _height_at(upper, x) - _height_at(lower, x)
    seam = np.concatenate([upper, lower])
    away = np.linalg.norm(np.stack([x, *point[:, 1:].T], 1)[:, None] - seam[None], axis=2).min(1)
    t = np.clip(1.0 - away / LIP_REACH, 0.0, 1.0)
    fade = t * t * (3.0 - 2.0 * t) * np.clip((seam[:, 0].max() - x) / 3.0, 0.0, 1.0)
    # Which lip a vertex belongs to follows from the surface normal's side only outside; inside, height decides too.
    above = point[:, 1] > middle
    shift = fade * (0.5 * np.maximum(gap, 0.0) + LIP_OVERLAP)
    moved = mean.copy()
    moved[: head.skin, 1] += np.where(above, -shift, shift)
    return moved


def _lip_seams(half: HalfSkin) -> tuple[np.ndarray, np.ndarray]:
    """Upper and lower seam, from the midline to the mouth corner."""
    seam = half.vertices[half.lip_seam]
    corner = int(np.argmax(seam[:, 0]))
    return seam[: corner + 1], seam[corner:][::-1]


def _height_at(line: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.interp(x, np.maximum.accumulate(line[:, 0]), line[:, 1])


def point_weights(mean: np.ndarray, faces: np.ndarray, regions: dict[str, np.ndarray]) -> np.ndarray:
    """(V,) vertex areas, less where the shape matters less."""
    corner = mean[faces]
    thirds = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 6.0
    area = np.bincount(faces.reshape(-1), np.repeat(thirds, 3), minlength=len(mean))
    factor = np.ones(len(mean))
    for name, value in REGION_WEIGHTS.items():
        factor = factor * (1.0 + (value - 1.0) * regions[name])
    return area * factor


def identity_model(
    source: Source, head: Head, mean: np.ndarray, weights: np.ndarray, components: int
) -> LinearGaussian:
    """The source's modes on the head, orthogonal under `weights`, so that coefficients are standard deviations."""
    modes = np.stack([head.carry(mode) for mode in source.identity])
    model, _ = reorthogonalise((mean, modes, np.ones(len(modes))), weights, components=components)
    return model


def expression_shapes(source: Source, head: Head) -> tuple[np.ndarray, tuple[str, ...]]:
    """(53, V, 3) displacements at weight 1, and their names in ARKit's spelling."""
    shapes = np.stack([head.carry(shape) for shape in source.expression]).astype(np.float32)
    return shapes, tuple(arkit_name(name) for name in source.expression_names)


def arkit_name(name: str) -> str:
    """browDown_L -> browDownLeft. ARKit's browInnerUp and cheekPuff are one shape each; here left and right are two."""
    stem, _, side = name.partition("_")
    return stem + {"L": "Left", "R": "Right", "": ""}[side]

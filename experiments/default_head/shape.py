"""Mean, identity modes and named expressions of the head, carried over from the source."""

import numpy as np

from default_head.assemble import Head
from default_head.source import LIP_LINES, LIP_SEAM_RING, HalfSkin, Source
from default_head.topology import Sheet
from facejax.face_model.builder.pca import LinearGaussian, fit_pca, reorthogonalise

OTHERS_SHARE = 0.12  # of the identity variance that comes from the MakeHuman shapes
# mm: overlap of the closed lips, and the distance from the seam up to which skin moves
LIP_OVERLAP, LIP_REACH = 0.4, 7.0
GAZE = {"Out": (30.0, 0.0), "In": (-30.0, 0.0), "Up": (0.0, 20.0), "Down": (0.0, -16.0)}  # degrees outwards, upwards
LIP_SEAM = LIP_LINES.index(LIP_SEAM_RING)
REGION_WEIGHTS = {"ears": 0.3, "scalp": 0.15, "neck": 0.08, "eyeballs": 0.08}  # a face vertex counts 1


def mean_shape(source: Source, head: Head, sheet: Sheet, half: HalfSkin) -> np.ndarray:
    """(V, 3) the source's neutral face, exactly symmetric, with the lips touching.

    Args:
      source: of the shape.
      head: the head.
      sheet, half: the triangulated chart and the source's left half.
    """
    mean = head.carry(source.vertices)
    mean = 0.5 * (mean + mean[head.mirror] * [-1, 1, 1])
    mean[head.mirror == np.arange(len(mean)), 0] = 0.0
    return close_lips(mean, head, half)


def close_lips(mean: np.ndarray, head: Head, half: HalfSkin) -> np.ndarray:
    """Move the lips towards each other until their seam is closed; the source leaves a slit for its mouth cavity."""
    x = np.abs(mean[: head.skin, 0])
    seam = half.vertices[half.lip_lines[LIP_SEAM]]
    sections = [_heights(half.vertices[line], x) for line in half.lip_lines]
    upper = np.min([high for high, _ in sections], axis=0)
    lower = np.max([low for _, low in sections], axis=0)
    point = np.stack([x, *mean[: head.skin, 1:].T], 1)
    t = np.clip(1.0 - np.linalg.norm(point[:, None] - seam[None], axis=2).min(1) / LIP_REACH, 0.0, 1.0)
    fade = t * t * (3.0 - 2.0 * t) * np.clip((seam[:, 0].max() - x) / 3.0, 0.0, 1.0)
    shift = fade * (0.5 * np.maximum(upper - lower, 0.0) + LIP_OVERLAP)
    moved = mean.copy()
    moved[: head.skin, 1] += np.where(point[:, 1] > 0.5 * (upper + lower), -shift, shift)
    return moved


def _heights(line: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Height of the upper and of the lower part of a line that runs from the midline around the mouth corner."""
    corner = int(np.argmax(line[:, 0]))
    parts = line[: corner + 1], line[corner:][::-1]
    high, low = (np.interp(x, np.maximum.accumulate(part[:, 0]), part[:, 1]) for part in parts)
    return high, low


def point_weights(mean: np.ndarray, faces: np.ndarray, regions: dict[str, np.ndarray]) -> np.ndarray:
    """(V,) vertex areas, reduced where the shape matters less."""
    corner = mean[faces]
    thirds = np.linalg.norm(np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]), axis=1) / 6.0
    area = np.bincount(faces.reshape(-1), np.repeat(thirds, 3), minlength=len(mean))
    factor = np.ones(len(mean))
    for name, value in REGION_WEIGHTS.items():
        factor = factor * (1.0 + (value - 1.0) * regions[name])
    return area * factor


def identity_model(
    modes: np.ndarray, others: np.ndarray, mean: np.ndarray, weights: np.ndarray, components: int
) -> LinearGaussian:
    """One Gaussian from the source's modes and a few other heads, orthogonal under `weights`.

    The covariances are mixed, with `OTHERS_SHARE` of the second: people of both are likely, coefficients are standard
    deviations, and the mean stays the source's.

    Args:
      modes: (100, V, 3), one standard deviation each.
      others: (N, V, 3), registered shapes of another population.
      mean: (V, 3).
      weights: (V,).
      components: to keep.
    """
    second = fit_pca(others, weights, variance=1.0)
    directions = np.concatenate(
        [
            np.sqrt(1.0 - OTHERS_SHARE) * modes,
            np.sqrt(OTHERS_SHARE) * second.basis * second.std[:, None, None],
        ]
    )
    return reorthogonalise((mean, directions, np.ones(len(directions))), weights, components=components)[0]


def identity_modes(source: Source, head: Head) -> np.ndarray:
    """(100, V, 3) the source's modes on the head, one standard deviation each."""
    return np.stack([head.carry(mode) for mode in source.identity])


def expression_shapes(source: Source, head: Head) -> tuple[np.ndarray, tuple[str, ...]]:
    """(53, V, 3) displacements at weight 1, and their names in ARKit's spelling.

    The source's left and right sculpts differ by up to half a millimetre. Each becomes the mean of itself and its
    partner's mirror image, so that mirroring a face exactly swaps the weights.
    """
    names = tuple(arkit_name(name) for name in source.expression_names)
    shapes = np.stack([head.carry(shape) for shape in source.expression])
    _turn_eyes(source, head, names, shapes)
    partner = [names.index(mirrored_name(name)) for name in names]
    shapes = 0.5 * (shapes + shapes[partner][:, head.mirror] * [-1, 1, 1])
    return shapes.astype(np.float32), names


def _turn_eyes(source: Source, head: Head, names: tuple[str, ...], shapes: np.ndarray) -> None:
    """Rotate the eyeballs about their centres in the gaze shapes (in place), where the source moves the lids only."""
    place = head.carry(source.vertices)
    for part, side, outwards in ((1, "Left", 1.0), (2, "Right", -1.0)):
        eye = np.unique(head.faces[head.face_part == part])
        ball = source.vertices[source.eyeballs[part - 1]]
        arm = place[eye] - 0.5 * (ball.min(axis=0) + ball.max(axis=0))
        for look, (right, up) in GAZE.items():
            yaw, pitch = np.radians(right * outwards), -np.radians(up)
            c, s = np.cos([yaw, pitch]), np.sin([yaw, pitch])
            turn_y = np.array([[c[0], 0, s[0]], [0, 1, 0], [-s[0], 0, c[0]]])
            turn_x = np.array([[1, 0, 0], [0, c[1], -s[1]], [0, s[1], c[1]]])
            shapes[names.index(f"eyeLook{look}{side}"), eye] = arm @ (turn_y @ turn_x).T - arm


def mirrored_name(name: str) -> str:
    """jawLeft -> jawRight and so on; names without a side are their own mirror image."""
    for side, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(side):
            return name.removesuffix(side) + other
    return name


def arkit_name(name: str) -> str:
    """browDown_L -> browDownLeft. ARKit's browInnerUp and cheekPuff are one shape each; here left and right are two."""
    stem, _, side = name.partition("_")
    return stem + {"L": "Left", "R": "Right", "": ""}[side]

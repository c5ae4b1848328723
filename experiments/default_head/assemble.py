"""The whole head from the half sheet: mirrored, welded, packed into the UV square, with two small eyeballs."""

from dataclasses import dataclass

import numpy as np

from default_head.source import HalfSkin, Source
from default_head.topology import Sheet

PARTS = ("skin", "eye_left", "eye_right")
UV_STEPS = 65536  # UV lie on this grid, so that u -> 1 - u is exact in float32 and 16 bits store them
MARGIN = 0.008  # of the UV square around the chart
EYE_RADIUS, EYE_CENTRE = 0.095, (0.895, 0.105)  # UV disc of the left eyeball
EYE_SEGMENTS, EYE_RINGS = 16, (9.0, 16.0, 22.0, 29.0, 38.0, 50.0, 65.0, 82.0, 100.0, 120.0, 145.0)  # degrees


@dataclass(frozen=True)
class Head:
    """Topology and layout. Every vertex is a weighted point of three source vertices (`corners`, `weights`)."""

    corners: np.ndarray  # (V, 3) source vertex ids
    weights: np.ndarray  # (V, 3)
    faces: np.ndarray  # (F, 3)
    face_part: np.ndarray  # (F,) index into PARTS
    mirror: np.ndarray  # (V,)
    face_mirror: np.ndarray  # (F,) triangle on the other side, its corners swapped to (0, 2, 1)
    uv: np.ndarray  # (U, 2)
    uv_faces: np.ndarray  # (F, 3)
    skin: int  # number of skin vertices
    half: int  # number of skin vertices at x >= 0; the triangles of that half come first

    def carry(self, values: np.ndarray) -> np.ndarray:
        """Values (N, C) at the source's vertices, transferred to the head's."""
        return np.einsum("vk,vkc->vc", self.weights, values[self.corners].astype(np.float64))


def assemble(source: Source, half: HalfSkin, sheet: Sheet) -> Head:
    """Mirror and weld the sheet, add eyeballs, pack the UV."""
    skin = _weld(source, half, sheet)
    count, uv_count = len(skin["corners"]), len(skin["uv"])
    left = _eyeball(source)
    eye_v, eye_uv, eye_f = len(left["corners"]), len(left["uv"]), len(left["faces"])
    mirror_eye = np.arange(eye_v)
    faces, uv_faces = [skin["faces"]], [skin["uv_faces"]]
    for k in range(2):
        order = [0, 1, 2] if k == 0 else [0, 2, 1]
        faces.append(left["faces"][:, order] + count + k * eye_v)
        uv_faces.append(left["uv_faces"][:, order] + uv_count + k * eye_uv)
    shift = len(source.eyeballs[0])
    triangles = len(skin["faces"])
    return Head(
        corners=np.concatenate([skin["corners"], left["corners"], left["corners"] + shift]),
        weights=np.concatenate([skin["weights"], left["weights"], left["weights"]]),
        faces=np.concatenate(faces),
        face_part=np.repeat([0, 1, 2], [triangles, eye_f, eye_f]),
        mirror=np.concatenate([skin["mirror"], mirror_eye + count + eye_v, mirror_eye + count]),
        face_mirror=np.concatenate(
            [np.roll(np.arange(triangles), triangles // 2), np.roll(np.arange(2 * eye_f), eye_f) + triangles]
        ),
        uv=np.concatenate([skin["uv"], left["uv"], left["uv"] * [-1, 1] + [1, 0]]),
        uv_faces=np.concatenate(uv_faces),
        skin=count,
        half=len(sheet.points),
    )


def _weld(source: Source, half: HalfSkin, sheet: Sheet) -> dict[str, np.ndarray]:
    n = len(sheet.points)
    line = sheet.boundary
    front = np.concatenate([line["front"], line["chin"]])
    midline = np.zeros(n, bool)
    midline[front] = midline[line["back"]] = True
    straight = np.zeros(n, bool)
    straight[front] = True
    corners, weights = half.ids[half.faces[sheet.place]], sheet.weights.copy()
    weights[midline] *= np.abs(source.vertices[corners[midline], 0]) < 1e-2
    weights[weights < 1e-9] = 0.0
    weights /= weights.sum(1, keepdims=True)
    other = np.full(n, -1)
    other[midline] = np.flatnonzero(midline)
    other[~midline] = n + np.arange((~midline).sum())
    uv_other = np.where(straight, np.arange(n), 0)
    uv_other[~straight] = n + np.arange((~straight).sum())
    uv = _pack(sheet.points, straight)
    swap = sheet.faces[:, [0, 2, 1]]
    mirror = np.concatenate([other, np.flatnonzero(~midline)])
    return {
        "corners": np.concatenate([corners, source.mirror[corners[~midline]]]),
        "weights": np.concatenate([weights, weights[~midline]]),
        "faces": np.concatenate([sheet.faces, other[swap]]),
        "mirror": mirror,
        "uv": np.concatenate([uv, uv[~straight] * [-1, 1] + [1, 0]]),
        "uv_faces": np.concatenate([sheet.faces, uv_other[swap]]),
    }


def _pack(points: np.ndarray, straight: np.ndarray) -> np.ndarray:
    """The chart at the top of the unit square, filling its width, on the UV grid; the front midline is at u = 1/2."""
    scale = (0.5 - MARGIN) / points[:, 0].max()
    u = 0.5 + points[:, 0] * scale
    v = 1.0 - MARGIN + (points[:, 1] - points[:, 1].max()) * scale
    if np.linalg.norm(np.stack([u, v], 1) - EYE_CENTRE, axis=1).min() < EYE_RADIUS + MARGIN:
        raise ValueError("the skin's chart leaves no room for the eyeballs' charts in the lower corners")
    uv = np.round(np.stack([u, v], 1) * UV_STEPS) / UV_STEPS
    uv[straight, 0] = 0.5
    return uv


def _eyeball(source: Source) -> dict[str, np.ndarray]:
    """A sphere of rings around the gaze axis (+z), projected onto the source's outer eyeball by rays from its centre.

    Its UV are discs around the axis; the visible front gets three quarters of the radius.
    """
    rings, segments = np.radians(EYE_RINGS), EYE_SEGMENTS
    angle = 2 * np.pi * np.arange(segments) / segments
    around = np.stack([np.cos(angle), np.sin(angle)], 1)
    direction = np.concatenate(
        [
            [[0.0, 0.0, 1.0]],
            *[np.column_stack([np.sin(r) * around, np.full(segments, np.cos(r))]) for r in rings],
            [[0.0, 0.0, -1.0]],
        ]
    )
    reach = np.interp(EYE_RINGS, [0.0, 60.0, 180.0], [0.0, 0.75, 1.0])
    disc = np.concatenate([[[0.0, 0.0]], *[around * r for r in reach], _turn(around, np.pi / segments)])
    faces, uv_faces = _ring_faces(len(rings), segments)
    corners, weights = _shoot(source, direction)
    uv = np.round((np.array(EYE_CENTRE) + EYE_RADIUS * disc) * UV_STEPS) / UV_STEPS
    return {"corners": corners, "weights": weights, "faces": faces, "uv": uv, "uv_faces": uv_faces}


def _turn(points: np.ndarray, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return points @ np.array([[c, s], [-s, c]])


def _ring_faces(rings: int, segments: int) -> tuple[np.ndarray, np.ndarray]:
    """Triangles of the sphere, and their UV: the back pole has one UV point for each segment."""
    k = np.arange(segments)
    after = (k + 1) % segments
    start = lambda r: 1 + r * segments  # noqa: E731
    faces = [np.stack([np.zeros_like(k), start(0) + k, start(0) + after], 1)]
    for r in range(rings - 1):
        a, b = start(r), start(r + 1)
        faces += [np.stack([a + k, b + k, b + after], 1), np.stack([a + k, b + after, a + after], 1)]
    last, pole = start(rings - 1), start(rings)
    uv_faces = [*faces, np.stack([last + k, pole + k, last + after], 1)]
    faces.append(np.stack([last + k, np.full_like(k, pole), last + after], 1))
    return np.concatenate(faces), np.concatenate(uv_faces)


def _shoot(source: Source, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Source triangles and weights where rays from the left eyeball's centre leave its outer surface."""
    eye = source.eyeballs[0]
    faces = source.faces[np.isin(source.faces, eye).all(1)]
    centre = 0.5 * (source.vertices[eye].min(0) + source.vertices[eye].max(0))
    corner = source.vertices[faces] - centre
    solve = np.linalg.pinv(corner.transpose(0, 2, 1))
    amount = np.einsum("fij,nj->nfi", solve, direction)
    reach = 1.0 / np.maximum(amount.sum(2), 1e-12)
    hit = (amount.min(2) * reach >= -1e-6) & (amount.sum(2) > 0)
    best = np.argmax(np.where(hit, reach, -1.0), axis=1)
    weights = np.clip(amount[np.arange(len(direction)), best], 0.0, None)
    return faces[best], weights / weights.sum(1, keepdims=True)

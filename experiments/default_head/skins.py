"""The MakeHuman skins (CC0) as evenly lit skin: a tone and a map of optical density around it, in the skins' own crop.

Optical density is -log of linear RGB: pigments add in it, and shading adds the same amount to every channel.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter, zoom

from default_head.makehuman import FRONT, MakeHuman
from facejax.lighting import srgb_to_linear

CROP = (1388, 740)  # rows, columns of a full-size head crop
COARSE = 4  # the light is estimated on images this much smaller
MM_PER_PIXEL = 0.29  # of a full-size crop, in the face
EYE_DISC = 298.0  # radius, in pixels of a 1024 px eye image, of the eyeball's outline


def density(display: np.ndarray) -> np.ndarray:
    """Optical density of display values; clipped so that black stays finite."""
    return -np.log(np.maximum(srgb_to_linear(display), 2e-3)).astype(np.float32)


@dataclass(frozen=True)
class Texels:
    """The surface point of each texel of a texture image; row 0 on top."""

    covered: np.ndarray  # (H, W) bool
    triangle: np.ndarray  # (H, W), 0 where not covered
    weights: np.ndarray  # (H, W, 3) barycentric

    def interpolate(self, corners: np.ndarray) -> np.ndarray:
        """Values given per triangle corner (F, 3, C) at each texel (H, W, C)."""
        return np.einsum("hwk,hwkc->hwc", self.weights, corners[self.triangle])


def rasterise(uv_corners: np.ndarray, shape: tuple[int, int]) -> Texels:
    """Which triangle (its UV corners: (F, 3, 2), v up) covers each texel centre."""
    rows, columns = shape
    corners = np.stack([uv_corners[..., 0] * columns, (1 - uv_corners[..., 1]) * rows], axis=-1)
    triangle = np.full(shape, -1)
    weights = np.zeros((*shape, 3))
    low = np.maximum(np.floor(corners.min(axis=1) - 0.5).astype(int), 0)
    high = np.minimum(np.ceil(corners.max(axis=1) + 0.5).astype(int), [columns, rows])
    for k, (a, b, c) in enumerate(corners):
        area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        if area == 0:
            continue
        x = np.arange(low[k, 0], high[k, 0])[None, :] + 0.5
        y = np.arange(low[k, 1], high[k, 1])[:, None] + 0.5
        w1 = ((x - a[0]) * (c[1] - a[1]) - (y - a[1]) * (c[0] - a[0])) / area
        w2 = ((b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0])) / area
        inside = (w1 >= -1e-9) & (w2 >= -1e-9) & (w1 + w2 <= 1 + 1e-9)
        box = (slice(low[k, 1], high[k, 1]), slice(low[k, 0], high[k, 0]))
        triangle[box][inside] = k
        weights[box][inside] = np.stack([1 - w1 - w2, w1, w2], axis=-1)[inside]
    return Texels(triangle >= 0, np.maximum(triangle, 0), weights)


def sample(image: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """Bilinear values of an image (row 0 on top) at UV positions (..., 2), v up; clamped at the border."""
    rows, columns = image.shape[:2]
    x = np.clip(uv[..., 0] * columns - 0.5, 0, columns - 1.001)
    y = np.clip((1 - uv[..., 1]) * rows - 0.5, 0, rows - 1.001)
    i, j = x.astype(int), y.astype(int)
    a, b = (x - i)[..., None].astype(np.float32), (y - j)[..., None].astype(np.float32)
    top = image[j, i] * (1 - a) + image[j, i + 1] * a
    return top * (1 - b) + (image[j + 1, i] * (1 - a) + image[j + 1, i + 1] * a) * b


def polygon_distance(points: np.ndarray, polygon: np.ndarray) -> np.ndarray:
    """Signed distance of points (..., 2) to a closed polygon (K, 2), negative inside."""
    best = np.full(points.shape[:-1], np.inf)
    inside = np.zeros(points.shape[:-1], bool)
    for p, q in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        edge, offset = q - p, points - p
        t = np.clip((offset @ edge) / (edge @ edge), 0, 1)
        best = np.minimum(best, np.linalg.norm(offset - t[..., None] * edge, axis=-1))
        crosses = (p[1] > points[..., 1]) != (q[1] > points[..., 1])
        slope = (q[0] - p[0]) / (q[1] - p[1]) if q[1] != p[1] else 0.0
        inside ^= crosses & (points[..., 0] < p[0] + slope * (points[..., 1] - p[1]))
    return np.where(inside, -best, best)


def ramp(value: np.ndarray, low: float, high: float) -> np.ndarray:
    """Smooth step from 0 at `low` to 1 at `high` (which may be the smaller one)."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Skin:
    """One skin: `density = tone + detail`."""

    name: str
    tone: np.ndarray  # (3,) density of cheeks and forehead
    detail: np.ndarray  # (H, W, 3) float32
    lips: np.ndarray  # (3,) density of the lips less the tone


@dataclass(frozen=True)
class Crop:
    """Where things are in the skins' crop."""

    light: np.ndarray  # (h, w) coarse weights: bare skin whose brightness shows the light
    face: np.ndarray  # (h, w) coarse: cheeks and forehead, where the tone is measured
    lips: np.ndarray  # (h, w) coarse
    ears: np.ndarray  # (h, w) coarse
    scalp: np.ndarray  # (h, w) coarse
    folds: np.ndarray  # (h, w) coarse: nose wings, where shadows are narrow
    trust: np.ndarray  # (H, W, 1) full size: 1 inside the island, 0 at its outer border


def describe_crop(makehuman: MakeHuman) -> Crop:
    """Masks of the crop, from the position of each of its pixels on the MakeHuman head."""
    coarse = (CROP[0] // COARSE, CROP[1] // COARSE)
    texels = rasterise(makehuman.head_uv, coarse)
    position = texels.interpolate(makehuman.vertices[makehuman.head_faces])
    x, y, z = np.abs(position[..., 0]), position[..., 1], position[..., 2]
    front = np.stack([-x, y], axis=-1)
    visible = texels.covered & (z > 90)
    eye = np.where(visible, polygon_distance(front, FRONT[:8, 2:]), 99.0)
    lip_line = FRONT[[8, 9, 10, 11, 14, 13, 12], 2:]
    lips = np.where(visible, polygon_distance(front, lip_line), 99.0)
    nostril = np.where(visible, np.hypot((x - 9) / 1.5, y - 677.5), 99.0)
    # The back of the neck is evened like the scalp: its light is useless, and its colour is the neck's.
    scalp = texels.covered * ramp(np.maximum(hairline(x, y, z), np.minimum(52 - z, 664 - y)), -16, 6)
    ears = texels.covered * ramp(x, 68, 73) * ramp(y, 735, 728) * ramp(y, 664, 670) * ramp(z, 22, 28) * ramp(z, 70, 62)
    light = (
        texels.covered * ramp(eye, 1.5, 3) * ramp(lips, 1, 2.5) * ramp(nostril, 4, 6) * (1 - scalp)
        + 1e-3 * texels.covered
    )
    cheeks = visible & (np.abs(x - 32) < 11) & (np.abs(y - 688) < 11)
    forehead = visible & (x < 20) & (np.abs(y - 765) < 10)
    folds = texels.covered * np.exp(-(((x - 15) / 6) ** 2 + ((y - 681) / 9) ** 2)) * (z > 120)
    filled: Any = binary_fill_holes(np.pad(texels.covered, 1))
    filled = filled[1:-1, 1:-1]
    border: Any = distance_transform_edt(filled)
    border = border * MM_PER_PIXEL * COARSE
    trust: Any = zoom(ramp(border, 2, 14), COARSE, order=1)
    trust = np.clip(trust, 0, 1)
    return Crop(
        light,
        cheeks | forehead,
        visible & (lips < -1.5),
        ears,
        scalp,
        folds,
        trust[: CROP[0], : CROP[1], None].astype(np.float32),
    )


def hairline(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Approximate distance (mm) behind and above the hairline of the MakeHuman head; negative on the bare face."""
    above = y - 788 + 0.006 * x**2
    behind = np.minimum(58 - z - 0.05 * np.maximum(725 - y, 0) ** 1.5, y - 668)
    temple = np.minimum(y - 716, 84 - z)
    return np.maximum(np.maximum(above, behind), temple)


def read_skins(folder: Path, crop: Crop) -> list[Skin]:
    """All skins of `data/skins`, evened. Raises FileNotFoundError when the folder has none."""
    files = sorted([*Path(folder).glob("*_head.jpg"), *Path(folder).glob("*_head_quarter.png")])
    if not files:
        raise FileNotFoundError(f"no *_head.jpg skins in {folder}: pass the folder that holds skins/ as --data")
    return [_even(path, crop) for path in files]


def _even(path: Path, crop: Crop) -> Skin:
    """Remove the baked-in light: broad grey variation goes, narrow or coloured variation stays.

    Lips, lids and nostrils do not enter the estimate of the light. Ears, whose folds are all shadow, lose most of their
    broad colour too; so does the scalp, whose hair is drawn procedurally later.
    """
    image = Image.open(path).convert("RGB")
    values = density(np.asarray(image.resize((CROP[1], CROP[0]), Image.Resampling.BICUBIC), np.float32) / 255)
    coarse = values.reshape(CROP[0] // COARSE, COARSE, CROP[1] // COARSE, COARSE, 3).mean(axis=(1, 3))
    tone = np.median(coarse[crop.face], axis=0)
    offset = coarse - tone
    broad = _blur(offset, crop.light, 6.0)
    grey = broad.mean(axis=-1, keepdims=True)
    remove = 0.9 * grey + 0.4 * (broad - grey)
    narrow = _blur(offset - remove, crop.light + 1e-3, 1.6)
    remove = remove + 0.6 * np.maximum(narrow.mean(axis=-1, keepdims=True), 0) * crop.folds[..., None]
    both = np.maximum(crop.ears, crop.scalp)[..., None]
    remove = remove * (1 - both) + 0.85 * _blur(offset, np.ones(offset.shape[:2]), 1.6) * both
    full = zoom(remove, (COARSE, COARSE, 1), order=1)
    detail = (values - tone - full) * crop.trust
    lips = np.median((offset - remove)[crop.lips], axis=0)
    return Skin(path.stem.split("_head")[0], tone, detail.astype(np.float32), lips)


def _blur(values: np.ndarray, weights: np.ndarray, millimetres: float) -> np.ndarray:
    """Gaussian mean over the trusted pixels of a coarse image."""
    sigma = millimetres / (MM_PER_PIXEL * COARSE)
    total = gaussian_filter(weights, sigma)[..., None]
    return gaussian_filter(values * weights[..., None], (sigma, sigma, 0)) / np.maximum(total, 1e-9)


def read_brows(folder: Path, size: int = 256) -> list[np.ndarray]:
    """Cover (rows, columns) in [0, 1] of each brow card: the subject's left brow, with its inner end at the left."""
    brows = []
    for path in sorted(Path(folder).glob("eyebrows/*.png")):
        cover = np.asarray(Image.open(path).convert("RGBA"), np.float32)[..., 3] / 255
        rows = cover.sum(axis=1)
        middle = np.argmin(gaussian_filter(rows, 6)[rows.cumsum().searchsorted(0.2 * rows.sum()) :][:80])
        middle += rows.cumsum().searchsorted(0.2 * rows.sum())
        brow = cover[:middle]
        columns = np.flatnonzero(brow.sum(axis=0) > 0.5)
        brow = brow[:, columns[0] : columns[-1] + 1]
        mass = brow.sum(axis=0)
        if mass[: len(mass) // 2].sum() < 0.9 * mass[len(mass) // 2 :].sum():
            brow = brow[:, ::-1]  # the thick end is the inner one
        height = max(1, round(brow.shape[0] * size / brow.shape[1]))
        small = Image.fromarray((brow * 255).astype(np.uint8)).resize((size, height), Image.Resampling.LANCZOS)
        brows.append(np.asarray(small, np.float32) / 255)
    return brows


def read_irises(folder: Path) -> list[tuple[str, np.ndarray]]:
    """Square images of one eyeball seen from the front, display values, the pupil in the middle, side 2 * EYE_DISC."""
    eyes = []
    for path in sorted(Path(folder).glob("*_eye.png")):
        image = np.asarray(Image.open(path).convert("RGB"), np.float32) / 255
        guess = np.array([720, 301])
        window = image[guess[0] - 60 : guess[0] + 60, guess[1] - 60 : guess[1] + 60].sum(axis=-1)
        dark = np.argwhere(window < window.min() + 0.15)
        row, column = guess - 60 + np.round(dark.mean(axis=0)).astype(int)
        reach = int(EYE_DISC)
        padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
        eyes.append((path.stem.removesuffix("_eye"), padded[row : row + 2 * reach, column : column + 2 * reach]))
    return eyes

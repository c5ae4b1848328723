"""Pictures: PNG files, side-by-side panels, landmark dots, overlays, and vertex colours baked into a texture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.ndimage
from jaxtyping import Array, Float, Int, UInt8
from PIL import Image, ImageDraw, ImageFont

from facejax.atomic import atomic_path

CAPTION_HEIGHT = 22  # pixels


def to_uint8(image: Float[Array | np.ndarray, "*S"]) -> UInt8[np.ndarray, "*S"]:
    """Values in [0, 1] to 0..255, rounded; values outside are clipped and NaN becomes 0."""
    values = np.nan_to_num(np.asarray(image, np.float64), nan=0.0, posinf=1.0, neginf=0.0)
    return np.rint(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)


def write_png(path: str | Path, image: Float[Array | np.ndarray, "H W *C"]) -> None:
    """Write a display-valued image (H, W, 3), (H, W, 4) or mask (H, W) in [0, 1] as an 8-bit PNG, atomically."""
    with atomic_path(path) as temporary:
        Image.fromarray(to_uint8(image)).save(temporary, format="PNG")


def alpha_over(
    foreground: Float[Array | np.ndarray, "H W 3"],
    background: Float[Array | np.ndarray, "H W 3"],
    alpha: Float[Array | np.ndarray, "H W"],
) -> Float[np.ndarray, "H W 3"]:
    """`foreground` (not premultiplied) over `background`, by coverage in [0, 1]."""
    weight = np.clip(np.asarray(alpha, np.float32), 0.0, 1.0)[..., None]
    return weight * np.asarray(foreground, np.float32) + (1.0 - weight) * np.asarray(background, np.float32)


def draw_landmarks(
    image: Float[Array | np.ndarray, "H W 3"],
    points: Float[Array | np.ndarray, "N 2"],
    *,
    color: tuple[float, float, float] = (0.2, 1.0, 0.3),
    radius: float | None = None,
) -> Float[np.ndarray, "H W 3"]:
    """Antialiased dots with a dark rim.

    Args:
      image: display values (H, W, 3).
      points: in the project's pixels; points that are not finite are left out.
      color: display values.
      radius: pixels.

    Returns:
      A copy of the image with the dots.
    """
    result = np.array(image, np.float32)
    height, width = result.shape[:2]
    radius = max(1.5, 0.006 * max(height, width)) if radius is None else radius
    for x, y in np.asarray(points, np.float64):
        if not (np.isfinite(x) and np.isfinite(y)):
            continue
        reach = radius + 2.0
        top, bottom = np.clip([np.floor(y - reach), np.ceil(y + reach)], 0, height).astype(int)
        left, right = np.clip([np.floor(x - reach), np.ceil(x + reach)], 0, width).astype(int)
        rows, columns = np.mgrid[top:bottom, left:right] + 0.5
        distance = np.hypot(rows - y, columns - x)[..., None]
        patch = result[top:bottom, left:right]
        patch += np.clip(radius + 1.0 - distance, 0, 1) * (0.0 - patch)  # first the rim, then the dot over it
        patch += np.clip(radius + 0.5 - distance, 0, 1) * (np.array(color, np.float32) - patch)
    return result


def panels(
    images: Sequence[Float[Array | np.ndarray, "_ _ 3"]],
    captions: Sequence[str] = (),
    *,
    height: int | None = None,
    gap: int = 4,
) -> Float[np.ndarray, "_ _ 3"]:
    """Images side by side on white, with a line of text above each.

    Args:
      images: display values.
      captions: one per image, or none.
      height: all are scaled to it; None: the tallest image's.
      gap: pixels between images.

    Returns:
      The picture.

    Raises ValueError without images, or with another number of captions.
    """
    if not images:
        raise ValueError("panels needs at least one image")
    if captions and len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images: give one each, or none")
    pictures = [Image.fromarray(to_uint8(image)) for image in images]
    height = height or max(picture.height for picture in pictures)
    pictures = [
        picture.resize((max(1, round(picture.width * height / picture.height)), height), Image.Resampling.LANCZOS)
        if picture.height != height
        else picture
        for picture in pictures
    ]
    top = CAPTION_HEIGHT if captions else 0
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    canvas = Image.new("RGB", (width, height + top), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    left = 0
    for k, picture in enumerate(pictures):
        canvas.paste(picture, (left, top))
        if captions:
            pen.text((left + 3, 2), _shortened(captions[k], picture.width - 6, font), fill=(30, 30, 30), font=font)
        left += picture.width + gap
    return np.asarray(canvas, np.float32) / 255.0


def _shortened(text: str, width: int, font) -> str:
    """The text, shortened where it would run into the next panel."""
    while len(text) > 1 and font.getlength(text) > width:
        text = text[:-2] + "."
    return text


def bake_vertex_colors(
    colors: Float[Array | np.ndarray, "V C"],
    faces: Int[Array | np.ndarray, "F 3"],
    uv: Float[Array | np.ndarray, "U 2"],
    uv_faces: Int[Array | np.ndarray, "F 3"],
    size: int,
    *,
    padding: int = 8,
) -> Float[np.ndarray, "{size} {size} C"]:
    """Per-vertex values as a texture, interpolated over each triangle at texel centres. Row 0 on top, v up.

    Args:
      colors: one per vertex.
      faces: of the mesh.
      uv, uv_faces: the layout.
      size: texels per side.
      padding: texels by which charts are extended, so that bilinear sampling at their edges meets no background. All
        other texels get the mean of the charts.

    Returns:
      The texture.

    Raises ValueError when no triangle covers a texel centre.
    """
    values = np.asarray(colors, np.float64)
    corner_uv = np.asarray(uv, np.float64)[np.asarray(uv_faces)]
    corners = np.stack([corner_uv[..., 0] * size, (1.0 - corner_uv[..., 1]) * size], axis=-1)  # texels, y down
    corner_values = values[np.asarray(faces)]
    flat = np.zeros((size * size, values.shape[1]))
    filled = np.zeros(size * size, bool)
    for triangle, texel, weights in _covered_texels(corners, size):
        flat[texel] = np.einsum("nk,nkc->nc", weights, corner_values[triangle])
        filled[texel] = True
    if not filled.any():
        raise ValueError(f"no triangle covers a texel centre at size {size}: check uv, or use a larger size")
    texture, covered = flat.reshape(size, size, -1), filled.reshape(size, size)
    nearest = np.asarray(scipy.ndimage.distance_transform_edt(~covered, return_distances=False, return_indices=True))
    rows, columns = np.indices((size, size))
    near = np.hypot(nearest[0] - rows, nearest[1] - columns) <= padding
    texture = np.where(near[..., None], texture[nearest[0], nearest[1]], flat[filled].mean(axis=0))
    return texture.astype(np.float32)


def _covered_texels(corners: np.ndarray, size: int, chunk: int = 1 << 21):
    """Yield (triangle, texel, barycentric weights) of all texel centres inside triangles, in chunks."""
    low = np.clip(np.ceil(corners.min(axis=1) - 0.5), 0, size).astype(np.int64)
    high = np.clip(np.floor(corners.max(axis=1) - 0.5) + 1, 0, size).astype(np.int64)
    extent = np.maximum(high - low, 0)
    total = np.cumsum(extent.prod(axis=1))
    start = 0
    while start < len(corners):
        before = total[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(total, before + chunk, side="right")))
        counts = extent[start:stop].prod(axis=1)
        triangle = np.repeat(np.arange(start, stop), counts)
        step = np.arange(len(triangle)) - np.repeat(np.cumsum(counts) - counts, counts)
        width = np.maximum(extent[triangle, 0], 1)
        x, y = low[triangle, 0] + step % width, low[triangle, 1] + step // width
        weights = _barycentric(corners[triangle], np.stack([x + 0.5, y + 0.5], axis=-1))
        inside = (weights >= -1e-9).all(axis=1)  # NaN (no area) counts as outside
        yield triangle[inside], (y * size + x)[inside], weights[inside]
        start = stop


def _barycentric(triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Weights (N, 3) of points (N, 2) in triangles (N, 3, 2); NaN for triangles without area."""
    a, b, c = triangles[:, 0], triangles[:, 1], triangles[:, 2]

    def cross(p, q):
        return p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]

    area = cross(b - a, c - a)
    area = np.where(np.abs(area) < 1e-12, np.nan, area)
    wb, wc = cross(points - a, c - a) / area, cross(b - a, points - a) / area
    return np.stack([1.0 - wb - wc, wb, wc], axis=-1)

"""Pictures: PNG files, side-by-side panels, landmark dots, overlays."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from facejax.atomic import atomic_path

CAPTION_HEIGHT = 22  # pixels
QUICK = 3  # zlib's level for PNG: a third of the time of its usual one, files a tenth larger (measured on maps of skin)


def to_uint8(image: Float[Array | np.ndarray, "*S"]) -> UInt8[np.ndarray, "*S"]:
    """Values in [0, 1] to 0..255, rounded; values outside are clipped and NaN becomes 0."""
    values = np.rint(np.clip(np.asarray(image, np.float64), 0.0, 1.0) * 255.0)
    return np.where(np.isnan(values), 0.0, values).astype(np.uint8)


def write_png(path: str | Path, image: Float[Array | np.ndarray, "H W *C"]) -> None:
    """Write a display-valued image (H, W, 3), (H, W, 4) or mask (H, W) in [0, 1] as an 8-bit PNG, atomically."""
    write_pixels(path, to_uint8(image))


def write_pixels(path: str | Path, pixels: UInt8[np.ndarray, "H W *C"]) -> None:
    """Write bytes as a PNG, or, by the path's suffix, as a JPEG of quality 90, atomically."""
    png = {"format": "PNG", "compress_level": QUICK}
    form: dict[str, Any] = {"format": "JPEG", "quality": 90} if Path(path).suffix == ".jpg" else png
    with atomic_path(path) as temporary:
        Image.fromarray(pixels).save(temporary, **form)


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

"""Files of more than 8 bits: 16-bit and floating-point grey by Pillow, such RGB by OpenCV, which Pillow cuts to 8."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from facejax.images.levels import declared_white

# Tags of TIFF.
_WIDTH, _HEIGHT, _BITS, _ORIENTATION, _MAX_SAMPLE, _SMAX_SAMPLE, _PROFILE = 256, 257, 258, 274, 281, 341, 34675


class Deep(NamedTuple):
    """A file's values as they are stored."""

    values: np.ndarray  # (H, W, C): grey, grey and alpha, RGB or RGBA; 16-bit, 32-bit whole numbers, or floats
    orientation: int  # as in EXIF, 1 to 8; 1: upright
    profile: bytes | None  # ICC
    white: int  # that the file declares; 0 if it does not


def is_deep(image: Image.Image) -> bool:
    """Whether an image that was opened, but not loaded, has more than 8 bits a channel."""
    return image.mode == "F" or image.mode.startswith("I") or _is_deep_rgb(image)


def is_tiff(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a TIFF."""
    return head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


def read_deep(image: Image.Image, file: Any) -> Deep | None:
    """The values of a deep image that was opened, but not loaded; None if they can only be read in 8 bits."""
    tags, rgb = getattr(image, "tag_v2", {}), _is_deep_rgb(image)
    if rgb and "transparency" in image.info:
        return None
    image.load()  # also of RGB: its errors are better than OpenCV's
    values = _decode(file) if rgb else np.asarray(image)[..., None]
    if values is None or values.shape[:2] != (image.height, image.width):
        return None
    white = _declared(tags)
    return Deep(values, orientation_of(image), image.info.get("icc_profile"), white)


def read_deep_tiff(file: Any) -> Deep | None:
    """The values of a TIFF that Pillow does not know, such as RGB of floating-point numbers; None if it is not read."""
    tags = _tags(file)
    values = _decode(file)
    if values is None:
        return None
    profile = tags.get(_PROFILE)
    return Deep(values, _orientation(tags), profile if isinstance(profile, bytes) else None, _declared(tags))


def orientation_of(image: Image.Image) -> int:
    """The orientation in an image's EXIF block; 1 where that is damaged: the pixels are still good."""
    try:
        return _orientation(image.getexif())
    except Exception:
        return 1


def tiff_size(file: Any) -> tuple[int, int]:
    """Width and height of a TIFF, upright. Raises KeyError or SyntaxError if it does not tell."""
    tags = _tags(file)
    width, height = int(tags[_WIDTH]), int(tags[_HEIGHT])
    return (height, width) if _orientation(tags) in (5, 6, 7, 8) else (width, height)


def turn_upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Pixels (H, W, ...) turned and mirrored as EXIF's orientation says."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def _is_deep_rgb(image: Image.Image) -> bool:
    """By the layout in which Pillow reads each pixel, such as "RGB;16B"."""
    layouts = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    return image.format in ("PNG", "TIFF") and ";16" in layouts and image.mode in ("RGB", "RGBA", "LA")


def _decode(file: Any) -> np.ndarray | None:
    file.seek(0)
    content = np.frombuffer(file.read(), np.uint8)
    try:
        values = cv2.imdecode(content, cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if values is None or values.dtype == np.uint8:
        return None
    values = values[..., None] if values.ndim == 2 else values
    order = {1: [0], 2: [0, 1], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[values.shape[2]]  # OpenCV's colours are BGR
    return values[..., order]


def _tags(file: Any) -> Any:
    file.seek(0)
    tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
    file.seek(tags.next)
    tags.load(file)
    return tags


def _declared(tags: Any) -> int:
    bits, most = (_first(tags.get(tag)) for tag in (_BITS, _MAX_SAMPLE))
    return declared_white(bits, _first(tags.get(_SMAX_SAMPLE)) if most is None else most)


def _first(value: Any) -> Any:
    return next(iter(value), None) if isinstance(value, tuple) else value


def _orientation(tags: Any) -> int:
    found = tags.get(_ORIENTATION, 1)
    return found if isinstance(found, int) and 1 <= found <= 8 else 1

"""Reading photographs: any common file format to upright sRGB float RGB."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from facejax.images.colours import SRGB, Coding, code_to_srgb, deep_to_srgb, profile_to_srgb, read_coding
from facejax.images.deep import (
    Deep,
    is_deep,
    is_tiff,
    orientation_of,
    read_deep,
    read_deep_tiff,
    tiff_size,
    turn_upright,
)
from facejax.images.kinds import HEIF_HINT, RAW, RAW_HINT, is_heif, reads_heif, suffix_of
from facejax.images.lens import Lens, lens_of
from facejax.images.levels import float_to_unit, whole_to_unit
from facejax.images.photo import Photo, is_url, photo_file

log: logging.Logger = logging.getLogger(__name__)

Pixels = Float[np.ndarray, "H W 3"] | UInt8[np.ndarray, "H W 3"]


def read_image(path: str | Path | Photo) -> Float[np.ndarray, "H W 3"]:
    """A photograph as display values (sRGB) in [0, 1], RGB, row 0 on top, with the EXIF orientation applied.

    Grey, palette and CMYK files become RGB. Files of 16 bits and of floating-point numbers keep their precision; where
    their values use another range, such as 12 bits in 16 or floats from 0 to 255, the likely one is taken, with a
    warning (`facejax.images.levels`). Transparent pixels are laid over white. Of an animation the first frame is read.
    Colours are converted to sRGB by the embedded profile, or by PNG's cICP and AVIF's nclx.

    Raises FileNotFoundError, or ValueError for a file that is no image, is damaged, has values in an unknown range, or
    is larger than Pillow's limit for decompression bombs (179 megapixels): one line with the file's name.
    """
    return as_photo(read_pixels(path))


def read_pixels(path: str | Path | Photo) -> Pixels:
    """Like `read_image`, but bytes where the file has 8 bits and no transparency: takes less memory to keep."""
    return read_with_lens(path)[0]


def read_with_lens(path: str | Path | Photo) -> tuple[Pixels, Lens | None]:
    """`read_pixels`, and what the file's EXIF block says of the lens."""
    with _opened(path) as (image, file, name):
        if image is None:
            deep = read_deep_tiff(file)
            if deep is None:
                raise Image.UnidentifiedImageError
            return _deep_to_rgb(deep, None, name), None
        coding = read_coding(file, image, name)
        file.seek(0)
        if is_deep(image) and (deep := read_deep(image, file)) is not None:
            return _deep_to_rgb(deep, coding, name), lens_of(image)
        image.load()
        lens = lens_of(image)
        return _bytes_to_rgb(_upright(image, name), coding, name), lens


def image_size(path: str | Path | Photo) -> tuple[int, int]:
    """Width and height of a photograph, upright, from the file's header. Raises like `read_image`."""
    with _opened(path) as (image, file, _):
        if image is None:
            return tiff_size(file)
        turned = orientation_of(image) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def held_bytes(path: str | Path | Photo) -> int:
    """The memory that `read_pixels` of a photograph takes, from the file's header. Raises like it."""
    with _opened(path) as (image, file, _):
        width, height = tiff_size(file) if image is None else image.size
        return width * height * 3 * (4 if image is None or is_deep(image) or _alpha(image) else 1)


def as_photo(image: Any, name: str = "the photograph") -> Float[np.ndarray, "H W 3"]:
    """An array (numpy or jax) as `read_image` would return it.

    Integers of 8 or 16 bits become display values in [0, 1]; of 16 bits as in a file, see `levels.whole_to_unit`. Other
    types are taken as such values.

    Raises ValueError, beginning with `name`, for other shapes and for values too far outside [0, 1].
    """
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"{name} has shape {pixels.shape}: pass (H, W, 3) display values in [0, 1]")
    if pixels.dtype == np.uint8:
        values = pixels.astype(np.float32)
        return np.divide(values, np.float32(255.0), out=values)  # in place: it may be a gigabyte
    if pixels.dtype == np.uint16:
        return whole_to_unit(pixels, name)
    pixels = np.asarray(pixels, np.float32)
    low, high = np.min(pixels, initial=0.0), np.max(pixels, initial=0.0)
    if not (low > -1.0 and high < 2.0):  # also catches NaN; resampling goes a little beyond [0, 1]
        raise ValueError(f"{name} has values from {low:g} to {high:g}: pass display values in [0, 1], or bytes")
    return pixels


def _check_file(path: Path, name: str) -> None:
    if not path.exists():
        raise FileNotFoundError(f"{name}: no such photo")
    if path.is_dir():
        raise ValueError(f"{name}: is a folder, expected a photo")
    if path.stat().st_size == 0:
        raise ValueError(f"{name}: the file is empty")


class _Opened(NamedTuple):
    image: Image.Image | None  # None: a TIFF that Pillow does not know
    file: Any
    name: str


@contextmanager
def _opened(path: str | Path | Photo) -> Iterator[_Opened]:
    """The opened image. Raises errors of one line."""
    photo = path if isinstance(path, Photo) else photo_file(path)
    name = str(photo)
    if not is_url(photo.source):
        _check_file(Path(photo.source), name)
    with photo.open() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about large but allowed photos and odd EXIF blocks
        head = file.read(64)
        file.seek(0)
        if is_heif(head) and not reads_heif():
            raise ValueError(f"{name}: is in HEIC, as iPhones write it: {HEIF_HINT}, or convert it to JPEG")
        if is_tiff(head) and suffix_of(photo.name) in RAW:  # whose first picture is a thumbnail
            raise ValueError(f"{name}: camera raw files are not read; {RAW_HINT}")
        try:
            image = _identify(file, head)
            if image is None:
                yield _Opened(None, file, name)
            else:
                with image:
                    yield _Opened(image, file, name)
        except Image.DecompressionBombError:
            limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
            raise ValueError(f"{name}: more than {limit} megapixels; scale it down first") from None
        except Image.UnidentifiedImageError:
            raise ValueError(f"{name}: not an image in a known format; convert it to JPEG or PNG") from None
        except MemoryError:
            raise
        except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, zlib.error, ...
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            if isinstance(error, ValueError) and reason.startswith(f"{name}: "):
                raise
            raise ValueError(f"{name}: damaged or cut short ({reason})") from error


def _identify(file: Any, head: bytes) -> Image.Image | None:
    """The image; None for a TIFF of a kind that Pillow does not know."""
    try:
        return Image.open(file)
    except Image.UnidentifiedImageError:
        if not is_tiff(head):
            raise
    try:
        width, height = tiff_size(file)
    except Exception:
        raise Image.UnidentifiedImageError from None
    if width * height > 2 * (Image.MAX_IMAGE_PIXELS or 0):
        raise Image.DecompressionBombError
    return None


def _upright(image: Image.Image, name: str) -> Image.Image:
    """The image rotated as its EXIF block says; as stored when that block is damaged: its pixels are still good."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:
        log.warning("%s: its EXIF orientation is ignored: %s", name, error)
        return image


def _alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info


def _bytes_to_rgb(image: Image.Image, coding: Coding | None, name: str) -> np.ndarray:
    """An upright image of 8 bits as RGB: bytes, or float32 in [0, 1] where it has transparency."""
    profile = image.info.get("icc_profile") if coding is None else None
    if not _alpha(image):
        return _coded(np.asarray(profile_to_srgb(image, profile, name)), coding)
    grey = image.mode in ("LA", "La")
    split = image.convert("LA" if grey else "RGBA")
    alpha = np.asarray(split.getchannel("A"), np.float32)[..., None] / 255.0
    colour = split.getchannel("L") if grey else split.convert("RGB")
    rgb = _coded(np.asarray(profile_to_srgb(colour, profile, name)), coding)
    return as_photo(rgb) * alpha + (1.0 - alpha)


def _coded(rgb: UInt8[np.ndarray, "H W 3"], coding: Coding | None) -> UInt8[np.ndarray, "H W 3"]:
    """Bytes of a coding as bytes of sRGB."""
    if coding is None or coding == SRGB:
        return rgb
    return np.rint(255.0 * code_to_srgb(as_photo(rgb), coding)).astype(np.uint8)


def _deep_to_rgb(deep: Deep, coding: Coding | None, name: str) -> Float[np.ndarray, "H W 3"]:
    """A deep image as upright RGB in [0, 1]."""
    stored = turn_upright(deep.values, deep.orientation)
    count = stored.shape[2]
    colour = stored[..., : 1 if count == 2 else min(count, 3)]
    unit = _to_unit(colour, name, deep.white)
    if coding is not None:
        rgb = unit if unit.shape[2] == 3 else np.repeat(unit, 3, axis=2)
        rgb = rgb if coding == SRGB else code_to_srgb(rgb, coding)
    else:
        rgb = deep_to_srgb(unit, deep.profile, name)
    if count in (2, 4):
        alpha = _to_unit(stored[..., count - 1 :], name, deep.white)
        rgb = rgb * alpha + (1.0 - alpha)
    return np.ascontiguousarray(rgb, np.float32)


def _to_unit(values: np.ndarray, name: str, white: int) -> Float[np.ndarray, "..."]:
    whole = np.issubdtype(values.dtype, np.integer)
    return whole_to_unit(values, name, white) if whole else float_to_unit(values, name)

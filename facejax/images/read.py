"""Reading photographs: any common file format to upright sRGB float RGB."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms, ImageOps

from facejax.images.lens import Lens, lens_of
from facejax.images.sources import Photo, is_url, photo_file

log: logging.Logger = logging.getLogger(__name__)

Pixels = Float[np.ndarray, "H W 3"] | UInt8[np.ndarray, "H W 3"]


def read_image(path: str | Path | Photo) -> Float[np.ndarray, "H W 3"]:
    """A photograph as display values (sRGB) in [0, 1], RGB, row 0 on top, with the EXIF orientation applied.

    Grey, palette, CMYK and 16-bit files become RGB; floating-point files are taken as values in [0, 1]. Transparent
    pixels are laid over white. Of an animation the first frame is read. An embedded colour profile is converted to
    sRGB.

    Raises FileNotFoundError, or ValueError for a file that is no image, is damaged, or is larger than Pillow's limit
    for decompression bombs (179 megapixels): one line with the file's name.
    """
    return as_photo(read_pixels(path))


def read_pixels(path: str | Path | Photo) -> Pixels:
    """Like `read_image`, but bytes where the file has 8 bits and no transparency: takes less memory to keep."""
    return read_with_lens(path)[0]


def read_with_lens(path: str | Path | Photo) -> tuple[Pixels, Lens | None]:
    """`read_pixels`, and what the file's EXIF block says of the lens."""
    with _opened(path) as image:
        image.load()
        lens = lens_of(image)
        return _to_rgb(_upright(image)), lens


def image_size(path: str | Path | Photo) -> tuple[int, int]:
    """Width and height of a photograph, upright, from the file's header. Raises like `read_image`."""
    with _opened(path) as image:
        turned = image.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return (image.height, image.width) if turned else image.size


def held_bytes(path: str | Path | Photo) -> int:
    """The memory that `read_pixels` of a photograph takes, from the file's header. Raises like it."""
    with _opened(path) as image:
        return image.width * image.height * 3 * (4 if _deep(image) or _alpha(image) else 1)


def as_photo(image: Any, name: str = "the photograph") -> Float[np.ndarray, "H W 3"]:
    """An array (numpy or jax) as `read_image` would return it.

    Integers of 8 or 16 bits become display values in [0, 1]; other types are taken as such values.

    Raises ValueError, beginning with `name`, for other shapes and for values too far outside [0, 1].
    """
    pixels = np.asarray(image)
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"{name} has shape {pixels.shape}: pass (H, W, 3) display values in [0, 1]")
    if pixels.dtype in (np.uint8, np.uint16):
        values = pixels.astype(np.float32)
        return np.divide(values, np.float32(np.iinfo(pixels.dtype).max), out=values)  # in place: it may be a gigabyte
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


@contextmanager
def _opened(path: str | Path | Photo) -> Iterator[Image.Image]:
    """The opened image. Raises errors of one line."""
    photo = path if isinstance(path, Photo) else photo_file(path)
    name = str(photo)
    if not is_url(photo.source):
        _check_file(Path(photo.source), name)
    with photo.open() as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about large but allowed photos and odd EXIF blocks
        try:
            with Image.open(file) as image:
                yield image
        except Image.DecompressionBombError:
            limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
            raise ValueError(f"{name}: more than {limit} megapixels; scale it down first") from None
        except Image.UnidentifiedImageError:
            raise ValueError(f"{name}: not an image in a known format; convert it to JPEG or PNG") from None
        except MemoryError:
            raise
        except Exception as error:  # decoders raise OSError, SyntaxError, struct.error, zlib.error, ...
            raise ValueError(
                f"{name}: damaged or cut short ({str(error).splitlines()[0] if str(error) else error!r})"
            ) from error


def _upright(image: Image.Image) -> Image.Image:
    """The image rotated as its EXIF block says; as stored when that block is damaged: its pixels are still good."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:
        log.warning("EXIF orientation ignored: %s", error)
        return image


def _deep(image: Image.Image) -> bool:
    """Whether it has more than 8 bits: floats, or 16-bit grey, which some versions of Pillow hold in 32 bits."""
    return image.mode == "F" or image.mode.startswith("I")


def _alpha(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _to_rgb(image: Image.Image) -> np.ndarray:
    """An upright image of any mode as RGB: bytes, or float32 in [0, 1]."""
    if _deep(image):
        values = np.asarray(image, np.float32)
        return _grey(values if image.mode == "F" else values / 65535.0)
    profile = image.info.get("icc_profile")
    if not _alpha(image):
        return np.asarray(_to_srgb(image, profile))
    rgba = image.convert("RGBA")
    alpha = np.asarray(rgba.getchannel("A"), np.float32)[..., None] / 255.0
    return as_photo(np.asarray(_to_srgb(rgba.convert("RGB"), profile))) * alpha + (1.0 - alpha)


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.clip(np.nan_to_num(values), 0.0, 1.0)[..., None], 3, axis=-1).astype(np.float32)


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """The image converted to sRGB by its embedded profile, where that can be read."""
    if image.mode in ("P", "1", "HSV", "YCbCr"):
        image = image.convert("RGB")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                target = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
                if converted is not None:
                    return converted
        except (ImageCms.PyCMSError, OSError, ValueError) as error:
            log.warning("colour profile ignored: %s", error)
    return image.convert("RGB")

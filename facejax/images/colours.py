"""Colours of files to sRGB: by embedded ICC profiles with LittleCMS, or by the code points of cICP and nclx.

The code points are those of ITU-T H.273: three numbers for primaries, transfer function and range.
"""

import io
import logging
import struct
from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageCms

from facejax.lighting import linear_to_srgb, srgb_to_linear

log: logging.Logger = logging.getLogger(__name__)

_SHORT = 64  # bytes of a chunk that is looked at
_HEAD = 65536  # bytes in which a file says how its colours are coded
_SAME = 2  # levels of 255: a profile that changes no colour by more is sRGB, rounded in another way
_PROFILE_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # modes of Pillow by a profile's colour space
# x and y of red, green and blue, by their code in H.273; white is D65 in all of them.
_PRIMARIES = {
    1: ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060)),  # BT.709, sRGB
    5: ((0.640, 0.330), (0.290, 0.600), (0.150, 0.060)),  # BT.601 of 625 lines
    6: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),  # BT.601 of 525 lines
    7: ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)),
    9: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),  # BT.2020
    12: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),  # Display P3
    22: ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077)),
}
_D65 = (0.3127, 0.3290)
_PAPER_WHITE = 203.0  # cd/m2 of white in HDR, ITU-R BT.2408
_HLG_PEAK = 1000.0  # cd/m2


# --- ICC profiles -----------------------------------------------------------------------------------------------------


def profile_to_srgb(image: Image.Image, profile: bytes | None, name: str) -> Image.Image:
    """An image of 8 bits without transparency as RGB, converted to sRGB by its embedded profile.

    A profile that changes no colour by more than two levels leaves the bytes as they are. One that cannot be used is
    ignored with a warning that begins with `name`.
    """
    if image.mode == "LAB":
        return _applied(image, ImageCms.buildTransform(ImageCms.createProfile("LAB"), _srgb(), "LAB", "RGB"))
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    found = _transform(profile, image.mode, name) if profile else None
    if found is None:
        return image.convert("RGB")
    mode, transform = found
    return _applied(image.convert(mode), transform)


def deep_to_srgb(values: Float[np.ndarray, "H W C"], profile: bytes | None, name: str) -> Float[np.ndarray, "H W 3"]:
    """Grey (C = 1) or RGB display values in [0, 1] converted to sRGB by their profile, in more than 8 bits.

    LittleCMS converts in 8 bits here; between these steps each channel is interpolated.
    """
    grey = values.shape[2] == 1
    found = _transform(profile, "L" if grey else "RGB", name) if profile else None
    if found is None:
        return np.repeat(values, 3, axis=2) if grey else values
    mode, transform = found
    values = np.repeat(values, 3, axis=2) if grey and mode == "RGB" else values
    scaled = 255.0 * values
    low = np.minimum(np.floor(scaled), 254.0)
    rest = (scaled - low).astype(np.float32)
    floor = low.astype(np.uint8)
    base = _apply_bytes(floor, mode, transform)
    result = base.copy()
    for channel in range(values.shape[2]):
        above = floor.copy()
        above[..., channel] += 1
        result += rest[..., channel : channel + 1] * (_apply_bytes(above, mode, transform) - base)
    return np.clip(result / np.float32(255.0), 0.0, 1.0)


def _transform(profile: bytes, mode: str, name: str) -> tuple[str, Any] | None:
    """The mode of an image in which its profile can be applied, and how; None where it changes nothing."""
    try:
        return _built(profile, mode)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError, KeyError) as error:
        log.warning("%s: its colour profile is ignored: %s", name, " ".join(str(error).split()))
        return None


@lru_cache(16)
def _built(profile: bytes, mode: str) -> tuple[str, Any] | None:
    source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = source.profile.xcolor_space.strip()
    wanted = _PROFILE_MODES.get(space)
    if wanted is None or (wanted != mode and (mode, wanted) != ("L", "RGB")):
        raise ValueError(f"it is for {space}, the image is {mode}")
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if wanted == "L":  # its tables would be too coarse for dark values
        flags |= ImageCms.Flags.NOOPTIMIZE
    transform = ImageCms.buildTransform(
        source,
        _srgb(),
        wanted,
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=flags,
    )
    return None if wanted != "CMYK" and _changes_nothing(wanted, transform) else (wanted, transform)


def _changes_nothing(mode: str, transform: Any) -> bool:
    """Whether no colour of a lattice moves by more than `_SAME` levels."""
    if mode == "L":
        probe = np.arange(256, dtype=np.uint8)[None, :, None]
    else:
        steps = np.linspace(0, 255, 17).round().astype(np.uint8)
        probe = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(17, -1, 3)
    return bool(np.abs(_apply_bytes(probe, mode, transform) - probe).max() <= _SAME)


def _apply_bytes(pixels: np.ndarray, mode: str, transform: Any) -> np.ndarray:
    """The transform of bytes (H, W, C) as float32 (H, W, 3), 0 to 255."""
    image = Image.fromarray(np.ascontiguousarray(pixels[..., 0] if mode == "L" else pixels))
    return np.asarray(_applied(image, transform), np.float32)


def _applied(image: Image.Image, transform: Any) -> Image.Image:
    return transform.apply(image)


@cache
def _srgb() -> Any:
    return ImageCms.createProfile("sRGB")


# --- code points ------------------------------------------------------------------------------------------------------


class Coding(NamedTuple):
    """How a file's values are coded, by the numbers of H.273."""

    primaries: int
    transfer: int
    full_range: bool = True


SRGB = Coding(1, 13)


def png_chunks(file: Any) -> dict[bytes, bytes]:
    """The short chunks of a PNG before its pixels, by name. The file may stand anywhere."""
    chunks: dict[bytes, bytes] = {}
    file.seek(8)
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        if kind in (b"IDAT", b"IEND"):
            break
        if length <= _SHORT:
            chunks.setdefault(kind, file.read(length))
            file.seek(4, 1)
        else:
            file.seek(length + 4, 1)
    return chunks


def read_coding(file: Any, image: Image.Image, name: str) -> Coding | None:
    """The code points of a PNG (cICP), an AVIF or a HEIF (nclx) file; None where it has none, or unknown ones.

    Unknown ones are logged as a warning that begins with `name`.
    """
    if image.format == "PNG":
        chunk = png_chunks(file).get(b"cICP", b"")
        coding = Coding(chunk[0], chunk[1], chunk[3] != 0) if len(chunk) == 4 else None
    else:
        coding = _nclx(file, image)
    if coding is None:
        return None
    if coding.primaries not in _PRIMARIES or coding.transfer not in _TRANSFERS:
        if 2 not in coding[:2]:  # unspecified
            log.warning("%s: its colour code points %d, %d are not known and are ignored", name, *coding[:2])
        return None
    return coding


def _nclx(file: Any, image: Image.Image) -> Coding | None:
    if image.format not in ("AVIF", "HEIF") or "icc_profile" in image.info:
        return None
    file.seek(0)
    content = file.read(_HEAD)
    place = content.find(b"colrnclx")
    if place < 0 or place + 12 > len(content):
        return None
    primaries, transfer = struct.unpack_from(">HH", content, place + 8)
    if transfer in (2, 6, 14, 15, 1):  # what encoders write for ordinary photographs; browsers take it for sRGB
        transfer = 13
    return Coding(primaries, transfer)  # the decoder has widened a narrow range already


def code_to_srgb(values: Float[np.ndarray, "H W 3"], coding: Coding) -> Float[np.ndarray, "H W 3"]:
    """Values in [0, 1] of a known coding as sRGB display values in [0, 1].

    White of PQ and HLG is at 203 cd/m2 (ITU-R BT.2408), HLG on a display of 1000 cd/m2; what is brighter, and what lies
    outside of sRGB's gamut, is clipped.
    """
    values = np.asarray(values, np.float32)
    if not coding.full_range:
        values = np.clip((255.0 * values - 16.0) / 219.0, 0.0, 1.0)
    linear = _TRANSFERS[coding.transfer](values)
    change = np.linalg.inv(_to_xyz(1)) @ _to_xyz(coding.primaries)
    display = linear_to_srgb(np.clip(linear @ change.T.astype(np.float32), 0.0, 1.0))
    return np.clip(display, 0.0, 1.0).astype(np.float32)


@cache
def _to_xyz(primaries: int) -> np.ndarray:
    """Linear RGB to CIE XYZ: the columns are the primaries, scaled so that they add up to white with Y = 1."""

    def xyz(x: float, y: float) -> list[float]:
        return [x / y, 1.0, (1.0 - x - y) / y]

    columns = np.array([xyz(*one) for one in _PRIMARIES[primaries]]).T
    return columns * np.linalg.solve(columns, np.array(xyz(*_D65)))


def _bt709_to_linear(values: np.ndarray) -> np.ndarray:
    return np.where(values < 0.081, values / 4.5, ((np.maximum(values, 0.081) + 0.099) / 1.099) ** (1 / 0.45))


def _pq_to_linear(values: np.ndarray) -> np.ndarray:
    """SMPTE ST 2084, as a multiple of white."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = values ** (1 / m2)
    return 10000.0 / _PAPER_WHITE * (np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1)


def _hlg_to_linear(values: np.ndarray) -> np.ndarray:
    """ITU-R BT.2100's hybrid log-gamma with the system gamma of 1.2, as a multiple of white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3.0, (np.exp((np.maximum(values, 0.5) - c) / a) + b) / 12.0)
    brightness = scene @ np.array([0.2627, 0.6780, 0.0593], np.float32)
    return _HLG_PEAK / _PAPER_WHITE * scene * np.maximum(brightness, 1e-9)[..., None] ** 0.2


_TRANSFERS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: _bt709_to_linear,
    4: lambda values: values**2.2,
    5: lambda values: values**2.8,
    6: _bt709_to_linear,
    8: lambda values: values,
    13: srgb_to_linear,
    14: _bt709_to_linear,
    15: _bt709_to_linear,
    16: _pq_to_linear,
    18: _hlg_to_linear,
}

"""Which value is white: in files and arrays of more than 8 bits, and in those of floating-point numbers.

Files rarely say so. Cameras' 10, 12 and 14 bits often lie in the lower part of 16 bits, and programs write 0 to 255 as
floating-point numbers.
"""

import logging
from typing import Any

import numpy as np
from jaxtyping import Float

log: logging.Logger = logging.getLogger(__name__)

_BITS = (8, 10, 12, 14, 16)
_NEAR_WHITE = 0.9  # share of the range that the brightest value of a photo of 14 bits reaches
_DARK = 2**14  # photographs of 16 bits that stay below this are asked about
_UNDER, _OVER = -0.25, 1.25  # how far resampling may go beyond black and white, as shares of white


def whole_to_unit(values: np.ndarray, name: str, declared: int = 0) -> Float[np.ndarray, "..."]:
    """Whole numbers of more than 8 bits as display values in [0, 1].

    White is what the file declares, if its values keep to it. Otherwise it is 65535, except that values which stay
    below 4096 are taken for 8, 10 or 12 bits (read as 16 they would be almost black), and values which end close to
    16383 for 14 bits. Each of these is logged as a warning. Numbers that are multiples of 256 or 257 were made from 8
    bits for all of 16.

    Args:
      values: any shape.
      name: of the photograph, for messages.
      declared: the value of white that the file declares; 0 if it does not.

    Raises ValueError for negative values and for those beyond 16 bits.
    """
    low, high = int(values.min(initial=0)), int(values.max(initial=0))
    if low < 0 or high > 65535:
        raise ValueError(f"{name}: has values from {low} to {high}: save it with 8 or 16 bits, 0 to 65535")
    white = declared if high <= declared != 0 else 65535
    if not declared and 0 < high < _DARK and not _made_for_16(values):
        white = _likely_white(high)
        if white < 65535:
            log.warning("%s: its brightest value is %d of 65535: read as %d bits", name, high, white.bit_length())
        else:
            log.warning("%s: its brightest value is %d of 65535: read as a dark photo", name, high)
    unit = values.astype(np.float32)
    return np.divide(unit, np.float32(white), out=unit)  # in place: it may be a gigabyte


def float_to_unit(values: np.ndarray, name: str) -> Float[np.ndarray, "..."]:
    """Floating-point numbers of a file as display values, clipped to [0, 1]; what is not finite becomes 0 or 1.

    Numbers from 0 to 1 are taken as they are. Numbers that go further are taken for 0 to 255, 1023, 4095, 16383 or
    65535, whichever holds them and is not much larger. This is logged as a warning.

    Raises ValueError for other ranges, and where no number is finite.
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        raise ValueError(f"{name}: has no finite value")
    low, high = float(finite.min()), float(finite.max())
    white = 1.0
    if high > _OVER:
        whites = (float(2**bits - 1) for bits in _BITS)
        white = next((one for one in whites if one / 8 < high <= one * 1.02), 0.0)
    if not white or low < _UNDER * white:
        raise ValueError(f"{name}: has values from {low:g} to {high:g}: save it with 0 to 1, or 0 to 255")
    if white > 1.0:
        log.warning("%s: has numbers from %g to %g: white is read as %g", name, low, high, white)
    unit = np.nan_to_num(values.astype(np.float32), posinf=np.inf, neginf=0.0) / np.float32(white)
    return np.clip(unit, 0.0, 1.0).astype(np.float32)


def declared_white(bits: Any, most: Any) -> int:
    """The value of white by a TIFF's bits per sample and largest value, as Pillow reads them; 0 if they do not tell.

    Many programs write the largest value that happens to be in the picture, so only ends of whole ranges count.
    """
    whites = [2**one - 1 for one in _BITS]
    if isinstance(most, int | float) and int(most) in whites[1:]:
        return int(most)
    return 4095 << 4 if bits == 12 else 0  # packed samples of 12 bits are widened, without filling up


def _likely_white(high: int) -> int:
    low = next((2**bits - 1 for bits in _BITS[:3] if high < 2**bits), 0)
    if low:
        return low
    return _DARK - 1 if high >= _NEAR_WHITE * _DARK else 65535


def _made_for_16(values: np.ndarray) -> bool:
    return not (values % 257).any() or not (values % 256).any()

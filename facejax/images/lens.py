"""What a photograph's file says of its lens: the focal length in EXIF, and how far to trust it."""

import math
from dataclasses import dataclass
from typing import Any, Literal

from PIL import Image

FULL_FRAME = math.hypot(36.0, 24.0)  # mm, the diagonal that "35 mm equivalent" refers to (CIPA DCG-001)
CAMERAS = (4 / 3, 3 / 2, 16 / 9)  # the shapes of whole photographs, longer side by shorter
SAME_SHAPE = 0.02  # relative difference of two shapes below which they are the same
KNOWN = 1e-3  # standard deviation of the logarithm of a focal length that was given
TRUSTED = 0.05  # of one that EXIF gives: rounded to millimetres, and by diagonal or by width
MOST_ZOOM = 100.0  # no camera has a larger digital zoom
CUT_SHORTER, CUT_LONGER = 0.1, 0.7  # the same where a part of the photograph was cut off

_EXIF, _FOCAL, _FOCAL35, _ZOOM, _WIDTH, _HEIGHT = 0x8769, 0x920A, 0xA405, 0xA404, 0xA002, 0xA003
_PLANE, _PLANE_UNIT = 0xA20E, 0xA210
_INCH = 2  # the unit where none is noted
_MILLIMETRES = {_INCH: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # of the unit of the sensor's resolution


@dataclass(frozen=True)
class Lens:
    """What is known of a photograph's focal length: the most likely one, and a width for each side of it."""

    focal: float  # pixels of the photograph
    shorter: float  # standard deviation of the logarithm of a shorter focal length
    longer: float  # of a longer one
    source: Literal["given", "exif", "shared"]  # shared: estimated from several photographs of one camera


def given_lens(focal: float, source: Literal["given", "shared"] = "given") -> Lens:
    """A lens whose focal length (pixels) is known."""
    return Lens(focal, KNOWN, KNOWN, source)


def whole_shape(width: float | int, height: float | int) -> bool:
    """Whether a photograph has the shape that cameras give; others were cut."""
    shape = max(width, height) / min(width, height)
    return any(abs(shape / one - 1) < SAME_SHAPE for one in CAMERAS)


def lens_of(image: Image.Image) -> Lens | None:
    """The lens of an opened photograph, or None where its EXIF block does not tell.

    `FocalLengthIn35mmFilm` gives the focal length; without it, the focal length and the sensor's resolution do. A
    photograph that was cut since has a longer one than its size suggests, so that the upper side becomes wide: its
    shape is not the one that EXIF notes, or no camera's. Whether a digital zoom is included in the number differs
    between makers, so that both are possible.
    """
    try:
        tags = image.getexif().get_ifd(_EXIF)
    except Exception:  # a damaged block: Pillow raises errors of many kinds
        return None
    read = {tag: _number(tags.get(tag)) for tag in (_FOCAL, _FOCAL35, _ZOOM, _WIDTH, _HEIGHT, _PLANE, _PLANE_UNIT)}
    width, height = image.size
    original = read[_WIDTH], read[_HEIGHT]
    if min(original) <= 0:
        original = (float(width), float(height))
    diagonal = math.hypot(*original)
    if 5 <= read[_FOCAL35] <= 2000:
        focal = read[_FOCAL35] / FULL_FRAME * diagonal
    elif read[_FOCAL] > 0 and read[_PLANE] > 0 and (unit := int(read[_PLANE_UNIT]) or _INCH) in _MILLIMETRES:
        focal = read[_FOCAL] * read[_PLANE] / _MILLIMETRES[unit]
        if not 5 <= focal / diagonal * FULL_FRAME <= 2000:
            return None
    else:
        return None
    same = abs(width * original[1] / (height * original[0]) - 1) < SAME_SHAPE
    turned = (width, height) == original[::-1]  # by software; turned and scaled it could as well have been cut
    least = [max(width / sides[0], height / sides[1]) for sides in (original, original[::-1])]
    shrunk = least[0] if same else min(least)  # a photograph that was cut was scaled by no less
    shorter = longer = TRUSTED
    if 1 < read[_ZOOM] <= MOST_ZOOM:
        focal *= math.sqrt(read[_ZOOM])
        shorter = longer = TRUSTED + math.log(read[_ZOOM]) / 2
    if not ((same or turned) and whole_shape(*original)):
        shorter, longer = max(shorter, CUT_SHORTER), max(longer, CUT_LONGER)
    return Lens(focal * shrunk, shorter, longer, "exif")


def _number(value: Any) -> float:
    """A tag as a number; 0 where it is missing or not one."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return 0.0
    return number if math.isfinite(number) else 0.0

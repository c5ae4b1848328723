"""Whether a picture that is named as the mask of another one, such as `me_mask.png`, is a photograph after all."""

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image

from facejax.images.photo import Photo

SIDE = 64  # pixels of a small copy
COLOURS = 512  # different ones in it; a mask in colours has less, and so has a depth map
GREY = 8  # largest difference of channels in a grey picture
ASKED = 8  # once so many are masks, the others are taken for masks too: opening all of a large set takes long


def photographs_among(names: Iterable[str], place: Callable[[str], Photo]) -> set[str]:
    """Those that are photographs. `place` says where each picture is."""
    found: set[str] = set()
    masks = 0
    for name in names:
        if masks == ASKED:
            break
        if is_photograph(place(name)):
            found.add(name)
        else:
            masks += 1
    return found


def is_photograph(photo: Photo) -> bool:
    """Whether a picture has as many colours as a photograph, and no transparency."""
    try:
        with photo.open() as file, Image.open(file) as image:
            if image.mode not in ("RGB", "YCbCr", "CMYK"):
                return False
            image.draft("RGB", (4 * SIDE, 4 * SIDE))
            pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST), np.int32)
    except Exception:  # damaged files raise errors of many kinds
        return False
    colourful = np.ptp(pixels, axis=2).max() > GREY
    return bool(colourful and len(np.unique(pixels.reshape(-1, 3), axis=0)) > COLOURS)

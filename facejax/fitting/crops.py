"""From photographs to the input of the compiled fit: square crops around the landmarks."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float

from facejax.fitting.face_data import NO_DATA, FaceData, PhotoData, check_data, cut_data
from facejax.fitting.landmarks import FaceStart
from facejax.fitting.priors import FocalPrior, usual_focal
from facejax.fitting.recipe import Recipe
from facejax.fitting.recipes import LINEAR
from facejax.images.crop import apply_crop, face_crop
from facejax.images.lens import Lens, given_lens
from facejax.images.read import as_photo


class Crops(NamedTuple):
    """The input of the compiled fit: square crops of a batch of faces, and where each lies in its photograph."""

    images: Float[Array, "N S S 3"]  # display values
    valid: Float[Array, "N S S"]
    landmarks: Float[Array, "N 68 2"]  # pixels of the crop
    principal: Float[Array, "N 2"]  # the photograph's centre, pixels of the crop
    focal: FocalPrior  # pixels of the crop
    scale: Float[Array, " N"]  # crop = scale * photograph + offset
    offset: Float[Array, "N 2"]
    start: FaceStart | None = None  # None: only the landmarks are known
    data: FaceData = NO_DATA  # of the user's own terms


def prepare_crops(
    images: Sequence[np.ndarray],
    landmarks: Sequence[np.ndarray],
    *,
    recipe: Recipe = LINEAR,
    focal: Sequence[float | Lens | None] | float | None = None,
    start: FaceStart | None = None,
    data: Mapping[str, PhotoData] = {},
) -> Crops:
    """Cut the faces out of photographs by their landmarks.

    Args:
        images: the photographs, each (H, W, 3), see `as_photo`.
        landmarks: (68, 2) each, pixels.
        recipe: gives the size of a crop.
        focal: the photographs' focal length in their own pixels, one for all or one each, or what is known of it; None:
            a usual one.
        start: what else is known of the faces, with a leading axis N.
        data: arrays of the user's own terms, by the term's name.

    Raises ValueError, one line that names the photograph, for inputs that do not match.
    """
    if len(images) != len(landmarks):
        raise ValueError(f"{len(images)} photographs but {len(landmarks)} sets of landmarks: pass one set a photograph")
    if len(images) == 0:
        raise ValueError("no photographs to fit: pass at least one")
    check_data(data, len(images))
    cut = partial(prepare_crop, recipe=recipe, data=data)
    crops = [cut(k, *one) for k, one in enumerate(zip(images, landmarks, one_each(focal, len(images)), strict=True))]
    return stack_crops(crops, start)


def one_each(focal: Sequence[float | Lens | None] | float | None, count: int) -> list[float | Lens | None]:
    """The focal length of each photograph. Raises ValueError for a list of another length, and for no focal length."""
    each = [focal] * count if focal is None or np.ndim(focal) == 0 else list(focal)  # type: ignore[arg-type]
    if len(each) != count:
        raise ValueError(f"{len(each)} focal lengths for {count} photographs: pass one for all, or one each")
    each = [one if one is None or isinstance(one, Lens) else float(one) for one in each]  # type: ignore[arg-type]
    for one in each:
        if isinstance(one, float) and not 0 < one < np.inf:
            raise ValueError(f"focal={one:g}: pass a focal length in pixels, or None where it is not known")
    return each


def stack_crops(crops: Sequence[Crops], start: FaceStart | None = None) -> Crops:
    """Stack crops of one face each into a batch."""
    stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *crops)  # on the host: nothing to compile
    return jax.device_put(stacked)._replace(start=start)


def prepare_crop(
    index: int,
    image: np.ndarray,
    landmarks: np.ndarray,
    focal: float | Lens | None,
    *,
    recipe: Recipe,
    data: Mapping[str, PhotoData] = {},
    name: str | None = None,
) -> Crops:
    """The crop of one photograph on the host, without the leading axis.

    Args:
        index: its position among the photographs, to find its `data`.
        image, landmarks, focal, recipe, data: as for `prepare_crops`.
        name: what errors call it.

    Raises ValueError, one line, for inputs that do not match.
    """
    name = f"photograph {index}" if name is None else name
    image, points = as_photo(image, name), np.asarray(landmarks, np.float32)
    if points.shape != (68, 2) or not np.isfinite(points).all():
        raise ValueError(f"landmarks of {name} have shape {points.shape}: pass (68, 2) finite pixels")
    crop = face_crop(points, recipe.size, margin=recipe.margin)
    pixels, valid = apply_crop(image, crop, recipe.size)
    centre = np.array([[image.shape[1], image.shape[0]]], np.float32) / 2
    height, width = image.shape[:2]
    lens = focal if focal is None or isinstance(focal, Lens) else given_lens(focal)
    known = usual_focal(width, height, recipe.priors) if lens is None else (lens.focal, lens.shorter, lens.longer)
    known = np.array(known, np.float32) * [crop.scale, 1, 1]
    return Crops(
        images=pixels,  # type: ignore[arg-type]  # numpy's arrays until they are stacked
        valid=valid,  # type: ignore[arg-type]
        landmarks=np.asarray(crop.apply_points(points)),  # type: ignore[arg-type]
        principal=np.asarray(crop.apply_points(centre))[0],  # type: ignore[arg-type]
        focal=FocalPrior(*known.astype(np.float32)),  # type: ignore[arg-type]
        scale=np.asarray(crop.scale),  # type: ignore[arg-type]
        offset=np.asarray(crop.offset),  # type: ignore[arg-type]
        data=cut_data(data, index, crop, recipe.size, (height, width)),
    )

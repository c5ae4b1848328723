"""Data for the user's own terms, one array per photograph: cropped, scaled and batched like the photograph itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from facejax.images.crop import Crop, apply_crop


@dataclass(frozen=True)
class Maps:
    """Pictures of the photographs' sizes, (H, W) or (H, W, C): depth, normals, masks. A term sees their crop.

    They are resampled like the photograph (a triangle filter); beyond its border the border values are repeated.
    """

    values: Sequence[np.ndarray]  # one for each photograph
    kind: ClassVar[str] = "maps"

    def cut(self, index: int, crop: Crop, side: int, photo: tuple[int, int]) -> np.ndarray:
        """The map of one photograph, cropped and resampled. See `cut_data`."""
        value = np.asarray(self.values[index], np.float32)
        if value.ndim not in (2, 3) or value.shape[:2] != photo:
            raise ValueError(f"a map of shape {value.shape}: give one of the photograph's size {photo}")
        cut, _ = apply_crop(value.reshape(*photo, -1), crop, side)
        return cut.reshape(side, side, *value.shape[2:])


@dataclass(frozen=True)
class Points:
    """Points in the photographs, (K, 2) pixels, with the same K for all. A term sees them in pixels of the crop."""

    values: Sequence[np.ndarray]  # one for each photograph
    kind: ClassVar[str] = "points"

    def cut(self, index: int, crop: Crop, side: int, photo: tuple[int, int]) -> np.ndarray:
        """The points of one photograph, in pixels of its crop. See `cut_data`."""
        value = np.asarray(self.values[index], np.float32)
        if value.ndim != 2 or value.shape[1] != 2:
            raise ValueError(f"points of shape {value.shape}: give (K, 2) pixels of the photograph")
        return np.asarray(crop.apply_points(value), np.float32)


@dataclass(frozen=True)
class Numbers:
    """Arrays without pixel coordinates, all of one shape. A term sees them unchanged."""

    values: Sequence[np.ndarray]  # one for each photograph
    kind: ClassVar[str] = "numbers"

    def cut(self, index: int, crop: Crop, side: int, photo: tuple[int, int]) -> np.ndarray:
        """The numbers of one photograph, unchanged. See `cut_data`."""
        return np.asarray(self.values[index], np.float32)


PhotoData = Maps | Points | Numbers


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class FaceData:
    """The data of one face, or of a batch with leading axes, by the name of its term."""

    maps: Mapping[str, Array] = field(default_factory=dict)  # (S, S) or (S, S, C)
    points: Mapping[str, Array] = field(default_factory=dict)  # (K, 2), pixels
    numbers: Mapping[str, Array] = field(default_factory=dict)


NO_DATA = FaceData()


def cut_data(data: Mapping[str, PhotoData], index: int, crop: Crop, side: int, photo: tuple[int, int]) -> FaceData:
    """The data of one photograph in its crop.

    Args:
        data: by the name of the term.
        index: which photograph.
        crop, side: its crop, which becomes `side` pixels square.
        photo: its height and width, pixels.

    Raises ValueError, one line, for an array that does not match the photograph.
    """
    found: dict[str, dict[str, np.ndarray]] = {"maps": {}, "points": {}, "numbers": {}}
    for name, given in data.items():
        try:
            found[given.kind][name] = given.cut(index, crop, side, photo)
        except ValueError as error:
            raise ValueError(f"data of term {name!r}: {error}") from None
    return FaceData(**found)  # type: ignore[arg-type]  # numpy's arrays until they are stacked


def resize_data(data: FaceData, scale: float, side: int) -> FaceData:
    """The data of the same crop at another resolution; one face."""
    resized = {
        name: jax.image.resize(value, (side, side, *value.shape[2:]), "linear") for name, value in data.maps.items()
    }
    scaled = {name: jnp.asarray(value) * scale for name, value in data.points.items()}
    return FaceData(resized, scaled, data.numbers)


def check_data(data: Mapping[str, PhotoData], count: int) -> None:
    """Raises ValueError unless every term has one array for each photograph."""
    for name, given in data.items():
        if len(given.values) != count:
            raise ValueError(f"term {name!r} has {len(given.values)} arrays for {count} photographs: give one each")

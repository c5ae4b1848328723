"""The contract of an appearance, and the blocks of numbers that are its parameters."""

import math
from collections.abc import Callable, Collection, Mapping
from itertools import accumulate
from typing import Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from facejax.face_model import FaceModel, FaceParams
from facejax.rendering import Rendering

GEOMETRY = frozenset({"identity", "expression", "rotation", "translation"})  # blocks of a fit that move the surface


@runtime_checkable
class Appearance(Protocol):
    """What colours a face. A pytree: its weights are arguments of compiled programs, its functions are pure.

    Its parameters are named blocks of numbers, kept in `FaceParams.appearance`. A stage of a fit moves them by name.
    """

    @property
    def blocks(self) -> Mapping[str, tuple[int, ...]]:
        """The name and shape of each block of parameters. Zeros are the mean appearance."""
        ...

    @property
    def whole_picture(self) -> bool:
        """Whether it paints hair and background too; a fit then compares the whole photograph, not the face alone."""
        ...

    @property
    def side(self) -> int | None:
        """Side in pixels of the square pictures that it must be fitted at; None: any."""
        ...

    def init(self, photo: Float[Array, "S S 3"], previous: Float[Array, "*S 3"] | None) -> dict[str, Array]:
        """The blocks with which a fit begins.

        Args:
            photo: the crop that is fitted, display values.
            previous: the albedo of the previous appearance, per vertex or as a map; None if it had none.

        Returns: the blocks.
        """
        ...

    def decode(self, blocks: Mapping[str, Array]) -> Float[Array, "*S 3"] | None:
        """The albedo, display values, per vertex (V, 3) or as a map (T, T, 3); None if it has none."""
        ...

    def drawing(
        self,
        model: FaceModel,
        params: FaceParams,
        *,
        size: tuple[int, int],
        background: Float[Array, "*H 3"] | None,
        moving: Collection[str],
        edges: bool,
    ) -> Callable[[FaceParams], Rendering]:
        """A function that draws `params`, and faces that differ from it only in the blocks `moving`.

        Everything that does not move is decoded and rendered once, here.

        Args:
            model, params: the face; its camera is in pixels of the picture.
            size: height and width of the picture, pixels.
            background: one colour or a picture, display values; None: black.
            moving: blocks of `params.appearance`, "light", and those of `GEOMETRY`.
            edges: blend silhouettes, which gives them their gradient.

        Returns: a pure function, differentiable in the moving blocks.
        """
        ...

    def texture(
        self,
        model: FaceModel,
        params: FaceParams,
        photo: Float[np.ndarray, "H W 3"],
        landmarks: Float[np.ndarray, "68 2"],
    ) -> Float[np.ndarray, "T T 3"]:
        """A texture for the files, display values in the model's UV layout, row 0 on top.

        Args:
            model, params: the face; its camera is in pixels of the photograph.
            photo: display values.
            landmarks: where the face is in it, pixels.
        """
        ...


def zero_blocks(appearance: Appearance) -> dict[str, Float[Array, "*S"]]:
    """The parameters of the mean appearance."""
    return {name: jnp.zeros(shape) for name, shape in appearance.blocks.items()}


def block_count(appearance: Appearance) -> int:
    """The total count of numbers in all blocks."""
    return sum(math.prod(shape) for shape in appearance.blocks.values())


def in_order(appearance: Appearance, blocks: Mapping[str, Array]) -> dict[str, Array]:
    """Blocks in the order in which the appearance names them; jax sorts the keys of dictionaries."""
    return {name: blocks[name] for name in appearance.blocks}


def split_blocks(appearance: Appearance, row: Float[Array, "*B N"]) -> dict[str, Float[Array, "..."]]:
    """All blocks from one row of numbers, one block after the other. Raises ValueError for a wrong count."""
    if row.shape[-1] != block_count(appearance):
        raise ValueError(f"{row.shape[-1]} numbers, but the appearance takes {block_count(appearance)}")
    ends = list(accumulate(math.prod(shape) for shape in appearance.blocks.values()))[:-1]
    parts = zip(appearance.blocks.items(), jnp.split(row, ends, axis=-1), strict=True)
    return {name: part.reshape(*row.shape[:-1], *shape) for (name, shape), part in parts}

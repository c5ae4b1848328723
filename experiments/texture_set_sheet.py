"""Draw docs/pictures/texture_set.jpg: maps of a texture set, and heads that wear them.

python experiments/texture_set_sheet.py --maps maps --out docs/pictures/texture_set.jpg
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from default_head_sheets import Studio
from PIL import Image
from texture_set.shards import TextureSet

from facejax.atomic import atomic_path
from facejax.face_model.formats.default import load_default_head
from facejax.face_model.model import FaceModel


@dataclass(frozen=True)
class Args:
    maps: Path
    """folder of make_texture_set.py"""
    out: Path
    """picture to write"""
    first: int = 0
    """map to begin with"""
    columns: int = 8
    heads: int = 3
    """rows of heads; each wears another map"""
    charts: int = 2
    """rows of maps, those of the first heads"""
    side: int = 192
    """pixels of each picture"""
    quality: int = 84
    shaped: bool = True
    """every head has a shape of its own"""


def draw_head(studio: Studio, model: FaceModel, texture: np.ndarray, number: int, shaped: bool) -> np.ndarray:
    """One head, turned to the left, to the front or to the right.

    Args:
      studio: renders it.
      model: the face model.
      texture: the map that it wears.
      number: of the head, which chooses the direction.
      shaped: give it its own shape.
    """
    identity = 0.8 * jax.random.normal(jax.random.key(number), model.identity_std.shape) * shaped
    params = studio.view(yaw=(0.0, -28.0, 0.0, 28.0)[number % 4], span=236.0, centre=(0.0, 4.0, 0.0), identity=identity)
    return studio.shot(params, jnp.asarray(texture, jnp.float32) / 255)


def main(args: Args) -> None:
    maps, model = TextureSet(args.maps), load_default_head()
    studio = Studio(model, 2 * args.side)  # reduced afterwards, since hairs are thinner than a pixel
    tiles = []
    for number in range(args.first, args.first + args.heads * args.columns):
        picture = np.clip(draw_head(studio, model, maps[number], number, args.shaped), 0, 1)
        tiles.append(Image.fromarray(np.round(255 * picture).astype(np.uint8)))
    tiles += [Image.fromarray(maps[args.first + number]) for number in range(args.charts * args.columns)]
    side = args.side
    page = Image.new("RGB", (args.columns * side, (args.heads + args.charts) * side))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, args.columns)
        page.paste(tile.resize((side, side), Image.Resampling.LANCZOS), (column * side, row * side))
    with atomic_path(args.out) as partial:
        page.save(partial, quality=args.quality)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

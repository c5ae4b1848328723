"""Draw a contact sheet of the generator's pictures: docs/pictures/synthetic.jpg.

python experiments/synthetic_sheet.py --out docs/pictures/synthetic.jpg
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro
from PIL import Image, ImageDraw

from facejax.atomic import atomic_path
from facejax.face_model.load import load_face_model
from facejax.programs import jit
from facejax.synthetic.generate import generate


@dataclass(frozen=True)
class Sheet:
    """A sheet of seeded pictures; every second one has its landmarks drawn."""

    out: Path
    columns: int = 8
    rows: int = 5
    size: int = 176
    seed: int = 0


def main(sheet: Sheet) -> None:
    model = load_face_model()
    draw = jit(lambda keys, model: jax.lax.map(lambda key: generate(key, model, size=sheet.size), keys))
    pictures = draw(jax.random.split(jax.random.key(sheet.seed), sheet.columns * sheet.rows), model)
    size = sheet.size
    canvas = Image.new("RGB", (sheet.columns * size, sheet.rows * size))
    for index, (image, points) in enumerate(zip(pictures.image, np.asarray(pictures.landmarks), strict=True)):
        tile = Image.fromarray(np.round(np.asarray(image) * 255).astype(np.uint8))
        if index % 2:
            pen = ImageDraw.Draw(tile)
            for x, y in points:
                pen.ellipse([x - 1, y - 1, x + 1, y + 1], fill=(60, 255, 60))
        row, column = divmod(index, sheet.columns)
        canvas.paste(tile, (column * size, row * size))
    with atomic_path(sheet.out) as partial:
        canvas.save(partial, quality=88)


if __name__ == "__main__":
    main(tyro.cli(Sheet))

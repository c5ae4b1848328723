"""A contact sheet of the eyes of a folder's photos, each beside the fitted head with its eyes turned.

    python experiments/gaze_sheet.py PHOTOS --out sheet.jpg

Under each pair stand the angles (yaw, pitch) of the right and the left eye in degrees; brackets mark an eye that was
not seen. The lines show where the eyes look. The head is fitted to the landmarks alone.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image, ImageDraw

import facejax
from facejax.camera import project, to_camera, transform_camera
from facejax.export.pictures import to_uint8
from facejax.face_model import FaceModel, FaceParams, gaze_direction, neutral_vertices
from facejax.face_model.gaze import find_eyeballs
from facejax.fitting import LANDMARKS
from facejax.images import read_image
from facejax.images.crop import Crop, apply_crop
from facejax.images.kinds import is_photo_name
from facejax.programs import cache_compilations

SIDE, HEIGHT = 224, 96  # pixels of one picture of the eyes
REACH = 1.7  # its width, in distances of the outer corners
LINE = 25.0  # mm
COLUMNS = 4


@dataclass(frozen=True)
class Args:
    photos: tyro.conf.Positional[Path]
    out: Path


def main(args: Args) -> None:
    cache_compilations()
    model = facejax.load_face_model()
    files = sorted(path for path in args.photos.iterdir() if is_photo_name(path.name))
    result = facejax.fit(model, files, recipe=LANDMARKS)
    params = jax.device_get(result.params)
    cells = []
    for row, index in enumerate(result.photo):
        one = jax.tree.map(lambda leaf, row=row: jnp.asarray(leaf[row]), params)
        seen = np.asarray(result.faces.gaze_seen)[row]
        cells.append(cell(model, one, read_image(files[index]), result.observed[row], seen, files[index].stem))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % COLUMNS)
    rows = [np.concatenate(cells[k : k + COLUMNS], axis=1) for k in range(0, len(cells), COLUMNS)]
    Image.fromarray(np.concatenate(rows)).save(args.out)
    print("\n".join(result.failures))


def cell(
    model: FaceModel, params: FaceParams, photo: np.ndarray, points: np.ndarray, seen: np.ndarray, name: str
) -> np.ndarray:
    eyes = points[[36, 45]]
    scale = SIDE / (REACH * np.linalg.norm(eyes[1] - eyes[0]))
    crop = Crop(np.asarray(scale, np.float32), np.asarray(SIDE / 2 - scale * points[36:48].mean(axis=0), np.float32))
    background = apply_crop(photo, crop, SIDE)[0]
    drawn, lines = _draw(model, params, background, jnp.asarray(crop.scale), jnp.asarray(crop.offset))
    tile = Image.new("RGB", (2 * SIDE, HEIGHT + 14))
    top = (SIDE - HEIGHT) // 2
    for k, picture in enumerate((background, np.asarray(drawn))):
        tile.paste(Image.fromarray(to_uint8(picture[top : top + HEIGHT])), (k * SIDE, 0))
    pen = ImageDraw.Draw(tile)
    for start, end in np.asarray(lines):
        pen.line([(x + SIDE, y - top) for x, y in (start, end)], fill=(255, 60, 60))
    angles = np.rad2deg(np.asarray(params.gaze))
    texts = [
        f"{a:+.0f} {b:+.0f}" if sure else f"({a:+.0f} {b:+.0f})" for (a, b), sure in zip(angles, seen, strict=True)
    ]
    pen.text((3, HEIGHT + 1), f"{name[:22]}   {texts[0]}   {texts[1]}", fill=(255, 255, 255))
    return np.asarray(tile)


@jax.jit
def _draw(model: FaceModel, params: FaceParams, background, scale, offset):
    """The head over the photo, and the ends of the lines of sight, pixels."""
    assert params.gaze is not None
    gaze, params = params.gaze, replace(params, camera=transform_camera(params.camera, scale, offset))
    picture = facejax.render(model, params, size=(SIDE, SIDE), background=background).color
    found = find_eyeballs(model, neutral_vertices(model, params))
    ways = gaze_direction(gaze)
    ends = [found.centre + (found.front[:, None] + reach) * ways for reach in (0.0, LINE)]
    return picture, jnp.stack([project(params.camera, to_camera(params.pose, end))[:, :2] for end in ends], axis=1)


if __name__ == "__main__":
    main(tyro.cli(Args))

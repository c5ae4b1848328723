"""Contact sheets of the default head: views, chart, regions, landmarks, expressions, random people, closeups.

    python experiments/default_head_sheets.py --out sheets

Writes one PNG per sheet. `mouthClose` is shown with `jawOpen`, since it only makes sense with it: together they give a
long face with closed lips.
"""

import argparse
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from facejax.camera import PerspectiveCamera, euler_to_quaternion, project, to_camera
from facejax.face_model import FaceModel, FaceParams, decode, neutral_params, own_albedo
from facejax.face_model.formats.default import load_default_head
from facejax.face_model.surface_landmarks import landmarks
from facejax.rendering import render, render_mesh

DISTANCE = 1200.0  # mm
PAPER = jnp.full(3, 0.13)  # background: dark, as a mouth is inside
KEY = jnp.array([2.1, 0.8, 0.8, 0.6, 0.0, 0.2, 0.3, 0.2, 0.0])  # a lamp above and to the side


class Studio:
    """Renders one model at one size; `span` is the width of the picture in mm."""

    def __init__(self, model: FaceModel, side: int):
        self.model, self.side = model, side
        camera = PerspectiveCamera(jnp.float32(1.0), jnp.full(2, side / 2))
        self.params = replace(neutral_params(model, camera), light=jnp.tile(KEY[:, None], (1, 3)))
        self.textured = jax.jit(
            lambda params, texture: render(model, params, size=(side, side), texture=texture, background=PAPER).color
        )
        self.coloured = jax.jit(self._coloured)

    def view(self, *, yaw=0.0, pitch=0.0, centre=(0.0, 8.0, 0.0), span=300.0, **coefficients) -> FaceParams:
        """Parameters that show `centre` in the middle.

        Args:
          yaw, pitch: degrees.
          centre: model space, mm.
          span: width of the picture, mm.
          coefficients: of the face, by name; the others are neutral.
        """
        rotation = euler_to_quaternion(jnp.array([pitch, yaw, 0.0]))
        turned = replace(self.params.pose, rotation=rotation, translation=jnp.zeros(3))
        shift = -to_camera(turned, jnp.asarray(centre, jnp.float32)[None])[0] - jnp.array([0.0, 0.0, DISTANCE])
        camera = replace(self.params.camera, focal=jnp.float32(self.side * DISTANCE / span))
        return replace(self.params, pose=replace(turned, translation=shift), camera=camera, **coefficients)

    def shot(self, params: FaceParams, texture) -> np.ndarray:
        return np.asarray(self.textured(params, texture))

    def paint(self, params: FaceParams, colours) -> np.ndarray:
        """Draw with one colour per vertex."""
        return np.asarray(self.coloured(params, colours))

    def _coloured(self, params: FaceParams, colours):
        vertices = to_camera(params.pose, decode(self.model, params))
        return render_mesh(
            vertices,
            self.model.faces,
            params.camera,
            size=(self.side, self.side),
            vertex_colors=colours,
            light=params.light,
            background=PAPER,
        ).color

    def dots(self, picture: np.ndarray, params: FaceParams, points, colour) -> np.ndarray:
        """Draw model-space points on a picture.

        Args:
          picture: to draw on.
          params: of the picture.
          points: model space, mm.
          colour: of the dots.
        """
        image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
        draw = ImageDraw.Draw(image)
        for x, y, _ in np.asarray(project(params.camera, to_camera(params.pose, points))):
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
        return np.asarray(image) / 255.0


def sheet(path: Path, pictures: Iterable[tuple[str, np.ndarray]], columns: int) -> None:
    """Write labelled pictures of one size in rows."""
    tiles = []
    for label, picture in pictures:
        image = Image.fromarray((np.clip(picture, 0, 1) * 255).astype(np.uint8))
        ImageDraw.Draw(image).text((5, 3), label, fill=(255, 255, 255), font=ImageFont.load_default(image.width // 13))
        tiles.append(np.asarray(image))
    side = tiles[0].shape[0]
    rows = -(-len(tiles) // columns)
    page = np.full((rows * side, columns * side, 3), 33, np.uint8)  # the paper of the pictures
    for k, tile in enumerate(tiles):
        row, column = divmod(k, columns)
        page[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    Image.fromarray(page).save(path)


def checkerboard(side: int = 1024, cells: int = 64) -> np.ndarray:
    """Squares whose colour shows their place in the chart."""
    v, u = np.indices((side, side)) / side
    odd = (np.floor(u * cells) + np.floor(v * cells)) % 2
    colours = np.stack([0.35 + 0.6 * u, 0.9 - 0.3 * odd, 0.35 + 0.6 * v], -1)
    return (colours * (0.45 + 0.55 * odd[..., None])).astype(np.float32)


def clay(model: FaceModel) -> jnp.ndarray:
    """Grey skin and white eyes, which show shape without colour."""
    white = model.regions["eyeballs"][:, None]
    return white * 0.85 + (1 - white) * jnp.array([0.72, 0.62, 0.56])


def expressions(model: FaceModel, studio: Studio) -> Iterable[tuple[str, np.ndarray]]:
    names = model.expression_names
    for k, name in enumerate(tqdm(names, desc="expressions")):
        weights = jnp.zeros(len(names)).at[k].set(1.0)
        if name == "mouthClose":
            name, weights = "mouthClose + jawOpen", weights.at[names.index("jawOpen")].set(1.0)
        yield name, studio.shot(studio.view(yaw=20, centre=(0, 0, 0), span=230, expression=weights), None)


def people(model: FaceModel, studio: Studio, count: int, seed: int) -> Iterable[tuple[str, np.ndarray]]:
    """Random people, each from the front and from the side, with empty labels.

    Args:
      model: the face model.
      studio: renders them.
      count: number of people.
      seed: of the draws.
    """
    for key in jax.random.split(jax.random.key(seed), count):
        shape, colour = jax.random.split(key)
        identity = jax.random.normal(shape, model.identity_std.shape)
        albedo = jax.random.normal(colour, (own_albedo(model).count,))
        for yaw in (0, 65):
            yield "", studio.shot(studio.view(yaw=yaw, identity=identity, appearance={"albedo": albedo}), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("out/default_head"))
    parser.add_argument("--side", type=int, default=320, help="pixels along a side of each picture")
    parser.add_argument("--seed", type=int, default=0, help="of the random people")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    model = load_default_head()
    studio = Studio(model, args.side)
    grey, checks = clay(model), jnp.asarray(checkerboard())
    around = [{"yaw": yaw} for yaw in (0, 40, 90, -60, 150)] + [{"pitch": -25}]

    def row(paint, what):
        return [(what, paint(studio.view(**where))) for where in around]

    sheet(
        args.out / "views.png",
        row(lambda p: studio.paint(p, grey), "shape")
        + row(lambda p: studio.shot(p, None), "albedo")
        + row(lambda p: studio.shot(p, checks), "chart"),
        columns=len(around),
    )
    closeups = {"eyes": (0, 33, 90, 120), "lips": (0, -33, 100, 80), "nose": (0, 5, 110, 70), "ear": (80, 9, 0, 90)}
    sheet(
        args.out / "closeups.png",
        [
            (name, studio.paint(studio.view(centre=at[:3], span=at[3], yaw=yaw, pitch=pitch), grey))
            for name, at in closeups.items()
            for yaw, pitch in ([(0, 0), (35, 0), (0, -30)] if name != "ear" else [(-85, 0), (-45, 0), (-130, 0)])
        ],
        columns=6,
    )
    marked = []
    for yaw in (0, 30, 60, 90, -60):
        params = studio.view(yaw=yaw)
        points = landmarks(model, model.mean, params.pose.rotation)
        picture = studio.dots(studio.paint(params, grey), params, landmarks(model, model.mean), (60, 90, 255))
        marked.append((f"yaw {yaw}: moving red, static blue", studio.dots(picture, params, points, (255, 40, 40))))
    sheet(args.out / "landmarks.png", marked, columns=5)
    masks = [
        (name, studio.paint(studio.view(yaw=30), 0.15 + 0.8 * mask[:, None] * jnp.array([1.0, 0.5, 0.3])))
        for name, mask in model.regions.items()
    ]
    sheet(args.out / "regions.png", masks, columns=5)
    sheet(args.out / "expressions.png", expressions(model, studio), columns=9)
    sheet(args.out / "people.png", people(model, studio, 15, args.seed), columns=6)


if __name__ == "__main__":
    main()

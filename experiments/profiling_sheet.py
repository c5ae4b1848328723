"""A photograph turned to larger yaws (face profiling, `facejax.synthetic.profiling`), in one row.

    python experiments/profiling_sheet.py --photo FILE --landmarks FILE --out sheet.png

`--landmarks` holds the photograph's 68 points, see `facejax.images.read_landmarks`. The last picture shows the points
turned with it.
"""

from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tyro

from facejax.export.pictures import draw_landmarks, panels, write_png
from facejax.face_model.load import load_face_model
from facejax.fitting import LINEAR, fit_landmarks
from facejax.images import apply_crop, face_crop, read_image, read_landmarks
from facejax.programs import jit
from facejax.synthetic.profiling import turn_photo


@dataclass
class Args:
    photo: Path
    """photograph of a face that looks about at the viewer"""
    landmarks: Path
    """its 68 points"""
    out: Path
    """PNG to write"""
    degrees: tuple[float, ...] = (0.0, 20.0, 40.0, 60.0, 80.0)
    """turns; positive ones to the viewer's right"""
    size: int = 224
    """side of each picture, pixels"""


def main(args: Args) -> None:
    model = load_face_model()
    photo, points = read_image(args.photo), read_landmarks(args.landmarks)
    crop = face_crop(points, args.size, margin=0.6, lift=0.15)
    image, marks = jnp.asarray(apply_crop(photo, crop, args.size)[0]), jnp.asarray(crop.apply_points(points))
    centre = jnp.full(2, args.size / 2.0)
    fit = jit(lambda model, points: fit_landmarks(model, points, principal=centre, priors=LINEAR.priors).params)
    params, turn = fit(model, marks), jit(turn_photo)
    turned = [turn(model, params, image, jnp.float32(angle), points=marks) for angle in args.degrees]
    pictures = [np.asarray(one.image) for one in turned]
    pictures.append(draw_landmarks(pictures[-1], np.asarray(turned[-1].landmarks)))
    names = [f"turned by {angle:g}" for angle in args.degrees]
    write_png(args.out, panels(pictures, [*names, "its points"]))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

"""Random people in random light: identities, expressions and poses of the default head, maps of the texture decoder.

python experiments/gallery_sheet.py --out docs/pictures/gallery.jpg
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image

from facejax.camera import PerspectiveCamera, axis_angle_to_quaternion, euler_to_quaternion, quaternion_to_matrix
from facejax.export.pictures import to_uint8
from facejax.face_model import FaceParams, neutral_params
from facejax.face_model.load import load_face_model
from facejax.lighting import rotate_light, uniform_light
from facejax.programs import jit
from facejax.rendering import render
from facejax.texture import decode_texture, load_decoder, sample_latents

SHOWN = ("jawOpen", "mouthSmileLeft", "mouthSmileRight", "browInnerUpLeft", "browInnerUpRight", "eyeBlinkLeft")
DISTANCE = 900.0  # mm
PAPER = jnp.array([0.16, 0.17, 0.2])


@dataclass(frozen=True)
class Args:
    out: Path
    columns: int = 6
    rows: int = 2
    side: int = 240
    """pixels of one head"""
    seed: int = 4


def main(args: Args) -> None:
    model, decoder = load_face_model(), load_decoder()
    camera = PerspectiveCamera(jnp.float32(2.9 * args.side), jnp.full(2, args.side / 2))
    neutral = neutral_params(model, camera)
    middle = jnp.asarray((np.asarray(model.mean).min(0) + np.asarray(model.mean).max(0)) / 2)
    moved = jnp.array([name in SHOWN for name in model.expression_names])

    def person(key: jax.Array) -> FaceParams:
        keys = jax.random.split(key, 4)
        angles = jax.random.uniform(keys[0], (3,), minval=-1.0) * jnp.array([12.0, 45.0, 6.0])  # degrees
        rotation = euler_to_quaternion(angles)
        shift = jnp.array([0.0, 0.0, -DISTANCE]) - jnp.array([0.0, 1.0, 0.0]) * middle
        lamp = jnp.zeros((9, 3)).at[2].set(1.5) + 0.45 * uniform_light()
        about = jnp.array([0.0, 1.0, 0.0]) * jax.random.uniform(keys[1], minval=-1.3, maxval=1.3)
        turn = quaternion_to_matrix(axis_angle_to_quaternion(about))
        warmth = 1 + 0.06 * jax.random.normal(keys[2]) * jnp.array([1.0, 0.0, -1.0])
        weights = jnp.where(moved, jax.random.uniform(keys[3], moved.shape) ** 2, 0.0)
        return replace(
            neutral,
            identity=jax.random.normal(keys[3], neutral.identity.shape),
            expression=weights,
            pose=replace(neutral.pose, rotation=rotation, translation=shift),
            light=rotate_light(lamp, turn) * warmth,
        )

    def draw(key: jax.Array):
        face, drawn = jax.random.split(key)
        texture = decode_texture(decoder, sample_latents(decoder, drawn, 1, psi=1.0)[0], linear=False)
        params = person(face)
        return render(model, params, size=(args.side, args.side), texture=texture, background=PAPER).color

    keys = jax.random.split(jax.random.key(args.seed), args.rows * args.columns)
    pictures = np.asarray(jit(lambda keys: jax.lax.map(draw, keys))(keys))
    rows = pictures.reshape(args.rows, args.columns, args.side, args.side, 3)
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in rows])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_uint8(sheet)).save(args.out, quality=90)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

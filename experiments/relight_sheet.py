"""The default head under the five lights of `relight_strip`: above as its albedo alone, below as a material.

python experiments/relight_sheet.py --out docs/pictures/relight.jpg

The material is made up, but plausible: oilier and smoother on nose, forehead and lips than on the cheeks, with pores,
and wet eyes.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from PIL import Image
from scipy import ndimage

from facejax.appearance.baking import bake_vertex_colors
from facejax.camera import PerspectiveCamera
from facejax.export.pictures import to_uint8
from facejax.face_model import FaceModel, neutral_params
from facejax.face_model.load import load_face_model
from facejax.material import Material, relight_strip
from facejax.material.normals import normals_from_height, surface_gradients
from facejax.texture import decode_texture, load_decoder, sample_latents

PORES = 0.03  # mm, the depth of the relief


@dataclass(frozen=True)
class Args:
    out: Path
    side: int = 320
    """pixels of one head"""
    seed: int = 11


def main(args: Args) -> None:
    model, decoder = load_face_model(), load_decoder()
    albedo = decode_texture(decoder, sample_latents(decoder, jax.random.key(args.seed), 1, psi=0.7)[0], linear=False)
    skin = made_up(model, jnp.clip(albedo, 0.0, 1.0), args.seed)
    plain = replace(
        skin, normal=jnp.zeros_like(skin.normal).at[..., 2].set(1.0), specular=jnp.zeros_like(skin.specular)
    )
    face = neutral_params(model, PerspectiveCamera(jnp.float32(1000.0), jnp.zeros(2)))
    strips = [relight_strip(model, face, material, size=args.side) for material in (plain, skin)]
    args.out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(to_uint8(np.concatenate([np.asarray(strip) for strip in strips]))).save(args.out, quality=90)


def made_up(model: FaceModel, albedo: Float[Array, "T T 3"], seed: int) -> Material:
    side = albedo.shape[0]
    names = ("nose", "forehead", "lips", "eyeballs")
    regions = np.stack([np.asarray(model.regions[name]) for name in names], axis=1)
    nose, forehead, lips, eyes = regions.T
    shine = np.maximum(0.8 * nose, np.maximum(0.5 * forehead, 0.7 * lips)) * (1 - eyes)
    of_vertices = np.stack([0.5 - 0.14 * shine - 0.4 * eyes, 0.6 + 0.4 * shine + 0.4 * eyes, 1 - eyes], axis=1)
    uv, uv_faces = np.asarray(model.uv), np.asarray(model.topology.uv_faces)
    maps = bake_vertex_colors(of_vertices.astype(np.float32), np.asarray(model.faces), uv, uv_faces, side)
    roughness, specular, skin = (jnp.asarray(maps[..., k]) for k in range(3))

    along_u, along_v = surface_gradients(model.mean, model.faces, model.uv, model.topology.uv_faces)
    texel = jnp.stack([jnp.median(jnp.linalg.norm(along, axis=1)) / side for along in (along_u, along_v)])
    noise = np.random.default_rng(seed).normal(size=(side, side))
    width = 0.35 / float(texel.mean())  # texels
    relief = ndimage.gaussian_filter(noise, width, mode="wrap") - ndimage.gaussian_filter(noise, 3 * width, mode="wrap")
    height = PORES * jnp.asarray(relief / relief.std(), jnp.float32) * skin
    return Material(albedo, normals_from_height(height, texel), roughness, specular, jnp.ones_like(roughness))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

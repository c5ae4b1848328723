"""Measure a texture set: how evenly lit its maps are, and how much its people differ.

    python experiments/texture_set_report.py --maps maps

Prints the table of docs/texture_set.md: BS error and spread as in FFHQ-UV, section 5, beside random maps of the head's
linear albedo. The spread needs an identity vector a map; without a face recognition network the appearance itself
serves: the face's colours at 64 x 64. Other FFHQ-UV style maps (.png) can be measured beside the set with --others.
"""

from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from default_head.skins import rasterise
from PIL import Image
from texture_set.pyramid import halve
from texture_set.shards import TextureSet
from tqdm import tqdm

from facejax.face_model import own_albedo
from facejax.face_model.formats.default import load_default_head
from facejax.texture.metrics import KERNEL, brightness_symmetry_error, identity_spread
from facejax.unwrap.masks import scaled_kernel

SMALL = 64  # texels along a side of an appearance


@dataclass(frozen=True)
class Args:
    maps: Path
    """folder of make_texture_set.py"""
    count: int = 500
    """maps that are measured"""
    others: tuple[Path, ...] = ()
    """single maps (.png) whose BS error is printed too"""


def even_light(maps: np.ndarray) -> np.ndarray:
    """(N,) BS errors of uint8 maps (N, T, T, 3)."""
    error = jax.jit(brightness_symmetry_error, static_argnames=("kernel",))
    kernel = scaled_kernel(KERNEL, maps.shape[1])
    return np.array([error(one.astype(np.float32) / 255, kernel=kernel) for one in tqdm(maps, desc="BS error")])


def appearance(maps: np.ndarray) -> np.ndarray:
    """(N, SMALL, SMALL, 3) display values in [0, 1]."""
    small = maps.astype(np.float32) / 255
    while small.shape[1] > SMALL:
        small = halve(small)
    return small


def linear_albedo(count: int) -> np.ndarray:
    """(N, T, T, 3) uint8: random maps of the shipped head's linear model."""
    albedo = own_albedo(load_default_head())
    weights = np.random.default_rng(0).standard_normal((count, len(albedo.std))) * np.asarray(albedo.std)
    maps = np.asarray(albedo.mean) + np.einsum("na,a...->n...", weights, np.asarray(albedo.basis))
    return np.round(255 * np.clip(maps, 0, 1)).astype(np.uint8)


def face_texels() -> np.ndarray:
    """(SMALL, SMALL) bool: the middle of the face."""
    model = load_default_head()
    uv = np.asarray(model.uv, np.float64)[np.asarray(model.topology.uv_faces)]
    mask = np.asarray(model.regions["face_tight"], np.float64)[np.asarray(model.topology.faces)]
    return rasterise(uv, (SMALL, SMALL)).interpolate(mask[..., None])[..., 0] > 0.5


def report(name: str, maps: np.ndarray, face: np.ndarray, reference: float | None) -> float:
    """Print one row.

    Args:
      name: of the row.
      maps: (N, T, T, 3) bytes.
      face: mask of the face's texels.
      reference: spread that the row's is compared to; None for the first row.

    Returns:
      The spread.
    """
    errors = even_light(maps)
    faces = appearance(maps)[:, face]  # (N, texels, 3)
    vectors = faces.reshape(len(maps), -1)
    spread = float(identity_spread(jnp.asarray(vectors)))
    relative = faces - faces.mean(axis=1, keepdims=True)
    structure = float(identity_spread(jnp.asarray(relative.reshape(len(maps), -1))))
    squares = np.sum(vectors**2, axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * vectors @ vectors.T, 0) / vectors.shape[1])
    nearest = np.sort(apart + 1e9 * np.eye(len(maps)), axis=1)[:, 0]
    share = "" if reference is None else f" ({100 * spread / reference:.0f} %)"
    print(
        f"{name}: {len(maps)} maps, BS error {errors.mean():.2f} (95 % below {np.percentile(errors, 95):.2f}), "
        f"spread {spread:.4f}{share}, without the mean colour {structure:.4f}, "
        f"nearest neighbour {255 * nearest.min():.1f} to {255 * nearest.max():.1f} grey levels"
    )
    return spread


def main(args: Args) -> None:
    maps = TextureSet(args.maps)
    count = min(args.count, len(maps))
    face = face_texels()
    reference = report("linear albedo", linear_albedo(count), face, None)
    report("set", maps.take(np.arange(count)), face, reference)
    for path in args.others:
        image = np.asarray(Image.open(path).convert("RGB"))[None]
        print(f"{path.name}: BS error {even_light(image)[0]:.2f}")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

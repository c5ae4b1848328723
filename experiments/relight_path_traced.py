"""Skins found in one light, drawn in another: fits of path-traced heads held to the other photograph of the same head.

    facejax fit TRUTH/*.png --out FITS --files mesh maps params
    python experiments/relight_path_traced.py FITS TRUTH [--csv FILE]

The cases of TRUTH that have the same head come in pairs of two lights and yaws. For each case A with another B, B's
fitted face is drawn three times with B's pose, camera and light:

    own      with the maps found in B itself: what the fit can do at best
    maps     with the maps found in A: what is left is light that A's maps hold, and what A did not show
    face     with the identity found in A too

Each is compared with photograph B over the face (without eyes and mouth), in PSNR of display values. Albedo and light
share one unknown brightness for each colour, so the second number of each pair is after one gain a channel in linear
light. A folder without maps is drawn with its albedo alone. The light of a face's maps is the one in its summary.
"""

import csv
import json
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from PIL import Image
from tqdm import tqdm

from facejax import load_face_model
from facejax.atomic import atomic_path
from facejax.export import load_params
from facejax.export.material import has_maps, load_material
from facejax.face_model import FaceModel, FaceParams
from facejax.lighting import linear_to_srgb, srgb_to_linear
from facejax.material import Material, render_material
from facejax.programs import jit
from facejax.rendering import interpolate_corners

KINDS = ("own", "maps", "face")


@dataclass(frozen=True)
class Args:
    fits: tyro.conf.Positional[Path]
    """the --out of `facejax fit TRUTH/*.png`"""
    truth: tyro.conf.Positional[Path]
    """folder of the path-traced heads"""
    csv: Path | None = None
    """write the rows here too"""


def main(args: Args) -> None:
    model = load_face_model()
    region = np.asarray(model.regions["face"] * (1 - np.maximum(model.regions["eyes"], model.regions["mouth"])))
    heads = defaultdict(list)
    for photo in sorted(args.truth.glob("*.png")):
        if (args.fits / photo.stem / "params.npz").is_file():
            heads[photo.stem.rsplit("_", 2)[0]].append(photo)
    pairs = [pair for photos in heads.values() for pair in permutations(photos, 2)]
    if not pairs:
        raise SystemExit(
            f"{args.fits} has no two fits of one head of {args.truth}: run facejax fit on all its pictures"
        )
    rows = [compare(model, jnp.asarray(region)[:, None], args.fits, a, b) for a, b in tqdm(pairs)]
    for row in rows:
        print(f"{row['maps of']:32s} in {row['light of']:32s}", "  ".join(shown(row, kind) for kind in KINDS))
    mean = {key: np.mean([row[key] for row in rows]) for key in rows[0] if "dB" in key}
    print(f"mean of {len(rows)}".ljust(68), "  ".join(shown(mean, kind) for kind in KINDS))
    if args.csv is not None:
        with atomic_path(args.csv) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)


def shown(row: dict, kind: str) -> str:
    return f"{kind} {row[f'{kind}, dB']:5.2f} / {row[f'{kind} gained, dB']:5.2f} dB"


def compare(model: FaceModel, region: Float[Array, "V 1"], fits: Path, a: Path, b: Path) -> dict:
    """One row: maps (and identity) of A in the light of B, against photograph B."""
    (of_a, maps_a), (of_b, maps_b) = (read_face(fits / case.stem) for case in (a, b))
    photo = np.asarray(Image.open(b).convert("RGB"), np.float32) / 255
    row: dict = {"maps of": a.stem, "light of": b.stem}
    faces = {
        "own": (of_b, maps_b),
        "maps": (of_b, maps_a),
        "face": (replace(of_b, identity=of_a.identity), maps_a),
    }
    for kind, (face, maps) in faces.items():
        picture, mask = (np.asarray(x) for x in draw(model, face, maps, region, size=photo.shape[:2]))
        seen, true = np.clip(picture[mask > 0.5], 0, 1), photo[mask > 0.5]
        light, wanted = srgb_to_linear(seen), srgb_to_linear(true)
        gain = (light * wanted).sum(axis=0) / np.maximum((light * light).sum(axis=0), 1e-9)
        row[f"{kind}, dB"] = psnr(seen, true)
        row[f"{kind} gained, dB"] = psnr(np.clip(linear_to_srgb(gain * light), 0, 1), true)
    return row


@partial(jit, static_argnames="size")
def draw(
    model: FaceModel, params: FaceParams, material: Material, region: Float[Array, "V 1"], *, size: tuple[int, int]
) -> tuple[Float[Array, "H W 3"], Float[Array, "H W"]]:
    """The picture, and the share of the compared region at each pixel."""
    drawn = render_material(model, replace(params, appearance={}), material, size=size, edges=False)
    return drawn.color, interpolate_corners(region, model.faces, drawn.triangle, drawn.barycentric)[..., 0]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(1 / max(np.mean((a - b) ** 2), 1e-10)))


def read_face(folder: Path) -> tuple[FaceParams, Material]:
    """A fitted face with the light that was solved for its maps; without maps, its albedo and the fit's own light."""
    params = load_params(folder / "params.npz").params
    if has_maps(folder):
        light = json.loads((folder / "summary.json").read_text())["maps"]["light"]
        return replace(params, light=jnp.asarray(light, jnp.float32)), as_arrays(load_material(folder)[0])
    albedo = np.asarray(Image.open(folder / "albedo.png").convert("RGB"), np.float32) / 255
    one = np.ones(albedo.shape[:2])
    return params, as_arrays(Material(albedo, one[..., None] * np.array([0.0, 0.0, 1.0]), one, 0 * one, one))  # type: ignore[arg-type]


def as_arrays(material: Material) -> Material:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), material)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

"""What the dense network's mask, points and normals bring to a fit: meshes of a folder of photos, variant by variant.

    python experiments/ablate_sights.py PHOTOS --out DIR [--recipe linear] [--variants none mask points]

DIR/<variant>/<photo>/ gets mesh.obj and albedo.png, to be held to the truth of the photos.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import jax
import numpy as np
import tyro

import facejax
from facejax.export import write_png
from facejax.export.obj import write_obj
from facejax.face_model import decode
from facejax.fitting import RECIPES, Recipe
from facejax.images.kinds import is_photo_name


@dataclass(frozen=True)
class Variant:
    """Changes of a recipe: its networks, the points' weight in the landmark fit, and weights in stages that move the
    shape."""

    seers: tuple[str, ...] = ("dense",)
    points: float = 0.0
    terms: tuple[tuple[str, float], ...] = ()


VARIANTS = {
    "none": Variant(seers=()),
    "mask": Variant(),
    "points": Variant(points=50.0),
    "stage_points": Variant(terms=(("surface_points", 200.0),)),
    "normals": Variant(terms=(("seen_normals", 1.0),)),
    "all": Variant(points=50.0, terms=(("surface_points", 200.0), ("seen_normals", 1.0))),
    "mesh": Variant(seers=("face_mesh",), points=25.0),
}


@dataclass
class Args:
    photos: tyro.conf.Positional[Path]
    """folder of photos"""
    out: Path
    recipe: str = "linear"
    variants: tuple[str, ...] = tuple(VARIANTS)


def changed(recipe: Recipe, variant: Variant) -> Recipe:
    """The recipe of a variant. Its own points and terms of the networks are taken out first."""
    own = {"surface_points", "seen_normals"}
    stages = []
    for stage in recipe.stages:
        kept = tuple((name, weight) for name, weight in stage.weights if name not in own)
        shaped = "identity" in stage.moves
        stages.append(replace(stage, weights=kept + (variant.terms if shaped else ())))
    priors = replace(recipe.priors, points=variant.points)
    return replace(recipe, stages=tuple(stages), seers=variant.seers, priors=priors)


def main(args: Args) -> None:
    photos = sorted(path for path in args.photos.iterdir() if is_photo_name(path.name))
    model = facejax.load_face_model()
    for name in args.variants:
        recipe = changed(RECIPES[args.recipe], VARIANTS[name])
        result = facejax.fit(model, [str(photo) for photo in photos], recipe=recipe)
        for row, k in enumerate(result.photo):
            params = jax.tree.map(lambda leaf, row=row: np.asarray(leaf)[row], result.params)
            folder = args.out / name / photos[k].stem
            folder.mkdir(parents=True, exist_ok=True)
            shape = np.asarray(decode(model, params))
            write_obj(folder / "mesh.obj", shape, model.faces, uv=model.uv, uv_faces=model.topology.uv_faces)
            albedo = result.appearance.decode(params.appearance)
            assert albedo is not None
            write_png(folder / "albedo.png", np.clip(np.asarray(albedo), 0, 1))
        print(f"{name}: {len(result.photo)} faces, median {np.median(result.faces.psnr_face):.1f} dB", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

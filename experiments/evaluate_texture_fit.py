"""How well fits with a texture decoder reproduce photographs, compared to the linear albedo from the same start.

    python experiments/evaluate_texture_fit.py --data DATA --out OUT --recipe NAME [NAME ...] [--decoder DIR]

`--data` holds photos/ (those with 68 points are used), aflw2000/ and, for the held-out views, ffhquv_sample/. For each
face and recipe: PSNR inside the rendered face, BS error (FFHQ-UV, Bai et al., CVPR 2023, section 4.2) of the albedo map
and of the photograph unwrapped by the fitted geometry, both over the texels that are seen on both sides, and landmark
NME after every stage. The held-out views are one person from front, left and right: the front is fitted, and the same
face is drawn into the others with only its pose aligned to the regressor's landmarks there.

Writes OUT/table.md, OUT/table.json and OUT/sheet.jpg (look at it: a number that improves while the face gets uglier is
a bug): the photograph, fit and albedo map of every recipe, and the unwrapped photograph.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from texture_fit.faces import Fitted, fit_subjects, linear_like, read_subjects
from texture_fit.side_views import VIEWS, read_views, side_views
from texture_fit.tables import caption, markdown, mean, write_sheet
from tqdm import tqdm

from facejax.export import versions, write_summary, write_text
from facejax.face_model.load import load_face_model
from facejax.fitting import RECIPES, Ingredients, Recipe
from facejax.ingredients import ingredients_for
from facejax.programs import cache_compilations

SIDE = 192  # pixels of the sheet's pictures


@dataclass(frozen=True)
class Args:
    data: Path
    out: Path
    recipe: tuple[str, ...] = ("linear",)
    """names in facejax.fitting; the linear recipe always comes along"""
    decoder: Path | None = None
    """folder of the texture decoder (default: the shipped one)"""
    aflw: int = 30
    """images of AFLW2000-3D, the first ones by name"""
    limit: int | None = None
    """only the first photographs and images of each kind"""
    batch: int = 8
    """faces that are fitted at once"""
    lpips: tuple[Path, ...] = ()
    """weights of LPIPS for the perceptual term, one file or two (default: the shipped regressor's encoder)"""
    arcface: Path | None = None
    """weights of ArcFace for the recognition term"""
    model: str = "default"


@dataclass(frozen=True)
class Run:
    """A recipe, and its results on the faces and on the held-out views."""

    recipe: Recipe
    base: int  # index of the linear run from the same start; its own index for linear ones
    ingredients: Ingredients = field(default_factory=Ingredients)
    faces: list[Fitted] = field(default_factory=list)
    views: list[tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=list)


def main(args: Args) -> None:
    cache_compilations()
    model = load_face_model(args.model)
    runs = plan(args)
    subjects = read_subjects(args.data, aflw=args.aflw, limit=args.limit)
    views = read_views(args.data / "ffhquv_sample")
    with tqdm(total=len(runs) * len(subjects), unit="face") as bar:
        for run in runs:
            bar.set_description(run.recipe.name)
            run.faces.extend(
                fit_subjects(model, subjects, run.recipe, run.ingredients, batch=args.batch, progress=bar.update)
            )
            if views is not None:
                run.views.append(side_views(model, views, run.recipe, run.ingredients))
    names = label(runs)
    write_summary(args.out / "table.json", report(runs, names) | {"versions": versions()})
    text = tables(runs, names)
    write_text(args.out / "table.md", text)
    draw(args.out / "sheet.jpg", runs, names)
    print(text)


def plan(args: Args) -> list[Run]:
    """The recipes, each after the linear one with the same start. Anything missing is reported before any fit."""
    runs: list[Run] = []
    for name in dict.fromkeys(args.recipe):
        recipe = find_recipe(name)
        base = linear_like(recipe)
        place = next((k for k, run in enumerate(runs) if run.recipe == base), len(runs))
        if place == len(runs):
            runs.append(Run(base, place))
        if recipe != base:
            ingredients = ingredients_for(recipe, args.decoder or "default", lpips=args.lpips, arcface=args.arcface)
            runs.append(Run(recipe, place, ingredients))
    return runs


def find_recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise ValueError(f"--recipe {name}: not one of {', '.join(RECIPES)}")
    return RECIPES[name]


def label(runs: list[Run]) -> list[str]:
    """Names of the runs; a second linear one is named after the recipe whose start it has."""
    followers = [
        [other.recipe.name for other in runs if other.base == k and other is not run] for k, run in enumerate(runs)
    ]
    linear = sum(run.base == k for k, run in enumerate(runs))
    return [
        f"linear ({', '.join(followers[k])})" if run.base == k and linear > 1 and followers[k] else run.recipe.name
        for k, run in enumerate(runs)
    ]


def report(runs: list[Run], names: list[str]) -> dict[str, Any]:
    return {
        "recipes": {
            name: {
                "compared_with": names[run.base],
                "summary": {part: summary(runs, run, part) for part in parts(run)},
                "faces": [
                    one.numbers | {"gain": one.numbers["psnr"] - runs[run.base].faces[k].numbers["psnr"]}
                    for k, one in enumerate(run.faces)
                ],
                "held_out_views": run.views[0][0] if run.views else None,
            }
            for name, run in zip(names, runs, strict=True)
        }
    }


def parts(run: Run) -> list[str]:
    sets = list(dict.fromkeys(one.numbers["set"] for one in run.faces))
    return [*sets, "all"] if len(sets) > 1 else sets


def summary(runs: list[Run], run: Run, part: str) -> dict[str, Any]:
    """Means over one set of faces, or over all."""
    rows = [k for k, one in enumerate(run.faces) if part in ("all", one.numbers["set"])]
    mine = [run.faces[k].numbers for k in rows]
    base = [runs[run.base].faces[k].numbers for k in rows]
    stages = list(mine[0]["nme"])
    lower = [one["bs_albedo"] < one["bs_photo"] for one in mine if one["bs_photo"] is not None]
    return {
        "faces": len(mine),
        "psnr": mean([one["psnr"] for one in mine]),
        "psnr_least": min(one["psnr"] for one in mine),
        "gain": mean([one["psnr"] - other["psnr"] for one, other in zip(mine, base, strict=True)]),
        "bs_photo": mean([one["bs_photo"] for one in mine]),
        "bs_albedo": mean([one["bs_albedo"] for one in mine]),
        "bs_faces": len(lower),
        "bs_lower": int(sum(lower)),
        "nme": {stage: mean([one["nme"][stage] for one in mine]) for stage in stages},
        "nme_worse": int(sum(one["nme"][stages[-1]] > one["nme"][stages[0]] for one in mine)),
        "finite": int(sum(one["finite"] for one in mine)),
    }


def tables(runs: list[Run], names: list[str]) -> str:
    """The means, then every face, then the held-out views."""
    head = ["recipe", "faces", "n", "PSNR, dB", "least", "over linear", "BS photo", "BS albedo", "lower in"]
    head += ["NME % after each stage", "worse than landmarks alone"]
    rows = []
    for name, run in zip(names, runs, strict=True):
        for part in parts(run):
            s = summary(runs, run, part)
            lower, worse = f"{s['bs_lower']} of {s['bs_faces']}", f"{s['nme_worse']} of {s['faces']}"
            numbers = [s[key] for key in ("faces", "psnr", "psnr_least", "gain", "bs_photo", "bs_albedo")]
            rows.append([name, part, *numbers, lower, chain(s["nme"]), worse])
    text = markdown(head, rows)
    for name, run in zip(names, runs, strict=True):
        text += f"\n{name}, face by face\n\n"
        text += markdown(["face", "PSNR, dB", "over linear", "BS photo", "BS albedo", "NME %"], by_face(runs, run))
    if runs[0].views:
        head = ["held-out views", "front (fitted)"]
        head += [f"{view}: {what}" for view in VIEWS for what in ("PSNR, dB", "with its own light", "NME %")]
        rows = [[name, *flat(run.views[0][0])] for name, run in zip(names, runs, strict=True)]
        rows += [[f"{name}, maps", *maps_flat(run.views[0][0])] for name, run in zip(names, runs, strict=True)]
        text += "\n" + markdown(head, rows)
    return text


def by_face(runs: list[Run], run: Run) -> list[list[Any]]:
    rows = []
    for one, other in zip(run.faces, runs[run.base].faces, strict=True):
        n = one.numbers
        name = n["name"] if n["finite"] else f"{n['name']} (held)"
        rows.append(
            [name, n["psnr"], n["psnr"] - other.numbers["psnr"], n["bs_photo"], n["bs_albedo"], chain(n["nme"])]
        )
    return rows


def chain(nme: dict[str, float]) -> str:
    return ", ".join(f"{stage} {value:.2f}" for stage, value in nme.items())


def flat(views: dict[str, Any]) -> list[float]:
    return [views["front"], *(views[view][key] for view in VIEWS for key in ("psnr", "psnr_own_light", "landmark_nme"))]


def maps_flat(views: dict[str, Any]) -> list[Any]:
    """The row of the skin's maps; landmarks are the same."""
    known = [("maps front", None), *((f"maps {view}", key) for view in VIEWS for key in ("psnr", "psnr_own_light", ""))]
    found = [views.get(name) if key is None else views.get(name, {}).get(key, "") for name, key in known]
    return ["" if one is None else float(one) if one != "" else "" for one in found]


def draw(path: Path, runs: list[Run], names: list[str]) -> None:
    """One row per face: the photograph, fit and albedo of every recipe, and the photograph unwrapped by the last one;
    then one row per held-out view.
    """
    cells, blank = [], np.zeros((SIDE, SIDE, 3), np.uint8)
    for k, first in enumerate(runs[0].faces):
        cells.append(caption(first.photo, first.numbers["name"], SIDE))
        for name, run in zip(names, runs, strict=True):
            one = run.faces[k]
            cells.append(caption(one.drawn, f"{name} {one.numbers['psnr']:.1f} dB", SIDE))
            cells.append(caption(one.albedo, "", SIDE))
        cells.append(caption(runs[-1].faces[k].unwrapped, "unwrapped", SIDE))
    for view in ("front", *VIEWS) if runs[0].views else ():
        cells.append(caption(runs[0].views[0][1][view][0], view, SIDE))
        for name, run in zip(names, runs, strict=True):
            cells += [caption(run.views[0][1][view][1], name, SIDE), blank]
        cells.append(blank)
    write_sheet(path, cells, 2 + 2 * len(runs))


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")

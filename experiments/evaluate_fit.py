"""How well the fit reproduces annotated photographs: landmarks on AFLW2000-3D, landmarks and pixels on portraits.

    python experiments/evaluate_fit.py --data DIR --out DIR [--which landmarks|photos|both]

`--data` holds aflw2000/aflw2000_dev.npz (68 points per photograph, 1-based) and photos/index.json with photographs and
.npy landmarks (0-based pixel centres). Prints a table; writes fit.json and, for the photographs, the files of every
fit, whose overlay.png should be looked at: a number that improves while the face gets uglier is a bug.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

import facejax
from facejax.evaluation.normalized_error import nme, nme_by_yaw
from facejax.export import versions, write_summary
from facejax.fitting import LINEAR, RECIPES, fit_landmarks
from facejax.images import read_image
from facejax.programs import cache_compilations, jit


@dataclass
class Args:
    data: Path
    """folder with aflw2000/ and photos/"""
    out: Path
    """folder for fit.json and the fitted photographs"""
    which: Literal["landmarks", "photos", "both"] = "both"
    count: int = 100
    """AFLW2000-3D images, the first ones by name"""
    model: str = "default"
    recipe: str = "linear"


def landmarks_on_aflw(model: facejax.FaceModel, folder: Path, count: int) -> dict[str, object]:
    """Mean NME (percent) of the landmark fit on the 68 points it was given, and the size of the coefficients."""
    with np.load(folder / "aflw2000_dev.npz") as data:
        points = data["pts68_3d"][:count, :, :2].astype(np.float32) - 0.5  # 1-based pixel centres
        yaw = np.rad2deg(data["pose_pitch_yaw_roll"][:count, 1])
    centre = jnp.full(2, 225.0)  # the images are 450 pixels square
    solve = jit(jax.vmap(lambda p: fit_landmarks(model, p, principal=centre, priors=LINEAR.priors)))
    found = solve(points)
    errors = nme(np.asarray(found.landmarks), points)
    identity = np.asarray(found.params.identity)
    return {
        "images": count,
        "nme_mean": float(errors.mean()),
        "nme_max": float(errors.max()),
        "nme_by_yaw": nme_by_yaw(errors, yaw),
        "identity_std": float(identity.std()),
        "identity_max": float(np.abs(identity).max()),
        "jaw_on_outline": float(np.asarray(found.moving).mean()),
        "converged": float(np.asarray(found.converged).mean()),
    }


def photographs(model: facejax.FaceModel, folder: Path, recipe: str, out: Path) -> dict[str, object]:
    """Landmark NME and PSNR of the whole fit on the photographs with 68 points.

    Args:
      model: the face model.
      folder: of the photographs.
      recipe: of the fit.
      out: folder for the fitted photographs.
    """
    entries = [e for e in json.loads((folder / "index.json").read_text())["images"] if e["landmark_kind"] == "ibug68"]
    images = [read_image(folder / entry["file"]) for entry in entries]
    points = [np.load(folder / entry["landmarks"]).astype(np.float32) + 0.5 for entry in entries]
    result = facejax.fit(model, images, points, recipe=RECIPES[recipe])
    result.save(out, [entry["id"] for entry in entries])
    rows = {
        entry["id"]: {"nme": result.landmark_nme(k), "psnr_face": float(result.faces.psnr_face[k])}
        for k, entry in enumerate(entries)
    }
    return {
        "photos": rows,
        "nme_mean": float(np.mean([row["nme"] for row in rows.values()])),
        "psnr_mean": float(np.mean([row["psnr_face"] for row in rows.values()])),
        "finite": bool(np.asarray(result.faces.finite).all()),
        "seconds": result.seconds,
    }


def main(args: Args) -> None:
    cache_compilations()
    model = facejax.load_face_model(args.model)
    report: dict[str, object] = {"model": model.name, "recipe": args.recipe, "versions": versions()}
    if args.which in ("landmarks", "both"):
        report["aflw2000"] = landmarks_on_aflw(model, args.data / "aflw2000", args.count)
    if args.which in ("photos", "both"):
        report["photos"] = photographs(model, args.data / "photos", args.recipe, args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    write_summary(args.out / "fit.json", report)
    print((args.out / "fit.json").read_text())


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

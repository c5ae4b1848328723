"""Files about the stages of a fit: the face after each, and the losses as a table and a plot."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from facejax.appearance import Appearance, in_order
from facejax.atomic import write_text
from facejax.evaluation.plot import draw_lines
from facejax.export.obj import write_obj
from facejax.export.overlay import overlay
from facejax.export.params import save_params
from facejax.export.pictures import write_png
from facejax.face_model import FaceModel, decode
from facejax.face_model.texture_layout import with_layout
from facejax.fitting import FittedFaces, Recipe


def write_stages(
    folder: Path,
    model: FaceModel,
    appearances: dict[str, Appearance],
    face: FittedFaces,
    *,
    photo: Float[np.ndarray, "H W 3"],
    observed: Float[np.ndarray, "68 2"],
    recipe: Recipe,
) -> None:
    """Write `<k>_<stage>/` with mesh.obj, albedo.png, overlay.png and params.npz for every stage, losses.csv and
    losses.png; one face.

    Args:
        folder: where to.
        model: the face model.
        appearances: what colours the face after each stage, first to last.
        face: the fit, without a batch axis.
        photo: (H, W, 3) display values.
        observed: the landmarks that were given, pixels.
        recipe: the stages.
    """
    model = with_layout(model)
    for number, (name, appearance) in enumerate(appearances.items()):
        place, params = folder / f"{number}_{name}", face.stages[name]
        place.mkdir(parents=True, exist_ok=True)
        texture = appearance.texture(model, params, photo, observed)
        layout = {"uv": model.uv, "uv_faces": model.topology.uv_faces, "texture": texture}
        write_obj(place / "mesh.obj", decode(model, params), model.faces, **layout)
        write_png(place / "overlay.png", overlay(model, params, appearance, photo, observed, texture))
        ordered = replace(params, appearance=in_order(appearance, params.appearance))
        save_params(place / "params.npz", ordered, model.name, recipe.appearance_after(name))
    write_text(folder / "losses.csv", losses_table(face, list(appearances)))
    write_png(folder / "losses.png", losses_plot(face, list(appearances)))


def losses_table(face: FittedFaces, stages: list[str]) -> str:
    """Comma-separated: stage, step, total, and every term (weighted; empty where a stage lacks it)."""
    terms = list(dict.fromkeys(term for stage in stages for term in face.terms.get(stage, {})))
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["stage", "step", "total", *terms])
    for stage in stages:
        parts = {name: np.asarray(values) for name, values in face.terms.get(stage, {}).items()}
        for step, total in enumerate(np.asarray(face.losses[stage])):
            own = [f"{parts[term][step]:.6g}" if term in parts else "" for term in terms]
            rows.writerow([stage, step, f"{total:.6g}", *own])
    return text.getvalue()


def losses_plot(face: FittedFaces, stages: list[str]) -> Float[np.ndarray, "480 720 3"]:
    """The weighted totals of the stages, each relative to its first, one after the other."""
    lines, begin, lowest = {}, 0, 0.1
    for stage in stages:
        values = np.asarray(face.losses[stage], np.float64)
        values = np.maximum(np.nan_to_num(values / max(abs(values[0]), 1e-12), nan=1.0), 1e-3)
        lines[stage] = (begin + np.arange(len(values)), values)
        begin, lowest = begin + len(values), min(lowest, float(values.min()))
    bottom = 10.0 ** np.floor(np.log10(lowest))
    ticks = bottom * 10.0 ** np.arange(0, round(-np.log10(bottom)) + 1)
    return draw_lines(
        lines,
        across=np.arange(6) * 10 * max(-(-begin // 50), 1),
        up=[*ticks, 2.0],
        title="loss of each stage, relative to its first",
        x_label="step",
        log=True,
        corner="top",
    )

"""The contribution of each part of unwrapping: FFHQ-UV's ablation (Bai et al., CVPR 2023, figure 7) on known textures.

    python experiments/unwrap_study.py --out OUT [--data DATA]

Heads with random identities and random maps of the texture decoder are drawn from front, left and right under even
light and under light from one side, with a uniform background, and go through the whole pipeline: all three views or
the front alone, with and without de-lighting, with the full completion or pasted only. PSNR is over the texels that
the views show, BS error over the face. The poses are the true ones: this measures unwrapping, not fitting.

With --data also the three published views of ffhquv_sample/, fitted one by one, beside the published map carried to the
default head's layout. Writes OUT/table.md, OUT/table.json, OUT/renders.jpg and OUT/sample.jpg.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from texture_fit.tables import caption, markdown, mean, write_sheet

from facejax.api import fit
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion
from facejax.export import versions, write_summary, write_text
from facejax.face_model import FaceModel, FaceParams, neutral_params, own_albedo
from facejax.face_model.load import load_face_model
from facejax.fitting import LINEAR
from facejax.fitting.scene import project_landmarks
from facejax.images import read_image
from facejax.lighting import linear_to_srgb, uniform_light
from facejax.objectives import psnr
from facejax.programs import cache_compilations, jit
from facejax.rendering import render
from facejax.texture import brightness_symmetry_error, load_decoder, sample_textures
from facejax.texture.metrics import KERNEL
from facejax.unwrap.masks import scaled_kernel
from facejax.unwrap.photos import CutOut, Layout, Unwrapped, cut_out, face_layout, fitted_template, unwrap_face
from facejax.unwrap.regions import template_map
from facejax.unwrap.retarget import carry_texture, correspond
from facejax.unwrap.surfaces import make_surface

YAWS = {"front": 0.0, "left": -30.0, "right": 30.0}
# light from the front and from the side, added to 1 from all directions
LIGHTS = {"even": (0.0, 0.0), "side": (0.3, 0.6)}
BACKDROP = (0.3, 0.5, 0.3)
SIDE = 224  # pixels of the sheets' pictures


class Way(NamedTuple):
    """One way of unwrapping: a row of the table."""

    name: str
    views: tuple[str, ...]
    options: dict[str, Any]


WAYS = (
    Way("whole pipeline", ("front", "left", "right"), {}),
    Way("without multi-view", ("front",), {}),
    Way("naive blending", ("front", "left", "right"), {"blending": "naive"}),
    Way("without multi-view, naive", ("front",), {"blending": "naive"}),
    Way("whole pipeline, de-lit", ("front", "left", "right"), {"delight": True}),
    Way("without multi-view, de-lit", ("front",), {"delight": True}),
)


@dataclass(frozen=True)
class Args:
    out: Path
    data: Path | None = None
    """holds ffhquv_sample/ and realy_topologies/; without it that part is left out"""
    size: int = 512
    """texels per side"""
    faces: int = 4
    seed: int = 0


def main(args: Args) -> None:
    cache_compilations()
    model = load_face_model()
    layout = face_layout(model, args.size)
    rows, cells = {}, []
    for name, light in LIGHTS.items():
        for number in range(args.faces):
            truth = random_head(model, layout, light, key=jax.random.key(args.seed + number))
            found = list(run_ways(model, layout, truth))
            for way, result in found:
                rows.setdefault((name, way.name), []).append(judge(layout, truth, result))
            if number == 0:
                cells += sheet_row(name, truth, found)
    table = summarise(rows)
    sections = ["Renders\n", table]
    write_sheet(args.out / "renders.jpg", cells, columns=len(cells) // len(LIGHTS))
    if args.data is not None:
        sections += ["\nffhquv_sample\n", sample(args, model, layout)]
    write_text(args.out / "table.md", "\n".join(sections))
    figures = {f"{light}: {way}": many for (light, way), many in rows.items()}
    settings = {"size": args.size, "faces": args.faces, "seed": args.seed}
    write_summary(args.out / "table.json", {**settings, "renders": figures, "versions": versions()})
    print("\n".join(sections))


class Truth(NamedTuple):
    texture: jax.Array  # (S, S, 3)
    params: dict[str, FaceParams]  # by view
    images: dict[str, np.ndarray]
    cuts: dict[str, CutOut]


def random_head(model: FaceModel, layout: Layout, light: tuple[float, float], *, key: jax.Array) -> Truth:
    """A head and its photographs from all views.

    Args:
      model: the face model.
      layout: texels of the map.
      light: from the front and from the side.
      key: consumed.
    """
    drawn, shape = jax.random.split(key)
    pixels = round(1.5 * layout.size)
    texture = jnp.clip(linear_to_srgb(_draw_texture(load_decoder(), drawn)), 0.0, 1.0)
    camera = PerspectiveCamera(jnp.asarray(1.9 * pixels), jnp.full(2, pixels / 2.0))
    head = neutral_params(model, camera, distance=750.0)
    head = replace(head, identity=0.7 * jax.random.normal(shape, head.identity.shape))
    head = replace(head, light=uniform_light(1.0).at[2].set(light[0]).at[3].set(light[1]))
    params = {view: turned(head, yaw) for view, yaw in YAWS.items()}
    images = {view: np.asarray(_photograph(model, one, texture, pixels)) for view, one in params.items()}
    marks = {view: np.asarray(project_landmarks(model, one, jnp.asarray(False))) for view, one in params.items()}
    cuts = {view: cut_out(images[view], marks[view], layout) for view in YAWS}
    return Truth(template_map(model, layout.texels, texture), params, images, cuts)


_draw_texture = jit(lambda decoder, key: sample_textures(decoder, key, 1, psi=0.9)[0])


@partial(jit, static_argnums=3)
def _photograph(model: FaceModel, params: FaceParams, texture: jax.Array, pixels: int) -> jax.Array:
    backdrop = jnp.asarray(BACKDROP)
    return jnp.clip(render(model, params, size=(pixels, pixels), texture=texture, background=backdrop).color, 0, 1)


def turned(params: FaceParams, yaw: float) -> FaceParams:
    rotation = euler_to_quaternion(jnp.array([0.0, yaw, 0.0]))
    return replace(params, pose=Pose(rotation, params.pose.translation))


def run_ways(model: FaceModel, layout: Layout, truth: Truth) -> Iterator[tuple[Way, Unwrapped]]:
    plain = template_map(model, layout.texels, own_albedo(model).mean)
    for way in WAYS:
        params, cuts = [truth.params[view] for view in way.views], [truth.cuts[view] for view in way.views]
        yield way, unwrap_face(model, params, cuts, layout, plain, skin_only=False, **way.options)


def judge(layout: Layout, truth: Truth, result: Unwrapped) -> dict[str, float]:
    """The figures of one texture; PSNR over the face's texels that some view shows."""
    shown = (result.views.valid.max(axis=0) > 0.5) * layout.regions.face
    kernel = scaled_kernel(KERNEL, layout.size)
    found = {"truth": truth.texture, "unwrapped": result.views.color[0], "texture": result.completed.texture}
    errors = {name: brightness_symmetry_error(one, kernel=kernel, where=shown > 0.5) for name, one in found.items()}
    return {
        "psnr": float(psnr(result.completed.texture, truth.texture, shown)),
        "seen": float(result.quality.seen),
        **{f"bs_{name}": float(error) for name, error in errors.items()},
    }


def summarise(rows: dict[tuple[str, str], list[dict[str, float]]]) -> str:
    head = ["light", "way", "PSNR, dB", "least", "BS truth", "BS front unwrapped", "BS texture", "seen"]
    names = ("bs_truth", "bs_unwrapped", "bs_texture", "seen")
    lines = []
    for (light, way), many in rows.items():
        gains = [one["psnr"] for one in many]
        lines.append([light, way, mean(gains), min(gains), *(mean([one[name] for one in many]) for name in names)])
    return markdown(head, lines)


def sheet_row(light: str, truth: Truth, found: list[tuple[Way, Unwrapped]]) -> list[np.ndarray]:
    pictures = [(truth.images["front"], f"{light} light"), (np.asarray(truth.texture), "true texture")]
    pictures.append((np.asarray(found[0][1].views.color[0]), "front unwrapped"))
    pictures += [(np.asarray(result.completed.texture), way.name) for way, result in found]
    return [caption(picture, text, SIDE) for picture, text in pictures]


def sample(args: Args, model: FaceModel, layout: Layout) -> str:
    """The published views of one person, fitted separately, and the published map."""
    assert args.data is not None
    folder = args.data / "ffhquv_sample"
    known = np.load(folder / "01223_params.npz")
    images = {view: read_image(folder / f"01223_{view}.png") for view in YAWS}
    marks = {view: known[f"landmarks68_{view}"] + 0.5 for view in YAWS}  # from 0-based pixel centres
    fitted = fit(model, list(images.values()), list(marks.values()), recipe=LINEAR)
    params = {view: jax.tree.map(lambda leaf, k=k: leaf[k], fitted.params) for k, view in enumerate(YAWS)}
    cuts = {view: cut_out(images[view], marks[view], layout) for view in YAWS}
    template = fitted_template(model, fitted.appearance, params["front"].appearance, layout.texels)
    theirs = np.asarray(published_map(args.data, model, layout, template))
    cells, rows = [*(caption(images[view], view, SIDE) for view in YAWS)], []
    kernel = scaled_kernel(KERNEL, layout.size)
    for way in WAYS:
        some, squares = [params[view] for view in way.views], [cuts[view] for view in way.views]
        result = unwrap_face(model, some, squares, layout, template, **way.options)
        quality = {name: float(value) for name, value in result.quality._asdict().items()}
        gap = psnr(result.completed.texture, jnp.asarray(theirs), layout.regions.centre)
        rows.append([way.name, quality["bs_photo"], quality["bs"], quality["seen"], quality["strange"], float(gap)])
        cells.append(caption(np.asarray(result.completed.texture), way.name, SIDE))
    where = layout.regions.face > 0.5
    error = float(brightness_symmetry_error(jnp.asarray(theirs), kernel=kernel, where=where))
    rows.append(["published map", None, error, None, None, None])
    cells.append(caption(theirs, "published map, carried over", SIDE))
    cells += [np.zeros_like(cells[0])] * (-len(cells) % 5)
    write_sheet(args.out / "sample.jpg", cells, columns=5)
    return markdown(["way", "BS front unwrapped", "BS texture", "seen", "strange", "PSNR to the published map"], rows)


def published_map(data: Path, model: FaceModel, layout: Layout, base: jax.Array) -> jax.Array:
    """FFHQ-UV's own map of these views, transferred from its head's layout to the default head's.

    Args:
      data: folder.
      model: the face model.
      layout: texels of the map.
      base: map that shows where the published one has nothing.
    """
    arrays = np.load(data / "realy_topologies" / "hifi3d_template.npz")
    marks = arrays["keypoint_triangle"][:68], arrays["keypoint_weights"][:68]
    hifi = make_surface(10 * arrays["vertices"], arrays["faces_tri"], arrays["uv"], arrays["faces_tri_uv"], *marks)
    found = correspond(hifi, model, layout.size)
    texture = jnp.asarray(read_image(data / "ffhquv_sample" / "01223_uv.png"))
    return carry_texture(texture, found, base=base)[0]


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, description=__doc__)))

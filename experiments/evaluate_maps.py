"""How good the skin maps of fits are: on path-traced heads, whose skins are known, and on photographs.

    facejax fit path_traced/*.png --out FITS
    python experiments/evaluate_maps.py FITS --truth path_traced --skins skins [--json maps.json]

FITS holds a folder for each picture, with mesh.obj and albedo.png. A folder with the name of a file of --truth is held
to the skin that the head wore: the fitted mesh is laid on the true one (a similarity, iterative closest points), and
the maps are compared at the same points of the face. The true colours of photographs are not known; what counts there
is how evenly lit a map is (BS error) and whether the border of what was seen shows (rim, from trust.png or filled.png).

| column | meaning |
|---|---|
| albedo | PSNR in dB over what the picture shows |
| gained | after one gain per channel in linear light |
| dE | distance of the mean colours, CIE 1976 |
| left-right | difference of the two halves' mean error in luma, 0 to 255: light left in the map |
| hidden | PSNR after the gain where the picture shows nothing |
| ITA | error of the individual typology angle, degrees; above 0: too light |
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import tyro
from measure_grain import HELD_OUT
from scipy.spatial import KDTree

from facejax.evaluation import psnr
from facejax.evaluation.skin_tone import CLASSES, ToneErrors, mean_lab, tone_errors, typology_angle, typology_class
from facejax.export import write_summary
from facejax.images import read_image
from facejax.lighting import linear_to_srgb, luma, srgb_to_linear
from facejax.mesh import align_similarity
from facejax.rendering.texture import sample_texture
from facejax.skin.detail import rim
from facejax.texture.metrics import KERNEL, brightness_symmetry_error
from facejax.unwrap.masks import scaled_kernel

DARK = ("brown", "dark")  # classes of the true skin
FIGURES = ("albedo", "gained", "dE", "left-right", "hidden", "ITA")
SEEN, HIDDEN = 0.25, -0.05  # cosines of normal and view
POINTS = 20_000  # of the face that are compared


class Mesh(NamedTuple):
    vertices: np.ndarray  # (V, 3) mm
    faces: np.ndarray  # (F, 3)
    uv: np.ndarray  # (U, 2)
    uv_faces: np.ndarray  # (F, 3)


class Samples(NamedTuple):
    points: np.ndarray  # (N, 3) mm
    normals: np.ndarray  # (N, 3), unit
    uv: np.ndarray  # (N, 2)

    def pick(self, which: np.ndarray) -> "Samples":
        return Samples(*(each[which] for each in self))


@dataclass(frozen=True)
class Args:
    fits: tyro.conf.Positional[Path]
    truth: Path | None = None
    """path-traced pictures: <case>.npz"""
    skins: Path | None = None
    """the skins that they wear"""
    held_out: tuple[str, ...] = field(default=HELD_OUT)
    """skins that nothing was trained with, by the names of their files without _head"""
    json: Path | None = None
    """also write everything to this file"""


def main(args: Args) -> None:
    if (args.truth is None) != (args.skins is None):
        raise ValueError("--truth and --skins belong together: give both, or neither for photographs alone")
    if not args.fits.is_dir():
        raise ValueError(f"{args.fits}: no folder; give the --out of facejax fit")
    folders = sorted(path.parent for path in args.fits.glob("*/albedo.png"))
    if not folders:
        raise ValueError(f"{args.fits}: none of its folders holds albedo.png")
    known = {} if args.truth is None else {path.stem: path for path in args.truth.glob("*.npz")}
    heads = []
    for folder in (folder for folder in folders if folder.name in known):
        heads.append(hold_to_truth(folder, known[folder.name], args.skins or Path(), args.held_out))
        print(f"| {heads[-1]['case']} | {_cells(heads[-1:])} |", flush=True)
    photos = [measure_photo(folder) for folder in folders if folder.name not in known]
    content = {"heads": heads, "groups": groups(heads), "tone": tones(heads), "photos": photos}
    print("\n".join(["", *head_table(heads), "", *tone_table(heads), "", *photo_table(photos)]).strip())
    if args.json is not None:
        write_summary(args.json, content)


# --- path-traced heads ------------------------------------------------------------------------------------------------


def hold_to_truth(folder: Path, truth: Path, skins: Path, held_out: Sequence[str]) -> dict[str, object]:
    """The figures of one head."""
    with np.load(truth) as stored:
        head = {name: stored[name] for name in stored.files}
    face = face_samples(head, np.random.default_rng(0))
    mesh = read_obj(folder / "mesh.obj")
    worn = draw_samples(mesh, 600_000, np.random.default_rng(1))
    worn = worn.pick(worn.normals[:, 2] > 0)
    nearest = correspond(worn.points, face.points)
    skin = str(head["skin"])
    true = look_up(skins / skin, face.uv)
    found = look_up(folder / "albedo.png", worn.uv[nearest])
    figures = compare(found, true, face, float(head["yaw"]))
    return {"case": truth.stem, "skin": skin, "held_out": skin.split("_head")[0] in held_out, **figures}


def face_samples(head: dict[str, np.ndarray], rng: np.random.Generator) -> Samples:
    """Points of the face's front, without eyes, and without what lies more than 3 mm behind something else."""
    mesh = Mesh(head["vertices"].astype(float), head["faces"], head["uv"].astype(float), head["face_uv"])
    some = draw_samples(mesh, 400_000, rng)
    x, y, _ = some.points.T
    some = some.pick((np.abs(x) < 62) & (y > -110) & (y < 45) & (some.normals[:, 2] > 0.15))
    columns = np.floor(some.points[:, :2] / 2).astype(int) + 1000
    column = columns[:, 0] * 4000 + columns[:, 1]
    front = np.full(column.max() + 1, -np.inf)
    np.maximum.at(front, column, some.points[:, 2])
    some = some.pick(some.points[:, 2] > front[column] - 3)
    eyes = np.linalg.norm(some.points[:, None, :2] - head["eyes"][None, :, :2], axis=2).min(axis=1)
    return some.pick(np.flatnonzero(eyes > 17)[:POINTS])


def draw_samples(mesh: Mesh, count: int, rng: np.random.Generator) -> Samples:
    """Points spread evenly over a surface."""
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normals, axis=1)
    chosen = rng.choice(len(area), count, p=area / area.sum())
    weights = rng.dirichlet([1, 1, 1], count)[:, None]
    points, uv = ((weights @ table)[:, 0] for table in (corners[chosen], mesh.uv[mesh.uv_faces][chosen]))
    return Samples(points, normals[chosen] / np.maximum(area[chosen, None], 1e-9), uv)


def correspond(worn: np.ndarray, face: np.ndarray) -> np.ndarray:
    """For each point of the true face the nearest of the fitted one, after the similarity that lays it there.

    Starts with the tips of the noses; the tenth that lies farthest off is left out of every step.
    """

    def tip(points: np.ndarray) -> np.ndarray:
        return points[np.argmax(points[:, 2])]

    few, target = worn[::6], face[::6]
    scale, rotation = 1.0, np.eye(3)
    shift = tip(face[np.abs(face[:, 1] + 40) < 30]) - tip(worn[np.abs(worn[:, 0]) < 15])
    for _ in range(40):
        distance, nearest = map(np.asarray, KDTree(scale * few @ rotation.T + shift).query(target))
        near = distance < np.quantile(distance, 0.9)
        scale, rotation, shift = align_similarity(few[nearest[near]], target[near])
        scale = float(np.clip(scale, 0.7, 1.4))
        shift = target[near].mean(axis=0) - scale * rotation @ few[nearest[near]].mean(axis=0)
    return np.asarray(KDTree(scale * worn @ rotation.T + shift).query(face)[1])


def compare(found: np.ndarray, true: np.ndarray, face: Samples, yaw: float) -> dict[str, float | None]:
    """The figures of display values (N, 3) at the same points of the face."""
    turn = np.deg2rad(yaw)
    cosine = face.normals @ np.array([-np.sin(turn), 0.0, np.cos(turn)])
    seen, hidden = cosine > SEEN, cosine < HIDDEN
    light, wanted = srgb_to_linear(found), srgb_to_linear(true)
    gain = np.sum(wanted[seen] * light[seen], axis=0) / np.maximum(np.sum(light[seen] ** 2, axis=0), 1e-12)
    gained = linear_to_srgb(light * gain)
    error, side = 255 * luma(gained - true), face.points[:, 0]
    left, right = seen & (side > 15), seen & (side < -15)
    halves = [float(error[half].mean()) if half.any() else 0.0 for half in (left, right)]
    colours = [mean_lab(each[seen]) for each in (found, true)]
    angles = [float(typology_angle(lab)) for lab in colours]
    return {
        "albedo": _psnr(found[seen], true[seen]),
        "gained": _psnr(gained[seen], true[seen]),
        "dE": float(np.linalg.norm(colours[0] - colours[1])),
        "left-right": abs(halves[0] - halves[1]),
        "hidden": _psnr(gained[hidden], true[hidden]) if hidden.sum() > 50 else None,
        "ITA": angles[0] - angles[1],
        "true_ITA": angles[1],
        **{f"lab_{name}": lab.tolist() for name, lab in zip(("found", "true"), colours, strict=True)},
    }


def _psnr(found: np.ndarray, true: np.ndarray) -> float:
    return psnr(found[:, None], true[:, None])


def look_up(path: Path, uv: np.ndarray) -> np.ndarray:
    """Display values at texture coordinates, bilinear."""
    return np.asarray(sample_texture(jnp.asarray(read_image(path)), jnp.asarray(uv, jnp.float32)), np.float64)


def read_obj(path: Path) -> Mesh:
    """The triangles of an OBJ file with texture coordinates. Raises ValueError for other files."""
    kinds: dict[str, list[list[str]]] = {"v": [], "vt": [], "f": []}
    for line in path.read_text().splitlines():
        kind, *rest = line.split() or [""]
        if kind in kinds:
            kinds[kind].append(rest)
    try:
        corners = np.array([[corner.split("/")[:2] for corner in row] for row in kinds["f"]], np.int64) - 1
        vertices = np.array([row[:3] for row in kinds["v"]], np.float64)
        uv = np.array([row[:2] for row in kinds["vt"]], np.float64)
        return Mesh(vertices, *(corners[..., 0], uv, corners[..., 1]))
    except (ValueError, IndexError):
        raise ValueError(f"{path}: no triangles with texture coordinates, as facejax fit writes them") from None


# --- photographs ------------------------------------------------------------------------------------------------------


def measure_photo(folder: Path) -> dict[str, object]:
    """BS error of the map; and its rim, where a file says what was seen."""
    albedo = jnp.asarray(read_image(folder / "albedo.png"), jnp.float32)
    bs = float(brightness_symmetry_error(albedo, kernel=scaled_kernel(KERNEL, len(albedo), least=3)))
    masks = [folder / name for name in ("trust.png", "filled.png") if (folder / name).is_file()]
    if not masks:
        return {"photo": folder.name, "bs": bs, "rim": None}
    seen = jnp.asarray(read_image(masks[0]), jnp.float32)[..., 0]
    if seen.shape != albedo.shape[:2]:
        raise ValueError(f"{masks[0]}: {seen.shape} texels, but albedo.png beside it has {albedo.shape[:2]}")
    return {"photo": folder.name, "bs": bs, "rim": float(rim(albedo, seen))}


# --- tables -----------------------------------------------------------------------------------------------------------


def groups(heads: Sequence[dict]) -> dict[str, list[dict]]:
    """Light and dark skins, and those used in training and held out; groups without a head are left out."""
    dark = [CLASSES[int(typology_class(np.asarray(head["true_ITA"])))] in DARK for head in heads]
    chosen = {
        "all": list(heads),
        "light": [head for head, is_dark in zip(heads, dark, strict=True) if not is_dark],
        "dark": [head for head, is_dark in zip(heads, dark, strict=True) if is_dark],
        "trained": [head for head in heads if not head["held_out"]],
        "held out": [head for head in heads if head["held_out"]],
    }
    return {name: some for name, some in chosen.items() if some}


def tones(heads: Sequence[dict]) -> ToneErrors | None:
    if not heads:
        return None
    return tone_errors(*(np.array([head[f"lab_{which}"] for head in heads]) for which in ("found", "true")))


def head_table(heads: Sequence[dict]) -> list[str]:
    if not heads:
        return []
    lines = ["| path-traced heads | | " + " | ".join(FIGURES) + " |", "|---|" + "---|" * (1 + len(FIGURES))]
    return lines + [f"| {name} | {len(some)} | {_cells(some)} |" for name, some in groups(heads).items()]


def tone_table(heads: Sequence[dict]) -> list[str]:
    found = tones(heads)
    if found is None:
        return []
    by_class = ", ".join(f"{name} {value:.1f}" for name, value in found.by_class.items())
    rest = ", ".join(f"{name} {getattr(found, name):.1f}" for name in ("average", "bias", "score", "shift"))
    return [f"ITA error by class: {by_class}; {rest}"]


def photo_table(photos: Sequence[dict]) -> list[str]:
    if not photos:
        return []
    rows = [*photos, {"photo": "mean", "bs": _mean(photos, "bs"), "rim": _mean(photos, "rim")}]
    lines = ["| photograph | BS | rim |", "|---|---|---|"]
    return lines + [f"| {row['photo']} | {_number(row['bs'])} | {_number(row['rim'])} |" for row in rows]


def _cells(heads: Sequence[dict]) -> str:
    return " | ".join(_number(_mean(heads, name)) for name in FIGURES)


def _mean(rows: Sequence[dict], name: str) -> float | None:
    values = [row[name] for row in rows if row[name] is not None]
    return float(np.mean(values)) if values else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

"""A picture of the skin maps of fits: a row for each face.

    python experiments/maps_sheet.py FITS --out sheet.jpg [--photos PHOTOS]

FITS holds a folder for each face, with mesh.obj and albedo.png, and perhaps trust.png, normal.png, roughness.png,
specular.png and photo.png (the photograph in the layout). The columns are the photograph, cropped to the face; these
maps; and the head with its maps under a lamp from the side. Columns for which no face has a file are left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import tyro
from evaluate_maps import Mesh, read_obj
from PIL import Image, ImageDraw

from facejax.atomic import atomic_path
from facejax.images import read_image
from facejax.images.crop import apply_crop, face_crop
from facejax.lighting import linear_to_srgb, srgb_to_linear
from facejax.mesh import vertex_normals
from facejax.rendering import interpolate, rasterize
from facejax.rendering.interpolation import interpolate_corners
from facejax.rendering.texture import sample_texture

MAPS = ("photo", "albedo", "trust", "normal", "roughness", "specular")
LAMP, TOWARDS, AMBIENT = (0.85, 0.25, 0.46), 2.6, 0.12  # direction (to the lamp), its strength, light from everywhere
SPAN = 250.0  # mm of the head along a side of its picture
REFLECTANCE = 0.04  # at normal incidence, where `specular` is 1
HEADER = 18  # pixels above the first row


@dataclass(frozen=True)
class Args:
    fits: tyro.conf.Positional[Path]
    out: Path
    """picture to write"""
    photos: Path | None = None
    """folder of the photographs; None: without their column"""
    side: int = 256
    """pixels of each picture"""
    quality: int = 88


def main(args: Args) -> None:
    folders = sorted(path.parent for path in args.fits.glob("*/albedo.png"))
    if not folders:
        raise ValueError(f"{args.fits}: none of its folders holds albedo.png: give the --out of facejax fit")
    rows = [pictures(folder, args.photos, args.side) for folder in folders]
    names = [name for name in ("picture", *MAPS, "side light") if any(name in row for row in rows)]
    page = Image.new("RGB", (len(names) * args.side, HEADER + len(rows) * args.side), (40, 40, 40))
    draw = ImageDraw.Draw(page)
    for column, name in enumerate(names):
        draw.text((column * args.side + 4, 3), name, fill=(255, 255, 255))
        for number, row in enumerate(rows):
            if name in row:
                page.paste(row[name], (column * args.side, HEADER + number * args.side))
    for number, folder in enumerate(folders):
        draw.text((4, HEADER + number * args.side + 4), folder.name, fill=(255, 255, 0))
    with atomic_path(args.out) as partial:
        page.save(partial, quality=args.quality)


def pictures(folder: Path, photos: Path | None, side: int) -> dict[str, Image.Image]:
    """The pictures of one face, by column."""
    maps = {name: read_image(folder / f"{name}.png") for name in MAPS if (folder / f"{name}.png").is_file()}
    found = {name: _tile(image, side) for name, image in maps.items()}
    if photos is not None:
        found["picture"] = _tile(crop_photo(folder, photos, side), side)
    if (folder / "mesh.obj").is_file():
        found["side light"] = _tile(light_head(read_obj(folder / "mesh.obj"), maps, 2 * side), side)
    return found


def crop_photo(folder: Path, photos: Path, side: int) -> np.ndarray:
    """The face's square of its photograph, by the summary of the fit."""
    summary = json.loads((folder / "summary.json").read_text())
    path = photos / Path(summary["image"]).name
    if not path.is_file():
        raise ValueError(f"{path}: not found; --photos: the folder of the photographs that were fitted")
    crop = face_crop(np.asarray(summary["landmarks68"], np.float64), side, margin=0.4)
    return np.asarray(apply_crop(read_image(path), crop, side)[0])


def light_head(mesh: Mesh, maps: dict[str, np.ndarray], side: int) -> np.ndarray:
    """The head from the front under a lamp from its left: matte albedo and GGX highlights.

    Without a normal map the skin is smooth, without roughness 0.5, without specular 1.

    Args:
      mesh: vertices in mm, +z out of the face.
      maps: display values by name.
      side: pixels.

    Returns:
      (side, side, 3) display values.
    """
    vertices, faces = jnp.asarray(mesh.vertices, jnp.float32), jnp.asarray(mesh.faces, jnp.int32)
    nose = mesh.vertices[np.argmax(mesh.vertices[:, 2])]
    place = (mesh.vertices - nose) * side / SPAN
    drawn = np.stack([side / 2 + place[:, 0], side / 2 - place[:, 1], 1000.0 - place[:, 2]], axis=1)
    points = jnp.asarray(drawn, jnp.float32)
    triangle = rasterize(points, faces, size=(side, side), perspective=False)
    surface = interpolate(points, vertex_normals(vertices, faces), faces, triangle, perspective=False)
    table = jnp.asarray(mesh.uv, jnp.float32), jnp.asarray(mesh.uv_faces, jnp.int32)
    uv = interpolate_corners(*table, triangle, surface.barycentric)
    seen = np.asarray(triangle) >= 0

    def look_up(name: str, otherwise: float) -> np.ndarray:
        if name not in maps:
            return np.full((side, side, 3), otherwise)
        return np.asarray(sample_texture(jnp.asarray(maps[name], jnp.float32), uv), np.float64)

    normal = _unit(np.asarray(surface.attributes, np.float64))
    if "normal" in maps:
        tilt = 2 * look_up("normal", 0.5) - 1
        frame = tangent_frames(mesh)[np.maximum(np.asarray(triangle), 0)]
        across = _unit(frame[..., 0, :] - _dot(frame[..., 0, :], normal) * normal)
        up = np.cross(normal, across)
        up = up * np.where(_dot(up, frame[..., 1, :]) < 0, -1.0, 1.0)
        normal = _unit(tilt[..., :1] * across + tilt[..., 1:2] * up + tilt[..., 2:] * normal)
    lamp, view = _unit(np.array(LAMP)), np.array([0.0, 0.0, 1.0])
    facing = np.maximum(_dot(normal, lamp), 0.0)
    albedo = srgb_to_linear(look_up("albedo", 0.5))
    shine = ggx(normal, lamp, view, look_up("roughness", 0.5)[..., :1], look_up("specular", 1.0)[..., :1])
    light = albedo * (AMBIENT + TOWARDS * facing / np.pi) + TOWARDS * facing * shine
    return np.where(seen[..., None], linear_to_srgb(np.clip(light, 0.0, 1.0)), 0.12)


def ggx(
    normal: np.ndarray, lamp: np.ndarray, view: np.ndarray, roughness: np.ndarray, specular: np.ndarray
) -> np.ndarray:
    """The reflection of glTF 2.0's material (Walter et al., 2007; Smith's shadowing of correlated heights)."""
    alpha = np.maximum(roughness, 0.05) ** 2
    half = _unit(lamp + view)
    to_lamp, to_view = (np.maximum(_dot(normal, way), 1e-4) for way in (lamp, view))
    across = np.maximum(_dot(normal, half), 0.0)
    spread = alpha**2 / (np.pi * (across**2 * (alpha**2 - 1) + 1) ** 2)
    shadow = to_lamp * np.sqrt(to_view**2 * (1 - alpha**2) + alpha**2)
    shadow = shadow + to_view * np.sqrt(to_lamp**2 * (1 - alpha**2) + alpha**2)
    least = REFLECTANCE * specular
    return (least + (specular - least) * (1 - lamp @ half) ** 5) * spread * 0.5 / shadow


def tangent_frames(mesh: Mesh) -> np.ndarray:
    """(F, 2, 3): the directions of +u and +v on each triangle; 0 where its chart has no area."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
    ua, ub, uc = (mesh.uv[mesh.uv_faces[:, k]] for k in range(3))
    (bu, bv), (cu, cv) = (ub - ua).T[..., None], (uc - ua).T[..., None]
    turned = np.sign(bu * cv - bv * cu)
    return np.stack([turned * ((b - a) * cv - (c - a) * bv), turned * ((c - a) * bu - (b - a) * cu)], axis=1)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.sum(a * b, axis=-1, keepdims=True)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-9)


def _tile(image: np.ndarray, side: int) -> Image.Image:
    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

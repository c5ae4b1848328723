"""The maps of a skin as pictures of 8 bits, and how well they explain the photograph."""

from dataclasses import replace
from pathlib import Path
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image
from scipy.ndimage import map_coordinates

from facejax.camera import transform_camera
from facejax.export.pictures import alpha_over, to_uint8, write_pixels
from facejax.face_model import FaceModel, FaceParams
from facejax.fitting import Recipe
from facejax.fitting.light import solve_material_light
from facejax.fitting.scene import face_mask
from facejax.images.crop import apply_crop, face_crop
from facejax.material import Material, PhotoLayer, render_material
from facejax.material.draw import look
from facejax.mesh import safe_normalize
from facejax.objectives import psnr
from facejax.programs import cached_jit
from facejax.rendering.texture import sample_texture

Look = Literal["material", "photo"]
MAPS = ("albedo", "normal", "roughness", "specular", "trust")  # of a material, each a file <name>.png
TINTED = 0.012  # of the ratios of colours: less varies in a picture with one tint only
PHOTO = "photo.png"
FIGURES = 256  # texels a side of the maps with which a photograph is explained
MAP_FILES = (*(f"{name}.png" for name in MAPS), PHOTO)


def save_material(folder: str | Path, material: Material, layer: PhotoLayer | None = None) -> list[Path]:
    """Write the files of `material_pictures`, each atomically, and return their paths."""
    folder = Path(folder)
    pictures = material_pictures(material, layer)
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        write_pixels(folder / name, picture)
    return [folder / name for name in pictures]


def material_pictures(material: Material, layer: PhotoLayer | None = None) -> dict[str, UInt8[np.ndarray, "S S *C"]]:
    """The maps of one skin as pictures of 8 bits by file name, row 0 on top.

    albedo.png (RGB, display values), normal.png (RGB, n / 2 + 1/2; green is up, as in glTF), roughness.png,
    specular.png and trust.png (grey), and with a layer photo.png (RGB with `shown` as alpha).

    Raises ValueError for maps that are not finite, not square, or not of one size.
    """
    pictures = {name: np.asarray(getattr(material, name), np.float32) for name in MAPS}
    _check(pictures)
    pictures["normal"] = pictures["normal"] * 0.5 + 0.5
    if layer is not None:
        parts = {"photo": np.asarray(layer.color, np.float32), "shown": np.asarray(layer.shown, np.float32)}
        _check(parts)
        pictures["photo"] = np.concatenate([parts["photo"], parts["shown"][..., None]], axis=-1)
    return {f"{name}.png": to_uint8(picture) for name, picture in pictures.items()}


def load_material(folder: str | Path) -> tuple[Material, PhotoLayer | None]:
    """Read the maps that a fit, or `save_material`, wrote; the layer is None if there is no photo.png.

    Values are exact to the 8 bits of the files; normals are made unit vectors again.

    Raises ValueError for a map that is missing, damaged, not square, or of another size than the others.
    """
    folder = Path(folder)
    pictures = {name: _read(folder / f"{name}.png", "RGB" if name in ("albedo", "normal") else "L") for name in MAPS}
    _check(pictures, f"{folder}: ")
    normal = pictures["normal"] * 2 - 1
    pictures["normal"] = normal / np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-6)
    layer = None
    if (folder / PHOTO).exists():
        photo = _read(folder / PHOTO, "RGBA")
        _check({"photo": photo}, f"{folder}: ")
        layer = PhotoLayer(photo[..., :3], photo[..., 3])  # type: ignore[arg-type]
    return Material(**pictures), layer  # type: ignore[arg-type]


def has_maps(folder: Path) -> bool:
    """Whether a folder has all maps of a material."""
    return all((folder / f"{name}.png").exists() for name in MAPS)


def _read(path: Path, mode: str) -> Float[np.ndarray, "_ _ *C"]:
    try:
        with Image.open(path) as picture:
            if picture.mode != mode:
                raise ValueError(f"{path}: a picture of mode {picture.mode}, not {mode}: not a map that a fit wrote")
            return np.asarray(picture, np.float32) / 255
    except FileNotFoundError:
        raise ValueError(f"{path}: no such map; fit with --files maps") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error})") from error


def _check(pictures: dict[str, np.ndarray], place: str = "") -> None:
    side = len(next(iter(pictures.values())))
    for name, picture in pictures.items():
        if picture.shape[:2] != (side, side):
            raise ValueError(f"{place}the map {name} has {picture.shape[:2]} texels: make all maps {(side, side)}")
        if not np.isfinite(picture).all():
            raise ValueError(f"{place}the map {name} is not finite: not written")


def base_color(material: Material, layer: PhotoLayer | None, look: Look) -> Float[np.ndarray, "T T 3"]:
    """The picture on the surface, display values: the albedo, or the photograph over it where it is shown.

    If the layer has another size than the albedo, the smaller of the two is enlarged.
    """
    albedo = np.asarray(material.albedo, np.float32)
    if look == "material" or layer is None:
        return albedo
    color, shown = np.asarray(layer.color, np.float32), np.asarray(layer.shown, np.float32)
    side = max(len(albedo), len(color))
    color, shown = _enlarged(color, side), _enlarged(shown[..., None], side)[..., 0]
    return alpha_over(color, _enlarged(albedo, side), shown)


def _enlarged(picture: Float[np.ndarray, "S S C"], side: int) -> Float[np.ndarray, "T T C"]:
    if len(picture) == side:
        return picture
    planes = [Image.fromarray(np.ascontiguousarray(plane)) for plane in np.moveaxis(picture, -1, 0)]
    return np.stack([np.asarray(one.resize((side, side), Image.Resampling.BILINEAR)) for one in planes], axis=-1)


def look_up(texture: Float[np.ndarray, "T S C"], uv: Float[np.ndarray, "N 2"]) -> Float[np.ndarray, "N C"]:
    """Bilinear lookup on the host; the border's texel beyond the outermost centres."""
    height, width, channels = texture.shape
    u, v = np.asarray(uv, np.float64).T
    place = np.stack([(1 - v) * height - 0.5, u * width - 0.5])
    return np.stack([map_coordinates(texture[..., c], place, order=1, mode="nearest") for c in range(channels)], axis=1)


def trusted_share(model: FaceModel, trust: Float[Array | np.ndarray, "S S"]) -> float:
    """The mean of `trust` over the area of the face (the region "face"; all of a model without it)."""
    faces, uv = np.asarray(model.faces), np.asarray(model.uv, np.float64)
    a, b, c = (np.asarray(model.mean, np.float64)[faces[:, k]] for k in range(3))
    weight = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    if "face" in model.regions:
        weight = weight * np.asarray(model.regions["face"])[faces].mean(axis=1)
    middles = uv[np.asarray(model.topology.uv_faces)].mean(axis=1)
    values = look_up(np.asarray(trust, np.float64)[..., None], middles)[:, 0]
    return float((values * weight).sum() / max(weight.sum(), 1e-12))


class InPhoto(NamedTuple):
    """How the maps of a skin explain its photograph."""

    light: Float[Array, "9 3"]  # the best for the maps
    psnr_material: Float[Array, ""]  # of the maps under that light, dB
    psnr_photo: Float[Array, ""]  # of the unwrapped photograph over it, dB


def explain_photo(
    model: FaceModel,
    params: FaceParams,
    material: Material,
    layer: PhotoLayer | None,
    *,
    photo: Float[np.ndarray, "H W 3"],
    observed: Float[np.ndarray, "68 2"],
    recipe: Recipe,
) -> InPhoto:
    """Find the light under which the maps look most like the photograph (`solve_material_light`), and compare.

    The light of a fit belongs to the fit's own albedo. All is compared over the face where the layer shows it (all of
    the face without a layer), in the crop of the fit.

    Args:
        model: with texture coordinates.
        params: the face; its camera is in pixels of the photo.
        material, layer: its maps.
        photo: display values.
        observed: the landmarks that were given, pixels.
        recipe: what the face was fitted with.
    """
    crop = face_crop(observed, recipe.size, margin=recipe.margin)
    image, valid = apply_crop(photo, crop, recipe.size)
    side = len(material.albedo)
    color = np.zeros((side, side, 3)) if layer is None else np.asarray(layer.color)
    shown = np.ones((side, side)) if layer is None else np.asarray(layer.shown)
    arrays = (jnp.asarray(one, jnp.float32) for one in (color, shown, image, valid, crop.scale, crop.offset))
    maps = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), material)
    return _explain(model, replace(params, appearance={}), maps, *arrays)


def describe_material(
    model: FaceModel, material: Material, layer: PhotoLayer | None, found: InPhoto
) -> dict[str, object]:
    """The summary's entries about the maps: `psnr_material`, `psnr_photo` (with a layer), and `maps`.

    The last has their side in texels, the mean trust over the face, whether the photograph has no colours, so that the
    skin's is a guess, and the light of `explain_photo`.

    Args:
        model: with texture coordinates.
        material, layer: the maps.
        found: of `explain_photo`.
    """
    figures: dict[str, object] = {"psnr_material": found.psnr_material}
    about = {"size": len(material.albedo), "trusted": trusted_share(model, material.trust), "light": found.light}
    if layer is not None:
        figures["psnr_photo"] = found.psnr_photo
        about["colour_guessed"] = is_grey(layer)
    return {**figures, "maps": about}


def is_grey(layer: PhotoLayer) -> bool:
    """Whether a photograph has no colours where it shows the skin: grey, or one tint throughout, as sepia has.

    Of skin in colour, the ratios of red and blue to green vary by several percent over a face.
    """
    color, shown = np.asarray(layer.color, np.float64)[::4, ::4], np.asarray(layer.shown)[::4, ::4] > 0.5
    color = color[shown & (color.min(axis=-1) > 0.08) & (color.max(axis=-1) < 0.97)]
    if len(color) < 100:
        return False
    ratios = np.log(color[:, [0, 2]] / color[:, 1:2])
    # A tint may vary with brightness, but with nothing else.
    powers = np.vander(np.log(color[:, 1]), 3)
    left = ratios - powers @ np.linalg.lstsq(powers, ratios, rcond=None)[0]
    return bool(np.median(np.abs(left)) < TINTED)


@cached_jit("material-figures", results=(InPhoto,))
def _explain(
    model: FaceModel,
    params: FaceParams,
    material: Material,
    color: Float[Array, "L L 3"],
    shown: Float[Array, "L L"],
    image: Float[Array, "S S 3"],
    valid: Float[Array, "S S"],
    scale: Float[Array, ""],
    offset: Float[Array, " 2"],
) -> InPhoto:
    params = replace(params, camera=transform_camera(params.camera, scale, offset))
    size, material = (image.shape[0], image.shape[1]), _reduced(material)
    surface = look(model, params, material, size=size)
    premultiplied = jnp.concatenate([color * shown[..., None], shown[..., None]], axis=-1)
    layer = sample_texture(premultiplied, surface.drawn.uv, surface.drawn.triangle >= 0)
    seen = layer[..., 3:]
    lit = solve_material_light(params, surface, image, face_mask(model, surface.drawn) * valid * seen[..., 0])
    drawn = render_material(model, lit, material, size=size, background=image, edges=False)
    mask = face_mask(model, drawn) * valid * seen[..., 0]
    painted = layer[..., :3] + (1 - seen) * drawn.color
    return InPhoto(lit.light, psnr(drawn.color, image, mask), psnr(painted, image, mask))


def _reduced(material: Material) -> Material:
    """Maps of about one texel a pixel of a fit's crop, so that pores are no noise in the highlights."""
    share = max(len(material.albedo) // FIGURES, 1)
    if share == 1 or len(material.albedo) % share:
        return material

    def reduce(x: Float[Array, "T T *C"]) -> Float[Array, "t t *C"]:
        count = len(x) // share
        return x.reshape(count, share, count, share, *x.shape[2:]).mean(axis=(1, 3))

    small = jax.tree.map(reduce, material)
    return replace(small, normal=safe_normalize(small.normal))

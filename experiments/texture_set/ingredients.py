"""The ingredients that maps are mixed from, in the head's UV layout: made once from the sources, kept in one file."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from default_head.layers import Layers, make_layers
from default_head.skins import polygon_distance, ramp, rasterise, read_brows
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from facejax.atomic import atomic_path
from facejax.face_model.formats.default import load_default_head
from facejax.face_model.surface_landmarks import landmarks
from texture_set.pyramid import fill_smoothly, gaussians, split

log = logging.getLogger(__name__)

FORMAT = 1
LEVELS = 5  # of the pyramid
# Parts of the head that take their detail from different skins; the sides of a pair may differ from each other.
PARTS = ("nose", "mouth", "eyes", "forehead", "ears", "left cheek", "right cheek", "rest")
MOTTLE_MM = (2.2, 7.0, 18.0, 45.0)  # cell sizes of the noise in the skin's colour
MOTTLES = 8  # independent images per size
GRAIN_MM = 0.8  # cell of the finest noise: pores, stubble
BROW_REACH = 13.0  # mm across
EYE_CHROMA = 0.55  # share of the lids' own colour that is removed, since some skins have painted lids
FINE = 2  # brows are drawn this many times larger


@dataclass(frozen=True)
class Ingredients:
    """Images (T, T, ...), row 0 on top, float32 unless said otherwise. Lengths in mm of the mean head."""

    points: np.ndarray  # (68, 3) landmarks
    covered: np.ndarray  # (T, T) bool
    skin: np.ndarray  # (T, T) bool: the skin chart; other covered texels are eyeballs
    position: np.ndarray  # (T, T, 3)
    area: np.ndarray  # (T, T) mm^2 of a texel, 0 outside the skin
    names: np.ndarray  # (N,) of the skins
    tones: np.ndarray  # (N, 3) their optical density
    sharpness: np.ndarray  # (N,) strength of their finest band; the median is 1
    blood: np.ndarray  # (3,) density of one unit of haemoglobin
    bands: list[np.ndarray]  # (N, T/2^l, T/2^l, 3) density around the tone, fine to coarse
    parts: list[np.ndarray]  # (len(PARTS), T/2^l, T/2^l), their sum is 1
    masks: dict[str, np.ndarray]  # (T, T) in [0, 1]
    lips: np.ndarray  # (T, T) distance to the border of the lips' red, negative inside
    hairline: np.ndarray  # (T, T) distance behind the average hairline, negative on the face
    mottles: list[np.ndarray]  # (MOTTLES, T', T') noise of unit variance, T' = T, T/2, T/2, T/4
    grain: np.ndarray  # (T, T) uint16: the cell of each texel
    brow_texels: np.ndarray  # (B,) int32: the texel (row * T + column) of each fine texel near a brow
    brow_place: np.ndarray  # (B, 3) along the brow, across it, side (0 right, 1 left)
    cards: np.ndarray  # (C, h, w) cover of the brow cards, inner end on the left
    card_middles: np.ndarray  # (C, w) row of each card's middle line
    eye_texels: np.ndarray  # (E,) int32
    irises: np.ndarray  # (I, E, 3) display values
    iris_names: np.ndarray  # (I,)

    @property
    def size(self) -> int:
        return len(self.skin)


def make_ingredients(data_dir: Path, topology: dict, size: int, *, seed: int = 0) -> Ingredients:
    """All ingredients from the sources.

    Args:
      data_dir: folder of the sources.
      topology: the head's layout, from `build_default_head.exchange`.
      size: texels per side.
      seed: of the random noise.
    """
    if size % 2**LEVELS:
        raise ValueError(f"a map of {size} texels cannot be halved {LEVELS} times: use a multiple of {2**LEVELS}")
    layers = make_layers(Path(data_dir), topology, size, seed)
    # The layout's brow landmarks lie on the upper edge of the brow, the shipped head's on its middle.
    points = np.asarray(landmarks(head := load_default_head(), head.mean), np.float64)
    cards = read_brows(Path(data_dir) / "skins")
    return mix(layers, topology, points, cards, np.random.default_rng(seed))


def without_skins(ingredients: Ingredients, names: Sequence[str]) -> Ingredients:
    """The ingredients without the skins of these names, to hold them out of a training.

    Raises ValueError for a name that is not among them.
    """
    known = [str(name) for name in ingredients.names]
    if unknown := sorted(set(names) - set(known)):
        raise ValueError(f"no skin named {', '.join(unknown)}: choose from {', '.join(known)}")
    kept = np.array([name not in names for name in known])
    return replace(
        ingredients,
        names=ingredients.names[kept],
        tones=ingredients.tones[kept],
        sharpness=ingredients.sharpness[kept],
        bands=[band[kept] for band in ingredients.bands],
    )


def mix(
    layers: Layers, topology: dict, points: np.ndarray, cards: list[np.ndarray], rng: np.random.Generator
) -> Ingredients:
    """All ingredients from layers.

    Args:
      layers: made for the linear albedo.
      topology: the head's layout.
      points: 68 landmarks (68, 3).
      cards: brow cards.
      rng: of the random noise.
    """
    size = len(layers.skin)
    position, regions = _surface(topology, layers, size)
    paler = 1 - EYE_CHROMA * np.maximum(regions["eyes"], regions["brows"])[..., None]
    details = np.stack([fill_smoothly(_fade(detail, paler), layers.skin) for detail in layers.details])
    parts = [part[..., 0] for part in gaussians(_parts(regions, position)[..., None], LEVELS)]
    bands = split(details, LEVELS)
    sharpness = (bands[0] * layers.face[..., None]).std(axis=(1, 2, 3))
    texels, place = _brow_strip(topology, points, size)
    eyes = np.flatnonzero(layers.covered & ~layers.skin)
    grain = np.floor(position / GRAIN_MM).astype(np.int64) @ np.array([73856093, 19349663, 83492791])
    cell = [np.ascontiguousarray(_noise(position, mm, rng)) for mm in MOTTLE_MM]
    return Ingredients(
        points=points.astype(np.float32),
        covered=layers.covered,
        skin=layers.skin,
        position=position,
        area=np.where(layers.skin, layers.area, 0).astype(np.float32),
        names=np.array(layers.names),
        tones=layers.tones.astype(np.float32),
        sharpness=(sharpness / np.median(sharpness)).astype(np.float32),
        blood=layers.blood.astype(np.float32),
        bands=bands,
        parts=parts,
        masks={name: mask.astype(np.float32) for name, mask in layers.masks.items() if name != "lips"}
        | {name: regions[name] for name in ("forehead", "eyes", "chin", "jaw", "neck")}
        | {"nose bridge": regions["nose"]},
        lips=_lip_distance(position, points),
        hairline=_hairline(layers.masks["hair"], layers),
        mottles=[cell[0], *(_shrink(image, 2) for image in cell[1:3]), _shrink(cell[3], 4)],
        grain=((grain ^ (grain >> 15)) & 0xFFFF).astype(np.uint16),
        brow_texels=texels,
        brow_place=place,
        cards=_pad([gaussian_filter(card, 0.8) for card in cards]),
        card_middles=np.stack([_middle(card) for card in cards]),
        eye_texels=eyes.astype(np.int32),
        irises=layers.irises.reshape(len(layers.irises), -1, 3)[:, eyes],
        iris_names=np.array(layers.iris_names),
    )


def _surface(topology: dict, layers: Layers, size: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Positions and region masks of the texels, extended beyond the charts."""
    faces = np.asarray(topology["faces"], np.int64)
    texels = rasterise(np.asarray(topology["uv"], np.float64)[topology["uv_faces"]], (size, size))
    names = [name for name in topology if name.startswith("region_")]
    values = np.column_stack([topology["vertices"], *(topology[name] for name in names)])
    image = texels.interpolate(values[faces]).astype(np.float32)
    image = fill_smoothly(image, texels.covered & layers.skin)
    return image[..., :3], {name.removeprefix("region_"): image[..., 3 + k] for k, name in enumerate(names)}


def _fade(detail: np.ndarray, share: np.ndarray) -> np.ndarray:
    grey = detail.mean(axis=-1, keepdims=True)
    return grey + share * (detail - grey)


def _parts(regions: dict[str, np.ndarray], position: np.ndarray) -> np.ndarray:
    """(len(PARTS), T, T): soft masks that sum to one; earlier parts cover later ones."""
    left = ramp(position[..., 0], -8, 8)
    cheek = np.maximum(regions["cheeks"], np.maximum(regions["jaw"], 0.0))
    masks = {
        "nose": regions["nose"], "mouth": np.maximum(regions["mouth"], regions["chin"]),
        "eyes": np.maximum(regions["eyes"], regions["brows"]), "forehead": regions["forehead"],
        "ears": regions["ears"], "left cheek": cheek * left, "right cheek": cheek,
    }  # fmt: skip
    remaining = np.ones(position.shape[:2], np.float32)
    result = []
    for name in PARTS[:-1]:
        result.append(np.clip(masks[name], 0, 1) * remaining)
        remaining = remaining - result[-1]
    return np.stack([*result, remaining]).astype(np.float32)


def _lip_distance(position: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Signed distance in the front view to the outer border of the lips, far away behind them."""
    flat = np.stack([-np.abs(position[..., 0]), position[..., 1]], axis=-1)
    right, left = points[48:60, :2], points[[54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55], :2] * [-1, 1]
    outline = 0.5 * (right + left)
    near = (np.abs(flat - points[62, :2]) < [60, 40]).all(axis=-1) & (position[..., 2] > points[48, 2] - 12)
    result = np.full(position.shape[:2], 40.0, np.float32)
    result[near] = np.clip(polygon_distance(flat[near].astype(np.float64), outline), -40, 40)
    return result


def _hairline(hair: np.ndarray, layers: Layers) -> np.ndarray:
    """Signed distance from where the hair mask is a half, in mm along the chart; capped far from it."""
    texel = np.sqrt(np.median(layers.area[layers.skin & (hair > 0.05) & (hair < 0.95)]))
    inside = fill_smoothly(hair[..., None].astype(np.float32), layers.skin)[..., 0] > 0.5
    distance = np.asarray(distance_transform_edt(inside)) - np.asarray(distance_transform_edt(~inside))
    return np.clip(gaussian_filter(distance * texel, 2.0), -60, 60).astype(np.float32)


def _noise(position: np.ndarray, cell: float, rng: np.random.Generator) -> np.ndarray:
    """(MOTTLES, T, T): smooth noise of unit variance defined in space, so that the chart's distortion does not show."""
    result = []
    for _ in range(MOTTLES):
        lattice = rng.standard_normal((40, 40, 40)).astype(np.float32)
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        where = (position.reshape(-1, 3) @ turn / cell + rng.uniform(0, 40, 3)).T
        image = map_coordinates(lattice, where, order=1, mode="grid-wrap").reshape(position.shape[:2])
        result.append((image - image.mean()) / image.std())
    return np.stack(result).astype(np.float32)


def _shrink(images: np.ndarray, factor: int) -> np.ndarray:
    n, rows, columns = images.shape
    return images.reshape(n, rows // factor, factor, columns // factor, factor).mean(axis=(2, 4))


def _brow_strip(topology: dict, points: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The fine texels around both brows: their texel, and their place along and across the brow landmarks' curve."""
    from scipy.interpolate import CubicSpline

    uv = np.asarray(topology["uv"], np.float64)[topology["uv_faces"]]
    skin = np.flatnonzero(np.asarray(topology["face_part"]) == 0)
    faces = np.asarray(topology["faces"], np.int64)[skin]
    vertices = np.asarray(topology["vertices"], np.float64)
    inner_to_outer = 0.5 * (points[22:27] + points[17:22][::-1] * [-1, 1, 1])
    mirrored = np.abs(vertices) * [1, 0, 0] + vertices * [0, 1, 1]
    near = np.linalg.norm(mirrored[faces][:, :, None] - inner_to_outer, axis=-1)
    kept = np.flatnonzero(near.min(axis=(1, 2)) < BROW_REACH + 14)
    texels = rasterise(uv[skin[kept]], (FINE * size, FINE * size))
    rows, columns = np.nonzero(texels.covered)
    p = texels.interpolate(vertices[faces[kept]])[rows, columns]
    side = p[:, 0] > 0
    p[:, 0] = np.abs(p[:, 0])
    chord = np.r_[0, np.cumsum(np.linalg.norm(np.diff(inner_to_outer, axis=0), axis=1))]
    spline = CubicSpline(chord, inner_to_outer)
    along = np.linspace(-0.12 * chord[-1], 1.12 * chord[-1], 200)
    inside = np.clip(along, 0, chord[-1])
    curve = spline(inside) + (along - inside)[:, None] * spline(inside, 1)
    nearest = np.argmin(np.linalg.norm(p[:, None] - curve[None], axis=-1), axis=1)
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    offset = p - curve[nearest]
    forward = np.sum(offset * tangent[nearest], axis=1)
    across = np.linalg.norm(offset - forward[:, None] * tangent[nearest], axis=1) * np.sign(offset[:, 1])
    chosen = np.abs(across) < BROW_REACH
    place = np.column_stack([(along[nearest] + forward) / chord[-1], across, side])[chosen]
    return ((rows // FINE) * size + columns // FINE)[chosen].astype(np.int32), place.astype(np.float32)


def _middle(card: np.ndarray) -> np.ndarray:
    """The row of the middle of the hairs in each column, smoothed."""
    mass = gaussian_filter(card.sum(axis=0), 6) + 1e-3
    return (gaussian_filter((card * np.arange(len(card))[:, None]).sum(axis=0), 6) / mass).astype(np.float32)


def _pad(cards: list[np.ndarray]) -> np.ndarray:
    tall = max(len(card) for card in cards)
    return np.stack([np.pad(card, ((0, tall - len(card)), (0, 0))) for card in cards]).astype(np.float32)


def save_ingredients(path: Path, ingredients: Ingredients) -> None:
    """Write one .npz, with the bands in half precision."""
    arrays = {}
    for field in fields(ingredients):
        value = getattr(ingredients, field.name)
        if isinstance(value, dict):
            arrays |= {f"{field.name}/{key}": item for key, item in value.items()}
        elif isinstance(value, list):
            arrays |= {f"{field.name}/{k}": item.astype(np.float16) for k, item in enumerate(value)}
        else:
            arrays[field.name] = value
    with atomic_path(path) as partial:
        np.savez(partial, format=FORMAT, **arrays)


def load_ingredients(path: Path) -> Ingredients:
    """Read what `save_ingredients` wrote. Raises ValueError for a file of another kind or version."""
    with np.load(path, allow_pickle=False) as z:
        if "format" not in z or int(z["format"]) != FORMAT:
            raise ValueError(f"{path}: not ingredients of format {FORMAT}; delete it, and it will be made again")
        arrays = {name: z[name] for name in z.files if name != "format"}
    values = {}
    for field in fields(Ingredients):
        inner = {name.split("/", 1)[1]: v for name, v in arrays.items() if name.startswith(f"{field.name}/")}
        if field.name in arrays:
            values[field.name] = arrays[field.name]
        elif field.name == "masks":
            values[field.name] = inner
        else:
            values[field.name] = [inner[str(k)].astype(np.float32) for k in range(len(inner))]
    return Ingredients(**values)

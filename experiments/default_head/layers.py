"""The ingredients of the albedo, as images in the head's own UV layout: skins, brows, irises and masks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from default_head.makehuman import carry, load_ict, load_makehuman, open_share, register_ict
from default_head.skins import (
    EYE_DISC,
    MM_PER_PIXEL,
    Texels,
    describe_crop,
    hairline,
    polygon_distance,
    ramp,
    rasterise,
    read_brows,
    read_irises,
    read_skins,
    sample,
)
from facejax.face_model.builder import SurfaceIndex

FINE = 2  # layers are drawn this many times larger, then averaged down
BROW_WIDTHS = (1.25, 1.9)  # times the cards' own
IRIS = 0.375  # radius of the iris over the eyeball's, which is too large in the source
BROW_RIGHT, BROW_LEFT = slice(17, 22), slice(22, 27)  # of the 68 landmarks


@dataclass(frozen=True)
class Layers:
    """Images (T, T, ...), row 0 on top; zero where nothing is covered."""

    covered: np.ndarray  # (T, T) bool
    skin: np.ndarray  # (T, T) bool: the skin chart; other covered texels are eyeballs
    face: np.ndarray  # (T, T) the `face` region
    area: np.ndarray  # (T, T) mm^2 of a texel
    details: np.ndarray  # (N, T, T, 3) optical density around the tone, one per skin
    names: tuple[str, ...]  # of the skins
    tones: np.ndarray  # (N, 3)
    blood: np.ndarray  # (3,) density of one unit of haemoglobin, measured on the lips
    masks: dict[str, np.ndarray]  # (T, T) each, in [0, 1]
    brows: np.ndarray  # (B, T, T) cover: each card thin and thick
    stubble: np.ndarray  # (T, T) grain of short hair, around 1
    freckles: np.ndarray  # (3, T, T)
    irises: np.ndarray  # (E, T, T, 3) display values of the eyeballs
    iris_names: tuple[str, ...]

    def mirrored(self, image: np.ndarray) -> np.ndarray:
        """The values of the other side: the layout is symmetric about u = 1/2."""
        return image[..., ::-1, :] if image.ndim > 2 and image.shape[-1] == 3 else image[..., ::-1]


class _Grid:
    """The fine texel grid of the head, and averages over its texels."""

    def __init__(self, topology: dict, size: int):
        self.size = size
        self.faces = np.asarray(topology["faces"], np.int64)
        uv = np.asarray(topology["uv"], np.float64)[topology["uv_faces"]]
        self.texels: Texels = rasterise(uv, (FINE * size, FINE * size))
        self.part = np.where(self.texels.covered, np.asarray(topology["face_part"])[self.texels.triangle], -1)
        self.skin = self.part == 0
        self.vertices = np.asarray(topology["vertices"], np.float64)
        self.skin_faces = np.asarray(topology["face_part"]) == 0
        self.position = self.texels.interpolate(self.vertices[self.faces])
        corners = self.vertices[self.faces]
        surface = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
        edges = uv[:, 1:] - uv[:, :1]
        chart = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0])
        per_texel = surface / np.maximum(chart, 1e-12) / size**2
        self.area = self.down(np.where(self.texels.covered, per_texel[self.texels.triangle], 0.0))

    def down(self, image: np.ndarray) -> np.ndarray:
        """Means over the covered fine texels of each texel: (FT, FT, ...) to (T, T, ...), float32."""
        cover = self._sum(self.texels.covered.astype(np.float64))
        total = self._sum(np.where(self._wide(self.texels.covered, image), image, 0.0))
        return (total / np.maximum(self._wide(cover, total), 1)).astype(np.float32)

    def _sum(self, image):
        return image.reshape(self.size, FINE, self.size, FINE, *image.shape[2:]).sum(axis=(1, 3))

    @staticmethod
    def _wide(mask, image):
        return mask.reshape(mask.shape + (1,) * (image.ndim - 2))


def make_layers(data_dir: Path, topology: dict, size: int, seed: int) -> Layers:
    """Register, look up and draw all layers.

    Args:
      data_dir: folder with `ict/` and `skins/`.
      topology: the arrays of `build_default_head.exchange`.
      size: texels per side.
      seed: of the random noise.
    """
    data_dir = Path(data_dir)
    makehuman, ict = load_makehuman(data_dir), load_ict(data_dir)
    moved = carry(register_ict(ict, makehuman), ict, topology)
    grid = _Grid(topology, size)
    there = grid.texels.interpolate(moved[grid.faces])
    on_skin = there[grid.skin]
    found = SurfaceIndex(makehuman.vertices, makehuman.head_faces).query(on_skin)
    address = np.einsum("nk,nkd->nd", found.weights, makehuman.head_uv[found.triangles])
    near = ramp(found.distances, 6, 2)[:, None]
    crop = describe_crop(makehuman)
    skins = read_skins(data_dir / "skins", crop)
    details = []
    for skin in skins:
        soft = gaussian_filter(skin.detail, (0.35 / MM_PER_PIXEL, 0.35 / MM_PER_PIXEL, 0))
        image = np.zeros((*grid.skin.shape, 3), np.float32)
        image[grid.skin] = sample(soft, address) * near
        details.append(_even_sides(grid.down(image), grid.down(grid.skin * 1.0)))
    points = _landmarks(topology)
    lips = np.array([skin.lips for skin in skins if skin.tone[1] < 1.5]).mean(axis=0)
    irises, cards = read_irises(data_dir / "skins"), read_brows(data_dir / "skins")
    rng = np.random.default_rng(seed)
    region = topology.get("region_face", np.ones(len(topology["vertices"])))
    return Layers(
        covered=grid.down(np.ones(grid.skin.shape)) > 0,
        skin=grid.down(grid.skin * 1.0) > 0.5,
        face=grid.down(grid.texels.interpolate(np.asarray(region, np.float64)[grid.faces][..., None])[..., 0]),
        area=grid.area,
        details=np.stack(details),
        names=tuple(skin.name for skin in skins),
        tones=np.stack([skin.tone for skin in skins]),
        blood=lips / lips[1],
        masks={name: grid.down(mask) for name, mask in _masks(grid, there, points).items()},
        brows=np.stack([grid.down(_draw_brow(grid, points, card, k)) for k in BROW_WIDTHS for card in cards]),
        stubble=grid.down(_grain(grid.position, rng)),
        freckles=np.stack([grid.down(_spots(grid, points, rng)) for _ in range(3)]),
        irises=np.stack([grid.down(_draw_eyes(grid, image)) for _, image in irises]),
        iris_names=tuple(name for name, _ in irises),
    )


def _landmarks(topology: dict) -> np.ndarray:
    corners = np.asarray(topology["vertices"], np.float64)[np.asarray(topology["faces"])[topology["landmark_faces"]]]
    return np.einsum("lk,lkd->ld", topology["landmark_weights"], corners)


def _even_sides(detail: np.ndarray, cover: np.ndarray) -> np.ndarray:
    """Make detail broader than two texels symmetric: photographs are lit from one side, people are not."""
    total = np.maximum(gaussian_filter(cover, 2.0)[..., None], 1e-3)
    low = gaussian_filter(detail, (2.0, 2.0, 0)) / total
    return (detail + 0.5 * (low[:, ::-1] - low)) * (cover[..., None] > 0)


def _masks(grid: _Grid, there: np.ndarray, points: np.ndarray) -> dict[str, np.ndarray]:
    """Smooth regions of the skin; `there` is the position on the MakeHuman head, which has the hairline."""
    p = grid.position
    x, y, z = np.abs(p[..., 0]), p[..., 1], p[..., 2]
    front = np.stack([-x, y], axis=-1)
    right = points[:, :2]
    lip = np.where(z > points[48, 2] - 12, polygon_distance(front, _closed_lips(right)), 99.0)
    lid = polygon_distance(front, right[36:42])

    def spot(centre, *radius):
        radius = np.broadcast_to(radius, 3)
        offset = [(x - abs(centre[0])) / radius[0], (y - centre[1]) / radius[1], (z - centre[2]) / radius[2]]
        return np.exp(-(offset[0] ** 2 + offset[1] ** 2 + offset[2] ** 2))

    cheek = (points[36] + points[31] + points[48] + points[2]) / 4
    mx, my, mz = np.abs(there[..., 0]), there[..., 1], there[..., 2]
    hair = ramp(hairline(mx, my, mz), -6, 12) * ramp(my, 660, 690)
    ears = ramp(mx, 66, 72) * ramp(my, 738, 728) * ramp(my, 662, 670) * ramp(mz, 20, 28) * ramp(mz, 72, 62)
    masks = {
        "cheeks": spot(cheek + np.array([0, 6, 0]), 20, 17, 30),
        "nose": spot(points[30], 13, 14, 18),
        "chin": spot(points[8] + np.array([0, 10, 4]), 18, 12, 18),
        "ears": ears,
        "lips": ramp(lip, 0.8, -0.8),
        "sockets": ramp(lid, 12, 1) * ramp(y, points[37, 1] + 14, points[37, 1]) * (z > points[36, 2] - 18),
        "beard": _beard(x, y, z, points) * ramp(lip, 0.5, 4.0) * (1 - ears),
        "hair": hair * (1 - ramp(my, 742, 722) * ramp(my, 655, 670) * ramp(mz, 14, 32) * ramp(mz, 78, 62)),
        "lashes": _lash_line(grid, points),
    }
    centre = 0.5 * (points[33] + points[62])
    openness = open_share(grid.vertices, grid.faces[grid.skin_faces], centre, np.array([30, 30, 40]), rays=40)
    masks["cavity"] = grid.texels.interpolate(ramp(openness, 0.42, 0.12)[grid.faces][..., None])[..., 0]
    return {name: np.where(grid.skin, mask, 0.0) for name, mask in masks.items()} | {"iris": _iris(grid)}


def _closed_lips(right: np.ndarray) -> np.ndarray:
    """The right half of the lips' outline, closed along the midline."""
    return right[[48, 49, 50, 51, 57, 58, 59]]


def _beard(x, y, z, points) -> np.ndarray:
    """Moustache, chin, jaw up to the ears, and the top of the neck."""
    nose, wing, mouth, jaw, ear = points[33], points[31], points[48], points[4], points[1]
    line_x = [0, abs(wing[0]), abs(mouth[0]) + 8, abs(jaw[0]) - 4, abs(ear[0]) - 6, abs(ear[0]) + 40]
    line_y = [nose[1] - 1, wing[1] - 3, mouth[1] + 6, mouth[1] + 6, ear[1] - 12, ear[1] + 6]
    below = ramp(np.interp(x, line_x, line_y) - y, -5, 12) * np.maximum(ramp(points[33, 1] - y, 0, 4), ramp(x, 30, 45))
    ahead = ramp(z, ear[2] - 34, ear[2] - 14)
    neck = ramp(y, points[8][1] - 26, points[8][1] - 4)
    return below * ahead * neck


def _lash_line(grid: _Grid, points: np.ndarray) -> np.ndarray:
    """A thin band along the upper lid's margin, thinner along the lower."""
    p = np.stack([-np.abs(grid.position[..., 0]), grid.position[..., 1]], axis=-1)
    shell = grid.position[..., 2] > points[36, 2] - 14
    upper = _curve(points[36:40, :2])
    lower = _curve(points[[39, 40, 41, 36], :2])
    top = np.min(np.linalg.norm(p[grid.skin][:, None] - upper[None], axis=-1), axis=1)
    bottom = np.min(np.linalg.norm(p[grid.skin][:, None] - lower[None], axis=-1), axis=1)
    band = np.zeros(grid.skin.shape)
    band[grid.skin] = np.maximum(np.exp(-((top / 0.9) ** 2)), 0.4 * np.exp(-((bottom / 0.7) ** 2)))
    return band * shell


def _curve(points: np.ndarray, count: int = 60) -> np.ndarray:
    """A dense smooth curve through a few points (cubic in chord length)."""
    from scipy.interpolate import CubicSpline

    chord = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    return CubicSpline(chord, points)(np.linspace(0, chord[-1], count))


def _draw_brow(grid: _Grid, points: np.ndarray, card: np.ndarray, width: float) -> np.ndarray:
    """A brow card laid along the brow landmarks of both sides, its hairs' middle line on the landmarks' curve.

    `width` stretches it across.
    """
    inner_to_outer = 0.5 * (points[BROW_LEFT] + points[BROW_RIGHT][::-1] * [-1, 1, 1])
    curve = _curve(inner_to_outer)
    step = np.diff(curve, axis=0)
    along = np.r_[0, np.cumsum(np.linalg.norm(step, axis=1))]
    p = grid.position * [1, 1, 1]
    p[..., 0] = np.abs(p[..., 0])
    chosen = grid.skin & (np.abs(p[..., 1] - curve[:, 1].mean()) < 25) & (p[..., 2] > curve[:, 2].min() - 15)
    gap = p[chosen][:, None] - curve[None]
    nearest = np.argmin(np.linalg.norm(gap, axis=-1), axis=1)
    rows = np.arange(len(nearest))
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    offset = gap[rows, nearest]
    s = along[nearest] + np.sum(offset * tangent[nearest], axis=1)
    height = np.linalg.norm(offset - np.sum(offset * tangent[nearest], axis=1)[:, None] * tangent[nearest], axis=1)
    height *= np.sign(offset[:, 1])
    # The card's own arch is mostly replaced by the landmarks' curve; its hairs and thickness stay.
    columns = np.arange(card.shape[1])
    mass = gaussian_filter(card.sum(axis=0), 6) + 1e-3
    middle = gaussian_filter((card * np.arange(card.shape[0])[:, None]).sum(axis=0), 6) / mass
    own = np.polyval(np.polyfit(columns, middle, 2, w=mass), columns)
    shift = middle - 0.25 * (own - own.mean())
    scale = card.shape[1] / (along[-1] * 1.06)
    column = np.clip((s + 0.03 * along[-1]) * scale, -1, card.shape[1])
    row = shift[np.clip(column, 0, card.shape[1] - 1).astype(int)] - (height + 1.0) * scale / width
    soft = gaussian_filter(card, 0.25 * scale)
    inside = (column >= 0) & (column < card.shape[1]) & (row >= 0) & (row < card.shape[0] - 1)
    values = sample(soft[..., None], np.stack([column / card.shape[1], 1 - row / card.shape[0]], axis=-1))[..., 0]
    image = np.zeros(grid.skin.shape)
    image[chosen] = np.where(inside, np.clip(values, 0, 1) ** 0.75, 0.0)
    return image


def _grain(position: np.ndarray, rng: np.random.Generator, cell: float = 0.8) -> np.ndarray:
    """Noise around 1 on a grid of `cell` mm in space, so that the chart's distortion does not show."""
    table = rng.normal(1.0, 0.5, 1 << 16)
    key = np.floor(position / cell).astype(np.int64) @ np.array([73856093, 19349663, 83492791])
    return np.clip(table[(key ^ (key >> 15)) & 0xFFFF], 0, 2)


def _spots(grid: _Grid, points: np.ndarray, rng: np.random.Generator, count: int = 420) -> np.ndarray:
    """Freckles: small soft spots, most of them on nose and cheeks."""
    p = grid.position[grid.skin]
    middle = 0.5 * (points[28] + points[30])
    weight = np.exp(-(((np.abs(p[:, 0]) - 22) / 26) ** 2) - ((p[:, 1] - middle[1]) / 24) ** 2) * (p[:, 2] > 40) + 0.004
    centres = p[rng.choice(len(p), count, p=weight / weight.sum())]
    radius, depth = rng.uniform(0.4, 1.0, count), rng.uniform(0.3, 1.0, count)
    from scipy.spatial import KDTree

    value = np.zeros(len(p))
    for ids, centre, r, d in zip(KDTree(p).query_ball_point(centres, 3 * radius), centres, radius, depth, strict=True):
        value[ids] = np.maximum(value[ids], d * np.exp(-np.sum((p[ids] - centre) ** 2, axis=1) / r**2))
    image = np.zeros(grid.skin.shape)
    image[grid.skin] = value
    return image


def _draw_eyes(grid: _Grid, image: np.ndarray) -> np.ndarray:
    """An eye image seen along the gaze axis, on both eyeballs; the white is evened and dims towards the back."""
    result = np.zeros((*grid.skin.shape, 3), np.float32)
    for part in np.unique(grid.part[grid.part > 0]):
        chosen = grid.part == part
        p = grid.position[chosen]
        centre, radius = _sphere(p)
        local = (p - centre) / radius
        local[:, 0] *= np.sign(centre[0])
        address = 0.5 + 0.5 * local[:, :2] * (2 * EYE_DISC / len(image)) * (0.40 / IRIS)
        colour = sample(gaussian_filter(image, (1.5, 1.5, 0)), address)
        off_axis = np.hypot(local[:, 0], local[:, 1])
        off_axis = np.where(local[:, 2] > 0, off_axis, 1.0)
        white = np.array([0.73, 0.69, 0.67]) + 0.3 * (
            colour - colour[(off_axis > 0.45) & (off_axis < 0.6)].mean(axis=0)
        )
        grey = colour.mean(axis=1, keepdims=True)
        # Painted irises: paler and darker than they come, no iris is lighter than the white around it.
        ring = (off_axis > 0.15) & (off_axis < IRIS)
        tint = min(0.95, 0.36 / float(grey[ring].mean())) * (grey + 0.6 * (colour - grey))
        iris = ramp(off_axis, IRIS + 0.04, IRIS)[:, None]
        back = ramp(off_axis, 0.62, 0.8)[:, None]
        white = white * (1 - back) + np.array([0.66, 0.58, 0.55]) * back
        white *= 1 - 0.3 * ramp(local[:, 1:2], 0.05, 0.45)  # the upper lid's shade, which no light of the model casts
        result[chosen] = np.clip(iris * tint + (1 - iris) * white, 0, 1)
    return result


def _iris(grid: _Grid) -> np.ndarray:
    """The coloured discs."""
    result = np.zeros(grid.skin.shape)
    for part in np.unique(grid.part[grid.part > 0]):
        chosen = grid.part == part
        centre, radius = _sphere(grid.position[chosen])
        local = (grid.position[chosen] - centre) / radius
        result[chosen] = np.where(local[:, 2] > 0, ramp(np.hypot(local[:, 0], local[:, 1]), IRIS + 0.04, IRIS), 0.0)
    return result


def _sphere(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Least-squares sphere."""
    a = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solution = np.linalg.lstsq(a, np.sum(points**2, axis=1), rcond=None)[0]
    return solution[:3], float(np.sqrt(solution[3] + solution[:3] @ solution[:3]))


def fill_outside(image: np.ndarray, covered: np.ndarray, reach: float = np.inf) -> np.ndarray:
    """Uncovered texels within `reach` take their nearest covered texel, so that interpolation at a border is clean."""
    found: Any = distance_transform_edt(~covered, return_indices=True)
    distance, (row, column) = found
    filled = image[..., row, column, :]
    return np.where((distance <= reach)[..., None], filled, 0.0).astype(image.dtype)

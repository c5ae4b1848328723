"""Eyeballs for a mesh that has none: two textured spheres behind the lids.

FFHQ-UV (Bai et al., CVPR 2023) adds eyeballs to its mesh by hand; here the eye landmarks give their place. They get
islands of their own in free squares of the layout. So one texture still covers the whole head, and every texture made
for the old layout stays valid.
"""

from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from scipy.ndimage import distance_transform_cdt

from facejax.face_model import FaceModel, LinearAlbedo, MorphableModel
from facejax.mesh import face_neighbors
from facejax.unwrap.surfaces import EYEBALLS, Surface, as_surface
from facejax.unwrap.texels import _layout as layout_texels

RIGHT_EYE, LEFT_EYE = slice(36, 42), slice(42, 48)  # the subject's own sides; the right eye comes first in iBUG order
RADIUS = 0.42  # of the distance between an eye's corners: 12 mm for the usual 29
CLEARANCE = 0.05  # of the radius, between the sphere and the lid landmarks in front of it
RINGS, SPOKES = 12, 24
GRID = 512  # texels per side of the grid on which free squares are searched
SMALLEST = 0.03  # side of the smallest usable square, as a share of the map's
WHITE, IRIS, PUPIL = (0.86, 0.84, 0.82), (0.36, 0.25, 0.17), (0.03, 0.03, 0.03)
IRIS_ANGLE, PUPIL_ANGLE = np.deg2rad(28.0), np.deg2rad(11.0)  # seen from the sphere's centre


@dataclass(frozen=True)
class Eye:
    """One sphere; lengths in the mesh's unit."""

    centre: Float[np.ndarray, " 3"]
    radius: float
    frame: Float[np.ndarray, "3 3"]  # rows: unit vectors to the subject's left, up, forward


def place_eyes(surface: FaceModel | Surface, *, radius: float = RADIUS) -> tuple[Eye, Eye]:
    """The subject's right and left eyeball, from the six landmarks of each eye.

    The radius is `radius` times the distance between the eye's corners. The centre lies straight behind the middle of
    the eye, far enough back that the four lid landmarks lie just off the sphere. "Straight" is along the face's own
    axes, which the eyes and the chin give.
    """
    marks = as_surface(surface).landmarks
    across = marks[LEFT_EYE].mean(axis=0) - marks[RIGHT_EYE].mean(axis=0)
    forward = np.cross(across, marks[27] - marks[8])  # second factor: from the chin to the bridge of the nose
    frame = np.stack([across, np.cross(forward, across), forward])
    frame /= np.linalg.norm(frame, axis=1, keepdims=True)
    return _behind_lids(marks[RIGHT_EYE], frame, radius), _behind_lids(marks[LEFT_EYE], frame, radius)


def _behind_lids(marks: Float[np.ndarray, "6 3"], frame: np.ndarray, ratio: float) -> Eye:
    forward = frame[2]
    radius = ratio * float(np.linalg.norm(marks[0] - marks[3]))
    lids = marks[[1, 2, 4, 5]]
    middle = lids.mean(axis=0)
    offset = lids - middle
    depth = offset @ forward
    beside = np.sum(offset**2, axis=1) - depth**2
    reach = (radius * (1 + CLEARANCE)) ** 2 - beside
    if reach.min() <= 0:
        raise ValueError(f"eyeballs of radius {radius:.3g} are smaller than the opening of the lids: raise radius=")
    return Eye(middle - (np.sqrt(reach) - depth).mean() * forward, radius, frame)


def add_eyeballs(model: FaceModel | Surface, *, radius: float = RADIUS) -> FaceModel | Surface:
    """The model (or `Surface`) with two more parts, "eye_right" and "eye_left", and the region "eyeballs".

    Each eye is a sphere of 504 triangles with the pole in front and a small hole at the back. Its texture is a disc of
    equal areas, in one of the two largest free squares of the layout, so old textures remain valid. The identity basis
    of a face model moves the spheres with the eyes' corners and scales them with the distance between the corners;
    expressions leave them still. The mean of a linear albedo shows a brown iris there, without variation; other albedo
    models are left as they are.

    Raises ValueError when the model has eyeballs, no landmarks, or no free square for them.
    """
    surface = as_surface(model)
    named = isinstance(model, FaceModel) and EYEBALLS in model.regions and bool(jnp.any(model.regions[EYEBALLS] > 0))
    if named or surface.eyeballs.any():
        raise ValueError("add_eyeballs: the mesh has eyeballs already: use it as it is")
    eyes, squares = place_eyes(surface, radius=radius), free_squares(model)
    unit, faces, disc = _sphere()
    points = np.concatenate([eye.centre + eye.radius * unit @ eye.frame for eye in eyes])
    uv = np.concatenate([corner + side * disc for corner, side in squares])
    both = np.concatenate([faces, faces + len(unit)])
    if isinstance(model, FaceModel):
        return _extend(model, points, both, uv, squares)
    return replace(
        surface,
        vertices=np.concatenate([surface.vertices, points]),
        faces=np.concatenate([surface.faces, both + len(surface.vertices)]),
        uv=np.concatenate([surface.uv, uv]),
        uv_faces=np.concatenate([surface.uv_faces, both + len(surface.uv)]),
        eyeballs=np.concatenate([surface.eyeballs, np.ones(len(both), bool)]),
    )


def free_squares(model: FaceModel | Surface) -> list[tuple[Float[np.ndarray, " 2"], float]]:
    """Lower-left corner and side, in uv, of the two largest squares of the layout that no triangle touches."""
    uv, faces = (model.uv, model.topology.uv_faces) if isinstance(model, FaceModel) else (model.uv, model.uv_faces)
    texels = layout_texels(jnp.asarray(uv, jnp.float32), jnp.asarray(faces, jnp.int32), GRID)
    taken = np.pad(np.asarray(texels.covered), 1, constant_values=True)
    squares = []
    for _ in range(2):
        distance = np.asarray(distance_transform_cdt(~taken, metric="chessboard"))
        row, column = np.unravel_index(np.argmax(distance), distance.shape)
        reach = int(distance[row, column]) - 2  # half the side, less two texels of margin for blurred lookups
        side = (2 * reach + 1) / GRID
        if side < SMALLEST:
            raise ValueError("add_eyeballs: the texture layout has no room for eyes: leave two free squares in its UV")
        taken[row - reach - 1 : row + reach + 2, column - reach - 1 : column + reach + 2] = True
        squares.append((np.array([column - 1 - reach, GRID - (row - 1 + reach + 1)]) / GRID, side))
    side = min(size for _, size in squares)  # both eyes alike
    squares = [(corner + (size - side) / 2, side) for corner, size in squares]
    return sorted(squares, key=lambda square: square[0][0])  # the right eye on the map's left, as on the face


def paint_eyes(texture: Float[Array, "T R 3"], model: FaceModel | Surface) -> Float[Array, "T R 3"]:
    """The texture (display values) with white, iris and pupil painted on the islands that `add_eyeballs` makes.

    `model` is the model without eyeballs.
    """
    height, width, _ = texture.shape
    painted, mask = _drawn_eyes((height, width), free_squares(model))
    return jnp.where(mask[..., None], painted, texture)


def _drawn_eyes(shape: tuple[int, int], squares: list) -> tuple[Float[Array, "T R 3"], Bool[Array, "T R"]]:
    """The colours of the islands on a map, and a mask of them."""
    v, u = 1 - (np.arange(shape[0]) + 0.5) / shape[0], (np.arange(shape[1]) + 0.5) / shape[1]
    color, mask = np.zeros((*shape, 3), np.float32), np.zeros(shape, bool)
    for corner, side in squares:
        x, y = np.meshgrid((u - corner[0]) / side * 2 - 1, (v - corner[1]) / side * 2 - 1)
        inside = np.maximum(np.abs(x), np.abs(y)) <= 1
        color[inside], mask[inside] = _eye_color(2 * np.arcsin(np.minimum(np.hypot(x, y), 1)))[inside], True
    return jnp.asarray(color), jnp.asarray(mask)


def _eye_color(angle: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N 3"]:
    """Display colour at an angle from the direction of sight."""

    def within(limit: float) -> np.ndarray:
        return np.clip((limit - angle) / np.deg2rad(2.0) + 0.5, 0.0, 1.0)[..., None]

    white, iris, pupil = (np.array(color) for color in (WHITE, IRIS, PUPIL))
    color = white + within(IRIS_ANGLE) * (iris - white)
    return color + within(PUPIL_ANGLE) * (pupil - color)


def _sphere() -> tuple[Float[np.ndarray, "N 3"], Int[np.ndarray, "M 3"], Float[np.ndarray, "N 2"]]:
    """Unit sphere around +z: points, triangles (counter-clockwise from outside), and its disc of equal areas in uv.

    A cap one ring wide at the back, which nobody sees, stays open, so the disc has no seam.
    """
    angle = np.pi * np.arange(1, RINGS) / RINGS
    turn = 2 * np.pi * np.arange(SPOKES) / SPOKES
    theta, phi = (x.ravel() for x in np.meshgrid(angle, turn, indexing="ij"))
    points = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
    disc = 0.5 + 0.5 * np.sin(theta / 2)[:, None] * np.stack([np.cos(phi), np.sin(phi)], axis=1)
    spoke = np.arange(SPOKES)
    after = (spoke + 1) % SPOKES
    faces = [np.stack([np.zeros(SPOKES, int), 1 + spoke, 1 + after], axis=1)]
    for ring in range(RINGS - 2):
        near, far = 1 + ring * SPOKES, 1 + (ring + 1) * SPOKES
        faces.append(np.stack([near + spoke, far + spoke, far + after], axis=1))
        faces.append(np.stack([near + spoke, far + after, near + after], axis=1))
    return np.vstack([[0.0, 0.0, 1.0], points]), np.concatenate(faces), np.vstack([[0.5, 0.5], disc])


def _extend(model: FaceModel, points: np.ndarray, faces: np.ndarray, uv: np.ndarray, squares: list) -> FaceModel:
    count, half, topology = len(model.mean), len(points) // 2, model.topology

    def longer(values: Array, tail: np.ndarray) -> Array:
        return jnp.concatenate([values, jnp.asarray(tail, values.dtype)])

    def wider(basis: Array, tail: np.ndarray) -> Array:
        return jnp.concatenate([basis, jnp.asarray(tail, basis.dtype)], axis=1)

    all_faces = longer(model.faces, faces + count)
    part = len(model.part_names) + np.repeat([0, 1], len(faces) // 2)
    other = np.concatenate([half + _mirrored(), _mirrored()]) + count
    none = np.zeros(len(points))
    if isinstance(model, MorphableModel):
        model = replace(model, albedo=_with_eyes(model.albedo, count, squares))
    return replace(
        model,
        mean=longer(model.mean, points),
        identity_basis=wider(model.identity_basis, _follow_corners(model, points)),
        expression_basis=wider(model.expression_basis, np.zeros((len(model.expression_basis), len(points), 3))),
        uv=longer(model.uv, uv),
        regions={name: longer(mask, none) for name, mask in model.regions.items()}
        | {EYEBALLS: longer(jnp.zeros(count), none + 1)},
        topology=replace(
            topology,
            faces=all_faces,
            uv_faces=longer(topology.uv_faces, faces + len(model.uv)),
            neighbors=face_neighbors(all_faces),
            face_part=longer(topology.face_part, part),
            mirror=longer(topology.mirror, other),
        ),
        part_names=(*model.part_names, "eye_right", "eye_left"),
    )


def _follow_corners(model: FaceModel, points: Float[np.ndarray, "N 3"]) -> Float[np.ndarray, "K N 3"]:
    """Identity displacements: each eye moves with the middle of its corners and grows with their distance."""
    marks = np.array([[36, 39], [42, 45]])
    weights = np.asarray(model.landmark_weights)[marks]
    vertices = np.asarray(model.faces)[np.asarray(model.topology.landmark_faces)[marks]]
    place = np.einsum("eck,eckd->ecd", weights, np.asarray(model.mean)[vertices])
    moves = np.einsum("eck,neckd->necd", weights, np.asarray(model.identity_basis)[:, vertices])
    apart = place[:, 1] - place[:, 0]
    growth = np.einsum("ned,ed->ne", moves[:, :, 1] - moves[:, :, 0], apart) / np.sum(apart**2, axis=1)
    eye = np.repeat([0, 1], len(points) // 2)
    return moves.mean(axis=2)[:, eye] + growth[:, eye, None] * (points - place.mean(axis=1)[eye])


def _with_eyes(albedo: LinearAlbedo, count: int, squares: list) -> LinearAlbedo:
    """A linear albedo with eyes in its mean and none in its basis."""
    if albedo.per_vertex:
        angle = np.arccos(np.clip(_sphere()[0][:, 2], -1, 1))
        eyes = jnp.asarray(np.tile(_eye_color(angle), (2, 1)), jnp.float32)
        still = jnp.zeros((albedo.count, *eyes.shape))
        return LinearAlbedo(
            jnp.concatenate([albedo.mean, eyes]), jnp.concatenate([albedo.basis, still], axis=1), albedo.std
        )
    height, width, _ = albedo.mean.shape
    painted, mask = _drawn_eyes((height, width), squares)
    mean = jnp.where(mask[..., None], painted, albedo.mean)
    return LinearAlbedo(mean, jnp.where(mask[..., None], 0.0, albedo.basis), albedo.std)


def _mirrored() -> Int[np.ndarray, " N"]:
    """For each point of the sphere, the point on the other side of its upright middle plane."""
    ring = (SPOKES // 2 - np.arange(SPOKES)) % SPOKES
    return np.concatenate([[0], *(1 + k * SPOKES + ring for k in range(RINGS - 1))])

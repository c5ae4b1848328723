"""Face profiling: a photograph of a face turned to a larger yaw, with its labels.

Zhu et al., "Face alignment across large poses: a 3D solution", CVPR 2016, section 4. A mesh is laid over the
photograph. Where the fitted head is visible the mesh has the head's depth, elsewhere a depth that continues the head's
outline. The head's part rotates with the head, the border of the picture stays, and the part between is stretched. The
mesh is then rendered with the photograph as its texture.
"""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from facejax.camera import (
    PerspectiveCamera,
    Pose,
    WeakPerspectiveCamera,
    euler_to_quaternion,
    matrix_to_quaternion,
    project,
    quaternion_to_euler,
    quaternion_to_matrix,
    to_camera,
)
from facejax.face_model import FaceModel, FaceParams, decode
from facejax.face_model.surface_landmarks import landmarks
from facejax.mesh import face_neighbors
from facejax.rendering import interpolate, rasterize, render_mesh

STEP = 5.0  # degrees between the angles that `draw_turn` chooses from
LIMIT = 90.0  # degrees of yaw
_SWEEPS = 12  # smoothing iterations at each level of `_fill`


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TurnedPhoto:
    """The photograph of a turned head. Every leaf may carry leading batch axes."""

    image: Float[Array, "*B H W 3"]  # display values
    params: FaceParams  # the camera is the photograph's; the light is that before the turn
    landmarks: Float[Array, "*B 68 2"]  # pixels; fixed points of the surface


def turn_photo(
    model: FaceModel,
    params: FaceParams,
    photo: Float[Array, "H W 3"],
    degrees: Float[Array, ""],
    *,
    points: Float[Array, "68 2"] | None = None,
    grid: int = 64,
) -> TurnedPhoto:
    """One photograph with its head turned about its own upright axis; vmap for many.

    A turn away from the viewer, in the direction in which the head already looks, hides what the photograph does not
    show; a turn the other way shows stretched skin. The box of the landmarks stays centred where it was. Use a
    photograph with some room around the head: parts at the border cannot turn.

    Args:
      model: the face model.
      params: a face fitted to the photograph, its camera in the photograph's pixels (for instance by
        `fitting.fit_landmarks` with contour "static").
      photo: display values (H, W, 3).
      degrees: of the turn.
      points: annotated landmarks of the photograph, which turn with the depths of the fitted ones. None: the fitted
        landmarks are returned.
      grid: mesh vertices per side, a power of two.

    Returns:
      The turned photograph and its labels.
    """
    if grid < 4 or grid & (grid - 1):
        raise ValueError(f"grid={grid}: pass a power of two, at least 4")
    height, width = photo.shape[:2]
    surface = decode(model, params)
    marks = to_camera(params.pose, landmarks(model, surface))
    if points is not None:
        marks = unproject(params.camera, points, -marks[:, 2])
    pose, turn, shift = _turned_pose(params, marks, degrees)

    pixels, border = _grid_pixels(height, width, grid), _border(grid)
    depth, seen = _head_depth(model, params, surface, pixels, (height, width), grid)
    placed = unproject(params.camera, pixels, depth.reshape(-1))
    moved = _turn(placed, params.pose.translation, turn, shift) - placed
    moved = jnp.where(border[..., None], 0.0, moved.reshape(grid, grid, 3))
    filled = _fill(jnp.concatenate([depth[..., None], moved], axis=-1), seen | border).reshape(-1, 4)
    sheet = unproject(params.camera, pixels, filled[:, 0]) + filled[:, 1:]
    faces, neighbors = _grid_faces(grid)
    picture = render_mesh(
        sheet,
        faces,
        params.camera,
        size=(height, width),
        uv=pixels / jnp.array([width, -height]) + jnp.array([0.0, 1.0]),
        texture=photo,
        edges=False,
        neighbors=neighbors,
    )
    turned = project(params.camera, _turn(marks, params.pose.translation, turn, shift))[:, :2]
    return TurnedPhoto(picture.color, replace(params, pose=pose), turned)


def draw_turn(params: FaceParams, *, key: Key[Array, ""]) -> Float[Array, ""]:
    """A random angle to turn a head by: a multiple of `STEP`, away from the viewer, to a yaw of at most `LIMIT`.

    All multiples are equally probable, including no turn; a head within `STEP` of the front goes either way.
    """
    yaw = quaternion_to_euler(params.pose.rotation)[1]
    side, amount = jax.random.split(key)
    either = jnp.where(jax.random.bernoulli(side), 1.0, -1.0)
    sign = jnp.where(jnp.abs(yaw) < STEP, either, jnp.sign(yaw))
    room = jnp.maximum(jnp.floor((LIMIT - sign * yaw) / STEP), 0.0)
    return sign * STEP * jnp.floor(jax.random.uniform(amount) * (room + 1.0))


def unproject(
    camera: PerspectiveCamera | WeakPerspectiveCamera, pixels: Float[Array, "N 2"], depth: Float[Array, " N"]
) -> Float[Array, "N 3"]:
    """Camera space (mm) of pixels at known depths (mm in front of the camera): the inverse of `camera.project`."""
    scale = camera.focal / depth[:, None] if isinstance(camera, PerspectiveCamera) else camera.scale
    across = (pixels - camera.principal[None]) * jnp.array([[1.0, -1.0]]) / scale
    return jnp.concatenate([across, -depth[:, None]], axis=1)


def _turned_pose(
    params: FaceParams, marks: Float[Array, "68 3"], degrees: Float[Array, ""]
) -> tuple[Pose, Float[Array, "3 3"], Float[Array, " 3"]]:
    """The new pose, the rotation about the head's origin in camera space, and the shift that keeps the head's place."""
    rotation = quaternion_to_matrix(params.pose.rotation)
    about_y = quaternion_to_matrix(euler_to_quaternion(jnp.stack([0.0 * degrees, degrees, 0.0 * degrees])))
    turn = rotation @ about_y @ rotation.T
    origin = params.pose.translation
    before = _box_centre(project(params.camera, marks)[:, :2])
    after = _box_centre(project(params.camera, _turn(marks, origin, turn, jnp.zeros(3)))[:, :2])
    depth = -origin[2:]
    shift = unproject(params.camera, before[None], depth) - unproject(params.camera, after[None], depth)
    return Pose(matrix_to_quaternion(rotation @ about_y), origin + shift[0]), turn, shift[0]


def _turn(points: Array, origin: Array, turn: Array, shift: Array) -> Array:
    return (points - origin[None]) @ turn.T + (origin + shift)[None]


def _box_centre(points: Float[Array, "N 2"]) -> Float[Array, " 2"]:
    return 0.5 * (points.min(axis=0) + points.max(axis=0))


def _grid_pixels(height: int, width: int, grid: int) -> Float[Array, "P 2"]:
    """Pixels of the mesh's vertices, row by row, from the picture's first corner to its last."""
    x, y = np.linspace(0.0, width, grid), np.linspace(0.0, height, grid)
    return jnp.asarray(np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2), jnp.float32)


def _grid_faces(grid: int) -> tuple[Int[Array, "F 3"], Int[Array, "F 3"]]:
    """Two triangles per cell, counter-clockwise seen by the camera, and their neighbours."""
    index = np.arange(grid * grid, dtype=np.int32).reshape(grid, grid)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]))
    faces = np.concatenate([np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)])
    return jnp.asarray(faces), face_neighbors(faces)


def _border(grid: int) -> Bool[np.ndarray, "{grid} {grid}"]:
    edge = np.zeros((grid, grid), bool)
    edge[[0, -1], :] = edge[:, [0, -1]] = True
    return edge


def _head_depth(
    model: FaceModel, params: FaceParams, surface: Array, pixels: Array, size: tuple[int, int], grid: int
) -> tuple[Float[Array, "{grid} {grid}"], Bool[Array, "{grid} {grid}"]]:
    """Depth of the head at the mesh's vertices (mm), and the vertices where it is visible.

    Elsewhere, and at the border, it is the depth of the head's origin, which is about that of its outline.
    """
    height, width = size
    points = project(params.camera, to_camera(params.pose, surface))
    # A picture whose pixel centres are the mesh's vertices. x and y scale differently, so the points are scaled.
    scale = jnp.array([(grid - 1) / width, (grid - 1) / height])
    points = jnp.concatenate([points[:, :2] * scale + 0.5, points[:, 2:]], axis=1)
    perspective = params.camera.perspective
    triangle = rasterize(points, model.faces, size=(grid, grid), perspective=perspective)
    depth = interpolate(points, surface, model.faces, triangle, perspective=perspective).depth
    seen = (triangle >= 0) & ~_border(grid)
    return jnp.where(seen, depth, -params.pose.translation[2]), seen


def _fill(values: Float[Array, "N N C"], known: Bool[Array, "N N"]) -> Float[Array, "N N C"]:
    """The known values, joined by a smooth membrane: coarse to fine, each level relaxed a little."""
    side = values.shape[0]
    weight = known[..., None].astype(values.dtype)
    if side <= 2:
        mean = jnp.sum(values * weight, axis=(0, 1)) / jnp.maximum(jnp.sum(weight, axis=(0, 1)), 1.0)
        return jnp.where(known[..., None], values, mean)
    blocks = jnp.stack([values * weight, jnp.broadcast_to(weight, values.shape)])
    blocks = blocks.reshape(2, side // 2, 2, side // 2, 2, -1).sum(axis=(2, 4))
    coarse = _fill(blocks[0] / jnp.maximum(blocks[1], 1.0), blocks[1, ..., 0] > 0)
    guess = jax.image.resize(coarse, values.shape, "linear")

    def relax(_, field):
        padded = jnp.pad(field, ((1, 1), (1, 1), (0, 0)), mode="edge")
        around = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        return jnp.where(known[..., None], values, 0.25 * around)

    return jax.lax.fori_loop(0, _SWEEPS, relax, jnp.where(known[..., None], values, guess))

"""Lamps: light from single directions or places, and the shadows that they cast."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from facejax.camera import WeakPerspectiveCamera, project
from facejax.mesh import safe_normalize
from facejax.rendering.interpolation import interpolate
from facejax.rendering.mesh import rasterize

METRE = 1000.0  # mm
LIFT = 3.0  # mm along the normal, by which points are lifted before they are looked for in a shadow: the least
LIFT_PIXELS = 3.0  # of the shadow map; beyond the square that is averaged, so that no slope throws shadow on itself


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Lamps:
    """A few lamps in camera space; made by `distant_lamps` and `point_lamps`."""

    place: Float[Array, "*B L 4"]  # (x, y, z, 1) is a point in mm, (x, y, z, 0) a direction
    color: Float[Array, "*B L 3"]  # linear RGB of a white surface that faces the lamp, from a point 1 m away


def distant_lamps(directions: Float[Array, "L 3"], colors: Float[Array, "L 3"]) -> Lamps:
    """Lamps so far away that their light is parallel.

    Args:
      directions: towards the lamps, camera space; need not be unit.
      colors: linear RGB of a white surface that faces the lamp.
    """
    return Lamps(jnp.concatenate([directions, jnp.zeros_like(directions[:, :1])], axis=1), colors)


def point_lamps(positions: Float[Array, "L 3"], colors: Float[Array, "L 3"]) -> Lamps:
    """Lamps at points, whose light falls off with the square of the distance.

    Args:
      positions: mm, camera space.
      colors: linear RGB of a white surface that faces the lamp from 1 m away.
    """
    return Lamps(jnp.concatenate([positions, jnp.ones_like(positions[:, :1])], axis=1), colors)


def arriving(
    place: Float[Array, " 4"], points: Float[Array, "*N 3"]
) -> tuple[Float[Array, "*N 3"], Float[Array, "*N"]]:
    """The unit directions from points to one lamp, and the share of its colour that arrives.

    Args:
      place: as in `Lamps`.
      points: mm, camera space.
    """
    shape = (1,) * (points.ndim - 1)
    towards = place[:3].reshape(*shape, 3) - place[3] * points
    square = jnp.maximum(jnp.sum(towards * towards, axis=-1), 1.0)
    return safe_normalize(towards), jnp.where(place[3] > 0, METRE**2 / square, 1.0)


def unshadowed(
    vertices: Float[Array, "V 3"],
    faces: Int[Array, "F 3"],
    place: Float[Array, " 4"],
    points: Float[Array, "H W 3"],
    normals: Float[Array, "H W 3"],
    *,
    size: int,
) -> Float[Array, "H W"]:
    """1 where one lamp reaches the points, 0 in the shadow of the mesh, in between at the shadow's border.

    A shadow map: the mesh is drawn from the lamp, and points behind what the lamp sees are in shadow. A lamp at a point
    throws the shadow of a distant one in its direction from the middle of the mesh. Without a gradient. Williams,
    "Casting curved shadows on curved surfaces", SIGGRAPH 1978; the border as in Reeves, Salesin and Cook, "Rendering
    antialiased shadows with depth maps", SIGGRAPH 1987.

    Args:
      vertices: camera space, mm.
      faces: triangles.
      place: as in `Lamps`.
      points, normals: of the surface at each pixel, camera space.
      size: pixels along a side of the shadow map.
    """
    vertices, place, points, normals = jax.lax.stop_gradient((vertices, place, points, normals))
    middle = (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    turn = _towards(arriving(place, middle)[0])
    seen = (vertices - middle[None]) @ turn.T
    reach = jnp.abs(seen[:, :2]).max()
    camera = WeakPerspectiveCamera(0.49 * size / reach, jnp.full((2,), size / 2, vertices.dtype))
    corners = project(camera, seen)
    triangle = rasterize(corners, faces, size=(size, size), perspective=False)
    depth = interpolate(corners, seen[:, :0], faces, triangle, perspective=False).depth
    depth = jnp.where(triangle >= 0, depth, jnp.inf)

    lift = jnp.maximum(LIFT, LIFT_PIXELS / camera.scale)
    lifted = (points + lift * normals - middle.reshape(1, 1, 3)) @ turn.T
    x, y, z = jnp.unstack(project(camera, lifted.reshape(-1, 3)).reshape(lifted.shape), axis=-1)
    return _share(depth, x - 0.5, y - 0.5, z)


def _towards(direction: Float[Array, " 3"]) -> Float[Array, "3 3"]:
    """A rotation that takes a unit direction to +z."""
    upright = jnp.abs(direction[1]) > 0.9
    side = jnp.where(upright, jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0])).astype(direction.dtype)
    x = safe_normalize(jnp.cross(side, direction))
    return jnp.stack([x, jnp.cross(direction, x), direction])


def _share(
    depth: Float[Array, "S S"], x: Float[Array, "H W"], y: Float[Array, "H W"], z: Float[Array, "H W"]
) -> Float[Array, "H W"]:
    """The share of the 3 x 3 pixels around (x, y) of a shadow map in which nothing lies before depth z.

    Each of the 4 x 4 pixels around counts by the part of it that a square of three pixels' side covers.
    """
    size = depth.shape[0]
    column, row = jnp.floor(x), jnp.floor(y)
    along, down = x - column, y - row
    weights = {-1: lambda f: 1 - f, 0: jnp.ones_like, 1: jnp.ones_like, 2: lambda f: f}
    total = jnp.zeros_like(z)
    for j, of_row in weights.items():
        for i, of_column in weights.items():
            at = (jnp.clip(line.astype(jnp.int32) + k, 0, size - 1) for line, k in ((row, j), (column, i)))
            total += of_row(down) * of_column(along) * _before(z, depth[tuple(at)])
    return total / 9


def _before(z: Float[Array, "H W"], depth: Float[Array, "H W"]) -> Float[Array, "H W"]:
    reached: Bool[Array, "H W"] = z <= depth
    return reached.astype(z.dtype)

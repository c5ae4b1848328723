"""Where MediaPipe's 468 mesh points lie on the default head, for facejax/regression/mesh_surface.py.

    python experiments/train_regressor.py render --pool POOL --shards 4
    python experiments/build_mesh_map.py --pool POOL --out facejax/assets/mesh_map.npz --sheet map.png

The net looks at rendered faces whose parameters are known. A point's place is the place of the head's surface whose
projections lie nearest to what the net sees: the least mean of Geman and McClure's function over the faces that are
seen from the front, and over their mirror images. So the map holds the net's own habits, and no photo has a part in it.
What the net misses them by is written by yaw: a shift, and the noise about it, as shares of the face's size.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from PIL import Image, ImageDraw
from regressor import pool
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from tqdm import tqdm

from facejax.atomic import atomic_path
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion, project, to_camera
from facejax.evaluation.annotated import box_sizes, point_boxes
from facejax.face_model import FaceModel, decode, neutral_params
from facejax.face_model.load import load_face_model
from facejax.face_model.surface_landmarks import MIRROR68
from facejax.fitting import LANDMARKS
from facejax.images import apply_crop, face_crop
from facejax.programs import jit
from facejax.regression.mesh_points import MESH_INDEX, load_face_mesh, see_mesh
from facejax.regression.mesh_surface import head_yaw, level_eyes
from facejax.rendering import rasterize, render

YAWS = (-40.0, -20.0, 0.0, 20.0, 40.0)  # degrees for which the misses are written
MOST = 45.0  # degrees of yaw up to which the misses are measured
FRONT = 25.0  # degrees of yaw up to which a face tells the places
SPLIT = 4  # candidates along a triangle's side
REACH = 15.0  # mm from a point's first place to its candidates
ROUNDS = 10  # of reweighting
LOOSE = 0.02  # of the face's size: misses of this size count half
BATCH = 32


@dataclass(frozen=True)
class Build:
    """Find the places of the mesh's points."""

    pool: Path
    out: Path
    """npz file to write"""
    sheet: Path | None = None
    """a picture of the points on the mean head"""
    limit: int = 1024
    """pictures"""


class Faces(NamedTuple):
    """Rendered faces and what the net sees in them. Pixels of the pictures."""

    vertices: np.ndarray  # (N, V, 3), camera space, mm
    focal: np.ndarray  # (N,)
    principal: np.ndarray  # (N, 2)
    seen: np.ndarray  # (N, 468, 2)
    flipped: np.ndarray  # (N, 468, 2): what it sees in the mirrored pictures, mirrored back
    face: np.ndarray  # (N,): the net's logit
    sizes: np.ndarray  # (N,)
    yaw: np.ndarray  # (N,), degrees
    level: np.ndarray  # (N, 2, 2): turns the line between the eyes level

    def some(self, rows: np.ndarray) -> "Faces":
        return Faces(*(one[rows] for one in self))

    def project(self, faces: np.ndarray, corners: np.ndarray, model: FaceModel) -> np.ndarray:
        """Where the pictures have places of the surface, (N, C, 2)."""
        points = np.einsum("ck,nckd->ncd", corners, self.vertices[:, np.asarray(model.faces)[faces]])
        flat = points[..., :2] / -points[..., 2:] * self.focal[:, None, None]
        return self.principal[:, None] + flat * np.array([1, -1], np.float32)

    def away(self, faces: np.ndarray, corners: np.ndarray, model: FaceModel, point: int) -> np.ndarray:
        """How far off the net sees a point from each place, (N, C, 2), shares of the face's size."""
        return (self.seen[:, point, None] - self.project(faces, corners, model)) / self.sizes[:, None, None]


def main(command: Build) -> None:
    model = load_face_model()
    arrays = pool.read_pool(command.pool, limit=-(-command.limit // pool.SHARD))
    faces = look(model, {name: array[: command.limit] for name, array in arrays.items()})
    faces = faces.some(faces.face > 0)
    front = faces.some(np.abs(faces.yaw) < FRONT)
    mirror = mirror_points(front)
    print(f"{len(faces.yaw)} faces in which the net sees one, {len(front.yaw)} from the front")
    where, corners = candidates(model)
    on_mean = np.einsum("ck,ckd->cd", corners, np.asarray(model.mean)[np.asarray(model.faces)[where]])
    places = find_places(model, front, where, corners, on_mean)
    apart = np.linalg.norm(places - places[mirror] * [-1, 1, 1], axis=1)
    places = (places + places[mirror] * [-1, 1, 1]) / 2
    chosen = KDTree(on_mean).query(places)[1]
    print(f"{np.sum(mirror == np.arange(len(mirror)))} points on the midline; both sides differed by "
          f"{np.percentile(apart, [50, 95]).round(2)} mm (median, 95 %)")  # fmt: skip
    shift, noise = find_misses(model, faces, where[chosen], corners[chosen], mirror)
    with atomic_path(command.out) as partial:
        arrays: dict[str, Any] = {
            "faces": where[chosen].astype(np.int32),
            "barycentric": corners[chosen].astype(np.float32),
            "shift": shift.astype(np.float16),
            "noise": noise.astype(np.float16),
            "yaws": np.asarray(YAWS, np.float32),
        }
        with open(partial, "wb") as file:
            np.savez_compressed(file, **arrays)
    if command.sheet is not None:
        draw_sheet(command.sheet, model, on_mean[chosen], noise)


def look(model: FaceModel, arrays: dict[str, np.ndarray]) -> Faces:
    """What the net sees, in the crops that a fit shows it."""
    params = pool.to_params(arrays)
    posed = jit(jax.vmap(lambda model, one: to_camera(one.pose, decode(model, one)), in_axes=(None, 0)))
    see, mesh, size, marks = jit(see_mesh), load_face_mesh(), LANDMARKS.size, arrays["landmarks"]
    vertices, points, flipped, logits = [], [], [], []
    for k in tqdm(range(0, len(marks), BATCH)):
        rows = slice(k, k + BATCH)
        vertices.append(np.asarray(posed(model, jax.tree.map(lambda leaf, rows=rows: leaf[rows], params))))
        crops = [face_crop(one, size, margin=LANDMARKS.margin) for one in marks[rows]]
        cut = [
            apply_crop(image / np.float32(255), crop, size)[0]
            for image, crop in zip(arrays["image"][rows], crops, strict=True)
        ]
        local = np.asarray([crop.apply_points(one) for crop, one in zip(crops, marks[rows], strict=True)], np.float32)
        view = jax.device_get(see(mesh, np.stack(cut), local))
        turned = np.stack(cut)[:, :, ::-1], (local * np.array([-1, 1]) + np.array([size, 0]))[:, MIRROR68]
        seen = see(mesh, *(np.asarray(part, np.float32) for part in turned)).points
        again = np.asarray(seen) * np.array([-1, 1]) + np.array([size, 0])
        flipped += [crop.invert_points(one) for crop, one in zip(crops, again, strict=True)]
        points += [crop.invert_points(one) for crop, one in zip(crops, view.points, strict=True)]
        logits.append(view.face)
    yaw = np.asarray(jax.vmap(head_yaw)(params))
    level = np.asarray(jax.vmap(level_eyes)(jnp.asarray(marks)))
    sizes = box_sizes(point_boxes(marks))
    camera = np.concatenate(vertices), arrays["focal"], arrays["principal"]
    each = np.asarray(points, np.float32), np.asarray(flipped, np.float32)
    return Faces(*camera, *each, np.concatenate(logits), sizes, yaw, level)


def candidates(model: FaceModel) -> tuple[np.ndarray, np.ndarray]:
    """Places all over the visible skin of the face: triangles (C,) and barycentric weights (C, 3)."""
    seen: set[int] = set()
    size, lens = 800, 4000.0
    for yaw in (-40.0, 0.0, 40.0):
        pose = Pose(euler_to_quaternion(jnp.array([0.0, yaw, 0.0])), jnp.array([0.0, 0.0, -1000.0]) * lens / 3000.0)
        camera = PerspectiveCamera(jnp.float32(lens), jnp.full(2, size / 2))
        drawn = rasterize(
            project(camera, to_camera(pose, model.mean)), model.faces, size=(size, size), perspective=True
        )
        seen |= set(np.unique(np.asarray(drawn)).tolist())
    face = np.asarray(model.regions["face"])[np.asarray(model.faces)].min(axis=1) > 0.5
    skin = np.asarray(model.topology.face_part) == model.part_names.index("skin")
    rows = np.array([one for one in sorted(seen) if one >= 0 and face[one] and skin[one]])
    steps = [(i, j) for i in range(SPLIT) for j in range(SPLIT - i)]
    inner = np.array([[i + 1 / 3, j + 1 / 3] for i, j in steps]) / SPLIT
    inner = np.column_stack([inner, 1 - inner.sum(axis=1)])
    return np.repeat(rows, len(inner)), np.tile(inner, (len(rows), 1)).astype(np.float32)


def find_places(
    model: FaceModel, front: Faces, where: np.ndarray, corners: np.ndarray, on_mean: np.ndarray
) -> np.ndarray:
    """The best place of each point on the mean head, (468, 3), mm."""
    few, coarse, tree = front.some(np.arange(min(40, len(front.yaw)))), slice(0, None, 5), KDTree(on_mean)
    rough = few.project(where[coarse], corners[coarse], model)
    places = np.zeros((front.seen.shape[1], 3))
    for point in tqdm(range(len(places))):
        miss = np.median(np.linalg.norm(few.seen[:, point, None] - rough, axis=-1) / few.sizes[:, None], axis=0)
        near = np.array(tree.query_ball_point(on_mean[coarse][np.argmin(miss)], REACH))
        square = np.sum(front.away(where[near], corners[near], model, point) ** 2, axis=-1)
        cost = np.mean(square / (1 + square / LOOSE**2), axis=0)
        best = np.exp(-(cost - cost.min()) / (0.005 * cost.min()))  # the mean of all that are as good
        places[point] = best @ on_mean[near] / best.sum()
    return places


def mirror_points(front: Faces) -> np.ndarray:
    """For each point the one that takes its place in a mirror image: by what the net sees in mirrored pictures."""
    flipped = front.flipped
    apart = np.linalg.norm(front.seen[:, :, None] - flipped[:, None], axis=-1) / front.sizes[:, None, None]
    cost = np.median(apart, axis=0)
    other = linear_sum_assignment(cost + cost.T)[1]
    if (other[other] != np.arange(len(other))).any():
        raise ValueError("the mesh's points do not pair up left and right: render more faces")
    return other


def find_misses(
    model: FaceModel, faces: Faces, where: np.ndarray, corners: np.ndarray, mirror: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """What the net sees beside the places: its shift (len(YAWS), 468, 2) and its noise (len(YAWS), 468).

    Of faces that are turned left or right the net sees some points farther left or right, because its own head has
    another depth: a polynomial of second degree in the yaw. The noise is the standard deviation of x and y about that,
    from the medians of the distances.
    """
    away = (faces.seen - faces.project(where, corners, model)) / faces.sizes[:, None, None]
    away = np.einsum("nij,npj->npi", faces.level, away)
    away = np.concatenate([away, away[:, mirror] * [-1, 1]])
    yaw = np.concatenate([faces.yaw, -faces.yaw])
    rows = np.abs(yaw) < MOST
    away, yaw = away[rows], yaw[rows]
    powers = lambda degrees: np.stack([np.ones_like(degrees), degrees / MOST, (degrees / MOST) ** 2], axis=-1)  # noqa: E731
    basis, factors = powers(yaw), np.zeros((3, *away.shape[1:]))
    for point in range(away.shape[1]):
        weight = np.ones(len(yaw))
        for _ in range(ROUNDS):
            weighted = basis * weight[:, None]
            factors[:, point] = np.linalg.solve(weighted.T @ basis, weighted.T @ away[:, point])
            missed = np.linalg.norm(away[:, point] - basis @ factors[:, point], axis=-1)
            weight = 1 / (1 + (missed / LOOSE) ** 2) ** 2
    rest = np.linalg.norm(away - np.einsum("nk,kpi->npi", basis, factors), axis=-1) / np.sqrt(2 * np.log(2))
    shift, noise = np.einsum("yk,kpi->ypi", powers(np.array(YAWS)), factors), []
    middles = (np.array(YAWS[1:]) + np.array(YAWS[:-1])) / 2
    for (low, high), moved in zip(pairwise([-MOST, *middles, MOST]), shift, strict=True):
        inside = (yaw >= low) & (yaw < high)
        noise.append(np.median(rest[inside], axis=0))
        spread, length = np.percentile(noise[-1], [10, 50, 90]), np.median(np.linalg.norm(moved, axis=-1))
        print(f"yaw {low:5.1f} to {high:5.1f}: {inside.sum()} faces, noise {spread.round(4)}, shift {length:.4f}")
    return shift, np.array(noise)


def draw_sheet(path: Path, model: FaceModel, points: np.ndarray, noise: np.ndarray) -> None:
    """The mean head with the points, green where the net is exact and red where it is not; the landmarks' in blue."""
    size, views = 900, []
    camera = PerspectiveCamera(jnp.float32(4.2 * size), jnp.full(2, size / 2))
    colours = np.clip((noise[len(YAWS) // 2] - 0.005) / 0.025, 0, 1)
    for yaw in (0.0, 50.0):
        pose = Pose(euler_to_quaternion(jnp.array([0.0, yaw, 0.0])), jnp.array([0.0, 0.0, -1200.0]))
        params = replace(neutral_params(model, camera), pose=pose)
        drawn = render(model, params, size=(size, size))
        shade = np.asarray(drawn.normal[..., 2:] * 0.7 + 0.2) * np.asarray(drawn.alpha)[..., None]
        picture = Image.fromarray(np.uint8(255 * np.clip(np.repeat(shade, 3, axis=-1), 0, 1)))
        brush = ImageDraw.Draw(picture)
        for k, (x, y) in enumerate(np.asarray(project(camera, to_camera(pose, jnp.asarray(points)))[:, :2])):
            colour = (int(255 * colours[k]), int(255 * (1 - colours[k])), 0)
            brush.ellipse([x - 3, y - 3, x + 3, y + 3], fill=colour, outline=(0, 0, 255) if k in MESH_INDEX else None)
        views.append(picture)
    sheet = Image.new("RGB", (2 * size, size))
    for k, view in enumerate(views):
        sheet.paste(view, (k * size, 0))
    sheet.save(path)


if __name__ == "__main__":
    main(tyro.cli(Build, description=__doc__))

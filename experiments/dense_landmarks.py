"""Whether landmarks read from the dense network would improve the blend of the other two networks.

    python experiments/dense_landmarks.py --data AFLW2000 [--every 9]

The dense network gives a texture coordinate for each pixel. A landmark lies where the coordinate is the landmark's own:
a linear function from coordinate to pixel, fitted to the pixels whose coordinate is near, gives the place. Pixels count
by the network's own expected error. Prints, by kind of point and yaw of AFLW2000-3D, the error of the regressor, of the
blend, of the dense network, and of the blend with a share of the dense network, percent of the face's size, over the
points that the dense network sees clearly; then the error of all 68 points with each share.
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from tqdm import tqdm

from facejax.camera import Pose
from facejax.evaluation import read_aflw2000
from facejax.face_model import FaceModel
from facejax.face_model.load import load_face_model
from facejax.images import apply_crop
from facejax.programs import cache_compilations, jit
from facejax.regression.blend import SIDE, blend_points, mesh_crop
from facejax.regression.dense import DenseSight, head_up, load_dense, see_dense
from facejax.regression.mesh_points import load_face_mesh, see_mesh
from facejax.regression.photos import regress_photos
from facejax.regression.regressor import load_regressor
from facejax.synthetic.labels import CLASS

BINS = (0, 30, 60, 180)  # degrees of yaw
PARTS = {"jaw": 17, "brows": 27, "nose": 36, "eyes": 48, "mouth": 68}  # the landmarks' ends
SHARES = (0.1, 0.2, 0.3, 0.5)
SURFACE = ("skin", "brows", "eyes", "lips", "nose", "beard", "ears", "neck")
REACH = 0.012  # of the coordinates that count, texture widths (standard deviation)
USUAL_ERROR = 0.004  # of a coordinate; pixels count by (USUAL_ERROR / error)^2, but at most four times
RIDGE = 0.05  # of the slopes, in shares of the pixels
CLEAR = 1.0  # pixels that must count for a landmark


@dataclass(frozen=True)
class Args:
    data: Path
    every: int = 9
    """take every n-th photo"""


def main(args: Args) -> None:
    cache_compilations()
    faces = read_aflw2000(args.data)
    regressor, places, networks = load_regressor(), landmark_places(load_face_model()), (load_face_mesh(), load_dense())
    rows = np.arange(0, len(faces), args.every)
    found = []
    for row in tqdm(rows, unit="photo"):
        image = faces.read(int(row))
        seen = regress_photos(regressor, [image], boxes=[faces.boxes[row]], batch=1, blend=False).faces[0].regression
        crop = mesh_crop(np.asarray(seen.landmarks))
        picture = apply_crop(image, crop, SIDE)[0]
        own = np.asarray(crop.apply_points(seen.landmarks), np.float32)
        blend, dense, mass = jax.device_get(look(networks, picture, own, seen.confidence, seen.params.pose, places))
        found.append((own, blend, dense, mass, crop.apply_points(faces.points["68"][row])))
    own, blend, dense, mass, truth = (np.stack(values) for values in zip(*found, strict=True))
    report({"regressor": own, "blend": blend, "dense": dense}, mass > CLEAR, truth, np.abs(faces.yaw[rows]))


def landmark_places(model: FaceModel) -> Float[Array, "68 2"]:
    """The landmarks' texture coordinates."""
    corners = model.uv[model.topology.uv_faces[model.topology.landmark_faces]]
    return jnp.einsum("lk,lkc->lc", model.landmark_weights, corners)


@jit
def look(networks, picture, landmarks, confidence, pose: Pose, places):
    """The blended landmarks, the dense network's, and how many pixels count for each of these."""
    mesh, dense = networks
    view = jax.tree.map(lambda leaf: leaf[0], see_mesh(mesh, picture[None], landmarks[None]))
    blended = blend_points(landmarks, confidence, pose.rotation, view).landmarks
    return blended, *read_points(see_dense(dense, picture, landmarks, head_up(pose)), places)


def read_points(sight: DenseSight, places: Float[Array, "68 2"]) -> tuple[Float[Array, "68 2"], Float[Array, " 68"]]:
    """Where the picture shows these texture coordinates, pixels, and how many pixels count for each."""
    side = sight.sigma.shape[0]
    at = jnp.arange(side) + 0.5
    pixels = jnp.stack(jnp.meshgrid(at, at), axis=-1).reshape(-1, 2)
    surface = sight.surface.reshape(-1, 2)
    chance = jnp.asarray(sum(sight.probability[..., CLASS[name]] for name in SURFACE)).reshape(-1)
    trust = chance * jnp.minimum((USUAL_ERROR / sight.sigma.reshape(-1)) ** 2, 4.0)

    def one(place: Float[Array, " 2"]) -> tuple[Float[Array, " 2"], Float[Array, ""]]:
        away = (surface - place[None]) / REACH
        weight = trust * jnp.exp(-0.5 * jnp.sum(away**2, axis=1))
        mass = jnp.sum(weight)
        sure = jnp.maximum(mass, 1e-6)
        middle, centre = weight @ away / sure, weight @ pixels / sure
        spread = (weight[:, None] * (away - middle[None])).T
        slope = jnp.linalg.solve(spread @ away / sure + RIDGE * jnp.eye(2), spread @ (pixels - centre[None]) / sure)
        return centre - middle @ slope, mass

    points, mass = jax.lax.map(one, places)
    return jnp.linalg.solve(sight.transform[:, :2], (points - sight.transform[None, :, 2]).T).T, mass


def report(points: dict[str, np.ndarray], clear: np.ndarray, truth: np.ndarray, yaw: np.ndarray) -> None:
    """Print the tables. Points (N, 68, 2), `clear` (N, 68), `truth` (N, 68, 2), `yaw` (N,) degrees."""
    sizes = np.sqrt(np.prod(np.ptp(truth, axis=1), axis=1))
    mixed = {f"+ {share}": (1 - share) * points["blend"] + share * points["dense"] for share in SHARES}
    errors = {
        name: 100 * np.linalg.norm(one - truth, axis=-1) / sizes[:, None] for name, one in (points | mixed).items()
    }
    print("| yaw | points | seen clearly | " + " | ".join(errors) + " |\n" + "|---" * (len(errors) + 3) + "|")
    for low, high in pairwise(BINS):
        inside = (yaw >= low) & (yaw < high)
        start = 0
        for name, end in PARTS.items():
            part = clear[inside, start:end]
            cells = [f"{one[inside, start:end][part].mean():.2f}" if part.any() else "-" for one in errors.values()]
            print(f"| {low}-{high} | {name} | {100 * part.mean():.0f} % | " + " | ".join(cells) + " |")
            start = end
    print("\n| all 68 points | " + " | ".join(f"{low}-{high}" for low, high in pairwise(BINS)) + " |")
    for name in ("blend", *mixed):
        whole = np.where(clear, errors[name], errors["blend"]).mean(axis=1)
        cells = [whole[(yaw >= low) & (yaw < high)].mean() for low, high in pairwise(BINS)]
        print(f"| {name} | " + " | ".join(f"{cell:.2f}" for cell in cells) + " |")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))

"""How well a focal length is estimated, and what it does to the shape: made-up portraits in a large photograph.

    python experiments/camera_grid.py [--people 3] [--known]

The default head, with exact landmarks, at five places of a photograph of 4000 x 3000 pixels, through three lenses, at
three distances. Prints the median error of the neutral face (mm, as it is) and the share of portraits whose view is
within 25 % of the truth, for each place.
"""

import itertools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion, facing, quaternion_multiply
from facejax.face_model import FaceModel, FaceParams, neutral_vertices
from facejax.face_model.load import load_face_model
from facejax.fitting import fit_landmarks, known_focal, usual_focal
from facejax.fitting.scene import project_landmarks
from facejax.images.lens import FULL_FRAME
from facejax.lighting import uniform_light
from facejax.programs import jit

WIDTH, HEIGHT = 4000, 3000
PLACES = [(0.5, 0.5), (0.93, 0.5), (0.93, 0.9), (0.1, 0.2), (0.5, 0.08)]  # shares of width and height
LENSES = [26.0, 50.0, 85.0]  # mm on full frame
DISTANCES = [500.0, 1200.0, 5000.0]  # mm


@dataclass(frozen=True)
class Grid:
    """Fit portraits whose cameras are known."""

    people: int = 3
    """the first is the mean face, from the front; the others are drawn, and turned"""
    known: bool = False
    """give the focal length"""
    seed: int = 0


def photograph(
    model: FaceModel, identity: jax.Array, turn: jax.Array, place: jax.Array, focal: jax.Array, distance: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Landmarks (68, 2) in pixels, and the neutral face (V, 3), of a head that is turned from the view of the camera.

    Args:
        model, identity: the head.
        turn: pitch, yaw and roll, degrees.
        place: of the head's origin, as shares of the photograph.
        focal, distance: pixels and mm.
    """
    middle = jnp.array([WIDTH, HEIGHT]) / 2
    ray = jnp.append((place - 0.5) * jnp.array([WIDTH, -HEIGHT]) / focal, -1.0)
    pose = Pose(quaternion_multiply(facing(ray), euler_to_quaternion(turn)), distance * ray)
    still = jnp.zeros(len(model.expression_names))
    face = FaceParams(identity, still, {}, pose, PerspectiveCamera(focal, middle), uniform_light())
    return project_landmarks(model, face, jnp.asarray(False)), neutral_vertices(model, face)


def main(command: Grid) -> None:
    model, rng = load_face_model(), np.random.default_rng(command.seed)
    cells = list(itertools.product(range(command.people), PLACES, LENSES, DISTANCES))
    drawn = np.arange(command.people)[:, None] > 0
    identity = 0.8 * rng.normal(size=(command.people, len(model.identity_std))) * drawn
    turns = rng.normal(size=(command.people, 3)) * np.array([[6.0, 20.0, 4.0]]) * drawn
    focals = np.array([lens / FULL_FRAME * math.hypot(WIDTH, HEIGHT) for _, _, lens, _ in cells], np.float32)
    inputs = [
        np.array([identity[k] for k, *_ in cells], np.float32),
        np.array([turns[k] for k, *_ in cells], np.float32),
        np.array([place for _, place, _, _ in cells], np.float32),
        focals,
        np.array([distance for *_, distance in cells], np.float32),
    ]
    points, truth = jit(jax.vmap(lambda *one: photograph(model, *one)))(*inputs)

    def solve(points: jax.Array, focal: jax.Array) -> tuple[jax.Array, jax.Array]:
        prior = known_focal(focal) if command.known else usual_focal(WIDTH, HEIGHT)
        found = fit_landmarks(model, points, focal=prior, principal=jnp.array([WIDTH, HEIGHT]) / 2, contour="static")
        assert isinstance(found.params.camera, PerspectiveCamera)
        return neutral_vertices(model, found.params), found.params.camera.focal

    fitted, focal = map(np.asarray, jit(jax.vmap(solve))(points, focals))
    skin = np.asarray(model.regions["face_inner"]) > 0.5
    errors = np.median(np.linalg.norm(fitted - np.asarray(truth), axis=-1)[:, skin], axis=1)
    view = np.arctan(math.hypot(WIDTH, HEIGHT) / 2 / focal) / np.arctan(math.hypot(WIDTH, HEIGHT) / 2 / focals)
    right = np.abs(view - 1) < 0.25
    print(f"{len(cells)} portraits: {np.median(errors):.2f} mm, view within 25 % in {100 * right.mean():.0f} %")
    for place in PLACES:
        mine = np.array([one == place for _, one, *_ in cells])
        print(f"  at {place}: {np.median(errors[mine]):.2f} mm, view within 25 % in {100 * right[mine].mean():.0f} %")


if __name__ == "__main__":
    main(tyro.cli(Grid, description=__doc__))

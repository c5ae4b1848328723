"""How far the direction of the eyes is from the true one, on the generator's pictures, since only their eyes are known.

    python experiments/evaluate_gaze.py [--pictures 500] [--size 256]

The regressor and the landmark fit find the head (the box of the face is given), and the iris network the eyes. The
error is the median angle between the true and the found direction of an eye in the head's frame; an eye under a lid
that is more than half closed does not count. "straight" is the error of eyes that look straight ahead. The last columns
say where the error comes from: the network's irises in the true head, and the true irises in the fitted head.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jaxtyping import Array, Float
from tqdm import tqdm

import facejax
from facejax.api import RegressResult
from facejax.camera import project, quaternion_to_matrix, to_camera
from facejax.face_model import FaceModel, FaceParams, decode, gaze_direction, neutral_vertices
from facejax.face_model.gaze import Eyeballs, direction_gaze, find_eyeballs
from facejax.fitting import LANDMARKS
from facejax.fitting.gaze import RIM, SeenEyes, solve_gaze
from facejax.images.crop import apply_crop, face_crop
from facejax.mesh import align_similarity
from facejax.programs import cache_compilations
from facejax.regression.iris_points import load_iris, see_eyes
from facejax.synthetic.generate import Generator, generate

SEED = 31
BINS = (0, 15, 30, 45, 60, 100)  # degrees between the head's front and the camera, to the side
OPEN = 0.5  # the largest weight of eyeBlink of an eye that counts


@dataclass(frozen=True)
class Args:
    pictures: int = 500
    size: int = 256
    """side of a picture, pixels; the face's box is about half of it"""
    camera: float = 1.0
    """strength of the camera's effects"""


class Truth(NamedTuple):
    """One picture and its eyes."""

    image: Float[Array, "*N S S 3"]  # bytes
    landmarks: Float[Array, "*N 68 2"]
    params: FaceParams
    direction: Float[Array, "*N 2 3"]  # in the head's frame
    iris: Float[Array, "*N 2 2"]  # pixels
    yaw: Float[Array, "*N"]  # degrees of the camera to the person's left, from the head
    closed: Float[Array, "*N 2"]  # weight of eyeBlink


def main(args: Args) -> None:
    cache_compilations()
    model = facejax.load_face_model()
    true = make(model, args)
    images = [one.astype(np.float32) / 255 for one in np.asarray(true.image)]
    boxes = [np.concatenate([one.min(axis=0), one.max(axis=0)])[None] for one in np.asarray(true.landmarks)]
    found = facejax.regress(images, boxes=boxes)
    order = np.argsort(found.photo)
    if [found.photo[k] for k in order] != list(range(len(images))):
        raise SystemExit("the regressor found no face in some box")
    start = pick(found, order)
    result = facejax.fit(model, images, start=start, recipe=LANDMARKS)
    seen = np.asarray(result.faces.gaze_seen)
    eyes = look(images, start.landmarks)
    drawn = eyes._replace(iris=true.iris)
    solve = jax.jit(jax.vmap(lambda params, eyes: solve_gaze(model, params, eyes).angles))
    guesses = {
        "found": result.params.gaze,
        "straight": jnp.zeros_like(true.iris),
        "true head": solve(true.params, eyes),
        "true iris": solve(result.params, drawn),
    }
    errors = {name: angle(gaze_direction(gaze), true.direction) for name, gaze in guesses.items()}
    assert result.params.gaze is not None
    heads = (result.params, gaze_direction(result.params.gaze)), (true.params, true.direction)
    turned = [jnp.einsum("nij,nej->nei", quaternion_to_matrix(one.pose.rotation), way) for one, way in heads]
    errors["in camera space"] = angle(*turned)
    report(errors, seen, np.asarray(true.yaw), np.asarray(true.closed) < OPEN)


def make(model: FaceModel, args: Args) -> Truth:
    generator = Generator(camera=args.camera)

    @jax.jit
    def one(key, model) -> Truth:
        made = generate(key, model, size=args.size, generator=generator)
        eyeballs, direction = true_eyes(model, made.params)
        places = eyeballs.centre + RIM * eyeballs.front[:, None] * direction
        pixels = project(made.params.camera, to_camera(made.params.pose, places))[:, :2]
        away = -made.params.pose.translation @ quaternion_to_matrix(made.params.pose.rotation)
        rows = jnp.array([model.expression_names.index(f"eyeBlink{side}") for side in ("Right", "Left")])
        return Truth(
            jnp.round(255 * made.image).astype(jnp.uint8),
            made.landmarks,
            made.params,
            direction,
            pixels,
            jnp.rad2deg(direction_gaze(away)[0]),
            made.params.expression[rows],
        )

    keys = jax.random.split(jax.random.key(SEED), args.pictures)
    shots = [jax.device_get(one(key, model)) for key in tqdm(keys, unit="picture")]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *shots)


def true_eyes(model: FaceModel, params: FaceParams) -> tuple[Eyeballs, Float[Array, "2 3"]]:
    """The eyeballs at rest, and where they look: the rotation that brings the resting vertices onto the turned ones."""
    neutral, turned = neutral_vertices(model, params), decode(model, params)
    directions = []
    for right in (True, False):
        mask = model.regions["eyeballs"] * ((model.mean[:, 0] < 0) == right)
        rotation = align_similarity(neutral, turned, mask)[1]
        directions.append(rotation[:, 2])
    return find_eyeballs(model, neutral), jnp.stack(directions)


def pick(found: RegressResult, rows: np.ndarray) -> RegressResult:
    """The faces in the order of the pictures."""
    one = lambda values: [values[k] for k in rows]  # noqa: E731
    return replace(
        found,
        images=one(found.images),
        photo=one(found.photo),
        turns=one(found.turns),
        boxes=found.boxes[rows],
        faces=jax.tree.map(lambda leaf: np.asarray(leaf)[rows], found.faces),
    )


def look(images: list[np.ndarray], landmarks: np.ndarray) -> SeenEyes:
    """What the iris network sees in the fit's crops, in pixels of the pictures."""
    size, see, weights = LANDMARKS.size, jax.jit(see_eyes), load_iris()
    results = []
    for image, points in zip(images, landmarks, strict=True):
        crop = face_crop(points, size, margin=LANDMARKS.margin)
        eyes = see(weights, apply_crop(image, crop, size)[0], jnp.asarray(crop.apply_points(points), jnp.float32))
        results.append(jax.tree.map(lambda leaf, crop=crop: (np.asarray(leaf) - crop.offset) / crop.scale, eyes))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *results)


def angle(a: Float[Array, "N 2 3"], b: Float[Array, "N 2 3"]) -> np.ndarray:
    return np.rad2deg(np.arccos(np.clip(np.sum(np.asarray(a) * np.asarray(b), axis=-1), -1, 1)))


def report(errors: dict[str, np.ndarray], seen: np.ndarray, yaw: np.ndarray, counts: np.ndarray) -> None:
    names = ["found", "in camera space", "straight", "true head", "true iris"]
    print("| yaw | eyes | seen | found, seen eyes | " + " | ".join(names) + " |\n" + "|---" * (len(names) + 4) + "|")
    away = np.abs(yaw)
    rows = [(f"{low}-{high}", (away >= low) & (away < high)) for low, high in pairwise(BINS)]
    for name, inside in [*rows, ("0-30", away < 30), ("all", away < 360)]:
        chosen = counts & inside[:, None]
        if not chosen.any():
            continue
        both = chosen & seen
        share, mine = both.sum() / chosen.sum(), np.median(errors["found"][both]) if both.any() else np.nan
        figures = " | ".join(f"{np.median(errors[one][chosen]):.1f}" for one in names)
        print(f"| {name} | {chosen.sum()} | {100 * share:.0f} % | {mine:.1f} | {figures} |")


if __name__ == "__main__":
    main(tyro.cli(Args))

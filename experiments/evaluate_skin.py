"""How far a fit's skin colour is from the true one, on rendered faces, since only their albedo is known.

    python experiments/evaluate_skin.py [--portraits 12] [--pictures 24] [--recipe linear]

Portraits of `facejax demo` have a plain wall and moderate light. The generator's pictures (frontal, without glasses,
hands and beards) have hair, clothes, lamps, backgrounds, and exposures that vary more than a camera's. The error is the
distance of the face's mean albedo in CIE 1976 L*a*b*, next to that of the model's mean albedo. "slope" says how much of
the difference in lightness between two faces is found.
"""

from dataclasses import dataclass

import jax
import numpy as np
import tyro

import facejax
from facejax.commands.demo import portrait, random_face, skin_lab
from facejax.face_model import FaceModel
from facejax.fitting import RECIPES
from facejax.programs import cache_compilations
from facejax.synthetic.generate import Generator, generate
from facejax.synthetic.people import People

SIZE = 256  # of the generator's pictures, pixels
SEED = 7  # of the generator's pictures


@dataclass(frozen=True)
class Args:
    portraits: int = 12
    """of `facejax demo`, seeds 0, 1, ..."""
    pictures: int = 24
    """of the generator"""
    recipe: str = "linear"
    """one that ends with the model's linear albedo"""


def main(args: Args) -> None:
    if RECIPES[args.recipe].appearance_after() != "linear":
        raise ValueError(f"--recipe {args.recipe}: ends with another appearance than the linear albedo; try linear")
    cache_compilations()
    model = facejax.load_face_model()
    print("| | pictures | error | largest | of the mean albedo | slope of lightness |\n|---|---|---|---|---|---|")
    for name, count, make in (("portraits", args.portraits, portraits), ("generator", args.pictures, pictures)):
        if count:
            photos, points, true = make(model, count)
            fitted = facejax.fit(model, photos, points, recipe=RECIPES[args.recipe]).params.appearance["albedo"]
            print(f"| {name} | {count} | " + " | ".join(f"{x:.2f}" for x in compare(model, fitted, true)) + " |")


Made = tuple[list[np.ndarray], list[np.ndarray], np.ndarray]  # photographs, landmarks, albedo coefficients


def portraits(model: FaceModel, count: int) -> Made:
    faces = [random_face(model, key=jax.random.key(seed)) for seed in range(count)]
    shots = [portrait(model, face, key=jax.random.key(seed + 1)) for seed, face in enumerate(faces)]
    photos, points = map(list, zip(*shots, strict=True))
    return photos, points, np.stack([face.appearance["albedo"] for face in faces])


def pictures(model: FaceModel, count: int) -> Made:
    generator = Generator(people=People(frontal=1.0), glasses=0.0, hand=0.0, beard=0.0)
    make = jax.jit(lambda keys: jax.lax.map(lambda key: generate(key, model, size=SIZE, generator=generator), keys))
    made = make(jax.random.split(jax.random.key(SEED), count))
    return list(np.asarray(made.image)), list(np.asarray(made.landmarks)), np.asarray(made.params.appearance["albedo"])


def compare(model: FaceModel, fitted: jax.Array, true: np.ndarray) -> list[float]:
    """Mean and largest error, that of the model's mean albedo, and the slope of fitted over true lightness."""
    lab = [skin_lab(model, albedo) for albedo in (np.asarray(fitted), true, 0 * true)]
    errors, plain = (np.linalg.norm(one - lab[1], axis=1) for one in (lab[0], lab[2]))
    slope = np.polyfit(lab[1][:, 0], lab[0][:, 0], 1)[0] if len(true) > 1 else np.nan
    return [errors.mean(), errors.max(), plain.mean(), slope]


if __name__ == "__main__":
    main(tyro.cli(Args))

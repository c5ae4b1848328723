"""What is rendered and what is minimised, by name; the rows of the table in docs/regress.md."""

from dataclasses import replace

from facejax.regress.training import Augmentation, Recipe
from facejax.synthetic.generate import Generator

# The camera's effects are left to training, where every view has its own.
FULL = Generator(camera=0.0)
GENERATORS = {
    "full": FULL,
    "bare": replace(FULL, beard=0.0, glasses=0.0, hand=0.0, hair=0.0),
}

SYNTHETIC = Recipe()
RECIPES = {
    "synthetic": SYNTHETIC,
    "no_occluders": replace(SYNTHETIC, name="no_occluders", augmentation=Augmentation(occluders=0.0)),
    "no_camera": replace(SYNTHETIC, name="no_camera", augmentation=Augmentation(camera=0.0)),
    "no_landmark_head": replace(
        SYNTHETIC, name="no_landmark_head", terms=tuple(t for t in SYNTHETIC.terms if t[0] != "landmarks")
    ),
}

"""Synthetic portraits with their landmarks as files, for tests of commands."""

from pathlib import Path

import jax
import numpy as np

from facejax.commands.demo import portrait, random_face
from facejax.export import write_png
from facejax.face_model.load import load_face_model


def write_portrait(folder: Path, name: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`<name>.png` (512 x 512) and `<name>.npy` of the person that the seed draws; returns both."""
    model = load_face_model()
    image, points = portrait(model, random_face(model, key=jax.random.key(seed)), key=jax.random.key(seed))
    write_png(folder / f"{name}.png", image)
    np.save(folder / f"{name}.npy", points)
    return np.asarray(image), np.asarray(points)

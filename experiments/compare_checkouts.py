"""Whether a change keeps results: the same photographs fitted by two checkouts, and their files compared.

    python experiments/compare_checkouts.py --before DIR --after DIR --photos a.jpg b.jpg --out DIR

Each checkout fits the photographs with each recipe, in processes of its own, into OUT/before/<recipe> and
OUT/after/<recipe>. Then every file that the first one wrote is compared: arrays of params.npz, vertices and faces of
meshes, pixels of pictures, numbers of JSON and CSV files. What differs by more than `--tolerance` (relative to the
largest value of an array; pictures: `--pixels` of 255 on average) is listed, and the exit status is 1. Times, versions
and renamed keys are left out.
"""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from PIL import Image
from tqdm import tqdm

UNCOMPARED = ("seconds", "versions", "report.html", "run.json")  # times, and what holds them or paths


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
    tolerance: float = 1e-3
    pixels: float = 1.0
    """mean difference of two pictures that is let pass, of 255"""


def fit(checkout: Path, photos: list[Path], recipe: str, out: Path) -> None:
    """`facejax fit` of a checkout, one face at a time, so that both round alike; complete results are kept."""
    environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
    files = [str(photo.resolve()) for photo in photos]
    options = ["--recipe", recipe, "--out", str(out.resolve()), "--keep-stages", "--batch", "1", "--resume"]
    command = [sys.executable, "-m", "facejax.cli", "fit", *files, *options]
    if not (out / "run.json").exists():
        command.remove("--resume")
    subprocess.run(command, check=True, env=environment, cwd=checkout, stdout=subprocess.DEVNULL)


def differences(before: Path, after: Path, tolerance: float, pixels: float) -> Iterator[str]:
    """A line for each thing that differs."""
    for old in sorted(path for path in before.rglob("*") if path.is_file()):
        name = old.relative_to(before).as_posix()
        if old.name in UNCOMPARED:
            continue
        new = after / name
        if not new.exists():
            yield f"{name}: is not there"
        elif old.suffix in (".png", ".jpg"):
            gap = picture_gap(old, new)
            if not gap <= pixels:
                yield f"{name}: pictures differ by {gap:.2f} of 255 on average"
        else:
            yield from (f"{name}: {line}" for line in number_gaps(read(old), read(new), tolerance))


def picture_gap(old: Path, new: Path) -> float:
    """Mean difference of two pictures' bytes; infinite for other sizes."""
    one, other = (np.asarray(Image.open(path).convert("RGB"), np.float64) for path in (old, new))
    return float(np.abs(one - other).mean()) if one.shape == other.shape else float("inf")


def read(path: Path) -> Any:
    """What a file holds as arrays, numbers, lists and dictionaries; bytes where nothing better is known."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if path.suffix == ".csv":
        rows = csv.reader(path.read_text(encoding="utf-8").splitlines())
        return [[_number(cell) for cell in row] for row in rows]
    if path.suffix == ".obj":
        lines = [line.split() for line in path.read_text(encoding="utf-8").splitlines()]
        return {
            kind: np.array([[float(x) for x in row[1:]] for row in lines if row[:1] == [kind]]) for kind in ("v", "vt")
        }
    if path.suffix == ".glb":
        return np.frombuffer(path.read_bytes(), np.uint8).shape[0]  # its numbers are those of the mesh
    return path.read_bytes()


def number_gaps(old: Any, new: Any, tolerance: float) -> Iterator[str]:
    """Where two readings differ."""
    if isinstance(old, dict):
        for key in old:
            if key in UNCOMPARED:
                continue
            if key not in new:
                yield f"{key}: is not there"
            else:
                yield from (f"{key}: {line}" for line in number_gaps(old[key], new[key], tolerance))
    elif isinstance(old, list):
        if len(old) != len(new):
            yield f"{len(old)} entries became {len(new)}"
        elif old and all(isinstance(value, int | float) for value in old):
            yield from number_gaps(np.array(old, float), np.array(new, float), tolerance)
        else:
            for k, (one, other) in enumerate(zip(old, new, strict=True)):
                yield from (f"{k}: {line}" for line in number_gaps(one, other, tolerance))
    elif isinstance(old, np.ndarray) and old.dtype.kind in "fiu":
        if old.shape != new.shape:
            yield f"shape {old.shape} became {new.shape}"
        elif old.size:
            scale = max(float(np.abs(old).max()), 1.0)
            gap = float(np.abs(old.astype(float) - new).max()) / scale
            if not gap <= tolerance:
                yield f"differs by {gap:.2g} of {scale:.3g}"
    elif isinstance(old, float):
        yield from number_gaps(np.array([old]), np.array([new], float), tolerance)
    elif not np.array_equal(old, new):
        yield f"{str(old)[:60]!r} became {str(new)[:60]!r}"


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def main(args: Args) -> int:
    found = 0
    for recipe in tqdm(args.recipes):
        folders = {}
        for name, checkout in (("before", args.before), ("after", args.after)):
            folders[name] = args.out / name / recipe
            folders[name].mkdir(parents=True, exist_ok=True)
            fit(checkout, args.photos, recipe, folders[name])
        for line in differences(folders["before"], folders["after"], args.tolerance, args.pixels):
            found += 1
            tqdm.write(f"{recipe}: {line}")
    print(f"{found} differences in {len(args.recipes)} recipes of {len(args.photos)} photographs")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, description=__doc__)))

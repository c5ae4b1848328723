"""Time, processor time and memory of whole `facejax fit` commands of two versions, in turn, as ratios.

    python experiments/benchmarks/whole_command.py --before PYTHON --after PYTHON --photos a.jpg b.jpg c.jpg [--pairs 5]

PYTHON is the interpreter of an environment in which a version is installed, or a checkout's folder (then this
interpreter runs it). Of each version, in turn: one photo with an empty folder of compiled programs ("cold"), the same
photo again ("warm"), and all photos ("all"). The cost of a further face is (all - warm) / (photos - 1). Printed are
medians, and the ratios after / before with the least and the greatest of the pairs. Run it on a quiet machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tyro
from tqdm import tqdm


@dataclass(frozen=True)
class Args:
    before: Path
    """interpreter or checkout of the version to compare with"""
    after: Path
    """of the other one"""
    photos: list[Path]
    """photographs, each with one face; the first is fitted alone"""
    pairs: int = 5
    recipe: str = "default"
    cold: bool = True
    """also with an empty folder of compiled programs; False: only the first time, to fill it"""


class Cost(NamedTuple):
    """Of one command."""

    seconds: float
    processor: float  # seconds
    peak: float  # MB


def run(version: Path, photos: list[Path], cache: Path, recipe: str) -> Cost:
    """Fit photographs with a version. Raises RuntimeError, one line, when the command fails."""
    installed = version.is_file()
    environment = os.environ | {"FACEJAX_CACHE": str(cache)}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    if not installed:
        environment["PYTHONPATH"] = str(version.resolve())
    python = str(version.absolute()) if installed else sys.executable
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-m", "facejax.cli", "fit", *(str(photo.resolve()) for photo in photos), "--recipe", recipe]
        with open(Path(folder) / "said.txt", "w+") as said:
            begin = time.perf_counter()
            process = subprocess.Popen(
                [*command, "--out", f"{folder}/out"], cwd=folder, env=environment, stdout=said, stderr=said
            )
            _, status, used = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - begin
            if status:
                said.seek(0)
                raise RuntimeError(f"{version}: the fit failed: {said.read().strip().splitlines()[-1:]}")
    return Cost(seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main(args: Args) -> None:
    costs: dict[str, dict[str, list[Cost]]] = {
        name: {"cold": [], "warm": [], "all": []} for name in ("before", "after")
    }
    versions = {"before": args.before, "after": args.after}
    with tempfile.TemporaryDirectory() as folder:
        for pair in tqdm(range(args.pairs), desc="pairs"):
            for name, version in versions.items():
                cache = Path(folder) / (f"{name}{pair}" if args.cold else name)
                first = run(version, args.photos[:1], cache, args.recipe)
                if args.cold:
                    costs[name]["cold"].append(first)
                costs[name]["warm"].append(run(version, args.photos[:1], cache, args.recipe))
                if len(args.photos) > 1:
                    costs[name]["all"].append(run(version, args.photos, cache, args.recipe))
    for name in costs:  # of each further face
        each = zip(costs[name]["all"], costs[name]["warm"], strict=False)
        further = len(args.photos) - 1
        costs[name]["further face"] = [
            Cost((all_.seconds - one.seconds) / further, (all_.processor - one.processor) / further, all_.peak)
            for all_, one in each
        ]
    print("| | before | after | ratio (least to greatest) |\n|---|---|---|---|")
    for kind in ("cold", "warm", "further face"):
        for field in Cost._fields:
            before, after = (np.array([getattr(cost, field) for cost in costs[name][kind]]) for name in versions)
            if len(before):
                ratio = after / before
                spread = f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})"
                print(f"| {kind}, {field} | {np.median(before):.1f} | {np.median(after):.1f} | {spread} |")


if __name__ == "__main__":
    main(tyro.cli(Args))

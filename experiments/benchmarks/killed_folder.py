"""A folder of rendered photographs fitted once without a break and once killed again and again: are they the same?

    python experiments/benchmarks/killed_folder.py --out OUT [--count 2000] [--kills 10] [--engine ray --workers 2]

Renders the photographs (once), runs `facejax fit` twice, kills the second run with SIGKILL at random moments and
resumes it, and compares: every photograph once in the manifest, the same bytes but for times, no half-written file. Of
the unbroken run the memory is noted: OUT/memory.png and OUT/memory.csv. With Ray one of the workers is killed instead.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
import tyro
from tqdm import tqdm

from facejax.evaluation.plot import draw_lines
from facejax.export import write_png, write_summary, write_text
from facejax.face_model.load import load_face_model
from facejax.programs import jit
from facejax.synthetic.generate import generate

SIDE = 256  # pixels of a photograph
SHARD = 250  # photographs of one compiled call


@dataclass(frozen=True)
class Args:
    out: Path
    """folder for photographs, runs and the report"""
    count: int = 2000
    """photographs"""
    kills: int = 10
    """of the second run"""
    recipe: str = "landmarks"
    batch: int = 16
    engine: str = "local"
    workers: int = 2
    """of ray"""
    seed: int = 0


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    render_photos(args)
    rng = random.Random(args.seed)
    whole, killed = args.out / "whole", args.out / f"killed_{args.engine}"
    seconds = unbroken(args, whole)
    kills = kill_workers(args, killed, rng) if args.engine == "ray" else kill_runs(args, killed, rng, seconds)
    report = compare(args, whole, killed) | {"kills": kills, "seconds_unbroken": seconds}
    write_summary(args.out / f"report_{args.engine}.json", report)
    print(json.dumps(report, indent=1))
    sys.exit(0 if report["same"] else 1)


def render_photos(args: Args) -> None:
    """OUT/photos/00000.png and so on: picture k depends on the seed and k alone."""
    folder = args.out / "photos"
    model = load_face_model()
    draw = jit(lambda keys, model: jax.lax.map(lambda key: generate(key, model, size=SIDE).image, keys))
    for begin in tqdm(range(0, args.count, SHARD), unit="shard", desc="photographs"):
        names = [folder / f"{k:05d}.png" for k in range(begin, min(begin + SHARD, args.count))]
        if all(name.exists() for name in names):
            continue
        keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(args.seed), k))(np.arange(begin, begin + SHARD))
        for name, image in zip(names, np.asarray(draw(keys, model)), strict=False):
            write_png(name, image)


def start(args: Args, out: Path, *more: str) -> subprocess.Popen:
    options = ["--recipe", args.recipe, "--batch", str(args.batch), "--files", "params", *more]
    line = [sys.executable, "-m", "facejax.cli", "fit", str(args.out / "photos"), "--out", str(out), *options]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def unbroken(args: Args, out: Path) -> float:
    """Seconds of the run without a break; its memory is written down. A finished one is not made again."""
    table = args.out / "memory.csv"
    if (out / "summary.json").exists() and table.exists():
        return float(table.read_text().splitlines()[-1].split(",")[0])
    begin, rows = time.perf_counter(), []
    process = start(args, out, "--resume")
    while process.poll() is None:
        rows.append((time.perf_counter() - begin, count_lines(out), resident(process.pid)))
        time.sleep(1)
    write_text(table, "seconds,photos,MB\n" + "".join(f"{s:.1f},{n},{mb:.0f}\n" for s, n, mb in rows))
    draw_memory(args.out / "memory.png", rows)
    return rows[-1][0]


def resident(pid: int) -> float:
    """Megabytes of a process that are in memory."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def count_lines(out: Path) -> int:
    path = out / "manifest.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def draw_memory(path: Path, rows: list[tuple[float, int, float]]) -> None:
    photos, megabytes = (np.array([row[k] for row in rows], float) for k in (1, 2))
    top = 1000 * np.ceil(megabytes.max() / 1000)
    across = np.linspace(0, max(photos.max(), 1), 6)
    picture = draw_lines(
        {"resident": (photos, megabytes)},
        across=across,
        up=np.linspace(0, top, 6),
        title="memory of one process over a folder of photographs",
        x_label="photographs done",
        y_label="MB",
    )
    write_png(path, picture)


def kill_runs(args: Args, out: Path, rng: random.Random, seconds: float) -> list[int]:
    """Lines in the manifest at each kill. Moments are drawn over what the unbroken run took, starts included."""
    kills = []
    for _ in range(args.kills):
        process = start(args, out, "--resume")
        try:
            process.wait(timeout=rng.uniform(3.0, max(2 * seconds / args.kills, 10.0)))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        kills.append(count_lines(out))
    start(args, out, "--resume").wait()
    return kills


def kill_workers(args: Args, out: Path, rng: random.Random) -> list[int]:
    """One worker of the cluster is killed when about a third of the photographs are done."""
    process, kills = start(args, out, "--resume", "--engine", "ray", "--workers", str(args.workers)), []
    while process.poll() is None:
        time.sleep(0.5)
        if not kills and count_lines(out) > args.count / 3:
            workers = subprocess.run(["pgrep", "-f", "^ray::"], capture_output=True, text=True).stdout.split()
            names = {int(pid): Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers}
            os.kill(rng.choice([pid for pid, name in names.items() if b"MapWorker" in name]), signal.SIGKILL)
            kills.append(count_lines(out))
    return kills


def compare(args: Args, whole: Path, killed: Path) -> dict[str, object]:
    """What differs between two runs, times left out."""
    first, second = contents(whole), contents(killed)
    differ = sorted(name for name in {*first, *second} if first.get(name) != second.get(name))
    files = [json.loads(line)["file"] for line in (killed / "manifest.jsonl").read_text().splitlines()]
    summary = json.loads((killed / "summary.json").read_text())
    return {
        "same": not differ and len(files) == len(set(files)) == args.count,
        "differ": differ[:20],
        "lines": len(files),
        "different_names": len(set(files)),
        "left_over": [str(path.relative_to(killed)) for path in killed.rglob(".*")][:20],
        "photos": {name: summary[name] for name in ("ok", "failed", "failed_by")},
    }


def contents(out: Path) -> dict[str, object]:
    """Every file of a run."""
    found: dict[str, object] = {}
    for path in out.rglob("*"):
        name = path.relative_to(out).as_posix()
        if path.suffix == ".json":
            found[name] = {key: value for key, value in json.loads(path.read_text()).items() if key != "seconds"}
        elif path.suffix == ".jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            ordered = sorted(lines, key=lambda line: line["file"])
            found[name] = [{key: value for key, value in line.items() if key != "seconds"} for line in ordered]
        elif path.suffix == ".npz":
            with np.load(path) as file:
                found[name] = {key: file[key].tobytes() for key in file.files}
        elif path.is_file() and path.suffix != ".html":  # the report shows times
            found[name] = path.read_bytes()
    return found


if __name__ == "__main__":
    main()

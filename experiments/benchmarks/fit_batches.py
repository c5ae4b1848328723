"""Faces per second, memory and compilation of whole fits against batch size, and what the folder engine adds.

    python experiments/benchmarks/fit_batches.py --out DIR                       # table.md, table.json, faces.png
    python experiments/benchmarks/fit_batches.py --out DIR --recipes default --batches 1 16 --devices 2
    python experiments/benchmarks/fit_batches.py --out DIR --folder 64           # `facejax fit` beside the bare loop
    python experiments/benchmarks/fit_batches.py --out DIR --recipes accelerator --batches 32 --decoder large

Every row is a process of its own, so that memory and compiled programs are no other row's. Starts are from the
start of Python until the first fit can begin, the first with an empty cache of compiled programs.
Devices: accelerators by themselves; on a processor `--devices` splits it into so many.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import tyro

ROUNDS = 3
ENOUGH = 40.0  # seconds, after which a slow row is not run again


@dataclass(frozen=True)
class Args:
    out: Path
    """folder for the tables and the plot"""
    recipes: tuple[str, ...] = ("landmarks", "linear", "default")
    batches: tuple[int, ...] = (1, 4, 16)
    sizes: tuple[int, ...] = (224,)
    """sides of the crops"""
    decoder: str | None = None
    """another texture decoder than the package's: its folder, or "large": `facejax.texture.LARGE` (512 texels) with
    random weights, which take as long as any"""
    devices: int | None = None
    """parts that a processor is split into; default: 1"""
    folder: int = 0
    """portraits for the comparison of the engine with the bare loop; 0: none"""
    cache: Path | None = None
    """folder that keeps the compiled programs; then only one start of each row is measured"""


@dataclass(frozen=True)
class Case:
    """One row."""

    recipe: str
    size: int
    batch: int
    devices: int | None = None
    decoder: str | None = None
    folder: int = 0


def main() -> None:
    if len(sys.argv) == 3 and sys.argv[1] == "--case":
        print(json.dumps(run_case(Case(**json.loads(sys.argv[2])), time.time() - started())))
        return
    args = tyro.cli(Args, description=__doc__)
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for recipe in args.recipes:
        for size in args.sizes:
            for batch in args.batches:
                case = Case(recipe, size, batch, args.devices, args.decoder, args.folder)
                rows.append(measure(case) if args.cache is None else measure_once(case, args.cache))
                print(line(rows[-1]), file=sys.stderr)
    (args.out / "table.json").write_text(json.dumps(rows, indent=1))
    text = table(rows)
    (args.out / "table.md").write_text(text)
    draw(args.out / "faces.png", rows)
    print(text)


def measure(case: Case) -> dict:
    """A row, cold and then warm."""
    with tempfile.TemporaryDirectory() as cache:
        cold, warm = (in_process(case, cache) for _ in range(2))
    starts = {"cold": cold["ready"], "warm": warm["ready"], "compile": cold["compile"], "from_cache": warm["compile"]}
    return asdict(case) | warm | starts


def measure_once(case: Case, cache: Path) -> dict:
    """A row as it starts with what the cache holds."""
    row = in_process(case, cache)
    unknown = {"cold": float("nan"), "from_cache": float("nan")}
    return asdict(case) | row | unknown | {"warm": row["ready"]}


def in_process(case: Case, cache: Path | str) -> dict:
    environment = {**os.environ, "FACEJAX_CACHE": str(cache)}
    if case.devices:  # threads for XLA's work beside those in which the devices' programs wait
        environment.setdefault("NPROC", str(4 * case.devices))
    line = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{case}: {done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def started() -> float:
    """When this process was started, seconds since the epoch."""
    ticks = int(Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()[19])
    booted = next(int(row.split()[1]) for row in Path("/proc/stat").read_text().splitlines() if row.startswith("btime"))
    return booted + ticks / os.sysconf("SC_CLK_TCK")


def run_case(case: Case, began: float) -> dict:
    """In this process."""
    begin = time.perf_counter() - began
    import resource

    import jax

    if case.devices:
        jax.config.update("jax_num_cpu_devices", case.devices)
    import numpy as np

    from facejax.commands.demo import portrait, random_face
    from facejax.face_model.load import load_face_model
    from facejax.fitting import RECIPES, compile_fit, over_devices, prepare_crops
    from facejax.ingredients import ingredients_for
    from facejax.programs import cache_compilations

    cache_compilations()
    model = load_face_model()
    recipe = RECIPES[case.recipe]
    decoder = random_decoder() if case.decoder == "large" else case.decoder or "default"
    ingredients = ingredients_for(recipe, decoder, model=model)
    recipe = replace(recipe, size=ingredients.side() or case.size)
    loaded = time.perf_counter()
    portraits = [
        portrait(model, random_face(model, key=key), key=key) for key in jax.random.split(jax.random.key(0), 2)
    ]
    images, points = ([np.asarray(one[k]) for one in portraits] for k in range(2))
    crops = prepare_crops(*([some[k % 2] for k in range(case.batch)] for some in (images, points)), recipe=recipe)
    model, crops, ingredients = over_devices(model, crops, ingredients)
    compiling = time.perf_counter()  # what came since `loaded` is the benchmark's own
    program = compile_fit(model, crops, recipe=recipe, ingredients=ingredients)
    compiled = time.perf_counter()
    jax.block_until_ready(program(model, crops, ingredients))
    ran = time.perf_counter()
    first = time.perf_counter() - begin - (compiling - loaded)
    seconds = []
    while len(seconds) < ROUNDS and sum(seconds) < ENOUGH:
        start = time.perf_counter()
        jax.block_until_ready(program(model, crops, ingredients))
        seconds.append(time.perf_counter() - start)
    analysis = program.memory_analysis()  # type: ignore[attr-defined]
    stats = jax.local_devices()[0].memory_stats() or {}
    peak = stats.get("peak_bytes_in_use") or 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    each = float(np.median(seconds)) / case.batch
    row = {
        "first": first,
        "ready": first - (ran - compiled),
        "compile": compiled - compiling,
        "seconds_a_face": each,
        "program_MB_a_face": analysis.temp_size_in_bytes / case.batch / 1e6,
        "peak_MB": peak / 1e6,
        "device": str(jax.devices()[0].device_kind),
        "jax": jax.__version__,
        "cores": len(os.sched_getaffinity(0)),
    }
    return row | (folder_overhead(case, images, points) if case.folder else {})


def random_decoder():
    """`LARGE` without training."""
    import jax

    from facejax.nets.stylegan2 import init_generator
    from facejax.texture import LARGE, texture_decoder

    return texture_decoder(LARGE, init_generator(LARGE, jax.random.key(0)), count=2000)


def folder_overhead(case: Case, images: list, points: list) -> dict:
    """Seconds a face of the compiled loop alone, and of the engine that reads, fits and writes parameters."""
    import jax
    import numpy as np

    from facejax.engine.fits import FitJob, FitOptions
    from facejax.engine.job import Group, work_here
    from facejax.engine.run import Run
    from facejax.export import write_png
    from facejax.fitting import compile_fit, over_devices, prepare_crops
    from facejax.images import list_photos

    with tempfile.TemporaryDirectory() as place:
        for k in range(case.folder):
            write_png(Path(place) / f"photos/{k:04d}.png", images[k % 2])
            np.save(Path(place) / f"photos/{k:04d}.npy", points[k % 2])
        photos = list_photos([f"{place}/photos"])
        options = FitOptions(
            out=Path(place) / "out",
            landmarks=Path(place) / "photos",
            recipe=case.recipe,
            files=("params",),
            contour="static",
        )
        job = FitJob(options)
        job.load(case.batch)
        job.work(job.find(Group(0, photos[: case.batch], {})))  # compiles
        some = [[images[k % 2] for k in range(case.batch)], [points[k % 2] for k in range(case.batch)]]
        crops = prepare_crops(*some, recipe=job.fitter.recipe)
        everything = over_devices(job.fitter.model, crops, job.fitter.ingredients)
        program = compile_fit(*everything[:2], recipe=job.fitter.recipe, ingredients=everything[2])
        bare, engine = [], []  # (seconds, processor seconds)
        while len(bare) < ROUNDS and sum(seconds for seconds, _ in bare) < ENOUGH:
            with spent(bare):
                for _ in range(case.folder // case.batch):
                    jax.block_until_ready(program(*everything))
            run = Run(FitJob(replace(options, out=Path(place) / f"out{len(bare)}")), photos, batch=case.batch)
            with spent(engine):
                for _ in run.go_on(work_here, lambda: False):
                    pass
    bare_loop, through_engine = (np.min(rounds, axis=0) / case.folder for rounds in (bare, engine))
    kinds = "", "_processor"
    row = {f"bare_loop{kind}": float(each) for kind, each in zip(kinds, bare_loop, strict=True)}
    return row | {f"engine{kind}": float(each) for kind, each in zip(kinds, through_engine, strict=True)}


@contextmanager
def spent(rounds: list[tuple[float, float]]) -> Iterator[None]:
    """Appends the seconds and the processor seconds (of this process) that something takes."""
    start = time.perf_counter(), time.process_time()
    yield
    rounds.append((time.perf_counter() - start[0], time.process_time() - start[1]))


def line(row: dict) -> str:
    return "  ".join(
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in row.items()
    )


def table(rows: list[dict]) -> str:
    """Markdown; the speed-up is against the smallest batch of the same recipe and size."""
    device = rows[0]
    parts = f", {device['devices']} devices" if device["devices"] else ""
    head = f"{device['device']}{parts}, {device['cores']} cores, jax {device['jax']}\n\n"
    names = ["recipe", "side", "batch", "seconds a face", "of batch 1", "program, MB a face", "peak, MB", "compile, s"]
    names += ["from the cache, s", "first start, s", "second start, s"]
    folder = any("engine" in row for row in rows)
    names += ["bare loop, s a face", "folder, s a face", "added", "added processor time"] if folder else []
    text = head + f"| {' | '.join(names)} |\n{'|---' * len(names)}|\n"
    for row in rows:
        base = next(one for one in rows if (one["recipe"], one["size"]) == (row["recipe"], row["size"]))
        cells = [row["recipe"], str(row["size"]), str(row["batch"]), f"{row['seconds_a_face']:.3g}"]
        cells += [f"{row['seconds_a_face'] / base['seconds_a_face']:.2f}", f"{row['program_MB_a_face']:.0f}"]
        cells += [
            f"{row['peak_MB']:.0f}",
            f"{row['compile']:.1f}",
            f"{row['from_cache']:.1f}",
            f"{row['cold']:.1f}",
            f"{row['warm']:.1f}",
        ]
        if folder:
            added = [row[f"engine{kind}"] / row[f"bare_loop{kind}"] - 1 for kind in ("", "_processor")]
            cells += [f"{row['bare_loop']:.3g}", f"{row['engine']:.3g}", *(f"{100 * part:.1f} %" for part in added)]
        text += f"| {' | '.join(cells)} |\n"
    return text


def draw(path: Path, rows: list[dict]) -> None:
    """Faces a second against the batch, a line for each recipe and size."""
    import numpy as np

    from facejax.evaluation.plot import draw_lines
    from facejax.export import write_png

    kinds = {(row["recipe"], row["size"]): f"{row['recipe']}, {row['size']} px" for row in rows}
    if len({row["batch"] for row in rows}) < 2:
        return
    lines = {}
    for kind, name in kinds.items():
        mine = [row for row in rows if (row["recipe"], row["size"]) == kind]
        lines[name] = np.array([r["batch"] for r in mine], float), np.array([1 / r["seconds_a_face"] for r in mine])
    low, high = (edge([y for _, ys in lines.values() for y in ys]) for edge in (min, max))
    up = [10.0**k for k in range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)]
    across = np.linspace(0, max(row["batch"] for row in rows), 5)
    picture = draw_lines(lines, across=across, up=up, log=True, title="faces a second", x_label="batch")
    write_png(path, picture)


if __name__ == "__main__":
    main()

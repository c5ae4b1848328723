"""The regressor with different trunks at equal cost: a table of docs/measurements/regression.md.

    python experiments/train_regressor.py render --pool POOL --shards 24 --size 160 --dense
    taskset -c 1 python experiments/compare_trunks.py --pool POOL --data AFLW2000 --out OUT --minutes 8

Every row is trained from random weights on the same pictures, for as many steps as fit into so many minutes of the
processor, and measured on AFLW2000-3D with one look at the boxes of the true points. `OUT/table.md` is written after
each row; finished rows are skipped.
"""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from ablate_regressor import BINS, Bench, Row, measure
from regressor import loop
from regressor.recipes import RECIPES, encoder_config

from facejax.export import write_summary, write_text
from facejax.nets.encoder import EncoderConfig, apply_encoder, init_encoder
from facejax.regression.regressor import Regressor, RegressorConfig, load_regressor
from facejax.regression.training import Recipe

ROWS = {  # name: trunk, recipe, what the table calls it
    "conv": ("conv", "synthetic", "convolutions"),
    "vit": ("vit", "synthetic", "ViT"),
    "t2t_vit": ("t2t_vit", "synthetic", "T2T-ViT"),
    "lv_vit": ("lv_vit", "synthetic", "LV-ViT without token labels"),
    "lv_vit_labels": ("lv_vit", "token_labels", "LV-ViT with token labels"),
}


@dataclass(frozen=True)
class Args:
    pool: Path
    """rendered pictures with parsing maps, see experiments/train_regressor.py render --dense"""
    data: Path
    """AFLW2000-3D"""
    out: Path
    minutes: float = 8.0
    """of the processor, for each row's steps; compiling comes on top"""
    batch: int = 32
    shards: int | None = None
    """only the pool's first files of 256 pictures"""
    rows: tuple[str, ...] = tuple(ROWS)
    shipped: bool = True
    """measure the shipped regressor too"""
    limit: int | None = None
    """only the first benchmark faces"""
    seed: int = 0


def main(args: Args) -> None:
    bench: Any = Bench(args)  # type: ignore[arg-type]
    if args.shipped and not (path := args.out / "rows" / "shipped.json").exists():
        regressor = load_regressor()
        found = measure(regressor, bench, Row("shipped", "synthetic"))
        write_summary(path, {"label": "the shipped weights", **found})
    for name in args.rows:
        path = args.out / "rows" / f"{name}.json"
        if not path.exists():
            print(name, file=sys.stderr)
            write_summary(path, train_and_measure(args, bench, name))
        write_table(args)
    print((args.out / "table.md").read_text())


def train_and_measure(args: Args, bench: Any, name: str) -> dict[str, Any]:
    trunk, recipe_name, label = ROWS[name]
    recipe = replace(RECIPES[recipe_name], batch=args.batch)
    config = RegressorConfig(encoder=encoder_config(trunk, recipe))
    source = loop.pool_source(args.pool, recipe, seed=args.seed, limit=args.shards)
    folder = args.out / "runs" / name
    steps = steps_of(folder / "steps.json", args, config, recipe, source, bench.anchors)
    recipe = replace(recipe, steps=steps, warmup=min(recipe.warmup, steps // 5 + 1))
    start = time.process_time()
    state: Any = loop.run(folder, config, recipe, source, bench.anchors, seed=args.seed)
    minutes = (time.process_time() - start) / 60
    regressor = Regressor(bench.model, state.average, config)
    return {
        "label": label,
        "steps": steps,
        "minutes": minutes,
        "milliseconds": forward_time(config.encoder),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        **measure(regressor, bench, Row(label, recipe_name)),
    }


def steps_of(path: Path, args: Args, config: RegressorConfig, recipe: Recipe, source: Any, anchors: Any) -> int:
    """So many steps fit into the minutes; measured once, so that a resumed run has the same schedule."""
    if path.exists():
        return json.loads(path.read_text())["steps"]
    state, views, step = loop.one_branch(config, recipe, anchors, args.seed, None)
    key, taken = jax.random.key(0), []
    for number in range(14):
        start = time.process_time()
        state, terms = step(state, views(key, source(number)))
        jax.block_until_ready(terms)
        taken.append(time.process_time() - start)
    seconds = float(np.median(taken[2:]))  # the first ones compile
    found = {"steps": int(args.minutes * 60 / seconds), "seconds": seconds}
    write_summary(path, found)
    return found["steps"]


def forward_time(config: EncoderConfig) -> float:
    """Milliseconds of the processor for one picture: the median of many."""
    params, image = init_encoder(config, jax.random.key(0)), jax.numpy.zeros((1, config.size, config.size, 3))
    look, taken = jax.jit(lambda params, image: apply_encoder(config, params, image).landmarks), []
    for _ in range(100):
        start = time.process_time()
        jax.block_until_ready(look(params, image))
        taken.append(time.process_time() - start)
    return 1e3 * float(np.median(taken))


def write_table(args: Args) -> None:
    paths = [args.out / "rows" / f"{name}.json" for name in ("shipped", *ROWS)]
    lines = ["| trunk | parameters | one view | steps | minutes | " + " | ".join((*BINS, "mean, NME")) + " |"]
    lines.append("|" + "---|" * (6 + len(BINS)))
    for row in (json.loads(path.read_text()) for path in paths if path.exists()):
        bins, mean = row["head"]["68"]["bins"], row["head"]["68"]["mean"]
        cost = ["", "", "", ""]
        if "steps" in row:
            cost = [f"{row['parameters'] / 1e6:.1f} M", f"{row['milliseconds']:.1f} ms", f"{row['steps']}"]
            cost.append(f"{row['minutes']:.1f}")
        cells = [row["label"], *cost, *(f"{bins[name]:.2f}" for name in BINS), f"{mean:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    write_text(args.out / "table.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    try:
        main(tyro.cli(Args, description=__doc__))
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")

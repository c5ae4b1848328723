"""Make a set of evenly lit albedo maps in the default head's UV layout from the CC0 skins: see docs/texture_set.md.

    python experiments/make_texture_set.py --data DATA --out maps --count 5000 --size 512

Map `index` of a seed is always the same. A killed run resumes; a larger --count adds to a set. The ingredients that
maps are mixed from are made first (some minutes) and kept in --ingredients.
"""

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import tyro
from build_default_head import VERTICES, exchange, lay_out
from default_head.source import load_source
from texture_set.ingredients import load_ingredients, make_ingredients, save_ingredients
from texture_set.shards import Plan, missing, start, write_missing
from tqdm import tqdm

log = logging.getLogger("make_texture_set")


@dataclass(frozen=True)
class Args:
    data: Path
    """folder that holds ict/ and skins/"""
    out: Path
    """folder to fill"""
    count: int = 5000
    """maps"""
    size: int = 512
    """texels along a side, a multiple of 32"""
    seed: int = 0
    """of the people; the ingredients do not depend on it"""
    shard: int = 50
    """maps per file"""
    workers: int = max(1, os.cpu_count() or 1)
    """processes"""
    without: tuple[str, ...] = ()
    """skins to hold out, such as young_lightskinned_male; a training on the set has then not seen them"""
    ingredients: Path | None = None
    """file of what the maps are mixed from; default: ingredients_SIZE.npz in --out"""


def prepare(data: Path, path: Path, size: int) -> None:
    """Make the ingredients unless they exist."""
    if path.exists():
        return
    log.info("ingredients: the head's layout")
    source = load_source(data)
    head, arrays = lay_out(source, vertices=VERTICES, seed=0)
    log.info("ingredients: skins at %d x %d", size, size)
    save_ingredients(path, make_ingredients(data, exchange(source, head, arrays), size))


def main(args: Args) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    path = args.ingredients or args.out / f"ingredients_{args.size}.npz"
    prepare(args.data, path, args.size)
    plan = Plan(args.seed, args.count, args.size, args.shard, args.without)
    start(args.out, plan, load_ingredients(path))
    done = sum(len(plan.indices(k)) for k in set(range(plan.shards)) - set(missing(args.out, plan)))
    with tqdm(total=plan.count, initial=done, unit="map") as bar:
        for number in write_missing(args.out, plan, path, args.workers):
            bar.update(len(plan.indices(number)))


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # since the workers share the cores
    main(tyro.cli(Args, description=__doc__))

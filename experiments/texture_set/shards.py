"""The set on disk: shards of maps that are either complete or absent, so that a killed run resumes.

| file | holds |
|---|---|
| `set.json` | format, seed, count, size, maps per shard |
| `covered.npy` | (T, T) bool: texels that the mesh shows |
| `maps_00000.npy`, ... | (n, T, T, 3) uint8 display values, row 0 on top; the last one may be shorter |
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from facejax.atomic import atomic_path, write_text
from texture_set.compose import draw_map
from texture_set.ingredients import Ingredients, load_ingredients, without_skins

FORMAT = 1


@dataclass(frozen=True)
class Plan:
    """The maps of a set: indices 0 to `count` - 1 of one seed."""

    seed: int
    count: int
    size: int
    shard: int  # maps in each file but the last
    without: tuple[str, ...] = ()  # skins that are held out

    def indices(self, number: int) -> range:
        """The maps of one shard."""
        return range(number * self.shard, min((number + 1) * self.shard, self.count))

    @property
    def shards(self) -> int:
        return -(-self.count // self.shard)


def shard_path(folder: Path, number: int) -> Path:
    return Path(folder) / f"maps_{number:05d}.npy"


def start(folder: Path, plan: Plan, ingredients: Ingredients) -> None:
    """Write the set's description. Raises ValueError when the folder holds another set; a set may grow."""
    path = Path(folder) / "set.json"
    if path.exists():
        old = read_plan(folder)
        if replace(old, count=plan.count) != plan or old.count > plan.count:
            raise ValueError(f"{folder} holds another set ({old}): choose another --out, or its own numbers")
    with atomic_path(Path(folder) / "covered.npy") as partial:
        np.save(partial, ingredients.covered)
    write_text(path, json.dumps({"format": FORMAT, **asdict(plan)}, indent=1) + "\n")


def read_plan(folder: Path) -> Plan:
    """The plan of a set. Raises FileNotFoundError without one, ValueError for another format."""
    path = Path(folder) / "set.json"
    if not path.exists():
        raise FileNotFoundError(f"no set.json in {folder}: make the set with experiments/make_texture_set.py")
    values = json.loads(path.read_text())
    if values.pop("format", None) != FORMAT:
        raise ValueError(f"{path}: not a texture set of format {FORMAT}; make it again")
    return Plan(**values | {"without": tuple(values.get("without", ()))})


def missing(folder: Path, plan: Plan) -> list[int]:
    """Shards that do not exist or hold fewer maps than planned."""
    return [number for number in range(plan.shards) if not _is_whole(folder, plan, number)]


def _is_whole(folder: Path, plan: Plan, number: int) -> bool:
    path = shard_path(folder, number)
    return path.exists() and len(np.load(path, mmap_mode="r")) == len(plan.indices(number))


def write_shard(folder: Path, plan: Plan, ingredients: Ingredients, number: int) -> int:
    """Draw one shard.

    Args:
      folder: of the set.
      plan: of the set.
      ingredients: of the maps.
      number: of the shard.

    Returns:
      Its number.
    """
    maps = np.stack([draw_map(ingredients, plan.seed, index) for index in plan.indices(number)])
    with atomic_path(shard_path(folder, number)) as partial:
        np.save(partial, maps)
    return number


def write_missing(folder: Path, plan: Plan, ingredients: Path, workers: int) -> Iterator[int]:
    """Draw the missing shards in parallel.

    Args:
      folder: of the set.
      plan: of the set.
      ingredients: of the maps.
      workers: processes.

    Yields the number of each shard when it is on disk.
    """
    numbers = missing(folder, plan)
    if workers <= 1 or len(numbers) <= 1:
        loaded = _ingredients(plan, ingredients)
        yield from (write_shard(folder, plan, loaded, number) for number in numbers)
        return
    with get_context("spawn").Pool(workers, _begin, (folder, plan, ingredients)) as pool:
        yield from pool.imap_unordered(_work, numbers)


def _ingredients(plan: Plan, path: Path) -> Ingredients:
    return without_skins(load_ingredients(path), plan.without)


_jobs: list[tuple[Path, Plan, Ingredients]] = []  # the one job of this worker process


def _begin(folder: Path, plan: Plan, ingredients: Path) -> None:
    _jobs[:] = [(folder, plan, _ingredients(plan, ingredients))]


def _work(number: int) -> int:
    folder, plan, ingredients = _jobs[0]
    return write_shard(folder, plan, ingredients, number)


class TextureSet:
    """A set on disk, read through memory maps: `len(maps)`, `maps[index]` and `maps.take(indices)`."""

    def __init__(self, folder: Path):
        self.plan = read_plan(folder)
        if gone := missing(folder, self.plan):
            raise FileNotFoundError(
                f"{folder}: {len(gone)} of {self.plan.shards} shards are missing: run it to the end"
            )
        self.covered = np.load(Path(folder) / "covered.npy")
        self._shards = [np.load(shard_path(folder, k), mmap_mode="r") for k in range(self.plan.shards)]

    def __len__(self) -> int:
        return self.plan.count

    def __getitem__(self, index: int) -> np.ndarray:
        """(T, T, 3) uint8."""
        if not 0 <= index < len(self):
            raise IndexError(f"map {index} of {len(self)}")
        return np.array(self._shards[index // self.plan.shard][index % self.plan.shard])

    def take(self, indices: np.ndarray) -> np.ndarray:
        """(N, T, T, 3) uint8."""
        return np.stack([self[int(index)] for index in indices])

"""The training loop shared by all networks: batches in, checkpoints and a log out. A killed run resumes exactly.

A step's batch and random key must follow from its number, so that a resumed run takes the same steps as one that was
never stopped.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tqdm import tqdm

from facejax.atomic import write_text
from facejax.checkpoints import TrainingStore
from facejax.multihost import first_host, spread

S = TypeVar("S")
Terms = Mapping[str, Any]  # scalars, on the device or the host


class Event(NamedTuple):
    """Something done every so many steps and after the last one, before the log's row is written."""

    every: int  # steps; 0: never
    do: Callable[[Any], Terms]  # takes the state; what it returns is logged


class Log(Protocol):
    """Where the terms of the steps go: `CsvLog` or `TensorBoardLog`."""

    def resume(self, first: int) -> None: ...
    def write(self, step: int, means: Mapping[str, float]) -> None: ...
    def close(self) -> None: ...


def train(
    step: Callable[[S, int, Any], tuple[S, Terms]],
    state: S,
    batch: Callable[[int], Any],
    *,
    steps: int,
    store: TrainingStore,
    log: Log,
    log_every: int,
    save_every: int,
    sharding: NamedSharding | None = None,
    events: tuple[Event, ...] = (),
    saved: Callable[[S], None] = lambda state: None,
    shown: tuple[str, ...] = (),
    title: str | None = None,
) -> S:
    """Train until `steps` steps are done, from the newest checkpoint in `store` if there is one.

    The next batch is made while the device takes a step, and at most two steps wait in its queue.

    Args:
      step: (state, number, batch) to (state, terms). Numbers count from 0.
      state: the state to start from; also shows the structure of a checkpoint.
      batch: number to batch.
      steps: the number of the run's steps, including those of earlier calls.
      store, save_every: where checkpoints go, and the steps between two. The last step is always saved.
      log, log_every: where the means of the terms go, and the steps between two rows. The last step always has a row.
      sharding: placement of the state; None: on the default device.
      events: what else to do every so many steps.
      saved: called with the state after each checkpoint.
      shown: terms whose means are shown beside the progress bar.
      title: text before the progress bar.

    Returns:
      The state after the last step.
    """
    first, state = store.restore_latest(state) or (0, state)
    if sharding is not None:
        state = spread(state, sharding)
    log.resume(first)
    recent: dict[str, list[Any]] = {}

    def add(terms: Terms) -> None:
        for name, value in terms.items():
            recent.setdefault(name, []).append(value)

    def due(every: int, done: int) -> bool:
        return every > 0 and (done % every == 0 or done == steps)

    last: Terms = {}
    bar = tqdm(total=steps, initial=first, unit="step", desc=title, disable=not first_host())
    with bar, closing(log):
        ready = batch(first) if first < steps else None
        for done in range(first + 1, steps + 1):
            state, terms = step(state, done - 1, ready)
            ready = batch(done) if done < steps else None
            jax.block_until_ready(last)
            last = terms
            add(terms)
            bar.update()
            for event in events:
                if due(event.every, done):
                    add(event.do(state))
            if due(log_every, done):
                means = {name: float(np.mean(values)) for name, values in jax.device_get(recent).items()}
                recent.clear()
                log.write(done, means)
                bar.set_postfix_str(", ".join(f"{name} {means[name]:.3g}" for name in shown if name in means))
            if due(save_every, done):
                store.save(done, state)
                saved(state)
    return state


def shardings(batch: int, devices: list[jax.Device] | None) -> tuple[NamedSharding, NamedSharding]:  # type: ignore[valid-type]
    """For what every device holds whole, and for a batch of which each takes an equal part.

    Raises ValueError when the parts would not be equal and even.
    """
    devices = devices or jax.devices()
    if batch % (2 * len(devices)) and len(devices) > 1:
        raise ValueError(f"a batch of {batch} on {len(devices)} devices: use a multiple of {2 * len(devices)}")
    mesh = Mesh(np.array(devices), ("data",))
    return NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))


def describe(out: Path, recipe: Any) -> None:
    """Write recipe.json into the run's folder.

    Raises ValueError when the run was begun with another recipe; only its number of steps may change.
    """
    path, told = out / "recipe.json", json.loads(json.dumps(asdict(recipe)))
    if path.exists():
        old = json.loads(path.read_text())
        changed = [name for name, value in told.items() if name != "steps" and old.get(name) != value]
        if changed:
            raise ValueError(f"{path}: begun with another {changed[0]!r}; use a new folder, or the old setting")
    if first_host():
        write_text(path, json.dumps(told, indent=1) + "\n")


class CsvLog:
    """Rows of a CSV file: the step, then the named columns. A term that was not logged leaves its column empty."""

    def __init__(self, path: Path, columns: tuple[str, ...]):
        self.path, self.columns = path, columns
        self.rows: list[str] = []

    def resume(self, first: int) -> None:
        """Keeps the rows up to step `first`; the later ones will be written again."""
        old = self.path.read_text().splitlines()[1:] if self.path.exists() else []
        self.rows = [row for row in old if int(row.split(",")[0]) <= first]

    def write(self, step: int, means: Mapping[str, float]) -> None:
        values = (f"{means[name]:.6g}" if name in means else "" for name in self.columns)
        self.rows.append(",".join([str(step), *values]))
        if first_host():
            write_text(self.path, "\n".join([",".join(("step", *self.columns)), *self.rows]) + "\n")

    def close(self) -> None:
        pass


class TensorBoardLog:
    """Scalars as TensorBoard reads them. Raises ValueError without tensorboardX (extra `train`)."""

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise ValueError("training logs need tensorboardX: pip install 'facejax[train]'") from None
        self.file = SummaryWriter(str(folder))

    def resume(self, first: int) -> None:
        pass

    def write(self, step: int, means: Mapping[str, float]) -> None:
        for name, value in means.items():
            self.file.add_scalar(name, value, step)

    def close(self) -> None:
        self.file.close()

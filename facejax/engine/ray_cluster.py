"""The groups of a run on the workers of a Ray cluster (Ray Data, the extra `facejax[ray]`).

Each worker is an actor with one accelerator, or with one core if there is none. It reads photographs and writes or
uploads folders itself, so every worker must be able to reach OUT and the photographs, for instance at URLs; only names
and lines of the manifest are exchanged. If a worker dies, another one takes its group and writes the same files.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import jax

from facejax.engine.job import Group, Job
from facejax.export.manifest import Line
from facejax.images import Photo
from facejax.images.sources import is_url
from facejax.programs import cache_compilations


class RayCluster:
    """An `Engine` (`facejax.engine.job`); connects to the cluster that RAY_ADDRESS names, or starts one here."""

    def __init__(self, workers: int | None = None):
        try:
            import ray
            import ray.data
        except ImportError:
            raise ValueError("--engine ray needs Ray: pip install 'facejax[ray]'") from None
        if workers is not None and workers < 1:
            raise ValueError(f"--workers {workers}: at least 1")
        self.ray, self.workers = ray, workers

    def __call__(
        self, job: Job, groups: Sequence[Group], together: int, stopped: Callable[[], bool]
    ) -> Iterator[tuple[int, list[Line]]]:
        ray = self.ray
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        if not ray.is_initialized():
            ray.init(log_to_driver=False, include_dashboard=False, logging_level="error")
        ray.data.DataContext.get_current().enable_progress_bars = False
        gpus = int(ray.cluster_resources().get("GPU", 0))
        workers = min(self.workers or max(gpus, 1), len(groups))
        rows = [{"group": one.number, "what": _to_text(one)} for one in groups]
        blocks = ray.data.from_items(rows, override_num_blocks=len(rows))  # so that only a lost group is done again
        lines = blocks.map_batches(
            _Worker,
            fn_constructor_args=(_anywhere(job), together, os.environ.get("JAX_PLATFORMS")),
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=workers),
            num_gpus=1 if gpus else 0,
            num_cpus=None if gpus else 1,
        )
        for row in lines.iter_rows():
            lines_or_error = json.loads(row["lines"])
            if isinstance(lines_or_error, str):
                raise OSError(lines_or_error)
            yield int(row["group"]), lines_or_error
            if stopped():
                return


def _to_text(group: Group) -> str:
    """A group as text, with absolute paths, so that any worker finds its photographs."""
    photos = [photo if is_url(photo.source) else replace(photo, source=os.path.abspath(photo.source))
              for photo in group.photos]  # fmt: skip
    return json.dumps([[asdict(photo) for photo in photos], dict(group.taken)])


def _anywhere(job: Job) -> Job:
    """The job with absolute paths, because workers may run in another folder."""
    options = job.options
    given = {field.name: _absolute(getattr(options, field.name)) for field in fields(options) if field.init}
    given["model"] = options.model if options.model == "default" else os.path.abspath(options.model)
    given["out"] = str(options.out) if is_url(options.out) else os.path.abspath(options.out)
    return type(job)(replace(options, **given))


def _absolute(value: Any) -> Any:
    """Make a path, or a tuple of them, absolute; return anything else unchanged."""
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    return value.absolute() if isinstance(value, Path) else value


class _Worker:
    """One worker process of the cluster."""

    def __init__(self, job: Job, together: int, platforms: str | None):
        if platforms is not None:
            jax.config.update("jax_platforms", platforms)
        cache_compilations()
        self.job = job
        job.load(together)

    def __call__(self, rows: dict[str, Any]) -> dict[str, list[Any]]:
        done = []
        for number, text in zip(rows["group"], rows["what"], strict=True):
            photos, taken = json.loads(text)
            group = Group(int(number), [Photo(**photo) for photo in photos], taken)
            try:
                done.append(self.job.write(self.job.work(self.job.find(group))))
            except (ValueError, OSError) as error:  # such as a full disk; becomes a line for the user
                done.append((group.number, str(error)))
        return {"group": [number for number, _ in done], "lines": [json.dumps(lines) for _, lines in done]}

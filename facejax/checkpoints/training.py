"""The state of a training run on disk: its newest checkpoints, each complete, from which a killed run resumes."""

import re
import shutil
from pathlib import Path
from typing import Any

from facejax.checkpoints.store import load, save
from facejax.multihost import first_host

_STEP = re.compile(r"step_(\d{9})")


class TrainingStore:
    """Checkpoints of one run in one folder: `step_000001000` and so on, the newest `keep` of them.

    `schema` and `version` name the layout of the state, as for `save`. One process writes to a folder at a time.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2, schema: str = "training", version: int = 1):
        if keep < 1:
            raise ValueError(f"keep={keep}: keep at least one checkpoint")
        self.folder: Path = Path(folder)
        self.keep: int = keep
        self.schema: str = schema
        self.version: int = version

    def steps(self) -> list[int]:
        """The steps on disk, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(int(found[1]) for path in self.folder.iterdir() if (found := _STEP.fullmatch(path.name)))

    def save(self, step: int, state: Any, **metadata: Any) -> None:
        """Write the state after `step` steps: parameters, optimiser state, random keys, counters, exactly.

        Then remove older steps beyond `keep`, and what a killed process left half-written. Raises ValueError when the
        folder holds a later step, which another run left there.
        """
        later = [other for other in self.steps() if other > step]
        if later:
            raise ValueError(f"{self.folder}: holds step {later[-1]}, later than {step}; resume it or use a new folder")
        save(self._path(step), state, schema=self.schema, version=self.version, **metadata)
        if not first_host():
            return
        for leftover in self.folder.glob(".step_*"):
            shutil.rmtree(leftover, ignore_errors=True)
        for old in self.steps()[: -self.keep]:
            shutil.rmtree(self._path(old))

    def restore_latest(self, like: Any) -> tuple[int, Any] | None:
        """The newest step and its state, in the structure, shapes and types of `like`; None when there is none.

        Raises ValueError when the newest state has other shapes: another configuration wrote it.
        """
        steps = self.steps()
        if not steps:
            return None
        return steps[-1], load(self._path(steps[-1]), schema=self.schema, version=self.version, like=like).tree

    def _path(self, step: int) -> Path:
        return self.folder / f"step_{step:09d}"

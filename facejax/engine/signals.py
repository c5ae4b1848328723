"""Progress of a long run, and how it stops when it is asked to."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

STOPPED = 128 + signal.SIGTERM  # exit status


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """A list that is filled when the process is asked to end (SIGTERM, one Ctrl-C); a run stops after its group."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def progress(total: int, done: int) -> tqdm:
    """A progress bar with the rate of this run."""
    return tqdm(total=total, initial=done, unit="photo", disable=not sys.stderr.isatty(), leave=False)

"""What a long run shows, and how it ends when it is asked to."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

STOPPED = 128 + signal.SIGTERM  # exit status


@contextmanager
def stop_on_signal() -> Iterator[list[int]]:
    """Filled when the process is asked to end (SIGTERM, or Ctrl-C once): the group at hand is finished first."""
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
    """A bar with the rate of this run."""
    return tqdm(total=total, initial=done, unit="photo", disable=not sys.stderr.isatty(), leave=False)

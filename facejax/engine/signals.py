"""How a long run stops when it is asked to."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

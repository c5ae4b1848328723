"""The progress of a run: a bar on a terminal, and a line every half minute where stderr is a file or a pipe."""

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from facejax.programs import programs_in_work

EVERY = 30.0  # seconds between two lines


def progress(total: int, done: int = 0, *, unit: str = "photo") -> "Bar | Lines":
    """The progress of a run of `total` items, of which `done` were done before; used in a `with` statement.

    Its rate is that of this run.
    """
    return Bar(total, done, unit) if sys.stderr.isatty() else Lines(total, done, unit)


class Bar:
    """A bar on a terminal."""

    def __init__(self, total: int, done: int, unit: str):
        self.bar: tqdm = tqdm(total=total, initial=done, unit=unit, leave=False)
        self.failed: int = 0

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.close()

    def update(self, done: int, failed: int = 0) -> None:
        """Count items that are done now; `failed` of them failed."""
        self.failed += failed
        if self.failed:
            self.bar.set_postfix(failed=self.failed, refresh=False)
        self.bar.update(done)

    def write(self, text: str, *, file: Any) -> None:
        """Print a line without disturbing the bar."""
        self.bar.write(text, file=file)


class Lines:
    """A line every `EVERY` seconds, from a thread, so that a long step without any result is not silent."""

    def __init__(
        self,
        total: int,
        done: int,
        unit: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[threading.Event, float], bool] = threading.Event.wait,
        say: Callable[[str], object] | None = None,
    ):
        """Begin to measure the time.

        Args:
            total, done, unit: as for `progress`.
            clock: seconds.
            wait: waits for an event for some seconds at most, and returns whether it has happened.
            say: prints a line; by default to stderr.
        """
        self.total: int = total
        self.done: int = done
        self.before: int = done
        self.failed: int = 0
        self.unit: str = unit
        self.clock: Callable[[], float] = clock
        self.wait: Callable[[threading.Event, float], bool] = wait
        self.say: Callable[[str], object] = say or _to_stderr
        self.began: float = clock()
        self.ended: threading.Event = threading.Event()
        self.thread: threading.Thread = threading.Thread(target=self._tell, name="progress", daemon=True)

    def __enter__(self) -> "Lines":
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.ended.set()
        self.thread.join()

    def update(self, done: int, failed: int = 0) -> None:
        self.done, self.failed = self.done + done, self.failed + failed

    def write(self, text: str, *, file: Any) -> None:
        print(text, file=file, flush=True)

    def line(self) -> str:
        """How far the run is, in words."""
        here, seconds = self.done - self.before, self.clock() - self.began
        parts = [f"{self.done} of {self.total} {self.unit}s", f"{self.failed} failed", f"{_time(seconds)} so far"]
        if here and seconds > 0:
            rate = here / seconds
            pace = f"{rate:.2g} {self.unit}s/s" if rate >= 0.1 else f"{1 / rate:.3g} s/{self.unit}"
            parts += [pace, f"about {_time((self.total - self.done) / rate)} left"]
        if names := programs_in_work():
            parts.append(f"compiling the program {', '.join(names)}, once for all batches of this size")
        return ", ".join(parts)

    def _tell(self) -> None:
        while not self.wait(self.ended, EVERY):
            self.say(self.line())


def _time(seconds: float) -> str:
    """Such as 00:31, or 1:02:31."""
    return tqdm.format_interval(seconds)


def _to_stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

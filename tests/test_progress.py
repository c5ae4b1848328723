"""The progress of a run where stderr is no terminal, by a clock of the test's own."""

import io
import re
import sys
import threading

import pytest
from toy_photos import write_toy_model, write_toy_photo

from facejax.cli import main
from facejax.engine import progress as module
from facejax.engine.progress import EVERY, Bar, Lines, progress
from facejax.programs.cache import ProgramCache


class Clock:
    """Time that passes only when somebody waits."""

    def __init__(self):
        self.now = 1000.0
        self.asked: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, event: threading.Event, seconds: float) -> bool:
        self.now += seconds
        self.asked.append(seconds)
        return event.is_set()


# fmt: off
CASES = [  # total, done before, done here, failed, seconds, and the line
    (28, 0, 0, 0, 30, "0 of 28 photos, 0 failed, 00:30 so far"),
    (28, 0, 12, 1, 30, "12 of 28 photos, 1 failed, 00:30 so far, 0.4 photos/s, about 00:40 left"),
    (28, 0, 28, 0, 60, "28 of 28 photos, 0 failed, 01:00 so far, 0.47 photos/s, about 00:00 left"),
    (28, 20, 4, 2, 120, "24 of 28 photos, 2 failed, 02:00 so far, 30 s/photo, about 02:00 left"),
    (28, 20, 0, 0, 145, "20 of 28 photos, 0 failed, 02:25 so far"),
    (5000, 0, 1000, 7, 100, "1000 of 5000 photos, 7 failed, 01:40 so far, 10 photos/s, about 06:40 left"),
    (100000, 0, 100, 0, 100, "100 of 100000 photos, 0 failed, 01:40 so far, 1 photos/s, about 27:45:00 left"),
    (3, 0, 1, 1, 900, "1 of 3 photos, 1 failed, 15:00 so far, 900 s/photo, about 30:00 left"),
]
# fmt: on


@pytest.mark.parametrize(("total", "before", "here", "failed", "seconds", "line"), CASES)
def test_a_line_says_how_far_the_run_is(total, before, here, failed, seconds, line):
    clock = Clock()
    lines = Lines(total, before, "photo", clock=clock)
    for k in range(here):
        lines.update(1, int(k < failed))
    clock.now += seconds
    assert lines.line() == line


def test_a_line_comes_every_half_minute_and_none_after_the_end():
    clock, said, enough = Clock(), [], threading.Event()

    def say(text):
        said.append(text)
        if len(said) == 5:
            enough.set()
            lines.ended.wait(10)  # until the run ends, in the midst of a line

    lines = Lines(4, 0, "photo", clock=clock, wait=clock.wait, say=say)
    with lines:
        assert enough.wait(10)
    assert EVERY == 30 and set(clock.asked) == {EVERY} and len(said) == 5
    times = [re.search(r"(\d+:\d+) so far", text)[1] for text in said]  # type: ignore[index]
    assert times == ["00:30", "01:00", "01:30", "02:00", "02:30"]
    assert not lines.thread.is_alive()


def test_a_run_that_fails_ends_its_lines():
    lines = Lines(4, 0, "photo")
    with pytest.raises(OSError, match="disk full"), lines:
        raise OSError("disk full")
    assert not lines.thread.is_alive()


def test_a_program_that_is_being_compiled_is_named(monkeypatch):
    cache, begun, go_on = ProgramCache(4), threading.Event(), threading.Event()
    monkeypatch.setattr("facejax.programs.cache._programs", cache)

    def compile():
        begun.set()
        assert go_on.wait(10)
        return "program"

    lines = Lines(9, 0, "photo", clock=Clock())
    assert "compiling" not in lines.line()
    work = threading.Thread(target=cache.get, args=(("fit", 1), compile))
    work.start()
    assert begun.wait(10)
    assert lines.line().endswith("compiling the program fit, once for all batches of this size")
    go_on.set()
    work.join()
    assert "compiling" not in lines.line() and cache.get(("fit", 1), compile) == "program"


def test_a_terminal_gets_a_bar(monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", screen)
    with progress(3, 1) as bar:
        assert isinstance(bar, Bar)
        bar.update(1, 1)
        bar.write("a line", file=sys.stderr)
    assert "a line" in screen.getvalue() and "failed=1" not in screen.getvalue().splitlines()[0]


def test_a_command_with_its_output_in_a_file_tells_its_progress(tmp_path, capfd, monkeypatch):
    """Every few milliseconds here."""
    monkeypatch.setattr(module, "EVERY", 0.002)
    model = write_toy_model(tmp_path)
    write_toy_photo(tmp_path, "one", 1)
    (tmp_path / "two.png").write_bytes(b"no photo")
    options = ["--landmarks", str(tmp_path), "--model", str(model), "--recipe", "landmarks", "--files", "params"]
    assert main(["fit", str(tmp_path), "--out", str(tmp_path / "out"), *options]) == 1
    errors = capfd.readouterr().err
    assert re.search(r"^0 of 2 photos, 0 failed, \d\d:\d\d so far", errors, re.MULTILINE)

"""The training loop on a state of two numbers: what it does when, and that a killed run resumes exactly."""

import csv
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))

from training_loop import CsvLog, Event, TensorBoardLog, shardings, train

from facejax.checkpoints import TrainingStore


def run(out, *, steps=5, batch: Any = float, events=(), log=None, saved=lambda state: None, **options):
    return train(
        lambda state, number, batch: ({"sum": state["sum"] * 0.5 + batch}, {"batch": jnp.asarray(batch)}),
        {"sum": jnp.zeros(())},
        batch,
        steps=steps,
        store=TrainingStore(out / "state"),
        log=log or CsvLog(out / "log.csv", ("batch", "seen")),
        log_every=2,
        save_every=2,
        events=events,
        saved=saved,
        **options,
    )


def rows(out):
    return list(csv.DictReader((out / "log.csv").read_text().splitlines()))


def test_every_batch_is_made_once_and_the_last_step_is_logged_and_saved(tmp_path):
    made, seen, saved = [], [], []
    events = (
        Event(3, lambda state: seen.append(float(state["sum"])) or {"seen": len(seen)}),
        Event(0, lambda state: pytest.fail("never")),
    )
    whole, _ = shardings(4, jax.devices()[:1])
    state = run(
        tmp_path,
        batch=lambda number: made.append(number) or float(number),
        events=events,
        saved=lambda state: saved.append(float(state["sum"])),
        sharding=whole,
    )
    sums = np.zeros(6)
    for number in range(5):
        sums[number + 1] = sums[number] / 2 + number
    assert made == [0, 1, 2, 3, 4] and float(state["sum"]) == sums[5]
    assert seen == [sums[3], sums[5]] and saved == [sums[2], sums[4], sums[5]]
    assert TrainingStore(tmp_path / "state").steps() == [4, 5]
    log = rows(tmp_path)
    assert [row["step"] for row in log] == ["2", "4", "5"] and [row["batch"] for row in log] == ["0.5", "2.5", "4"]
    assert [row["seen"] for row in log] == ["", "1", "2"]


def test_a_killed_run_resumes_exactly(tmp_path):
    def dies(number):
        if number == 4:
            raise KeyboardInterrupt
        return float(number)

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", batch=dies)
    parts = run(tmp_path / "parts")
    assert float(parts["sum"]) == float(whole["sum"])
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")
    made = []
    again = run(tmp_path / "parts", batch=made.append)
    assert not made and float(again["sum"]) == float(whole["sum"])


def test_tensorboard_gets_the_means(tmp_path):
    pytest.importorskip("tensorboardX")
    run(tmp_path, log=TensorBoardLog(tmp_path / "logs"))
    assert list((tmp_path / "logs").glob("events.*"))


def test_a_batch_that_devices_cannot_share_is_refused():
    devices = jax.devices()[:1] * 2
    with pytest.raises(ValueError, match="a batch of 6 on 2 devices: use a multiple of 4"):
        shardings(6, devices)

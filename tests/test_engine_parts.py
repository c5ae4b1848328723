"""How many faces a run takes at once, and what it does at the same time."""

import threading
import time
from pathlib import Path

import jax
import pytest

from facejax.engine import batches
from facejax.engine.job import failure
from facejax.engine.pipeline import overlapped
from facejax.fitting import DEFAULT, GAR, LANDMARKS, LINEAR
from facejax.images.photo import photo_file


def test_the_batch_fits_into_the_memory(monkeypatch):
    assert batches.choose_batch("landmarks", 3) == 3
    assert batches.choose_batch("landmarks", 1000) == 16 * jax.local_device_count()
    monkeypatch.setattr(batches, "free_bytes", lambda device: 5 * batches.FACE_BYTES["landmarks"] / batches.SHARE)
    assert batches.choose_batch("landmarks", 1000) == 4 * jax.local_device_count()
    monkeypatch.setattr(batches, "free_bytes", lambda device: 0.0)
    assert batches.choose_batch("landmarks", 1000) == jax.local_device_count()
    monkeypatch.undo()
    devices = jax.local_device_count()
    monkeypatch.setattr(batches, "host_bytes", lambda: 12e6 * 3 * 3 * 4.5 / batches.PHOTOS * devices)
    monkeypatch.setattr(batches, "free_bytes", lambda device: 1e12)
    assert batches.choose_batch("landmarks", 1000, 12_000_000 * 3) == 4 * devices
    assert batches.choose_batch("landmarks", 1000, 120_000_000 * 3) == devices
    sizes = [batches.face_bytes(recipe) for recipe in (LANDMARKS, LINEAR, DEFAULT)]
    assert sizes == sorted(sizes) and batches.face_bytes(GAR) >= sizes[2]


def test_reading_and_writing_go_on_beside_the_work():
    """In order, at most one item ahead, and faster than one after the other."""
    running, most, lock = [0], [0], threading.Lock()

    def slow(item):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.05)
        with lock:
            running[0] -= 1
        return item

    pulled = []

    def items():
        for number in range(8):
            pulled.append(number)
            yield number

    results = []
    for result in overlapped(items(), slow, slow, slow):
        results.append(result)
        assert len(pulled) <= len(results) + 3
    assert results == list(range(8)) and most[0] == 3

    def fails(item):
        if item == 2:
            raise OSError("disk full")
        return item

    for prepare, work, finish in ((fails, slow, slow), (slow, fails, slow), (slow, slow, fails)):
        results = []
        with pytest.raises(OSError, match="disk full"):
            results.extend(overlapped(range(5), prepare, work, finish))
        assert results == [0, 1]  # what was done before it is not lost


@pytest.mark.parametrize("place", ["m", "in", ".", "the", "data/points", "/data/points", "look"])
def test_a_folder_that_is_a_word_of_an_error_stays_that_word(place):
    """The manifest has the option in place of the path, and in place of nothing else."""
    photo, given = photo_file("photos/me.png"), {"--landmarks": Path(place)}
    said = "its landmarks look mirrored, in the photo and on the m. of it"
    assert failure(photo, f"photos/me.png: {said}", given)["error"] == f"me.png: {said}"
    for text in ("{}: holds none", "me.png: add {}/me.pts, or none", "{}/sub/me.npy: none"):
        assert failure(photo, text.format(place), given)["error"] == text.format("--landmarks")

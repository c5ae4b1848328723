"""How many faces a run takes at once, and what it does at the same time."""

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from toy import toy_model

from facejax.api import fit
from facejax.engine import batches, fits
from facejax.engine.faces import Face, FaceFinder, Found
from facejax.engine.fits import FitJob, FitOptions
from facejax.engine.fitter import Fitter, plain_result
from facejax.engine.job import Group, failure
from facejax.engine.pipeline import overlapped
from facejax.engine.run import Run
from facejax.face_model import landmarks
from facejax.fitting import ACCELERATOR, GAR, LANDMARKS, LINEAR, Ingredients
from facejax.images import Photo, list_photos
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
    sizes = [batches.face_bytes(recipe) for recipe in (LANDMARKS, LINEAR, replace(ACCELERATOR, size=224))]
    assert sizes == sorted(sizes) and batches.face_bytes(GAR) >= sizes[2]


def test_what_is_compiled_ahead_has_the_kinds_of_a_real_fit():
    photo, points = np.full((90, 120, 3), 128, np.uint8), 60 + np.asarray(landmarks(toy_model(), toy_model().mean))
    points = (points[:, :2] * [0.3, -0.3] + [0, 90]).astype(np.float32)
    fitter = Fitter(toy_model(), LANDMARKS, Ingredients(), 1)
    plain = plain_result(fitter, Face(Photo("a.jpg", "a.jpg"), "a", photo, points, None))
    real = fit(toy_model(), [photo], points, recipe=LANDMARKS, ingredients=Ingredients())
    kinds = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, np.dtype(leaf.dtype)), tree)  # noqa: E731
    assert kinds(plain.params) == kinds(real.params)
    for name in ("landmarks", "moving", "psnr_face", "finite"):
        assert kinds(getattr(plain.faces, name)) == kinds(getattr(real.faces, name))


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


def test_a_photo_whose_folder_another_ones_faces_take_is_refused(tmp_path):
    """In whatever group and shard it is: the boxes say how many faces there are."""
    for name in ("x.jpg", "x_0.jpg", "x_2.jpg", "y.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "boxes.json").write_text(json.dumps({"x.jpg": [[0, 0, 9, 9], [20, 0, 29, 9]], "y.jpg": [0, 0, 9, 9]}))
    photos = list_photos([tmp_path])
    options = FitOptions(out=tmp_path / "out", boxes=tmp_path / "boxes.json")
    for shard in ((0, 1), (1, 2), (1, 4)):
        taken = [group.taken for group in Run(FitJob(options), photos, batch=1, shard=shard).rest()]
        assert {"x_0.jpg": "x.jpg"} in taken and sum(map(len, taken)) == 1
    every = Run(FitJob(replace(options, faces="all")), photos, batch=1)
    assert [group.taken for group in every.rest()] == [{}] * 4
    # The line that such a photo gets.
    finder = FaceFinder(landmarks=tmp_path)
    found = finder.find(Group(1, [photos[1]], {"x_0.jpg": "x.jpg"}))
    assert found.faces == [] and "x_0.jpg: its folder is taken (by x.jpg); rename it" in found.failures[photos[1]]


def test_a_photo_costs_what_its_group_was_read_fitted_and_written_in(tmp_path, monkeypatch):
    """Not what it waited for the groups before it."""
    clock = [0.0]

    def takes(seconds, value):
        clock[0] += seconds
        return value

    two = [photo_file(tmp_path / name) for name in ("a.png", "b.png")]
    found = Found(Group(0, two, {}), [], {}, 3.0)
    monkeypatch.setattr(fits, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    one = FitJob(FitOptions(out=tmp_path))
    one.fitter = SimpleNamespace(fit=lambda faces: takes(5, ([], dict.fromkeys(two, "no face"))))  # type: ignore[assignment]
    _, lines = one.write(takes(100, one.work(takes(100, found))))
    assert [line["seconds"] for line in lines] == [4.0, 4.0]

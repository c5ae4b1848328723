"""Many photographs: overlapped, killed and resumed, split among processes and devices, short of memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.errors import JaxRuntimeError
from portraits import write_portrait

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments" / "benchmarks"))

from killed_folder import contents

from facejax.cli import main
from facejax.engine import batches, worker
from facejax.engine.faces import find_faces
from facejax.engine.pipeline import overlapped
from facejax.engine.run import Run, parse_shard
from facejax.engine.worker import FitOptions, FitWorker
from facejax.export import write_png
from facejax.export.manifest import keep_others, read_manifest
from facejax.fitting import DEFAULT, GAR, LANDMARKS, LINEAR
from facejax.images import list_photos

pytestmark = pytest.mark.optimized

NAMES = ["anna.png", "broken.jpg", "dora.png", "more/anna.JPG", "more/dora2.png"]
OPTIONS = ["--recipe", "landmarks", "--batch", "2", "--files", "params"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setenv("FACEJAX_CACHE", "")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Portraits of two persons, a torn file, and two photos that would write into one folder."""
    folder = tmp_path_factory.mktemp("photos")
    write_portrait(folder, "anna", 1)
    image, points = write_portrait(folder, "dora", 2)
    write_png(folder / "more/dora2.png", image[:480])
    np.save(folder / "dora2.npy", points)
    (folder / "broken.jpg").write_bytes((folder / "anna.png").read_bytes()[:3000])
    np.save(folder / "broken.npy", np.load(folder / "anna.npy"))
    (folder / "more/anna.JPG").write_bytes((folder / "anna.png").read_bytes())
    return folder


def fit(photos, out, *more, source=None):
    sources = [str(photos if source is None else source)]
    return main(["fit", *sources, "--landmarks", str(photos), "--out", str(out), *OPTIONS, *more])


def options_of(photos, out):
    """The same in Python."""
    return FitOptions(out=out, landmarks=photos, recipe="landmarks", files=("params",))


def manifest(out, name="manifest.jsonl"):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole")
    assert fit(photos, out) == 1
    return out


def test_every_photo_has_one_line(whole):
    lines = manifest(whole)
    assert [line["file"] for line in lines] == NAMES and [line["group"] for line in lines] == [0, 0, 1, 1, 2]
    status = {line["file"]: line["status"] for line in lines}
    assert status == dict.fromkeys(NAMES, "ok") | {"broken.jpg": "failed"}
    assert lines[1]["cause"] == "damaged or cut short" and str(whole) not in (whole / "manifest.jsonl").read_text()
    faces = {line["file"]: line["faces"] for line in lines if line["status"] == "ok"}
    assert faces["more/anna.JPG"][0]["folder"] == "more/anna" and (whole / "more/anna/params.npz").exists()
    for (face,) in faces.values():
        assert face["landmark_nme_percent"] < 2 and face["psnr_face"] > 15
        assert {path.name for path in (whole / face["folder"]).iterdir() if path.is_file()} == {
            "params.npz",
            "summary.json",
        }
    page = (whole / "report.html").read_text()
    assert page.index("broken.jpg") < page.index("anna.png") < page.index("dora2.png")
    assert page.count("<tr class=") == 5 and "damaged or cut short" in page and "http" not in page
    counts = json.loads((whole / "summary.json").read_text())
    assert counts == {"photos": 5, "ok": 4, "failed": 1, "faces": 4, "failed_by": {"damaged or cut short": 1}}


def test_asked_to_stop_it_ends_soon_and_goes_on(photos, whole, tmp_path, capfd, monkeypatch):
    out, find = tmp_path / "out", FitWorker.find

    def stop_during(self, group):
        os.kill(os.getpid(), signal.SIGTERM)
        return find(self, group)

    monkeypatch.setattr(FitWorker, "find", stop_during)
    assert fit(photos, out) == 143
    done = len(manifest(out))
    assert 2 <= done < 5 and f"stopped after {done} of 5 photos" in capfd.readouterr().err
    monkeypatch.setattr(FitWorker, "find", find)
    assert fit(photos, out) == 2
    assert f"stopped after {done} of 5 photos: pass --resume" in capfd.readouterr().err
    assert fit(photos, out, "--resume", "--files", "params", "mesh") == 2
    assert "files was" in capfd.readouterr().err
    assert fit(photos, out, "--resume", "--batch", "3") == 2
    assert "batch was 2 and is now 3" in capfd.readouterr().err
    assert Run(options_of(photos, out), list_photos([photos]), resume=True).batch == 2
    assert fit(photos, out, "--resume") == 1
    assert contents(out) == contents(whole)


def test_a_torn_group_is_made_again(photos, whole, tmp_path):
    """What a kill in the middle of a group can leave: half a line, no summary, temporary files."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "manifest.jsonl").write_text("".join(lines[:3]) + lines[3][:20])
    shutil.rmtree(out / "more")
    (out / "dora/summary.json").unlink()
    (out / "dora/.params.0123.tmp.npz").write_bytes(b"half")
    (out / "summary.json").unlink()
    assert fit(photos, out, "--resume") == 1
    assert contents(out) == contents(whole)
    before = (out / "manifest.jsonl").read_bytes()
    assert fit(photos, out, "--resume") == 1  # nothing is left to do
    assert (out / "manifest.jsonl").read_bytes() == before


def test_an_archive_gives_what_its_folder_gives(photos, whole, tmp_path):
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for name in NAMES:
            archive.add(photos / name, arcname=name)
    assert fit(photos, tmp_path / "out", source=tmp_path / "all.tar") == 1
    assert contents(tmp_path / "out") == contents(whole)


def test_shards_share_one_folder(photos, whole, tmp_path):
    for shard in ("0/2", "1/2"):
        fit(photos, tmp_path, "--shard", shard)
    parts = [line for k in range(2) for line in manifest(tmp_path, f"manifest.{k}-of-2.jsonl")]
    assert sorted(line["file"] for line in parts) == NAMES
    for name in ("anna", "dora", "more/anna", "more/dora2"):
        one, other = (np.load(place / name / "params.npz") for place in (whole, tmp_path))
        for key in one:
            if one[key].dtype.kind == "f":
                np.testing.assert_allclose(one[key], other[key], rtol=1e-3, atol=1e-3)
    for wrong in ("2/2", "1", "a/b", "-1/3"):
        with pytest.raises(ValueError, match="write k/n"):
            parse_shard(wrong)


def test_earlier_photographs_keep_their_lines(photos, tmp_path):
    for name in ("anna.png", "dora.png", "dora.png"):
        assert fit(photos, tmp_path, source=photos / name) == 0
    lines = manifest(tmp_path)
    assert [(line["file"], line["group"]) for line in lines] == [("anna.png", None), ("dora.png", 0)]
    keep_others(tmp_path / "manifest.jsonl", ["anna.png"])
    assert read_manifest(tmp_path / "manifest.jsonl", ["anna.png"], 2) == {}
    assert [line["file"] for line in manifest(tmp_path)] == ["dora.png"]


def test_one_folder_for_two_photos_fails_one_of_them(photos, tmp_path):
    shutil.copy(photos / "anna.png", tmp_path / "anna.jpg")
    shutil.copy(photos / "anna.png", tmp_path / "anna.png")
    assert fit(photos, tmp_path / "out", source=tmp_path) == 1
    first, second = manifest(tmp_path / "out")
    assert (first["file"], first["status"], second["status"]) == ("anna.jpg", "ok", "failed")
    assert second["cause"] == "its folder is taken" and "anna.jpg" in second["error"]


def test_a_photo_whose_folder_another_ones_faces_take_is_refused(tmp_path):
    """In whatever group and shard it is: the boxes say how many faces there are."""
    for name in ("x.jpg", "x_0.jpg", "x_2.jpg", "y.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "boxes.json").write_text(json.dumps({"x.jpg": [[0, 0, 9, 9], [20, 0, 29, 9]], "y.jpg": [0, 0, 9, 9]}))
    photos = list_photos([tmp_path])
    options = FitOptions(out=tmp_path / "out", boxes=tmp_path / "boxes.json")
    for shard in ((0, 1), (1, 2), (1, 4)):
        taken = [group.taken for group in Run(options, photos, batch=1, shard=shard).rest()]
        assert {"x_0.jpg": "x.jpg"} in taken and sum(map(len, taken)) == 1
    every = Run(replace(options, faces="all"), photos, batch=1)
    assert [group.taken for group in every.rest()] == [{}] * 4
    # The line that such a photo gets.
    one = object.__new__(FitWorker)
    one.options, one.together, one.boxes, one.regressor = options, 1, {}, None
    found = one.find(worker.Group(1, [photos[1]], {"x_0.jpg": "x.jpg"}))
    assert found.faces == [] and "x_0.jpg: its folder is taken (by x.jpg); rename it" in found.failures[photos[1]]


def test_a_wrong_command_leaves_a_finished_run_alone(photos, whole, tmp_path, capfd):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    assert fit(photos, out, "--recipe", "default", "--decoder", str(tmp_path / "nowhere")) == 2
    assert "nowhere: no such checkpoint" in capfd.readouterr().err
    assert contents(out) == contents(whole)
    assert fit(photos, tmp_path / "new", "--recipe", "default", "--decoder", str(tmp_path / "nowhere")) == 2
    assert not (tmp_path / "new").exists()


def test_a_url_gives_what_a_folder_gives(photos, whole, tmp_path, capfd):
    pytest.importorskip("fsspec")
    out = tmp_path / "out"
    assert fit(photos, f"file://{out}") == 1
    assert contents(out) == contents(whole)
    assert fit(photos, f"file://{out}", "--recipe", "default", "--decoder", str(tmp_path / "nowhere")) == 2
    assert "nowhere: no such checkpoint" in capfd.readouterr().err
    assert contents(out) == contents(whole) and not list(out.glob(".*"))


def test_too_many_faces_for_the_memory_are_halved(photos, tmp_path, monkeypatch):
    sizes = []

    def small_device(model, faces, size, *rest):
        sizes.append(size)
        if size > 2:
            raise JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
        return fit_padded(model, faces, size, *rest)

    fit_padded = worker.fit_padded
    monkeypatch.setattr(worker, "fit_padded", small_device)
    one = FitWorker(options_of(photos, tmp_path), 8)
    some = [photo for photo in list_photos([photos]) if photo.name != "broken.jpg"]
    _, lines = one.write(one.fit(one.find(worker.Group(0, some, {}))))
    assert sizes == [8, 4, 2, 2] and one.batch == 2 and [line["status"] for line in lines] == ["ok"] * 4

    def broken(*arguments):
        raise JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(worker, "fit_padded", broken)
    with pytest.raises(JaxRuntimeError, match="INTERNAL"):
        one.fit(one.find(worker.Group(0, some, {})))


def test_the_batch_fits_into_the_memory(tmp_path, monkeypatch):
    options = FitOptions(out=tmp_path, recipe="landmarks")
    assert batches.choose_batch(options, 3) == 3
    assert batches.choose_batch(options, 1000) == 16 * jax.local_device_count()
    monkeypatch.setattr(batches, "free_bytes", lambda device: 5 * batches.FACE_BYTES["landmarks"] / batches.SHARE)
    assert batches.choose_batch(options, 1000) == 4 * jax.local_device_count()
    monkeypatch.setattr(batches, "free_bytes", lambda device: 0.0)
    assert batches.choose_batch(options, 1000) == jax.local_device_count()
    monkeypatch.undo()
    devices = jax.local_device_count()
    monkeypatch.setattr(batches, "host_bytes", lambda: 12e6 * 3 * 3 * 4.5 / batches.PHOTOS * devices)
    monkeypatch.setattr(batches, "free_bytes", lambda device: 1e12)
    assert batches.choose_batch(options, 1000, 12_000_000 * 3) == 4 * devices
    assert batches.choose_batch(options, 1000, 120_000_000 * 3) == devices
    sizes = [batches.face_bytes(recipe) for recipe in (LANDMARKS, LINEAR, DEFAULT)]
    assert sizes == sorted(sizes) and batches.face_bytes(GAR) >= sizes[2]


def test_photographs_are_held_in_bytes_and_their_sizes_are_looked_at(photos):
    found, failures = find_faces(list_photos([photos]), [], None, landmarks=photos)
    assert {face.image.dtype for face in found} == {np.dtype(np.uint8)} and len(failures) == 1
    assert batches.photo_bytes(list_photos([photos])) == 512 * 512 * 3
    assert batches.photo_bytes([]) == 0 == batches.photo_bytes(list_photos([photos / "nowhere.jpg"]))


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


def test_a_photo_costs_what_its_group_was_read_fitted_and_written_in(photos, tmp_path, monkeypatch):
    """Not what it waited for the groups before it."""
    clock = [0.0]

    def takes(seconds, value):
        clock[0] += seconds
        return value

    two = list_photos([photos])[:2]
    monkeypatch.setattr(worker, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(worker, "find_faces", lambda *_, **__: takes(3, ([None], dict.fromkeys(two, "no face"))))
    monkeypatch.setattr(FitWorker, "_fit_some", lambda *_: takes(5, [None]))
    one = object.__new__(FitWorker)
    one.options, one.together, one.batch, one.boxes, one.regressor = options_of(photos, tmp_path), 2, 2, {}, None
    found = takes(100, one.find(worker.Group(0, two, {})))
    _, lines = one.write(takes(100, one.fit(found)))
    assert [line["seconds"] for line in lines] == [4.0, 4.0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--batch", "0"], "--batch 0"),
        (["--shard", "3/2"], "--shard 3/2: write k/n"),
        (["--boxes", "{photos}/b.json"], "leave out --boxes"),
        (["--engine", "ray", "--workers", "0"], "--workers 0"),
    ],
)
def test_wrong_runs_are_refused_in_one_line(photos, tmp_path, capfd, more, message):
    if "ray" in more:
        pytest.importorskip("ray")
    assert fit(photos, tmp_path / "out", *[one.format(photos=photos) for one in more]) == 2
    errors = capfd.readouterr().err
    assert message in errors and errors.count("\n") == 1
    assert not list(tmp_path.rglob("params.npz"))


SPREAD = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import numpy as np
sys.path.insert(0, sys.argv[3])
from toy import toy_model
import facejax
from facejax.camera import PerspectiveCamera, project, to_camera  # noqa: E402
from facejax.face_model import decode, landmarks, neutral_params  # noqa: E402
import jax.numpy as jnp
from dataclasses import replace

model = toy_model()
camera = PerspectiveCamera(jnp.asarray(700.0), jnp.full(2, 64.0))
points, images = [], []
for seed in range(3):
    one = neutral_params(model, camera)
    one = replace(one, identity=jnp.asarray(np.random.default_rng(seed).normal(size=one.identity.shape), jnp.float32))
    points.append(np.asarray(project(camera, to_camera(one.pose, landmarks(model, decode(model, one))))[:, :2]))
    images.append(np.full((128, 128, 3), 0.2 * seed + 0.2, np.float32))
result = facejax.fit(model, images, points, recipe=facejax.LANDMARKS)
assert len(result) == len(result.faces) == 3
np.savez(sys.argv[2], identity=result.params.identity, landmarks=result.landmarks, devices=jax.local_device_count())
"""


@pytest.mark.slow
def test_faces_are_spread_over_all_devices(tmp_path):
    """Three faces on two devices, of which one has a face twice, and on one."""
    found = []
    for count in (1, 2):
        out = tmp_path / f"{count}.npz"
        environment = {**os.environ, "JAX_PLATFORMS": "cpu", "NPROC": "8"}
        line = [sys.executable, "-c", SPREAD, str(count), str(out), str(Path(__file__).parent)]
        done = subprocess.run(line, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(np.load(out))
    assert [int(one["devices"]) for one in found] == [1, 2]
    np.testing.assert_allclose(found[1]["landmarks"], found[0]["landmarks"], atol=1e-2)
    np.testing.assert_allclose(found[1]["identity"], found[0]["identity"], atol=1e-2)


def test_a_cluster_gives_what_one_process_gives(photos, whole, tmp_path):
    """Ray on this machine, two workers, of which one is killed."""
    pytest.importorskip("ray")
    arguments = ["fit", photos, "--landmarks", photos, "--out", tmp_path, *OPTIONS, "--engine", "ray", "--workers", "2"]
    line = [sys.executable, "-m", "facejax.cli", *map(str, arguments)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        victim = None
        while victim is None and process.poll() is None:
            listed = subprocess.run(["pgrep", "-f", "ray::.*Worker"], capture_output=True, text=True).stdout.split()
            victim = int(listed[0]) if len(listed) > 1 else time.sleep(0.2)
        if victim is not None:
            time.sleep(5)
            os.kill(victim, signal.SIGKILL)
        assert process.wait() == 1, process.stderr.read()[-3000:]
    assert victim is not None and contents(tmp_path) == contents(whole)


def test_a_cluster_writes_to_a_url(photos, whole, tmp_path):
    """Each worker sends its own faces; one that cannot be sent ends the run in one line, and is made again."""
    pytest.importorskip("ray")
    out = tmp_path / "out"
    arguments = ["fit", photos, "--landmarks", photos, "--out", f"file://{out}", *OPTIONS, "--engine", "ray"]
    line = [sys.executable, "-m", "facejax.cli", *map(str, arguments)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    out.mkdir()
    (out / "dora").write_bytes(b"in the way of a folder")
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and last.startswith(f"facejax: error: file://{out}/dora/") and "Not a directory" in last
    (out / "dora").unlink()
    assert subprocess.run([*line, "--resume"], env=environment, capture_output=True).returncode == 1
    assert contents(out) == contents(whole)

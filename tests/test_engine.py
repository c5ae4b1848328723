"""Many photographs: overlapped, killed and resumed, split among processes and devices, short of memory."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from jax.errors import JaxRuntimeError
from toy_photos import SIDE, write_toy_model, write_toy_photo

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments" / "benchmarks"))

from killed_folder import contents

from facejax.cli import main
from facejax.commands import runs
from facejax.engine import batches, fitter
from facejax.engine.faces import FaceFinder
from facejax.engine.fits import FitJob, FitOptions
from facejax.engine.job import Group
from facejax.engine.run import Run, parse_shard
from facejax.engine.uv_dataset import DatasetJob, DatasetOptions
from facejax.export import versions, write_png
from facejax.export.manifest import keep_others, read_manifest
from facejax.images import list_photos

pytestmark = pytest.mark.optimized

NAMES = ["anna.png", "broken.jpg", "celia.png", "dora.png", "more/anna.JPG", "more/dora2.png"]
FAILURES = {"broken.jpg": "damaged or cut short", "celia.png": "holds no landmarks for it"}
SHARED = ["--recipe", "landmarks", "--batch", "2"]
LOOSE = ["--max-bs", "100", "--min-face-pixels", "10", "--max-strange", "1"]


class Command(NamedTuple):
    """A command with a run, and what its runs of `photos` give."""

    name: str
    options: list[str]
    status: int
    failures: dict[str, str]  # causes by file
    folders: list[str]


FIT = Command("fit", ["--files", "params"], 1, FAILURES, ["anna", "dora", "more/anna", "more/dora2"])
DATASET = Command(
    "build-uv-dataset",
    ["--size", "64", *LOOSE],
    1,
    FAILURES | {"more/anna.JPG": "its folder is taken"},  # by anna.png: a set has a folder for each stem
    ["anna", "dora", "dora2"],
)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setenv("FACEJAX_CACHE", "")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Photos of two persons, a torn file, one without landmarks, and two photos with one stem."""
    folder = tmp_path_factory.mktemp("photos")
    write_toy_photo(folder, "anna", 1)
    image, points = write_toy_photo(folder, "dora", 2)
    write_png(folder / "more/dora2.png", image[:120])
    np.save(folder / "dora2.npy", points)
    (folder / "broken.jpg").write_bytes((folder / "anna.png").read_bytes()[:3000])
    np.save(folder / "broken.npy", np.load(folder / "anna.npy"))
    write_png(folder / "celia.png", np.full((64, 64, 3), 0.5, np.float32))
    (folder / "more/anna.JPG").write_bytes((folder / "anna.png").read_bytes())
    return folder


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    return write_toy_model(tmp_path_factory.mktemp("head"))


@pytest.fixture(scope="module", params=[FIT, DATASET], ids=lambda command: command.name)
def command(request):
    return request.param


@pytest.fixture(scope="module")
def line(command, photos, head):
    """The arguments of a run of all photos, or of another `source`."""

    def arguments(out, *more, source=photos):
        shared = ["--landmarks", photos, "--model", head, "--out", out, *SHARED, *command.options]
        return [command.name, *map(str, [source, *shared, *more])]

    return arguments


@pytest.fixture(scope="module")
def go(line):
    """Runs it; the exit status."""
    return lambda *arguments, **named: main(line(*arguments, **named))


@pytest.fixture(scope="module")
def whole(command, go, tmp_path_factory):
    """A run that nothing happened to."""
    out = tmp_path_factory.mktemp("whole")
    assert go(out, "--resume") == command.status  # there is nothing to resume
    return out


def job_of(command, photos, head, out):
    """The same in Python."""
    shared = {"out": out, "landmarks": photos, "model": str(head), "recipe": "landmarks"}
    return FitJob(FitOptions(**shared, files=("params",))) if command is FIT else DatasetJob(DatasetOptions(**shared))


def manifest(out, name="manifest.jsonl"):
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


def test_every_photo_has_one_line(command, whole):
    lines = manifest(whole)
    assert [line["file"] for line in lines] == NAMES and [line["group"] for line in lines] == [0, 0, 1, 1, 2, 2]
    assert {line["file"]: line["cause"] for line in lines if line["status"] == "failed"} == command.failures
    assert str(whole) not in (whole / "manifest.jsonl").read_text()
    assert all((whole / folder / "summary.json").exists() for folder in command.folders)
    counts = json.loads((whole / "summary.json").read_text())
    assert counts["photos"] == 6 and counts["ok"] == len(command.folders)
    assert counts["failed_by"] == {cause: 1 for cause in command.failures.values()}
    page = (whole / ("report.html" if command is FIT else "index.html")).read_text()
    assert page.index("broken.jpg") < page.index("anna.png") < page.index("dora2.png")
    assert page.count("<tr class=") == 6 and "damaged or cut short" in page and "http" not in page


def test_the_figures_of_a_fit(photos, head, tmp_path):
    options = ["--landmarks", photos, "--model", head, "--out", tmp_path, *SHARED, *FIT.options]
    assert main(["fit", *map(str, [photos, *options])]) == 1
    faces = {line["file"]: line["faces"] for line in manifest(tmp_path) if line["status"] == "ok"}
    assert faces["more/anna.JPG"][0]["folder"] == "more/anna" and len(faces) == 4
    for (face,) in faces.values():
        assert face["landmark_nme_percent"] < 2 and face["psnr_face"] > 15
        assert {path.name for path in (tmp_path / face["folder"]).iterdir() if path.is_file()} == {
            "params.npz",
            "summary.json",
        }
    counts = json.loads((tmp_path / "summary.json").read_text())
    numbers = {"photos": 6, "ok": 4, "failed": 2, "partly": 0, "doubtful": 0, "faces": 4}
    assert counts == numbers | {"failed_by": dict.fromkeys(FAILURES.values(), 1)}


def test_asked_to_stop_it_ends_soon_and_goes_on(command, photos, head, go, whole, tmp_path, capfd, monkeypatch):
    out, find = tmp_path / "out", FaceFinder.find

    def stop_during(self, group):
        os.kill(os.getpid(), signal.SIGTERM)
        return find(self, group)

    monkeypatch.setattr(FaceFinder, "find", stop_during)
    before = signal.getsignal(signal.SIGTERM)
    assert go(out) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    done = len(manifest(out))
    assert 2 <= done < 6 and f"stopped after {done} of 6 photos" in capfd.readouterr().err
    assert not (out / "summary.json").exists()
    monkeypatch.setattr(FaceFinder, "find", find)
    assert go(out) == 2
    assert f"stopped after {done} of 6 photos: pass --resume" in capfd.readouterr().err
    wrong = ["--files", "params", "mesh"] if command is FIT else ["--size", "128"]
    for more, message in ((wrong, f"{wrong[0][2:]} was"), (["--batch", "3"], "batch was 2 and is now 3")):
        assert go(out, "--resume", *more) == 2
        errors = capfd.readouterr().err
        assert message in errors and errors.count("\n") == 1
    known = job_of(command, photos, head, out)
    assert command is DATASET or Run(known, list_photos([photos]), resume=True).batch == 2
    assert go(out, "--resume") == command.status
    assert contents(out) == contents(whole)


@pytest.mark.parametrize("tail", ["", '{"file": "dora.png", "gro', "\0\0\0", "one line of two"])
def test_a_torn_group_is_made_again(command, go, whole, tmp_path, tail):
    """What a kill in the middle of a group can leave: half a line, no summary, temporary files."""
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "manifest.jsonl").write_text("".join(lines[:2]) + (lines[2] if tail == "one line of two" else tail))
    shutil.rmtree(out / command.folders[-1])
    (out / "dora/summary.json").unlink()
    (out / "dora/.params.0123abcd.tmp.npz").write_bytes(b"half")
    (out / ".summary.0123abcd.tmp.json").write_bytes(b"half")
    (out / "summary.json").unlink()
    assert go(out, "--resume") == command.status
    assert contents(out) == contents(whole)


def test_a_finished_run_is_reported_again_without_being_made_again(command, go, whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "summary.json").unlink()
    before = (out / "manifest.jsonl").read_bytes()
    monkeypatch.setattr(runs, "work_here", lambda *_: pytest.fail("worked"))
    assert go(out, "--resume") == command.status
    assert (out / "manifest.jsonl").read_bytes() == before and contents(out) == contents(whole)


def test_a_finished_run_is_made_anew_without_a_trace_of_the_earlier_one(command, go, whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    assert go(out, *(["--files", "mesh"] if command is FIT else ["--min-face-pixels", "150"])) == 1  # an empty set
    assert go(out) == command.status
    for folder in command.folders:
        assert {path.name for path in (out / folder).iterdir()} == {path.name for path in (whole / folder).iterdir()}
    assert contents(out) == contents(whole)


def test_other_photos_are_another_run(command, go, photos, whole, tmp_path, capfd):
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    (fewer / "dora.png").unlink()
    before = contents(whole)
    assert go(whole, "--resume", source=fewer) == 2
    assert "6 photos, now 5, such as dora.png" in capfd.readouterr().err and contents(whole) == before


def test_an_archive_gives_what_its_folder_gives(command, go, photos, whole, tmp_path):
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        for name in NAMES:
            archive.add(photos / name, arcname=name)
    assert go(tmp_path / "out", source=tmp_path / "all.tar") == command.status
    assert contents(tmp_path / "out") == contents(whole)


def test_shards_share_one_folder(command, go, whole, tmp_path):
    for shard in ("0/2", "1/2"):
        go(tmp_path, "--shard", shard)
    parts = [line for k in range(2) for line in manifest(tmp_path, f"manifest.{k}-of-2.jsonl")]
    assert sorted(line["file"] for line in parts) == NAMES
    assert {line["file"]: line["cause"] for line in parts if line["status"] == "failed"} == command.failures
    one, other = ({name: value for name, value in contents(out).items() if "/" in name} for out in (whole, tmp_path))
    assert {name for name in one if "sheets" not in name} == {name for name in other if "sheets" not in name}
    if command is DATASET:
        assert {path.name for path in (tmp_path / "sheets").iterdir()} == {"00.0-of-2.jpg", "00.1-of-2.jpg"}
        page = (tmp_path / "index.1-of-2.html").read_text()
        assert "sheets/00.1-of-2.jpg" in page and "sheets/00.0-of-2.jpg" not in page
    for folder in command.folders if command is FIT else ():
        mine, theirs = (np.load(place / folder / "params.npz") for place in (whole, tmp_path))
        for key in mine:
            if mine[key].dtype.kind == "f":
                np.testing.assert_allclose(mine[key], theirs[key], rtol=1e-3, atol=1e-3)
    for wrong in ("2/2", "1", "a/b", "-1/3"):
        with pytest.raises(ValueError, match="write k/n"):
            parse_shard(wrong)


def test_earlier_photographs_keep_their_lines(command, go, photos, tmp_path):
    one, two, three = (str(photos / name) for name in ("anna.png", "dora.png", "more/dora2.png"))
    for some in ((one, two), (two, three), (two, three)):
        (tmp_path / "some.txt").write_text("\n".join(some))
        assert go(tmp_path / "out", source=tmp_path / "some.txt") == 0
    names, lines = [one[1:], two[1:], three[1:]], manifest(tmp_path / "out")
    assert [(line["file"], line["group"]) for line in lines] == list(zip(names, (None, 0, 0), strict=True))
    keep_others(tmp_path / "out/manifest.jsonl", names[:1])
    assert read_manifest(tmp_path / "out/manifest.jsonl", names[:1], 2) == {}
    assert [line["file"] for line in manifest(tmp_path / "out")] == names[1:]


def test_one_folder_for_two_photos_fails_one_of_them(command, go, photos, tmp_path):
    (tmp_path / "photos").mkdir()
    shutil.copy(photos / "anna.png", tmp_path / "photos/anna.jpg")
    shutil.copy(photos / "anna.png", tmp_path / "photos/anna.png")
    assert go(tmp_path / "out", source=tmp_path / "photos") == command.status
    first, second = manifest(tmp_path / "out")
    assert (first["file"], first["status"], second["status"]) == ("anna.jpg", "ok", "failed")
    assert second["cause"] == "its folder is taken" and "anna.jpg" in second["error"]


def test_photos_that_are_left_out_are_told_and_the_exit_status_says_so(command, go, photos, tmp_path, capfd):
    """What is clearly no photo, and what is named as a mask, does not count."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("dora.png", "dora_mask.png", "._dora.png"):
        shutil.copy(photos / "dora.png", folder / name)
    hidden, masks = "1 hidden (such as ._dora.png)", "1 named as masks of others (such as dora_mask.png)"
    for name, status, said in (
        ("dora.json", 0, f"{hidden}, {masks}"),
        ("clip.mov", 0, f"{hidden}, 1 .mov, {masks}"),
        ("raw.CR2", 1, f"1 .cr2 (convert them to JPEG or TIFF), {hidden}, 1 .mov, {masks}"),
    ):
        (folder / name).write_bytes(b"more")
        assert go(tmp_path / "out", source=folder) == status
        told = [line for line in capfd.readouterr().err.splitlines() if line.startswith("left out of ")]
        assert told == [f"left out of {folder}: {said}"]


def test_shards_that_number_their_photos_alike_and_a_photo_listed_twice(command, go, photos, tmp_path):
    """Each photo of the shards is done. Of the photo that is twice in one list the later one fails."""
    np.save(tmp_path / "000000.npy", np.load(photos / "anna.npy"))
    for shard in ("s-0", "s-1"):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as archive:
            archive.add(photos / "anna.png", "000000.png")
    (tmp_path / "l.txt").write_text("s-0.tar\ns-1.tar\n")
    assert go(tmp_path / "out", "--landmarks", str(tmp_path), source=tmp_path / "l.txt") == 0
    folders = ["s-0/000000", "s-1/000000"] if command is FIT else ["s-0_000000", "s-1_000000"]
    lines = manifest(tmp_path / "out")
    assert [line["file"] for line in lines] == ["s-0/000000.png", "s-1/000000.png"]
    assert all((tmp_path / "out" / folder / "summary.json").exists() for folder in folders)
    (tmp_path / "l.txt").write_text(f"{photos}/anna.png\n{photos}/dora.png\n{photos}/anna.png\n")
    assert go(tmp_path / "twice", source=tmp_path / "l.txt") == command.status
    lines = manifest(tmp_path / "twice")
    assert [line["status"] for line in lines] == ["ok", "ok", "failed"]
    assert lines[2]["file"].endswith("anna.png#2") and lines[2]["cause"] == "its folder is taken"
    assert go(tmp_path / "twice", "--resume", source=tmp_path / "l.txt") == command.status
    assert manifest(tmp_path / "twice") == lines


def test_a_wrong_command_leaves_a_finished_run_alone(go, photos, whole, tmp_path, capfd, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    assert go(out, "--model", str(tmp_path / "nowhere.npz")) == 2
    assert "nowhere.npz" in capfd.readouterr().err
    assert contents(out) == contents(whole)
    assert go(tmp_path / "new", "--model", str(tmp_path / "nowhere.npz")) == 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_a_url_gives_what_a_folder_gives(command, go, whole, tmp_path, capfd, scheme):
    fsspec = pytest.importorskip("fsspec")
    out = tmp_path / "out"
    url = f"file://{out}" if scheme == "file" else f"memory://bucket/{command.name}"
    assert go(url) == command.status
    assert go(url, "--resume") == command.status
    assert go(url, "--model", str(tmp_path / "nowhere.npz")) == 2
    if scheme == "memory":
        fsspec.filesystem("memory").get(f"bucket/{command.name}", str(out), recursive=True)
    assert "nowhere.npz" in capfd.readouterr().err
    assert contents(out) == contents(whole) and not list(out.glob(".*"))


def test_too_many_faces_for_the_memory_are_halved(command, photos, head, tmp_path, monkeypatch):
    sizes = []

    def small_device(fitter, faces):
        sizes.append(fitter.together)
        if fitter.together > 2:
            raise JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.")
        return fit_faces(fitter, faces)

    fit_faces = fitter.fit_faces
    monkeypatch.setattr(fitter, "fit_faces", small_device)
    one: Any = job_of(command, photos, head, tmp_path)
    one.load(8)
    some = [photo for photo in list_photos([photos]) if photo.file not in command.failures]
    _, lines = one.write(one.work(one.find(Group(0, some, {}))))
    assert sizes == [8, 4, 2] and one.fitter.together == 2
    assert [line["file"] for line in lines] == [photo.file for photo in some]
    assert "failed" not in {line["status"] for line in lines}

    def broken(*arguments):
        raise JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr(fitter, "fit_faces", broken)
    with pytest.raises(JaxRuntimeError, match="INTERNAL"):
        one.work(one.find(Group(0, some, {})))


def test_a_run_that_an_earlier_version_began_goes_on(command, photos, head, tmp_path):
    """Options by name, as that version wrote them."""
    shared = {"landmarks": str(photos), "boxes": None, "model": str(head), "recipe": "landmarks"}
    fit = {"faces": "largest", "decoder": None, "renderer": None, "lpips": [], "arcface": None, "contour": "auto"}
    fit |= {"fov": None, "keep_stages": False, "files": ["params"]}
    textures = {"max_landmark_nme": 4.0, "min_confidence": 0.5, "min_face_pixels": 100.0, "min_seen": 0.6}
    textures |= {"max_strange": 0.3, "max_bs": 12.0, "size": 512, "masks": None, "delight": True, "everything": False}
    job, names = job_of(command, photos, head, tmp_path), list_photos([photos])
    batch = len(names) if command is FIT else 8  # a fit's was no more than there are photographs
    options = shared | (fit if command is FIT else textures) | {"batch": batch}
    files = [photo.file for photo in names]
    (tmp_path / "run.json").write_text(json.dumps({"options": options, "versions": versions(), "photos": files}))
    assert Run(job, names, batch=8, resume=True).resumed
    with pytest.raises(ValueError, match="batch was"):
        Run(job_of(command, photos, head, tmp_path), names, batch=5, resume=True)


def test_photographs_are_held_in_bytes_and_their_sizes_are_looked_at(photos):
    found, failures = FaceFinder(landmarks=photos).find_faces(list_photos([photos]))
    assert {face.image.dtype for face in found} == {np.dtype(np.uint8)} and len(failures) == 2
    assert batches.photo_bytes(list_photos([photos])) == SIDE * SIDE * 3
    assert batches.photo_bytes([]) == 0 == batches.photo_bytes(list_photos([photos / "nowhere.jpg"]))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--batch", "0"], "--batch 0"),
        (["--shard", "3/2"], "--shard 3/2: write k/n"),
        (["--boxes", "{photos}/b.json"], "leave out --boxes"),
        (["--engine", "ray", "--workers", "0"], "--workers 0"),
    ],
)
def test_wrong_runs_are_refused_in_one_line(go, photos, tmp_path, capfd, more, message):
    if "ray" in more:
        pytest.importorskip("ray")
    assert go(tmp_path / "out", *[one.format(photos=photos) for one in more]) == 2
    errors = capfd.readouterr().err
    assert message in errors and errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


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


def test_a_cluster_gives_what_one_process_gives(command, line, whole, tmp_path):
    """Ray on this machine, two workers, of which one is killed."""
    pytest.importorskip("ray")
    arguments = [sys.executable, "-m", "facejax.cli", *line(tmp_path, "--engine", "ray", "--workers", "2")]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    with subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        victim = None
        while victim is None and process.poll() is None:
            listed = subprocess.run(["pgrep", "-f", "ray::.*Worker"], capture_output=True, text=True).stdout.split()
            victim = int(listed[0]) if len(listed) > 1 else time.sleep(0.2)
        if victim is not None:
            time.sleep(5)
            os.kill(victim, signal.SIGKILL)
        assert process.wait() == command.status, process.stderr.read()[-3000:]
    assert victim is not None and contents(tmp_path) == contents(whole)


def test_a_cluster_writes_to_a_url(command, line, whole, tmp_path):
    """Each worker sends its own faces; one that cannot be sent ends the run in one line, and is made again."""
    pytest.importorskip("ray")
    out = tmp_path / "out"
    arguments = [sys.executable, "-m", "facejax.cli", *line(f"file://{out}", "--engine", "ray", "--resume")]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    out.mkdir()
    (out / "dora").write_bytes(b"in the way of a folder")
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and last.startswith(f"facejax: error: file://{out}/dora/") and "Not a directory" in last
    (out / "dora").unlink()
    assert subprocess.run(arguments, env=environment, capture_output=True).returncode == command.status
    assert contents(out) == contents(whole)

"""Results at a URL: the files of a run in a folder, wherever it is killed; shards, failures, and what is refused."""

import sys
import tarfile
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from toy_photos import write_toy_model

pytest.importorskip("fsspec")
import fsspec
from fsspec.implementations.memory import MemoryFileSystem

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments" / "benchmarks"))

from killed_folder import contents

from facejax.cli import main
from facejax.commands import runs
from facejax.commands.build_uv_dataset import BuildUvDataset, run_build_uv_dataset
from facejax.commands.fit import Fit, run_fit
from facejax.engine.remote import Remote
from facejax.engine.store import open_store
from facejax.engine.textures import is_texture_file
from facejax.engine.uv_dataset import DatasetJob
from facejax.export import write_png, write_summary, write_text
from facejax.export.pictures import write_pixels
from facejax.images import list_photos

pytestmark = pytest.mark.optimized

NAMES = ["a.png", "b [1].png", "manifest.png", "more/c#1.png", "more/d.png"]
URL = "memory://bucket/out"


def stand_in(job, groups, together, stopped):
    """An engine that does nothing, but writes like one."""
    store = open_store(job.options.out)
    write = write_texture if isinstance(job, DatasetJob) else write_fit
    for group in groups:
        yield group.number, [{"file": photo.file, "status": "ok"} | write(store, photo) for photo in group.photos]


def write_fit(store, photo):
    with store.face(photo.folder) as folder:
        write_text(folder / "stages/0/mesh.obj", photo.file)
        write_png(folder / "overlay.png", np.full((8, 32, 3), 0.5))
        write_summary(folder / "summary.json", {"image": photo.name, "converged": {"one": False}})
    face = {"folder": photo.folder, "landmark_nme_percent": 1.5, "psnr_face": 20.0, "converged": False}
    return {"faces": [face], "seconds": 0.25}


def write_texture(store, photo):
    with store.face(photo.stem, is_texture_file) as folder:
        for name in ("photo.jpg", "albedo.png"):
            write_pixels(folder / name, np.full((8, 8, 3), len(photo.file), np.uint8))
        write_summary(folder / "summary.json", {"file": photo.file})
    return {"folder": photo.stem, "figures": {"bs": 1.5}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("FACEJAX_CACHE", "")
    monkeypatch.setattr(runs, "work_here", stand_in)
    MemoryFileSystem.store.clear()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for name in NAMES:
        write_png(folder / name, np.zeros((4, 4, 3)))
    return folder


@pytest.fixture(params=["memory", "file"])
def url(request, tmp_path):
    return URL if request.param == "memory" else f"file://{tmp_path}/remote/out"


def fit(source, out, **more):
    options: Any = {"batch": 2} | more
    return run_fit(Fit(sources=(str(source),), out=out, recipe="landmarks", **options))


def build(source, out, **more):
    options: Any = {"batch": 2} | more
    return run_build_uv_dataset(BuildUvDataset(folder=str(source), out=out, recipe="landmarks", **options))


@pytest.fixture(params=[fit, build])
def run(request):
    """Either of the commands with a run."""
    return request.param


def everything(out) -> dict[str, Any]:
    """Every file of a run, the report and its pictures too."""
    system, root = fsspec.url_to_fs(str(out))
    with TemporaryDirectory() as copy:
        for path in system.find(root):
            local = Path(copy, path.removeprefix(root).lstrip("/"))
            local.parent.mkdir(parents=True, exist_ok=True)
            local.write_bytes(system.cat_file(path))
        return contents(Path(copy)) | {path.name: path.read_bytes() for path in Path(copy).glob("*.html")}


def test_a_url_holds_what_a_folder_holds(run, photos, url, tmp_path, capfd):
    assert run(photos, tmp_path / "local") == run(photos, url) == 0
    whole = everything(tmp_path / "local")
    assert everything(url) == whole and len(whole) == 3 * len(NAMES) + (4 if run is fit else 5)
    if run is build:
        assert "sheets/00.jpg" in whole and whole["manifest/summary.json"] == {"file": "manifest.png"}
        return
    assert b"not converged, or error" in whole["report.html"]
    assert b"data:image/jpeg" in whole["report.html"] and whole["more/c#1/summary.json"]["image"] == "c#1.png"
    assert f"{url}/more/d: landmarks 1.50 %" in capfd.readouterr().out


@pytest.mark.parametrize("remote", [False, True])
def test_a_face_made_anew_leaves_nothing_of_the_earlier_one_and_all_of_others(url, tmp_path, remote):
    """Others: somebody's notes, and results of a photograph in a folder of this one's name."""
    out = str(url if remote else tmp_path / "local")
    store = open_store(out)
    others = ["notes.txt", "stages/notes.txt", "b/overlay.png", "b/stages/0_linear/params.npz"]
    names = ["overlay.png", "albedo.png", "mesh.obj", "stages/losses.csv", "stages/0_linear/params.npz", "summary.json"]
    with store.face("a") as folder:
        for name in names:
            write_text(folder / name, "earlier")
    system, root = fsspec.url_to_fs(out)
    for name in others:
        system.makedirs(f"{root}/a/{name}".rpartition("/")[0], exist_ok=True)
        system.pipe_file(f"{root}/a/{name}", b"mine")
    with store.face("a") as folder:
        for name in ("params.npz", "albedo.png", "summary.json"):
            write_text(folder / name, "anew")
    found = {path.removeprefix(f"{root}/a/"): system.cat_file(path) for path in system.find(f"{root}/a")}
    new = dict.fromkeys(["params.npz", "albedo.png", "summary.json"], b"anew")
    assert found == dict.fromkeys(others, b"mine") | new


def test_shards_share_one_url(run, photos, url, tmp_path):
    for shard in ("0/2", "1/2"):
        for out in (tmp_path / "local", url):
            assert run(photos, out, shard=shard) == 0
    whole = everything(tmp_path / "local")
    assert everything(url) == whole and len(whole["manifest.0-of-2.jsonl"]) == 3


def test_earlier_photographs_keep_their_lines(photos, url, tmp_path):
    for name in ("a.png", "more/d.png", "more/d.png"):
        for out in (tmp_path / "local", url):
            assert fit(photos / name, out) == 0
    whole = everything(tmp_path / "local")
    assert everything(url) == whole and [line["group"] for line in whole["manifest.jsonl"]] == [None, 0]


class Killed(BaseException):
    """Nothing catches it."""


def break_at(monkeypatch, moment, error, *, once=False):
    """The change of the memory's files at that moment fails and, if not `once`, all that follow; those that did not."""
    count, done = [0], []

    def counted(original):
        def change(self, *arguments, **options):
            count[0] += 1
            if count[0] - 1 == moment or (count[0] > moment and not once):
                raise error
            original(self, *arguments, **options)
            done.append(str(arguments[0]))

        return change

    for name in ("put_file", "pipe_file", "rm_file"):
        monkeypatch.setattr(MemoryFileSystem, name, counted(getattr(MemoryFileSystem, name)))
    return done


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("first", [True, False], ids=["resumed", "anew where it may be"])
def test_killed_at_any_moment_it_ends_like_an_unbroken_run(run, photos, tmp_path, monkeypatch, earlier, first):
    """`earlier`: finished runs of these and of another photograph were there. `first`: what is tried first."""
    some, another = photos / "more", tmp_path / "another.tar"
    with tarfile.open(another, "w") as archive:
        archive.add(photos / "a.png", "a.png")

    def run_earlier():
        MemoryFileSystem.store.clear()
        if earlier:
            assert run(some, URL, batch=1) == run(another, URL) == 0

    run_earlier()
    assert run(some, URL, batch=1) == 0
    whole, moment, finished = everything(URL), 0, False
    while not finished:
        run_earlier()
        with monkeypatch.context() as patch:
            done = break_at(patch, moment, Killed())
            try:
                finished = run(some, URL, batch=1) == 0
            except Killed:
                moment += 1
        left = everything(URL)
        lines = [line for name in left if name.endswith(".jsonl") for line in left[name] if line["group"] is not None]
        noted = {name for name in done if "/manifest/" in name}
        assert len({line["file"] for line in lines} - {"a.png"}) >= len(noted)
        picture = "overlay.png" if run is fit else "albedo.png"
        assert all(f"{Path(name).parent}/{picture}" in left for name in left if name.endswith("/summary.json"))
        for resume in () if finished else (first, not first):
            try:
                assert run(some, URL, batch=1, resume=resume) == 0
                break
            except ValueError as error:
                assert ("was begun" if resume else "pass --resume") in str(error)
        assert everything(URL) == whole
    assert moment > 15


def test_a_run_killed_before_its_manifest_was_joined_is_an_earlier_one(photos, monkeypatch):
    write = Remote._write

    def unless_joined(self, name, content):
        if name == "manifest.jsonl":
            raise Killed
        write(self, name, content)

    assert fit(photos / "more", URL, batch=1) == fit(photos / "a.png", URL) == 0
    whole = everything(URL)
    MemoryFileSystem.store.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Remote, "_write", unless_joined)
        with pytest.raises(Killed):
            fit(photos / "more", URL, batch=1)
    assert fit(photos / "a.png", URL) == 0
    assert everything(URL) == whole


def test_an_upload_that_fails_ends_the_run_in_one_line(photos, tmp_path, monkeypatch, capfd):
    arguments = ["fit", str(photos), "--out", URL, "--recipe", "landmarks", "--batch", "2"]
    assert fit(photos, tmp_path) == 0
    for moment in (3, 11, 14):  # of a face's files, of a group, of the next face
        MemoryFileSystem.store.clear()
        with monkeypatch.context() as patch:
            break_at(patch, moment, RuntimeError("quota\nexceeded"), once=True)
            capfd.readouterr()
            assert main(arguments) == 2
        errors = capfd.readouterr().err
        assert errors.startswith(f"facejax: error: {URL}/") and errors.endswith("quota exceeded\n")
        assert errors.count("\n") == 1
        assert main([*arguments, "--resume"]) == 0
        assert everything(URL) == everything(tmp_path)


def test_a_stopped_run_is_not_touched(run, photos, url, tmp_path):
    def stops(job, groups, *rest):
        yield from stand_in(job, groups[:1], *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "work_here", stops)
        assert run(photos, url) == 143
    before = everything(url)
    assert "manifest/00000000.jsonl" in before and "manifest.jsonl" not in before
    with pytest.raises(ValueError, match="stopped after 2 of 5 photos: pass --resume"):
        run(photos, url)
    other = write_toy_model(tmp_path)
    with pytest.raises(ValueError, match=r"model was 'default' and is now '.*toy\.npz'"):
        run(photos, url, model=str(other), resume=True)
    assert everything(url) == before


def test_where_nothing_can_be_written_nothing_is_fitted(photos, monkeypatch):
    def denied(self, *arguments, **options):
        raise PermissionError("Access Denied")

    monkeypatch.setattr(MemoryFileSystem, "pipe_file", denied)
    monkeypatch.setattr(runs, "work_here", lambda *arguments: pytest.fail("fitted"))
    with pytest.raises(OSError, match=r"--out memory://bucket/out/.facejax: .*Access Denied"):
        fit(photos, URL)


def test_processes_that_begin_together_do_not_mind_each_other(photos, monkeypatch):
    write = Remote._write

    def another_removes(self, name, content):
        write(self, name, content)
        if name == ".facejax":
            self._remove(name)

    monkeypatch.setattr(Remote, "_write", another_removes)
    assert fit(photos, URL) == 0


def test_urls_that_cannot_be_are_refused_before_anything_is_read(monkeypatch):
    with pytest.raises(ValueError, match=r"--out nowhere://out: .*nowhere.*or write to a folder"):
        fit("missing.tar", "nowhere://out")
    with pytest.raises(ValueError, match="--out s3://: name a place there"):
        fit("missing.tar", "s3://")
    with pytest.raises(ValueError, match="memory://bucket/out: the memory of one process"):
        fit("missing.tar", URL, engine="ray")
    for name in [name for name in sys.modules if name.split(".")[0] == "fsspec"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ValueError, match=r"pip install 'facejax\[ray\]'"):
        fit("missing.tar", URL)


def test_results_are_no_photographs(photos, tmp_path):
    """OUT in the folder of the photographs."""
    system = fsspec.filesystem("memory")
    for name in NAMES:
        system.pipe_file(f"/bucket/{name}", (photos / name).read_bytes())
    for _ in range(2):
        assert fit("memory://bucket/", URL) == 0
        assert [photo.file for photo in list_photos(["memory://bucket/"], without=URL)] == NAMES
    write_png(tmp_path / "a.png", np.zeros((4, 4, 3)))
    for _ in range(2):
        assert fit(tmp_path, f"file://{tmp_path}/out") == 0


def test_names_that_would_lead_out_of_the_results_stay_in_them(url, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name in ("/abs/x.png", "../../up/y.png"):
            member = tarfile.TarInfo(name)
            archive.addfile(member, BytesIO())
    for out in (tmp_path / "deep/er/local", url):
        assert fit(tmp_path / "x.tar", out) == 0
        assert {"abs/x/summary.json", "up/y/summary.json"} <= set(everything(out))
    assert {path.name for path in tmp_path.iterdir()} <= {"x.tar", "deep", "remote"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]

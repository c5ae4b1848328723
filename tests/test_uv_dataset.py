"""What is in a set of textures: every photo's line and figures, its files, sheets and pages, and what is left out.

Stopping, resuming, shards, URLs and clusters are tested with those of `facejax fit`, in test_engine.py.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from toy_photos import write_toy_model, write_toy_photo

from facejax.cli import main
from facejax.engine.uv_dataset import count_textures
from facejax.export import write_png
from facejax.export.manifest import append_group, difference, whole_groups
from facejax.images import read_image
from facejax.unwrap.dataset import Filters

pytestmark = pytest.mark.optimized

OPTIONS = ["--size", "64", "--recipe", "landmarks", "--batch", "2"]
FILTERS = {"--max-bs": "100", "--max-strange": "1", "--min-face-pixels": "30"}
FILES = {"albedo.png", "filled.png", "photo.jpg", "summary.json"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setenv("FACEJAX_CACHE", "")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four good photos of two faces, a broken one, one without landmarks, and two whose folder is something else's."""
    folder = tmp_path_factory.mktemp("photos")
    for name, seed in (("anna", 1), ("dora", 2)):
        image, points = write_toy_photo(folder, name, seed)
        write_png(folder / f"more/{name}2.png", image.reshape(64, 2, 64, 2, 3).mean(axis=(1, 3)))
        np.save(folder / f"{name}2.npy", points / 2)
    (folder / "broken.jpg").write_bytes((folder / "anna.png").read_bytes()[:3000])
    np.save(folder / "broken.npy", np.load(folder / "anna.npy"))
    write_png(folder / "celia.png", np.full((64, 64, 3), 0.5, np.float32))
    for name in ("more/anna.JPG", "sheets.png"):
        (folder / name).write_bytes((folder / "anna.png").read_bytes())
    (folder / "notes.txt").write_text("no photo")
    return folder


NAMES = ["anna.png", "broken.jpg", "celia.png", "dora.png", "more/anna.JPG", "more/anna2.png", "more/dora2.png"]
NAMES += ["sheets.png"]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    return write_toy_model(tmp_path_factory.mktemp("head"))


@pytest.fixture(scope="module")
def build(photos, head):
    def run(out: Path, *more: str, source: Path = photos, **filters: str) -> int:
        given = FILTERS | {f"--{name.replace('_', '-')}": value for name, value in filters.items()}
        options = [*OPTIONS, *(word for pair in given.items() for word in pair), *more]
        places = [str(source), "--out", str(out), "--landmarks", str(photos), "--model", str(head)]
        return main(["build-uv-dataset", *places, *options])

    return run


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(build, tmp_path_factory):
    """An unbroken run."""
    out = tmp_path_factory.mktemp("sets") / "whole"
    assert build(out) == 1
    return out


def test_every_photo_is_in_the_manifest_once_in_the_order_of_names(whole):
    lines = manifest(whole)
    assert [line["file"] for line in lines] == NAMES
    assert [line["group"] for line in lines] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [line["status"] for line in lines] == ["ok", "failed", "failed", "ok", "failed", "ok", "ok", "failed"]
    assert "damaged" in lines[1]["error"] and lines[1]["cause"] == "damaged or cut short"
    assert "no landmarks for celia.png" in lines[2]["error"] and lines[2]["cause"] == "holds no landmarks for it"
    assert "taken (by anna.png)" in lines[4]["error"] and "taken (by sheets of the set itself)" in lines[7]["error"]
    good = [line for line in lines if line["status"] == "ok"]
    names = {"landmark_nme_percent", "psnr_face", "face_pixels", "seen", "strange", "bs_photo", "bs"}
    assert all(
        set(line["figures"]) == names and list(line)[:4] == ["file", "group", "status", "folder"] for line in good
    )
    assert all(line["figures"]["seen"] > 0.4 and line["figures"]["landmark_nme_percent"] < 3 for line in good)
    assert good[0]["figures"]["face_pixels"] == pytest.approx(2 * good[2]["figures"]["face_pixels"], rel=0.05)


def test_good_photos_have_their_files_and_others_none(whole):
    folders = {path.name for path in whole.iterdir() if path.is_dir()}
    assert folders == {"anna", "dora", "anna2", "dora2", "sheets"}
    for name in ("anna", "dora2"):
        assert {path.name for path in (whole / name).iterdir()} == FILES
        assert read_image(whole / name / "albedo.png").shape == (64, 64, 3)
        assert read_image(whole / name / "photo.jpg").shape == (256, 256, 3)
        summary = json.loads((whole / name / "summary.json").read_text())
        assert summary["status"] == "ok" and summary["options"]["size"] == 64 and "seconds" not in summary
    assert read_image(whole / "sheets/00.jpg").shape[1] > 2000


def test_summary_and_index_count_every_photo(whole, photos):
    counts = json.loads((whole / "summary.json").read_text())
    assert (counts["photos"], counts["ok"], counts["filtered"], counts["failed"]) == (8, 4, 0, 4)
    assert sum(counts["failed_by"].values()) == 4
    page = (whole / "index.html").read_text()
    assert page.count("<tr class=") == 8 and page.index('class="failed"') < page.index('class="ok"')
    assert "http" not in page and str(photos) not in page and 'href="sheets/00.jpg"' in page
    assert all(name in page for name in NAMES)


def test_nothing_depends_on_when_or_where_it_was_made(whole, photos):
    for name, data in contents(whole).items():
        if name != "run.json" and not name.endswith((".png", ".jpg")):
            assert str(photos).encode() not in data, name
            assert b"seconds" not in data


def test_a_killed_run_ends_with_the_same_bytes(build, whole, tmp_path):
    """As SIGKILL leaves it in the second group: the first's lines, some files, no report, temporary files."""
    out = tmp_path / "killed"
    shutil.copytree(whole, out)
    lines = (whole / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:20])
    for name in ("index.html", "summary.json", "dora/summary.json"):
        (out / name).unlink()
    shutil.rmtree(out / "sheets")
    shutil.rmtree(out / "anna2")
    (out / "dora/albedo.png").write_bytes(b"half")
    (out / "dora/.filled.0123abcd.tmp.png").write_bytes(b"half")
    (out / ".index.0123abcd.tmp.html").write_bytes(b"half")
    assert build(out, "--resume") == 1
    assert contents(out) == contents(whole)


def test_a_folder_that_is_no_set_is_refused(build, whole, photos, tmp_path, capfd):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious.txt").write_text("keep")
    assert build(tmp_path / "mine") == 2
    assert "name an empty folder" in capfd.readouterr().err
    assert build(tmp_path / "out", source=tmp_path / "mine") == 2
    assert "holds no photographs" in capfd.readouterr().err and not (tmp_path / "out").exists()
    assert build(tmp_path / "out", source=tmp_path / "nowhere") == 2
    assert "no such folder of photographs" in capfd.readouterr().err
    killed = tmp_path / "killed"  # within the first group: nothing says yet what the run is
    shutil.copytree(whole / "anna", killed / "anna")
    assert build(killed) == 2
    assert build(killed, "--resume") == 1
    assert contents(killed) == contents(whole)


def test_what_is_filtered_is_set_aside_with_its_reasons(build, whole, tmp_path):
    """And comes back when the set is made anew."""
    out = tmp_path / "strict"
    assert build(out, min_face_pixels="50") == 1
    lines = {line["file"]: line for line in manifest(out)}
    assert lines["anna.png"]["status"] == "ok" and lines["more/anna2.png"]["status"] == "filtered"
    assert lines["more/anna2.png"]["reasons"] == ["low resolution"]
    assert {path.name for path in (out / "filtered/anna2").iterdir()} == FILES and not (out / "anna2").exists()
    counts = json.loads((out / "summary.json").read_text())
    assert counts["filtered_by"] == {"low resolution": 2} and counts["means"]["face_pixels"] > 50
    assert {path.name for path in (out / "sheets").iterdir()} == {"00.jpg", "filtered_00.jpg"}
    (out / "anna/notes.txt").write_text("somebody's own")
    assert build(out) == 1
    assert contents(out) == contents(whole) | {"anna/notes.txt": b"somebody's own"}


def test_filters_ask_every_figure_that_is_there():
    good = {"landmark_nme_percent": 1.0, "face_pixels": 300.0, "seen": 0.8, "strange": 0.1, "bs": 5.0}
    filters = Filters()
    assert filters.reasons(good) == [] == filters.reasons({})
    bad = {"landmark_nme_percent": 9.0, "face_pixels": 30.0, "seen": 0.1, "strange": 0.9, "bs": 50.0, "confidence": 0.1}
    assert len(filters.reasons(bad)) == 6
    for name, value in bad.items():
        assert len(filters.reasons({**good, name: value})) == 1
        assert len(filters.reasons({**good, name: None})) == 1
    assert len(filters.reasons({**good, "bs": float("nan")})) == 1


def test_a_manifest_is_read_up_to_its_last_whole_group(tmp_path):
    path, names = tmp_path / "manifest.jsonl", ["a", "b", "c"]
    append_group(path, [{"file": "a", "group": 0}, {"file": "b", "group": 0}])
    first = path.read_bytes()
    append_group(path, [{"file": "c", "group": 1}])
    assert sorted(whole_groups(path.read_bytes(), names, 2)[0]) == [0, 1]
    for end in range(len(first), len(path.read_bytes())):
        assert whole_groups(path.read_bytes()[:end], names, 2)[1] == len(first)
    for end in range(len(first)):
        assert whole_groups(path.read_bytes()[:end], names, 2) == ({}, 0)
    with pytest.raises(ValueError, match="line 1: 'a'"):
        whole_groups(first, ["x", "b"], 2)
    earlier = b'{"file": "z", "group": null}\n'
    late = b'{"file": "c", "group": 1}\n' + earlier + first  # in the order in which workers were done
    assert [line["file"] for line in whole_groups(late, names, 2)[0][0]] == ["a", "b"]
    assert whole_groups(late[:-1], names, 2)[1] == len(late) - len(first)
    with pytest.raises(ValueError, match="line 3: 'a'"):
        whole_groups(first + first, names, 2)


def test_counts_and_differences():
    lines = [
        {"status": "ok", "figures": {"bs": 1.0}},
        {"status": "filtered", "figures": {"bs": 5.0}, "reasons": ["x", "y"]},
        {"status": "failed", "cause": "no face found"},
    ]
    counts = count_textures(lines)
    assert counts["means"] == {"bs": 1.0} and counts["means_with_filtered"] == {"bs": 3.0}
    assert counts["filtered_by"] == {"x": 1, "y": 1} and counts["failed_by"] == {"no face found": 1}
    assert difference({"a": 1}, {"a": 1}) is None
    assert difference({"a": 1}, {"a": 1, "b": 2}) == "b was None and is now 2"

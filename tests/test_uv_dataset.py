"""The dataset command: killed and resumed it ends up with the same bytes, and every photo is accounted for."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
from portraits import write_portrait

from facejax.cli import main
from facejax.commands import build_uv_dataset
from facejax.export import write_png
from facejax.export.manifest import append_group, difference, whole_groups
from facejax.images import read_image
from facejax.unwrap.dataset import Filters, count_lines

pytestmark = pytest.mark.optimized

OPTIONS = ["--size", "64", "--recipe", "landmarks", "--batch", "2", "--max-bs", "100", "--max-strange", "1"]


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setenv("FACEJAX_CACHE", "")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Four good portraits of two faces, a broken one, one without landmarks, one whose stem another has."""
    folder = tmp_path_factory.mktemp("photos")
    for name, seed in (("anna", 1), ("dora", 2)):
        image, points = write_portrait(folder, name, seed)
        small = image.reshape(256, 2, 256, 2, 3).mean(axis=(1, 3))
        write_png(folder / f"more/{name}2.png", small)
        np.save(folder / f"{name}2.npy", points / 2)
    (folder / "broken.jpg").write_bytes((folder / "anna.png").read_bytes()[:3000])
    np.save(folder / "broken.npy", np.load(folder / "anna.npy"))
    write_png(folder / "celia.png", np.full((64, 64, 3), 0.5, np.float32))
    (folder / "more/anna.JPG").write_bytes((folder / "anna.png").read_bytes())
    (folder / "notes.txt").write_text("no photo")
    return folder


NAMES = ["anna.png", "broken.jpg", "celia.png", "dora.png", "more/anna.JPG", "more/anna2.png", "more/dora2.png"]


def build(photos: Path, out: Path, *more: str) -> int:
    return main(["build-uv-dataset", str(photos), "--out", str(out), "--landmarks", str(photos), *OPTIONS, *more])


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def manifest(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """An unbroken run."""
    out = tmp_path_factory.mktemp("sets") / "whole"
    assert build(photos, out) == 0
    return out


def test_every_photo_is_in_the_manifest_once_in_the_order_of_names(whole):
    lines = manifest(whole)
    assert [line["file"] for line in lines] == NAMES
    assert [line["group"] for line in lines] == [0, 0, 1, 1, 2, 2, 3]
    assert [line["status"] for line in lines] == ["ok", "failed", "failed", "ok", "failed", "ok", "ok"]
    assert "damaged" in lines[1]["error"] and lines[1]["cause"] == "damaged or cut short"
    assert "no landmarks for celia.png" in lines[2]["error"] and lines[2]["cause"] == "holds no landmarks for it"
    assert "taken (by anna.png)" in lines[4]["error"]
    good = [line for line in lines if line["status"] == "ok"]
    assert all(
        set(line["figures"]) >= {"landmark_nme_percent", "face_pixels", "seen", "strange", "bs"} for line in good
    )
    assert all(line["figures"]["seen"] > 0.4 and line["figures"]["landmark_nme_percent"] < 3 for line in good)
    assert good[0]["figures"]["face_pixels"] == pytest.approx(2 * good[2]["figures"]["face_pixels"], rel=0.05)


def test_good_photos_have_their_files_and_others_none(whole):
    folders = {path.name for path in whole.iterdir() if path.is_dir()}
    assert folders == {"anna", "dora", "anna2", "dora2", "sheets"}
    for name in ("anna", "dora2"):
        assert {path.name for path in (whole / name).iterdir()} == {
            "albedo.png",
            "filled.png",
            "photo.jpg",
            "summary.json",
        }
        assert read_image(whole / name / "albedo.png").shape == (64, 64, 3)
        summary = json.loads((whole / name / "summary.json").read_text())
        assert summary["status"] == "ok" and summary["options"]["size"] == 64 and "seconds" not in summary
    assert read_image(whole / "sheets/00.jpg").shape[1] > 2000


def test_summary_and_index_count_every_photo(whole, photos):
    counts = json.loads((whole / "summary.json").read_text())
    assert (counts["photos"], counts["ok"], counts["filtered"], counts["failed"]) == (7, 4, 0, 3)
    assert sum(counts["failed_by"].values()) == 3
    page = (whole / "index.html").read_text()
    assert page.count("<tr class=") == 7 and page.index('class="failed"') < page.index('class="ok"')
    assert "http" not in page and str(photos) not in page
    assert all(name in page for name in NAMES)


def test_nothing_depends_on_when_or_where_it_was_made(whole, photos):
    for name, data in contents(whole).items():
        if name != "run.json" and not name.endswith((".png", ".jpg")):
            assert str(photos).encode() not in data, name
            assert b"seconds" not in data


@pytest.mark.parametrize("tail", [b"", b'{"file": "celia.png", "gro', b"\x00\x00\x00", "one line of two"])
def test_a_killed_run_ends_with_the_same_bytes(whole, photos, tmp_path, tail):
    """As SIGKILL leaves it in the second group: the first's lines, perhaps part of a line, some files, no report."""
    out = tmp_path / "killed"
    shutil.copytree(whole, out)
    lines = (whole / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(b"".join(lines[:2]) + (lines[2] if isinstance(tail, str) else tail))
    for name in ("index.html", "summary.json", "dora/summary.json"):
        (out / name).unlink()
    shutil.rmtree(out / "sheets")
    shutil.rmtree(out / "anna2")
    (out / "dora/albedo.png").write_bytes(b"half")
    (out / "dora/.filled.0123abcd.tmp.png").write_bytes(b"half")
    (out / ".index.0123abcd.tmp.html").write_bytes(b"half")
    assert build(photos, out) == 0
    assert contents(out) == contents(whole)


def test_a_finished_run_is_reported_again_without_being_made_again(whole, photos, tmp_path, monkeypatch):
    out = tmp_path / "again"
    shutil.copytree(whole, out)
    (out / "index.html").unlink()
    monkeypatch.setattr(build_uv_dataset, "set_up", None)
    assert build(photos, out) == 0
    assert contents(out) == contents(whole)


def test_sigterm_finishes_the_group_and_the_next_run_the_rest(whole, photos, tmp_path, monkeypatch, capfd):
    out = tmp_path / "stopped"
    make = build_uv_dataset.unwrap_fitted

    def stop_during(setup, faces):
        os.kill(os.getpid(), signal.SIGTERM)
        return make(setup, faces)

    monkeypatch.setattr(build_uv_dataset, "unwrap_fitted", stop_during)
    before = signal.getsignal(signal.SIGTERM)
    assert build(photos, out) == 143
    assert signal.getsignal(signal.SIGTERM) is before
    assert "stopped after 2 of 7 photos" in capfd.readouterr().err
    assert len(manifest(out)) == 2 and (out / "anna/summary.json").exists() and not (out / "index.html").exists()
    monkeypatch.setattr(build_uv_dataset, "unwrap_fitted", make)
    assert build(photos, out) == 0
    assert contents(out) == contents(whole)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--size", "128"], "size was 64 and is now 128"),
        (["--min-seen", "0.9"], "min_seen was 0.6 and is now 0.9"),
        (["--batch", "3"], "batch was 2 and is now 3"),
    ],
)
def test_other_options_are_refused_in_one_line(whole, photos, capfd, more, message):
    before = contents(whole)
    assert build(photos, whole, *more) == 2
    errors = capfd.readouterr().err
    assert message in errors and errors.count("\n") == 1
    assert contents(whole) == before


def test_other_photos_and_other_folders_are_refused(whole, photos, tmp_path, capfd):
    fewer = tmp_path / "fewer"
    shutil.copytree(photos, fewer)
    (fewer / "dora.png").unlink()
    assert main(["build-uv-dataset", str(fewer), "--out", str(whole), "--landmarks", str(photos), *OPTIONS]) == 2
    assert "7 photos, now 6, such as dora.png" in capfd.readouterr().err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/precious.txt").write_text("keep")
    assert build(photos, tmp_path / "mine") == 2
    assert "name an empty folder" in capfd.readouterr().err
    assert build(tmp_path / "mine", tmp_path / "out") == 2
    assert "holds no photographs" in capfd.readouterr().err and not (tmp_path / "out").exists()


def test_what_is_filtered_is_set_aside_with_its_reasons(photos, tmp_path):
    out = tmp_path / "strict"
    assert build(photos, out, "--min-face-pixels", "150") == 0
    lines = {line["file"]: line for line in manifest(out)}
    assert lines["anna.png"]["status"] == "ok" and lines["more/anna2.png"]["status"] == "filtered"
    assert lines["more/anna2.png"]["reasons"] == ["low resolution"]
    assert (out / "filtered/anna2/albedo.png").exists() and not (out / "anna2").exists()
    counts = json.loads((out / "summary.json").read_text())
    assert counts["filtered_by"] == {"low resolution": 2} and counts["means"]["face_pixels"] > 150
    assert {path.name for path in (out / "sheets").iterdir()} == {"00.jpg", "filtered_00.jpg"}


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
    counts = count_lines(lines)
    assert counts["means"] == {"bs": 1.0} and counts["means_with_filtered"] == {"bs": 3.0}
    assert counts["filtered_by"] == {"x": 1, "y": 1} and counts["failed_by"] == {"no face found": 1}
    assert difference({"a": 1}, {"a": 1}) is None
    assert difference({"a": 1}, {"a": 1, "b": 2}) == "b was None and is now 2"

"""The command line: files, summaries, messages, exit statuses."""

import json

import numpy as np
import pytest
import trimesh
from portraits import write_portrait

from facejax.cli import main
from facejax.export import load_params, write_png
from facejax.export.load import load_face
from facejax.face_model import decode
from facejax.images import read_image

FILES = {"face.glb", "mesh.obj", "mesh.mtl", "albedo.png", "neutral.obj", "overlay.png", "params.npz", "summary.json"}


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setenv("FACEJAX_CACHE", "")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Two synthetic portraits with their landmarks, in one folder."""
    folder = tmp_path_factory.mktemp("photos")
    for name, seed in (("anna", 1), ("bela", 2)):
        write_portrait(folder, name, seed)
    return folder


def test_fit_writes_the_files_of_every_photo(photos, tmp_path, capfd):
    (photos / "broken.jpg").write_bytes((photos / "anna.png").read_bytes()[:2000])
    np.save(photos / "broken.npy", np.load(photos / "anna.npy"))
    names = [str(photos / name) for name in ("anna.png", "broken.jpg", "bela.png")]
    status = main(["fit", *names, "--landmarks", str(photos), "--out", str(tmp_path), "--recipe", "landmarks"])
    errors = capfd.readouterr().err
    assert status == 1 and "broken.jpg" in errors and "Traceback" not in errors
    run = {"manifest.jsonl", "run.json", "summary.json", "report.html"}
    assert {path.name for path in tmp_path.iterdir()} == {"anna", "bela"} | run
    for name in ("anna", "bela"):
        folder = tmp_path / name
        assert {path.name for path in folder.iterdir()} == FILES
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["image"] == f"{name}.png" and summary["size"] == {"width": 512, "height": 512}
        assert set(summary["pose_degrees"]) == {"pitch", "yaw", "roll"}
        assert set(summary["seconds"]) == {"compile", "fit", "write"}
        assert np.shape(summary["landmarks68"]) == (68, 2)
        size = np.sqrt(np.prod(np.ptp(np.load(photos / f"{name}.npy"), axis=0)))
        error = np.linalg.norm(np.array(summary["landmarks68"]) - np.load(photos / f"{name}.npy"), axis=1).mean()
        assert error / size < 0.02
        model, params, _ = load_face(folder)
        assert load_params(folder / "params.npz").model == model.name == summary["model"]
        mesh = trimesh.load_mesh(folder / "mesh.obj", process=False, maintain_order=True)
        height = np.ptp(mesh.vertices[:, 1])
        assert 200 < height < 450  # a head with its neck, in millimetres
        want = np.asarray(decode(model, params))
        np.testing.assert_allclose(np.sort(np.ptp(mesh.vertices, axis=0)), np.sort(np.ptp(want, axis=0)), atol=0.01)
        assert read_image(folder / "overlay.png").shape[1] > 4 * 500


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    assert main(["demo", "--out", str(folder), "--seed", "0"]) == 0
    return folder


@pytest.mark.thorough
def test_demo_finds_the_synthetic_face_again(demo):
    errors = json.loads((demo / "demo.json").read_text())["errors"]
    assert errors["vertex_error_median_mm"] < 1.5
    assert errors["pose_error_degrees"] < 2.0
    assert errors["landmark_nme_percent"] < 2.0
    assert errors["psnr_face_db"] > 28


@pytest.mark.thorough
def test_demo_writes_pictures_and_summary(demo):
    assert {path.name for path in (demo / "face").iterdir()} == FILES
    assert read_image(demo / "truth.png").shape == (512, 512, 3)
    summary = json.loads((demo / "face" / "summary.json").read_text())
    assert summary["finite"] and all(np.isfinite(trace).all() for trace in summary["losses"].values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{photos}/anna.png", "--landmarks", "{photos}", "--boxes", "b.json"], "leave out --boxes"),
        (["{photos}/anna.png", "--boxes", "nowhere.json"], "nowhere.json"),
        (["{photos}/anna.png", "{photos}/anna.npy", "--landmarks", "{photos}/anna.npy"], "one file for 2 photos"),
        (["{photos}/anna.png", "{photos}/sub/anna.jpg", "--landmarks", "{photos}"], "would both write to anna/"),
        (["{photos}/anna.png", "--landmarks", "{photos}", "--model", "nowhere.mat"], "nowhere.mat"),
        (["{photos}/anna.png", "--landmarks", "{photos}", "--batch", "0"], "--batch 0"),
        (["{photos}/anna.png", "--recipe", "gan"], "--recipe gan: not one of"),
        (
            ["{photos}/anna.png", "--recipe", "default", "--decoder", "nowhere"],
            "the recipe 'default' has none: leave it out",
        ),
        (["{photos}/anna.png", "--recipe", "ganfit", "--decoder", "nowhere"], "nowhere: no such checkpoint"),
    ],
)
def test_wrong_commands_say_what_is_wrong_in_one_line(photos, tmp_path, capfd, arguments, message):
    out = tmp_path / "out"
    status = main(["fit", *[a.format(photos=photos) for a in arguments], "--out", str(out)])
    errors = capfd.readouterr().err
    assert status == 2 and message in errors and errors.count("\n") == 1
    assert not list(out.rglob("*.obj"))


def test_photos_without_their_landmarks_fail_by_name(photos, tmp_path, capfd):
    write_png(photos / "celia.png", np.zeros((32, 32, 3), np.float32))
    status = main(["fit", str(photos / "celia.png"), "--landmarks", str(photos), "--out", str(tmp_path)])
    errors = capfd.readouterr().err
    assert status == 1 and "celia" in errors and "Traceback" not in errors

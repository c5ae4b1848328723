"""Boxes, landmarks and masks of single photos: a wrong one fails its photo alone, and exit 0 hides nothing."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from fake_regressor import candidate, fake_regress_crops, fake_regressor, put_in_place, template
from toy import toy_model
from toy_photos import write_toy_model, write_toy_photo

import facejax
from facejax.cli import main
from facejax.engine import fitter
from facejax.export import write_png
from facejax.images import read_boxes, read_image
from facejax.programs import forget_programs
from facejax.regression.given import doubt_given

FACE = [100, 60, 180, 150]


@pytest.fixture
def network(monkeypatch):
    """The fake in the network's place; the detector finds the red block, if there is one."""
    fake = fake_regressor(toy_model())
    forget_programs()
    put_in_place(monkeypatch, fake, fake_regress_crops, find_red)
    yield fake
    forget_programs()


def find_red(image, *, every):
    rows, columns = np.nonzero(image[..., 0] - image[..., 1] > 0.5)
    if not len(rows):
        return []
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return [candidate(box)]


def photo(*blocks):
    image = np.full((240, 320, 3), 0.4, np.float32)
    for left, top, right, bottom in blocks or [FACE]:
        image[top:bottom, left:right] = [0.95, 0.05, 0.05]
    return image


NAN = float("nan")
WRONG_BOXES = [  # an entry of a box file, and what is said of it
    ([], "no box"),
    ([[]], "no box"),
    ({}, "no box|not a box"),
    (None, "not a box"),
    ("", "not a box"),
    ("100 60 180 150", "not a box"),
    (["100", "60", "180", "150"], "not a box"),
    (["left", 60, 180, 150], "not a box"),
    ([True, False, True, True], "not a box"),
    ({"left": 100, "top": 60, "right": 180, "bottom": 150}, "not a box"),
    ([100, 60, None, 150], "not a box"),
    (7, "shape"),
    ([100, 60, 180], "shape"),
    ([100, 60, 180, 150, 0.9], "shape"),
    ([[100, 60, 180, 150], [100, 60, 180]], "not a box"),
    ([[[100, 60, 180, 150]]], "shape"),
    ([100, NAN, 180, 150], "not a number"),
    ([100, 60, float("inf"), 150], "not a number"),
    ([[100, 60, 180, 150], [NAN] * 4], "not a number"),
    ([180, 150, 100, 60], "corners exchanged"),
    ([180, 60, 100, 150], "corners exchanged"),
    ([100, 150, 180, 60], "corners exchanged"),
    ([100, 60, 80, 90], "a width and a height"),
    ([0, 0, 0, 0], "fractions of the photo|corners"),
    ([0.3, 0.25, 0.56, 0.62], "fractions of the photo"),
    ([100, 60, 102, 150], "4 pixels wide"),
    ([1000, 600, 1800, 1500], "outside of the photo"),
    ([-180, -150, -100, -60], "outside of the photo"),
    ([316, 60, 396, 150], "outside of the photo"),
    ([100, 400, 180, 490], "outside of the photo"),
]


@pytest.mark.parametrize(("entry", "words"), WRONG_BOXES)
def test_a_wrong_box_fails_its_photo_alone(network, tmp_path, capfd, entry, words):
    for name in ("bad", "good", "plain"):
        write_png(tmp_path / "in" / f"{name}.png", photo())
    boxes = tmp_path / "boxes.json"
    boxes.write_text(json.dumps({"bad.png": entry, "good.png": FACE}))
    out = tmp_path / "faces.npz"
    files = [str(tmp_path / "in" / f"{name}.png") for name in ("bad", "good", "plain")]
    assert main(["regress", *files, "--out", str(out), "--boxes", str(boxes)]) == 1
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 2 and errors[1] == "2 of 3 photos regressed"
    assert "bad.png" in errors[0] and any(word in errors[0] for word in words.split("|")), errors[0]
    with np.load(out) as file:
        assert file["image"].tolist() == ["good.png", "plain.png"]


def test_wrong_boxes_in_a_run_of_fits(network, tmp_path, capfd):
    """All of the wrong ones at once; each photo has its line, and the manifest tells no path."""
    entries = {f"bad{k}.png": entry for k, (entry, _) in enumerate(WRONG_BOXES)} | {"good.png": FACE}
    for name in entries:
        write_png(tmp_path / "in" / name, photo())
    boxes, out = tmp_path / "boxes.json", tmp_path / "out"
    boxes.write_text(json.dumps(entries))
    options = ["--boxes", str(boxes), "--recipe", "landmarks", "--files", "params"]
    assert main(["fit", str(tmp_path / "in"), "--out", str(out), *options]) == 1
    errors = capfd.readouterr().err
    assert f"1 of {len(entries)} photos fitted, 1 faces" in errors
    text = (out / "manifest.jsonl").read_text()
    lines = {line["file"]: line for line in map(json.loads, text.splitlines())}
    assert str(tmp_path) not in text
    for k, (_, words) in enumerate(WRONG_BOXES):
        line = lines[f"bad{k}.png"]
        assert line["status"] == "failed" and any(word in line["error"] for word in words.split("|")), line
    assert lines["good.png"]["status"] == "ok"


@pytest.mark.parametrize("content", ["", "{", "[1, 2, 3, 4]", "7", "not json", '{"a.png": [1, 2,}'])
def test_a_file_of_boxes_that_cannot_be_read_ends_the_run_before_any_photo(network, tmp_path, capfd, content):
    write_png(tmp_path / "a.png", photo())
    (tmp_path / "boxes.json").write_text(content)
    for command in (["regress", "--out", "x.npz"], ["fit", "--out", str(tmp_path / "out")]):
        options = ["--boxes", str(tmp_path / "boxes.json")]
        assert main([command[0], str(tmp_path / "a.png"), *command[1:], *options]) == 2
        errors = capfd.readouterr().err
        assert "boxes.json" in errors and errors.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_the_library_takes_what_a_file_says(network, tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"a.png": FACE, "b.png": [FACE, FACE], "c.png": [1, 2]}))
    boxes = read_boxes(path)
    assert boxes["a.png"].shape == (1, 4) and boxes["b.png"].shape == (2, 4)  # type: ignore[union-attr]
    assert isinstance(boxes["c.png"], ValueError)
    for name in boxes:
        write_png(tmp_path / name, photo())
    result = facejax.regress([tmp_path / name for name in boxes], boxes=boxes)
    assert result.images == ["a.png", "b.png", "b.png"] and len(result.failures) == 1 and "c.png" in result.failures[0]


# fmt: off
SIZES = [  # given landmarks as the photo's times a factor plus a shift, and whether they are refused or doubtful
    (1.0, 0.0, None), (1.02, 0.0, None), (1.0, 4.0, None),
    (0.5, 0.0, "refused"), (0.25, 0.0, "refused"), (0.6, 0.0, "refused"), (0.4, 0.0, "refused"),
    (2.0, 0.0, "refused"), (1.7, 0.0, "refused"), (3.0, 0.0, "refused"), (8.0, 0.0, "refused"),
    ((224 / 320, 224 / 240), 0.0, "refused"),
    ((128 / 320, 128 / 240), 0.0, "refused"),
    (0.5, (0.0, 80.0), "doubtful"),  # of no size: of another crop
    (0.3, (5.0, 90.0), "doubtful"),
]
# fmt: on


@pytest.mark.parametrize(("factor", "shift", "outcome"), SIZES)
def test_landmarks_of_another_size_of_the_photo(network, factor, shift, outcome):
    low, high = np.array(FACE[:2], float), np.array(FACE[2:], float)
    points = (low + template() * (high - low)) * factor + shift
    if outcome == "refused":
        with pytest.raises(ValueError, match="another size of the photo: multiply x by") as error:
            doubt_given(lambda: network, photo(), points)
        wanted = 1 / np.broadcast_to(factor, 2)
        named = re.search(r"x by ([\d.]+) and y by ([\d.]+)", str(error.value))
        np.testing.assert_allclose([float(number) for number in named.groups()], wanted, rtol=0.1)  # type: ignore[union-attr]
    else:
        assert (doubt_given(lambda: network, photo(), points) is not None) == (outcome == "doubtful")


def test_the_network_is_not_loaded_for_landmarks_in_their_place():
    def load():
        raise AssertionError("not needed")

    assert doubt_given(load, photo(), np.array([120.0, 70.0]) + template() * [100.0, 110.0]) is None


# What exit 0 must not hide -------------------------------------------------------------------------------------------


def test_one_of_several_boxes_outside_of_the_photo(network, tmp_path, capfd):
    """The other faces are fitted, in the folders of their own numbers; the photo is done in part, and the exit is 1."""
    write_png(tmp_path / "in" / "one.png", photo((20, 30, 90, 110), (180, 90, 290, 210)))
    boxes, out = tmp_path / "boxes.json", tmp_path / "out"
    boxes.write_text(json.dumps({"one.png": [[20, 30, 90, 110], [900, 900, 990, 990], [180, 90, 290, 210]]}))
    options = ["--boxes", str(boxes), "--recipe", "landmarks", "--files", "params"]
    for faces, place in (("largest", out), ("all", tmp_path / "all")):
        assert main(["fit", str(tmp_path / "in"), "--out", str(place), "--faces", faces, *options]) == 1
        errors = capfd.readouterr().err
        assert "one.png: its box lies outside of the photo (320 x 240 pixels): [900.0, 900.0, 990.0, 990.0]" in errors
        assert "1 of 1 photos fitted, 2 faces; 1 with a face that failed\n" in errors
        assert errors.endswith("     1 its box lies outside of the photo\n")
        assert sorted(path.name for path in place.iterdir() if path.is_dir()) == ["one_0", "one_2"]
        (line,) = map(json.loads, (place / "manifest.jsonl").read_text().splitlines())
        assert line["status"] == "ok" and "outside" in line["error"] and len(line["faces"]) == 2
        counts = json.loads((place / "summary.json").read_text())
        assert (counts["ok"], counts["partly"], counts["faces"]) == (1, 1, 2)
        assert "1 with a face that failed" in (place / "report.html").read_text()
        assert main(["fit", str(tmp_path / "in"), "--out", str(place), "--faces", faces, *options, "--resume"]) == 1
        capfd.readouterr()


def test_a_face_that_does_not_stay_finite_among_several(network, tmp_path, capfd, monkeypatch):
    write_png(tmp_path / "in" / "one.png", photo((20, 30, 90, 110), (180, 90, 290, 210)))
    (tmp_path / "boxes.json").write_text(json.dumps({"one.png": [[20, 30, 90, 110], [180, 90, 290, 210]]}))
    fit_faces = fitter.fit_faces

    def second_fails(self, faces):
        result = fit_faces(self, faces)
        return replace(result, faces=replace(result.faces, finite=np.arange(len(faces)) != 1))

    monkeypatch.setattr(fitter, "fit_faces", second_fails)
    options = ["--boxes", str(tmp_path / "boxes.json"), "--recipe", "landmarks", "--files", "params"]
    assert main(["fit", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *options]) == 1
    errors = capfd.readouterr().err
    assert "did not stay finite" in errors and "1 with a face that failed" in errors


def test_boxes_and_landmarks_of_other_photos_are_told(network, tmp_path, capfd):
    """A note, and exit 0: a file may serve a larger set of photos."""
    write_png(tmp_path / "in" / "one.png", photo())
    (tmp_path / "boxes.json").write_text(json.dumps({"one.png": FACE, "One.PNG": FACE, "two.png": FACE}))
    options = ["--recipe", "landmarks", "--files", "params"]
    boxes = ["--boxes", str(tmp_path / "boxes.json")]
    note = "boxes.json: 2 of its names are none of the photos, such as One.PNG\n"
    assert main(["fit", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *options, *boxes]) == 0
    assert capfd.readouterr().err.endswith(note)
    assert main(["regress", str(tmp_path / "in" / "one.png"), "--out", str(tmp_path / "x.npz"), *boxes]) == 0
    assert capfd.readouterr().err.endswith(note)


TEXTURES = ["--size", "64", "--recipe", "landmarks", "--max-bs", "100", "--min-face-pixels", "10", "--max-strange", "1"]


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    """Two photos with their landmarks and masks, and the model."""
    folder = tmp_path_factory.mktemp("heads")
    for seed, name in enumerate(("one", "two")):
        image, _ = write_toy_photo(folder / "in", name, seed)
        (folder / "points").mkdir(exist_ok=True)
        (folder / "in" / f"{name}.npy").rename(folder / "points" / f"{name}.npy")
        write_png(folder / "masks" / f"{name}.png", np.ones_like(image))
    np.save(folder / "points" / "three.npy", np.load(folder / "points" / "two.npy"))
    (folder / "points" / "four.pts").write_text("version: 1\nn_points: 68\n{\n}\n")
    write_toy_model(folder)
    return folder


PER_PHOTO = {  # what is wrong with the first photo's landmarks or mask
    "landmarks missing": lambda folder: (folder / "points/one.npy").unlink(),
    "landmarks empty": lambda folder: (folder / "points/one.npy").write_bytes(b""),
    "landmarks not finite": lambda folder: np.save(folder / "points/one.npy", np.full((68, 2), np.nan)),
    "landmarks of another count": lambda folder: np.save(folder / "points/one.npy", np.ones((5, 2))),
    "landmarks as objects": lambda folder: np.save(folder / "points/one.npy", np.array([{"a": 1}]), allow_pickle=True),
    "landmarks as texts": lambda folder: np.save(folder / "points/one.npy", np.full((68, 2), "a")),
    "mask missing": lambda folder: (folder / "masks/one.png").unlink(),
    "mask of another size": lambda folder: write_png(folder / "masks/one.png", np.ones((9, 9, 3), np.float32)),
    "mask black": lambda folder: write_png(folder / "masks/one.png", 0 * read_image(folder / "in/one.png")),
    "mask damaged": lambda folder: (folder / "masks/one.png").write_bytes(b"none"),
    "photo damaged": lambda folder: (folder / "in/one.png").write_bytes(b"none"),
}


COMMANDS = ("fit", "unwrap", "build-uv-dataset")


@pytest.mark.parametrize(  # a fit takes no masks
    ("case", "command"), [(case, one) for case in PER_PHOTO for one in COMMANDS if one != "fit" or "mask" not in case]
)
def test_a_photo_with_a_wrong_input_fails_alone_in_every_command(heads, tmp_path, capfd, case, command):
    folder = tmp_path / "all"
    shutil.copytree(heads, folder)
    PER_PHOTO[case](folder)
    shared = ["--landmarks", str(folder / "points"), "--model", str(folder / "toy.npz"), "--out", str(tmp_path / "out")]
    photos = [str(folder / "in" / f"{name}.png") for name in ("one", "two")]
    source, options = {
        "fit": (photos, ["--recipe", "landmarks", "--files", "params"]),
        "unwrap": (photos, [*TEXTURES[:4], "--masks", str(folder / "masks")]),
        "build-uv-dataset": ([str(folder / "in")], [*TEXTURES, "--masks", str(folder / "masks")]),
    }[command]
    assert main([command, *source, *shared, *options]) == 1
    told = capfd.readouterr()
    # single photos may be some of those that a folder of landmarks is for
    assert ("points: 2 of its files belong to none of the photos" in told.err) == (command == "build-uv-dataset")
    assert (tmp_path / "out" / "two" / "summary.json").exists() and not (tmp_path / "out" / "one").exists()
    if command == "build-uv-dataset":
        assert "1 failed" in told.out
    else:
        assert "one" in told.err and "1 of 2 photos" in told.err


def test_a_grey_photo_says_what_to_pass(network):
    with pytest.raises(ValueError, match=r"the photograph has shape \(240, 320\): pass \(H, W, 3\)"):
        facejax.fit(toy_model(), photo()[..., 0], np.ones((68, 2)))
    with pytest.raises(ValueError, match=r"has shape \(240, 320\)"):
        facejax.regress(photo()[..., 0])

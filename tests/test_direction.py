"""Given landmarks of profiles: wrong ones are told by what the network sees in the photo, and honest ones pass."""

import re

import jax.numpy as jnp
import numpy as np
import pytest
from fake_regressor import fake_regressor
from test_landmark_check import face, mean, said
from toy import toy_model

from facejax.camera import PerspectiveCamera
from facejax.evaluation.aflw2000 import read_aflw2000
from facejax.face_model import neutral_params
from facejax.face_model.surface_landmarks import MIRROR68
from facejax.fitting.landmark_check import check_landmarks
from facejax.images.boxes import box_overlap
from facejax.regression import direction
from facejax.regression.candidates import landmark_box
from facejax.regression.given import doubt_given
from facejax.regression.photos import RegressedFace, RegressedPhotos
from facejax.regression.regressor import Regression, load_regressor

HEIGHT, WIDTH = 400, 600
WRONG = {  # what is done to the points, and what is said
    "left and right exchanged": (lambda p, w, h: p[MIRROR68], "look mirrored, with left and right exchanged"),
    "x from the right": (lambda p, w, h: [w, 0] + p * [-1, 1], "look mirrored: give {w} - x"),
    "of the mirrored photo": (lambda p, w, h: ([w, 0] + p * [-1, 1])[MIRROR68], "give {w} - x, and exchange left"),
    "y upward": (lambda p, w, h: [0, h] + p * [1, -1], "as if y pointed upward: y points down"),
    "row before column": (lambda p, w, h: p[:, ::-1], "x and y were exchanged"),
}  # fmt: skip


def sees(monkeypatch, *faces):
    """A network that sees faces where their landmarks are, and nothing in other places."""

    params = neutral_params(toy_model(), PerspectiveCamera(jnp.asarray(500.0), jnp.zeros(2)))

    def regress(regressor, images, *, boxes, batch, blend):
        found = []
        for number, box in enumerate(boxes[0]):
            nearest = max(faces, key=lambda one: box_overlap(landmark_box(one), box))
            confidence = 0.9 if box_overlap(landmark_box(nearest), box) > 0.4 else 0.1
            seen = Regression(params, nearest, np.full(68, confidence))  # type: ignore[arg-type]
            found.append(RegressedFace(0, box, seen, number, 0))
        return RegressedPhotos(["photo 0"], found, [], [])

    monkeypatch.setattr(direction, "regress_photos", regress)


def check(points):
    regressor = fake_regressor(toy_model())
    direction.check_direction(lambda: regressor, np.zeros((HEIGHT, WIDTH, 3), np.float32), points)


@pytest.mark.parametrize("yaw", [60, -70, 80])
def test_wrong_points_of_profiles_are_told_apart(monkeypatch, yaw):
    points = face(yaw=yaw, scale=1.2, centre=(260, 150))
    sees(monkeypatch, points)
    random = np.random.default_rng(0)
    for noise in (0.0, 4.0):
        check(points + noise * random.normal(size=(68, 2)))
    told = 0
    for change, words in WRONG.values():
        given = change(points, WIDTH, HEIGHT)
        if said(given) == "":  # else the points alone tell
            with pytest.raises(ValueError, match=re.escape(words.format(w=WIDTH, h=HEIGHT))):
                check(given)
            told += 1
    assert told == len(WRONG) if abs(yaw) > 65 else told


def test_the_network_is_not_asked_about_faces_that_look_at_the_camera_or_fail_anyway():
    def load():
        raise AssertionError("not needed")

    image = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for yaw in (0, 20, -35):
        direction.check_direction(load, image, face(yaw=yaw))
    for wrong in (face(yaw=70)[::-1], face()[MIRROR68]):
        assert said(wrong) != ""
        direction.check_direction(load, image, wrong)


def test_points_of_a_profile_where_the_network_sees_another_face_or_none_pass(monkeypatch):
    """It may be the network that is wrong: only points that match it in another way are refused."""
    points = face(yaw=70, scale=1.2, centre=(260, 150))
    sees(monkeypatch, face(yaw=-20, centre=(260, 150)))
    check(points)
    sees(monkeypatch, face(yaw=70, centre=(60, 350), scale=0.4))
    check(points)


def test_a_profile_beside_its_mirror_image(monkeypatch):
    """Each face's own points pass, though they would match the other one as well."""
    points = face(yaw=70, centre=(120, 150))
    other = ([WIDTH, 0] + points * [-1, 1])[MIRROR68]
    sees(monkeypatch, points, other)
    check(points)
    check(other)


@pytest.mark.thorough
def test_annotated_profiles(shared):
    """Honest annotations of real profiles pass; wrong ones are named unless left and right lie in nearly one place."""
    data = read_aflw2000(shared / "aflw2000")
    rows = np.flatnonzero(np.abs(data.yaw) > 50)[::30]
    caught = dict.fromkeys(WRONG, 0)
    for row in rows:
        image, points = data.read(row), data.points["68"][row]
        assert doubt_given(load_regressor, image, points) is None, data.names[row]
        for name, (change, _) in WRONG.items():
            given = change(points, *image.shape[1::-1])
            try:
                check_landmarks(given, image.shape, mean(), "one.jpg")
                doubt_given(load_regressor, image, given)
            except ValueError:
                caught[name] += 1
    assert len(rows) > 6
    assert all(count >= len(rows) - (3 if "left" in name else 1) for name, count in caught.items()), caught

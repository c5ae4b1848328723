"""The landmark benchmarks: readers against hand-written folders, reports against known answers, published numbers."""

import json
import threading

import numpy as np
import pytest
import scipy.io
from fake_regressor import fake_regress_crops, fake_regressor, template
from PIL import Image
from toy import toy_model

from facejax.cli import main
from facejax.commands import evaluate
from facejax.evaluation import (
    cumulative,
    draw_cumulative,
    mean_offsets,
    nme,
    point_errors,
    predict_faces,
    read_aflw,
    read_aflw2000,
    report,
    to_aflw21,
)
from facejax.evaluation.aflw import ASPECT
from facejax.evaluation.aflw2000 import rotation_matrices
from facejax.images import read_image
from facejax.programs import forget_programs
from facejax.regression import photos as whole
from facejax.regression import regressor

RNG = np.random.default_rng(0)
COUNT = 5
YAW = np.array([0.0, 25.0, -45.0, 80.0, 120.0])
POINTS = RNG.uniform(20, 60, (COUNT, 68, 3)).astype(np.float32)  # 1-based, as in the .mat files
CLICKED = np.where(RNG.uniform(size=(COUNT, 21, 1)) < 0.3, -1.0, RNG.uniform(20, 60, (COUNT, 21, 2)))
POSE = np.deg2rad(np.stack([RNG.uniform(-20, 20, COUNT), YAW, RNG.uniform(-20, 20, COUNT)], axis=1))
NAMES = [f"image{index:05d}.jpg" for index in (8, 13, 21, 34, 55)]


@pytest.fixture
def public(tmp_path):
    """A folder laid out like the public AFLW2000-3D."""
    folder = tmp_path / "AFLW2000"
    folder.mkdir()
    for row, name in enumerate(NAMES):
        Image.fromarray(np.full((80, 80, 3), 40 * row, np.uint8)).save(folder / name)
        clicked = (
            CLICKED[row] if row else np.concatenate([CLICKED[row], [[-1, -1], [0, 0]]])
        )  # 23 columns, as a few have
        content = {
            "pt3d_68": POINTS[row].T,
            "pt2d": clicked.T,
            "Pose_Para": np.concatenate([POSE[row], [1, 2, 3, 4]])[None],
        }
        scipy.io.savemat(folder / name.replace("jpg", "mat"), content)
    return folder


@pytest.fixture
def arrays(tmp_path):
    """The same faces as one file of arrays with images/; the second is a look-alike."""
    folder = tmp_path / "arrays"
    (folder / "images").mkdir(parents=True)
    for row, name in enumerate(NAMES):
        Image.fromarray(np.full((80, 80, 3), 40 * row, np.uint8)).save(folder / "images" / name)
    np.savez(
        folder / "aflw2000_dev.npz",
        name=np.array(NAMES),
        pts68_3d=POINTS,
        pts68_2d_reannotated=POINTS[..., :2] + 3.0,
        pts21_2d=CLICKED,
        pts21_visible=(CLICKED != -1).all(-1),
        pose_pitch_yaw_roll=POSE,
        holdout_similarity=np.array([0.1, 0.95, 0.2, 0.3, 0.4]),
    )
    return folder


# --- readers ----------------------------------------------------------------------------------------------------------


def test_both_layouts_give_the_same_faces(public, arrays):
    one, other = read_aflw2000(public), read_aflw2000(arrays, keep_lookalikes=True)
    assert one.names == other.names == tuple(NAMES)
    for name in ("68", "21"):
        np.testing.assert_allclose(one.points[name], other.points[name], atol=1e-6)
    np.testing.assert_allclose(one.boxes, other.boxes, atol=1e-6)
    np.testing.assert_allclose(one.yaw, YAW, atol=1e-6)
    assert one.rotations is not None and other.rotations is not None
    np.testing.assert_allclose(one.rotations, other.rotations, atol=1e-6)
    assert other.read(3).mean() == pytest.approx(120 / 255, abs=0.01)


def test_the_first_pixels_centre_is_one_in_the_files_and_a_half_here(arrays):
    faces = read_aflw2000(arrays, keep_lookalikes=True)
    np.testing.assert_allclose(faces.points["68"], POINTS[..., :2] - 0.5, atol=1e-5)
    np.testing.assert_allclose(faces.boxes[:, :2], (POINTS[..., :2] - 0.5).min(axis=1), atol=1e-5)
    hidden = (CLICKED == -1).all(-1)
    assert (np.isnan(faces.points["21"]).all(-1) == hidden).all() and hidden.any()
    again = read_aflw2000(arrays, labels="reannotated", keep_lookalikes=True)
    np.testing.assert_allclose(again.points["68"], POINTS[..., :2] + 3.5, atol=1e-5)  # 0-based pixel centres
    np.testing.assert_allclose(again.sizes, faces.sizes, atol=1e-4)


def test_marked_lookalikes_are_left_out_and_wild_angles_only_on_request(arrays, public):
    assert read_aflw2000(arrays).names == (NAMES[0], *NAMES[2:])
    assert read_aflw2000(arrays).choices["look-alikes"] == "1 left out"
    assert read_aflw2000(public).choices["look-alikes"] == "not marked in these files"
    fewer = read_aflw2000(arrays, keep_out_of_range=False)
    assert fewer.names == (NAMES[0], *NAMES[2:4])
    assert fewer.read(1).mean() == pytest.approx(80 / 255, abs=0.01)  # the photograph goes with its row


def test_positive_yaw_turns_the_nose_to_the_images_left():
    forward = rotation_matrices(np.deg2rad([[0.0, 30.0, 0.0], [20.0, 0.0, 0.0]])) @ [0.0, 0.0, 1.0]
    np.testing.assert_allclose(forward[0], [-0.5, 0, np.cos(np.deg2rad(30))], atol=1e-9)
    assert forward[1, 1] > 0.3  # positive pitch lifts it


def test_wrong_folders_are_named(tmp_path, public, arrays):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_aflw2000(tmp_path / "none")
    with pytest.raises(ValueError, match="neither"):
        read_aflw2000(tmp_path)
    with pytest.raises(ValueError, match="--labels original"):
        read_aflw2000(public, labels="reannotated")
    (public / "image00013.mat").write_bytes(b"not a mat file")
    with pytest.raises(ValueError, match=r"image00013\.mat: cannot be read"):
        read_aflw2000(public)
    np.savez(arrays / "aflw2000_dev.npz", name=np.array(NAMES))
    with pytest.raises(ValueError, match="lacks pts68_3d"):
        read_aflw2000(arrays)
    with pytest.raises(FileNotFoundError, match="aflw_crops_labels"):
        read_aflw(tmp_path)


# --- from photographs to landmarks ------------------------------------------------------------------------------------


def test_faces_keep_their_order_and_the_last_group_is_filled_up(public):
    faces = read_aflw2000(public)
    sizes, seen = [], []

    def predict(photos, boxes):
        sizes.append(len(photos))
        grey = np.array([photo.mean() for photo in photos]) * 255 / 40
        return grey[:, None, None] + np.zeros((1, 68, 2)) + boxes[:, None, :2]

    found = predict_faces(predict, faces, batch=3, progress=seen.append)
    assert sizes == [3, 3] and sum(seen) == COUNT
    np.testing.assert_allclose(found[:, 5] - faces.boxes[:, :2], np.arange(COUNT)[:, None] + np.zeros(2), atol=0.1)


def test_photographs_are_read_ahead_but_not_all_at_once(public):
    faces, lock, counts = read_aflw2000(public), threading.Lock(), {"read": 0, "most": 0, "used": 0}
    read = faces.read

    def counting(row):
        with lock:
            counts["read"] += 1
            counts["most"] = max(counts["most"], counts["read"] - counts["used"])
        return read(row)

    def predict(photos, boxes):
        counts["used"] += len(photos)
        return np.zeros((len(photos), 68, 2))

    object.__setattr__(faces, "read", counting)
    predict_faces(predict, faces, batch=1)
    assert counts["most"] <= 3


def test_a_predictor_with_a_wrong_result_is_an_error(public):
    faces = read_aflw2000(public)
    with pytest.raises(ValueError, match=r"expected \(2, 68, 2\)"):
        predict_faces(lambda photos, boxes: np.zeros((2, 21, 2)), faces, batch=2)
    with pytest.raises(ValueError, match=r"image00008\.jpg: .* not finite"):
        predict_faces(lambda photos, boxes: np.full((2, 68, 2), np.nan), faces, batch=2)


def test_the_regressors_landmarks_come_back_in_pixels_of_the_photographs(monkeypatch):
    """A stand-in network that sees where a picture is red: in the given box, not in the larger block beside it."""
    monkeypatch.setenv("FACEJAX_CACHE", "")
    monkeypatch.setattr(regressor, "load_regressor", lambda path: fake_regressor(toy_model()))
    monkeypatch.setattr(whole, "regress_crops", fake_regress_crops)
    forget_programs()
    photos = [np.full((90, 160, 3), 0.4, np.float32) for _ in range(2)]
    boxes = np.array([[20.0, 30.0, 60.0, 70.0], [5.0, 40.0, 35.0, 70.0]])
    for photo, box in zip(photos, boxes.astype(int), strict=True):
        for left, top, right, bottom in (box, (100, 10, 150, 80)):
            photo[top:bottom, left:right] = [0.95, 0.05, 0.05]
    found = evaluate.regressor_predictor("default")(photos, boxes)
    forget_programs()
    expected = boxes[:, None, :2] + template() * (boxes[:, None, 2:] - boxes[:, None, :2])
    np.testing.assert_allclose(found, expected, atol=1.0)


# --- reports ----------------------------------------------------------------------------------------------------------


def test_21_points_follow_the_papers_list():
    points = RNG.normal(size=(2, 68, 2))
    found = to_aflw21(points)
    one_based = [18, 20, 22, 23, 25, 27, 37, None, 40, 43, None, 46, 3, 32, 31, 36, 15, 49, None, 55, 9]
    for index, row in enumerate(one_based):
        if row is not None:
            np.testing.assert_array_equal(found[:, index], points[:, row - 1])
    np.testing.assert_allclose(found[:, 7], points[:, 36:42].mean(1))
    np.testing.assert_allclose(found[:, 10], points[:, 42:48].mean(1))
    np.testing.assert_allclose(found[:, 18], points[:, 60:68].mean(1))


def test_the_truth_has_no_error_and_point_errors_average_to_nme(public):
    faces = read_aflw2000(public)
    assert report(faces.points["68"], faces)["68"].table.mean == 0
    found = faces.points["68"] + RNG.normal(size=(COUNT, 68, 2))
    errors = report(found, faces)["68"]
    np.testing.assert_allclose(errors.faces, nme(found, faces.points["68"]))
    scaled = point_errors(found * 3 + 7, faces.points["68"] * 3 + 7, faces.sizes * 3)
    np.testing.assert_allclose(scaled.mean(axis=1), errors.faces)


def test_hidden_points_do_not_count(public):
    faces = read_aflw2000(public)
    hidden = np.asarray(np.isnan(faces.points["21"]).sum(axis=-1) == 2)
    found = RNG.uniform(20, 60, (COUNT, 68, 2))
    expected = []
    for row in range(COUNT):
        distance = np.linalg.norm(to_aflw21(found)[row] - faces.points["21"][row], axis=-1)[~hidden[row]]
        expected.append(100 * distance.mean() / faces.sizes[row])
    np.testing.assert_allclose(report(found, faces)["21"].faces, expected)


def test_groups_show_where_the_error_is(public):
    faces = read_aflw2000(public)
    found = faces.points["68"].copy()
    found[:, :17] += [3.0, 4.0]
    groups = report(found, faces)["68"].groups
    assert all(groups[name].mean == 0 for name in ("brows", "nose", "eyes", "mouth"))
    low = np.abs(faces.yaw) <= 30
    assert groups["jaw"].bins["0-30"] == pytest.approx((500 / faces.sizes[low]).mean())


def test_mean_offsets_tell_a_bias_in_the_heads_frame_from_scatter():
    pose = np.deg2rad(RNG.uniform(-70, 70, (400, 3)) * [0.3, 1.0, 0.3])
    rotations, sizes = rotation_matrices(pose), RNG.uniform(50, 200, 400)
    truth = RNG.uniform(0, 100, (400, 4, 2))
    offset = np.array([[1.0, 2.0, -3.0], [0.0, 0.0, 0.0], [0.0, 5.0, 0.0], [2.0, 0.0, 4.0]])
    seen = np.einsum("nij,lj->nli", rotations[:, :2], offset) * [1.0, -1.0]  # pixels: y down
    noise = RNG.normal(size=truth.shape) * [[0.0], [0.0], [1.0], [0.0]]
    truth[:100, 3] = np.nan
    found = mean_offsets(truth + (seen + noise) * sizes[:, None, None] / 100, truth, sizes, rotations)
    np.testing.assert_allclose(found.bias, offset, atol=0.25)
    np.testing.assert_allclose(found.bias[[0, 1, 3]], offset[[0, 1, 3]], atol=1e-9)
    np.testing.assert_allclose(found.scatter, [0, 0, np.sqrt(np.pi / 2), 0], atol=0.15)


def test_cumulative_curves_count_faces():
    errors = np.array([1.0, 2.0, 2.0, 5.0, np.nan])
    np.testing.assert_array_equal(cumulative(errors, np.array([0.5, 1.0, 2.0, 4.9, 5.0])), [0, 25, 75, 75, 100])
    picture = draw_cumulative({"all": errors}, title="four faces")
    assert picture.shape == (480, 720, 3) and picture.min() >= 0 and picture.max() == 1.0
    worse = draw_cumulative({"all": errors * 2}, title="four faces")
    assert np.abs(picture - worse).max() > 0.5


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_prints_the_choices_and_writes_table_and_curve(public, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FACEJAX_CACHE", "")
    truth = read_aflw2000(public).points["68"]

    def predictor(checkpoint):
        assert checkpoint == "mine"
        return lambda photos, boxes: truth[[round(float(photo.mean()) * 255 / 40) for photo in photos]] + 0.3

    monkeypatch.setattr(evaluate, "regressor_predictor", predictor)
    out = tmp_path / "out"
    command = ["evaluate", "aflw2000", "--data", str(public), "--out", str(out), "--checkpoint", "mine", "--per-group"]
    assert main(command) == 0
    printed = capsys.readouterr().out
    for word in (
        "original",
        "sqrt(width * height)",
        "2 at 0-30, 1 at 30-60, 2 at 60-90",
        "NME %, 68",
        "brows",
        "scatter",
    ):
        assert word in printed
    content = json.loads((out / "aflw2000.json").read_text())
    table = content["points"]["68"]["nme"]
    assert table["mean"] == pytest.approx(np.mean(list(table["bins"].values())))
    np.testing.assert_allclose(content["faces"]["nme68"], nme(truth + 0.3, truth), atol=1e-5)
    assert content["faces"]["name"] == NAMES and content["protocol"]["labels"].startswith("original")
    assert read_image(out / "aflw2000.png").shape == (480, 720, 3)


def test_the_command_says_what_is_wrong(public, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FACEJAX_CACHE", "")
    assert main(["evaluate", "aflw2000", "--data", str(tmp_path / "none"), "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "none: no such folder" in error and error.count("\n") == 1


# --- real annotations -------------------------------------------------------------------------------------------------


def test_published_predictions_give_the_published_numbers(shared):
    folder = shared / "aflw2000"
    faces = read_aflw2000(folder, keep_lookalikes=True)
    with np.load(folder / "published_methods_68.npz") as file:
        rows = [faces.names.index(str(name)) for name in file["name"]]
        truth = faces.points["68"][rows]
        errors = [nme(file[name][..., :2] - 0.5, truth).mean() for name in ("2dasl", "3ddfa", "prnet")]
    np.testing.assert_allclose(errors, [2.39, 2.67, 2.99], atol=0.006)


def test_rotations_turn_the_annotated_heads_upright(shared):
    """Heads turned back by their rotation look alike; by its transpose they do not."""
    with np.load(shared / "aflw2000" / "aflw2000_dev.npz") as file:
        points = file["pts68_3d"][:200].astype(np.float64) * [1.0, -1.0, 1.0]
        rotations = rotation_matrices(file["pose_pitch_yaw_roll"][:200].astype(np.float64))
    points = points - points.mean(axis=1, keepdims=True)
    points = points / np.linalg.norm(points, axis=(1, 2), keepdims=True)
    back, further = points @ rotations, points @ rotations.transpose(0, 2, 1)
    assert back.std(axis=0).mean() < 0.02 < 0.04 < further.std(axis=0).mean()


def test_the_crops_box_is_close_to_that_of_the_68_points(shared):
    """AFLW2000-3D has both the 68 points and the square it was cut with: what `read_aflw` assumes holds there."""
    faces = read_aflw2000(shared / "aflw2000")
    with np.load(shared / "aflw2000" / "aflw2000_dev.npz") as file:
        row = {str(name): k for k, name in enumerate(file["name"])}
        roi = file["roi_box"][[row[name] for name in faces.names]].astype(np.float64)
    longer = (roi[:, 2] - roi[:, 0] + 1) / np.sqrt(2.0)
    ratio = faces.sizes / longer
    assert abs(ratio.mean() - ASPECT) < 0.01 and ratio.std() < 0.03


def test_aflw_crops_are_read_with_their_points(shared):
    faces = read_aflw(shared / "aflw_crops")
    assert len(faces) == 8000 and faces.read(17).shape == (120, 120, 3)
    points = faces.points["21"]
    inside = (points > 0) & (points < 120)
    assert inside[np.isfinite(points)].mean() > 0.99
    found = np.tile(np.full((68, 2), 60.0), (len(faces), 1, 1))
    assert 20 < report(found, faces)["21"].table.mean < 50

"""Landmark files as people have them: text, tables, .mat and menpo's groups; other numbers of points are refused."""

import json

import numpy as np
import pytest
from scipy.io import savemat

from facejax.engine.faces import load_finder
from facejax.images import find_landmarks, read_landmarks
from facejax.images.photo import photo_file

POINTS = np.random.default_rng(1).uniform(20, 180, (68, 2)).round(3)
DEEP = np.c_[POINTS, np.arange(68.0) - 30]
FLAT = POINTS.ravel()
ROWS = [f"{x:.3f} {y:.3f}" for x, y in POINTS]


def table(separator=" ", *, first=(), rows=POINTS, heading=(), decimal="."):
    """Rows of numbers as text; `first` is put in front of each."""
    lines = [
        separator.join([*map(str, mark), *(f"{number:.3f}".replace(".", decimal) for number in row)])
        for mark, row in zip(([one] for one in first) if first else [[]] * len(rows), rows, strict=True)
    ]
    return "\n".join([*heading, *lines]) + "\n"


TEXTS = {
    "spaces": table(),
    "tabs": table("\t"),
    "commas": table(","),
    "commas and spaces": table(", "),
    "semicolons": table(";"),
    "decimal commas": table(";", decimal=","),
    "decimal commas, spaces": table("; ", decimal=","),
    "heading": table(",", heading=["x,y"]),
    "comment": table(heading=["# x y", ""]),
    "depth": table(rows=DEEP),
    "depth, heading": table(",", rows=DEEP, heading=["x,y,z"]),
    "counted from 0": table(",", first=range(68)),
    "counted from 1": table(first=range(1, 69)),
    "counted, heading": table(",", first=range(68), heading=["index,x,y"]),
    "counted, depth": table(",", first=range(68), rows=DEEP),
    "named": table(",", first=[f"p{k}" for k in range(68)]),
    "named, quoted": table(",", first=[f'"jaw {k}"' for k in range(68)]),
    "separator at the end": "\n".join(f"{row.replace(' ', ',')}," for row in ROWS),
    "brackets": "\n".join(f"({row.replace(' ', ', ')})" for row in ROWS),
    "one row": " ".join(f"{number:.3f}" for number in FLAT),
    "one row, commas": ",".join(f"{number:.3f}" for number in FLAT) + "\n",
    "one row, file name": "photos/a.jpg " + " ".join(f"{number:.3f}" for number in FLAT),
    "one column": "\n".join(f"{number:.3f}" for number in FLAT),
    "two rows": "\n".join(" ".join(f"{number:.3f}" for number in axis) for axis in POINTS.T),
    "a .pts under another name": "version: 1\nn_points: 68\n{\n" + "\n".join(ROWS) + "\n}\n",
    "OpenFace": ",".join(["frame", " confidence", *(f" x_{k}" for k in range(68)), *(f" y_{k}" for k in range(68))])
    + "\n1,0.98,"
    + ",".join(f"{number:.3f}" for number in POINTS.T.ravel()),
    "x1, y1, ...": ",".join(["name", *(f"{axis}{k}" for k in range(1, 69) for axis in "xy")])
    + "\na.jpg,"
    + ",".join(f"{number:.3f}" for number in FLAT),
}


@pytest.mark.parametrize("suffix", [".txt", ".csv", ".CSV"])
@pytest.mark.parametrize("name", TEXTS)
def test_text_is_taken_as_it_is(tmp_path, name, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text(TEXTS[name])
    shift = 0.5 if ".pts" in name else 0.0
    np.testing.assert_allclose(read_landmarks(path), POINTS - shift, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no numbers"),
        ("x,y\n", "holds no numbers"),
        ("hello\nworld\n", "cannot be read as landmarks"),
        ("1 2\n3\n", "different numbers of columns"),
        ("1 2 3 4 5", "5 numbers in one row"),
        ("1,2\na,b\n", "cannot be read as landmarks"),
        (TEXTS["OpenFace"] + "\n" + TEXTS["OpenFace"].split("\n")[1], "2 faces or frames"),
        (TEXTS["OpenFace"][:-300], "shorter than its heading"),
        (table(rows=POINTS[:51]), r"\(51, 2\), expected \(68, 2\)"),
        (table(rows=POINTS / 200), "not fractions"),
        (TEXTS["spaces"].replace(ROWS[4], "nan nan"), "landmark 4 is not finite"),
    ],
)
def test_wrong_text_is_one_line_with_the_file(tmp_path, text, said):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(ValueError, match=said) as caught:
        read_landmarks(tmp_path / "a.csv")
    assert "\n" not in str(caught.value) and str(caught.value).count("a.csv") == 1


MATS = {
    "AFLW2000-3D": ({"pt3d_68": DEEP.T, "pt2d": np.ones((2, 21)), "Pose_Para": np.ones((1, 7))}, 0.5),
    "300W-LP": ({"pt2d": POINTS.T, "Shape_Para": np.ones((199, 1))}, 0.5),
    "300W-LP, landmarks": ({"pts_2d": POINTS + 9, "pts_3d": POINTS}, 0.5),
    "only pts_2d": ({"pts_2d": POINTS}, 0.5),
    "landmarks": ({"landmarks": POINTS}, 0.0),
    "points": ({"points": POINTS.T, "other": np.ones(3)}, 0.0),
}


@pytest.mark.parametrize("name", MATS)
def test_mat_files_count_from_one(tmp_path, name):
    content, shift = MATS[name]
    savemat(tmp_path / "a.mat", content)
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.mat"), POINTS - shift, atol=1e-3)


def test_the_readers_of_a_benchmark_and_of_landmark_files_agree(tmp_path):
    """Points of AFLW2000-3D as `evaluate` has them."""
    from facejax.evaluation.aflw2000 import read_aflw2000

    savemat(tmp_path / "a.mat", {"pt3d_68": DEEP.T, "pt2d": np.ones((2, 21)), "Pose_Para": np.zeros((1, 7))})
    (tmp_path / "a.jpg").touch()
    faces = read_aflw2000(tmp_path)
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.mat"), faces.points["68"][0], atol=1e-3)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"pt2d": np.ones((2, 21))}, r"21 points \(AFLW's\) are not read"),
        ({"Pose_Para": np.ones((1, 7))}, "holds Pose_Para, but none of pt3d_68, pt2d"),
        ({}, "holds nothing"),
        (b"MATLAB 7.3 MAT-file, Platform".ljust(124) + b"\x00\x02IM" + bytes(600), r"MATLAB's version 7\.3|cannot be"),
        (b"no mat", "cannot be read as landmarks"),
    ],
)
def test_other_mat_files_say_what_they_hold(tmp_path, content, said):
    if isinstance(content, bytes):
        (tmp_path / "a.mat").write_bytes(content)
    else:
        savemat(tmp_path / "a.mat", content)
    with pytest.raises(ValueError, match=said) as caught:
        read_landmarks(tmp_path / "a.mat")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("count", [5, 21, 29, 49, 51, 66, 67, 98, 106, 194, 468, 478])
@pytest.mark.parametrize("suffix", ["npy", "npz", "json", "pts", "txt", "csv", "mat", "ljson"])
def test_other_numbers_of_points_name_the_one_that_is_possible(tmp_path, count, suffix):
    points, path = np.random.default_rng(0).uniform(0, 99, (count, 2)), tmp_path / f"a.{suffix}"
    if suffix in ("npy", "npz"):
        {"npy": np.save, "npz": np.savez}[suffix](path, points)
    elif suffix == "mat":
        savemat(path, {"pt2d": points.T})
    elif suffix == "json":
        path.write_text(json.dumps(points.tolist()))
    elif suffix == "ljson":
        path.write_text(json.dumps({"version": 2, "landmarks": {"points": points.tolist()}}))
    else:
        rows = "\n".join(f"{x} {y}" for x, y in points)
        path.write_text(f"{{\n{rows}\n}}" if suffix == "pts" else rows)
    with pytest.raises(ValueError) as caught:
        read_landmarks(path)
    text = str(caught.value)
    assert f"({count}, 2), expected (68, 2) in the iBUG order: {count} points" in text
    assert text.endswith("give 68, or leave out --landmarks, and the face is found") and "\n" not in text


@pytest.mark.parametrize("shape", [(2, 68), (3, 68), (1, 68, 2), (68, 3)])
def test_points_may_lie_across(tmp_path, shape):
    points = DEEP if (3 in shape[:2] and shape[-1] == 68) or shape[-1] == 3 else POINTS
    np.save(tmp_path / "a.npy", points.T if shape[-1] == 68 else points.reshape(shape))
    np.testing.assert_allclose(read_landmarks(tmp_path / "a.npy"), POINTS, rtol=1e-6)


# --- menpo's groups ---------------------------------------------------------------------------------------------------


def ljson(**groups) -> str:
    """Version 3 of menpo's format, with the groups sorted by name as menpo writes them."""
    made = {
        name: {"labels": [], "landmarks": {"connectivity": [], "points": (points[:, ::-1] - 0.5).tolist()}}
        for name, points in sorted(groups.items())
    }
    return json.dumps({"version": 3, "groups": made})


OTHER = POINTS + 7.0


@pytest.mark.parametrize("suffix", [".ljson", ".json"])
@pytest.mark.parametrize(
    ("groups", "chosen", "wanted"),
    [
        ({"PTS": POINTS}, None, POINTS),
        ({"bb": POINTS[:4], "ibug68": POINTS}, None, POINTS),
        ({"aaa": POINTS[:51], "ibug68": POINTS, "zzz": POINTS[:5]}, None, POINTS),
        ({"a": OTHER, "b": POINTS}, "b", POINTS),
        ({"a": OTHER, "b": POINTS}, "a", OTHER),
        ({"a": OTHER, "b": POINTS[:4]}, "a", OTHER),
    ],
)
def test_the_only_group_of_68_points_is_read_or_the_chosen_one(tmp_path, suffix, groups, chosen, wanted):
    path = tmp_path / f"a{suffix}"
    path.write_text(ljson(**groups))
    np.testing.assert_allclose(read_landmarks(path, group=chosen), wanted, rtol=1e-6)


@pytest.mark.parametrize(
    ("groups", "chosen", "said"),
    [
        ({"a": POINTS, "b": POINTS}, None, r"several groups of 68 points: a, b; choose one with --landmark-group"),
        (
            {"bb": POINTS[:4], "five": POINTS[:5]},
            None,
            r"no group of 68 points, but bb \(4 points\), five \(5 points\)",
        ),
        ({"bb": POINTS[:4]}, None, r"\(4, 2\), expected \(68, 2\)"),
        ({"a": POINTS}, "b", r"no group b, but a \(68 points\)"),
        ({"a": POINTS, "bb": POINTS[:4]}, "bb", r"\(4, 2\), expected \(68, 2\)"),
    ],
)
def test_other_groups_are_named(tmp_path, groups, chosen, said):
    (tmp_path / "a.ljson").write_text(ljson(**groups))
    with pytest.raises(ValueError, match=said) as caught:
        read_landmarks(tmp_path / "a.ljson", group=chosen)
    assert "\n" not in str(caught.value)


def test_damaged_groups_and_missing_points_are_one_line(tmp_path):
    missing = ljson(a=POINTS).replace(str(POINTS[7, 0] - 0.5), "null", 1)
    broken = ['{"a": {}}', '{"a": null}', "[1]", '{"a": {"landmarks": 3}}', '{"a": {"landmarks": {"points": 3}}}']
    for text in [missing, *(f'{{"groups": {one}}}' for one in broken)]:
        (tmp_path / "a.ljson").write_text(text)
        with pytest.raises(ValueError, match=r"a\.ljson") as caught:
            read_landmarks(tmp_path / "a.ljson")
        assert "\n" not in str(caught.value)


def test_the_finder_of_a_run_reads_the_chosen_group(tmp_path):
    from facejax.export import write_png

    write_png(tmp_path / "a.png", np.full((200, 200, 3), 0.5, np.float32))
    (tmp_path / "a.ljson").write_text(ljson(a=OTHER, b=POINTS))
    for chosen, wanted in (("b", POINTS), (None, None)):
        finder = load_finder(landmarks=tmp_path, landmark_group=chosen, boxes=None, batch=1)
        faces, failures = finder.find_faces([photo_file(tmp_path / "a.png")])
        if wanted is None:
            assert "choose one with --landmark-group" in next(iter(failures.values()))
        else:
            np.testing.assert_allclose(faces[0].landmarks, wanted, rtol=1e-6)


def test_files_are_found_by_any_of_the_suffixes(tmp_path):
    for name in ("a.PTS", "b.csv", "c.mat", "d.txt", "e.LJSON"):
        (tmp_path / name).touch()
        assert find_landmarks(tmp_path, f"{name[0]}.jpg").name == name
    with pytest.raises(FileNotFoundError, match=r"add f\.pts \(or \.npy, .*\.mat, \.txt, \.csv\)"):
        find_landmarks(tmp_path, "f.jpg")


def test_a_row_of_136_numbers_and_named_coordinates_are_read(tmp_path):
    for shape in ((136,), (1, 136), (136, 1)):
        np.save(tmp_path / "row.npy", FLAT.reshape(shape))
        np.testing.assert_allclose(read_landmarks(tmp_path / "row.npy"), POINTS, rtol=1e-6)
    named = [{"x": x, "y": y, "z": 0.0} for x, y in POINTS]
    for content in (named, {"landmarks": named}):
        (tmp_path / "named.json").write_text(json.dumps(content))
        np.testing.assert_allclose(read_landmarks(tmp_path / "named.json"), POINTS, rtol=1e-6)


def test_arrays_that_hold_no_points_of_one_face_say_what_they_hold(tmp_path):
    np.save(tmp_path / "two.npy", np.stack([POINTS, POINTS]))
    with pytest.raises(ValueError, match="the landmarks of 2 faces: give those of one"):
        read_landmarks(tmp_path / "two.npy")
    np.save(tmp_path / "objects.npy", np.array({"a": POINTS}, object), allow_pickle=True)
    with pytest.raises(ValueError, match="holds Python objects, not numbers"):
        read_landmarks(tmp_path / "objects.npy")

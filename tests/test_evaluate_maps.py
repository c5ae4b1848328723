"""The script that holds skin maps to known skins: its figures on skins made up here, and what it refuses."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))

import evaluate_maps
from evaluate_maps import Args, Samples, correspond, groups, main, measure_photo, read_obj, tones

from facejax.export.obj import write_obj
from facejax.export.pictures import write_png
from facejax.lighting import linear_to_srgb, srgb_to_linear

RNG = np.random.default_rng(0)
SIDES = np.linspace(-60, 60, 400)
FACE = Samples(np.stack([SIDES, 0 * SIDES, 0 * SIDES], 1), np.tile([0.0, 0, 1], (400, 1)), np.zeros((400, 2)))
TRUE = 0.5 + 0.1 * RNG.random((400, 3))


def compare(*arguments: Any) -> dict[str, Any]:
    return dict(evaluate_maps.compare(*arguments))


def test_a_gain_is_forgiven_only_by_the_gained_figure():
    found = linear_to_srgb(srgb_to_linear(TRUE) * [0.5, 0.6, 0.7])
    figures = compare(found, TRUE, FACE, 0.0)
    assert figures["albedo"] == pytest.approx(10 * np.log10(1 / np.mean((found - TRUE) ** 2)))
    assert figures["gained"] > 100
    assert figures["left-right"] < 1e-6
    assert figures["dE"] > 5
    assert figures["ITA"] < -5


def test_light_left_in_a_map_is_the_difference_of_the_halves():
    found = TRUE + np.where(SIDES > 0, 0.02, -0.02)[:, None]
    assert compare(found, TRUE, FACE, 0.0)["left-right"] == pytest.approx(255 * 0.04, rel=0.05)


def test_what_the_picture_shows_turns_with_the_head():
    """Normals to the sides: a head turned by 50 degrees shows one side and hides the other."""
    normals = np.where(SIDES[:, None] > 0, [[1.0, 0, 0]], [[-1.0, 0, 0]])
    wrong = np.where(SIDES[:, None] > 0, TRUE + 0.1, TRUE)
    figures = [compare(wrong, TRUE, FACE._replace(normals=normals), yaw) for yaw in (50.0, -50.0)]
    assert [figure["albedo"] > 60 for figure in figures] == [True, False]
    assert [figure["hidden"] > 60 for figure in figures] == [False, False]
    assert compare(TRUE, TRUE, FACE, 0.0)["hidden"] is None


def test_a_moved_and_scaled_mesh_is_laid_back():
    x, y = RNG.uniform(-60, 60, (2, 6000))
    points = np.stack([x, y - 30, 50 - 0.01 * x**2 - 0.006 * (y - 5) ** 2 + 4 * np.sin(x / 9) * np.cos(y / 13)], 1)
    nearest = correspond(1.1 * points + [3.0, -7, 40], points)
    assert np.median(np.linalg.norm(points[nearest] - points, axis=1)) < 1.5


def test_groups_are_by_the_true_tone_and_by_training():
    dark, light = [30.0, 10, 12], [70.0, 12, 15]
    heads = [
        {"true_ITA": -59.0, "held_out": False, "lab_found": dark, "lab_true": dark},
        {"true_ITA": 53.0, "held_out": True, "lab_found": light, "lab_true": light},
    ]
    assert {name: len(some) for name, some in groups(heads).items()} == {
        "all": 2, "light": 1, "dark": 1, "trained": 1, "held out": 1,
    }  # fmt: skip
    found = tones(heads)
    assert found is not None and found.counts == {"light": 1, "dark": 1}


def test_an_obj_file_is_read_as_it_was_written(tmp_path):
    vertices, uv = RNG.random((4, 3)), RNG.random((5, 2))
    faces, uv_faces = np.array([[0, 1, 2], [0, 2, 3]]), np.array([[0, 1, 2], [4, 2, 3]])
    write_obj(tmp_path / "mesh.obj", vertices, faces, uv=uv, uv_faces=uv_faces)
    mesh = read_obj(tmp_path / "mesh.obj")
    np.testing.assert_allclose(mesh.vertices, vertices, atol=1e-4)
    np.testing.assert_allclose(mesh.uv, uv, atol=1e-5)
    np.testing.assert_array_equal(mesh.faces, faces)
    np.testing.assert_array_equal(mesh.uv_faces, uv_faces)
    write_obj(tmp_path / "bare.obj", vertices, faces)
    with pytest.raises(ValueError, match=r"bare\.obj: no triangles with texture coordinates"):
        read_obj(tmp_path / "bare.obj")


def test_folders_that_cannot_be_measured_are_refused(tmp_path):
    with pytest.raises(ValueError, match="none of its folders holds albedo"):
        main(Args(tmp_path))
    with pytest.raises(ValueError, match="belong together"):
        main(Args(tmp_path, truth=tmp_path))
    with pytest.raises(ValueError, match="no folder"):
        main(Args(tmp_path / "none"))
    write_png(tmp_path / "albedo.png", np.full((64, 64, 3), 0.5))
    assert measure_photo(tmp_path)["rim"] is None
    write_png(tmp_path / "trust.png", np.full((32, 32), 1.0))
    with pytest.raises(ValueError, match=r"trust.png: \(32, 32\) texels"):
        measure_photo(tmp_path)

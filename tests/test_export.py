"""Files out: meshes, parameters, pictures, summaries."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from PIL import Image

from facejax.camera import PerspectiveCamera, Pose, WeakPerspectiveCamera
from facejax.export import (
    alpha_over,
    atomic_path,
    bake_vertex_colors,
    draw_landmarks,
    load_params,
    panels,
    save_params,
    to_uint8,
    versions,
    write_obj,
    write_png,
    write_summary,
)
from facejax.face_model.model import FaceParams

RNG = np.random.default_rng(0)
VERTICES = np.array([[0, 0, 0], [90, 0, 0], [90, 120, 5], [0, 120, 5]], float) + 0.1234
FACES = np.array([[0, 1, 2], [0, 2, 3]])
UV = np.array([[0.1, 0.2], [0.9, 0.2], [0.9, 0.8], [0.1, 0.8], [0.5, 0.5]])
UV_FACES = np.array([[0, 1, 2], [0, 2, 3]])


def read_obj(path: Path):
    """A reader of its own: positions, uv, and (F, 3, 2) zero-based corners."""
    lines = [line.split() for line in path.read_text().splitlines()]
    numbers = {tag: np.array([[float(x) for x in line[1:]] for line in lines if line[0] == tag]) for tag in ("v", "vt")}
    corners = [[[int(i) - 1 for i in corner.split("/")] for corner in line[1:]] for line in lines if line[0] == "f"]
    return numbers["v"], numbers["vt"], np.array(corners), lines


# --- atomic -----------------------------------------------------------------------------------------------------------


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("half of the n")
        raise RuntimeError
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_written_files_have_ordinary_permissions(tmp_path):
    write_summary(tmp_path / "new" / "a.json", {})
    (tmp_path / "plain").write_text("")
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new" / "a.json", tmp_path / "plain")]
    assert modes[0] == modes[1]


# --- OBJ --------------------------------------------------------------------------------------------------------------


def test_obj_reads_back_as_written(tmp_path):
    texture = RNG.uniform(size=(16, 16, 3))
    written = write_obj(tmp_path / "mesh.obj", VERTICES, FACES, uv=UV, uv_faces=UV_FACES, texture=texture)
    assert [path.name for path in written] == ["albedo.png", "mesh.mtl", "mesh.obj"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["albedo.png", "mesh.mtl", "mesh.obj"]
    vertices, uv, corners, lines = read_obj(tmp_path / "mesh.obj")
    np.testing.assert_allclose(vertices, VERTICES, atol=5e-5)
    np.testing.assert_allclose(uv, UV, atol=1e-6)
    np.testing.assert_array_equal(corners[..., 0], FACES)
    np.testing.assert_array_equal(corners[..., 1], UV_FACES)
    assert ["mtllib", "mesh.mtl"] in lines and ["usemtl", "face"] in lines
    material = [line.split() for line in (tmp_path / "mesh.mtl").read_text().splitlines()]
    assert material[0] == ["newmtl", "face"] and ["map_Kd", "albedo.png"] in material
    stored = np.asarray(Image.open(tmp_path / "albedo.png"))
    np.testing.assert_array_equal(stored, np.rint(texture * 255))


def test_obj_loads_in_trimesh_with_its_texture(tmp_path):
    write_obj(tmp_path / "mesh.obj", VERTICES, FACES, uv=UV[:4], texture=np.ones((4, 4, 3)) * [1, 0, 0])
    mesh: Any = trimesh.load_mesh(tmp_path / "mesh.obj")
    np.testing.assert_allclose(mesh.area, 2 * trimesh.Trimesh(VERTICES, FACES[:1]).area, rtol=1e-5)
    assert mesh.visual.to_color().vertex_colors[0, :3].tolist() == [255, 0, 0]


def test_plain_obj_and_float32_jax_arrays(tmp_path):
    write_obj(tmp_path / "m.obj", jnp.asarray(VERTICES, jnp.float32), jnp.asarray(FACES), comment="neutral")
    vertices, _, corners, lines = read_obj(tmp_path / "m.obj")
    np.testing.assert_allclose(vertices, VERTICES, atol=1e-4)
    assert corners.shape == (2, 3, 1) and ["#", "neutral"] in lines and not (tmp_path / "m.mtl").exists()


def test_obj_refuses_what_would_not_load(tmp_path):
    path, broken = tmp_path / "m.obj", VERTICES.copy()
    broken[1, 2] = np.nan
    with pytest.raises(ValueError, match="1 vertices are not finite"):
        write_obj(path, broken, FACES)
    with pytest.raises(ValueError, match=r"faces point outside 0\.\.3"):
        write_obj(path, VERTICES, FACES + 2)
    with pytest.raises(ValueError, match="pass uv_faces"):
        write_obj(path, VERTICES, FACES, uv=UV)
    with pytest.raises(ValueError, match="needs uv"):
        write_obj(path, VERTICES, FACES, texture=np.ones((4, 4, 3)))
    assert not any(tmp_path.iterdir())


# --- parameters -------------------------------------------------------------------------------------------------------


def some_params(camera) -> FaceParams:
    rng = np.random.default_rng(1)

    def floats(*shape):
        return jnp.asarray(rng.normal(size=shape), jnp.float32)

    return FaceParams(
        floats(7),
        floats(5),
        {"latents": floats(2, 3), "details": floats(4)},
        Pose(floats(4), floats(3)),
        camera,
        floats(9, 3),
    )


@pytest.mark.parametrize(
    "camera",
    [
        PerspectiveCamera(jnp.asarray(1015.3), jnp.asarray([112.1, 111.7])),
        WeakPerspectiveCamera(jnp.asarray(0.73), jnp.asarray([60.0, 60.5])),
    ],
)
def test_params_come_back_exactly(tmp_path, camera):
    params = some_params(camera)
    save_params(tmp_path / "params.npz", params, "default")
    loaded, name, appearance = load_params(tmp_path / "params.npz")
    assert (name, appearance) == ("default", "linear") and type(loaded.camera) is type(camera)
    assert list(loaded.appearance) == ["latents", "details"]
    for field in ("identity", "expression", "appearance", "light"):
        jax.tree.map(np.testing.assert_array_equal, getattr(loaded, field), getattr(params, field))
    np.testing.assert_array_equal(loaded.pose.rotation, params.pose.rotation)
    np.testing.assert_array_equal(loaded.pose.translation, params.pose.translation)
    np.testing.assert_array_equal(loaded.camera.principal, camera.principal)
    first = "focal" if camera.perspective else "scale"
    np.testing.assert_array_equal(getattr(loaded.camera, first), getattr(camera, first))


def test_wrong_parameter_files_say_what_is_wrong(tmp_path):
    path = tmp_path / "params.npz"
    save_params(path, some_params(WeakPerspectiveCamera(jnp.asarray(1.0), jnp.zeros(2))), "default")
    with np.load(path) as file:
        arrays: dict[str, Any] = {name: file[name] for name in file.files}
    write: Any = np.savez
    write(tmp_path / "schema.npz", **(arrays | {"schema": np.array("other")}))
    write(tmp_path / "version.npz", **(arrays | {"version": np.array(9)}))
    write(tmp_path / "lacks.npz", **{key: value for key, value in arrays.items() if key != "light"})
    np.savez(tmp_path / "none.npz", x=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "cut.npz").write_bytes(path.read_bytes()[:200])
    for name, message in [
        ("schema.npz", "has schema 'other'"),
        ("version.npz", "has version 9, this library reads 1"),
        ("lacks.npz", "lacks the array 'light'"),
        ("none.npz", "has schema 'none'"),
        ("array.npy", "not a parameter file"),
        ("cut.npz", "not a parameter file"),
    ]:
        with pytest.raises(ValueError, match=message) as caught:
            load_params(tmp_path / name)
        assert name in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such parameter file"):
        load_params(tmp_path / "gone.npz")


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_to_uint8_rounds_clips_and_survives_nan():
    values = np.array([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 7.0, np.nan, np.inf])
    np.testing.assert_array_equal(to_uint8(values), [0, 0, 0, 1, 255, 255, 0, 255])


def test_png_keeps_colours_masks_and_alpha(tmp_path):
    for image in (RNG.uniform(size=(5, 7, 3)), RNG.uniform(size=(5, 7)), RNG.uniform(size=(5, 7, 4))):
        write_png(tmp_path / "a.png", image)
        np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), to_uint8(image))


def test_alpha_over_blends_by_coverage():
    front, back = np.full((2, 2, 3), 0.8), np.full((2, 2, 3), 0.2)
    result = alpha_over(front, back, np.array([[0.0, 1.0], [0.5, 2.0]]))
    np.testing.assert_allclose(result[..., 0], [[0.2, 0.8], [0.5, 0.8]], atol=1e-6)


def test_dots_are_centred_on_their_points():
    black = np.zeros((40, 60, 3))
    for point in ([10.0, 20.0], [33.5, 7.5], [20.3, 30.8]):
        green = draw_landmarks(black, np.array([point]), color=(0.0, 1.0, 0.0), radius=3.0)[..., 1]
        rows, columns = np.indices(green.shape) + 0.5
        centre = np.array([(green * columns).sum(), (green * rows).sum()]) / green.sum()
        np.testing.assert_allclose(centre, point, atol=0.03)
        np.testing.assert_allclose(green.sum(), np.pi * 9, rtol=0.05)
    assert not black.any()


def test_dots_beyond_the_border_or_not_finite_do_no_harm():
    points = np.array([[-100.0, 5.0], [0.0, 0.0], [1e7, 1e7], [np.nan, 3.0], [59.9, 39.9]])
    assert np.isfinite(draw_landmarks(np.zeros((40, 60, 3)), points)).all()


def test_panels_stand_side_by_side_under_their_captions():
    red, blue = np.ones((20, 30, 3)) * [1, 0, 0], np.ones((40, 20, 3)) * [0, 0, 1]
    sheet = panels([red, blue], ["photo", "a caption far too long for this panel"], gap=4)
    assert sheet.shape == (40 + 22, 60 + 4 + 20, 3)
    np.testing.assert_allclose(sheet[30, 5], [1, 0, 0], atol=0.01)
    np.testing.assert_allclose(sheet[30, 70], [0, 0, 1], atol=0.01)
    np.testing.assert_allclose(sheet[30, 62], 1.0)
    assert sheet[:22, :60].min() < 0.5  # there is ink
    assert panels([red, red]).shape == (20, 64, 3)
    with pytest.raises(ValueError, match="1 captions for 2 images"):
        panels([red, blue], ["one"])


def test_baked_colours_are_the_interpolation_at_texel_centres():
    """Colours linear in uv: every covered texel must hold its own centre's coordinates, row 0 at v = 1."""
    size = 64
    colors = np.c_[UV[:4], np.zeros(4)]
    texture = bake_vertex_colors(colors, FACES, UV, UV_FACES, size, padding=3)
    rows, columns = np.indices((size, size)) + 0.5
    u, v = columns / size, 1 - rows / size
    covered = (u > 0.1) & (u < 0.9) & (v > 0.2) & (v < 0.8)
    np.testing.assert_allclose(texture[covered], np.stack([u, v, 0 * u], -1)[covered], atol=1e-6)
    assert texture[32, 4, 0] == texture[32, 6, 0]  # two texels beyond the chart: continued
    np.testing.assert_allclose(texture[0, 0], texture[covered].mean(axis=0), atol=1e-3)  # far from it: the mean


def test_baking_ignores_triangles_without_area_and_out_of_the_square():
    faces = np.array([[0, 1, 2], [0, 0, 1], [0, 1, 2]])
    uv = np.array([[0.1, 0.1], [0.6, 0.1], [0.1, 0.6], [5.0, 5.0], [6.0, 5.0], [5.0, 6.0]])
    texture = bake_vertex_colors(np.ones((3, 3)) * 0.25, faces, uv, np.array([[0, 1, 2], [0, 0, 1], [3, 4, 5]]), 32)
    np.testing.assert_allclose(texture, 0.25)
    with pytest.raises(ValueError, match="covers a texel"):
        bake_vertex_colors(np.ones((3, 3)), faces[:1], uv, np.array([[3, 4, 5]]), 32)


def test_a_baked_texture_samples_to_the_vertex_colours(shared):
    """ICT's face uv: the bilinear value at each inner vertex's uv is that vertex's colour (smooth in space)."""
    with np.load(shared / "ict" / "ict_facekit.npz") as file:
        vertices, uv = file["vertices"], file["uv"]
        start, stop = file["part_face_ranges"][list(file["part_names"]).index("Face")]
        chosen = (file["tri_source_face"] >= start) & (file["tri_source_face"] < stop)
        faces, uv_faces = file["faces_tri"][chosen], file["faces_tri_uv"][chosen]
    colors = 0.5 + 0.4 * np.sin(vertices / 4.0)
    size = 512
    texture = bake_vertex_colors(colors, faces, uv, uv_faces, size)
    where = uv[uv_faces.ravel()]
    x, y = np.clip(where[:, 0] * size - 0.5, 0, size - 1.001), np.clip((1 - where[:, 1]) * size - 0.5, 0, size - 1.001)
    i, j = y.astype(int), x.astype(int)
    fy, fx = (y - i)[:, None], (x - j)[:, None]
    top = texture[i, j] * (1 - fx) + texture[i, j + 1] * fx
    sampled = top * (1 - fy) + (texture[i + 1, j] * (1 - fx) + texture[i + 1, j + 1] * fx) * fy
    error = np.abs(sampled - colors[faces.ravel()]).max(axis=1)
    assert np.median(error) < 0.01 and np.quantile(error, 0.98) < 0.05


# --- summary ----------------------------------------------------------------------------------------------------------


def test_summary_is_strict_json_of_plain_numbers(tmp_path):
    content = {
        "image": Path("photos") / "ä.jpg",
        "landmarks68": jnp.ones((2, 2)),
        "psnr_face": np.float32(22.5),
        "losses": {"coarse": [np.float64(1.0), float("nan"), jnp.inf], 3: (True, None, np.bool_(False))},
        "count": np.int64(3),
        "camera": PerspectiveCamera(jnp.asarray(2.0), jnp.zeros(2)),
    }
    write_summary(tmp_path / "summary.json", content)

    def refuse(name):
        raise AssertionError(name)

    loaded = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"), parse_constant=refuse)
    assert loaded["image"] == str(Path("photos") / "ä.jpg") and loaded["landmarks68"] == [[1.0, 1.0], [1.0, 1.0]]
    assert loaded["psnr_face"] == 22.5 and loaded["count"] == 3
    assert loaded["camera"] == {"focal": 2.0, "principal": [0.0, 0.0]}
    assert loaded["losses"] == {"coarse": [1.0, None, None], "3": [True, None, False]}


def test_summary_names_what_it_cannot_write(tmp_path):
    with pytest.raises(TypeError, match=r"summary\.a\[1\]: a set has no JSON form"):
        write_summary(tmp_path / "s.json", {"a": [1, {2}]})
    assert not any(tmp_path.iterdir())


def test_versions_name_what_ran():
    found = versions()
    assert set(found) == {"python", "jax", "numpy", "facejax", "device"}
    assert found["numpy"] == np.__version__ and found["device"].startswith("cpu")

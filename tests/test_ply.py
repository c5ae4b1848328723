"""PLY files, read back by another library."""

from typing import Any

import numpy as np
import pytest
import trimesh
from toy import toy_model

from facejax.export import write_ply
from facejax.mesh import vertex_normals

RNG = np.random.default_rng(0)
FACES = np.array([[0, 1, 2], [0, 2, 3]])


def read(path) -> Any:
    return trimesh.load_mesh(path, process=False)


def test_colours_are_at_their_vertices(tmp_path):
    model = toy_model()
    vertices, colors = np.asarray(model.mean), RNG.uniform(-0.1, 1.1, model.mean.shape)
    normals = np.asarray(vertex_normals(model.mean, model.faces))
    path = write_ply(tmp_path / "a.ply", model.mean, model.faces, colors=colors, normals=normals)
    mesh = read(path)
    np.testing.assert_array_equal(mesh.vertices, vertices)
    np.testing.assert_array_equal(mesh.faces, model.faces)
    np.testing.assert_array_equal(mesh.visual.vertex_colors[:, :3], np.rint(255 * np.clip(colors, 0, 1)))
    stored = mesh.metadata["_ply_raw"]["vertex"]["data"]  # of its own normals it thinks more
    np.testing.assert_array_equal(np.stack([stored["nx"], stored["ny"], stored["nz"]], axis=1), normals)
    assert path.read_bytes().startswith(b"ply\nformat binary_little_endian 1.0\ncomment unit: millimetre\n")
    assert [one.name for one in tmp_path.iterdir()] == ["a.ply"]


def test_a_bare_mesh_and_comments(tmp_path):
    points = RNG.normal(size=(4, 3))
    write_ply(tmp_path / "a.ply", points, FACES, comment="unit: metre\nneutral")
    mesh = read(tmp_path / "a.ply")
    np.testing.assert_allclose(mesh.vertices, points, rtol=1e-6)
    assert mesh.visual.kind is None and b"comment unit: metre\ncomment neutral\n" in (tmp_path / "a.ply").read_bytes()


def test_vertices_on_a_seam_are_written_for_each_of_their_coordinates(tmp_path):
    """The diagonal of a square is a seam: its two corners come twice."""
    points = np.array([[0, 0, 0], [90, 0, 0], [90, 90, 0], [0, 90, 0]], float)
    uv, uv_faces = RNG.uniform(size=(6, 2)), np.array([[0, 1, 2], [3, 4, 5]])
    write_ply(tmp_path / "a.ply", points, FACES, uv=uv, uv_faces=uv_faces)
    mesh = read(tmp_path / "a.ply")
    assert len(mesh.vertices) == 6
    np.testing.assert_allclose(mesh.visual.uv[mesh.faces], uv[uv_faces], atol=1e-6)
    np.testing.assert_array_equal(mesh.vertices[mesh.faces], points[FACES])
    colors = np.eye(4)[:, :3]
    write_ply(tmp_path / "b.ply", points, FACES, uv=uv[:4], colors=colors)
    mesh = read(tmp_path / "b.ply")
    np.testing.assert_array_equal(mesh.vertices, points)
    assert b"property uchar red" in (tmp_path / "b.ply").read_bytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": np.full((4, 3), np.inf)}, "x.ply: vertices are not finite"),
        ({"faces": FACES + 1}, r"x.ply: faces point outside 0\.\.3"),
        ({"colors": np.zeros((3, 3))}, "3 rows of red green blue for 4 vertices"),
        ({"normals": np.zeros((5, 3))}, "5 rows of nx ny nz for 4 vertices"),
        ({"uv": np.zeros((5, 2))}, "5 uv rows for 4 vertices: pass uv_faces"),
    ],
)
def test_what_would_not_load_is_refused(tmp_path, changes, message):
    arguments: Any = {"vertices": np.zeros((4, 3)), "faces": FACES} | changes
    with pytest.raises(ValueError, match=message):
        write_ply(tmp_path / "x.ply", **arguments)
    assert not list(tmp_path.iterdir())

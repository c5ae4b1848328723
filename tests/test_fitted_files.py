"""The folder of a fitted face: models with and without a texture layout, and colours at the right vertices."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from scipy.interpolate import RegularGridInterpolator
from scipy.spatial import KDTree
from toy import toy_model
from trimesh.visual.color import uv_to_color

from facejax.appearance import own_appearance
from facejax.camera import PerspectiveCamera, Pose
from facejax.export.fitted import FILES, write_fitted_face
from facejax.face_model import (
    FaceModel,
    LinearAlbedo,
    decode,
    decode_albedo,
    make_face_model,
    neutral_params,
    neutral_vertices,
    own_albedo,
)
from facejax.face_model.texture_layout import outward, with_layout
from facejax.fitting import LANDMARKS, FittedFaces, Ingredients
from facejax.fitting.scene import project_landmarks

PHOTO = np.full((64, 64, 3), 0.5, np.float32)


def waves(mean: np.ndarray) -> np.ndarray:
    """Colours that are smooth in space."""
    return 0.5 + 0.4 * np.sin(mean / 25 + np.array([0.0, 1.0, 2.0]))


def bare_model() -> FaceModel:
    """The toy without texture coordinates, coloured at its vertices."""
    model = toy_model()
    colors = waves(np.asarray(model.mean)).astype(np.float32)
    albedo = LinearAlbedo(jnp.asarray(colors), jnp.full((1, *colors.shape), 0.1), jnp.ones(1))
    topology = dataclasses.replace(model.topology, uv_faces=model.faces)
    return dataclasses.replace(model, albedo=albedo, uv=jnp.zeros((len(colors), 2)), topology=topology)


def fitted(model: FaceModel) -> FittedFaces:
    """What a fit returns of one face."""
    rng = np.random.default_rng(0)
    camera = PerspectiveCamera(jnp.asarray(200.0), jnp.full(2, 32.0))
    params = neutral_params(model, camera, distance=1000.0)
    params = dataclasses.replace(
        params,
        identity=jnp.asarray(rng.normal(size=6), jnp.float32),
        expression=jnp.array([0.5, 0.0, 1.0]),
        appearance={"albedo": jnp.ones(own_albedo(model).count)},
        pose=Pose(params.pose.rotation, jnp.array([5.0, 0.0, -1000.0])),
    )
    points = project_landmarks(model, params, jnp.asarray(False))
    yes, none = jnp.asarray(True), {}
    return FittedFaces(params, points, yes, jnp.asarray(20.0), none, none, none, none, yes, none)


def write(folder, model, files, **options):
    face = fitted(model)
    observed = np.asarray(face.landmarks)
    about: dict[str, Any] = {"recipe": LANDMARKS, "ingredients": Ingredients(), "image": "a.jpg", "seconds": {}}
    about |= {"photo": PHOTO} | options
    write_fitted_face(folder, model, own_appearance(model), face, observed=observed, files=files, **about)
    return face.params


@pytest.fixture(scope="module", params=["map", "vertices"])
def written(request, tmp_path_factory):
    model = toy_model() if request.param == "map" else bare_model()
    folder = tmp_path_factory.mktemp("face")
    return folder, model, write(folder, model, ("mesh", "glb", "neutral", "params", "ply"))


def albedo_at_vertices(model, params) -> np.ndarray:
    """By scipy: linear between the texels' centres of a map, the border's texel beyond them."""
    albedo = np.clip(np.asarray(decode_albedo(model, params)), 0, 1)
    if albedo.ndim == 2:
        return albedo
    side = len(albedo)
    centres = (np.arange(side) + 0.5) / side
    look = RegularGridInterpolator((centres, centres), albedo)
    u, v = np.asarray(model.uv, np.float64).T  # of this model, a row for each vertex
    return look(np.clip(np.stack([1 - v, u], axis=1), centres[0], centres[-1]))


def test_every_file_is_there_and_ply_only_when_asked_for(written, tmp_path):
    folder, model, _ = written
    names = {"face.glb", "mesh.obj", "mesh.mtl", "albedo.png", "neutral.obj", "params.npz", "mesh.ply"}
    assert {path.name for path in folder.iterdir()} == names | {"summary.json"}
    assert "ply" not in FILES
    write(tmp_path, model, ("ply",))
    assert {path.name for path in tmp_path.iterdir()} == {"mesh.ply", "summary.json"}
    assert (tmp_path / "mesh.ply").read_bytes() == (folder / "mesh.ply").read_bytes()


def test_the_ply_has_the_models_vertices_with_their_albedo(written):
    folder, model, params = written
    mesh: Any = trimesh.load_mesh(folder / "mesh.ply", process=False)
    np.testing.assert_allclose(mesh.vertices, np.asarray(decode(model, params)), atol=1e-4)  # mm; another program
    np.testing.assert_array_equal(mesh.faces, model.faces)
    wanted = albedo_at_vertices(model, params)
    assert np.std(wanted, axis=0).min() > 0.05
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3] / 255, wanted, atol=0.51 / 255)


@pytest.mark.parametrize("name", ["mesh.obj", "face.glb"])
def test_the_textured_files_open_with_the_albedo_where_it_belongs(written, name):
    folder, model, params = written
    mesh: Any = trimesh.load_mesh(folder / name, process=False)
    if name.endswith("obj"):
        points, place, image = decode(model, params), mesh.vertices, mesh.visual.material.image
    else:
        points, place = neutral_vertices(model, params), np.asarray(mesh.vertices) * 1000
        image = mesh.visual.material.baseColorTexture
    distance, vertex = KDTree(np.asarray(points)).query(place)
    assert distance.max() < 1e-3 and len(np.unique(vertex)) > 0.9 * len(model.mean)
    seen = uv_to_color(mesh.visual.uv, image)[:, :3] / 255  # the nearest texel
    error = np.abs(seen - albedo_at_vertices(model, params)[vertex])
    assert np.median(error) < 0.025 and np.quantile(error, 0.95) < 0.12


def test_a_model_with_a_layout_keeps_it():
    model = toy_model()
    assert with_layout(model) is model


def test_the_cylinder_is_cut_at_the_back_and_shows_the_front_in_the_middle():
    ball = trimesh.creation.icosphere(subdivisions=3, radius=100.0)
    mean, faces = np.asarray(ball.vertices) * [0.7, 1.0, 0.9], np.asarray(ball.faces)
    still = {"identity_basis": np.zeros((0, len(mean), 3)), "identity_std": np.zeros(0)}
    found = with_layout(make_face_model("ball", mean, faces, **still))
    uv, corners = np.asarray(found.uv), np.asarray(found.topology.uv_faces)
    assert uv.min() >= 0 and uv.max() <= 1 and np.ptp(uv, axis=0).min() > 0.9
    height = mean[faces][..., 1]
    rim = np.abs(height).max(axis=1) < 90  # not at the poles
    assert np.ptp(uv[corners[rim]][..., 0], axis=1).max() < 0.2  # none runs around the head
    assert np.corrcoef(uv[corners][..., 1].ravel(), height.ravel())[0, 1] > 0.9999
    front = (np.abs(mean[faces][..., 0]) < 1) & (mean[faces][..., 2] > 30)
    np.testing.assert_allclose(uv[corners[front]][:, 0], 0.5, atol=1e-3)
    left = (mean[faces][..., 0] > 20) & rim[:, None]  # the subject's left lies to the right
    assert (uv[corners[left]][:, 0] > 0.5).all()
    assert len(mean) < len(uv) < 1.1 * len(mean)  # what lies at the cut comes twice, and nothing else
    a, b, c = (uv[corners[rim]][:, k] for k in range(3))
    area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (area > 0).all()  # nothing is folded over or mirrored


def test_of_triangles_over_each_other_the_outermost_is_painted_last():
    model = bare_model()
    mean, faces = np.asarray(model.mean), np.asarray(model.faces)
    both = jnp.asarray(np.concatenate([faces, faces + len(mean)]))
    topology = dataclasses.replace(model.topology, faces=both)
    double = dataclasses.replace(model, mean=jnp.asarray(np.concatenate([mean, 0.5 * mean])), topology=topology)
    order = outward(double)
    assert sorted(order) == list(range(len(both)))
    rank = np.argsort(order)
    assert (rank[: len(faces)] > rank[len(faces) :]).all()

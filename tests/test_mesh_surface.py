"""MediaPipe's mesh on the default head: the shipped map, and what a fit sees through it."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import facejax
from facejax import camera as cam
from facejax.face_model import FaceParams, decode, neutral_params
from facejax.face_model.load import load_face_model
from facejax.face_model.surface_landmarks import landmarks
from facejax.fitting.landmarks import box_size
from facejax.fitting.surface_points import project_points
from facejax.ingredients import SEERS
from facejax.mesh import points_on_faces
from facejax.regression import mesh_surface
from facejax.regression.mesh_points import INNER, MESH_INDEX, FaceMesh, MeshView
from facejax.regression.mesh_surface import (
    MeshMap,
    MeshSight,
    agreement,
    facing,
    head_yaw,
    level_eyes,
    load_mesh_map,
    mesh_seer,
    see_surface,
)

SIDE = 224
LENS = cam.PerspectiveCamera(jnp.float32(1000.0), jnp.full(2, SIDE / 2))


@cache
def head():
    return load_face_model()


def turned(pitch=0.0, yaw=0.0, roll=0.0) -> FaceParams:
    pose = cam.Pose(cam.euler_to_quaternion(jnp.array([pitch, yaw, roll])), jnp.array([0.0, 0.0, -1000.0]))
    return replace(neutral_params(head(), LENS), pose=pose)


def marks_of(params: FaceParams):
    points = landmarks(head(), decode(head(), params))
    return cam.project(params.camera, cam.to_camera(params.pose, points))[:, :2]


def places(where: MeshMap):
    return np.asarray(points_on_faces(head().mean, head().faces, where.faces, where.barycentric))


# --- the shipped map --------------------------------------------------------------------------------------------------


def test_the_map_agrees_with_the_landmarks_that_both_name():
    """The mesh's nose and eyes lie where ours do. On the lips and brows it has its points elsewhere along the line."""
    own = np.asarray(landmarks(head(), head().mean))[INNER:]
    apart = np.linalg.norm(places(load_mesh_map())[list(MESH_INDEX)] - own, axis=1)
    assert apart[10:31].max() < 6 and np.median(apart[10:31]) < 2.5
    assert apart[31:].max() < 8 and np.median(apart[31:]) < 5
    assert apart[:10].max() < 10


def test_the_map_is_symmetric_and_on_the_skin():
    where = load_mesh_map()
    points = places(where)
    away = np.linalg.norm(points[:, None] * [-1, 1, 1] - points[None], axis=-1).min(axis=1)
    assert away.max() < 1.5
    assert (np.asarray(head().topology.face_part)[where.faces] == 0).all()
    assert np.asarray(where.barycentric).min() > 0
    np.testing.assert_allclose(np.asarray(where.barycentric).sum(axis=1), 1, atol=1e-5)


def test_the_noise_grows_with_the_yaw_and_towards_the_outline():
    where = load_mesh_map()
    front, width = np.asarray(where.noise)[len(where.yaws) // 2], np.abs(places(where)[:, 0])
    assert front.min() > 0.005 and front.max() < 0.08
    assert np.median(front[width > 60]) > 1.3 * np.median(front[width < 30])
    assert np.median(where.noise[0]) > 1.2 * np.median(front) and np.median(where.noise[-1]) > 1.2 * np.median(front)
    np.testing.assert_allclose(where.at(jnp.float32(0.0))[1], front, rtol=1e-6)
    between = (np.asarray(where.noise)[-2] + front) / 2
    np.testing.assert_allclose(where.at(where.yaws[-2] / 2)[1], between, rtol=1e-5)


# --- what it sees -----------------------------------------------------------------------------------------------------


def sees(params: FaceParams, monkeypatch, *, face=5.0, moved=0.0):
    """What the seer tells when the net misses every point by the map's own shift."""
    where, marks = load_mesh_map(), marks_of(params)
    size, level = box_size(marks), level_eyes(marks)
    plain = project_points(head(), params, mesh_surface.SurfacePoints(where.faces, where.barycentric, *[None] * 2))  # type: ignore[arg-type]
    shift = where.at(head_yaw(params))[0]
    seen = plain + size * jnp.linalg.solve(level, shift.T).T + moved * size
    view = MeshView(seen[None], jnp.full(1, face))
    monkeypatch.setattr(mesh_surface, "see_mesh", lambda *_: view)
    found = see_surface(MeshSight(FaceMesh({}), where), head(), params, jnp.zeros((SIDE, SIDE, 3)), marks).points
    assert found is not None
    return found, plain


@pytest.mark.parametrize("degrees", [(0.0, 0.0, 0.0), (8.0, 20.0, 15.0), (-5.0, -25.0, -30.0)])
def test_the_maps_own_misses_are_taken_out(degrees, monkeypatch):
    found, plain = sees(turned(*degrees), monkeypatch)
    np.testing.assert_allclose(found.pixels, plain, atol=0.02)


def test_weights_sum_to_one_in_front_and_fade_with_the_yaw(monkeypatch):
    sums = {yaw: float(sees(turned(yaw=yaw), monkeypatch)[0].weights.sum()) for yaw in (0.0, 20.0, 27.0, 50.0, -50.0)}
    assert 0.9 < sums[0.0] <= 1.0001 and sums[0.0] > sums[20.0] > sums[27.0] > 0
    assert sums[50.0] == sums[-50.0] == 0


def test_points_on_the_far_side_do_not_count(monkeypatch):
    params = turned(yaw=25.0)
    found, _ = sees(params, monkeypatch)
    cosine = np.asarray(facing(head(), params, found.faces))
    assert (np.asarray(found.weights)[cosine < 0.1] == 0).all() and (cosine < 0.1).sum() > 5
    x = places(load_mesh_map())[:, 0]
    assert found.weights[x > 40].sum() < found.weights[x < -40].sum()  # its right cheek faces the camera


def test_nothing_counts_without_a_face_or_where_it_is_another(monkeypatch):
    assert float(sees(turned(), monkeypatch, face=-1.0)[0].weights.sum()) == 0
    assert float(sees(turned(), monkeypatch, moved=0.5)[0].weights.sum()) == 0
    assert float(agreement(jnp.zeros((468, 2)), jnp.ones((68, 2)) * jnp.arange(68.0)[:, None])) == 0


def test_a_recipe_names_it_and_no_other_model_has_it():
    seer = SEERS["face_mesh"]()
    assert seer is mesh_seer() and seer.model == head().name


def test_the_real_net_sees_a_rendered_head():
    params = turned(yaw=10.0)
    picture = facejax.render(head(), params, size=(SIDE, SIDE)).color
    seen = jax.jit(mesh_seer().apply)(mesh_seer().weights, head(), params, picture, marks_of(params)).points
    plain = project_points(head(), params, seen)
    away = np.linalg.norm(np.asarray(seen.pixels - plain), axis=1) / float(box_size(marks_of(params)))
    assert float(seen.weights.sum()) > 0.6 and np.average(away, weights=np.asarray(seen.weights)) < 0.03

"""The direction of the eyes: turned eyeballs, lids that follow, and angles from what a network sees."""

import json
import struct
from dataclasses import replace
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from scipy.spatial.transform import Rotation
from toy import toy_model

import facejax.camera as cam
from facejax.api import fit
from facejax.export import load_params, save_params
from facejax.export.fitted import describe_gaze, write_face_glb
from facejax.face_model import (
    FaceModel,
    FaceParams,
    gaze_direction,
    gaze_to_weights,
    landmarks,
    neutral_params,
    neutral_vertices,
    truncate,
    weights_to_gaze,
)
from facejax.face_model import decode as plain_decode
from facejax.face_model.gaze import (
    USUAL,
    direction_gaze,
    find_eyeballs,
    full_angles,
    gaze_rotation,
    has_eyeballs,
    lids_following,
    look_rows,
    shapes_turn_eyeballs,
)
from facejax.face_model.load import load_face_model
from facejax.fitting import LANDMARKS, LINEAR, FeatureNetwork, Ingredients, fit_crops, prepare_crops
from facejax.fitting.gaze import RIM, SeenEyes, aim, solve_gaze
from facejax.ingredients import ingredients_for
from facejax.programs import jit
from facejax.regression.iris_points import eye_square, see_eyes
from facejax.rendering import render
from facejax.unwrap import add_eyeballs
from facejax.viewer.results import changed

RNG = np.random.default_rng(5)
SIDE = 256
decode, neutral = jit(plain_decode), jit(neutral_vertices)
GAZE = np.deg2rad(np.array([[14.0, -7.0], [12.0, -6.0]], np.float32))


@cache
def head():
    return truncate(load_face_model(), identity=10)


def face(gaze=None, degrees=(4.0, -12.0, 3.0), seed=0) -> FaceParams:
    """A known face in a picture of `SIDE` pixels."""
    rng = np.random.default_rng(seed)
    camera = cam.PerspectiveCamera(jnp.float32(4.0 * SIDE), jnp.full(2, SIDE / 2, jnp.float32))
    pose = cam.Pose(cam.euler_to_quaternion(jnp.array(degrees)), jnp.array([3.0, -20.0, -1300.0]))
    identity = jnp.asarray(rng.normal(0, 0.7, 10), jnp.float32)
    params = replace(neutral_params(head(), camera), pose=pose, identity=identity)
    return replace(params, gaze=None if gaze is None else jnp.asarray(gaze, jnp.float32))


def rows() -> np.ndarray:
    """Positions of the eyeLook blendshapes."""
    found = look_rows(head())
    assert found is not None
    return found


def balls(model=None) -> np.ndarray:
    """Vertices of the right and the left eyeball, from the triangles."""
    model = head() if model is None else model
    part, faces = np.asarray(model.topology.face_part), np.asarray(model.faces)
    vertices = [np.unique(faces[part == model.part_names.index(name)]) for name in ("eye_right", "eye_left")]
    return np.stack(vertices)


def sphere(points: np.ndarray) -> np.ndarray:
    """Its centre, by another method."""
    start = np.r_[points.mean(axis=0), 15.0]
    algebraic = lambda x: np.sum((points - x[:3]) ** 2, axis=1) - x[3] ** 2  # noqa: E731
    return scipy.optimize.least_squares(algebraic, start).x[:3]


# --- the model --------------------------------------------------------------------------------------------------------


def test_angles_are_a_rotation_and_a_direction():
    gaze = RNG.uniform(-0.9, 0.9, (5, 2))
    turns = Rotation.from_euler("YX", gaze * [1, -1]).as_matrix()
    np.testing.assert_allclose(gaze_rotation(jnp.asarray(gaze, jnp.float32)), turns, atol=1e-6)
    np.testing.assert_allclose(gaze_direction(jnp.asarray(gaze, jnp.float32)), turns[:, :, 2], atol=1e-6)
    np.testing.assert_allclose(direction_gaze(jnp.asarray(3 * turns[:, :, 2], jnp.float32)), gaze, atol=1e-6)


def test_eyeballs_turn_rigidly_about_their_centres():
    params = face(GAZE)
    rest, turned = np.asarray(neutral(head(), params), np.float64), np.asarray(decode(head(), params))
    found = find_eyeballs(head(), neutral(head(), params))
    for k, ball in enumerate(balls()):
        centre = sphere(rest[ball])
        np.testing.assert_allclose(found.centre[k], centre, atol=2e-3)
        np.testing.assert_allclose(found.front[k], rest[ball, 2].max() - centre[2], atol=2e-3)
        about = Rotation.from_euler("YX", GAZE[k] * [1, -1]).apply(rest[ball] - centre) + centre
        np.testing.assert_allclose(turned[ball], about, atol=5e-3)
        radii = [np.linalg.norm(points[ball] - centre, axis=1) for points in (rest, turned)]
        np.testing.assert_allclose(*radii, atol=5e-3)


def test_a_positive_yaw_is_to_the_persons_left_and_a_positive_pitch_is_up():
    rest, turned = (decode(head(), face(gaze)) for gaze in (np.zeros((2, 2)), np.full((2, 2), 0.2)))
    for ball in balls():
        front = ball[np.argmax(np.asarray(rest)[ball, 2])]
        assert np.all(np.asarray(turned - rest)[front, :2] > 2.0)


def test_lids_follow_and_nothing_counts_twice():
    given = face(GAZE)
    junk = replace(given, expression=given.expression.at[rows().reshape(-1)].set(0.7))
    np.testing.assert_array_equal(decode(head(), junk), decode(head(), given))
    weights = lids_following(head(), given).expression
    skin = np.setdiff1d(np.arange(len(head().mean)), balls())
    by_shapes = decode(head(), replace(given, gaze=None, expression=weights))
    np.testing.assert_allclose(np.asarray(decode(head(), given))[skin], np.asarray(by_shapes)[skin], atol=1e-4)
    moved = np.abs(np.asarray(decode(head(), given) - neutral(head(), given)))
    assert moved[skin].max() > 1.0  # the lids
    plain = face()
    assert lids_following(head(), plain) is plain


def test_a_gaze_of_zero_and_no_gaze_are_the_neutral_face():
    np.testing.assert_allclose(decode(head(), face(np.zeros((2, 2)))), decode(head(), face()), atol=1e-4)


def test_weights_and_angles_there_and_back():
    full = np.rad2deg(full_angles(head(), rows()))
    np.testing.assert_allclose(full, [[20, 16, 30, 30]] * 2, atol=0.01)  # what the head was built with
    names = np.array(head().expression_names)[rows()]
    weights = gaze_to_weights(head(), jnp.deg2rad(jnp.array([[10.0, 5.0], [-15.0, -8.0]])))
    shown = {name: float(w) for name, w in zip(names.reshape(-1), np.asarray(weights).reshape(-1), strict=True) if w}
    wanted = {"eyeLookUpRight": 0.25, "eyeLookInRight": 1 / 3, "eyeLookDownLeft": 0.5, "eyeLookInLeft": 0.5}
    assert shown == pytest.approx(wanted, abs=1e-3)
    gaze = np.deg2rad(RNG.uniform(-15, 15, (2, 2))).astype(np.float32)
    np.testing.assert_allclose(weights_to_gaze(head(), gaze_to_weights(head(), jnp.asarray(gaze))), gaze, atol=1e-6)
    assert np.all(gaze_to_weights(head(), jnp.full((2, 2), 1.5)) <= 1.0)


def test_turning_has_gradients():
    front = balls()[0][np.argmax(np.asarray(head().mean)[balls()[0], 2])]
    place = jit(lambda gaze: decode(head(), replace(face(), gaze=gaze))[front])
    slope = jit(jax.jacrev(lambda gaze: decode(head(), replace(face(), gaze=gaze))[front]))(jnp.asarray(GAZE))
    for axis, step in enumerate(0.02 * np.eye(2, dtype=np.float32)):
        step = np.stack([step, 0 * step])
        numeric = (place(jnp.asarray(GAZE + step)) - place(jnp.asarray(GAZE - step))) / 0.04
        np.testing.assert_allclose(slope[:, 0, axis], numeric, atol=0.02)
    assert np.all(slope[:, 1] == 0)


def test_icts_names_are_known_and_its_balls_that_stay_have_the_usual_angles():
    names = tuple(name.replace("Left", "_L").replace("Right", "_R") for name in head().expression_names)
    still = head().expression_basis.at[:, balls().reshape(-1)].set(0.0)
    ict = replace(head(), expression_names=names, expression_basis=still)
    found: Any = look_rows(ict)
    assert np.array_equal(found, rows())
    np.testing.assert_allclose(full_angles(ict, found), np.stack([USUAL, USUAL]))
    assert shapes_turn_eyeballs(head()) and not shapes_turn_eyeballs(ict)


def test_models_without_eyeballs_have_no_gaze():
    model = toy_model()
    assert not has_eyeballs(model) and look_rows(model) is None and has_eyeballs(head())
    params = neutral_params(model, cam.PerspectiveCamera(jnp.float32(300.0), jnp.zeros(2)))
    assert params.gaze is None
    with pytest.raises(ValueError, match="has no eyeballs"):
        decode(model, replace(params, gaze=jnp.zeros((2, 2))))
    with pytest.raises(ValueError, match="lids cannot follow"):
        gaze_to_weights(model, jnp.zeros((2, 2)))
    assert "iris" not in ingredients_for(LINEAR, model=model).networks
    assert ingredients_for(LINEAR, model=head()).networks["iris"].name == "MediaPipe Iris"


def test_added_eyeballs_turn_without_lids():
    roomy = replace(toy_model(), uv=0.5 * toy_model().uv)
    model = add_eyeballs(roomy, radius=0.7)
    assert isinstance(model, FaceModel)
    params = neutral_params(model, cam.PerspectiveCamera(jnp.float32(300.0), jnp.zeros(2)))
    turned = decode(model, replace(params, gaze=jnp.asarray(GAZE)))
    moved = np.abs(np.asarray(turned - model.mean)).max(axis=1) > 1e-3
    assert moved[balls(model)].mean() > 0.9 and not moved[: len(toy_model().mean)].any()
    assert lids_following(model, replace(params, gaze=jnp.asarray(GAZE))).expression is params.expression


# --- from pixels to angles --------------------------------------------------------------------------------------------


def iris_pixels(params: FaceParams, gaze) -> np.ndarray:
    """Where the middles of the irises are seen; numpy only, but for the eyeballs."""
    found = find_eyeballs(head(), neutral(head(), params))
    turns = Rotation.from_euler("YX", np.asarray(gaze) * [1, -1]).as_matrix()
    points = np.asarray(found.centre) + turns[:, :, 2] * RIM * np.asarray(found.front)[:, None]
    w, x, y, z = np.asarray(params.pose.rotation)
    seen = Rotation.from_quat([x, y, z, w]).apply(points) + np.asarray(params.pose.translation)
    assert isinstance(params.camera, cam.PerspectiveCamera)
    return np.asarray(params.camera.principal) + float(params.camera.focal) * seen[:, :2] / -seen[:, 2:] * [1, -1]


def seen_at(iris, opening: Any = 0.35) -> SeenEyes:
    lids = np.zeros((2, 16, 2), np.float32)
    lids[:, 8, 0] = 30.0
    lids[:, 4, 1] = 30.0 * np.broadcast_to(opening, 2)
    lids = jnp.asarray(lids)
    return SeenEyes(jnp.asarray(iris, jnp.float32), jnp.zeros((2, 4, 2)), lids)


def test_the_ray_meets_the_sphere_where_an_optimiser_turns_the_eye_to():
    params = face(degrees=(10.0, 25.0, -8.0))
    pixels = iris_pixels(params, GAZE) + RNG.normal(0, 0.7, (2, 2))
    start = np.zeros(4)
    solved = scipy.optimize.least_squares(
        lambda x: (iris_pixels(params, x.reshape(2, 2)) - pixels).reshape(-1), start, xtol=1e-12
    )
    angles, facing = aim(head(), params, jnp.asarray(pixels, jnp.float32))
    np.testing.assert_allclose(angles, solved.x.reshape(2, 2), atol=1e-3)
    assert np.all((facing > 0.5) & (facing <= 1.0))


def test_a_ray_beside_the_eye_gives_the_nearest_direction():
    params = face(degrees=(0.0, 0.0, 0.0))
    pixels = iris_pixels(params, np.zeros((2, 2))) + np.array([[60.0, 0.0]])
    angles, facing = aim(head(), params, jnp.asarray(pixels, jnp.float32))
    assert np.all(np.isfinite(angles)) and np.all(facing == 0)
    np.testing.assert_allclose(np.rad2deg(angles[:, 0]), 90, atol=8)


def test_both_eyes_share_a_direction():
    params = face()
    solve = jit(lambda eyes, confidence: solve_gaze(head(), params, eyes, confidence=confidence))
    sure = jnp.ones(68)
    both = solve(seen_at(iris_pixels(params, GAZE)), sure)
    assert both.seen.all()
    np.testing.assert_allclose(np.rad2deg(both.angles), np.rad2deg(GAZE), atol=2.0)
    off = iris_pixels(params, GAZE)
    off[1] += 40.0  # what a network answers for an eye that it cannot see
    for eyes, confidence in (
        (seen_at(off, opening=[0.35, 0.1]), sure),
        (seen_at(off), sure.at[45].set(0.1)),
    ):
        one = solve(eyes, confidence)
        assert one.seen.tolist() == [True, False]
        np.testing.assert_allclose(one.angles[1], one.angles[0], atol=np.deg2rad(0.5))
        np.testing.assert_allclose(np.rad2deg(one.angles[0]), np.rad2deg(GAZE[0]), atol=2.5)
    none = solve(seen_at(off, opening=0.0), sure)
    assert not none.seen.any()
    np.testing.assert_allclose(none.angles, 0.0, atol=1e-4)
    apart = solve(seen_at(off), sure)  # two eyes that contradict each other count less
    assert np.abs(apart.angles).max() < np.abs(aim(head(), params, jnp.asarray(off, jnp.float32))[0]).max() / 2


@pytest.mark.parametrize(("yaw", "seen"), [(0, [True, True]), (45, [True, False]), (-45, [False, True])])
def test_the_far_eye_of_a_turned_head_is_not_seen(yaw, seen):
    params = face(degrees=(0.0, float(yaw), 0.0))
    found = solve_gaze(head(), params, seen_at(iris_pixels(params, np.zeros((2, 2)))))
    assert found.seen.tolist() == seen


def test_the_eyes_square():
    """Level, 2.3 times as wide as the eye, and the outer corner on the left, for both eyes and for an upside-down
    face."""
    outer, inner = np.array([40.0, 50.0]), np.array([60.0, 55.0])
    for a, b, sign in ((outer, inner, 1.0), (inner, outer, -1.0), (inner, outer, 1.0)):
        square = np.asarray(eye_square(jnp.asarray(np.stack([a, b]), jnp.float32), jnp.float32(sign)))
        there = np.stack([a, b]) @ square[:, :2].T + square[:, 2]
        half = 64 / 2.3 / 2
        np.testing.assert_allclose(there, [[32 - half, 32], [32 + half, 32]], atol=1e-3)
        assert np.sign(np.linalg.det(square[:, :2])) == sign


# --- the fit and its files --------------------------------------------------------------------------------------------


def see_beside_corners(shift, image, points) -> SeenEyes:
    """In place of the network: the iris lies beside the middle of the corners."""
    middle = jnp.stack([points[jnp.array([36, 39])].mean(axis=0), points[jnp.array([42, 45])].mean(axis=0)])
    return seen_at(middle + shift[None])


def nothing(*_):
    return jnp.zeros(())


@pytest.fixture(scope="module")
def fitted():
    """Two faces, fitted together and each alone, with irises 4 pixels to the right of the eyes' middles."""
    model, images, points = head(), [], []
    for seed in (1, 2):
        params = face(degrees=(0.0, 8.0 * seed, 0.0), seed=seed)
        seen = cam.project(params.camera, cam.to_camera(params.pose, landmarks(model, decode(model, params))))
        images.append(np.full((SIDE, SIDE, 3), 0.5, np.float32))
        points.append(np.asarray(seen)[:, :2])
    network = FeatureNetwork(jnp.array([4.0, 1.0]), see_beside_corners, nothing, "stand-in")
    recipe = replace(LANDMARKS, contour="static", landmark_steps=8)
    crops = prepare_crops(images, points, recipe=recipe)
    ingredients = Ingredients(networks={"iris": network})
    run = jit(lambda crops: fit_crops(model, crops, recipe=recipe, ingredients=ingredients))
    return run(crops), [run(jax.tree.map(lambda leaf, k=k: leaf[k : k + 1], crops)) for k in (0, 1)]


def test_a_batch_is_its_faces(fitted):
    batch, alone = fitted
    assert batch.params.gaze.shape == (2, 2, 2) and batch.gaze_seen.all() and batch.finite.all()
    for k, one in enumerate(alone):
        np.testing.assert_allclose(batch.params.gaze[k], one.params.gaze[0], atol=np.deg2rad(0.2))
        assert np.all(one.params.gaze[0, :, 0] > 0.05)  # to the right in the picture is to the person's left


def test_the_fits_expression_has_the_weights_that_follow(fitted):
    for one in (fitted[0][k] for k in (0, 1)):
        np.testing.assert_allclose(lids_following(head(), one.params).expression, one.params.expression, atol=1e-5)
        np.testing.assert_array_equal(one.stages["landmarks"].gaze, one.params.gaze)


def test_a_fit_without_the_network_has_no_gaze():
    points = [np.asarray(landmarks(toy_model(), toy_model().mean))[:, :2] * [1, -1] + 150]
    result = fit(toy_model(), [np.full((300, 300, 3), 0.5, np.float32)], points, recipe=replace(LANDMARKS, size=64))
    assert result.params.gaze is None and result.faces.gaze_seen is None and describe_gaze(result.faces[0]) == {}


def test_the_summary_in_degrees(fitted):
    face = fitted[0][0]
    told: Any = describe_gaze(face)["gaze_degrees"]
    assert list(told) == ["right", "left"] and told["left"]["seen"] is True
    np.testing.assert_allclose(told["left"]["yaw"], np.rad2deg(face.params.gaze[1, 0]), rtol=1e-5)


def test_parameter_files_with_a_gaze_and_without(tmp_path):
    for gaze in (None, GAZE):
        save_params(tmp_path / "one.npz", face(gaze), "facejax-head")
        found: Any = load_params(tmp_path / "one.npz").params.gaze
        assert found is None if gaze is None else np.array_equal(found, gaze)
        with np.load(tmp_path / "one.npz") as file:
            assert ("gaze" in file.files) == (gaze is not None)


def read_gltf(path):
    content = path.read_bytes()
    return json.loads(content[20 : 20 + struct.unpack_from("<I", content, 12)[0]])


def test_morph_targets_follow(tmp_path):
    scene = read_gltf(write_face_glb(tmp_path / "face.glb", head(), face(GAZE), texture=None))
    mesh = scene["meshes"][0]
    weights = dict(zip(mesh["extras"]["targetNames"], mesh["weights"], strict=True))
    assert weights["eyeLookInRight"] == pytest.approx(14 / 30, abs=1e-3)
    assert weights["eyeLookDownLeft"] == pytest.approx(6 / 16, abs=1e-3)
    assert weights["eyeLookUpLeft"] == 0


def test_the_viewers_sliders_turn_the_eyes():
    shown = face(GAZE)
    sliders = dict(zip(head().expression_names, lids_following(head(), shown).expression.tolist(), strict=True))
    same: Any = changed(shown, head(), sliders).gaze
    np.testing.assert_allclose(same, GAZE, atol=1e-5)
    more: Any = changed(shown, head(), sliders | {"eyeLookInRight": sliders["eyeLookInRight"] + 0.1})
    np.testing.assert_allclose(np.rad2deg(more.gaze - GAZE), [[3, 0], [0, 0]], atol=0.01)


# --- the shipped network ----------------------------------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.parametrize("degrees", [(16.0, 4.0), (-12.0, -6.0)])
def test_a_rendered_faces_gaze_is_found(degrees):
    model = load_face_model()
    camera = cam.PerspectiveCamera(jnp.float32(4 * 320), jnp.full(2, 160.0))
    params = replace(
        neutral_params(model, camera), pose=cam.Pose(jnp.array([1.0, 0, 0, 0]), jnp.array([0, -10.0, -900]))
    )
    params = replace(params, gaze=jnp.broadcast_to(jnp.deg2rad(jnp.array(degrees)), (2, 2)))
    picture = jit(lambda model: render(model, params, size=(320, 320)).color)(model)
    points = cam.project(camera, cam.to_camera(params.pose, landmarks(model, decode(model, params))))[:, :2]
    result: Any = fit(model, [np.clip(np.asarray(picture), 0, 1)], [np.asarray(points)], recipe=LANDMARKS)
    assert result.faces.gaze_seen.all()
    np.testing.assert_allclose(np.rad2deg(result.params.gaze[0]), np.array([degrees] * 2), atol=6.0)
    assert see_eyes is result.ingredients.networks["iris"].apply

"""The fit: least squares, landmarks, light, stages, and the whole, against known truth."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from toy import toy_model

import facejax.camera as cam
from facejax.api import fit
from facejax.appearance import own_appearance
from facejax.evaluation.normalized_error import nme
from facejax.export import write_png
from facejax.face_model import FaceParams, decode, neutral_params, own_albedo
from facejax.face_model.load import load_face_model
from facejax.fitting import (
    LANDMARKS,
    LINEAR,
    Priors,
    Stage,
    batches,
    compile_fit,
    fit_crops,
    fit_landmarks,
    known_focal,
    prepare_crops,
    run_stage,
    solve_light,
    solve_skin,
)
from facejax.fitting import fit as fitting
from facejax.fitting.landmarks import box_size, scaled_orthographic
from facejax.fitting.least_squares import levenberg_marquardt
from facejax.fitting.light import share_brightness, skin_color
from facejax.fitting.scene import Observation, look, project_landmarks
from facejax.lighting import sh_basis, uniform_light
from facejax.programs import jit
from facejax.rendering import render

SIDE = 128
OWN = own_appearance(toy_model())
NONE = {"albedo": jnp.zeros(3)}
FOCAL = 3.0  # in sides
SHORT = replace(LINEAR, size=96)


def truth(degrees=(5.0, 12.0, -4.0), *, side=SIDE, seed=0) -> FaceParams:
    """A known face in a picture of `side` pixels."""
    model = toy_model()
    camera = cam.PerspectiveCamera(jnp.asarray(FOCAL * side), jnp.full(2, side / 2.0))
    rng = np.random.default_rng(seed)
    params = neutral_params(model, camera, distance=1000.0)
    light = uniform_light(0.75).at[1:4].add(jnp.array([0.25, 0.3, -0.3])[:, None])
    return replace(
        params,
        identity=jnp.asarray(rng.normal(size=6).clip(-1.5, 1.5), jnp.float32),
        expression=jnp.array([0.6, 0.0, 0.3]),
        appearance={"albedo": jnp.asarray(rng.normal(size=3).clip(-1, 1), jnp.float32)},
        pose=cam.Pose(cam.euler_to_quaternion(jnp.array(degrees)), jnp.array([6.0, -8.0, -1000.0])),
        light=light,
    )


@cache
def drawn(side: int):
    return jit(lambda p: render(toy_model(), p, size=(side, side), background=jnp.full(3, 0.3)).color)


@cache
def marked(moving: bool):
    return jit(lambda p: project_landmarks(toy_model(), p, jnp.asarray(moving)))


def photograph(params: FaceParams, side=SIDE):
    return np.clip(np.asarray(drawn(side)(params)), 0, 1)


def observation(params: FaceParams, *, moving=False) -> Observation:
    points = marked(moving)(params)
    image = jnp.asarray(photograph(params))
    return Observation(image, jnp.ones((SIDE, SIDE)), points, jnp.ones(68), box_size(points), jnp.asarray(moving))


def angle_between(a, b) -> float:
    """Degrees between two rotations given as quaternions."""
    return float(np.degrees(2 * np.arccos(np.clip(abs(np.dot(np.asarray(a), np.asarray(b))), 0, 1))))


def test_least_squares_solves_a_linear_problem_like_numpy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 8)).astype(np.float32), rng.normal(size=30).astype(np.float32)
    found = levenberg_marquardt(lambda x: jnp.asarray(a) @ x - b, jnp.zeros(8), steps=30)
    np.testing.assert_allclose(found.x, np.linalg.lstsq(a, b, rcond=None)[0], atol=1e-4)
    assert bool(found.converged)


def test_least_squares_respects_bounds_like_scipy():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(30, 8)).astype(np.float32), (3 * rng.normal(size=30)).astype(np.float32)
    found = levenberg_marquardt(
        lambda x: jnp.asarray(a) @ x - b, jnp.full(8, 0.1), steps=60, lower=jnp.zeros(8), upper=jnp.full(8, 0.25)
    )
    expected = scipy.optimize.lsq_linear(a.astype(float), b.astype(float), bounds=(0, 0.25)).x
    assert (expected < 1e-6).any() and (expected > 0.25 - 1e-6).any()
    np.testing.assert_allclose(found.x, expected, atol=1e-3)  # the cost is compared in float32


def test_least_squares_finds_rosenbrocks_minimum():
    found = levenberg_marquardt(
        lambda x: jnp.stack([10 * (x[1] - x[0] ** 2), 1 - x[0]]), jnp.array([-1.2, 1.0]), steps=60
    )
    np.testing.assert_allclose(found.x, [1.0, 1.0], atol=1e-3)
    assert (np.diff(found.costs) <= 0).all()


def test_least_squares_never_loses_a_finite_start():
    found = levenberg_marquardt(lambda x: jnp.log(x), jnp.array([1e-30, 2.0]), steps=10, lower=jnp.full(2, -5.0))
    assert np.isfinite(found.x).all() and np.isfinite(found.cost)


@pytest.mark.parametrize("degrees", [(0, 0, 0), (20, 60, -30), (-30, -85, 100), (10, 10, 179)])
def test_scaled_orthographic_start_is_exact_for_an_orthographic_picture(degrees):
    rng = np.random.default_rng(2)
    points = rng.normal(size=(68, 3)).astype(np.float32) * 60
    rotation = np.asarray(cam.quaternion_to_matrix(cam.euler_to_quaternion(jnp.array(degrees, jnp.float32))))
    pixels = 1.7 * (points @ rotation.T)[:, :2] * [1, -1] + [120, 90]
    found, scale, offset = scaled_orthographic(jnp.asarray(points), jnp.asarray(pixels, jnp.float32), jnp.ones(68))
    np.testing.assert_allclose(found, rotation, atol=1e-4)
    np.testing.assert_allclose(scale, 1.7, rtol=1e-4)
    np.testing.assert_allclose(offset, [120, 90], atol=1e-2)


@pytest.mark.parametrize("yaw", [-75.0, 0.0, 40.0])
@pytest.mark.parametrize("roll", [0.0, 150.0])
def test_landmarks_give_back_pose_and_landmarks(yaw, roll):
    params = truth((8.0, yaw, roll))
    points = project_landmarks(toy_model(), params, jnp.asarray(False))
    found = jit(lambda p: fit_landmarks(toy_model(), p, principal=params.camera.principal, contour="static"))(points)
    assert float(jnp.abs(found.landmarks - points).max()) < 0.01 * float(box_size(points))
    assert angle_between(found.params.pose.rotation, params.pose.rotation) < 3.0
    assert float(jnp.abs(found.params.identity).max()) < 4 and bool(jnp.all(found.params.expression >= 0))


def test_a_known_focal_length_is_kept_and_gives_the_distance():
    params = truth()
    points = project_landmarks(toy_model(), params, jnp.asarray(False))
    found = fit_landmarks(
        toy_model(), points, focal=known_focal(FOCAL * SIDE), principal=params.camera.principal, contour="static"
    )
    camera = found.params.camera
    assert isinstance(camera, cam.PerspectiveCamera)
    np.testing.assert_allclose(camera.focal, FOCAL * SIDE, rtol=1e-3)
    assert abs(float(found.params.pose.translation[2]) + 1000) < 60


@pytest.mark.parametrize("moving", [False, True])
def test_auto_tells_outline_points_from_surface_points(moving):
    params = truth((0.0, 60.0, 0.0))
    points = project_landmarks(toy_model(), params, jnp.asarray(moving))
    found = fit_landmarks(toy_model(), points, principal=params.camera.principal, contour="auto")
    assert bool(found.moving) == moving


def test_light_in_closed_form_is_the_light_of_the_picture():
    params = truth()
    seen = observation(params)
    found = solve_light(toy_model(), replace(params, light=uniform_light(0.3)), seen)
    scene = look(toy_model(), params, seen, OWN)
    normals = scene.rendering.normal[scene.mask > 0.5]
    np.testing.assert_allclose(sh_basis(normals) @ found.light, sh_basis(normals) @ params.light, atol=0.02)


def test_light_ignores_an_occluder():
    params = truth()
    seen = observation(params)
    hidden = replace(seen, image=seen.image.at[50:60, 40:70].set(jnp.array([0.0, 0.9, 0.1])))
    found = solve_light(toy_model(), params, hidden)
    scene = look(toy_model(), params, seen, OWN)
    normals = scene.rendering.normal[scene.mask > 0.5]
    error = jnp.abs(sh_basis(normals) @ found.light - sh_basis(normals) @ params.light)
    assert float(jnp.mean(error)) < 0.03


def test_skin_and_light_share_the_brightness_most_probably():
    rng = np.random.default_rng(0)
    mean, moves = np.array([0.7, 0.52, 0.44]), rng.normal(size=(5, 3)) * 0.03 + 0.05
    surplus, priors = np.array([-0.7, -0.5, -0.6]), Priors(log_light=0.4, log_tint=0.15)
    spread = 0.4**2 + 0.15**2 * np.eye(3)

    def color(albedo):
        return np.log(((mean + albedo @ moves + 0.055) / 1.055) ** 2.4)

    def unlikely(albedo):
        left = surplus - (color(albedo) - color(np.zeros(5)))
        return albedo @ albedo + left @ np.linalg.solve(spread, left)

    wanted = scipy.optimize.minimize(unlikely, np.zeros(5), tol=1e-10).x
    single = partial(jnp.asarray, dtype=jnp.float32)
    found = share_brightness(single(mean), single(moves), single(surplus), priors)
    np.testing.assert_allclose(found, wanted, atol=2e-3)
    assert np.linalg.norm(wanted) > 0.5


@pytest.mark.parametrize("surplus", [(0.0, -6.9, -6.9), (-0.5, -1.0, -4.0), (-4.5, -4.5, -4.5), (5.0, 0.0, np.nan)])
def test_no_light_makes_an_impossible_skin(surplus):
    model = load_face_model()
    mean, moves = skin_color(model, own_albedo(model))
    found = share_brightness(mean, moves, jnp.asarray(surplus, jnp.float32), Priors())
    assert np.isfinite(found).all() and np.linalg.norm(found) < 5
    assert np.min(mean + found @ moves) > 0.04


def test_the_mean_skin_is_that_of_the_map():
    colors = own_albedo(toy_model())
    mean, moves = skin_color(toy_model(), colors)
    albedo = np.asarray(colors.decode({"albedo": jnp.array([1.0, -2.0, 0.5])}))
    u, v = np.asarray(toy_model().uv).T  # of this model, a row for each vertex
    at_vertices = albedo[((1 - v) * 32).astype(int).clip(0, 31), (u * 32).astype(int).clip(0, 31)]
    wanted = np.average(at_vertices, axis=0, weights=toy_model().regions["face"])
    np.testing.assert_allclose(mean + np.array([1.0, -2.0, 0.5]) @ moves, wanted, atol=0.03)


def test_dark_skin_is_not_taken_for_little_light():
    found = []
    for shade in (-2.0, 2.0):  # standard deviations of the whole albedo's brightness
        params = replace(truth(), appearance={"albedo": jnp.array([shade, 0.0, 0.0])})
        seen = observation(params)
        seen = replace(seen, image=seen.image.at[:12].set(0.9))  # something white
        found.append(solve_skin(toy_model(), replace(params, appearance=NONE), seen))
        light = solve_light(toy_model(), replace(params, appearance=found[-1].appearance), seen).light
        np.testing.assert_allclose(found[-1].light, light, rtol=0.01, atol=0.01)
    dark, bright = (float(one.appearance["albedo"][0]) for one in found)
    assert dark < -0.3 and bright - dark > 1.5


def test_a_stage_moves_only_its_blocks_and_lowers_its_loss():
    params = truth()
    start = replace(params, appearance=NONE, light=uniform_light(0.6))
    stage = Stage("colour", 25, (("albedo", 0.1), ("light", 0.03)), (("pixels", 1.0),))
    found, trace = jit(lambda p, o: run_stage(toy_model(), p, o, OWN, stage=stage))(start, observation(params))
    assert float(trace.losses[-1]) < 0.4 * float(trace.losses[0])
    np.testing.assert_array_equal(found.identity, start.identity)
    np.testing.assert_allclose(found.pose.rotation, start.pose.rotation, atol=1e-6)
    albedo, wanted = found.appearance["albedo"], params.appearance["albedo"]
    assert float(jnp.abs(albedo - wanted).max()) < float(jnp.abs(wanted).max())


def test_pixels_correct_a_pose_that_landmarks_do_not_see():
    params = truth()
    turn = cam.axis_angle_to_quaternion(jnp.deg2rad(jnp.array([0.0, 4.0, 0.0])))
    pose = cam.Pose(cam.quaternion_multiply(turn, params.pose.rotation), params.pose.translation)
    stage = Stage("pose", 60, (("rotation", 0.004),), (("pixels", 1.0),))
    found, _ = jit(lambda p, o: run_stage(toy_model(), p, o, OWN, stage=stage))(
        replace(params, pose=pose), observation(params)
    )
    assert angle_between(found.pose.rotation, params.pose.rotation) < 0.5


def test_a_stage_with_unknown_names_says_which_exist():
    params, stage = truth(), Stage("x", 1, (("identity", 0.1),), (("pixel", 1.0),))
    with pytest.raises(ValueError, match=r"unknown loss term 'pixel'.*pixels"):
        run_stage(toy_model(), params, observation(params), OWN, stage=stage)
    with pytest.raises(ValueError, match=r"unknown block 'pose'.*rotation"):
        wrong = replace(stage, rates=(("pose", 1.0),), weights=(("pixels", 1.0),))
        run_stage(toy_model(), params, observation(params), OWN, stage=wrong)


def test_a_picture_with_nan_is_refused_not_followed():
    params = truth()
    seen = replace(observation(params), image=jnp.full((SIDE, SIDE, 3), jnp.nan))
    stage = Stage("all", 5, (("identity", 0.1), ("light", 0.1)), (("pixels", 1.0),))
    found, trace = run_stage(toy_model(), params, seen, OWN, stage=stage)
    assert int(trace.diverged_at) == 0 and not bool(trace.converged)
    np.testing.assert_allclose(found.identity, params.identity)


@pytest.fixture(scope="module")
def two_faces():
    faces = [truth(seed=3), truth((-6.0, -25.0, 8.0), side=170, seed=4)]
    images = [photograph(face, side) for face, side in zip(faces, (SIDE, 170), strict=True)]
    points = [np.asarray(project_landmarks(toy_model(), face, jnp.asarray(False))) for face in faces]
    return faces, images, points


def test_the_whole_fit_finds_the_face_again(two_faces):
    faces, images, points = two_faces
    result = fit(toy_model(), images, points, recipe=SHORT)
    assert bool(result.faces.finite.all()) and set(result.faces.losses) == {"landmarks", "pixels"}
    for index, face in enumerate(faces):
        found = jax.tree.map(lambda leaf, index=index: leaf[index], result.params)
        assert result.landmark_nme(index) < 1.0
        assert float(result.faces.psnr_face[index]) > 30
        assert angle_between(found.pose.rotation, face.pose.rotation) < 2.0
        # The camera is back in the photograph's pixels: projecting by hand gives the reported landmarks.
        again = project_landmarks(toy_model(), found, result.faces.moving[index])
        np.testing.assert_allclose(again, result.landmarks[index], atol=0.05)
        shape_error = jnp.linalg.norm(decode(toy_model(), found) - decode(toy_model(), face), axis=-1)
        assert float(jnp.median(shape_error)) < 2.5


@pytest.mark.thorough
def test_faces_of_a_batch_do_not_touch_each_other(two_faces):
    _, images, points = two_faces
    both = fit(toy_model(), images, points, recipe=LANDMARKS)
    alone = fit(toy_model(), images[1], points[1], recipe=LANDMARKS)
    np.testing.assert_allclose(both.landmarks[1], alone.landmarks[0], atol=1e-2)
    np.testing.assert_allclose(both.params.light[1], alone.params.light[0], atol=0.02)


@pytest.mark.thorough
@pytest.mark.parametrize("size", [1, 2])
def test_groups_of_faces_follow_each_other(two_faces, size, monkeypatch):
    _, images, points = two_faces
    crops = prepare_crops([*images, *images], [*points, *points], recipe=LANDMARKS)
    crops = crops._replace(landmarks=crops.landmarks + jnp.arange(4.0)[:, None, None])
    side_by_side = jit(partial(fit_crops, recipe=LANDMARKS))(toy_model(), crops)
    monkeypatch.setattr(fitting, "faces_together", lambda recipe, count: size)
    in_groups = jit(partial(fit_crops, recipe=LANDMARKS))(toy_model(), crops)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=2e-2), in_groups.params, side_by_side.params)
    np.testing.assert_allclose(in_groups.landmarks, side_by_side.landmarks, atol=1e-2)


@pytest.mark.parametrize(
    "cores, count, together", [(1, 4, 1), (2, 16, 1), (8, 16, 4), (8, 14, 2), (64, 6, 6), (8, 7, 1)]
)
def test_a_processor_fits_a_face_for_every_two_cores_at_once(cores, count, together, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert fitting.faces_together(LINEAR, count) == together
    assert fitting.faces_together(LANDMARKS, count) == count
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert fitting.faces_together(LINEAR, count) == count


def test_photographs_of_any_kind_are_fitted(two_faces, tmp_path):
    _, (image, _), (points, _) = two_faces
    whole = np.round(np.asarray(image) * 255).astype(np.uint8)
    write_png(tmp_path / "a.png", whole / 255)
    fitted = [
        np.asarray(fit(toy_model(), photo, points, recipe=LANDMARKS).params.light)  # which the pixels decide
        for photo in (whole, jnp.asarray(whole / 255), tmp_path / "a.png", str(tmp_path / "a.png"), [whole])
    ]
    assert np.abs(fitted[0]).max() > 0.5
    for one in fitted:
        np.testing.assert_allclose(one, fitted[0], atol=1e-3)


def test_a_fit_of_float32_numbers_is_one_in_a_program_with_float64_too(two_faces):
    model, crops = toy_model(), prepare_crops(*two_faces[1:], recipe=SHORT)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        traced = jax.eval_shape(partial(fit_crops, recipe=SHORT), model, crops)
    assert traced.params.light.shape == (2, 9, 3)


def test_inputs_that_do_not_fit_together_are_named(two_faces):
    _, images, points = two_faces
    with pytest.raises(ValueError, match="no photographs"):
        fit(toy_model(), [], [])
    with pytest.raises(ValueError, match="2 photographs but 1 sets"):
        fit(toy_model(), images, points[:1])
    with pytest.raises(ValueError, match=r"photo 0 has shape \(128, 128\)"):
        fit(toy_model(), [images[0][..., 0]], points[:1])
    with pytest.raises(ValueError, match=r"landmarks of photo 0.*finite"):
        fit(toy_model(), images[:1], [np.full((68, 2), np.nan)])


@pytest.mark.thorough
def test_real_landmarks_are_explained_with_plausible_coefficients(shared):
    with np.load(shared / "aflw2000" / "aflw2000_dev.npz") as data:
        points = data["pts68_3d"][:20, :, :2].astype(np.float32) - 0.5
    model = load_face_model()
    solve = jit(jax.vmap(lambda p: fit_landmarks(model, p, principal=jnp.full(2, 225.0))))
    found = solve(points)
    assert nme(np.asarray(found.landmarks), points).mean() < 1.5
    assert float(jnp.std(found.params.identity)) < 1.2
    assert float(jnp.mean(found.converged)) > 0.8


class Busy:
    """In place of a compiled fit: counts how many threads are in it."""

    def __init__(self):
        self.inside, self.most, self.calls = 0, 0, 0

    def __call__(self, *_):
        self.inside += 1
        self.most = max(self.most, self.inside)
        time.sleep(0.01)
        self.inside -= 1
        self.calls += 1
        return jnp.zeros(())


def test_threads_get_a_processor_one_after_the_other():
    """Side by side, jaxlib 0.10's LAPACK calls wait for ever once they are as many as the processor has cores."""
    busy = Busy()
    programs = batches._OneAtATime(busy), batches._OneAtATime(busy)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda k: programs[k % 2](k), range(12)))
    assert (busy.calls, busy.most, programs[0].most) == (12, 1, 1)


def test_a_compiled_fit_takes_its_turn_on_processors_only(monkeypatch):
    busy, points = Busy(), np.random.default_rng(0).uniform(10, 50, (68, 2))
    monkeypatch.setattr(batches, "compile_cached", lambda *_, **__: busy)
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    crops = prepare_crops([np.zeros((64, 64, 3))], [points], recipe=LANDMARKS)
    program = compile_fit(toy_model(), crops, recipe=LANDMARKS)
    assert isinstance(program, batches._OneAtATime) and program.program is busy
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert compile_fit(toy_model(), crops, recipe=LANDMARKS) is busy

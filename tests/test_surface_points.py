"""Points of the surface as evidence of a fit: the term, their projection, and fits with a network that knows them."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives_tools import check_batch, check_gradient
from toy import toy_model

import facejax.camera as cam
from facejax.face_model import FaceParams, decode, neutral_params
from facejax.fitting import (
    LANDMARKS,
    LINEAR,
    Ingredients,
    Priors,
    Seer,
    Sight,
    Stage,
    SurfacePoints,
    fit_crops,
    fit_landmarks,
    known_focal,
    prepare_crops,
)
from facejax.fitting.scene import Observation, project_landmarks, resize
from facejax.fitting.surface_points import NO_POINTS, project_points, see
from facejax.objectives import landmark_distance, surface_point_distance
from facejax.programs import jit

SIDE = 64
SOME = np.arange(300, 420)  # triangles of the toy head's front


def truth(seed: int) -> FaceParams:
    camera = cam.PerspectiveCamera(jnp.float32(3.0 * SIDE), jnp.full(2, SIDE / 2.0))
    rng = np.random.default_rng(seed)
    return replace(
        neutral_params(toy_model(), camera, distance=1000.0),
        identity=jnp.asarray(rng.normal(size=6).clip(-1.5, 1.5), jnp.float32),
        pose=cam.Pose(cam.euler_to_quaternion(jnp.array([4.0, 15.0 * seed, -3.0])), jnp.array([4.0, 2.0, -1000.0])),
    )


def places(pixels, weights=None) -> SurfacePoints:
    corners = np.full((len(SOME), 3), 1 / 3, np.float32)
    weights = jnp.full(len(SOME), 1 / len(SOME)) if weights is None else weights
    return SurfacePoints(jnp.asarray(SOME), jnp.asarray(corners), pixels, weights)


def true_places(params: FaceParams) -> SurfacePoints:
    points = places(jnp.zeros((len(SOME), 2)))
    return replace(points, pixels=project_points(toy_model(), params, points))


def drawn_into(pixels: np.ndarray) -> np.ndarray:
    """A picture that says where the points are, in its first rows."""
    picture = np.full((SIDE, SIDE, 3), 0.5, np.float32)
    picture.reshape(-1)[: pixels.size] = pixels.reshape(-1) / SIDE
    return picture


def read_picture(weights, model, params, image, landmarks) -> Sight:
    return Sight(places(image.reshape(-1)[: 2 * len(SOME)].reshape(-1, 2) * SIDE * weights))


def seer(name: str) -> Ingredients:
    return Ingredients(seers={"picture": Seer(jnp.ones(()), read_picture, name, "reads the picture")})


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def test_the_term_is_geman_and_mcclures(float64):
    rng = np.random.default_rng(0)
    projected, observed = rng.uniform(0, 100, (2, 9, 2))
    observed[:5] = projected[:5] + rng.normal(0, 2.0, (5, 2))
    weights, size = rng.uniform(size=9), 80.0
    expected = 0.0
    for p, q, weight in zip(projected, observed, weights, strict=True):
        share = np.hypot(*(p - q)) / size
        expected += weight * share**2 / (1 + (share / 0.03) ** 2)
    term = lambda p: surface_point_distance(p, jnp.asarray(observed), jnp.asarray(weights), jnp.asarray(size))  # noqa: E731
    assert float(term(jnp.asarray(projected))) == pytest.approx(expected, rel=1e-12)
    check_gradient(term, projected)
    check_batch(surface_point_distance, *rng.uniform(0, 9, (2, 3, 9, 2)), rng.uniform(size=(3, 9)), np.full(3, 80.0))


def test_near_its_target_it_is_the_landmarks_distance(float64):
    rng = np.random.default_rng(1)
    there = rng.uniform(0, 100, (7, 2))
    away, even = there + rng.normal(0, 0.01, (7, 2)), np.full(7, 1 / 7)
    arrays = [jnp.asarray(one) for one in (away, there, even, 90.0)]
    assert float(surface_point_distance(*arrays)) == pytest.approx(float(landmark_distance(*arrays)), rel=1e-3)


def test_a_point_far_off_pulls_less_than_one_nearby():
    there, size, weight = jnp.zeros((1, 2)), jnp.float32(100.0), jnp.ones(1)
    pull = jax.grad(lambda x: surface_point_distance(jnp.stack([jnp.stack([x, x * 0])]), there, weight, size))
    assert 0 < float(pull(30.0)) < float(pull(1.0))


def test_a_point_is_projected_as_by_hand():
    model, camera = toy_model(), cam.PerspectiveCamera(jnp.float32(500.0), jnp.array([30.0, 40.0]))
    # a quarter turn about the vertical: (x, y, z) becomes (z, y, -x), a metre in front of the camera
    pose = cam.Pose(cam.euler_to_quaternion(jnp.array([0.0, 90.0, 0.0])), jnp.array([1.0, 2.0, -1000.0]))
    params = replace(neutral_params(model, camera), pose=pose, identity=jnp.array([0.0, 0.5, 0, 0, 0, 0]))
    place = SurfacePoints(jnp.array([100]), jnp.array([[0.5, 0.3, 0.2]]), jnp.zeros((1, 2)), jnp.ones(1))
    corners = np.asarray(model.mean + 0.5 * model.identity_std[1] * model.identity_basis[1])[model.faces[100]]
    x, y, z = 0.5 * corners[0] + 0.3 * corners[1] + 0.2 * corners[2]
    depth = 1000.0 + x
    expected = [30.0 + 500.0 * (z + 1.0) / depth, 40.0 - 500.0 * (y + 2.0) / depth]
    np.testing.assert_allclose(project_points(model, params, place)[0], expected, rtol=1e-4)


def test_another_resolution_scales_the_points():
    params = truth(1)
    points = true_places(params)
    marks = project_landmarks(toy_model(), params, jnp.asarray(False))
    blank = jnp.zeros((SIDE, SIDE, 3)), jnp.ones((SIDE, SIDE)), marks, jnp.ones(68), jnp.float32(30.0)
    seen = Observation(*blank, jnp.asarray(False), sight=Sight(points))
    small, camera = resize(seen, params, SIDE // 2)
    found = small.sight.points
    assert found is not None
    np.testing.assert_allclose(found.pixels, points.pixels / 2, rtol=1e-6)
    np.testing.assert_allclose(project_points(toy_model(), camera, found), found.pixels, atol=1e-3)
    np.testing.assert_array_equal(found.weights, points.weights)


def fitted(seeds, recipe, ingredients):
    faces = [truth(seed) for seed in seeds]
    noise = np.stack([np.random.default_rng(seed).normal(0, 0.5, (68, 2)) for seed in seeds])
    marks = [np.asarray(project_landmarks(toy_model(), face, jnp.asarray(False))) for face in faces] + noise
    shown = [drawn_into(np.asarray(true_places(face).pixels)) for face in faces]
    crops = prepare_crops(shown, list(marks), recipe=replace(recipe, size=SIDE), focal=3.0 * SIDE)
    # the picture is the crop, so that the network reads what was drawn
    crops = crops._replace(
        images=jnp.asarray(np.stack(shown)),
        landmarks=jnp.asarray(marks, jnp.float32),
        principal=jnp.full((len(faces), 2), SIDE / 2.0),
        focal=known_focal(jnp.full(len(faces), 3.0 * SIDE)),
        scale=jnp.ones(len(faces)),
        offset=jnp.zeros((len(faces), 2)),
    )
    program = jit(partial(fit_crops, recipe=recipe))
    return program(toy_model(), crops, ingredients=ingredients)


def shape_error(faces, k: int, seed: int) -> float:
    """Mean distance of the vertices from the truth, mm."""
    found = decode(toy_model(), jax.tree.map(lambda leaf: leaf[k], faces.params))
    return float(jnp.linalg.norm(found - decode(toy_model(), truth(seed)), axis=-1).mean())


MOVING = (("identity", 0.05), ("rotation", 0.002), ("translation", 0.3))
SHAPE = replace(
    LINEAR,
    contour="static",
    stages=(Stage("shape", 60, MOVING, (("surface_points", 500.0),)),),
)


def test_points_make_the_shape_more_exact():
    faces = fitted([1], SHAPE, seer(toy_model().name))
    before = replace(faces, params=faces.stages["landmarks"])
    assert shape_error(faces, 0, 1) < 0.7 * shape_error(before, 0, 1)


@pytest.mark.thorough
def test_faces_with_points_do_not_touch_each_other():
    own = seer(toy_model().name)
    both, alone = fitted([1, 2], SHAPE, own), fitted([2], SHAPE, own)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[1], b[0], atol=2e-2), both.params, alone.params)


@pytest.mark.thorough
def test_the_landmark_fit_takes_points_too():
    own, recipe = seer(toy_model().name), replace(LANDMARKS, contour="static")
    before, after = fitted([1], recipe, own), fitted([1], replace(recipe, priors=Priors(points=200.0)), own)
    assert shape_error(after, 0, 1) < 0.7 * shape_error(before, 0, 1)


def test_a_network_for_another_model_is_left_out():
    recipe = replace(SHAPE, priors=Priors(points=50.0))
    other = fitted([1], recipe, seer("another head"))
    none = fitted([1], recipe, Ingredients())
    jax.tree.map(np.testing.assert_array_equal, other, none)
    assert bool(none.finite[0]) and float(none.losses["shape"][0, 0]) == 0.0


def test_points_without_weight_change_nothing():
    params = truth(1)
    marks, points = project_landmarks(toy_model(), params, jnp.asarray(False)), true_places(truth(2))
    given = {"focal": known_focal(3.0 * SIDE), "principal": jnp.full(2, SIDE / 2.0), "priors": Priors(points=50.0)}
    unseen = replace(points, weights=jnp.zeros(len(SOME)))
    solve = jit(lambda points: fit_landmarks(toy_model(), marks, **given, contour="static", points=points))
    assert np.abs(solve(points).params.identity - solve(unseen).params.identity).max() > 0.1
    np.testing.assert_allclose(solve(unseen).params.identity, solve(NO_POINTS).params.identity, atol=1e-3)


def test_points_that_are_not_finite_do_not_count():
    params = truth(1)
    broken = np.asarray(true_places(params).pixels).copy()
    broken[3, 0] = np.nan
    own = seer(toy_model().name).seers
    seen = see(own, toy_model(), params, jnp.asarray(drawn_into(broken)), jnp.zeros((68, 2))).points
    assert seen is not None
    assert float(seen.weights[3]) == 0 and float(seen.weights[4]) > 0 and np.isfinite(seen.pixels).all()


def half_hidden(weights, model, params, image, landmarks) -> Sight:
    """The left half of the picture shows something else than the face."""
    shown = jnp.broadcast_to(jnp.where(jnp.arange(SIDE) < SIDE // 2, 0.0, 1.0), (SIDE, SIDE))
    return Sight(shown=shown * weights)


def test_pixels_that_show_something_else_do_not_count():
    """A black bar over half of the face leaves the colours of the other half as they are without it."""
    colours = Stage("colours", 30, (("albedo", 0.1), ("light", 0.05)), (("pixels", 1.0), ("albedo", 0.01)))
    recipe = replace(LINEAR, contour="static", stages=(colours,))
    hidden = Ingredients(seers={"bar": Seer(jnp.ones(()), half_hidden, None, "a bar")})
    blank = lambda part: jnp.asarray(np.where(np.arange(SIDE)[:, None] < part, 0.0, 0.5) * np.ones((SIDE, SIDE, 3)))  # noqa: E731
    faces = {}
    for bar in (0, SIDE // 2):
        crops = prepare_crops(
            [np.asarray(blank(bar))], [np.asarray(project_landmarks(toy_model(), truth(0), jnp.asarray(False)))]
        )
        crops = crops._replace(images=blank(bar)[None].astype(jnp.float32), valid=jnp.ones((1, SIDE, SIDE)))
        faces[bar] = jit(partial(fit_crops, recipe=replace(recipe, size=SIDE)))(toy_model(), crops, ingredients=hidden)
    light = {bar: np.asarray(face.params.light) for bar, face in faces.items()}
    np.testing.assert_allclose(light[0], light[SIDE // 2], atol=1e-3)


def test_masks_multiply_and_the_first_normals_count():
    up, side = jnp.array([0.0, 1.0, 0.0]), jnp.array([1.0, 0.0, 0.0])
    everywhere = lambda vector: jnp.broadcast_to(vector, (SIDE, SIDE, 3))  # noqa: E731
    first = Seer(None, lambda *_: Sight(shown=jnp.full((SIDE, SIDE), 0.5), normal=everywhere(up)), None, "a")
    second = Seer(None, lambda *_: Sight(shown=jnp.full((SIDE, SIDE), 0.4), normal=everywhere(side)), None, "b")
    seen = see({"a": first, "b": second}, toy_model(), truth(0), jnp.zeros((SIDE, SIDE, 3)), jnp.zeros((68, 2)))
    assert seen.shown is not None and seen.normal is not None and seen.points is None
    np.testing.assert_allclose(seen.shown, 0.2, rtol=1e-6)
    np.testing.assert_allclose(seen.normal[0, 0], up)

"""Landmarks of two networks: the mesh's crops in exact pixels, weights of a blend, leaning heads, real weights."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.camera import euler_to_quaternion, project, quaternion_to_euler, to_camera
from facejax.commands.demo import portrait, random_face
from facejax.evaluation import nme
from facejax.face_model.load import load_face_model
from facejax.face_model.surface_landmarks import MIRROR68
from facejax.fitting.landmarks import landmark_noise
from facejax.images import apply_crop
from facejax.images.align import warp
from facejax.nets.facemesh import MESH_POINTS, MESH_SIDE
from facejax.regression import blend, mesh_points
from facejax.regression.blend import blend_points, mesh_noise, mesh_offset
from facejax.regression.candidates import picture_side
from facejax.regression.mesh_points import INNER, MARGIN, MESH_INDEX, FaceMesh, MeshView, invert_points, upright_square
from facejax.regression.photos import regress_photos
from facejax.regression.regressor import Regression, load_regressor
from facejax.regression.turned import angle_transform, roll_angle, turn_by_angle

RNG = np.random.default_rng(0)
LEVEL = jnp.array([1.0, 0.0, 0.0, 0.0])


@pytest.fixture(scope="module")
def face():
    """A rendered face, display values, and its 68 landmarks."""
    model = load_face_model()
    image, points = portrait(model, random_face(model, key=jax.random.key(1)), key=jax.random.key(2))
    return np.asarray(image, np.float32), np.asarray(points, np.float64)


# --- crops ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degrees", [0, 25, -70, 180])
def test_the_square_is_level_and_holds_the_points_in_its_middle(degrees):
    """Against a frame that is built from complex numbers."""
    flat = RNG.uniform(-1, 1, (30, 2)) * [40, 60]
    line = np.array([[-20.0, 5.0], [20.0, 5.0]])
    turn = np.exp(1j * np.deg2rad(degrees))
    move = lambda points: 3.0 * points @ [1, 1j] * turn + 70 + 90j  # noqa: E731
    pair = lambda values: np.stack([values.real, values.imag], axis=-1)  # noqa: E731
    square = upright_square(jnp.asarray(pair(move(flat))), jnp.asarray(pair(move(line))))
    low, high = flat.min(0), flat.max(0)
    expected = (flat - (low + high) / 2) * MESH_SIDE / (MARGIN * np.ptp(flat, axis=0).max()) + MESH_SIDE / 2
    found = pair(move(flat)) @ np.asarray(square)[:, :2].T + np.asarray(square)[:, 2]
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_allclose(invert_points(square, jnp.asarray(expected)), pair(move(flat)), atol=1e-3)


def test_both_passes_come_back_to_the_pictures_pixels(monkeypatch):
    """A stand-in net that answers with the places of two spots: in a turned and scaled picture it finds the same."""
    places = np.array([[120.0, 150.0], [205.0, 171.0]])
    rows, columns = np.indices((320, 320)) + 0.5
    picture = np.zeros((320, 320, 3), np.float32)
    for k, (x, y) in enumerate(places):
        picture[..., k] = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 6.0**2))
    sizes = []

    def net(weights, images):
        sizes.append(images.shape)
        along = jnp.arange(MESH_SIDE, dtype=jnp.float32)  # such nets count from the centre of the first pixel
        mass = images[..., :2] / images[..., :2].sum(axis=(1, 2), keepdims=True)
        spots = jnp.stack([mass.sum(axis=1).swapaxes(1, 2) @ along, mass.sum(axis=2).swapaxes(1, 2) @ along], axis=-1)
        points = jnp.tile(spots[:, :1], (1, MESH_POINTS, 1)).at[:, mesh_points.EYE_CORNERS[1]].set(spots[:, 1])
        return jnp.pad(points, ((0, 0), (0, 0), (0, 1))), jnp.ones(len(images))

    monkeypatch.setattr(mesh_points, "apply_facemesh", net)
    landmarks = RNG.uniform(90, 240, (1, 68, 2)).astype(np.float32)
    seen = mesh_points.see_mesh(FaceMesh({}), jnp.asarray(picture[None]), jnp.asarray(landmarks))
    assert sizes == [(1, MESH_SIDE, MESH_SIDE, 3)] * 2
    np.testing.assert_allclose(seen.points[0, 0], places[0], atol=0.2)
    np.testing.assert_allclose(seen.points[0, mesh_points.EYE_CORNERS[1]], places[1], atol=0.2)


# --- weights ----------------------------------------------------------------------------------------------------------


def one_face(shift, *, face=5.0, confidence=0.9, rotation=LEVEL):
    """Landmarks in a box of 100 pixels; the mesh's points lie `shift` (68, 2) from where they would agree."""
    points = RNG.uniform(10, 90, (68, 2))
    points[:2] = [[0, 0], [100, 100]]
    mesh = np.zeros((MESH_POINTS, 2))
    mesh[list(MESH_INDEX)] = points[INNER:] + 100 * np.asarray(mesh_offset())[:, :2] * [1, -1] + shift
    view = MeshView(jnp.asarray(mesh, jnp.float32), jnp.float32(face))
    trust = jnp.full(68, confidence)
    return points, blend_points(jnp.asarray(points, jnp.float32), trust, rotation, view)


def test_points_are_means_weighted_by_precision_and_never_less_sure():
    points, (found, trust) = one_face([0.1, 0.0])  # a thousandth of the face: no disagreement to speak of
    ours, theirs = np.asarray(landmark_noise(jnp.full(68, 0.9)))[INNER:], np.asarray(mesh_noise(jnp.float32(0)))
    weight = theirs**-2 / (theirs**-2 + ours**-2)
    np.testing.assert_allclose((np.asarray(found) - points)[INNER:], weight[:, None] * [0.1, 0.0], atol=2e-3)
    np.testing.assert_allclose(found[:INNER], points[:INNER], rtol=1e-6)
    assert np.all(np.asarray(trust)[INNER:] > 0.9) and np.all(np.asarray(trust)[:INNER] == np.float32(0.9))


def test_without_a_face_in_the_mesh_nothing_changes():
    points, (found, trust) = one_face([4.0, 0.0], face=-0.1)
    np.testing.assert_array_equal(found, points.astype(np.float32))
    np.testing.assert_array_equal(trust, np.full(68, 0.9, np.float32))


def test_the_regressor_wins_where_both_disagree_or_the_head_is_turned_away():
    shares = []
    for shift in (2.0, 15.0, 40.0):
        points, (found, _) = one_face([shift, 0.0])
        shares.append(np.mean(np.asarray(found)[INNER + 10 :, 0] - points[INNER + 10 :, 0]) / shift)
    assert shares[0] > 0.7 > shares[1] > shares[2] and shares[2] < 0.1
    turned = [
        np.mean(np.abs(np.asarray(found) - np.float32(points))[INNER + 10 :])
        for yaw in (0.0, 40.0, 80.0)
        for points, (found, _) in [one_face([2.0, 0.0], rotation=euler_to_quaternion(jnp.array([0.0, yaw, 0.0])))]
    ]
    assert turned[0] > turned[1] > turned[2] == 0


def test_the_tables_are_mirrored_and_named_once():
    offset = np.zeros((68, 3))
    offset[INNER:] = mesh_offset()
    np.testing.assert_allclose(offset[np.asarray(MIRROR68)] * [-1, 1, 1], offset, atol=1e-7)
    assert len(set(MESH_INDEX)) == len(MESH_INDEX) == 68 - INNER == sum(blend.COUNTS.values())
    assert set(blend.COUNTS) == set(blend.FRONT_NOISE) == set(blend.WIDENING)


# --- leaning heads ----------------------------------------------------------------------------------------------------


def test_a_face_turned_by_an_angle_projects_to_turned_points(face):
    """Pose, camera and points belong together; the angle is the one that levels the head."""
    regressor = load_regressor()
    params = random_face(regressor.model, key=jax.random.key(3))
    params = replace(params, pose=replace(params.pose, rotation=euler_to_quaternion(jnp.array([5.0, 20.0, 30.0]))))
    drawn = lambda params: project(params.camera, to_camera(params.pose, regressor.model.mean[::500]))[:, :2]  # noqa: E731
    one = Regression(params, drawn(params), jnp.ones(68))  # type: ignore[arg-type]
    angle, centre = jnp.float32(roll_angle(params.pose.rotation)), jnp.array([50.0, 80.0])
    turned = turn_by_angle(one, angle, centre)
    np.testing.assert_allclose(drawn(turned.params), turned.landmarks, atol=2e-3)
    from_centre = [np.asarray(points) - np.asarray(centre) for points in (one.landmarks, turned.landmarks)]
    before, after = (points @ np.array([1, -1j]) for points in from_centre)  # y up, so angles are counter-clockwise
    np.testing.assert_allclose(after, before * np.exp(1j * float(angle)), atol=2e-3)
    assert abs(roll_angle(turned.params.pose.rotation)) < 1e-4
    assert abs(float(quaternion_to_euler(turned.params.pose.rotation)[2])) < 5


def test_no_angle_is_the_plain_crop():
    regressor = load_regressor()
    side, wide = regressor.config.side, picture_side(regressor)
    picture = jnp.asarray(RNG.uniform(size=(wide, wide, 3)), jnp.float32)
    edge = (wide - side) // 2
    turn = angle_transform(jnp.float32(0), jnp.full(2, wide / 2), jnp.full(2, side / 2))
    np.testing.assert_allclose(warp(picture, turn, side), picture[edge : edge + side, edge : edge + side], atol=1e-5)


@pytest.mark.parametrize("degrees", [-50, 35])
def test_a_leaning_head_is_seen_as_the_upright_one(face, degrees):
    image, points = face
    centre = jnp.asarray(np.array(image.shape[1::-1]) / 2, jnp.float32)
    turn = angle_transform(jnp.float32(np.deg2rad(degrees)), centre, centre)
    square = warp(jnp.asarray(image), turn, image.shape[0])
    there = points @ np.asarray(turn)[:, :2].T + np.asarray(turn)[:, 2]
    box = np.concatenate([there.min(0), there.max(0)])
    found = regress_photos(load_regressor(), [np.asarray(square)], boxes=[box], batch=1).faces[0].regression
    assert float(nme(np.asarray(found.landmarks, np.float64), there)) < 3.0
    assert abs(np.rad2deg(roll_angle(found.params.pose.rotation)) + degrees) < 8


# --- real weights -----------------------------------------------------------------------------------------------------


def test_the_mesh_sees_a_rendered_face_where_its_points_are(face):
    image, points = face
    box = np.concatenate([points.min(0), points.max(0)])
    found = regress_photos(load_regressor(), [image], boxes=[box], batch=1).faces[0].regression
    assert float(nme(np.asarray(found.landmarks, np.float64), points)) < 3.0
    crop = blend.mesh_crop(points)
    picture = apply_crop(image, crop, blend.SIDE)[0]
    seen = mesh_points.see_mesh(
        mesh_points.load_face_mesh(),
        jnp.asarray(picture[None]),
        jnp.asarray(crop.apply_points(points)[None], jnp.float32),
    )
    mesh = crop.invert_points(np.asarray(seen.points[0])[list(MESH_INDEX)])
    size = np.sqrt(np.prod(np.ptp(points, axis=0)))
    assert float(seen.face[0]) > 0 and np.linalg.norm(mesh[10:] - points[27:], axis=1).mean() / size < 0.05

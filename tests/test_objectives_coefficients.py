"""The coefficient vector: packing, whitening, posing and cameras against plain float64 numpy."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives_tools import NumpyFace, check_batch, check_gradient
from scipy.spatial.transform import Rotation
from toy import toy_model

from facejax.camera import Pose, WeakPerspectiveCamera, project, quaternion_to_matrix, to_camera
from facejax.face_model import decode, landmarks, neutral_params
from facejax.objectives import coefficients as co


@pytest.mark.parametrize("pose_size", [12, 7])
def test_posed_points_are_those_of_plain_loops(float64, pose_size):
    face = NumpyFace(pose_size=pose_size)
    white = face.vectors()[0]
    found = co.posed_points(face.space(), jnp.asarray(white))
    np.testing.assert_allclose(found, face.posed(white), rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("pose_size", [12, 7])
def test_posing_has_the_gradient_of_central_differences_and_batches(float64, pose_size):
    face = NumpyFace(pose_size=pose_size)
    space, (predicted, true) = face.space(), face.vectors()
    check_gradient(lambda p: jnp.sum(jnp.sin(co.posed_points(space, p) / 50)), predicted, tolerance=1e-7)
    check_batch(lambda p: co.posed_points(space, p), jnp.stack([jnp.asarray(predicted), jnp.asarray(true)]))


def test_a_network_that_says_zero_gives_the_mean_face_at_the_mean_pose(float64):
    face = NumpyFace()
    found = co.unpack(face.space(), co.unwhiten(face.space().whitening, jnp.zeros(19)))
    np.testing.assert_allclose(found.pose, face.centre[:12].reshape(3, 4))
    np.testing.assert_allclose(found.shape, face.centre[12:])


def test_pack_is_row_major_and_undone_by_unpack(float64):
    pose = jnp.arange(12.0).reshape(3, 4)
    raw = co.pack(pose, jnp.full(4, 20.0), jnp.full(3, 30.0))
    np.testing.assert_array_equal(raw, [*range(12), 20, 20, 20, 20, 30, 30, 30])
    found = co.unpack(NumpyFace().space(), raw)
    np.testing.assert_array_equal(found.pose, pose)
    np.testing.assert_array_equal(found.shape, raw[12:])
    seven = co.pack_seven(jnp.arange(7.0), jnp.zeros(4), jnp.zeros(3))
    np.testing.assert_array_equal(seven, [*range(7), *[0] * 7])


def test_whitening_of_samples_has_mean_zero_and_deviation_one(float64):
    samples = np.random.default_rng(0).normal(size=(500, 5)) * [1, 10, 1e-3, 4, 0] + [0, 5, 1, -2, 7]
    whitening = co.fit_whitening(jnp.asarray(samples))
    white = np.asarray(co.whiten(whitening, jnp.asarray(samples)))
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(white.std(0), [1, 1, 1, 1, 0], atol=1e-9)  # the constant entry stays finite
    np.testing.assert_allclose(co.unwhiten(whitening, jnp.asarray(white)), samples, atol=1e-12)


def test_seven_numbers_are_scale_angles_translation(float64):
    seven = np.array([1.7, 0.3, -0.8, 0.2, 5.0, 6.0, 7.0])
    matrix = np.asarray(co.matrix_from_seven(jnp.asarray(seven)))
    turn = Rotation.from_euler("YXZ", [-0.8, 0.3, 0.2]).as_matrix()  # intrinsic: Ry(yaw) Rx(pitch) Rz(roll)
    np.testing.assert_allclose(matrix, np.column_stack([1.7 * turn, [5, 6, 7]]), atol=1e-12)
    np.testing.assert_allclose(co.seven_from_matrix(jnp.asarray(matrix)), seven, atol=1e-12)


def test_a_matrix_that_is_no_rotation_gives_the_nearest_one(float64):
    noisy = np.diag([2.0, 2.0, 2.0]) + 0.1 * np.random.default_rng(0).normal(size=(3, 3))
    seven = co.seven_from_matrix(jnp.asarray(np.column_stack([noisy, np.zeros(3)])))
    matrix = np.asarray(co.matrix_from_seven(seven))[:, :3]
    nearest = Rotation.align_vectors(noisy.T, np.eye(3))[0]
    np.testing.assert_allclose(matrix / seven[0], nearest.as_matrix(), atol=1e-7)


def test_pixels_are_those_of_the_scaled_orthographic_camera(float64):
    rng = np.random.default_rng(3)
    pose = Pose(jnp.asarray([0.8, 0.3, -0.4, 0.2]) / np.sqrt(0.93), jnp.asarray([3.0, -8.0, -700.0]))
    camera = WeakPerspectiveCamera(jnp.asarray(0.6), jnp.asarray([50.0, 71.0]))
    points = rng.normal(size=(20, 3)) * 60
    expected = np.asarray(project(camera, to_camera(pose, jnp.asarray(points))))
    matrix = np.asarray(co.pose_from_camera(pose, camera, 120.0))
    found = np.asarray(co.to_pixels(jnp.asarray(points @ matrix[:, :3].T + matrix[:, 3]), 120.0))
    np.testing.assert_allclose(found[:, :2], expected[:, :2], atol=1e-10)
    np.testing.assert_allclose(found[:, 2], -0.6 * expected[:, 2], atol=1e-9)  # depth in pixels, to the viewer

    back, lens = co.camera_from_pose(jnp.asarray(matrix), 120.0)
    again = np.asarray(project(lens, to_camera(back, jnp.asarray(points))))
    np.testing.assert_allclose(again, expected, atol=1e-9)
    np.testing.assert_allclose(quaternion_to_matrix(back.rotation), quaternion_to_matrix(pose.rotation), atol=1e-12)


def test_to_pixels_with_121_is_the_published_flip_of_released_weights():
    """y = 121 - y, counted from 1: the top pixel's centre (1) is at 0.5 from the corner."""
    found = co.to_pixels(jnp.array([[1.0, 120.0, 9.0]]), 121.0) - jnp.array([[0.5, 0.5, 0.0]])
    np.testing.assert_allclose(found, [[0.5, 0.5, 9.0]])


def test_a_face_models_points_are_its_landmarks_then_its_vertices():
    model = toy_model()
    mean, basis = co.face_model_points(model, identity=4, expression=2, vertices=True)
    assert mean.shape == (68 + 760, 3) and basis.shape == (6, 68 + 760, 3)
    rng = np.random.default_rng(0)
    params = neutral_params(model, WeakPerspectiveCamera(jnp.ones(()), jnp.zeros(2)))
    shape = rng.normal(size=6).astype(np.float32)
    vertices = decode(model, replace(params, identity=jnp.asarray(shape[:4]), expression=jnp.asarray(shape[4:])))
    expected = np.concatenate([landmarks(model, vertices), vertices])
    found = co.shape_points(co.coefficient_space(mean, basis), jnp.asarray(shape))
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_at_points_keeps_only_those(float64):
    face = NumpyFace()
    white = jnp.asarray(face.vectors()[0])
    few = co.at_points(face.space(), jnp.array([7, 2]))
    np.testing.assert_allclose(co.posed_points(few, white), face.posed(white)[[7, 2]], atol=1e-10)
    few_basis = face.basis[:, [7, 2]]
    np.testing.assert_allclose(few.gram[3, 3], np.sum(few_basis[0, :, 0] ** 2))
    assert few.gram[-1, -1] == 2


def test_a_whitening_of_the_wrong_length_is_refused():
    face = NumpyFace()
    with pytest.raises(ValueError, match="whitening has 5 entries, the space 14: 7 of the pose and 7 coefficients"):
        short = co.Whitening(jnp.zeros(5), jnp.ones(5))
        co.coefficient_space(jnp.asarray(face.mean), jnp.asarray(face.basis), short, pose="euler")


def test_spaces_pass_through_jit_as_trees():
    face = NumpyFace()
    same = jax.jit(lambda space: space)(face.space())
    assert same.pose == "affine" and same.mean.shape == (11, 3)

"""The coefficient vector: packing, whitening, posing and cameras against plain float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objectives_tools import NumpyFace, check_batch, check_gradient

from facejax.camera import Pose, WeakPerspectiveCamera, project, to_camera
from facejax.objectives import coefficients as co


def test_posed_points_are_those_of_plain_loops(float64):
    face = NumpyFace()
    white = face.vectors()[0]
    found = co.posed_points(face.space(), jnp.asarray(white))
    np.testing.assert_allclose(found, face.posed(white), rtol=1e-12, atol=1e-10)


def test_posing_has_the_gradient_of_central_differences_and_batches(float64):
    face = NumpyFace()
    space, (predicted, true) = face.space(), face.vectors()
    check_gradient(lambda p: jnp.sum(jnp.sin(co.posed_points(space, p) / 50)), predicted, tolerance=1e-7)
    check_batch(lambda p: co.posed_points(space, p), jnp.stack([jnp.asarray(predicted), jnp.asarray(true)]))


def test_a_network_that_says_zero_gives_the_mean_face_at_the_mean_pose(float64):
    face = NumpyFace()
    found = co.unpack(co.unwhiten(face.space().whitening, jnp.zeros(19)))
    np.testing.assert_allclose(found.pose, face.centre[:12].reshape(3, 4))
    np.testing.assert_allclose(found.shape, face.centre[12:])


def test_pack_is_row_major_and_undone_by_unpack(float64):
    pose = jnp.arange(12.0).reshape(3, 4)
    raw = co.pack(pose, jnp.full(4, 20.0), jnp.full(3, 30.0))
    np.testing.assert_array_equal(raw, [*range(12), 20, 20, 20, 20, 30, 30, 30])
    found = co.unpack(raw)
    np.testing.assert_array_equal(found.pose, pose)
    np.testing.assert_array_equal(found.shape, raw[12:])


def test_whitening_of_samples_has_mean_zero_and_deviation_one(float64):
    samples = np.random.default_rng(0).normal(size=(500, 5)) * [1, 10, 1e-3, 4, 0] + [0, 5, 1, -2, 7]
    whitening = co.fit_whitening(jnp.asarray(samples))
    white = np.asarray(co.whiten(whitening, jnp.asarray(samples)))
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(white.std(0), [1, 1, 1, 1, 0], atol=1e-9)  # the constant entry stays finite
    np.testing.assert_allclose(co.unwhiten(whitening, jnp.asarray(white)), samples, atol=1e-12)


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


def test_to_pixels_with_121_is_the_published_flip_of_released_weights():
    """y = 121 - y, counted from 1: the top pixel's centre (1) is at 0.5 from the corner."""
    found = co.to_pixels(jnp.array([[1.0, 120.0, 9.0]]), 121.0) - jnp.array([[0.5, 0.5, 0.0]])
    np.testing.assert_allclose(found, [[0.5, 0.5, 9.0]])


def test_a_whitening_of_the_wrong_length_is_refused():
    face = NumpyFace()
    with pytest.raises(ValueError, match="whitening has 5 entries, the space 19: 12 of the pose and 7 coefficients"):
        short = co.Whitening(jnp.zeros(5), jnp.ones(5))
        co.coefficient_space(jnp.asarray(face.mean), jnp.asarray(face.basis), short)


def test_spaces_pass_through_jit_as_trees():
    face = NumpyFace()
    same = jax.jit(lambda space: space)(face.space())
    assert same.mean.shape == (11, 3)

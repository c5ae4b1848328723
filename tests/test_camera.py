"""Rotations, poses and projections against scipy and plain float64 formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facejax.camera import (
    NEAR,
    PerspectiveCamera,
    Pose,
    WeakPerspectiveCamera,
    axis_angle_to_quaternion,
    euler_to_quaternion,
    focal_from_fov,
    matrix_to_quaternion,
    project,
    quaternion_multiply,
    quaternion_to_euler,
    quaternion_to_matrix,
    to_camera,
    transform_camera,
)

RANDOM = Rotation.random(64, rng=np.random.default_rng(0))
HALF_TURNS = Rotation.from_rotvec(np.pi * np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0.8, 0], [0, -0.6, 0.8]]))
ALL = Rotation.concatenate([Rotation.identity(1), HALF_TURNS, RANDOM])
POINTS = np.random.default_rng(1).normal(size=(40, 3)) * 80


def wxyz(rotation):
    return rotation.as_quat(scalar_first=True)


# --- rotations --------------------------------------------------------------------------------------------------------


def test_quaternion_to_matrix_agrees_with_scipy(float64):
    np.testing.assert_allclose(quaternion_to_matrix(jnp.asarray(wxyz(ALL))), ALL.as_matrix(), atol=1e-14)


def test_length_of_the_quaternion_does_not_matter(float64):
    scaled = jnp.asarray(wxyz(ALL) * 3.7)
    np.testing.assert_allclose(quaternion_to_matrix(scaled), ALL.as_matrix(), atol=1e-14)


def test_matrix_to_quaternion_inverts_also_at_half_turns(float64):
    found = np.asarray(matrix_to_quaternion(jnp.asarray(ALL.as_matrix())))
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, atol=1e-14)
    assert (found[:, 0] >= 0).all()
    np.testing.assert_allclose(Rotation.from_quat(found, scalar_first=True).as_matrix(), ALL.as_matrix(), atol=1e-14)


def test_matrix_to_quaternion_is_accurate_in_float32():
    found = np.asarray(matrix_to_quaternion(jnp.asarray(ALL.as_matrix(), jnp.float32)), np.float64)
    error = Rotation.from_quat(found, scalar_first=True) * ALL.inv()
    assert error.magnitude().max() < 1e-6


def test_matrix_to_quaternion_has_a_finite_gradient_everywhere():
    gradients = jax.jit(jax.vmap(jax.jacobian(matrix_to_quaternion)))(jnp.asarray(ALL.as_matrix(), jnp.float32))
    assert np.isfinite(gradients).all()


def test_quaternion_product_is_the_second_rotation_after_the_first(float64):
    first, second = RANDOM[:32], RANDOM[32:]
    product = quaternion_multiply(jnp.asarray(wxyz(second)), jnp.asarray(wxyz(first)))
    np.testing.assert_allclose(quaternion_to_matrix(product), (second * first).as_matrix(), atol=1e-14)


@pytest.mark.parametrize("length", [0.0, 1e-12, 1e-5, 0.99e-4, 1.01e-4, 0.3, 3.0, 2 * np.pi, 7.0])
def test_axis_angle_agrees_with_scipy_at_every_length(float64, length):
    vectors = np.array([[1, 0, 0], [0.6, 0, -0.8], [-0.48, 0.6, 0.64]]) * length
    found = quaternion_to_matrix(axis_angle_to_quaternion(jnp.asarray(vectors)))
    np.testing.assert_allclose(found, Rotation.from_rotvec(vectors).as_matrix(), atol=1e-14)


@pytest.mark.parametrize("length", [0.0, 1e-6, 0.99e-4, 1.01e-4, 0.5, 3.0])
def test_axis_angle_gradient_agrees_with_central_differences(float64, length):
    at = jnp.array([0.6, 0.0, -0.8]) * length

    def function(v):
        return axis_angle_to_quaternion(v)

    step = 1e-5 * jnp.eye(3)
    numeric = jnp.stack([(function(at + d) - function(at - d)) / 2e-5 for d in step], axis=-1)
    np.testing.assert_allclose(jax.jacfwd(function)(at), numeric, atol=1e-9)
    np.testing.assert_allclose(jax.jacrev(function)(at), numeric, atol=1e-9)


def test_euler_angles_are_yaw_after_pitch_after_roll(float64):
    degrees = np.random.default_rng(2).uniform(-80, 80, (20, 3))
    expected = Rotation.from_euler("YXZ", degrees[:, [1, 0, 2]], degrees=True)  # capital letters: intrinsic axes
    quaternion = euler_to_quaternion(jnp.asarray(degrees))
    np.testing.assert_allclose(quaternion_to_matrix(quaternion), expected.as_matrix(), atol=1e-14)
    np.testing.assert_allclose(quaternion_to_euler(quaternion), degrees, atol=1e-10)


def test_angles_turn_the_face_the_way_the_words_say():
    nose = jnp.array([[0.0, 0.0, 100.0]])
    for degrees, axis, sign in [([0, 30, 0], 0, 1), ([-30, 0, 0], 1, 1), ([30, 0, 0], 1, -1)]:
        pose = Pose(euler_to_quaternion(jnp.array(degrees, jnp.float32)), jnp.zeros(3))
        assert sign * to_camera(pose, nose)[0, axis] > 40  # right of the viewer, up, down
    top = jnp.array([[0.0, 100.0, 0.0]])
    rolled = to_camera(Pose(euler_to_quaternion(jnp.array([0.0, 0.0, 30.0])), jnp.zeros(3)), top)
    assert rolled[0, 0] < -40  # counter-clockwise for the viewer


# --- projection -------------------------------------------------------------------------------------------------------


def perspective(focal=900.0, x=320.0, y=240.0):
    return PerspectiveCamera(jnp.asarray(focal), jnp.asarray([x, y]))


def test_upright_face_projects_upright():
    pose = Pose(jnp.array([1.0, 0, 0, 0]), jnp.array([0.0, 0, -1000.0]))
    points = jnp.array([[0.0, 0, 0], [50.0, 0, 0], [0.0, 50, 0], [0.0, 0, 100]])
    expected = [[320, 240, 1000], [365, 240, 1000], [320, 195, 1000], [320, 240, 900]]
    np.testing.assert_allclose(project(perspective(), to_camera(pose, points)), expected, rtol=1e-6)


def test_perspective_agrees_with_an_intrinsic_matrix(float64):
    pose = Pose(jnp.asarray(wxyz(RANDOM[3])), jnp.asarray([15.0, -20.0, -700.0]))
    view = (RANDOM[3].apply(POINTS) + np.array([15.0, -20.0, -700.0])) * np.array([1, -1, -1])
    homogeneous = view @ np.array([[900.0, 0, 320], [0, 900, 240], [0, 0, 1]]).T
    found = np.asarray(project(perspective(), to_camera(pose, jnp.asarray(POINTS))))
    np.testing.assert_allclose(found[:, :2], homogeneous[:, :2] / homogeneous[:, 2:], atol=1e-10)
    np.testing.assert_allclose(found[:, 2], view[:, 2], atol=1e-10)


def test_weak_perspective_ignores_depth_and_meets_perspective_far_away(float64):
    weak = WeakPerspectiveCamera(jnp.asarray(0.9), jnp.asarray([320.0, 240.0]))
    near, far = (np.asarray(project(weak, jnp.asarray(POINTS - [0, 0, z]))) for z in (500.0, 5000.0))
    np.testing.assert_allclose(near[:, :2], far[:, :2])
    np.testing.assert_allclose(near[:, :2], [320, 240] + 0.9 * POINTS[:, :2] * [1, -1])
    distant = project(perspective(0.9e7), jnp.asarray(POINTS - [0, 0, 1e7]))
    np.testing.assert_allclose(distant[:, :2], near[:, :2], atol=1e-2)


def test_points_at_and_behind_the_camera_stay_finite_and_keep_their_depth():
    points = jnp.array([[1.0, 2.0, 0.0], [1.0, 2.0, 300.0], [1.0, 2.0, -NEAR / 2]])
    found = project(perspective(), points)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[:, 2], [0.0, -300.0, NEAR / 2])
    assert np.isfinite(jax.jit(jax.jacobian(lambda p: project(perspective(), p)))(points)).all()


@pytest.mark.parametrize(("kind", "size"), [(PerspectiveCamera, 700.0), (WeakPerspectiveCamera, 0.9)])
def test_projection_gradient_agrees_with_central_differences(float64, kind, size):
    rng = np.random.default_rng(5)
    pose = Pose(jnp.asarray(wxyz(RANDOM[7])), jnp.asarray([5.0, 6.0, -800.0]))
    inputs = (kind(jnp.asarray(size), jnp.asarray([112.0, 112.0])), pose, jnp.asarray(POINTS[:5]))

    @jax.jit
    def function(camera, pose, points):
        return jnp.sum(jnp.sin(project(camera, to_camera(pose, points)) / 100))

    gradient = jax.jit(jax.grad(function, argnums=(0, 1, 2)))(*inputs)
    direction = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), inputs)
    step = 1e-6

    def moved(sign):
        return function(*jax.tree.map(lambda x, d: x + sign * step * d, inputs, direction))

    numeric = (moved(1) - moved(-1)) / (2 * step)
    analytic = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True))
    np.testing.assert_allclose(analytic, numeric, rtol=1e-6)


def test_a_batch_compiled_is_the_single_faces():
    poses = Pose(jnp.asarray(wxyz(RANDOM[:6]), jnp.float32), jnp.asarray(POINTS[:6] - [0, 0, 900], jnp.float32))
    cameras = PerspectiveCamera(jnp.linspace(500.0, 1000.0, 6), jnp.asarray(POINTS[:6, :2] + 200, jnp.float32))
    points = jnp.asarray(POINTS, jnp.float32)

    def function(camera, pose):
        return project(camera, to_camera(pose, points))

    batch = jax.jit(jax.vmap(function))(cameras, poses)
    for k in range(6):
        single = function(*jax.tree.map(lambda leaf, k=k: leaf[k], (cameras, poses)))
        np.testing.assert_allclose(batch[k], single, rtol=1e-5, atol=1e-3)


def test_the_focal_length_of_a_field_of_view():
    assert abs(focal_from_fov(12.5936, 224) - 1015.0) < 0.01  # the camera of Deep3DFaceRecon
    assert focal_from_fov(90.0, 640) == pytest.approx(320.0)


@pytest.mark.parametrize("kind", [PerspectiveCamera, WeakPerspectiveCamera])
def test_camera_of_a_resampled_image(float64, kind):
    camera = kind(jnp.asarray(700.0), jnp.asarray([300.0, 200.0]))
    points = jnp.asarray(POINTS - [0, 0, 900.0])
    scale, offset = jnp.asarray(0.37), jnp.asarray([-12.0, 5.0])
    before, after = project(camera, points), project(transform_camera(camera, scale, offset), points)
    np.testing.assert_allclose(after[:, :2], scale * before[:, :2] + offset[None], atol=1e-9)
    np.testing.assert_allclose(after[:, 2], before[:, 2])

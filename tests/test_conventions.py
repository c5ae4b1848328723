"""Each converter against the other library's own formula, written out in float64 numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facejax import conventions
from facejax.camera import Pose, project, to_camera
from facejax.lighting import shade

POINTS = np.random.default_rng(0).uniform(-90, 90, (50, 3))  # mm, a head


def pixels(pose, camera, points):
    return np.asarray(project(camera, to_camera(pose, jnp.asarray(points))))[:, :2]


def opencv_case(seed):
    rng = np.random.default_rng(seed)
    rvec = Rotation.from_euler("x", np.pi).as_matrix() @ Rotation.from_rotvec(rng.normal(size=3) * 0.5).as_matrix()
    matrix = np.array([[1234.5, 0, 301.25], [0, 1234.5, 222.75], [0, 0, 1]])
    return Rotation.from_matrix(rvec).as_rotvec(), np.array([12.0, -34.0, 900.0]), matrix


@pytest.mark.parametrize("seed", range(4))
def test_opencv_camera_projects_like_projectpoints(float64, seed):
    rvec, tvec, matrix = opencv_case(seed)
    homogeneous = (Rotation.from_rotvec(rvec).apply(POINTS) + tvec) @ matrix.T
    theirs = homogeneous[:, :2] / homogeneous[:, 2:]
    ours = pixels(*conventions.from_opencv(rvec, tvec, matrix), POINTS)
    np.testing.assert_allclose(ours, theirs + 0.5, atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_opencv_round_trip_returns_the_same_numbers(float64, seed):
    rvec, tvec, matrix = opencv_case(seed)
    back = conventions.to_opencv(*conventions.from_opencv(rvec, tvec, matrix, unit=10.0), unit=10.0)
    for got, want in zip(back, (rvec, tvec, matrix), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-9)


def test_opencv_identity_rotation_has_a_finite_gradient():
    pose = Pose(jnp.array([0.0, 1.0, 0.0, 0.0]), jnp.array([0.0, 0.0, -500.0]))
    _, camera = conventions.from_opencv(*opencv_case(0))

    def length(rotation):
        return jnp.sum(conventions.to_opencv(Pose(rotation, pose.translation), camera)[0] ** 2)

    assert np.isfinite(jax.grad(length)(pose.rotation)).all()


def test_opencv_rejects_skew_and_oblong_pixels():
    rvec, tvec, matrix = opencv_case(0)
    with pytest.raises(ValueError, match="square pixels"):
        conventions.from_opencv(rvec, tvec, matrix * np.array([1, 1.1, 1])[:, None])
    matrix[0, 1] = 30.0
    with pytest.raises(ValueError, match="rectify"):
        conventions.from_opencv(rvec, tvec, matrix)


def pytorch3d_pixels(points, rotation, translation, focal, principal, height, width):
    """NDC by the pinhole formula, then NDC to screen: +1 is the left and the top edge of the shorter side."""
    view = points @ rotation + translation
    ndc = focal * view[:, :2] / view[:, 2:] + principal
    half = min(height, width) / 2
    return np.stack([width / 2 - half * ndc[:, 0], height / 2 - half * ndc[:, 1]], -1)


@pytest.mark.parametrize("size", [(240, 320), (320, 240), (224, 224)])
def test_pytorch3d_ndc_camera_projects_alike(float64, size):
    rotation = Rotation.from_euler("xyz", [0.2, np.pi - 0.4, 0.1]).as_matrix()
    translation, focal, principal = np.array([3.0, -5.0, 700.0]), np.array([5.5, 5.5]), np.array([0.13, -0.21])
    theirs = pytorch3d_pixels(POINTS, rotation, translation, focal, principal, *size)
    pose, camera = conventions.from_pytorch3d(rotation, translation, focal, principal, size)
    np.testing.assert_allclose(pixels(pose, camera, POINTS), theirs, atol=1e-9)
    for got, want in zip(
        conventions.to_pytorch3d(pose, camera, size), (rotation, translation, focal, principal), strict=True
    ):
        np.testing.assert_allclose(got, want, atol=1e-12)


def test_pytorch3d_screen_camera_projects_alike(float64):
    rotation, translation = Rotation.from_euler("y", np.pi).as_matrix(), np.array([3.0, -5.0, 0.7])
    focal, principal, size = np.array([900.0, 900.0]), np.array([111.0, 140.0]), (240, 320)
    view = POINTS / 1000 @ rotation + translation
    theirs = principal - focal * view[:, :2] / view[:, 2:]
    camera = conventions.from_pytorch3d(rotation, translation, focal, principal, size, in_ndc=False, unit=1000.0)
    np.testing.assert_allclose(pixels(*camera, POINTS), theirs, atol=1e-9)


def deep3d_projection(shape, angles, translation):
    """(u, v) with v upwards: rows as points, X = S (Rz Ry Rx)^T + t, then depth 10 - z, focal 1015, centre 112."""
    x, y, z = angles
    rx = np.array([[1, 0, 0], [0, np.cos(x), -np.sin(x)], [0, np.sin(x), np.cos(x)]])
    ry = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    rz = np.array([[np.cos(z), -np.sin(z), 0], [np.sin(z), np.cos(z), 0], [0, 0, 1]])
    moved = shape @ (rz @ ry @ rx).T + translation
    return 1015 * moved[:, :2] / (10 - moved[:, 2:]) + 112


@pytest.mark.parametrize("seed", range(3))
def test_deep3d_camera_projects_alike(float64, seed):
    rng = np.random.default_rng(seed)
    angles, translation = rng.normal(size=3) * 0.4, rng.normal(size=3) * 0.3
    theirs = deep3d_projection(POINTS / 100, angles, translation)
    rendered = pixels(*conventions.from_deep3d(angles, translation), POINTS)
    # a point at the optical axis is drawn in the middle of the 224 px image, its edge between pixels 111 and 112
    np.testing.assert_allclose(rendered, np.stack([theirs[:, 0], 224 - theirs[:, 1]], -1), atol=1e-9)
    # its landmark files count rows as 223 - v from the first pixel's centre
    marks = pixels(*conventions.from_deep3d(angles, translation, landmark_pixels=True), POINTS)
    np.testing.assert_allclose(marks, np.stack([theirs[:, 0], 223 - theirs[:, 1]], -1) + 0.5, atol=1e-9)


def unit_normals(seed=3, count=200):
    normals = np.random.default_rng(seed).normal(size=(count, 3))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def test_deep3d_light_shades_alike(float64):
    gamma, n = np.random.default_rng(1).normal(size=(3, 9)) * 0.3, unit_normals()
    x, y, z = n.T
    a = [np.pi, 2 * np.pi / np.sqrt(3), 2 * np.pi / np.sqrt(8)]
    c = [1 / np.sqrt(4 * np.pi), np.sqrt(3) / np.sqrt(4 * np.pi), 3 * np.sqrt(5) / np.sqrt(12 * np.pi)]
    k1, k2 = a[1] * c[1], a[2] * c[2]
    constant, middle = np.full_like(x, a[0] * c[0]), 0.5 * k2 / np.sqrt(3) * (3 * z * z - 1)
    last = 0.5 * k2 * (x * x - y * y)
    basis = [constant, -k1 * y, k1 * z, -k1 * x, k2 * x * y, -k2 * y * z, middle, -k2 * x * z, last]
    theirs = np.stack(basis, -1) @ (gamma + np.array([0.8, *[0] * 8])).T
    np.testing.assert_allclose(shade(jnp.asarray(n), conventions.from_deep3d_light(gamma)), theirs, atol=1e-12)


def test_deep3d_zero_light_is_the_known_constant(float64):
    shading = shade(jnp.asarray(unit_normals()), conventions.from_deep3d_light(np.zeros((3, 9))))
    np.testing.assert_allclose(shading, 0.8 * 0.886227, atol=1e-6)


@pytest.mark.parametrize("root", [None, np.array([0.002, -0.03, -0.01])])
def test_deca_camera_projects_alike(float64, root):
    rng = np.random.default_rng(4)
    code, turn = np.array([7.5, 0.012, -0.034]), rng.normal(size=3) * 0.4
    metres = POINTS / 1000
    joint = np.zeros(3) if root is None else root
    posed = Rotation.from_rotvec(turn).apply(metres - joint) + joint
    ndc = code[0] * (posed[:, :2] + code[1:]) * np.array([1, -1])
    ours = pixels(*conventions.from_deca(code, turn, root=root), POINTS)
    np.testing.assert_allclose(ours, 112 * ndc + 112, atol=1e-9)


def test_dpr_light_shades_alike(float64):
    """Its own basis, in its own frame: y into the picture, z up."""
    light, n = np.random.default_rng(3).normal(size=9), unit_normals()
    x, y, z = n[:, 0], -n[:, 2], n[:, 1]
    k = np.sqrt(np.pi)
    basis = [np.full_like(x, k / 2), k / np.sqrt(3) * y, k / np.sqrt(3) * z, k / np.sqrt(3) * x]
    basis += [np.sqrt(15) / 8 * k * y * x, np.sqrt(15) / 8 * k * y * z, np.sqrt(5) / 16 * k * (3 * z * z - 1)]
    basis += [np.sqrt(15) / 8 * k * x * z, np.sqrt(15) / 16 * k * (x * x - y * y)]
    ours = shade(jnp.asarray(n), conventions.from_dpr_light(light))
    np.testing.assert_allclose(ours, np.repeat((np.stack(basis, -1) @ light)[:, None], 3, 1), atol=1e-12)


def test_deca_light_shades_alike(float64):
    light, n = np.random.default_rng(2).normal(size=(9, 3)), unit_normals()
    x, y, z = n.T
    basis = np.stack([np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x - y * y, 3 * z * z - 1], -1)
    # the library's constants as the literature prints them, to five digits
    constants = np.array([0.28209, *[1.02333] * 3, *[0.85809] * 3, 0.42904, 0.24771])
    ours = shade(jnp.asarray(n), conventions.from_deca_light(light))
    np.testing.assert_allclose(ours, (basis * constants) @ light, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_3ddfa_pose_projects_alike(float64, seed):
    rng = np.random.default_rng(seed)
    matrix = np.zeros((3, 4))
    matrix[:, :3] = 4.2e-4 * Rotation.from_rotvec(rng.normal(size=3) * 0.6).as_matrix()
    matrix[:, 3] = 60.7 + rng.normal() * 5, 69.4, -76.6
    micrometres = POINTS * 1000
    theirs = micrometres @ matrix[:, :3].T + matrix[:, 3]
    theirs[:, 1] = 121 - theirs[:, 1]
    np.testing.assert_allclose(pixels(*conventions.from_3ddfa(matrix), POINTS), theirs[:, :2] - 0.5, atol=1e-9)
    zero_based = conventions.from_3ddfa(matrix, origin=0.0)
    np.testing.assert_allclose(pixels(*zero_based, POINTS), theirs[:, :2] + 0.5, atol=1e-9)


def test_3ddfa_matrix_that_is_no_rotation_gives_the_best_one(float64):
    """No small turn or change of scale brings a sheared matrix's projection closer."""
    rng = np.random.default_rng(8)
    matrix = np.zeros((3, 4))
    matrix[:, :3] = 4.2e-4 * (Rotation.from_rotvec([0.1, 0.5, -0.2]).as_matrix() + 0.05 * rng.normal(size=(3, 3)))
    cloud = rng.normal(size=(4000, 3))
    cloud = cloud @ np.linalg.inv(np.linalg.cholesky(np.cov(cloud.T))).T * 50  # a round cloud
    theirs = cloud * 1000 @ matrix[:2, :3].T
    pose, camera = conventions.from_3ddfa(matrix)
    found = Rotation.from_quat(np.asarray(pose.rotation), scalar_first=True).as_matrix()

    def error(rotation, scale):
        return np.sum((scale * cloud @ rotation[:2].T - theirs) ** 2)

    best = error(found, float(camera.scale))
    for step in np.vstack([np.eye(3), -np.eye(3)]) * 1e-2:
        assert error(Rotation.from_rotvec(step).as_matrix() @ found, float(camera.scale)) > best
    assert error(found, float(camera.scale) * 1.01) > best and error(found, float(camera.scale) * 0.99) > best


def test_300wlp_pose_projects_alike(float64):
    pitch, yaw, roll = 0.3, -0.7, 0.2
    (sx, cx), (sy, cy), (sz, cz) = ((np.sin(a), np.cos(a)) for a in (pitch, yaw, roll))
    rx = np.array([[1, 0, 0], [0, cx, sx], [0, -sx, cx]])
    ry = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    rz = np.array([[cz, sz, 0], [-sz, cz, 0], [0, 0, 1]])
    theirs = 1.1e-3 * POINTS * 1000 @ (rx @ ry @ rz).T + [210.0, 190.0, -50.0]
    theirs[:, 1] = 451 - theirs[:, 1]
    found = pixels(*conventions.from_300wlp(np.array([pitch, yaw, roll, 210.0, 190.0, -50.0, 1.1e-3])), POINTS)
    np.testing.assert_allclose(found, theirs[:, :2] - 0.5, atol=1e-9)


def test_published_300wlp_poses_put_a_head_on_its_landmarks(shared):
    """AFLW2000-3D's cameras and ICT's neutral head, which is not the person's, from profile to profile."""
    with np.load(shared / "aflw2000" / "aflw2000_dev.npz") as file:
        chosen = np.argsort(file["pose_para"][:, 1])[np.linspace(15, 984, 24).astype(int)]  # without the wildest yaws
        poses, marks = file["pose_para"][chosen], file["pts68_3d"][chosen][:, 17:, :2] - 0.5
    with np.load(shared / "ict" / "ict_facekit.npz") as file:
        head = 10 * file["vertices"][file["landmarks68"]][17:]
    head = jnp.asarray(head - head.mean(axis=0), jnp.float32)
    camera = jax.vmap(conventions.from_300wlp)(jnp.asarray(poses, jnp.float32))
    found = np.asarray(jax.vmap(lambda pose, camera: project(camera, to_camera(pose, head)))(*camera))[..., :2]
    centred = [points - points.mean(axis=1, keepdims=True) for points in (found, marks)]  # Basel's origin is not ICT's
    error = np.linalg.norm(centred[0] - centred[1], axis=-1).mean(axis=1) / np.ptp(marks, axis=1).max(axis=1)
    assert poses[:, 1].min() < -1.2 and poses[:, 1].max() > 1.2
    assert np.median(error) < 0.06 and error.max() < 0.15


def test_converters_run_batched_and_compiled():
    codes = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)), jnp.float32)
    batch = jax.jit(jax.vmap(conventions.from_deep3d))(codes, codes)
    single = conventions.from_deep3d(codes[3], codes[3])
    for whole, one in zip(jax.tree.leaves(batch), jax.tree.leaves(single), strict=True):
        np.testing.assert_allclose(whole[3], one, rtol=1e-5, atol=1e-5)
    matrices = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3, 4)), jnp.float32)
    assert jax.jit(jax.vmap(conventions.from_3ddfa))(matrices)[0].rotation.shape == (5, 4)
    intrinsics = jnp.broadcast_to(jnp.asarray(opencv_case(0)[2], jnp.float32), (5, 3, 3))
    assert jax.jit(jax.vmap(conventions.from_opencv))(codes, codes, intrinsics)[1].focal.shape == (5,)


@pytest.mark.parametrize("view", ["front", "left", "right"])
def test_published_deep3d_cameras_put_a_head_on_its_landmarks(shared, view):
    """FFHQ-UV's coefficients for three views of one face, and HIFI3D's mean head, meet the views' landmarks.

    A mirrored yaw, a flipped y or a wrong depth would miss by tens of pixels; the mean head itself misses by a few.
    """
    with np.load(shared / "ffhquv_sample" / "01223_params.npz") as file:
        angles, translation = file[f"angle_{view}"].reshape(3), file[f"trans_{view}"].reshape(3)
        marks, (width, height, scale, x, y, size) = file[f"landmarks68_{view}"], file[f"crop_params_{view}"].reshape(6)
    with np.load(shared / "realy_topologies" / "hifi3d_template.npz") as file:
        head = file["vertices"] - file["vertices"].mean(axis=0)
        corners = head[file["faces_tri"][file["keypoint_triangle"]]]
        points = np.einsum("kc,kcd->kd", file["keypoint_weights"], corners)[17:68]  # without the jaw
    points = points * 92.0 / np.linalg.norm(points[36 - 17] - points[45 - 17])  # outer eye corners, mm
    camera = conventions.from_deep3d(
        jnp.asarray(angles, jnp.float32), jnp.asarray(translation, jnp.float32), landmark_pixels=True
    )
    found = pixels(*camera, points.astype(np.float32)) - 0.5
    corner = np.array([width / 2 + (x - width / 2), height / 2 + (height / 2 - y)]) * scale - size / 2
    expected = (marks * scale - corner)[17:]
    assert np.linalg.norm(found - expected, axis=1).mean() < 6.0

"""Face profiling: labels, colours and coverage of turned photographs."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.camera import (
    PerspectiveCamera,
    Pose,
    WeakPerspectiveCamera,
    euler_to_quaternion,
    project,
    quaternion_to_euler,
    quaternion_to_matrix,
    to_camera,
)
from facejax.evaluation import psnr
from facejax.face_model import decode, neutral_params
from facejax.face_model.load import load_face_model
from facejax.face_model.surface_landmarks import landmarks
from facejax.programs import jit
from facejax.rendering import render, sample_texture
from facejax.synthetic.profiling import _fill, draw_turn, turn_photo, unproject

pytestmark = pytest.mark.promotes("ranks", "types")  # fields of pixels meet colours and masks, all through that room

SIZE = 128
MODEL = load_face_model()
turn_one = jit(turn_photo, static_argnames="grid")
render_one = jit(lambda model, params, back: render(model, params, size=(SIZE, SIZE), background=back))
fill = jit(_fill)


def turned(params, photo, degrees):
    return turn_one(MODEL, params, photo, degrees)


def rendered(params, back):
    return render_one(MODEL, params, back)


def head(*degrees):
    camera = PerspectiveCamera(jnp.float32(2.2 * SIZE), jnp.full(2, SIZE / 2.0))
    params = neutral_params(MODEL, camera, distance=800.0)
    pose = Pose(euler_to_quaternion(jnp.array(degrees)), jnp.array([5.0, -10.0, -800.0]))
    identity = jax.random.normal(jax.random.key(1), params.identity.shape)
    return replace(params, pose=pose, identity=identity)


def projected(params):
    return np.asarray(project(params.camera, to_camera(params.pose, landmarks(MODEL, decode(MODEL, params)))))[:, :2]


@pytest.fixture(scope="module")
def photo():
    """A head on a background of soft colours, evenly lit, so that its colours do not change when it turns."""
    params = head(5.0, 15.0, -8.0)
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    back = jnp.asarray(np.stack([x, y, 1 - x], -1), jnp.float32)
    return params, rendered(params, back).color


def test_turning_by_nothing_returns_the_photo(photo):
    params, image = photo
    same = turned(params, image, jnp.float32(0.0))
    assert np.abs(np.asarray(same.image) - np.asarray(image)).mean() < 5e-4
    assert psnr(same.image, image) > 45
    np.testing.assert_allclose(same.landmarks, projected(params), atol=1e-3)
    np.testing.assert_allclose(same.params.pose.translation, params.pose.translation, atol=1e-3)


@pytest.mark.parametrize("degrees", [20.0, 55.0])
def test_labels_are_the_projection_of_the_turned_head_in_its_old_place(photo, degrees):
    params, image = photo
    result = turned(params, image, jnp.float32(degrees))
    np.testing.assert_allclose(result.landmarks, projected(result.params), atol=2e-2)
    about_y = quaternion_to_matrix(euler_to_quaternion(jnp.array([0.0, degrees, 0.0])))
    expected = quaternion_to_matrix(params.pose.rotation) @ about_y
    np.testing.assert_allclose(quaternion_to_matrix(result.params.pose.rotation), expected, atol=1e-5)
    old, new = projected(params), np.asarray(result.landmarks)
    centres = [(points.min(0) + points.max(0)) / 2 for points in (old, new)]
    np.testing.assert_allclose(centres[0], centres[1], atol=3.0)  # the head's depth varies: near, not exact


@pytest.mark.parametrize("degrees", [20.0, 45.0])
def test_the_turned_photo_looks_like_a_picture_of_the_turned_head(photo, degrees):
    """Against rendering the head in its new pose: alike where the photograph had shown what is seen now."""
    params, image = photo
    result = turned(params, image, jnp.float32(degrees))
    truth = rendered(result.params, jnp.zeros(3))
    facing = np.asarray(truth.normal) @ np.asarray(_towards_old_camera(params, result.params)) > 0.4
    mask = facing & (np.asarray(truth.alpha) > 0.999)
    assert mask.sum() > 800
    found, unturned = (psnr(one, truth.color, mask.astype(np.float32)) for one in (result.image, image))
    assert found > 26 and found > unturned + 6


def _towards_old_camera(before, after):
    """The direction of the old camera, in the turned head's camera space."""
    turn = quaternion_to_matrix(after.pose.rotation) @ quaternion_to_matrix(before.pose.rotation).T
    return turn @ jnp.array([0.0, 0.0, 1.0])


def test_pixels_at_the_landmarks_keep_their_colour(photo):
    params, image = photo
    result = turned(params, image, jnp.float32(25.0))
    inner = [*range(22, 27), *range(27, 31), 33, *range(42, 48), 51, 52, 53, 54, 57]  # seen before and after
    before, after = ((p[inner] / SIZE * [1, -1] + [0, 1]) for p in (projected(params), np.asarray(result.landmarks)))
    old, new = (sample_texture(i, jnp.asarray(p)) for i, p in ((image, before), (result.image, after)))
    assert np.median(np.abs(np.asarray(old) - np.asarray(new))) < 0.015


def test_every_pixel_is_covered_and_the_border_stays(photo):
    params, image = photo
    for degrees in (30.0, -60.0, 80.0):
        result = turned(params, jnp.ones_like(image), jnp.float32(degrees)).image
        np.testing.assert_allclose(result, 1.0, atol=1e-5)
        result = turned(params, image, jnp.float32(degrees)).image
        np.testing.assert_allclose(result[0, ::8], image[0, ::8], atol=0.06)


def test_annotated_points_turn_with_the_depth_of_the_fitted_ones_and_faces_of_a_batch_do_not_meet(photo):
    params, image = photo
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), params, head(0.0, -20.0, 0.0))
    images = jnp.stack([image, image[:, ::-1]])
    given = jnp.stack([jnp.asarray(projected(params)), jnp.asarray(projected(head(0.0, -20.0, 0.0))) + 1.5])
    batch = jit(jax.vmap(lambda m, p, i, d, q: turn_photo(m, p, i, d, points=q), in_axes=(None, 0, 0, 0, 0)))
    together = batch(MODEL, both, images, jnp.array([30.0, 0.0]), given)
    alone = turned(params, image, jnp.float32(30.0))
    np.testing.assert_allclose(together.image[0], alone.image, atol=2e-3)
    np.testing.assert_allclose(together.landmarks[0], alone.landmarks, atol=1e-3)
    np.testing.assert_allclose(together.landmarks[1], given[1], atol=1e-3)


def test_drawn_turns_lead_away_from_the_viewer_and_end_at_a_profile():
    for yaw in (-70.0, -12.0, 2.0, 33.0, 88.0):
        draws = jax.vmap(lambda key, yaw=yaw: draw_turn(head(3.0, yaw, 5.0), key=key))(
            jax.random.split(jax.random.key(0), 300)
        )
        draws = np.asarray(draws)
        np.testing.assert_allclose(draws % 5, 0, atol=1e-4)
        assert np.abs(yaw + draws).max() <= 90.001 and np.abs(yaw + draws).max() > 84.9
        if abs(yaw) > 5:
            assert (draws * np.sign(yaw) >= 0).all()
        else:
            assert (draws > 0).any() and (draws < 0).any()
        assert 0.0 in draws
    assert abs(float(quaternion_to_euler(head(3.0, 33.0, 5.0).pose.rotation)[1]) - 33.0) < 1e-3


@pytest.mark.parametrize("perspective", [True, False])
def test_unproject_inverts_project(perspective):
    centre = jnp.array([60.0, 70.0])
    camera = (
        PerspectiveCamera(jnp.float32(300.0), centre)
        if perspective
        else WeakPerspectiveCamera(jnp.float32(0.4), centre)
    )
    points = jax.random.normal(jax.random.key(0), (9, 3)) * 40 - jnp.array([[0.0, 0.0, 500.0]])
    seen = project(camera, points)
    np.testing.assert_allclose(unproject(camera, seen[:, :2], seen[:, 2]), points, atol=1e-3)


def test_the_membrane_keeps_what_is_known_and_stays_between():
    key = jax.random.key(3)
    values, known = jax.random.uniform(key, (32, 32, 2)), jax.random.bernoulli(key, 0.1, (32, 32))
    filled = np.asarray(fill(values, known))
    mask = np.asarray(known)
    np.testing.assert_array_equal(filled[mask], np.asarray(values)[mask])
    inside = np.asarray(values)[mask]
    assert (filled >= inside.min(0) - 1e-5).all() and (filled <= inside.max(0) + 1e-5).all()
    slope = jnp.broadcast_to(jnp.linspace(0.0, 1.0, 32)[None, :, None], (32, 32, 1))
    edge = jnp.zeros((32, 32), bool).at[:, jnp.array([0, 31])].set(True)
    np.testing.assert_allclose(fill(slope, edge), slope, atol=0.06)  # smooth and monotone, not a converged solution


def test_a_grid_that_cannot_be_halved_is_an_error(photo):
    with pytest.raises(ValueError, match="power of two"):
        turn_photo(MODEL, photo[0], photo[1], jnp.float32(5.0), grid=48)

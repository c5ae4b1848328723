"""Landmarks on the surface, and jaw points that follow the outline."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from facejax.camera import euler_to_quaternion
from facejax.face_model import make_face_model
from facejax.face_model.surface_landmarks import landmarks

RNG = np.random.default_rng(0)
JAW, CHOICES = 17, 6
VERTICES = RNG.normal(size=(60, 3)) * [70, 90, 80]
FACES = RNG.integers(0, 60, (80, 3)).astype(np.int32)
FIXED = RNG.integers(0, 80, 68), RNG.dirichlet(np.ones(3), 68)
OUTLINE = RNG.integers(0, 80, (JAW, CHOICES)), RNG.dirichlet(np.ones(3), (JAW, CHOICES))
TURN = np.deg2rad(np.linspace(180, 360, JAW))
DIRECTION = np.stack([np.cos(TURN), np.sin(TURN)], -1)


def make(**changes):
    arguments = {
        "identity_basis": np.zeros((1, 60, 3)),
        "identity_std": np.ones(1),
        "landmark_faces": FIXED[0],
        "landmark_weights": FIXED[1],
        "contour_faces": OUTLINE[0],
        "contour_weights": OUTLINE[1],
        "contour_direction": DIRECTION,
    }
    return make_face_model("small", VERTICES, FACES, **(arguments | changes))


def on_surface(faces, weights, vertices=VERTICES):
    return np.einsum("...k,...kc->...c", weights, vertices[FACES[faces]])


def quaternion(*degrees):
    return euler_to_quaternion(jnp.asarray(degrees, jnp.float32))


def expected_choice(pitch, yaw):
    """The candidate that an upright camera sees furthest along each point's outward direction."""
    seen = Rotation.from_euler("YX", [yaw, pitch], degrees=True).apply(on_surface(*OUTLINE).reshape(-1, 3))
    return np.argmax(np.einsum("jcx,jx->jc", seen.reshape(JAW, CHOICES, 3)[..., :2], DIRECTION), axis=1)


def test_without_a_rotation_all_points_are_fixed_on_the_surface(float64):
    moved = VERTICES + RNG.normal(size=VERTICES.shape) * 5
    np.testing.assert_allclose(landmarks(make(), jnp.asarray(moved)), on_surface(*FIXED, moved), atol=1e-4)


@pytest.mark.parametrize(("pitch", "yaw"), [(0, 0), (0, 40), (0, -75), (20, 30), (-35, -50)])
def test_jaw_points_are_the_outermost_candidates(pitch, yaw):
    found = landmarks(make(), jnp.asarray(VERTICES, jnp.float32), quaternion(pitch, yaw, 0))
    choice = expected_choice(pitch, yaw)
    jaw = on_surface(*OUTLINE)[np.arange(JAW), choice]
    np.testing.assert_allclose(found[:JAW], jaw, atol=1e-3)
    np.testing.assert_allclose(found[JAW:], on_surface(*FIXED)[JAW:], atol=1e-3)
    assert len(set(choice)) > 1  # the test chooses


@pytest.mark.parametrize("roll", [25, -60, 170])
def test_tilting_the_head_does_not_move_its_outline(roll):
    vertices = jnp.asarray(VERTICES, jnp.float32)
    upright = landmarks(make(), vertices, quaternion(10, 35, 0))
    np.testing.assert_allclose(landmarks(make(), vertices, quaternion(10, 35, roll)), upright, atol=1e-4)


def test_one_candidate_a_point_means_fixed_points():
    model = make(contour_faces=None, contour_weights=None, contour_direction=None)
    vertices = jnp.asarray(VERTICES, jnp.float32)
    np.testing.assert_array_equal(landmarks(model, vertices, quaternion(0, 60, 0)), landmarks(model, vertices))


def test_gradient_goes_through_the_points_and_not_the_choice(float64):
    model, rotation = make(), jnp.asarray(quaternion(5, 30, 10), jnp.float64)
    vertices = jnp.asarray(VERTICES)
    weights = jnp.asarray(RNG.normal(size=(68, 3)))

    @jax.jit
    def value(v, q):
        return jnp.sum(weights * landmarks(model, v, q))

    gradient, turn = jax.jit(jax.grad(value, argnums=(0, 1)))(vertices, rotation)
    assert not np.asarray(turn).any()
    direction = jnp.asarray(RNG.normal(size=vertices.shape))
    numeric = (value(vertices + 1e-5 * direction, rotation) - value(vertices - 1e-5 * direction, rotation)) / 2e-5
    np.testing.assert_allclose(jnp.vdot(gradient, direction), numeric, rtol=1e-6)


def test_a_batch_compiled_is_the_single_faces():
    model = make()
    vertices = jnp.asarray(VERTICES + RNG.normal(size=(5, 60, 3)) * 20, jnp.float32)
    rotations = jnp.stack([quaternion(*degrees) for degrees in RNG.uniform(-60, 60, (5, 3))])
    batch = jax.jit(jax.vmap(landmarks, in_axes=(None, 0, 0)))(model, vertices, rotations)
    for k in range(5):
        np.testing.assert_allclose(batch[k], landmarks(model, vertices[k], rotations[k]), atol=1e-3)


def test_a_model_without_landmarks_says_so():
    model = make(
        landmark_faces=None, landmark_weights=None, contour_faces=None, contour_weights=None, contour_direction=None
    )
    with pytest.raises(ValueError, match="'small' has no landmarks"):
        landmarks(model, model.mean)

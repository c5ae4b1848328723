"""The inside of the mouth: hidden by closed lips from every side, seen through open ones, teeth where teeth belong."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax import load_face_model
from facejax.camera import Pose, WeakPerspectiveCamera, euler_to_quaternion, project, to_camera
from facejax.face_model import decode, neutral_params
from facejax.mesh import vertex_normals
from facejax.rendering import rasterize
from facejax.synthetic.anchors import border_loops, lip_loop
from facejax.synthetic.mouth import mouth_interior
from facejax.synthetic.props import Head

pytestmark = pytest.mark.promotes("ranks")  # colours times fields of pixels, all through that room

SIZE = 160
MODEL = load_face_model()
CAMERA = WeakPerspectiveCamera(jnp.asarray(1.0), jnp.full(2, SIZE / 2))


def head_of(identity=None, **expression) -> Head:
    params = neutral_params(MODEL, CAMERA)
    weights = jnp.zeros(len(MODEL.expression_names))
    for name, weight in expression.items():
        weights = weights.at[MODEL.expression_names.index(name)].set(weight)
    identity = params.identity if identity is None else identity
    vertices = decode(MODEL, replace(params, identity=identity, expression=weights))
    return Head(MODEL, vertices, vertex_normals(vertices, MODEL.faces))


@jax.jit
def seen(head: Head, prop, degrees):
    """Pixels of the prop that the head does not hide, 1 mm each."""
    pose = Pose(euler_to_quaternion(degrees), jnp.array([0.0, 0.0, -1000.0]))
    points = project(CAMERA, to_camera(pose, jnp.concatenate([head.vertices, prop.vertices])))
    faces = jnp.concatenate([head.model.faces, prop.faces + head.vertices.shape[0]])
    triangle = rasterize(points, faces, size=(SIZE, SIZE), perspective=False)
    return jnp.sum(triangle >= head.model.faces.shape[0])


make = jax.jit(mouth_interior)


@pytest.mark.parametrize("pitch", [-30.0, 0.0, 30.0])
@pytest.mark.parametrize("yaw", [-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0])
def test_closed_lips_hide_the_mouth(yaw, pitch):
    head = head_of()
    for seed in range(3):
        assert seen(head, make(jax.random.key(seed), head), jnp.array([pitch, yaw, 0.0])) == 0


def test_other_people_show_at_most_a_dark_line_between_closed_lips():
    for seed in range(8):
        head = head_of(jax.random.normal(jax.random.key(seed), (100,)))
        prop = make(jax.random.key(seed), head)
        for yaw in (-90.0, -45.0, 0.0, 45.0, 90.0):
            assert seen(head, prop, jnp.array([0.0, yaw, 0.0])) <= (0 if abs(yaw) == 90 else 30)
        assert prop.texture[..., :3].max() < 0.45


def test_an_open_jaw_shows_the_mouth_and_nothing_behind_it():
    head = head_of(jawOpen=1.0)
    prop = make(jax.random.key(0), head)
    assert seen(head, prop, jnp.zeros(3)) > 500
    assert seen(head, prop, jnp.array([0.0, 60.0, 0.0])) > 100
    # A hole in the lips would show the inside of the head, whose faces look away: no pixel there. The bag fills it.
    points = np.asarray(
        project(CAMERA, jnp.concatenate([head.vertices, prop.vertices]) - jnp.array([0.0, 0.0, 1000.0]))
    )
    faces = jnp.concatenate([head.model.faces, prop.faces + head.vertices.shape[0]])
    triangle = np.asarray(rasterize(jnp.asarray(points), faces, size=(SIZE, SIZE), perspective=False))
    rim = points[lip_loop()]
    columns = slice(int(rim[:, 0].min()), int(rim[:, 0].max()) + 1)
    rows = slice(int(rim[:, 1].min()), int(rim[:, 1].max()) + 1)
    assert (triangle[rows, columns] >= 0).all()


def test_the_lower_teeth_follow_the_jaw_and_the_upper_ones_stay():
    key, moved = jax.random.key(1), []
    shut, wide = (make(key, head_of(jawOpen=weight)).vertices for weight in (0.0, 1.0))
    upper, lower, tongue = ((0.27, 0.48), (0.52, 0.73), (0.77, 0.98))
    v = np.asarray(make(key, head_of()).uv)[:, 1]
    for low, high in (upper, lower, tongue):
        rows = (v > low - 0.01) & (v < high + 0.01)
        moved.append(float(np.abs(np.asarray(wide - shut)[rows, 1]).mean()))
    assert moved[0] < 2.0
    assert moved[1] > 15.0 and moved[2] > 15.0


def test_the_lip_loop_is_the_border_in_the_mouth():
    mean, ring = np.asarray(MODEL.mean), lip_loop()
    assert len(np.unique(ring)) == len(ring)
    steps = np.linalg.norm(np.diff(mean[np.append(ring, ring[0])], axis=0), axis=1)
    assert steps.max() < 4.0
    assert abs(mean[ring[0], 0]) < 1e-3 and mean[ring[0], 1] > mean[ring[len(ring) // 2], 1]
    assert mean[ring[len(ring) // 4], 0] < -15
    assert sum(len(loop) for loop in border_loops()) == int((np.asarray(MODEL.topology.neighbors) < 0).sum())


def test_shapes_do_not_depend_on_the_key_and_equal_keys_give_equal_mouths():
    head = head_of(jawOpen=0.5)
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.jit(jax.vmap(mouth_interior, in_axes=(0, None)))(keys, head)
    for row, key in enumerate(keys):
        one = make(key, head)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_allclose(a, b[row], atol=1e-4)
    assert not np.allclose(many.vertices[0], many.vertices[1])
    np.testing.assert_array_equal(many.faces[0], many.faces[1])
    assert float(many.texture.min()) >= 0 and float(many.texture.max()) <= 1

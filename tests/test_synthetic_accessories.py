"""Glasses sit on the nose and outside of the head, hands touch the face, clothes close the neck."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax import load_face_model
from facejax.camera import Pose, WeakPerspectiveCamera, euler_to_quaternion, project, to_camera
from facejax.face_model import decode, landmarks, neutral_params
from facejax.mesh import vertex_normals
from facejax.rendering import rasterize
from facejax.synthetic.accessories import clothes, glasses, hand
from facejax.synthetic.anchors import neck_loop
from facejax.synthetic.glasses import LENS
from facejax.synthetic.props import Head
from facejax.synthetic.shapes import bezier, rounded, tube

pytestmark = pytest.mark.promotes("ranks")  # colours times fields of pixels, all through that room

SIZE = 300
MODEL = load_face_model()
CAMERA = WeakPerspectiveCamera(jnp.asarray(1.0), jnp.full(2, SIZE / 2))
MAKERS = {"glasses": glasses, "hand": hand, "clothes": clothes}
MAKE = {name: jax.jit(maker) for name, maker in MAKERS.items()}
HEAD_FACES = MODEL.faces.shape[0]


def someone(seed: int) -> Head:
    params = neutral_params(MODEL, CAMERA)
    vertices = decode(MODEL, replace(params, identity=jax.random.normal(jax.random.key(seed), (100,))))
    return Head(MODEL, vertices, vertex_normals(vertices, MODEL.faces))


@jax.jit
def seen_alone_and_worn(head: Head, prop, yaw):
    """Row of the prop's triangle at each pixel (1 mm), -1 for none: without and with the head in the way."""
    pose = Pose(euler_to_quaternion(jnp.stack([0.0 * yaw, yaw, 0.0 * yaw])), jnp.array([0.0, 0.0, -1000.0]))
    points = project(CAMERA, to_camera(pose, jnp.concatenate([head.vertices, prop.vertices])))
    count = head.vertices.shape[0]
    alone = rasterize(points[count:], prop.faces, size=(SIZE, SIZE), perspective=False)
    faces = jnp.concatenate([head.model.faces, prop.faces + count])
    return alone, rasterize(points, faces, size=(SIZE, SIZE), perspective=False)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_of_the_face_sticks_out_of_the_lenses(seed):
    head = someone(seed)
    prop = MAKE["glasses"](jax.random.key(seed), head)
    alone, worn = map(np.asarray, seen_alone_and_worn(head, prop, jnp.asarray(0.0)))
    lens = np.asarray(prop.uv)[np.asarray(prop.faces)[:, 0], 0] >= LENS[0] - 1e-6
    inside = (alone >= 0) & lens[alone]
    assert inside.sum() > 800  # square millimetres
    assert (worn[inside] >= HEAD_FACES).mean() > 0.96  # less where the nose comes through


@pytest.mark.parametrize("seed", range(8))
def test_glasses_frame_the_eyes_and_touch_the_nose(seed):
    head = someone(seed)
    prop = MAKE["glasses"](jax.random.key(seed), head)
    marks = np.asarray(landmarks(MODEL, head.vertices))
    lens = np.asarray(prop.vertices)[np.asarray(prop.uv)[:, 0] >= LENS[0] - 1e-6]
    for eye, side in ((marks[36:42].mean(0), lens[lens[:, 0] < 0]), (marks[42:48].mean(0), lens[lens[:, 0] > 0])):
        assert (side.min(0)[:2] < eye[:2]).all() and (eye[:2] < side.max(0)[:2]).all()
        assert 3 < side[:, 2].max() - eye[2] < 40
    assert np.linalg.norm(np.asarray(prop.vertices)[:, None] - marks[27:30], axis=-1).min() < 22


@pytest.mark.parametrize("yaw", [-90.0, 90.0])
def test_temples_lie_outside_of_the_head(yaw):
    for seed in range(6):
        head = someone(seed)
        prop = MAKE["glasses"](jax.random.key(seed), head)
        alone, worn = map(np.asarray, seen_alone_and_worn(head, prop, jnp.asarray(yaw)))
        assert (worn[alone >= 0] >= HEAD_FACES).mean() > 0.7  # the ends go behind the ears


def test_hands_and_things_reach_the_face():
    covered = []
    for seed in range(12):
        head = someone(seed)
        prop = MAKE["hand"](jax.random.key(seed), head)
        face = np.asarray(head.vertices)[np.asarray(MODEL.regions["face"]) > 0.5]
        gap = np.linalg.norm(np.asarray(prop.vertices)[:, None] - face[::7], axis=-1).min()
        assert gap < 45
        marks = np.asarray(project(CAMERA, landmarks(MODEL, head.vertices) - jnp.array([0.0, 0.0, 1000.0])))
        _, worn = seen_alone_and_worn(head, prop, jnp.asarray(0.0))
        column, row = marks[:, 0].astype(int), marks[:, 1].astype(int)
        covered.append(int((np.asarray(worn)[row, column] >= HEAD_FACES).sum()))
    assert max(covered) > 5  # landmarks hidden in a front view
    assert np.mean(covered) < 34


def test_clothes_leave_no_gap_under_the_chin():
    for seed in range(6):
        head = someone(seed)
        prop = MAKE["clothes"](jax.random.key(seed), head)
        _, worn = seen_alone_and_worn(head, prop, jnp.asarray(0.0))
        chin = int(SIZE / 2 - float(landmarks(MODEL, head.vertices)[8, 1]))
        assert (np.asarray(worn)[chin:, SIZE // 2 - 40 : SIZE // 2 + 40] >= 0).all()
        assert (np.asarray(worn)[:chin] < HEAD_FACES).mean() > 0.95  # not up over the face


def test_the_neck_ends_in_one_ring_around_the_neck():
    ring = np.asarray(MODEL.mean)[neck_loop()]
    angle = np.unwrap(np.arctan2(ring[:, 0], ring[:, 2] - ring[:, 2].mean()))
    assert (np.diff(angle) > 0).all() and abs(angle[-1] - angle[0] - 2 * np.pi) < 0.4  # from the front to the left


def test_tubes_are_seen_from_outside():
    place, round_ = rounded(9, 0.1)
    path = bezier(jnp.zeros(3), jnp.array([0.0, 50.0, 10.0]), jnp.array([30.0, 90.0, 0.0]), place)
    capsule = tube(path, 5 * jnp.stack([round_, round_], 1), jnp.array([0.0, 0.0, 1.0]), LENS, sides=16)
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    around = jnp.asarray(np.stack([50 * np.sin(angle), 0 * angle, 50 * np.cos(angle)], 1))
    torus = tube(around, jnp.full((40, 2), 5.0), jnp.array([0.0, 1.0, 0.0]), LENS, sides=16, loop=True)
    length = float(jnp.linalg.norm(jnp.diff(path, axis=0), axis=1).sum())
    for piece, volume in ((capsule, np.pi * 25 * length), (torus, np.pi * 25 * 2 * np.pi * 50)):
        a, b, c = np.moveaxis(np.asarray(piece.vertices)[piece.faces], 1, 0)
        enclosed = np.einsum("fi,fi->", a, np.cross(b, c)) / 6  # by the divergence theorem, positive for outward faces
        assert 0.85 * volume < enclosed < 1.02 * volume


def test_a_given_skin_colour_is_used():
    skin = jnp.array([0.1, 0.6, 0.9])
    texture = np.asarray(jax.jit(lambda key, head: hand(key, head, skin).texture)(jax.random.key(0), someone(0)))
    half = texture[: texture.shape[0] // 2, :, :3].mean((0, 1))
    np.testing.assert_allclose(half, skin, atol=0.06)


@pytest.mark.parametrize("name", MAKERS)
def test_shapes_do_not_depend_on_the_key_and_equal_keys_give_equal_props(name):
    head = someone(0)
    keys = jax.random.split(jax.random.key(0), 4)
    many = jax.jit(jax.vmap(MAKERS[name], in_axes=(0, None)))(keys, head)
    for row, key in enumerate(keys):
        one = MAKE[name](key, head)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(many), strict=True):
            assert np.isfinite(a).all()
            np.testing.assert_allclose(a, b[row], atol=2e-3)
    assert not np.allclose(many.vertices[0], many.vertices[1])
    np.testing.assert_array_equal(many.faces[0], many.faces[1])
    assert many.faces.min() == 0 and many.faces.max() < many.vertices.shape[1]
    assert float(many.texture.min()) >= 0 and float(many.texture.max()) <= 1
    assert float(many.uv.min()) >= 0 and float(many.uv.max()) <= 1

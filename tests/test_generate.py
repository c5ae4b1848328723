"""Pictures made by the generator: seeded, in range, and their labels say what is in them."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.camera import PerspectiveCamera, quaternion_to_euler
from facejax.face_model import decode, landmarks
from facejax.face_model.load import load_face_model
from facejax.lighting import roll_light, shade
from facejax.nets.dense import apply_dense
from facejax.nets.encoder import EncoderConfig
from facejax.programs import jit
from facejax.regression.dense import load_dense
from facejax.regression.dense_training import DenseExample, dense_losses, dense_view
from facejax.regression.regressor import RegressorConfig, from_params, to_params
from facejax.regression.training import Augmentation, Example, crop_example, model_anchors, project_anchors
from facejax.rendering import render
from facejax.synthetic.generate import Generator, generate
from facejax.synthetic.labels import CLASS, CLASSES, HEAD, head_labels
from facejax.synthetic.people import Lamp, People, all_light, lights, move_brows, person, random_expression

pytestmark = pytest.mark.promotes("ranks")  # colours times fields of pixels, all through that room

SIZE = 64


@pytest.fixture(scope="module")
def model():
    return load_face_model()


@pytest.fixture(scope="module")
def draw():
    clean = Generator(camera=0.0)

    def one(key, who, model):
        return generate(key, model, size=SIZE, generator=clean, who=who)

    several = jit(lambda keys, whos, model: jax.lax.map(lambda pair: one(pair[0], pair[1], model), (keys, whos)))
    return lambda keys, model, whos=None: several(keys, keys if whos is None else whos, model)


@pytest.fixture(scope="module")
def pictures(model, draw):
    return draw(jax.random.split(jax.random.key(0), 12), model)


def test_pictures_are_in_range_and_all_different(pictures):
    images = np.asarray(pictures.image)
    assert images.shape == (12, SIZE, SIZE, 3) and images.min() >= 0 and images.max() <= 1
    assert all(np.abs(images[i] - images[j]).mean() > 0.01 for i in range(12) for j in range(i))


def test_a_key_decides_its_picture_alone(model, draw, pictures):
    keys = jax.random.split(jax.random.key(0), 12)
    again = draw(keys[::-1], model)
    np.testing.assert_array_equal(np.asarray(again.image)[::-1], np.asarray(pictures.image))


def test_one_person_in_other_pictures(model, draw, pictures):
    """Who it is stays, how and where does not."""
    keys = jax.random.split(jax.random.key(0), 12)
    other = draw(jax.random.split(jax.random.key(9), 12), model, keys)
    np.testing.assert_array_equal(other.params.identity, pictures.params.identity)
    np.testing.assert_array_equal(other.params.appearance["albedo"], pictures.params.appearance["albedo"])
    assert np.abs(other.params.expression - pictures.params.expression).max(axis=1).min() > 0.01
    assert np.abs(other.params.light - pictures.params.light).max(axis=(1, 2)).min() > 0.01
    assert np.abs(other.image - pictures.image).mean(axis=(1, 2, 3)).min() > 0.03


def test_the_face_is_where_its_parameters_put_it(model, pictures):
    """The labels rendered on their own cover the pixels that the picture calls face."""
    draw_alone = jit(lambda model, params: render(model, params, size=(SIZE, SIZE), edges=False))
    for index in range(0, 12, 3):
        params = jax.tree.map(lambda leaf, index=index: leaf[index], pictures.params)
        alone = draw_alone(model, params)
        face = np.asarray(pictures.face[index]) > 0.5
        assert face.sum() > 50
        assert (np.asarray(alone.alpha) > 0.5)[face].all()


def test_every_pixel_is_labelled(model, pictures):
    """The head's classes cover what the picture calls face; coordinates and normals are those of a plain rendering."""
    own = np.array([CLASS[name] for name in HEAD])
    draw_alone = jit(lambda model, params: render(model, params, size=(SIZE, SIZE), edges=False))
    for index in range(0, 12, 3):
        shown = np.isin(pictures.parsing[index], own)
        face = np.asarray(pictures.face[index])
        assert not shown[face < 0.4].any() or np.mean(shown[face < 0.4]) < 0.05  # a neck above clothes is none of it
        assert shown[face > 0.6].all()
        alone = draw_alone(model, jax.tree.map(lambda leaf, index=index: leaf[index], pictures.params))
        both = (np.asarray(pictures.surface[index])[..., 0] >= 0) & (np.asarray(alone.alpha) > 0.5)
        assert both.sum() > 300
        apart = np.linalg.norm(np.asarray(pictures.surface[index]) - np.asarray(alone.uv), axis=-1)[both]
        assert np.median(apart) < 1e-4 and np.quantile(apart, 0.9) < 0.02  # the generator moves the brows
        cosine = np.sum(np.asarray(pictures.normal[index]) * np.asarray(alone.normal), axis=-1)[both]
        assert np.median(cosine) > 0.999
        absent = np.asarray(pictures.surface[index])[..., 0] < 0
        assert (np.asarray(pictures.normal[index])[absent] == 0).all()


def test_every_class_is_seen_that_these_pictures_have(pictures):
    """By chance there is neither a beard nor a hat among them."""
    assert {CLASSES[k] for k in np.unique(pictures.parsing)} == set(CLASSES) - {"beard", "headwear"}


def test_the_heads_labels_are_symmetric(model):
    """A triangle's class is that of its mirror image."""
    labels, faces = np.asarray(head_labels(model)), np.asarray(model.faces)
    mirrored = np.sort(np.asarray(model.topology.mirror)[faces], axis=1)
    place = {tuple(face): label for face, label in zip(np.sort(faces, axis=1), labels, strict=True)}
    pairs = [(label, place[tuple(face)]) for face, label in zip(mirrored, labels, strict=True) if tuple(face) in place]
    assert len(pairs) > 0.9 * len(faces)
    assert np.mean([a == b for a, b in pairs]) > 0.99
    assert {CLASSES[label] for label in labels} == set(HEAD)


def test_landmarks_lie_about_in_the_middle(pictures):
    middle = np.asarray(pictures.landmarks).mean(axis=1)
    assert np.abs(middle - SIZE / 2).max() < 0.2 * SIZE


def test_poses_reach_both_profiles(model):
    draw = jit(jax.vmap(lambda key: person(key, model, SIZE, People())))
    people = draw(jax.random.split(jax.random.key(1), 200))
    yaw = np.asarray(quaternion_to_euler(people.pose.rotation))[:, 1]
    assert yaw.min() < -75 and yaw.max() > 75 and np.mean(np.abs(yaw) < 30) > 0.3


def test_expressions_are_weights_and_lids_mostly_agree(model):
    draw = jit(jax.vmap(lambda key: random_expression(key, model, 0.2)))
    weights = np.asarray(draw(jax.random.split(jax.random.key(2), 300)))
    assert weights.min() >= 0 and weights.max() <= 1 and (weights.max(axis=0) > 0.1).all()
    left, right = (model.expression_names.index(f"eyeBlink{side}") for side in ("Left", "Right"))
    assert np.corrcoef(weights[:, left], weights[:, right])[0, 1] > 0.8


def test_a_lamps_harmonics_are_its_least_squares_fit():
    """Against a fit of the nine functions to the clamped cosine over the sphere."""
    toward = jnp.array([[0.36, 0.48, 0.8]])
    normals = np.random.default_rng(0).normal(size=(60_000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    lamp = Lamp(toward, jnp.ones((1, 3)))
    basis = np.asarray(shade(jnp.asarray(normals, jnp.float32), jnp.eye(9)[:, [0, 1, 2]]))
    assert basis.shape == (60_000, 3)
    light = all_light(jnp.zeros((9, 3)), lamp)
    cosine = np.maximum(normals @ np.asarray(toward[0]), 0)
    residual = np.asarray(shade(jnp.asarray(normals, jnp.float32), light))[:, 0] - cosine
    assert abs(residual.mean()) < 0.005  # orthogonal to every function of the basis
    assert abs((residual * normals[:, 2]).mean()) < 0.005
    assert abs((residual * (3 * normals[:, 2] ** 2 - 1)).mean()) < 0.01
    assert np.abs(residual).max() < 0.12


def test_lights_are_finite_and_mostly_positive():
    around, lamp = jit(jax.vmap(lights))(jax.random.split(jax.random.key(3), 100))
    assert np.isfinite(np.asarray(around)).all() and (np.asarray(lamp.color) >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(lamp.direction, axis=-1), 1.0, rtol=1e-5)


def test_a_rolled_light_shades_rolled_normals_alike():
    light = jax.random.normal(jax.random.key(4), (9, 3))
    normals = jax.random.normal(jax.random.key(5), (40, 3))
    normals /= jnp.linalg.norm(normals, axis=1, keepdims=True)
    c, s = np.cos(0.7), np.sin(0.7)
    turn = jnp.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    rolled = roll_light(light, jnp.asarray(0.7))
    np.testing.assert_allclose(shade(normals @ turn.T, rolled), shade(normals, light), atol=1e-5)


def test_coefficients_and_parameters_are_inverses(model):
    config = RegressorConfig()
    face = jit(lambda key: person(key, model, config.encoder.size, People()))(jax.random.key(6))
    again = jit(lambda face: to_params(config, from_params(config, face)))(face)
    assert isinstance(face.camera, PerspectiveCamera)
    chex.assert_trees_all_close(face, again, atol=2e-4, rtol=1e-4)


def test_a_crops_labels_move_with_its_pixels(model, pictures):
    """The coefficients of a shifted, scaled and rolled crop place the landmarks where the crop has them.

    Not those of the brows, which the generator moves, the skin around them a little with them.
    """
    config = RegressorConfig(encoder=EncoderConfig(size=32))
    anchors = model_anchors(model, extra=4)
    plain = Augmentation(stretch=0.0, bend=0.0, occluders=0.0, camera=0.0)
    crop = jit(lambda key, example: crop_example(key, config, plain, example))
    place = jit(lambda coefficients: project_anchors(config, anchors, coefficients))
    brows = []
    for index in range(4):
        params = jax.tree.map(lambda leaf, index=index: leaf[index], pictures.params)
        image = jnp.round(pictures.image[index] * 255).astype(jnp.uint8)
        example = Example(image, pictures.landmarks[index], params)
        view = crop(jax.random.key(index), example)
        placed = place(view.coefficients)[:68]
        off = np.abs(placed - view.landmarks).max(axis=1)
        assert np.delete(off, np.arange(17, 27)).max() < 4e-3
        brows.append(off[17:27].max())
    assert max(brows) > 4e-3


def test_a_stretched_crop_is_wider_by_as_much_as_its_points(model, pictures):
    """Where the points went is where the pixels went: a dot on the picture stays under its landmark."""
    config = RegressorConfig(encoder=EncoderConfig(size=64))
    only = Augmentation(shift=0.0, zoom=0.0, roll=0.0, stretch=0.2, bend=0.0, occluders=0.0, camera=0.0)
    params = jax.tree.map(lambda leaf: leaf[0], pictures.params)
    points = jnp.stack([jnp.linspace(10.0, 54.0, 68), jnp.linspace(20.0, 44.0, 68)], axis=1)
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    dot = np.exp(-0.5 * ((columns - points[60, 0]) ** 2 + (rows - points[60, 1]) ** 2) / 2.0)
    image = jnp.asarray(np.round(255 * np.repeat(dot[..., None], 3, -1)), jnp.uint8)
    crop = jit(lambda key, example: crop_example(key, config, only, example))
    views = [crop(jax.random.key(k), Example(image, points, params)) for k in range(6)]
    shapes = []
    for view in views:
        seen, (x, y) = np.asarray(view.image)[..., 0], (np.asarray(view.landmarks[60]) + 1) * 32
        place = [(seen * at).sum() / seen.sum() for at in (columns, rows)]
        np.testing.assert_allclose(place, (x, y), atol=0.1)
        width, height = np.ptp(np.asarray(view.landmarks), axis=0)
        shapes.append(np.log(width / height * 24 / 44))
    assert np.ptp(shapes) > 0.1 and np.abs(shapes).max() <= 0.4 + 1e-5


def test_brows_slide_over_the_skin_and_nothing_else_moves(model):
    points = lambda vertices: landmarks(model, vertices)  # noqa: E731
    slide = jit(jax.vmap(lambda key: points(move_brows(key, model, model.mean, People()))))
    before, after = np.asarray(points(model.mean)), np.asarray(slide(jax.random.split(jax.random.key(9), 40)))
    moved = after - before
    assert np.abs(np.delete(moved, np.arange(17, 27), axis=1)).max() < 1.5  # mm
    right, left = moved[:, 17:22].mean(1), moved[:, 22:27].mean(1)
    up, apart = (right + left)[:, 1] / 2, (left - right)[:, 0] / 2
    assert -3.0 < up.mean() < 0.0 and 1.5 < up.std() < 4.0 and 0.5 < apart.mean() < 2.5
    assert np.abs(left[:, 1] - right[:, 1]).mean() < 0.6 * up.std()  # both alike


def test_the_neutral_share_of_faces_has_hardly_any_expression(model):
    draw = jit(jax.vmap(lambda key: random_expression(key, model, 1.0)))
    quiet = draw(jax.random.split(jax.random.key(7), 20))
    gaze = np.array(["eyeLook" in name for name in model.expression_names])
    assert np.asarray(quiet)[:, ~gaze].max() <= 0.15
    shape = jit(lambda key: decode(model, person(key, model, SIZE, replace(People(), neutral=1.0))))
    assert np.isfinite(np.asarray(shape(jax.random.key(8)))).all()


@pytest.mark.thorough
def test_the_shipped_network_knows_rendered_pictures():
    """New pictures of the generator, without effects of cameras: most pixels are right, and so are the coordinates."""
    model, network = load_face_model(), load_dense()
    still = Augmentation(shift=0.0, zoom=0.0, roll=0.0, stretch=0.0, bend=0.0, occluders=0.0, camera=0.0)
    draw = jit(lambda keys, model: jax.lax.map(lambda key: generate(key, model, size=160), keys))
    made = draw(jax.random.split(jax.random.key(77), 16), model)
    seen = made.landmarks, made.parsing, made.surface, made.normal
    example = DenseExample(jnp.round(made.image * 255).astype(jnp.uint8), *seen)
    config = network.config
    view = jit(jax.vmap(lambda key, one: dense_view(key, config, still, one)))(
        jax.random.split(jax.random.key(0), 16), example
    )
    terms = dense_losses(jit(apply_dense, static_argnums=0)(config, network.weights, view.image), view)
    assert float(terms["accuracy"]) > 0.9
    assert float(terms["coordinates"]) < 0.02 and float(terms["degrees"]) < 15

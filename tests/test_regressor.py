"""The shipped regressor: its file, its interface, and a handful of seeded faces that keep it honest."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.camera import project, quaternion_to_matrix, to_camera
from facejax.face_model import decode, landmarks
from facejax.face_model.surface_landmarks import MIRROR68
from facejax.programs import jit
from facejax.regression.regressor import (
    ASSET,
    RegressorConfig,
    block_sizes,
    box_crop,
    load_regressor,
    regress_crops,
    rotation_matrix,
    split_blocks,
)
from facejax.rendering import render
from facejax.synthetic.people import People, all_light, lights, person

pytestmark = pytest.mark.promotes("ranks")  # colours times fields of pixels, all through the synthetic pictures

FACES = 12


@pytest.fixture(scope="module")
def regressor():
    return load_regressor()


@pytest.fixture(scope="module")
def portraits(regressor):
    """Bare heads before grey, framed as the regressor sees faces: (images, landmarks, faces)."""
    config = regressor.config
    people = People(box=(1 / config.margin, 1 / config.margin), shift=0.0, identity=(0.7, 1.0), yaw=(22.0, 60.0))

    def draw(key, model):
        who, where = jax.random.split(key)
        face = person(who, model, config.side, people)
        light = all_light(*lights(where))
        face = jax.tree.map(lambda leaf: leaf, face)
        face = type(face)(face.identity, face.expression, face.appearance, face.pose, face.camera, light)
        size = (config.side, config.side)
        image = render(model, face, size=size, background=jnp.full(3, 0.5), edges=False).color
        points = project(face.camera, to_camera(face.pose, landmarks(model, decode(model, face))))[:, :2]
        return jnp.clip(image, 0.0, 1.0), points, face

    keys = jax.random.split(jax.random.key(11), FACES)
    return jit(lambda keys, model: jax.lax.map(lambda key: draw(key, model), keys))(keys, regressor.model)


def nme(said, true):
    true = np.asarray(true)
    size = np.sqrt(np.ptp(true, axis=1).prod(axis=1))
    return (np.linalg.norm(np.asarray(said) - true, axis=-1) / size[:, None]).mean(axis=1)


def test_it_is_small_enough_to_ship():
    assert sum(file.stat().st_size for file in ASSET.rglob("*") if file.is_file()) <= 12e6


@pytest.mark.thorough
def test_seeded_faces_are_found_within_the_stated_error(regressor, portraits):
    images, points, faces = portraits
    seen = jax.jit(regress_crops)(regressor, images)
    errors = nme(seen.landmarks, points)
    assert np.median(errors) < 0.06 and errors.max() < 0.15
    turned = jax.vmap(quaternion_to_matrix)(faces.pose.rotation)
    said = jax.vmap(quaternion_to_matrix)(seen.params.pose.rotation)
    cosine = (jnp.einsum("nij,nij->n", turned, said) - 1) / 2
    assert np.degrees(np.median(np.arccos(np.clip(cosine, -1, 1)))) < 12.0
    placed = jax.vmap(
        lambda face: project(
            face.camera, to_camera(face.pose, landmarks(regressor.model, decode(regressor.model, face)))
        )
    )(seen.params)[..., :2]
    assert np.median(nme(placed, points)) < 0.08  # the coefficients say the same as the landmarks


def test_it_beats_the_mean_face_by_far(regressor, portraits):
    images, points, _ = portraits
    seen = jax.jit(regress_crops)(regressor, images)
    same = np.broadcast_to(np.asarray(points).mean(axis=0), points.shape)
    assert np.median(nme(seen.landmarks, points)) < 0.4 * np.median(nme(same, points))


def test_it_doubts_what_is_no_face(regressor, portraits):
    images, _, _ = portraits
    noise = jax.random.uniform(jax.random.key(0), images.shape)
    apply = jax.jit(regress_crops)
    assert apply(regressor, noise).confidence.mean() < 0.5 * apply(regressor, images).confidence.mean()


def test_a_face_does_not_depend_on_its_batch(regressor, portraits):
    images = portraits[0]
    apply = jax.jit(regress_crops)
    alone, among = apply(regressor, images[:1]), apply(regressor, images)
    np.testing.assert_allclose(alone.landmarks[0], among.landmarks[0], atol=0.01)


def test_a_mirrored_face_has_mirrored_landmarks(regressor, portraits):
    images = portraits[0]
    apply = jax.jit(regress_crops)
    seen, mirrored = apply(regressor, images), apply(regressor, images[:, :, ::-1])
    turned = np.asarray(mirrored.landmarks)[:, MIRROR68] * [-1, 1] + [images.shape[2], 0]
    np.testing.assert_allclose(seen.landmarks, turned, atol=1e-2)
    np.testing.assert_allclose(seen.confidence, np.asarray(mirrored.confidence)[:, MIRROR68], atol=1e-3)


def test_the_blocks_make_up_the_coefficient_vector():
    config = RegressorConfig()
    assert sum(block_sizes(config).values()) == config.encoder.outputs
    blocks = split_blocks(config, jnp.arange(2.0 * config.encoder.outputs).reshape(2, -1))
    assert {name: block.shape[-1] for name, block in blocks.items()} == block_sizes(config)


def test_no_coefficients_are_the_mean_face():
    np.testing.assert_allclose(rotation_matrix(jnp.zeros(6)), np.eye(3), atol=1e-6)


def test_rotations_are_orthonormal():
    matrix = np.asarray(rotation_matrix(jax.random.normal(jax.random.key(0), (20, 6))), np.float64)
    np.testing.assert_allclose(matrix @ matrix.swapaxes(1, 2), np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-4)
    np.testing.assert_allclose(np.linalg.det(matrix), 1.0, atol=1e-4)


def test_crops_of_another_size_are_refused(regressor):
    with pytest.raises(ValueError, match="this regressor takes"):
        regress_crops(regressor, jnp.zeros((1, 50, 50, 3)))


def test_a_box_is_cropped_to_a_square_around_its_centre():
    config = RegressorConfig()
    crop = box_crop(np.array([10.0, 20.0, 110.0, 140.0]), config)
    np.testing.assert_allclose(crop.apply_points(np.array([[60.0, 80.0]])), config.side / 2, atol=1e-3)
    assert float(crop.scale) == pytest.approx(config.side / (config.margin * 120))


@pytest.mark.parametrize("box", [[0, 0, 0, 0], [1, 1, np.nan, 5], [5, 5, 2, 2]])
def test_an_empty_box_is_refused(box):
    with pytest.raises(ValueError, match="has no extent"):
        box_crop(np.array(box, float), RegressorConfig())

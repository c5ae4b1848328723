"""Normals, areas and similarity alignment against trimesh and numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from facejax.mesh import (
    align_similarity,
    face_neighbors,
    face_normals,
    points_on_faces,
    safe_normalize,
    vertex_normals,
)

RNG = np.random.default_rng(0)
SPHERE = trimesh.creation.icosphere(subdivisions=2, radius=50.0)
VERTICES = np.asarray(SPHERE.vertices * [1.0, 1.3, 0.8] + RNG.normal(size=SPHERE.vertices.shape))
FACES = np.asarray(SPHERE.faces, np.int32)


def oracle():
    return trimesh.Trimesh(VERTICES, FACES, process=False)


def test_face_normals_point_out_with_twice_the_area(float64):
    found = np.asarray(face_normals(jnp.asarray(VERTICES), jnp.asarray(FACES)))
    np.testing.assert_allclose(found, 2 * oracle().area_faces[:, None] * oracle().face_normals, rtol=1e-9)
    assert (np.sum(found * VERTICES[FACES].mean(1), -1) > 0).all()


def test_vertex_normals_are_the_area_weighted_mean(float64):
    expected = np.zeros_like(VERTICES)
    for face, normal, area in zip(FACES, oracle().face_normals, oracle().area_faces, strict=True):
        expected[face] += normal * area
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(vertex_normals(jnp.asarray(VERTICES), jnp.asarray(FACES)), expected, atol=1e-12)


def neighbours_by_search(faces):
    """For each face and corner k: the other face that has the edge (k, k + 1), -1 where there is none."""
    edges = [[frozenset((face[k], face[(k + 1) % 3])) for k in range(3)] for face in faces.tolist()]
    return [
        [next((g for g, other in enumerate(edges) if g != f and edge in other), -1) for edge in mine]
        for f, mine in enumerate(edges)
    ]


@pytest.mark.parametrize("mesh", ["closed", "open", "empty"])
def test_neighbours_share_the_edge(mesh):
    faces = {"closed": FACES, "open": FACES[:150], "empty": FACES[:0]}[mesh]
    found = face_neighbors(faces)
    expected = np.reshape(neighbours_by_search(faces), (-1, 3))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(jax.jit(face_neighbors)(faces), expected)
    assert mesh != "open" or (expected < 0).any()


def test_an_edge_of_three_faces_joins_the_first_two():
    faces = np.array([[0, 1, 2], [1, 0, 3], [0, 1, 4]], np.int32)
    np.testing.assert_array_equal(face_neighbors(faces)[:, 0], [1, 0, -1])


def test_a_zero_vector_normalises_to_zero_with_zero_gradient():
    vectors = jnp.array([[0.0, 0.0, 0.0], [3.0, 0.0, 4.0], [1e-20, 0.0, 0.0]])
    np.testing.assert_allclose(safe_normalize(vectors), [[0, 0, 0], [0.6, 0, 0.8], [0, 0, 0]], rtol=1e-6)
    gradient = jax.grad(lambda v: jnp.sum(safe_normalize(v) ** 3))(vectors)
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[[0, 2]].any()


def test_triangles_without_area_do_no_harm():
    vertices = jnp.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [5, 5, 5], [5, 5, 5], [5, 5, 5]])
    faces = jnp.array([[0, 1, 2], [3, 4, 5]])
    normals = vertex_normals(vertices, faces)
    np.testing.assert_allclose(normals[:3], [[0, 0, 1]] * 3)
    assert not np.asarray(normals[3:]).any()
    assert np.isfinite(jax.grad(lambda v: jnp.sum(vertex_normals(v, faces) ** 3))(vertices)).all()


@pytest.mark.parametrize("function", [vertex_normals, face_normals])
def test_gradients_agree_with_central_differences(float64, function):
    vertices, faces = jnp.asarray(VERTICES), jnp.asarray(FACES)
    weights = jnp.asarray(RNG.normal(size=function(vertices, faces).shape))
    direction = jnp.asarray(RNG.normal(size=vertices.shape))

    def value(v):
        return jnp.sum(weights * function(v, faces))

    numeric = (value(vertices + 1e-5 * direction) - value(vertices - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(jnp.vdot(jax.grad(value)(vertices), direction), numeric, rtol=1e-6)


def test_points_on_faces_are_barycentric(float64):
    face, weights = np.array([3, 40]), np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    found = points_on_faces(jnp.asarray(VERTICES), jnp.asarray(FACES), jnp.asarray(face), jnp.asarray(weights))
    a, b, c = VERTICES[FACES[3]]
    np.testing.assert_allclose(found, [0.2 * a + 0.3 * b + 0.5 * c, VERTICES[FACES[40, 0]]], atol=1e-12)


# --- similarity -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dimension", [2, 3])
def test_a_similarity_is_found_exactly(float64, dimension):
    source = RNG.normal(size=(30, dimension))
    rotation = Rotation.from_rotvec([0.0, 0.0, 2.5]).as_matrix()[:2, :2]
    if dimension == 3:
        rotation = Rotation.random(rng=np.random.default_rng(3)).as_matrix()
    shift = np.arange(1.0, dimension + 1)
    target = 1.7 * source @ rotation.T + shift
    scale, found, offset = align_similarity(jnp.asarray(source), jnp.asarray(target))
    np.testing.assert_allclose(scale, 1.7)
    np.testing.assert_allclose(found, rotation, atol=1e-12)
    np.testing.assert_allclose(offset, shift, atol=1e-12)


def residual(source, target, weights, scale, rotation, offset):
    return np.sum(weights[:, None] * (scale * source @ np.asarray(rotation).T + np.asarray(offset)[None] - target) ** 2)


@pytest.mark.parametrize("with_scale", [True, False])
def test_noisy_points_get_the_weighted_least_squares_answer(float64, with_scale):
    """The rotation is scipy's, and no small change of any of the seven numbers lowers the residual."""
    source, weights = RNG.normal(size=(40, 3)) * 30, RNG.uniform(0.1, 2, 40)
    target = 0.8 * Rotation.from_rotvec([0.3, -0.8, 0.2]).apply(source) + 12 + RNG.normal(size=(40, 3)) * 4
    scale, rotation, offset = align_similarity(
        jnp.asarray(source), jnp.asarray(target), jnp.asarray(weights), scale=with_scale
    )
    centred = [x - np.average(x, axis=0, weights=weights) for x in (source, target)]
    expected = Rotation.align_vectors(centred[1], centred[0], weights=weights)[0].as_matrix()
    np.testing.assert_allclose(rotation, expected, atol=1e-9)
    best = residual(source, target, weights, scale, rotation, offset)
    for step in np.vstack([np.eye(3), -np.eye(3)]):
        turned = Rotation.from_rotvec(1e-3 * step).as_matrix() @ np.asarray(rotation)
        assert residual(source, target, weights, scale, rotation, offset + 1e-2 * step) > best
        assert residual(source, target, weights, scale, turned, offset) > best
    if with_scale:
        for factor in (0.999, 1.001):
            middle = np.average(target, axis=0, weights=weights)
            shift = middle - factor * scale * np.asarray(rotation) @ np.average(source, axis=0, weights=weights)
            assert residual(source, target, weights, factor * scale, rotation, shift) > best
    else:
        assert scale == 1.0


def test_a_mirror_image_never_gives_a_reflection(float64):
    source = RNG.normal(size=(30, 3))
    _, rotation, _ = align_similarity(jnp.asarray(source), jnp.asarray(source * [-1, 1, 1]))
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-12)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)


def test_flat_points_give_a_proper_rotation(float64):
    source = RNG.normal(size=(10, 3)) * [1, 1, 0]
    turn = Rotation.from_rotvec([0.4, 0.2, -1.0])
    scale, rotation, _ = align_similarity(jnp.asarray(source), jnp.asarray(2.0 * turn.apply(source)))
    np.testing.assert_allclose(scale * source @ np.asarray(rotation).T, 2 * turn.apply(source), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0, atol=1e-12)


def test_alignment_runs_compiled_and_batched_with_a_gradient():
    source, target = (jnp.asarray(RNG.normal(size=(4, 20, 3)), jnp.float32) for _ in range(2))
    batch = jax.jit(jax.vmap(align_similarity))(source, target)
    for whole, one in zip(batch, align_similarity(source[2], target[2]), strict=True):
        np.testing.assert_allclose(whole[2], one, atol=1e-4)

    def error(s, t):
        scale, rotation, offset = align_similarity(s, t)
        return jnp.mean((scale * s @ rotation.T + offset[None] - t) ** 2)

    assert np.isfinite(jax.grad(error)(source[0], target[0])).all()

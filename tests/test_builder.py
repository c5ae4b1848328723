"""The model builder against constructions whose answer is known."""

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh

from facejax.face_model import builder
from facejax.face_model.builder.closest import border_vertices
from facejax.mesh import align_similarity

RNG = np.random.default_rng


def sphere(subdivisions=3):
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    return np.array(mesh.vertices), np.array(mesh.faces)


def patch(side=21):
    x, y = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    vertices = np.stack([x, y, 0 * x], -1).reshape(-1, 3)
    i = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).reshape(-1)
    faces = np.concatenate([np.stack([i, i + side, i + 1], 1), np.stack([i + 1, i + side, i + side + 1], 1)])
    return vertices, faces


def bend(points):
    """A smooth deformation of a few tenths of a unit."""
    x, y, z = points.T
    return np.stack([1.1 * x + 0.1 * y**2, 0.9 * y + 0.1 * np.sin(2 * x), z + 0.2 * x * y + 0.1 * z**2], 1)


def rotation(rng):
    q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return q * np.sign(np.linalg.det(q))


def gaussian(rng, components, points):
    return (
        rng.standard_normal((points, 3)),
        rng.standard_normal((components, points, 3)),
        rng.uniform(0.5, 2, components),
    )


def covariance(model):
    _, basis, std = model
    rows = (np.asarray(basis, float) * np.asarray(std, float)[:, None, None]).reshape(len(std), -1)
    return rows.T @ rows


def parts(model):
    return model.mean, model.basis, model.std


# Nearest points


def test_nearest_points_agree_with_trimesh():
    vertices, faces = sphere()
    vertices = bend(vertices)
    queries = RNG(0).uniform(-1.5, 1.5, (300, 3))
    found = builder.SurfaceIndex(vertices, faces).query(queries)
    _, distance, _ = trimesh.proximity.closest_point(trimesh.Trimesh(vertices, faces, process=False), queries)
    np.testing.assert_allclose(found.distances, distance, atol=1e-9)
    rebuilt = np.einsum("nk,nkd->nd", found.weights, vertices[faces[found.triangles]])
    np.testing.assert_allclose(rebuilt, found.points, atol=1e-12)


def test_border_is_the_rim_of_a_patch():
    vertices, faces = patch(5)
    np.testing.assert_array_equal(border_vertices(faces, 25), np.abs(vertices).max(axis=1) > 0.99)


# Registration


def test_known_deformation_of_a_sphere_is_recovered():
    vertices, faces = sphere(3)
    target_vertices, target_faces = sphere(4)
    target = bend(target_vertices)
    ids = np.arange(0, len(vertices), 16)
    marks = builder.vertex_landmarks(faces, ids, bend(vertices[ids]))
    seen = []
    result = builder.register(vertices, faces, target, target_faces, landmarks=marks, progress=seen.append)
    assert result.matched.mean() > 0.99
    assert result.distances.mean() < 1e-3  # lies on the surface
    error = np.linalg.norm(result.vertices - bend(vertices), axis=1)
    moved = np.linalg.norm(bend(vertices) - vertices, axis=1)
    assert error.mean() < 0.25 * moved.mean()  # and near correspondence, though a sphere has no features to hold on to
    assert seen[-1].stage == seen[-1].stages - 1 and seen[-1].distance < seen[0].distance


def test_template_beyond_the_border_of_the_target_follows_smoothly():
    vertices, faces = patch(21)
    shape = vertices + np.stack([0 * vertices[:, 0], 0 * vertices[:, 0], 0.3 + 0.2 * vertices[:, 0] ** 2], 1)
    inner = np.abs(vertices[faces]).max(axis=(1, 2)) < 0.75
    result = builder.register(vertices, faces, shape, faces[inner], stiffness=(10.0, 3.0, 1.0, 0.3))
    outside = np.abs(vertices).max(axis=1) > 0.9
    assert not result.matched[outside].any()
    covered = np.abs(vertices).max(axis=1) < 0.65
    assert result.distances[covered].max() < 0.01
    span = np.linalg.norm(np.ptp(result.vertices, axis=0)[:2])
    assert span > 0.85 * np.linalg.norm(np.ptp(vertices, axis=0)[:2])  # not sucked onto the rim


def test_matches_with_opposed_normals_are_rejected():
    vertices, faces = patch(9)
    result = builder.register(vertices, faces, vertices + np.array([0, 0, 0.1]), faces[:, ::-1], stiffness=(1.0,))
    assert not result.matched.any()
    np.testing.assert_allclose(result.vertices, vertices, atol=1e-6)


def test_registration_is_deterministic_and_equivariant_to_length_unit():
    vertices, faces = sphere(2)
    target = bend(vertices)
    first = builder.register(vertices, faces, target, faces, stiffness=(5.0, 1.0))
    again = builder.register(vertices, faces, target, faces, stiffness=(5.0, 1.0))
    np.testing.assert_array_equal(first.vertices, again.vertices)
    large = builder.register(100 * vertices, faces, 100 * target, faces, stiffness=(5.0, 1.0))
    np.testing.assert_allclose(large.vertices, 100 * first.vertices, atol=1e-3)


def test_lsfm_weights_are_one_at_the_nose_and_fade_to_the_outer_value():
    points = np.array([[0, 0, 0], [0, 0, 200], [80.5, 0, 0], [0, 200, 0]], float)
    weights = builder.lsfm_data_weights(points, np.zeros(3), stages=3)
    np.testing.assert_allclose(weights[:, 0], 1)
    np.testing.assert_allclose(weights[:, 3], [0.5, 0.25, 0])
    np.testing.assert_allclose(weights[:, 2], [0.75, 0.625, 0.5])  # half-way at the radius


def test_wrong_inputs_of_registration_name_the_fix():
    vertices, faces = patch(3)
    with pytest.raises(ValueError, match="one row a stage"):
        builder.register(vertices, faces, vertices, faces, data_weights=np.ones(4), stiffness=(1.0,))
    with pytest.raises(ValueError, match="belongs to no triangle"):
        builder.vertex_landmarks(faces, np.array([99]), np.zeros((1, 3)))


# Procrustes


@pytest.mark.parametrize("scale", [True, False])
def test_procrustes_undoes_random_similarities(scale):
    rng = RNG(1)
    base = rng.standard_normal((40, 3))
    scales = rng.uniform(0.5, 2, 6) if scale else np.ones(6)
    shapes = np.stack([s * base @ rotation(rng).T + rng.standard_normal(3) for s in scales])
    aligned = builder.generalised_procrustes(shapes, scale=scale, reference=base)
    np.testing.assert_allclose(aligned.shapes, np.broadcast_to(base, shapes.shape), atol=1e-8)
    if scale:
        np.testing.assert_allclose(aligned.scales * scales, 1, atol=1e-8)


def test_procrustes_weights_decide_which_points_agree():
    rng = RNG(2)
    base = rng.standard_normal((30, 3))
    other = base @ rotation(rng).T
    other[20:] += 5 * rng.standard_normal((10, 3))
    weights = np.where(np.arange(30) < 20, 1.0, 0.0)
    aligned = builder.generalised_procrustes(np.stack([base, other]), weights)
    np.testing.assert_allclose(aligned.shapes[1, :20], base[:20], atol=1e-6)


def test_similarity_on_the_host_equals_the_traced_one(float64):
    rng = RNG(3)
    source, target, weights = rng.standard_normal((20, 3)), rng.standard_normal((20, 3)), rng.uniform(0.1, 1, 20)
    ours = align_similarity(source, target, weights)
    assert all(isinstance(part, (np.ndarray, np.float64)) for part in ours)
    theirs = align_similarity(jnp.asarray(source), jnp.asarray(target), jnp.asarray(weights))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)


# PCA


def test_pca_is_the_eigendecomposition_of_the_covariance():
    rng = RNG(4)
    samples = rng.standard_normal((200, 12)) @ rng.standard_normal((12, 12))
    model = builder.fit_pca(samples, variance=1.0)
    values, vectors = np.linalg.eigh(np.cov(samples.T))
    np.testing.assert_allclose(model.std**2 * 12, values[::-1], rtol=1e-5)  # basis rows have mean square 1
    cosine = np.abs(np.sum(vectors[:, ::-1].T * model.basis, axis=1)) / np.sqrt(12)
    np.testing.assert_allclose(cosine, 1, atol=1e-5)


def test_weighted_pca_is_orthogonal_under_the_areas_and_keeps_the_asked_variance():
    rng = RNG(5)
    areas = rng.uniform(0.1, 3, 50)
    samples = (
        rng.standard_normal((40, 10))
        @ rng.standard_normal((10, 150))
        * np.repeat(0.5 ** np.arange(4), [10] * 4)[:, None]
    )
    model = builder.fit_pca(samples.reshape(40, 50, 3), areas, variance=0.9)
    gram = np.einsum("kvc,lvc,v->kl", model.basis, model.basis, areas) / areas.sum()
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)
    assert model.kept >= 0.9
    fewer = builder.fit_pca(samples.reshape(40, 50, 3), areas, variance=1.0, components=len(model.std) - 1)
    assert fewer.kept < 0.9
    whitened = builder.project(
        builder.fit_pca(samples.reshape(40, 50, 3), areas, variance=1.0), samples.reshape(40, 50, 3)
    )
    np.testing.assert_allclose(np.cov(whitened.T), np.eye(whitened.shape[1]), atol=1e-3)


def test_doubling_a_point_with_half_its_weight_changes_nothing():
    rng = RNG(6)
    samples = rng.standard_normal((20, 8, 3))
    doubled = np.concatenate([samples, samples[:, :1]], axis=1)
    weights = np.ones(8)
    split = np.concatenate([[0.5], np.ones(7), [0.5]])
    one, two = builder.fit_pca(samples, weights), builder.fit_pca(doubled, split)
    np.testing.assert_allclose(one.std, two.std, rtol=1e-5)


def test_reorthogonalised_model_is_the_same_gaussian():
    rng = RNG(7)
    model = gaussian(rng, 6, 20)
    areas = rng.uniform(0.2, 2, 20)
    new, _ = builder.reorthogonalise(model, areas)
    np.testing.assert_allclose(covariance(parts(new)), covariance(model), atol=1e-4)
    gram = np.einsum("kvc,lvc,v->kl", new.basis, new.basis, areas) / areas.sum()
    np.testing.assert_allclose(gram, np.eye(6), atol=1e-5)
    assert (np.diff(new.std) <= 0).all()


def test_reorthogonalised_coefficients_describe_the_same_shape():
    rng = RNG(8)
    mean, basis, std = gaussian(rng, 5, 12)
    new, turn = builder.reorthogonalise((mean, basis, std), variance=1.0)
    old = rng.standard_normal((3, 5))
    want = mean + np.tensordot(old * std, basis, axes=1)
    np.testing.assert_allclose(builder.reconstruct(new, old @ turn), want, atol=1e-4)
    np.testing.assert_allclose(builder.project(new, want), old @ turn, atol=1e-4)


def test_pruning_drops_the_planted_outliers():
    rng = RNG(9)
    samples = rng.standard_normal((100, 4)) @ rng.standard_normal((4, 30))
    samples[[7, 60]] *= 6
    kept = builder.prune(builder.fit_pca(samples), samples, drop=2)
    np.testing.assert_array_equal(kept, np.setdiff1d(np.arange(100), [7, 60]))


# Combination


def test_regression_finds_the_linear_map_between_paired_coefficients():
    rng = RNG(10)
    face = rng.standard_normal((50, 6))
    want = rng.standard_normal((9, 6))
    np.testing.assert_allclose(builder.regression_matrix(face, face @ want.T), want, atol=1e-5)


def test_face_coefficients_of_random_heads_predict_the_head_when_the_face_determines_it():
    rng = RNG(11)
    mean, basis, std = gaussian(rng, 4, 30)
    points = np.arange(12)
    face = (mean[points], basis[:, points], std)  # the face model is the head model cut to its face
    pairs = builder.paired_coefficients(face, (mean, basis, std), points, samples=40, seed=0)
    np.testing.assert_allclose(builder.regression_matrix(*pairs), np.eye(4), atol=1e-4)


@pytest.mark.parametrize("kernel", ["mean", "product"])
def test_merged_model_is_each_model_in_its_own_domain(kernel):
    rng = RNG(12)
    head, face = gaussian(rng, 5, 24), gaussian(rng, 4, 24)
    face = (face[0], face[1] * 0.5, face[2])
    mix = np.repeat([1.0, 0.0], 12)
    merged = builder.merge_covariance(face, head, mix, rng.uniform(0.5, 2, 24), variance=1.0, kernel=kernel)
    got, k_face, k_head = covariance(parts(merged)), covariance(face), covariance(head)
    np.testing.assert_allclose(merged.mean, np.where(mix[:, None] > 0.5, face[0], head[0]), atol=1e-6)
    if kernel == "product":
        np.testing.assert_allclose(got[:36, :36], k_face[:36, :36], atol=1e-4)
        np.testing.assert_allclose(got[36:, 36:], k_head[36:, 36:], atol=1e-4)
        np.testing.assert_allclose(got[:36, 36:], 0, atol=1e-4)
    else:
        r = (mix[:, None] + mix[None]) / 2
        wide = np.kron(r, np.ones((3, 3)))
        kernel_matrix = wide * k_face + (1 - wide) * k_head
        values, vectors = np.linalg.eigh(kernel_matrix)
        # The unweighted oracle keeps the positive part; under weights the split differs, so compare without them.
        plain = builder.merge_covariance(face, head, mix, variance=1.0, kernel="mean")
        want = (vectors * np.maximum(values, 0)) @ vectors.T
        np.testing.assert_allclose(covariance(parts(plain)), want, atol=1e-3)


def test_merging_a_model_with_itself_returns_it():
    rng = RNG(13)
    model = gaussian(rng, 4, 15)
    merged = builder.merge_covariance(model, model, rng.uniform(0, 1, 15), rng.uniform(0.5, 2, 15), variance=1.0)
    np.testing.assert_allclose(covariance(parts(merged)), covariance(model), atol=1e-3)


def test_blend_hits_the_face_and_leaves_distant_vertices_alone():
    vertices, faces = patch(21)
    mix = (np.linalg.norm(vertices[:, :2], axis=1) < 0.3).astype(float)
    mix[np.abs(vertices).max(axis=1) > 0.99] = 1.0  # the rim is held
    face = vertices + np.where(np.linalg.norm(vertices, axis=1) < 0.3, 1.0, 0.0)[:, None] * [0, 0, 0.2]
    blended = builder.blend_region(vertices, face, mix, faces, stiffness=1e-2)
    centre = np.linalg.norm(vertices, axis=1) < 0.15
    np.testing.assert_allclose(blended[centre, 2], 0.2, atol=0.01)
    rim = np.abs(vertices).max(axis=1) > 0.99
    np.testing.assert_allclose(blended[rim], vertices[rim], atol=0.02)
    steps = np.abs(np.diff(blended[:, 2].reshape(21, 21), axis=0))
    assert steps.max() < 0.08  # no cliff at the region's edge

"""Metrics: the tests that every metric must pass, and independent oracles."""

import numpy as np
import pytest
import trimesh

from facejax.evaluation import (
    aligned_surface_distance,
    aligned_vertex_distance,
    nme,
    nme_by_yaw,
    psnr,
    surface_distance,
)

pytestmark = pytest.mark.optimized

RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(0, 200, (68, 2))


def rotation(seed=0):
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    q = q * np.sign(np.diag(r))
    return q * np.sign(np.linalg.det(q))


# --- landmarks --------------------------------------------------------------------------------------------------------


def test_nme_is_zero_for_equal_points_and_known_for_a_shift():
    assert nme(TRUTH, TRUTH) == 0
    width, height = np.ptp(TRUTH, axis=0)
    np.testing.assert_allclose(nme(TRUTH + np.array([3.0, 4.0]), TRUTH), 100 * 5 / np.sqrt(width * height))


def test_nme_does_not_change_when_both_are_scaled_but_uses_the_true_box():
    found = TRUTH + RNG.normal(size=TRUTH.shape)
    np.testing.assert_allclose(nme(found * 3.7 + 5, TRUTH * 3.7 + 5), nme(found, TRUTH))
    assert nme(2 * TRUTH, TRUTH) != pytest.approx(float(nme(TRUTH, 2 * TRUTH)))


def test_nme_takes_batches_and_ignores_depth():
    found, true = RNG.normal(size=(4, 68, 3)), RNG.normal(size=(4, 68, 2))
    together = nme(found, true)
    assert together.shape == (4,)
    np.testing.assert_allclose(together[2], nme(found[2, :, :2], true[2]))


def test_nme_without_a_box_is_an_error():
    with pytest.raises(ValueError, match="no area"):
        nme(TRUTH, TRUTH * [1.0, 0.0])


def test_bins_weigh_alike_whatever_their_counts():
    yaw = np.array([0.0] * 50 + [-45.0] * 3 + [80.0])
    same = nme_by_yaw(np.full(54, 2.5), yaw)
    assert same.mean == 2.5 and same.std == 0 and same.counts == {"0-30": 50, "30-60": 3, "60-90": 1}
    errors = np.where(np.abs(yaw) < 30, 1.0, np.where(np.abs(yaw) < 60, 2.0, 6.0))
    table = nme_by_yaw(errors, yaw)
    assert table.bins == {"0-30": 1.0, "30-60": 2.0, "60-90": 6.0} and table.mean == 3.0


def test_bin_edges_belong_below_and_an_empty_bin_gives_no_mean():
    table = nme_by_yaw(np.array([1.0, 2.0]), np.array([30.0, -60.0]))
    assert table.counts == {"0-30": 1, "30-60": 1, "60-90": 0}
    assert np.isnan(table.bins["60-90"]) and np.isnan(table.mean)


# --- surfaces ---------------------------------------------------------------------------------------------------------


def test_surface_distance_agrees_with_trimesh():
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=50.0)
    vertices = mesh.vertices * [1.0, 1.4, 0.8] + RNG.normal(size=mesh.vertices.shape)
    mesh = trimesh.Trimesh(vertices, mesh.faces, process=False)
    points = RNG.normal(size=(400, 3)) * 45
    expected = trimesh.proximity.closest_point(mesh, points)[1]
    np.testing.assert_allclose(surface_distance(points, vertices, mesh.faces), expected, atol=1e-9)


def test_surface_distance_is_exact_with_triangles_of_very_different_size():
    """Against testing every triangle: needles, a triangle without area, and one far larger than the rest."""
    vertices = RNG.normal(size=(120, 3))
    vertices[:3] *= 1000.0
    vertices[3:6] = vertices[3]
    faces = np.arange(120).reshape(40, 3)
    points = RNG.normal(size=(150, 3)) * 3
    expected = np.min([_distance_by_sampling(points, vertices[face]) for face in faces], axis=0)
    found = surface_distance(points, vertices, faces)
    assert (found <= expected + 1e-9).all()
    np.testing.assert_allclose(found[expected < 2], expected[expected < 2], atol=0.05)


def _distance_by_sampling(points, corners, steps=60):
    """Distance to a dense grid of points of one triangle: never below the true distance."""
    if np.ptp(corners, axis=0).max() > 100:  # too large to sample: project, and trust it only inside
        normal = np.cross(corners[1] - corners[0], corners[2] - corners[0])
        weights = [np.cross(corners[(k + 1) % 3] - corners[k], points - corners[k]) @ normal >= 0 for k in range(3)]
        distance = np.abs((points - corners[0]) @ normal) / np.linalg.norm(normal)
        return np.where(np.all(weights, axis=0), distance, np.inf)
    a, b = np.meshgrid(np.linspace(0, 1, steps), np.linspace(0, 1, steps))
    keep = a + b <= 1 + 1e-12
    weights = np.stack([1 - a[keep] - b[keep], a[keep], b[keep]], -1)
    return np.linalg.norm(points[:, None] - weights @ corners, axis=-1).min(axis=1)


def test_distance_from_a_larger_sphere_is_the_difference_of_radii():
    small, large = (trimesh.creation.icosphere(subdivisions=4, radius=r) for r in (100.0, 102.5))
    distance = surface_distance(large.vertices, small.vertices, small.faces)
    np.testing.assert_allclose(distance, 2.5, atol=0.15)  # the facets lie up to 0.1 mm below the sphere
    assert (distance >= 2.5 - 1e-9).all()


def test_vertices_of_the_mesh_itself_are_at_distance_zero():
    mesh = trimesh.creation.torus(40, 10)
    assert surface_distance(mesh.vertices, mesh.vertices, mesh.faces).max() < 1e-9


def test_alignment_removes_a_similarity_and_keeps_the_shape_error():
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=80.0)
    marks = np.array(mesh.vertices[:12])
    moved = 1.7 * mesh.vertices @ rotation().T + [10.0, -20.0, 400.0]
    after = aligned_surface_distance(mesh.vertices, moved, mesh.faces, moved[:12], marks)
    assert after.max() < 1e-6
    rigid = aligned_surface_distance(mesh.vertices, moved, mesh.faces, moved[:12], marks, scale=False)
    np.testing.assert_allclose(rigid, 0.7 * 80.0, rtol=0.01)
    distance = aligned_vertex_distance(moved, mesh.vertices)
    assert distance.max() < 1e-6


def test_a_mirrored_face_is_refused():
    points = RNG.normal(size=(60, 3)) * [30, 40, 20]
    assert aligned_vertex_distance(points * [-1, 1, 1], points).mean() > 5


def test_weights_choose_what_is_aligned():
    points = RNG.normal(size=(60, 3)) * 30
    changed = points.copy()
    changed[40:] += 25.0
    weights = (np.arange(60) < 40).astype(float)
    distance = aligned_vertex_distance(changed, points, weights)
    assert distance[:40].max() < 1e-9
    np.testing.assert_allclose(distance[40:], 25 * np.sqrt(3))


# --- images -----------------------------------------------------------------------------------------------------------


def test_psnr_of_equal_images_is_infinite_and_of_a_known_error_exact():
    image = RNG.uniform(size=(8, 9, 3))
    assert psnr(image, image) == float("inf")
    np.testing.assert_allclose(psnr(image + 0.1, image), 20.0)
    np.testing.assert_allclose(psnr((image + 0.1) * 255, image * 255, peak=255.0), 20.0)


def test_psnr_sees_only_the_mask():
    image = RNG.uniform(size=(8, 9, 3))
    other = image + 0.01
    other[:, 4:] += 10.0
    mask = np.zeros((8, 9))
    mask[:, :4] = 1.0
    np.testing.assert_allclose(psnr(other, image, mask), 40.0)
    with pytest.raises(ValueError, match="empty"):
        psnr(other, image, np.zeros((8, 9)))

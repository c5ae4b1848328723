"""The tools that draw the default head's albedo on shapes whose answer is known, and on the real skins."""

import sys
from pathlib import Path

import numpy as np
import trimesh

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))

from default_head import layers, makehuman, skins


def test_texels_of_a_triangulated_square_interpolate_its_corners():
    corners = np.array([[[0.1, 0.1], [0.9, 0.1], [0.9, 0.9]], [[0.1, 0.1], [0.9, 0.9], [0.1, 0.9]]])
    texels = skins.rasterise(corners, (50, 40))
    uv = texels.interpolate(corners)
    u, v = np.meshgrid((np.arange(40) + 0.5) / 40, 1 - (np.arange(50) + 0.5) / 50)
    inside = (np.abs(u - 0.5) < 0.4) & (np.abs(v - 0.5) < 0.4)
    np.testing.assert_array_equal(texels.covered, inside)
    np.testing.assert_allclose(uv[inside], np.stack([u, v], -1)[inside], atol=1e-9)


def test_sampling_reproduces_a_linear_image():
    u, v = np.meshgrid((np.arange(30) + 0.5) / 30, 1 - (np.arange(20) + 0.5) / 20)
    where = np.random.default_rng(0).uniform(0.1, 0.9, (100, 2))
    got = skins.sample((2 * u - v)[..., None].astype(np.float32), where)[:, 0]
    np.testing.assert_allclose(got, 2 * where[:, 0] - where[:, 1], atol=1e-5)


def test_signed_distance_to_a_square():
    square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)
    points = np.array([[0, 0], [0.5, 0], [3, 0], [2, 2]], float)
    np.testing.assert_allclose(skins.polygon_distance(points, square), [-1, -0.5, 2, np.sqrt(2)])


def test_rays_meet_triangles_where_trimesh_says():
    mesh = trimesh.creation.icosphere(subdivisions=2, radius=10)
    rng = np.random.default_rng(1)
    directions = rng.standard_normal((40, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origin = np.array([14.0, 2.0, -3.0])
    hit = makehuman.hits(origin, directions, np.array(mesh.triangles), 100.0)
    want = mesh.ray.intersects_any(np.tile(origin, (40, 1)), directions)
    np.testing.assert_array_equal(hit, want)
    assert 0 < hit.sum() < 40


def test_fill_copies_the_nearest_texel_within_reach():
    covered = np.zeros((9, 9), bool)
    covered[4, 4] = True
    image = np.where(covered[..., None], 0.7, 0.0) * np.ones(3)
    filled = layers.fill_outside(image, covered, 2)
    assert filled[4, 6, 0] == 0.7 and filled[4, 7, 0] == 0.0


def test_picked_points_lie_on_the_near_side():
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=10)
    ids, weights = makehuman.pick(np.array(mesh.vertices), np.array(mesh.faces), np.array([[3.0, 2.0]]), side=False)
    point = np.einsum("nk,nkd->nd", weights, mesh.vertices[mesh.faces[ids]])[0]
    np.testing.assert_allclose(point, [3, 2, np.sqrt(100 - 13)], atol=0.15)


def test_landmarks_of_both_heads_agree_up_to_a_similarity(shared):
    from facejax.mesh import align_similarity

    ict, target = makehuman.load_ict(shared), makehuman.load_makehuman(shared)
    ids, weights, targets = makehuman.corresponding_points(ict, target)
    points = np.einsum("nk,nkd->nd", weights, ict.vertices[ict.faces[ict.skin][ids]])
    scale, rotation, shift = align_similarity(points, targets)
    error = np.linalg.norm(scale * points @ rotation.T + shift - targets, axis=1)
    assert error.mean() < 4 and error.max() < 12  # mm: two different heads, but no swapped or misplaced point
    count = len(makehuman.FRONT)
    left = np.flatnonzero(makehuman.FRONT[:, 0] < 0)
    np.testing.assert_allclose(targets[count : count + len(left)], targets[left] * [-1, 1, 1], atol=0.1)


def test_evened_skins_are_flat_and_keep_their_lips(shared):
    crop = skins.describe_crop(makehuman.load_makehuman(shared))
    path = shared / "skins" / "young_lightskinned_female_diffuse3_head.jpg"
    skin = skins._even(path, crop)
    coarse = skin.detail.reshape(crop.light.shape[0], skins.COARSE, crop.light.shape[1], skins.COARSE, 3).mean(
        axis=(1, 3)
    )
    broad = skins._blur(coarse, crop.light, 6.0).mean(axis=-1)
    assert broad[(crop.light > 0.9)].std() < 0.03  # 3 % of light and dark across the face
    assert skin.lips[1] - skin.lips[0] > 0.3  # redder than the skin

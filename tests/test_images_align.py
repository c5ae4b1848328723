"""Faces aligned by five points: the transform against numpy's least squares, the warp against OpenCV's."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.images import align

RNG = np.random.default_rng(0)


def similarity(scale, degrees, shift):
    c, s = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def test_the_similarity_is_the_least_squares_one(float64):
    """Four unknowns a, b, x, y of a linear system, solved by numpy."""
    source, target = RNG.uniform(0, 200, (5, 2)), RNG.uniform(0, 112, (5, 2))
    rows = [[x, -y, 1, 0] for x, y in source] + [[y, x, 0, 1] for x, y in source]
    a, b, x, y = np.linalg.lstsq(np.array(rows), target.T.ravel(), rcond=None)[0]
    found = jax.jit(align.fit_similarity)(jnp.asarray(source), jnp.asarray(target))
    np.testing.assert_allclose(found, [[a, -b, x], [b, a, y]], rtol=1e-9, atol=1e-9)


def test_a_similarity_is_found_again(float64):
    true = similarity(0.4, -25, (30, 5))
    points = RNG.uniform(0, 200, (5, 2))
    found = align.fit_similarity(jnp.asarray(points), jnp.asarray(points @ true[:, :2].T + true[:, 2]))
    np.testing.assert_allclose(found, true, atol=1e-9)


def test_points_that_coincide_move_without_scaling():
    found = align.fit_similarity(jnp.ones((5, 2)), jnp.full((5, 2), 3.0))
    np.testing.assert_allclose(found, [[1, 0, 2], [0, 1, 2]])


@pytest.mark.parametrize(("scale", "degrees", "shift"), [(1.0, 0, (0, 0)), (0.7, 20, (-8, 10)), (2.1, -50, (12, 6))])
def test_the_warp_is_opencvs(scale, degrees, shift):
    """Whose pixel centres are at integers; its interpolation has steps of 1/32 of a pixel, hence the smooth picture."""
    y, x = np.mgrid[:40, :50] / 10.0
    image = np.stack([np.sin(x) * np.cos(y), np.cos(0.7 * x), y / 4], axis=-1).astype("f4")
    matrix = similarity(scale, degrees, shift)
    shifted = matrix.copy()
    shifted[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    expected = cv2.warpAffine(image, shifted, (24, 24), flags=cv2.INTER_LINEAR, borderValue=0)
    found = np.asarray(jax.jit(align.warp, static_argnums=2)(jnp.asarray(image), jnp.asarray(matrix, "f4"), 24))
    assert np.mean(np.abs(found - expected) > 0.05) < 0.03  # only where the border's zeros fade in
    assert np.median(np.abs(found - expected)) < 2e-3


def test_the_gradient_of_the_warp_is_its_transpose(float64):
    """Linear in the picture: <warp(x), y> = <x, warp^T(y)>, for pictures that leave the border too."""
    image, other = jnp.asarray(RNG.normal(size=(2, 9, 11, 2)))
    transform = jnp.asarray(similarity(0.8, 33, (1, -2)))
    out = align.warp(image, transform, 8)
    assert 0 < np.mean(np.asarray(out) == 0) < 0.6
    pull = jnp.asarray(RNG.normal(size=out.shape))
    gradient = jax.grad(lambda x: jnp.vdot(align.warp(x, transform, 8), pull))(image)
    np.testing.assert_allclose(jnp.vdot(gradient, other), jnp.vdot(align.warp(other, transform, 8), pull), rtol=1e-9)


def test_aligned_landmarks_lie_at_arcfaces_places():
    """A face whose five points are ArcFace's, turned, twice as large and moved, is turned back."""
    away = similarity(2.0, 15, (40, 10))
    places = np.asarray(align.ARCFACE_POINTS) @ away[:, :2].T + away[:, 2]
    landmarks = np.zeros((68, 2), "f4")
    landmarks[[36, 39]] = places[0] + [[-3, 1], [3, -1]]  # corners whose middle is the eye
    landmarks[[42, 45]] = places[1] + [[-2, 2], [2, -2]]
    landmarks[[30, 48, 54]] = places[2:]
    image = np.zeros((300, 300, 1), "f4")
    for x, y in places:
        image += np.exp(-((np.mgrid[:300, :300] + 0.5 - [[[y]], [[x]]]) ** 2).sum(0) / 18)[..., None].astype("f4")
    crop = np.asarray(jax.jit(align.align_face)(jnp.asarray(image), jnp.asarray(landmarks)))[..., 0]
    assert crop.shape == (112, 112)
    for x, y in align.ARCFACE_POINTS:
        around = crop[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4]
        rows, columns = np.mgrid[-3:4, -3:4]
        centre = np.array([(around * columns).sum(), (around * rows).sum()]) / around.sum() + [
            int(x) + 0.5,
            int(y) + 0.5,
        ]
        np.testing.assert_allclose(centre, [x, y], atol=0.3)
    gradient = jax.grad(lambda p: jnp.sum(align.align_face(jnp.asarray(image), p)))(jnp.asarray(landmarks))
    assert np.all(np.asarray(gradient) == 0)

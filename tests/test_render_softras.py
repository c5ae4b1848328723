"""The SoftRas reference mode against a direct per-pixel, per-triangle loop of the paper's formulas."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import expit

from facejax.rendering.softras import render_softras

POINTS = np.array([[2.0, 2, 500], [9, 3, 510], [4, 9, 490], [8, 9, 530], [11, 6, 520]])
FACES = np.array([[0, 2, 1], [1, 2, 3], [1, 3, 4]], np.int32)
COLORS = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1]])
OPTIONS = {"size": (12, 12), "near": 400.0, "far": 600.0, "sigma": 3e-3, "gamma": 0.1}


def segment_distance(p, a, b):
    t = np.clip((p - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    return np.linalg.norm(p - a - t * (b - a))


def pixel_by_loop(p, background, sigma, gamma, near, far, epsilon=1e-3):
    top, bottom, clear = epsilon_weight(epsilon, gamma) * background, epsilon_weight(epsilon, gamma), 1.0
    for face in FACES:
        a, b, c = POINTS[face, :2]
        w = np.linalg.solve(np.array([[*a, 1], [*b, 1], [*c, 1]]).T, [*p, 1])
        d = min(segment_distance(p, *pair) for pair in ((a, b), (b, c), (c, a))) / 6  # half the image is 6 pixels
        sign = 1 if (w >= 0).all() else -1
        cover = expit(sign * d * d / sigma)
        w = np.clip(w, 0, 1) / np.clip(w, 0, 1).sum()
        z = (far - 1 / (w @ (1 / POINTS[face, 2]))) / (far - near)
        weight = cover * np.exp(z / gamma)
        top, bottom, clear = top + weight * (w @ COLORS[face]), bottom + weight, clear * (1 - cover)
    return top / bottom, 1 - clear


def epsilon_weight(epsilon, gamma):
    return np.exp(epsilon / gamma)


def shown(points, background, options):
    colors, background = jnp.asarray(COLORS, jnp.float32), jnp.asarray(background, jnp.float32)
    return render_softras(points, jnp.asarray(FACES), colors, background=background, **options)


def test_softras_matches_a_direct_loop():
    background = np.array([0.2, 0.3, 0.4])
    color, alpha = jax.jit(lambda p: shown(p, background, OPTIONS))(jnp.asarray(POINTS, jnp.float32))
    settings = {key: OPTIONS[key] for key in ("sigma", "gamma", "near", "far")}
    for y in range(0, 12, 2):
        for x in range(12):
            expected = pixel_by_loop(np.array([x + 0.5, y + 0.5]), background, **settings)
            np.testing.assert_allclose(color[y, x], expected[0], atol=2e-4)
            np.testing.assert_allclose(alpha[y, x], expected[1], atol=2e-4)


def test_softras_gradients_are_finite_and_pull_towards_an_uncovered_pixel():
    def reached(shift):
        moved = jnp.asarray(POINTS, jnp.float32) + shift[None]
        options = OPTIONS | {"sigma": 0.05}
        return shown(moved, np.zeros(3), options)[1][1, 10]

    slope = jax.jit(jax.grad(reached))(jnp.zeros(3))
    assert jnp.isfinite(slope).all() and slope[0] > 0 and slope[1] < 0

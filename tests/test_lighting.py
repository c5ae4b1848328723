"""Light against scipy's harmonics and brute-force integration; colour conversions against standards and OpenCV."""

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import sph_harm_y

from facejax.camera import axis_angle_to_quaternion, quaternion_to_matrix
from facejax.lighting import (
    linear_to_srgb,
    luma,
    rgb_to_lab,
    rgb_to_ycbcr,
    roll_light,
    rotate_light,
    sh_basis,
    shade,
    srgb_to_linear,
    uniform_light,
    ycbcr_to_rgb,
)


def directions(count=200, seed=0):
    n = np.random.default_rng(seed).normal(size=(count, 3))
    return n / np.linalg.norm(n, axis=1, keepdims=True)


def real_harmonics(n):
    """The nine real harmonics without the Condon-Shortley sign, from scipy's complex ones: (N, 9)."""
    theta, phi = np.arccos(np.clip(n[:, 2], -1, 1)), np.arctan2(n[:, 1], n[:, 0])
    columns = []
    for degree in range(3):
        for order in range(-degree, degree + 1):
            value = sph_harm_y(degree, abs(order), theta, phi)
            sign = (-1.0) ** order * np.sqrt(2.0)
            columns.append(value.real if order == 0 else sign * (value.real if order > 0 else value.imag))
    return np.stack(columns, -1)


def sphere_quadrature(count=400):
    """Nodes and weights on the sphere: Gauss-Legendre in z, even spacing around."""
    z, weight = np.polynomial.legendre.leggauss(count)
    phi = np.arange(2 * count) * np.pi / count
    r = np.sqrt(1 - z**2)[:, None]
    nodes = np.stack([r * np.cos(phi), r * np.sin(phi), np.broadcast_to(z[:, None], (count, 2 * count))], -1)
    return nodes.reshape(-1, 3), np.repeat(weight * np.pi / count, 2 * count)


def test_basis_is_scipys_harmonics_times_the_cosine_factors(float64):
    n = directions()
    factors = np.repeat([1, 2 / 3, 1 / 4], [1, 3, 5])
    np.testing.assert_allclose(sh_basis(jnp.asarray(n)), real_harmonics(n) * factors, atol=1e-12)


def test_shading_is_the_cosine_integral_over_the_sphere(float64):
    """Radiance made of the nine harmonics, integrated with a clamped cosine over pi: what `shade` must give."""
    light = np.random.default_rng(1).normal(size=(9, 3))
    nodes, weights = sphere_quadrature()
    radiance = real_harmonics(nodes) @ light
    n = directions(10)
    expected = [(np.maximum(0, nodes @ normal) * weights) @ radiance / np.pi for normal in n]
    np.testing.assert_allclose(shade(jnp.asarray(n), jnp.asarray(light)), expected, atol=2e-5)


def test_nine_coefficients_hold_a_distant_lamp_to_the_known_accuracy(float64):
    """The clamped cosine and its first three bands: root mean square 0.035 over the sphere (of a peak of 1)."""
    lamp = np.array([0.36, 0.48, 0.8])
    light = np.repeat(real_harmonics(lamp[None]).T, 3, axis=1)
    n = directions(4000)
    error = np.asarray(shade(jnp.asarray(n), jnp.asarray(light)))[:, 0] - np.maximum(0, n @ lamp) / np.pi
    assert np.sqrt(np.mean((np.pi * error) ** 2)) < 0.04


def test_uniform_light_shades_everything_alike():
    np.testing.assert_allclose(shade(jnp.asarray(directions(), jnp.float32), uniform_light(0.7)), 0.7, rtol=1e-6)


def test_lights_from_the_axes_brighten_the_sides_that_face_them():
    for axis, index in [(1, 1), (2, 2), (0, 3)]:  # (1,-1) is y, (1,0) is z, (1,1) is x
        light = jnp.zeros((9, 3)).at[index].set(1.0)
        bright, dark = shade(jnp.stack([jnp.eye(3)[axis], -jnp.eye(3)[axis]]), light)[:, 0]
        assert bright > 0.3 and dark == -bright


def test_shading_gradient_agrees_with_central_differences(float64):
    n, light = jnp.asarray(directions(5)), jnp.asarray(np.random.default_rng(2).normal(size=(9, 3)))

    def function(n, light):
        return jnp.sum(shade(n, light) ** 2)

    for argument in (0, 1):
        gradient = jax.grad(function, argnums=argument)(n, light)
        target = (n, light)[argument]
        direction = jnp.asarray(np.random.default_rng(3).normal(size=target.shape))

        def moved(step, argument=argument, direction=direction):
            inputs = [n, light]
            inputs[argument] = inputs[argument] + step * direction
            return function(*inputs)

        np.testing.assert_allclose(jnp.vdot(gradient, direction), (moved(1e-6) - moved(-1e-6)) / 2e-6, rtol=1e-7)


def test_batch_and_image_shapes_shade_alike():
    n = jnp.asarray(directions(24), jnp.float32)
    lights = jnp.asarray(np.random.default_rng(4).normal(size=(3, 9, 3)), jnp.float32)
    image = jax.jit(jax.vmap(shade, in_axes=(None, 0)))(n.reshape(4, 6, 3), lights)
    for k in range(3):
        np.testing.assert_allclose(image[k].reshape(24, 3), shade(n, lights[k]), rtol=1e-5, atol=1e-6)


def test_srgb_curve_has_the_known_values_of_the_standard(float64):
    known = {0: 0.0, 10: 0.003035270, 128: 0.215860501, 188: 0.502886458, 255: 1.0}  # 8-bit grey: IEC 61966-2-1
    np.testing.assert_allclose(srgb_to_linear(jnp.asarray(list(known)) / 255.0), list(known.values()), atol=1e-8)


@pytest.mark.parametrize("function", [srgb_to_linear, linear_to_srgb])
def test_srgb_of_numpy_arrays_stays_on_the_host_and_says_the_same(float64, function):
    x = np.linspace(-0.2, 1.5, 400)
    found = function(x)
    assert isinstance(found, np.ndarray) and found.dtype == np.float64
    np.testing.assert_allclose(found, function(jnp.asarray(x)), rtol=1e-14)
    assert function(x.astype(np.float32)).dtype == np.float32


def test_ycbcr_is_opencvs_ycrcb_but_for_order_and_offset():
    image = np.random.default_rng(0).random((9, 7, 3), np.float32)
    y, cr, cb = np.moveaxis(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb), -1, 0)
    want = np.stack([y, cb - 0.5, cr - 0.5], axis=-1)
    np.testing.assert_allclose(rgb_to_ycbcr(jnp.asarray(image)), want, atol=5e-4)  # OpenCV rounds its factors


def test_ycbcr_fills_its_range():
    corners = np.stack(np.meshgrid([0.0, 1.0], [0.0, 1.0], [0.0, 1.0]), axis=-1).reshape(-1, 3).astype(np.float32)
    found = np.asarray(rgb_to_ycbcr(jnp.asarray(corners)))
    np.testing.assert_allclose(found.min(axis=0), [0, -0.5, -0.5], atol=1e-6)
    np.testing.assert_allclose(found.max(axis=0), [1, 0.5, 0.5], atol=1e-6)


def test_rgb_comes_back_from_ycbcr():
    image = np.random.default_rng(1).uniform(-0.5, 1.5, (6, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(ycbcr_to_rgb(rgb_to_ycbcr(jnp.asarray(image))), image, atol=1e-6)


def test_ycbcr_of_the_primaries():
    """BT.601: pure blue has Cb 0.5, pure red Cr 0.5, greys none; yellow is blue's opposite."""
    colours = jnp.array([[1.0, 0, 0], [0, 0, 1.0], [0.3, 0.3, 0.3], [1.0, 1.0, 0.0]])
    found = rgb_to_ycbcr(colours)
    np.testing.assert_allclose(found[0], [0.299, -0.168736, 0.5], atol=1e-5)
    np.testing.assert_allclose(found[1], [0.114, 0.5, -0.081312], atol=1e-5)
    np.testing.assert_allclose(found[2], [0.3, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found[3, 1], -0.5, atol=1e-5)


def test_luma_of_numpy_arrays_is_their_y(float64):
    image = np.random.default_rng(2).random((4, 5, 3))
    found = luma(image)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, rgb_to_ycbcr(jnp.asarray(image))[..., 0], rtol=1e-12)


def test_srgb_curves_are_inverse_and_continuous(float64):
    x = jnp.linspace(-0.2, 1.5, 400)
    np.testing.assert_allclose(linear_to_srgb(srgb_to_linear(x)), x, atol=1e-7)
    for function, knee in [(srgb_to_linear, 0.04045), (linear_to_srgb, 0.0031308)]:
        below, above = function(jnp.asarray([knee - 1e-9, knee + 1e-9]))
        assert abs(below - above) < 1e-6


@pytest.mark.parametrize("function", [srgb_to_linear, linear_to_srgb])
def test_srgb_gradient_is_finite_everywhere_and_right(float64, function):
    x = jnp.asarray([-1.0, 0.0, 1e-12, 0.003, 0.0031308, 0.04045, 0.2, 1.0, 5.0])
    gradient = jax.vmap(jax.grad(function))(x)
    assert np.isfinite(gradient).all() and (np.asarray(gradient) > 0).all()
    smooth = jnp.asarray([-1.0, 0.002, 0.2, 1.0, 5.0])
    numeric = (function(smooth + 1e-7) - function(smooth - 1e-7)) / 2e-7
    np.testing.assert_allclose(jax.vmap(jax.grad(function))(smooth), numeric, rtol=1e-6)


def test_a_turned_light_shades_turned_normals_as_before():
    light = jnp.asarray(np.random.default_rng(1).normal(size=(9, 3)), jnp.float32)
    rotation = quaternion_to_matrix(axis_angle_to_quaternion(jnp.array([0.4, -1.1, 0.7])))
    normals = jnp.asarray(directions(), jnp.float32)
    turned = rotate_light(light, rotation)
    np.testing.assert_allclose(shade(normals @ rotation.T, turned), shade(normals, light), atol=2e-6)
    about_view = quaternion_to_matrix(axis_angle_to_quaternion(jnp.array([0.0, 0.0, 0.6])))
    np.testing.assert_allclose(rotate_light(light, about_view), roll_light(light, jnp.float32(0.6)), atol=2e-6)


@pytest.mark.parametrize(("rgb", "lab"), [
    ((0, 0, 0), (0, 0, 0)), ((1, 1, 1), (100, 0, 0)), ((1, 0, 0), (53.24, 80.09, 67.20)),
    ((0, 1, 0), (87.74, -86.18, 83.18)), ((0, 0, 1), (32.30, 79.19, -107.86)), ((0.5, 0.5, 0.5), (53.39, 0, 0)),
])  # fmt: skip
def test_lab_of_known_colours(rgb, lab):
    """Published values of the primaries (D65)."""
    np.testing.assert_allclose(rgb_to_lab(np.array(rgb, np.float64)), lab, atol=0.06)
    np.testing.assert_allclose(rgb_to_lab(jnp.array(rgb, jnp.float32)), lab, atol=0.06)


def test_lab_is_opencvs():
    image = np.random.default_rng(0).uniform(0, 1, (5, 7, 3)).astype(np.float32)
    np.testing.assert_allclose(rgb_to_lab(image), cv2.cvtColor(image, cv2.COLOR_RGB2Lab), atol=0.3)  # of a coarse table

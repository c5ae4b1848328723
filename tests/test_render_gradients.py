"""Gradients of the renderer against central differences of a supersampled float64 rasteriser."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from raster_oracle import bumpy_head, project, rasterize, torus
from scipy import ndimage

from facejax.camera import PerspectiveCamera, axis_angle_to_quaternion, quaternion_to_matrix
from facejax.lighting import shade
from facejax.mesh import face_neighbors, safe_normalize, vertex_normals
from facejax.programs import jit
from facejax.rendering import render_mesh

SIDE, FOCAL, DISTANCE = 64, 130.0, 600.0
SAMPLES, SHIFTS = 16, 8  # samples a pixel and way of the reference; sub-pixel shifts that ours is averaged over
NAMES = [*(f"rotation {k}" for k in "xyz"), *(f"translation {k}" for k in "xyz"), "identity 0", "identity 1"]
NAMES += ["expression 0", "expression 1"]
# Steps that move the outline by about a sixth of a pixel (rotation in radians, the rest in mm).
STEPS = np.array([0.01, 0.01, 0.01, 1.0, 1.0, 5.0, 1.5, 1.5, 1.5, 1.5])
POSE = np.array([0.25, 0.6, 0.1, 4.0, -3.0, -DISTANCE, 1.0, -2.0, 1.0, 0.5])


@cache
def scene(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, four modes (two global, two local; unit mm) and faces."""
    vertices, faces = {"head": bumpy_head, "torus": torus}[name]()
    unit = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    x, y, z = unit.T
    waves = [x * x, y + 0.3, np.exp(-4 * ((x - 0.8) ** 2 + y * y)), np.exp(-4 * (x * x + (y + 0.7) ** 2)) * (z > 0)]
    return vertices, np.stack([wave[:, None] * unit for wave in waves]), faces


@cache
def topology(name: str):
    with jax.ensure_compile_time_eval():
        faces = jnp.asarray(scene(name)[2])
        return faces, face_neighbors(faces)


def placed(name: str, parameters):
    """Camera-space vertices for (rotation vector, translation, four coefficients)."""
    vertices, modes, _ = scene(name)
    dtype = parameters.dtype
    shape = jnp.asarray(vertices, dtype) + jnp.tensordot(parameters[6:], jnp.asarray(modes, dtype), axes=1)
    rotation = quaternion_to_matrix(axis_angle_to_quaternion(parameters[:3]))
    return shape @ rotation.T + parameters[None, 3:6]


def weights_at(shift=(0.0, 0.0), scale: int = 1, xp=np):
    """A smooth image to weigh pixels with, so that no gradient cancels by symmetry; it moves along with the mesh."""
    y, x = np.mgrid[: SIDE * scale, : SIDE * scale]
    y, x = ((y + 0.5) / scale - shift[1]) / SIDE, ((x + 0.5) / scale - shift[0]) / SIDE
    return 1 + 0.6 * xp.sin(5 * x + 1) + 0.5 * xp.cos(6 * y - 2 * x)


def vertex_paint(name: str) -> np.ndarray:
    x, y, z = scene(name)[0].T / 100
    return np.stack([0.8 + 0.1 * np.sin(x + z), 0.5 + 0.1 * np.cos(y), 0.5 + 0.4 * np.tanh(z)], 1)


LIGHT = np.concatenate([[[2.4, 2.2, 2.0]], np.random.default_rng(0).normal(size=(8, 3)) * 0.5])
CHANNELS = {"paint": [1.0, -0.4, 0.7], "lit": [1.0, 0.5, 0.8], "alpha": [1.0]}


def oracle_losses(name: str, parameters: np.ndarray, weights: dict[str, np.ndarray], samples: int) -> list[float]:
    """Each kind's weighted sum over a supersampled reference image."""
    faces = scene(name)[2]
    with jax.enable_x64(True):
        vertices = placed(name, jnp.asarray(parameters, jnp.float64))
        normals = np.asarray(vertex_normals(vertices, jnp.asarray(faces)))
    points = project(np.asarray(vertices), FOCAL, (SIDE / 2, SIDE / 2))
    raster = rasterize(points, faces, (SIDE, SIDE), samples=samples)
    images = {"alpha": (raster.triangle >= 0)[..., None] * 1.0}
    if "paint" in weights:
        images["paint"] = raster.mix(vertex_paint(name), faces)
    if "lit" in weights:
        with jax.enable_x64(True):
            unit = safe_normalize(jnp.asarray(raster.mix(normals, faces)))
            images["lit"] = np.asarray(shade(unit, jnp.asarray(LIGHT)))
    return [
        np.einsum("hwc,hw,c->", images[kind], weight, CHANNELS[kind]) / samples**2 for kind, weight in weights.items()
    ]


def reference_gradients(name: str, weights: dict[str, np.ndarray], samples: int, scale: float = 1.0) -> np.ndarray:
    """(kinds, parameters) central differences."""
    steps = np.diag(STEPS * scale)
    ups = [oracle_losses(name, POSE + step, weights, samples) for step in steps]
    downs = [oracle_losses(name, POSE - step, weights, samples) for step in steps]
    return ((np.array(ups) - np.array(downs)) / (2 * STEPS * scale)[:, None]).T


def our_gradient(name: str, kind: str, weights, shifts: int = SHIFTS) -> np.ndarray:
    """Our gradient, the mean over sub-pixel shifts of the image: one image samples the outline a few hundred times."""
    places = np.random.default_rng(1).uniform(-0.5, 0.5, (shifts, 2)) if shifts > 1 else np.zeros((1, 2))
    colors = jnp.asarray(vertex_paint(name) if kind == "paint" else np.ones_like(scene(name)[0]), jnp.float32)
    faces, neighbors = topology(name)

    def loss(parameters, shift):
        rendering = render_mesh(
            placed(name, parameters),
            faces,
            PerspectiveCamera(jnp.asarray(FOCAL), SIDE / 2 + shift),
            size=(SIDE, SIDE),
            vertex_colors=colors,
            light=jnp.asarray(LIGHT, jnp.float32) if kind == "lit" else None,
            linear=False,
            neighbors=neighbors,
        )
        image = rendering.alpha[..., None] if kind == "alpha" else rendering.color
        return jnp.einsum("hwc,hw,c->", image, weights(shift), jnp.asarray(CHANNELS[kind]))

    gradients = jit(jax.vmap(jax.grad(loss), (None, 0)))(
        jnp.asarray(POSE, jnp.float32), jnp.asarray(places, jnp.float32)
    )
    return np.asarray(gradients.mean(0))


def assert_close(ours: np.ndarray, reference: np.ndarray, tolerance: float):
    """Each within `tolerance` of its reference, or of a tenth of the mean effect of a step where that is larger."""
    floor = 0.1 * np.mean(np.abs(reference * STEPS)) / STEPS
    error = np.abs(ours - reference) / np.maximum(np.abs(reference), floor)
    report = [f"{n}: {a:.4g} vs {b:.4g} ({e:.1%})" for n, a, b, e in zip(NAMES, ours, reference, error, strict=True)]
    assert error.max() <= tolerance, "\n".join(report)


def test_silhouette_gradients_match_the_coverage_of_a_supersampled_image():
    reference = reference_gradients("head", {"alpha": weights_at(scale=SAMPLES)}, SAMPLES)[0]
    assert_close(our_gradient("head", "alpha", partial(weights_at, xp=jnp)), reference, 0.05)


@pytest.mark.thorough
def test_colour_gradients_match_through_silhouettes_and_self_occlusions():
    reference = reference_gradients("torus", {"paint": weights_at(scale=SAMPLES)}, SAMPLES)[0]
    assert_close(our_gradient("torus", "paint", partial(weights_at, xp=jnp)), reference, 0.05)


def test_a_square_in_front_of_another_moves_the_boundary_between_their_colours():
    half = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    faces = jnp.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]])
    colors = jnp.concatenate([jnp.full((4, 3), 0.9), jnp.full((4, 3), 0.2)])
    view = PerspectiveCamera(jnp.float32(FOCAL), jnp.full(2, SIDE / 2 + 0.2))

    @jit
    def left_half(shift):
        front = half * 80 + (jnp.array([0, 0, -500.0]) + shift)[None]
        back = jnp.asarray(half * 130 + np.array([0, 0, -600], np.float32))
        vertices = jnp.concatenate([front, back])
        return (
            render_mesh(vertices, faces, view, size=(SIDE, SIDE), vertex_colors=colors).color[:, : SIDE // 2, 0].sum()
        )

    moved = jit(jax.grad(left_half))(jnp.zeros(3))
    pixels_per_mm = FOCAL / 500
    # The front square is 160 mm high; its left side sweeps over the back one, from 0.2 to 0.9.
    np.testing.assert_allclose(moved[0], -(0.9 - 0.2) * 160 * pixels_per_mm**2, rtol=0.03)


def test_interior_gradients_of_lit_pixels_match():
    with jax.enable_x64(True):
        vertices = np.asarray(placed("head", jnp.asarray(POSE, jnp.float64)))
    depth = rasterize(project(vertices, FOCAL, (SIDE / 2, SIDE / 2)), scene("head")[2], (SIDE, SIDE)).depth
    depth = np.minimum(depth, 1e4)
    jump = ndimage.maximum_filter(depth, 3) - ndimage.minimum_filter(depth, 3) > 12
    inside = np.logical_not(ndimage.binary_dilation(jump, iterations=2)) & (depth < 1e4)
    assert inside.sum() > 500
    weights = weights_at() * inside
    reference = reference_gradients("head", {"lit": weights}, samples=1, scale=0.02)[0]
    ours = our_gradient("head", "lit", lambda shift: jnp.asarray(weights, jnp.float32), shifts=1)
    assert_close(ours, reference, 0.02)

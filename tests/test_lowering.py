"""What runs on a processor here is also a program for GPU and TPU: it lowers for them, forward and backward.

What differs between platforms is decided when a program is lowered, so its text is the one that a GPU would be given.
"""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax.camera import PerspectiveCamera, project, to_camera
from facejax.face_model import decode, landmarks, neutral_params
from facejax.fitting import LINEAR, prepare_crops
from facejax.fitting.fit import fit_crops
from facejax.kernels import conv_general_dilated, gather_rows, nearest_triangle, visibility
from facejax.kernels.barrier import once
from facejax.mesh import vertex_normals
from facejax.nets.stylegan2 import StyleGANConfig, apply_synthesis, init_generator
from facejax.rendering import render


@pytest.fixture(scope="module")
def face():
    model = toy_model()
    return model, neutral_params(model, PerspectiveCamera(jnp.asarray(300.0), jnp.full(2, 16.0)))


CARD = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")


BARRIER = "stablehlo.optimization_barrier"
LAYOUT = ("NHWC", "HWIO", "NHWC")
IN_ORDER = "[b, 0, 1, f]x[0, 1, i, o]->[b, 0, 1, f]"
PLATFORMS = ["cpu", "cuda", "tpu"]


def lower(platform, function, *arguments):
    """The program's text; nothing is compiled."""
    with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((), (), abstract_device=CARD)):
        text = jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()
    assert "lapack" not in text  # what only a processor has
    return text


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_renderer_and_its_gradient(face, platform):
    model, params = face
    loss = lambda params: render(model, params, size=(32, 32)).color.sum()  # noqa: E731
    text = lower(platform, jax.value_and_grad(loss, allow_int=True), params)
    assert ("gpu.triton" in text) == (platform == "cuda") and "stablehlo.scatter" in text
    normals = lambda vertices: vertex_normals(vertices, model.faces).sum()  # noqa: E731
    stored = lower(platform, jax.value_and_grad(normals), model.mean).count(BARRIER)  # the only ones that are for all
    assert text.count(BARRIER) == stored > 0
    assert lower("cpu", jax.value_and_grad(loss, allow_int=True), params).count(BARRIER) > 10 * stored


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_whole_fit_of_a_batch(face, platform):
    model, params = face
    points = np.asarray(project(params.camera, to_camera(params.pose, landmarks(model, decode(model, params))))[:, :2])
    recipe = replace(LINEAR, size=32)
    crops = prepare_crops([np.full((32, 32, 3), 0.5, np.float32)] * 2, [points] * 2, recipe=recipe)
    assert "stablehlo.while" in lower(platform, lambda crops: fit_crops(model, crops, recipe=recipe), crops)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_painters(platform):
    sizes = StyleGANConfig(resolution=16, channel_base=64, channel_max=8, latent=8, mapping_layers=2)
    generator = init_generator(sizes, jax.random.key(0))
    ws = jnp.zeros((2, sizes.layers, 8))
    both = jax.value_and_grad(lambda ws: apply_synthesis(sizes, generator, ws).sum())
    assert "stablehlo.convolution" in lower(platform, both, ws)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_visibility(platform):
    points, faces = jnp.ones((9, 3)), jnp.arange(9).reshape(3, 3)
    seen = lambda points: nearest_triangle(points, faces, size=(8, 8), perspective=True, near=1.0)  # noqa: E731
    text = lower(platform, jax.vmap(seen), jnp.stack([points, points]))
    assert ("gpu.triton" in text) == (platform == "cuda")
    assert ("stablehlo.while" in text) == (platform != "cuda")
    assert (BARRIER in text) == (platform == "cpu")


@pytest.mark.parametrize("platform", PLATFORMS)
def test_rows(platform):
    """On accelerators rows of six numbers are read and summed as rows of eight, and nothing is held back."""
    table, rows = jnp.ones((5, 6)), jnp.arange(4)
    text = lower(platform, jax.value_and_grad(lambda table: (gather_rows(table, rows) ** 2).sum()), table)
    assert text.count(BARRIER) == (4 if platform == "cpu" else 0)
    (gathered,) = re.findall(r'"stablehlo.gather".*: \(tensor<(\d+x\d+)xf32>', text)
    (summed,) = re.findall(r"}\) : \(tensor<(\d+x\d+)xf32>, tensor<4x1xi32>, tensor<4x\dxf32>\)", text)
    assert gathered == summed == ("5x6" if platform == "cpu" else "5x8")


@pytest.mark.parametrize("platform", PLATFORMS)
@pytest.mark.parametrize("batch", [None, 2])
def test_convolutions(platform, batch):
    """Processors get gradients whose axes are in order, accelerators JAX's own."""
    x, kernel = jnp.ones((1, 8, 8, 4)), jnp.ones((3, 3, 4, 5))

    def axes(conv):
        cost = lambda x, kernel: jnp.sum(conv(x, kernel, (1, 1), "SAME", dimension_numbers=LAYOUT) ** 2)  # noqa: E731
        slopes = jax.grad(cost, (0, 1) if batch is None else 0)
        slopes = slopes if batch is None else jax.vmap(slopes, (0, None))
        text = lower(platform, slopes, x if batch is None else jnp.stack([x] * batch), kernel)
        return re.findall(r"dim_numbers = (.*), window", text)

    ours, theirs = axes(conv_general_dilated), axes(jax.lax.conv_general_dilated)
    assert len(theirs) == (3 if batch is None else 2)
    assert ours == ([IN_ORDER, IN_ORDER] if platform == "cpu" else theirs)
    assert set(theirs) > {IN_ORDER}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_what_is_computed_once(platform):
    """Also in loops, in batches and in gradients."""

    def cost(x):
        step = lambda x, _: (jnp.sin(once((x, 2 * x))[1]), None)  # noqa: E731
        return jax.lax.scan(step, x, length=3)[0].sum()

    text = lower(platform, jax.vmap(jax.value_and_grad(cost)), jnp.ones((2, 4)))
    assert text.count(BARRIER) == (2 if platform == "cpu" else 0)


def test_gpus_run_the_plain_program_where_pallas_has_no_triton(monkeypatch):
    monkeypatch.setattr(visibility, "_has_triton", lambda: False)
    points, faces = jnp.ones((9, 3)), jnp.arange(9).reshape(3, 3)
    text = lower(
        "cuda", lambda points: nearest_triangle(points, faces, size=(8, 8), perspective=True, near=1.0), points
    )
    assert "gpu.triton" not in text and "stablehlo.while" in text

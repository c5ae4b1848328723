"""What runs on a processor here is also a program for GPU and TPU: it lowers for them, forward and backward."""

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
from facejax.kernels import visibility
from facejax.kernels.gather import gather_rows
from facejax.kernels.visibility import nearest_triangle
from facejax.nets.stylegan2 import StyleGANConfig, apply_synthesis, init_generator
from facejax.rendering import render


@pytest.fixture(scope="module")
def face():
    model = toy_model()
    return model, neutral_params(model, PerspectiveCamera(jnp.asarray(300.0), jnp.full(2, 16.0)))


CARD = jax.sharding.AbstractDevice(device_kind="NVIDIA H100 80GB HBM3", num_cores=132, platform="gpu")


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
    assert "stablehlo" in lower(platform, jax.value_and_grad(loss, allow_int=True), params)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_a_whole_fit_of_a_batch(face, platform):
    model, params = face
    points = np.asarray(project(params.camera, to_camera(params.pose, landmarks(model, decode(model, params))))[:, :2])
    recipe = replace(LINEAR, size=32, stages=tuple(replace(stage, steps=2) for stage in LINEAR.stages))
    crops = prepare_crops([np.full((32, 32, 3), 0.5, np.float32)] * 2, [points] * 2, recipe=recipe)
    assert "stablehlo.while" in lower(platform, lambda crops: fit_crops(model, crops, recipe=recipe), crops)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_the_painters(platform):
    sizes = StyleGANConfig(resolution=16, channel_base=64, channel_max=8, latent=8, mapping_layers=2)
    generator = init_generator(sizes, jax.random.key(0))
    ws = jnp.zeros((2, sizes.layers, 8))
    both = jax.value_and_grad(lambda ws: apply_synthesis(sizes, generator, ws).sum())
    assert "stablehlo.convolution" in lower(platform, both, ws)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_the_kernels(platform):
    points, faces = jnp.ones((9, 3)), jnp.arange(9).reshape(3, 3)
    seen = lambda points: nearest_triangle(points, faces, size=(8, 8), perspective=True, near=1.0)  # noqa: E731
    rows = jnp.arange(4)
    assert ("gpu.triton" in lower(platform, seen, points)) == (platform == "cuda")
    assert "stablehlo" in lower(platform, jax.grad(lambda table: gather_rows(table, rows).sum()), jnp.ones((5, 2)))


def test_gpus_run_the_plain_program_where_pallas_has_no_triton(monkeypatch):
    monkeypatch.setattr(visibility, "_has_triton", lambda: False)
    points, faces = jnp.ones((9, 3)), jnp.arange(9).reshape(3, 3)
    text = lower(
        "cuda", lambda points: nearest_triangle(points, faces, size=(8, 8), perspective=True, near=1.0), points
    )
    assert "gpu.triton" not in text and "stablehlo.while" in text

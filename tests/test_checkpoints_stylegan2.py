"""Weights of stylegan2-ada-pytorch: the importer and our networks against PyTorch, and against NVIDIA's own code.

The slow tests at the end run with FACEJAX_STYLEGAN2 naming a checkout of github.com/NVlabs/stylegan2-ada-pytorch.
"""

# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportOptionalMemberAccess=false

import importlib
import os
import pickle
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the importers are held against PyTorch: pip install facejax[torch]")

import torch_stylegan2 as theirs  # noqa: E402

from facejax.checkpoints.stylegan2 import (  # noqa: E402
    import_stylegan2,
    import_stylegan2_discriminator,
    read_latent_statistics,
)
from facejax.nets.stylegan2 import apply_discriminator, apply_mapping, apply_synthesis  # noqa: E402

RNG = np.random.default_rng(0)


def write(path, state):
    torch.save(state, path)
    return path


def double(state):
    return {name: value.double() for name, value in state.items()}


def wide(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), tree)


def last_axis(tensor):
    return tensor.detach().permute(0, 2, 3, 1).numpy()


def close(ours, reference, tolerance=1e-9):
    scale = np.abs(np.asarray(reference)).max()
    np.testing.assert_allclose(ours, reference, rtol=0, atol=tolerance * scale)


def test_generator_and_its_gradients_reproduce_the_formulas(tmp_path, float64):
    state = theirs.random_generator(16)
    config, generator = import_stylegan2(write(tmp_path / "g.pth", state), clamp=None)
    assert (config.resolution, config.channel_base, config.channel_max, config.latent) == (16, 64, 8, 8)
    generator, state = wide(generator), double(state)
    z = RNG.standard_normal((2, 8))
    close(apply_mapping(config, generator, jnp.asarray(z)), theirs.mapping(state, torch.tensor(z)))

    ws = RNG.standard_normal((2, config.layers, 8))
    pick = RNG.standard_normal((2, 16, 16, 3))
    state["synthesis.b8.conv0.weight"].requires_grad_(True)
    w = torch.tensor(ws, requires_grad=True)
    picture = theirs.synthesis(state, w)
    (picture * torch.tensor(pick).permute(0, 3, 1, 2)).sum().backward()

    def run(ws, params):
        made = apply_synthesis(config, generator._replace(params=params), ws)
        return jnp.sum(made * pick), made

    (_, ours), (to_ws, to_params) = jax.jit(jax.value_and_grad(run, (0, 1), has_aux=True))(
        jnp.asarray(ws), generator.params
    )
    close(ours, last_axis(picture))
    close(to_ws, w.grad)
    kernel = state["synthesis.b8.conv0.weight"].grad.permute(2, 3, 1, 0).flip(0, 1)
    close(to_params["synthesis"]["b8"]["conv0"]["kernel"], kernel)


def test_discriminator_and_its_gradients_reproduce_the_formulas(tmp_path, float64):
    state = theirs.random_discriminator(16)
    config, params = import_stylegan2_discriminator(write(tmp_path / "d.pth", {"D": state}), clamp=None)
    params, state = wide(params), double(state)
    images = RNG.standard_normal((8, 16, 16, 3))
    weigh = np.arange(1.0, 9.0)
    x = torch.tensor(images).permute(0, 3, 1, 2).requires_grad_(True)
    logits = theirs.discriminator(state, x)
    (logits * torch.tensor(weigh)).sum().backward()

    def run(x):
        ours = apply_discriminator(config, params, x)
        return jnp.sum(ours * weigh), ours

    (_, ours), gradient = jax.jit(jax.value_and_grad(run, has_aux=True))(jnp.asarray(images))
    close(ours, logits.detach())
    close(gradient, last_axis(x.grad))


def test_the_shape_of_ffhq_uv_s_decoder_is_recognised(tmp_path):
    """Config F's channels, at a sixty-fourth of their number: every name and shape is there."""
    state = theirs.random_generator(1024, base=512 * 4, widest=8, latent=4, depth=8)
    config, generator = import_stylegan2(write(tmp_path / "texgan.pth", state))
    assert (config.layers, config.mapping_layers, config.clamp) == (18, 8, 256.0)
    assert generator.noise["b1024"]["conv0"].shape == (1024, 1024)
    conv0 = np.asarray(generator.params["synthesis"]["b16"]["conv0"]["kernel"])
    flipped = state["synthesis.b16.conv0.weight"].permute(2, 3, 1, 0).flip(0, 1)
    np.testing.assert_array_equal(conv0, flipped)


def test_statistics_beside_the_decoder_are_read(tmp_path):
    path = write(tmp_path / "stats.pt", {"w_avg": torch.ones(1, 1, 8), "w_std": torch.full((1, 1, 8), 2.0)})
    mean, std = read_latent_statistics(path)
    assert mean.shape == (8,) and float(std[0]) == 2.0
    with pytest.raises(ValueError, match="not positive"):
        read_latent_statistics(write(path, {"w_avg": torch.ones(8), "w_std": torch.zeros(8)}))


def without(name):
    return lambda state: {key: value for key, value in state.items() if key != name}


FAULTS = {
    "missing tensor": (without("synthesis.b8.conv1.bias"), "'synthesis.b8.conv1.bias' is missing"),
    "missing constant": (without("synthesis.b4.const"), "'synthesis.b4.const' is missing"),
    "wrong shape": (lambda s: s | {"synthesis.b8.torgb.bias": torch.zeros(4)}, "'synthesis.b8.torgb.bias' becomes"),
    "wrong average": (lambda s: s | {"mapping.w_avg": torch.zeros(4)}, "'mapping.w_avg' becomes"),
    "labels": (lambda s: s | {"mapping.embed.weight": torch.zeros(8, 2)}, "unknown 'mapping.embed.weight'"),
    "another network": (lambda s: {"conv1.weight": torch.zeros(3)}, "not a state dict of stylegan2-ada-pytorch"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_state_dicts_are_refused_in_one_line(tmp_path, fault):
    change, message = FAULTS[fault]
    path = write(tmp_path / "g.pth", change(theirs.random_generator(8)))
    with pytest.raises(ValueError, match=message) as error:
        import_stylegan2(path)
    assert "\n" not in str(error.value) and "g.pth" in str(error.value)


class Code:
    def __reduce__(self):
        return (os.system, ("touch executed",))


@pytest.mark.parametrize("pickled", [False, True])
def test_code_in_the_file_is_refused_and_not_executed(tmp_path, monkeypatch, pickled):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "network.pkl"
    state = theirs.random_generator(8) | {"extra": Code()}
    if pickled:
        path.write_bytes(pickle.dumps({"G_ema": Code()}))
    else:
        write(path, state)
    with pytest.raises(ValueError, match=r"network\.pkl") as error:
        import_stylegan2(path)
    assert "\n" not in str(error.value) and not (tmp_path / "executed").exists()


# --- against NVIDIA's own code ----------------------------------------------------------------------------------------


class Torch:
    """PyTorch whose float32 is `single`: their networks convert to it on the way."""

    def __init__(self, single):
        self.float32 = single

    def __getattr__(self, name):
        return getattr(torch, name)


@pytest.fixture
def original(monkeypatch):
    folder = os.environ.get("FACEJAX_STYLEGAN2")
    if not folder or not (Path(folder) / "training" / "networks.py").is_file():
        pytest.skip("set FACEJAX_STYLEGAN2 to a checkout of github.com/NVlabs/stylegan2-ada-pytorch")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, "requests", types.ModuleType("requests"))  # only its downloads need it
    networks = importlib.import_module("training.networks")

    def build(kind, *sizes, single, **more):
        """With random weights, none of them zero."""
        torch.manual_seed(0)
        module = getattr(networks, kind)(*sizes, **more)
        for name, value in module.named_parameters():
            if name.endswith(("bias", "noise_strength")):
                value.data += 0.3 * torch.randn_like(value)
        module = module.eval().requires_grad_(False).to(single)
        for name, value in module.named_buffers():
            if name.endswith("resample_filter"):  # their resampling wants float32 here, and converts
                value.data = value.float()
        monkeypatch.setattr(networks, "torch", Torch(single))
        return module

    yield build
    for name in [name for name in sys.modules if name.split(".")[0] in ("training", "torch_utils", "dnnlib")]:
        del sys.modules[name]


def apart(ours, reference):
    """Distance relative to length."""
    ours, reference = np.asarray(ours, np.float64), np.asarray(reference, np.float64)
    return np.linalg.norm(ours - reference) / np.linalg.norm(reference)


def compare_generators(build, path, side, single, convert, **sizes):
    """How far w, the picture, and the picture's gradient to the latents are from theirs."""
    theirs = build("Generator", 512, 0, 512, side, 3, single=single, synthesis_kwargs={"conv_clamp": 256, **sizes})
    config, ours = import_stylegan2(write(path, theirs.state_dict()))
    ours = convert(ours)
    z = torch.randn(1, 512, dtype=single)
    pick = torch.randn(1, 3, side, side, dtype=single)
    mapped = theirs.mapping(z, None)
    ws = (mapped + 0.3 * torch.randn(1, config.layers, 512, dtype=single)).requires_grad_(True)
    picture = theirs.synthesis(ws, noise_mode="const")
    (picture * pick).sum().backward()

    def run(ws, ours, pick):
        made = apply_synthesis(config, ours, ws)
        return jnp.sum(made * pick), made

    step = jax.jit(jax.value_and_grad(run, has_aux=True))
    (_, made), gradient = step(jnp.asarray(ws.detach().numpy()), ours, last_axis(pick))
    w = apply_mapping(config, ours, jnp.asarray(z.numpy()))
    return apart(w, mapped[:, 0]), apart(made, last_axis(picture)), apart(gradient, ws.grad)


def compare_discriminators(build, path, side, single, convert, **sizes):
    """How far logits and their gradient to the pictures are from theirs."""
    theirs = build("Discriminator", 0, side, 3, single=single, conv_clamp=256, **sizes)
    config, ours = import_stylegan2_discriminator(write(path, theirs.state_dict()))
    images = torch.randn(4, 3, side, side, dtype=single, requires_grad=True)
    weigh = torch.arange(1.0, 5.0, dtype=single)
    logits = theirs(images, None)[:, 0]
    (logits * weigh).sum().backward()

    def run(x, params):
        logits = apply_discriminator(config, params, x)
        return jnp.sum(logits * weigh.numpy()), logits

    (_, found), gradient = jax.jit(jax.value_and_grad(run, has_aux=True))(last_axis(images), convert(ours))
    return apart(found, logits.detach()), apart(gradient, last_axis(images.grad))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("side", [64, 256, 1024])
def test_narrow_networks_are_those_of_the_original_code(original, tmp_path, side, float64):
    sizes = {"channel_base": 4 * side, "channel_max": 16}
    for compare in (compare_generators, compare_discriminators):
        errors = compare(original, tmp_path / "net.pth", side, torch.float64, wide, **sizes)
        print(compare.__name__, side, errors)
        assert max(errors) < 1e-9


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("side", [64, 256, 1024])
def test_config_f_is_that_of_the_original_code(original, tmp_path, side):
    """In single precision some of the millions of units are at their kink, where gradients jump: they differ more."""
    for compare in (compare_generators, compare_discriminators):
        *outputs, gradient = compare(original, tmp_path / "net.pth", side, torch.float32, lambda tree: tree)
        print(compare.__name__, side, outputs, gradient)
        assert max(outputs) < 1e-4 and gradient < 1e-2

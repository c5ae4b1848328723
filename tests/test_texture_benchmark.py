"""The PyTorch generator that facejax's is timed beside makes the same maps, with the same gradients."""

import runpy
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="it is the other side of the benchmark: pip install facejax[torch]")

BENCHMARKS = Path(__file__).resolve().parents[1] / "experiments" / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

from torch_generator import TorchGenerator  # noqa: E402

from facejax.nets.stylegan2 import StyleGANConfig, apply_synthesis, init_generator  # noqa: E402

TINY = StyleGANConfig(resolution=16, channel_base=64, channel_max=8, latent=8, mapping_layers=1, clamp=1.5)


@pytest.fixture(scope="module")
def generator():
    """No bias or noise strength is zero, so that none may be forgotten."""
    weights = init_generator(TINY, jax.random.key(0))
    rng = np.random.default_rng(0)
    shake = lambda leaf: leaf + jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32)  # noqa: E731
    return weights._replace(params=jax.tree.map(shake, weights.params))


@pytest.fixture(scope="module")
def ours(generator):
    """Latents, what a sum of pixels weighs, the pictures, and that sum's gradient to the latents."""
    rng = np.random.default_rng(1)
    ws = rng.standard_normal((2, TINY.layers, TINY.latent)).astype(np.float32)
    pick = rng.standard_normal((2, 16, 16, 3)).astype(np.float32)

    def run(ws):
        made = apply_synthesis(TINY, generator, ws)
        return jnp.sum(made * pick), made

    (_, made), gradient = jax.jit(jax.value_and_grad(run, has_aux=True))(ws)
    return ws, pick, made, gradient


@pytest.mark.parametrize("fused", [True, False])
def test_both_generators_make_the_same_maps_and_gradients(generator, ours, fused):
    ws, pick, made, gradient = ours
    w = torch.from_numpy(ws).requires_grad_(True)
    theirs = TorchGenerator(TINY, generator, fused=fused)(w).permute(0, 2, 3, 1)
    (theirs * torch.from_numpy(pick)).sum().backward()
    assert np.abs(made).max() > 1.5  # some are clamped
    np.testing.assert_allclose(theirs.detach(), made, atol=1e-4 * np.abs(made).max())
    np.testing.assert_allclose(w.grad, gradient, atol=1e-4 * np.abs(gradient).max())


def test_the_script_explains_itself(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["texture_step.py", "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(BENCHMARKS / "texture_step.py"), run_name="__main__")
    said = capsys.readouterr().out
    assert left.value.code == 0 and "python experiments/benchmarks/texture_step.py" in said
    assert all(option in said for option in ("--decoder", "--steps", "--rounds", "--batches"))

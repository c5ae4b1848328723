"""Importers of released weights, held against PyTorch's own layers with random weights."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false

import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the importers are held against PyTorch: pip install facejax[torch]")

import torch_networks as theirs  # noqa: E402

from facejax import checkpoints  # noqa: E402
from facejax.checkpoints import released as importers  # noqa: E402
from facejax.checkpoints.torch_files import read_tensors  # noqa: E402
from facejax.nets import MobileNetConfig, ResNetConfig, apply_resnet  # noqa: E402
from facejax.nets.resnet import resnet_shapes  # noqa: E402

RNG = np.random.default_rng(0)
MEAN, STD = RNG.standard_normal(62).astype("f4"), RNG.uniform(0.5, 2, 62).astype("f4")


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def whitening(tmp_path):
    np.savez(tmp_path / "whitening.npz", mean=MEAN, std=STD)
    return tmp_path / "whitening.npz"


def parallel(module):
    return {f"module.{name}": value for name, value in module.state_dict().items()}


def pictures(count, side, channels=3):
    return RNG.uniform(0, 1, (count, side, side, channels)).astype("f4")


def to_torch(images):
    return torch.from_numpy(np.ascontiguousarray(np.asarray(images).transpose(0, 3, 1, 2)))


def close(ours, expected, tolerance=1e-4):
    ours, expected = np.asarray(ours), expected.detach().numpy()
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= tolerance * np.abs(expected).max()
    assert np.std(expected) > 0


def theirs_whitened(module, images, extra=()):
    """The pre-processing as those projects write it: 8-bit BGR, minus 127.5, over 128."""
    bgr = torch.flip(to_torch(images) * 255, [1])
    with torch.no_grad():
        return module(torch.cat([(bgr - 127.5) / 128, *extra], 1)).numpy() * STD + MEAN


def blocks_62(found):
    return np.concatenate(
        [np.asarray(part).reshape(2, -1) for part in (found.pose, found.identity, found.expression)], 1
    )


@pytest.mark.parametrize(("widen", "landmarks", "old"), [(1.0, True, False), (0.5, False, True)])
def test_3ddfa_regresses_what_pytorch_does(tmp_path, whitening, widen, landmarks, old):
    module = theirs.randomize(theirs.MobileNet(widen, landmarks))
    saved = {"epoch": 3, "state_dict": parallel(module)}
    torch.save(saved, tmp_path / "mb.pth", _use_new_zipfile_serialization=not old)
    released = checkpoints.import_3ddfa(tmp_path / "mb.pth", whitening)
    images = pictures(2, 120)
    found = jax.jit(checkpoints.regress_3ddfa)(released, images)
    assert (found.pose.shape, found.identity.shape, found.expression.shape) == ((2, 3, 4), (2, 40), (2, 10))
    expected = theirs_whitened(module, images)
    np.testing.assert_allclose(blocks_62(found), expected, atol=1e-4 * np.abs(expected).max())


def test_2dasl_regresses_what_pytorch_does(tmp_path, whitening):
    module = theirs.randomize(theirs.TwoDASL())
    torch.save({"epoch": 1, "res_state_dict": parallel(module), "dis_state_dict": {}}, tmp_path / "stage2.pth.tar")
    released = checkpoints.import_2dasl(tmp_path / "stage2.pth.tar", whitening)
    images, maps = pictures(2, 120), np.where(RNG.uniform(size=(2, 120, 120)) < 0.01, 1, -1).astype("f4")
    found = jax.jit(checkpoints.regress_2dasl)(released, images, maps)
    expected = theirs_whitened(module, images, [to_torch(maps[..., None])])
    np.testing.assert_allclose(blocks_62(found), expected, atol=1e-4 * np.abs(expected).max())


def test_deep3d_regresses_what_pytorch_does_and_survives_a_checkpoint(tmp_path):
    module = theirs.randomize(theirs.Deep3D())
    torch.save({"net_recon": module.state_dict(), "opt_00": {"state": {}}}, tmp_path / "epoch_20.pth")
    released = checkpoints.import_deep3d(tmp_path / "epoch_20.pth")
    checkpoints.save_released(tmp_path / "deep3d", released)
    again = checkpoints.load_released(tmp_path / "deep3d")
    assert again.config == released.config and again.whitening is None
    assert jax.tree.structure(again) == jax.tree.structure(released)
    images = pictures(2, 224)
    found = jax.jit(checkpoints.regress_deep3d)(again, images)
    with torch.no_grad():
        expected = module(to_torch(images)).numpy()
    tolerance = 1e-4 * np.abs(expected).max()
    np.testing.assert_allclose(found.identity, expected[:, :80], atol=tolerance)
    np.testing.assert_allclose(found.expression, expected[:, 80:144], atol=tolerance)
    np.testing.assert_allclose(found.albedo, expected[:, 144:224], atol=tolerance)
    np.testing.assert_allclose(found.angles, expected[:, 224:227], atol=tolerance)
    np.testing.assert_allclose(found.light, expected[:, 227:254].reshape(2, 3, 9), atol=tolerance)
    np.testing.assert_allclose(found.translation, expected[:, 254:], atol=tolerance)


def test_resnet_gradients_are_pytorchs(tmp_path, float64):
    """To the pictures and to weights at both ends; fewer blocks, of both kinds, to compile less.

    In float64: rounding would turn single ReLUs over.
    """
    blocks = (2, 1, 1, 1)
    module = theirs.randomize(theirs.TwoDASL(blocks))
    torch.save(module.state_dict(), tmp_path / "small.pth")
    module = module.double()
    config = ResNetConfig(channels=4, size=120, last_stride=1, window=7, blocks=blocks)
    tensors = read_tensors(tmp_path / "small.pth")
    network = importers._fill(tmp_path, resnet_shapes(config), tensors, {"coefficients": ["fc"]})
    network = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), network)
    images, wanted = jnp.asarray(pictures(2, 120, 4), jnp.float64), RNG.standard_normal((2, 62))

    def loss(params, images):
        return jnp.sum(apply_resnet(config, network._replace(params=params), images) * wanted)

    grads, image_grad = jax.jit(jax.grad(loss, (0, 1)))(network.params, images)
    inputs = to_torch(images).requires_grad_()
    (module(inputs) * torch.from_numpy(wanted)).sum().backward()
    close(image_grad.transpose(0, 3, 1, 2), inputs.grad, 1e-9)
    close(grads["conv1"]["conv"]["kernel"].transpose(3, 2, 0, 1), module.conv1.weight.grad, 1e-9)
    close(grads["layer1_1"]["conv2"]["norm"]["scale"], module.layer1[1].bn2.weight.grad, 1e-9)
    close(
        grads["layer3_0"]["shortcut"]["conv"]["kernel"].transpose(3, 2, 0, 1),
        module.layer3[0].downsample[0].weight.grad,
        1e-9,
    )
    close(grads["heads"]["coefficients"]["kernel"].T, module.fc.weight.grad, 1e-9)


def test_safetensors_are_read_without_pytorch(tmp_path, whitening, monkeypatch):
    safetensors = pytest.importorskip("safetensors.torch", reason="pip install facejax[torch]")
    module = theirs.randomize(theirs.MobileNet(0.25, landmarks=False))
    safetensors.save_file(module.state_dict(), tmp_path / "mb.safetensors")
    monkeypatch.setitem(sys.modules, "torch", None)
    released = checkpoints.import_3ddfa(tmp_path / "mb.safetensors", whitening)
    assert released.config == MobileNetConfig(widen=0.25)
    checkpoints.save_released(tmp_path / "mb", released)
    again = checkpoints.load_released(tmp_path / "mb")
    chex.assert_trees_all_equal(again, released)
    (tmp_path / "mb.safetensors").write_bytes(b"\x10\0\0\0")
    with pytest.raises(ValueError, match="truncated or no weight file"):
        checkpoints.import_3ddfa(tmp_path / "mb.safetensors", whitening)


# --- files that are refused -------------------------------------------------------------------------------------------


class Code:
    def __reduce__(self):
        return print, ("executed",)


def small():
    return theirs.MobileNet(0.25, landmarks=False).state_dict()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            lambda: {"state_dict": small(), "options": Code()},
            "asks for print besides tensors and was not executed",
        ),
        (
            lambda: {"state_dict": {k: v for k, v in small().items() if k != "dw6.bn_sep.bias"}},
            "'dw6.bn_sep.bias' is mi",
        ),
        (lambda: {"state_dict": small() | {"fc.weight": torch.zeros(70, 256)}}, r"'fc.weight' becomes \(256, 70\)"),
        (lambda: {"state_dict": small() | {"fc2.weight": torch.zeros(3)}}, "unknown 'fc2.weight': weights of another"),
        (lambda: {"epoch": 3}, "no tensors under 'state_dict'"),
        (lambda: [1, 2], "no tensors under 'state_dict'"),
    ],
)
def test_foreign_weights_are_one_line_errors(tmp_path, whitening, content, message, capsys):
    torch.save(content(), tmp_path / "mb.pth")
    with pytest.raises(ValueError, match=message) as caught:
        checkpoints.import_3ddfa(tmp_path / "mb.pth", whitening)
    assert "\n" not in str(caught.value) and str(tmp_path / "mb.pth") in str(caught.value)
    assert "executed" not in capsys.readouterr().out


def test_truncated_and_ancient_files_are_one_line_errors(tmp_path, whitening):
    torch.save(small(), tmp_path / "mb.pth")
    (tmp_path / "mb.pth").write_bytes((tmp_path / "mb.pth").read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"truncated or no weight file .*download it again"):
        checkpoints.import_3ddfa(tmp_path / "mb.pth", whitening)
    with pytest.raises(FileNotFoundError, match="docs/weights"):
        checkpoints.import_3ddfa(tmp_path / "none.pth", whitening)
    import tarfile

    (tmp_path / "storages").write_bytes(b"0" * 100)
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        archive.add(tmp_path / "storages", "storages")
    with pytest.raises(
        ValueError, match=r"tar format of PyTorch before 0\.1\.10 is never read; if you trust"
    ) as caught:
        checkpoints.import_3ddfa(tmp_path / "old.pth", whitening)
    assert "\n" not in str(caught.value)


def test_the_fix_is_named_when_pytorch_is_missing_or_unsafe(tmp_path, whitening, monkeypatch):
    torch.save(small(), tmp_path / "mb.pth")
    monkeypatch.setattr(torch, "__version__", "2.5.1")
    with pytest.raises(ValueError, match=r"does not read files safely .*pip install 'torch>=2.6'"):
        checkpoints.import_3ddfa(tmp_path / "mb.pth", whitening)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match=r"needs PyTorch; pip install facejax\[torch\]"):
        checkpoints.import_3ddfa(tmp_path / "mb.pth", whitening)


def test_whitening_is_read_from_pickles_that_are_not_executed(tmp_path):
    import pickle

    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"param_mean": MEAN, "param_std": STD}))
    found = checkpoints.read_whitening(tmp_path / "w.pkl")
    np.testing.assert_array_equal(found.mean, MEAN)
    np.testing.assert_array_equal(found.std, STD)
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"mean": MEAN, "std": Code()}))
    with pytest.raises(ValueError, match=r"builtins.print.*not executed"):
        checkpoints.read_whitening(tmp_path / "bad.pkl")
    np.savez(tmp_path / "short.npz", mean=MEAN[:7], std=STD)
    with pytest.raises(ValueError, match="no 62 numbers"):
        checkpoints.read_whitening(tmp_path / "short.npz")
    with pytest.raises(FileNotFoundError, match="no such file"):
        checkpoints.read_whitening(tmp_path / "none.pkl")


def test_networks_are_not_mixed_up():
    released = checkpoints.Released(None, None, MobileNetConfig())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="regress_deep3d takes what import_deep3d returns"):
        checkpoints.regress_deep3d(released, jnp.zeros((1, 224, 224, 3)))

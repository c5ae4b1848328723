"""Importers of the networks that losses look through, held against PyTorch's own layers with random weights."""

# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportOptionalMemberAccess=false

import sys
import zipfile
from types import SimpleNamespace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the importers are held against PyTorch: pip install facejax[torch]")

import torch_loss_networks as theirs  # noqa: E402

from facejax import checkpoints, nets  # noqa: E402
from facejax.checkpoints.torch_files import read_tensors  # noqa: E402
from facejax.nets.dpr_light import lightness  # noqa: E402
from facejax.objectives import lpips_distance  # noqa: E402

RNG = np.random.default_rng(0)
WIDTHS = (4, 4, 8, 8, 8)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def pictures(count, height, width, channels=3):
    return jnp.asarray(RNG.uniform(0, 1, (count, height, width, channels)), jnp.float32)


def to_torch(images):
    return torch.from_numpy(np.array(np.asarray(images).transpose(0, 3, 1, 2), order="C"))


def close(ours, expected, tolerance=1e-4):
    ours, expected = np.asarray(ours), np.asarray(expected.detach() if torch.is_tensor(expected) else expected)
    assert ours.shape == expected.shape
    assert np.abs(ours - expected).max() <= tolerance * np.abs(expected).max()
    assert np.std(expected) > 0 or expected.size == 1


def check(apply, network, module, images, ours_of, theirs_of, inputs=None):
    """Outputs, the gradients to the pictures, and those to the named weights: (in our tree, in theirs)."""
    inputs = to_torch(images).requires_grad_() if inputs is None else inputs
    outputs = jax.jit(apply)(network, images)
    expected = module(inputs)
    channels_last = expected.permute(0, 2, 3, 1) if expected.ndim == 4 else expected
    close(outputs, channels_last)
    wanted = RNG.standard_normal(outputs.shape).astype("f4")
    total = lambda params, x: jnp.sum(apply(network._replace(params=params), x) * wanted)  # noqa: E731
    params_gradient, image_gradient = jax.jit(jax.grad(total, (0, 1)))(network.params, images)
    (channels_last * torch.from_numpy(wanted)).sum().backward()
    if inputs.grad is not None and inputs.shape[1] == 3:
        close(image_gradient.transpose(0, 3, 1, 2), inputs.grad)
    for ours, weight in zip(ours_of(params_gradient), theirs_of(module), strict=True):
        close(ours, weight.grad)


def kernel(value):
    return value["kernel"].transpose(3, 2, 0, 1)


# --- LPIPS ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def lpips():
    """Random weights; each pixel of each map has something above zero, where PyTorch's form has a gradient."""
    module = theirs.LPIPS(WIDTHS)
    theirs.randomize(module.vgg[0])
    for tap in module.vgg[0].taps:
        module.vgg[0].features[tap - 1].weight.data[0] *= 0.1
        module.vgg[0].features[tap - 1].bias.data[0] = 1.0
    for weights in module.lins:
        weights.model[1].weight.data.uniform_(0.0, 1.0, generator=torch.Generator().manual_seed(3))
    return module.eval()


def distances(released, first, second):
    features = [nets.lpips_features(released.config, released.network, x) for x in (first, second)]
    return jax.vmap(lpips_distance)(*features)


@pytest.mark.parametrize("whole", [True, False])
def test_lpips_is_pytorchs_distance_and_gradient(tmp_path, lpips, whole):
    files = [tmp_path / "vgg.pth"]
    torch.save(lpips.whole_state() if whole else lpips.vgg[0].state_dict(), files[0])
    if not whole:
        files.append(tmp_path / "weights.pth")
        torch.save(lpips.own_state(), files[1])
    released = checkpoints.import_lpips(*files)
    assert released.config == nets.VGG16Config(widths=WIDTHS)
    first, second = pictures(2, 40, 36), pictures(2, 40, 36)
    found, gradient = jax.jit(
        lambda x: (distances(released, x, second), jax.grad(lambda y: jnp.sum(distances(released, y, second)))(x))
    )(first)
    inputs = to_torch(first).requires_grad_()
    expected = lpips(2 * inputs - 1, 2 * to_torch(second) - 1)
    expected.sum().backward()
    close(found, expected)
    close(gradient.transpose(0, 3, 1, 2), inputs.grad)


def test_the_maps_of_vgg16_are_pytorchs(tmp_path, lpips):
    torch.save(lpips.whole_state(), tmp_path / "lpips.pth")
    released = checkpoints.import_lpips(tmp_path / "lpips.pth")
    images = pictures(1, 32, 48)
    maps = jax.jit(nets.apply_vgg16, static_argnums=0)(released.config, released.network, images)
    with torch.no_grad():
        expected = lpips.vgg[0](theirs.imagenet(to_torch(images)))
    for ours, wanted in zip(maps, expected, strict=True):
        close(ours, wanted.permute(0, 2, 3, 1))


@pytest.mark.parametrize("size", [(9, 7), (8, 3), (4, 12)])
def test_large_pictures_are_averaged_as_pytorchs_area(size):
    from facejax.nets.vgg16 import shrink_by_area

    images = pictures(2, *size)
    expected = torch.nn.functional.interpolate(to_torch(images), size=[min(side, 5) for side in size], mode="area")
    close(shrink_by_area(images, 5), expected.permute(0, 2, 3, 1), 1e-6)


def test_weights_below_zero_are_no_lpips(tmp_path, lpips):
    state = lpips.whole_state() | {"lin2.model.1.weight": -torch.ones(1, WIDTHS[2], 1, 1)}
    torch.save(state, tmp_path / "lpips.pth")
    with pytest.raises(ValueError, match=r"'lin2.model.1.weight' has weights below zero"):
        checkpoints.import_lpips(tmp_path / "lpips.pth")


def test_vgg16_without_lpips_weights_asks_for_them(tmp_path, lpips):
    torch.save(lpips.vgg[0].state_dict(), tmp_path / "vgg.pth")
    with pytest.raises(ValueError, match=r"vgg.pth: 'lin0.model.1.weight' is missing"):
        checkpoints.import_lpips(tmp_path / "vgg.pth")


# --- the others -------------------------------------------------------------------------------------------------------


def test_arcface_is_pytorchs(tmp_path):
    module = theirs.randomize(theirs.IResNet((1, 2, 1, 1), width=8, size=48, features=12))
    torch.save({f"module.{name}": value for name, value in module.state_dict().items()}, tmp_path / "backbone.pth")
    released = checkpoints.import_arcface(tmp_path / "backbone.pth")
    assert released.config == nets.IResNetConfig((1, 2, 1, 1), width=8, size=48, features=12)
    images = pictures(2, 48, 48)

    def apply(network, x):
        return nets.apply_iresnet(released.config, network, x)

    np.testing.assert_allclose(np.linalg.norm(jax.jit(apply)(released.network, images), axis=1), 1, rtol=1e-5)
    check(
        apply,
        released.network,
        module,
        images,
        lambda g: (kernel(g["conv1"]), g["layer2_0"]["prelu"]["slope"], kernel(g["layer2_0"]["downsample"]["conv"])),
        lambda m: (m.conv1.weight, m.layer2[0].prelu.weight, m.layer2[0].downsample[0].weight),
    )


def test_face_parsing_is_pytorchs(tmp_path):
    module = theirs.randomize(theirs.BiSeNet(classes=19, width=4))
    torch.save(module.state_dict(), tmp_path / "79999_iter.pth")
    released = checkpoints.import_face_parsing(tmp_path / "79999_iter.pth")
    assert released.config == nets.BiSeNetConfig(width=4)
    check(
        lambda network, x: nets.apply_bisenet(released.config, network, x),
        released.network,
        module,
        pictures(2, 64, 96),
        lambda g: (kernel(g["cp"]["resnet"]["conv1"]["conv"]), kernel(g["cp"]["arm16"]["conv_atten"])),
        lambda m: (m.cp.resnet.conv1.weight, m.cp.arm16.conv_atten.weight),
    )


def test_dpr_light_is_pytorchs(tmp_path):
    """Fed with the same lightness; test_nets_loss_networks.py holds that against its definition."""
    from facejax.nets._layers import apply_network
    from facejax.nets.dpr_light import _Encoder

    module = theirs.randomize(theirs.DPR(width=4, hidden=6))
    torch.save(module.state_dict(), tmp_path / "trained_model_03.t7", _use_new_zipfile_serialization=False)
    released = checkpoints.import_dpr_light(tmp_path / "trained_model_03.t7")
    assert released.config == nets.DPRConfig(width=4, hidden=6)
    images = pictures(2, 32, 48, 1)
    inputs = to_torch(images).requires_grad_()
    check(
        lambda network, x: apply_network(_Encoder(released.config), network, x),
        released.network,
        module,
        images,
        lambda g: (kernel(g["pre_conv"]), kernel(g["HG1"]["shortcuts"]), g["light"]["predict_relu1"]["slope"]),
        lambda m: (m.pre_conv.weight, m.HG1.low1.shortcuts.weight, m.light.predict_relu1.weight),
        inputs,
    )
    gradient = jax.jit(
        jax.grad(lambda x: jnp.sum(apply_network(_Encoder(released.config), released.network, x)[:, 3]))
    )(images)
    inputs.grad = None
    module(inputs)[:, 3].sum().backward()
    close(gradient.transpose(0, 3, 1, 2), inputs.grad)


def test_fan_is_pytorchs(tmp_path):
    module = theirs.randomize(theirs.FAN(modules=2, width=16, points=5))
    torch.save({"state_dict": module.state_dict()}, tmp_path / "2DFAN.pth.tar")
    released = checkpoints.import_fan(tmp_path / "2DFAN.pth.tar")
    assert released.config == nets.FANConfig(modules=2, width=16, points=5)
    check(
        lambda network, x: nets.apply_fan(released.config, network, x),
        released.network,
        module,
        pictures(2, 64, 64),
        lambda g: (kernel(g["conv2"]["downsample_2"]), kernel(g["m1"]["b2_plus_1"]["conv3"]), kernel(g["al0"])),
        lambda m: (m.conv2.downsample[2].weight, m.m1.b2_plus_1.conv3.weight, m.al0.weight),
    )


# --- all --------------------------------------------------------------------------------------------------------------

SMALL = {
    "import_arcface": lambda: theirs.IResNet((1, 1, 1, 1), width=4, size=16, features=6),
    "import_face_parsing": lambda: theirs.BiSeNet(width=4),
    "import_dpr_light": lambda: theirs.DPR(width=4, hidden=6),
    "import_fan": lambda: theirs.FAN(modules=1, width=16),
}


@pytest.mark.parametrize("importer", SMALL)
def test_imported_networks_survive_a_checkpoint(tmp_path, importer):
    torch.save(theirs.randomize(SMALL[importer]()).state_dict(), tmp_path / "net.pth")
    released = getattr(checkpoints, importer)(tmp_path / "net.pth")
    checkpoints.save_released(tmp_path / "net", released)
    again = checkpoints.load_released(tmp_path / "net")
    assert again.config == released.config
    chex.assert_trees_all_equal(again, released)


def test_lpips_survives_a_checkpoint(tmp_path, lpips):
    torch.save(lpips.whole_state(), tmp_path / "lpips.pth")
    released = checkpoints.import_lpips(tmp_path / "lpips.pth")
    checkpoints.save_released(tmp_path / "lpips", released)
    again = checkpoints.load_released(tmp_path / "lpips")
    assert again.config == released.config
    chex.assert_trees_all_equal(again, released)


@pytest.mark.parametrize("importer", SMALL)
def test_foreign_weights_are_one_line_errors(tmp_path, importer):
    state = SMALL[importer]().state_dict()
    first = next(name for name in state if name.endswith("conv2.weight") and "upper" not in name)
    path = tmp_path / "net.pth"
    broken = [
        ({k: v for k, v in state.items() if k != first}, f"{first!r} is missing: weights of another network"),
        (state | {first: torch.zeros(*state[first].shape, 2)}, "becomes .* the network has"),
        (state | {"extra.weight": torch.zeros(3)}, "unknown 'extra.weight'"),
        ({"epoch": 3}, "no tensors"),
    ]
    for content, message in broken:
        torch.save(content, path)
        with pytest.raises(ValueError, match=message) as caught:
            getattr(checkpoints, importer)(path)
        assert "\n" not in str(caught.value) and str(path) in str(caught.value)


class Code:
    def __reduce__(self):
        return print, ("executed",)


@pytest.mark.parametrize("importer", [*SMALL, "import_lpips"])
def test_code_in_a_weight_file_is_not_executed(tmp_path, importer, capsys):
    torch.save({"conv1.weight": torch.zeros(3), "options": Code()}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match="asks for print besides tensors and was not executed"):
        getattr(checkpoints, importer)(tmp_path / "net.pth")
    assert "executed" not in capsys.readouterr().out


# The whole module of its authors, and its parameters in millions where they state them.
WHOLE = {
    "import_arcface": (theirs.IResNet, 43.59),
    "import_face_parsing": (theirs.BiSeNet, None),
    "import_dpr_light": (theirs.DPR, None),
    "import_fan": (theirs.FAN, 24),
    "import_lpips": (theirs.LPIPS, 14.716),  # the 14.715 of VGG16's convolutions, and 1,472 weights of channels
}


@pytest.mark.parametrize("importer", WHOLE)
def test_networks_of_full_size_take_every_tensor(monkeypatch, importer):
    """No weights are made: the names and shapes of the whole networks, on PyTorch's device without memory."""
    from facejax.checkpoints import layout, loss_networks

    build, count = WHOLE[importer]
    with torch.device("meta"):
        module = build()
    state = module.whole_state() if importer == "import_lpips" else module.state_dict()
    zeros = {k: np.broadcast_to(np.float32(0), v.shape) for k, v in state.items() if v.is_floating_point()}
    monkeypatch.setattr(loss_networks, "read_tensors", lambda *_: dict(zeros))
    described = SimpleNamespace(asarray=lambda value: jax.ShapeDtypeStruct(value.shape, value.dtype))
    monkeypatch.setattr(layout, "jnp", described)
    released = getattr(checkpoints, importer)("released.pth")
    config = type(released.config)()
    assert released.config == config
    if count is not None:
        found = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(released.network.params))
        assert f"{found / 1e6:.{len(str(count).partition('.')[2])}f}" == str(count)


# --- TorchScript archives ---------------------------------------------------------------------------------------------


class Scripted(torch.nn.Module):
    """Tensors of three types, one that is a transposed view, a module used twice, and lists among the attributes."""

    sizes: list[int]

    def __init__(self):
        super().__init__()
        self.sizes = [3, 4]
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        self.again = self.layers[1]
        self.register_buffer("short", torch.arange(4.0).half())
        self.turned = torch.nn.Parameter(torch.arange(6.0).reshape(2, 3).t())

    def forward(self, x):
        return self.again(self.layers(x)) * len(self.sizes)


@pytest.fixture
def archive(tmp_path):
    module = Scripted().eval()
    torch.jit.script(module).save(str(tmp_path / "scripted.pt"))
    return tmp_path / "scripted.pt", module


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_tensors_of_torchscript_are_read_without_pytorch(archive, monkeypatch):
    path, module = archive
    expected = {k: v.float().numpy() for k, v in module.state_dict().items() if v.is_floating_point()}
    monkeypatch.setitem(sys.modules, "torch", None)
    found = read_tensors(path)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        np.testing.assert_array_equal(value, expected[name])


def rewrite(path, change):
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, change(value) if name.endswith("/data.pkl") else value)


@pytest.mark.filterwarnings("ignore:.*torch.jit")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.replace(b"ccollections\nOrderedDict\n", b"cbuiltins\nprint\n"), "asks for builtins.print besides"),
        (lambda p: p[:100], "cannot be read"),
        (lambda p: p.replace(b"(K\x04t", b"(K\x7ft"), "a tensor reaches beyond its numbers"),  # 127 of 4
    ],
)
def test_torchscript_with_code_or_damage_is_a_one_line_error(archive, change, message, capsys):
    path, _ = archive
    rewrite(path, change)
    with pytest.raises(ValueError, match=message) as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not capsys.readouterr().out


# --- full size --------------------------------------------------------------------------------------------------------

# Our outputs, and the side of the pictures that the networks were trained on.
FULL = {
    "import_arcface": (nets.apply_iresnet, 112),
    "import_face_parsing": (nets.apply_bisenet, 512),
    "import_dpr_light": (nets.apply_dpr, 512),
    "import_fan": (nets.apply_fan, 256),
}


@pytest.mark.slow
@pytest.mark.parametrize("importer", FULL)
def test_networks_of_full_size_compute_what_pytorch_does(tmp_path, importer):
    apply, side = FULL[importer]
    module = theirs.randomize(WHOLE[importer][0]())
    torch.save(module.state_dict(), tmp_path / "net.pth")
    released = getattr(checkpoints, importer)(tmp_path / "net.pth")
    images = pictures(1, side, side)
    inputs = to_torch(images).requires_grad_()
    seen = to_torch(lightness(images)[..., None]).requires_grad_() if importer == "import_dpr_light" else inputs
    expected = module(seen)
    expected = expected.permute(0, 2, 3, 1) if expected.ndim == 4 else expected
    wanted = jnp.asarray(RNG.standard_normal(expected.shape), jnp.float32)
    (expected * torch.from_numpy(np.array(wanted))).sum().backward()

    def value(x):
        outputs = apply(released.config, released.network, x)
        return jnp.sum(outputs * wanted), outputs

    gradient, outputs = jax.jit(jax.grad(value, has_aux=True))(images)
    close(outputs, expected)
    if seen is inputs:
        close(gradient.transpose(0, 3, 1, 2), inputs.grad)


@pytest.mark.slow
def test_lpips_of_full_size_is_pytorchs(tmp_path):
    module = theirs.LPIPS()
    theirs.randomize(module.vgg[0])
    for weights in module.lins:
        weights.model[1].weight.data.uniform_(0.0, 1.0, generator=torch.Generator().manual_seed(3))
    torch.save(module.eval().whole_state(), tmp_path / "lpips.pth")
    released = checkpoints.import_lpips(tmp_path / "lpips.pth")
    first, second = pictures(1, 224, 224), pictures(1, 224, 224)
    found, gradient = jax.jit(jax.value_and_grad(lambda x: jnp.sum(distances(released, x, second))))(first)
    inputs = to_torch(first).requires_grad_()
    expected = module(2 * inputs - 1, 2 * to_torch(second) - 1).sum()
    expected.backward()
    close(found, expected)
    close(gradient.transpose(0, 3, 1, 2), inputs.grad)

"""`facejax convert`: what it writes loads as exactly what was read, and it replaces nothing that it did not write."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args, get_type_hints

import jax
import numpy as np
import pytest
import test_loaders_ict
from test_loaders import WRITERS
from toy import toy_model

from facejax import checkpoints
from facejax.cli import main
from facejax.commands.convert import IMPORTERS, WHITENED, ConvertNetwork
from facejax.export import save_face_model
from facejax.face_model.formats.plain import BASES, model_arrays
from facejax.face_model.load import load_face_model
from facejax.ingredients import read_arcface, read_lpips
from facejax.texture.decoder import import_decoder, load_decoder

RNG = np.random.default_rng(0)
IDS, WEIGHTS = RNG.integers(0, 20, 68), RNG.dirichlet(np.ones(3), 68)


@pytest.fixture(autouse=True)
def own_cache(monkeypatch):
    monkeypatch.setenv("FACEJAX_CACHE", "")


def convert(*arguments):
    return main(["convert", *map(str, arguments)])


def assert_same(found, wanted, like=lambda x: x):
    """Structure (with all names), types and every bit."""
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, like(b))


def halved(x):
    return np.asarray(x).astype(np.float16).astype(np.float32) if x.dtype == np.float32 else x


# --- face models ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [*WRITERS, "ict"])
def test_a_converted_model_is_the_same_model(kind, tmp_path, capsys):
    if kind == "ict":
        test_loaders_ict.write_folder(tmp_path / "FaceXModel")
    source = tmp_path / "FaceXModel" if kind == "ict" else WRITERS[kind](tmp_path).path
    out = tmp_path / "model.npz"
    assert convert("model", source, out) == 0
    wanted = load_face_model(source)
    assert_same(load_face_model(out), wanted)
    assert f"{len(wanted.mean)} vertices" in capsys.readouterr().out
    assert_same(
        load_face_model(out, identity=2, expression=1, albedo=1, format="facejax"),
        load_face_model(source, identity=2, expression=1, albedo=1),
    )


def test_the_default_head_and_its_first_components(tmp_path):
    assert convert("model", "default", tmp_path / "h.npz", "--identity", "3", "--expression", "2", "--albedo", "1") == 0
    assert_same(load_face_model(tmp_path / "h.npz"), load_face_model(identity=3, expression=2, albedo=1))


def test_half_rounds_the_bases_to_16_bits_and_nothing_else(tmp_path):
    source = WRITERS["hifi3dpp"](tmp_path).path
    assert convert("model", source, tmp_path / "a.npz", "--half") == 0
    found, wanted = (model_arrays(load_face_model(path)) for path in (tmp_path / "a.npz", source))
    assert found.keys() == wanted.keys() and set(BASES) < wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_array_equal(found[name], halved(value) if name in BASES else value)
    assert any((halved(wanted[name]) != wanted[name]).any() for name in BASES)


@pytest.mark.parametrize("name", ["marks.npy", "marks.txt", "marks.npz"])
def test_a_model_without_landmarks_gets_those_given(name, tmp_path, capsys):
    source = WRITERS["flame"](tmp_path).path
    vertices = RNG.integers(0, 12, 68)
    if name.endswith("npy"):
        np.save(tmp_path / name, vertices)
    elif name.endswith("txt"):
        np.savetxt(tmp_path / name, vertices, fmt="%d")
    else:
        np.savez(tmp_path / name, triangles=IDS, weights=WEIGHTS)
    assert convert("model", source, tmp_path / "a.npz", "--expression", "3") == 0
    assert "no landmarks (a fit needs them)" in capsys.readouterr().out
    assert convert("model", source, tmp_path / "a.npz", "--expression", "3", "--landmarks", tmp_path / name) == 0
    assert "68 landmarks" in capsys.readouterr().out
    marks = (IDS, WEIGHTS) if name.endswith("npz") else vertices
    wanted = load_face_model(source, expression=3, landmarks=marks)
    assert_same(load_face_model(tmp_path / "a.npz"), wanted)
    assert len(wanted.landmark_weights) == 68 and wanted.contour_weights.shape[1] > 1
    assert convert("model", source, tmp_path / "bare.npz", "--expression", "3") == 0
    later = load_face_model(tmp_path / "bare.npz", landmarks=marks)  # in the order of the converted triangles
    np.testing.assert_array_equal(later.landmark_weights, wanted.landmark_weights)
    np.testing.assert_allclose(later.contour_weights, wanted.contour_weights, atol=1e-4)


def test_numbers_beyond_16_bits_are_not_saved(tmp_path):
    model = toy_model()
    assert_same(load_face_model(save_face_model(tmp_path / "a.npz", model)), model)
    with pytest.raises(ValueError, match="identity_basis exceeds the largest 16-bit number"):
        save_face_model(tmp_path / "b.npz", replace(model, identity_basis=1e5 * model.identity_basis), half=True)
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def changed(path, **changes):
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: value for name, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"facejax_model": np.array(9)}, "a face model of another format than 1; write it again"),
        ({"mirror": None}, "mirror missing"),
        ({"faces": np.zeros((2, 4), np.int32)}, r"'faces' has shape \(2, 4\), expected \(any, 3\)"),
        ({"faces": np.full((1368, 3), 999999)}, "faces points outside"),
        ({"expression_names": np.array(["one"])}, "1 expression names for 3 components"),
        ({"region_names": np.array([1.0])}, "'region_names' is no list of names"),
        ({"mean": np.full((760, 3), np.nan)}, "mean has values that are not finite"),
        ({"albedo_std": np.ones(9)}, "albedo std has shape"),
    ],
)
def test_damaged_models_say_what_is_wrong_in_one_line(tmp_path, changes, message):
    path = save_face_model(tmp_path / "a.npz", toy_model())
    changed(path, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_face_model(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["model", "{files}/BFM_model_front.mat", "{files}/out.mat"], "name a .npz file"),
        (["model", "{files}/nowhere.mat", "{files}/out.npz"], "nowhere.mat: no such file"),
        (["model", "{files}/text.pth", "{files}/out.npz"], "not a .mat, .npz, .h5 or pickle file"),
        (["model", "{files}/BFM_model_front.mat", "{files}/out.npz", "--format", "obj"], "format 'obj' is unknown"),
        (
            ["model", "{files}/BFM_model_front.mat", "{files}/out.npz", "--landmarks", "{files}/no.npy"],
            "no.npy: no such",
        ),
        (
            ["model", "{files}/BFM_model_front.mat", "{files}/out.npz", "--landmarks", "{files}/text.pth"],
            "no landmarks",
        ),
        (["model", "{files}/BFM_model_front.mat", "{files}/other.npz"], "was not written by facejax convert"),
        (["model", "{files}/BFM_model_front.mat", "{files}/text.npz"], "was not written by facejax convert"),
        (["model", "{files}/BFM_model_front.mat", "{files}/head.npz"], "was not written by facejax convert"),
        (["arcface", "{files}/nowhere.pth", "{files}/out"], "nowhere.pth: no such file"),
        (["arcface", "{files}/text.pth", "{files}/out"], "text.pth: cannot be read"),
        (["lpips", "{files}/text.pth", "{files}/trained"], "was not written by facejax convert"),
        (["decoder", "{files}/text.pth", "{files}"], "was not written by facejax convert"),
        (["network", "3ddfa", "{files}/text.pth", "{files}/out"], "convert network 3ddfa: give --whitening"),
        (
            ["network", "fan", "{files}/a", "{files}/out", "--whitening", "w"],
            "convert network fan: leave out --whitening",
        ),
    ],
)
def test_wrong_commands_write_nothing_and_say_why_in_one_line(tmp_path, capfd, arguments, message):
    WRITERS["deep3d"](tmp_path)
    (tmp_path / "text.pth").write_text("no weights")
    (tmp_path / "text.npz").write_text("mine")
    np.savez(tmp_path / "other.npz", mean=np.zeros(3))
    save_face_model(tmp_path / "head.npz", toy_model())  # of the same kind, but written by a person's own program
    checkpoints.save(tmp_path / "trained", {"w": np.ones(3)}, schema="released network", version=1)
    before = snapshot(tmp_path)
    if "pth" in arguments[1]:
        pytest.importorskip("torch")
    assert convert(*[argument.format(files=tmp_path) for argument in arguments]) == 2
    errors = capfd.readouterr().err
    assert message in errors and errors.startswith("facejax: error: ") and errors.count("\n") == 1
    assert snapshot(tmp_path) == before


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- weights ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """State dicts of tiny networks, as their authors' code saves them."""
    torch = pytest.importorskip("torch", reason="PyTorch's files are read by it: pip install facejax[torch]")
    import torch_loss_networks as losses
    import torch_networks
    import torch_stylegan2

    folder = tmp_path_factory.mktemp("weights")
    lpips = losses.randomize(losses.LPIPS((4, 4, 8, 8, 8)))
    for one in lpips.lins:
        one.model[1].weight.data.abs_()
    states = {
        "vgg.pth": losses.randomize(lpips.vgg[0]).state_dict(),
        "lpips.pth": lpips.own_state(),
        "backbone.pth": losses.randomize(losses.IResNet((1, 1, 1, 1), width=4, size=16, features=6)).state_dict(),
        "mb05.pth": {"state_dict": torch_networks.randomize(torch_networks.MobileNet(0.5, False)).state_dict()},
        "texgan.pth": torch_stylegan2.random_generator(16),
        "stats.pt": {"w_avg": torch.arange(8.0), "w_std": torch.arange(1.0, 9.0)},
    }
    for name, state in states.items():
        torch.save(state, folder / name)
    np.savez(folder / "whitening.npz", mean=RNG.normal(size=62), std=RNG.uniform(1, 2, 62))
    return folder


@pytest.mark.parametrize("half", [False, True])
def test_a_converted_decoder_is_what_the_option_takes(weights, tmp_path, half):
    files = [weights / "texgan.pth", weights / "stats.pt"]
    assert convert("decoder", files[0], tmp_path / "d", "--statistics", files[1], *(["--half"] if half else [])) == 0
    assert_same(load_decoder(tmp_path / "d"), import_decoder(*files), halved if half else lambda x: x)
    about = checkpoints.read_metadata(tmp_path / "d")
    assert (about["schema"], about["version"]) == ("texture decoder", 1)
    assert about["metadata"]["made_from"] == "texgan.pth" and about["half"] == half


def test_converted_loss_networks_are_what_the_options_take(weights, tmp_path, monkeypatch):
    vgg, own, backbone = weights / "vgg.pth", weights / "lpips.pth", weights / "backbone.pth"
    assert convert("lpips", vgg, tmp_path / "lpips", "--weights", own) == 0
    assert convert("arcface", backbone, tmp_path / "arcface", "--half") == 0
    wanted = checkpoints.import_lpips(vgg, own), checkpoints.import_arcface(backbone)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ValueError, match="reading this file needs PyTorch"):
        read_lpips((vgg, own))
    assert_same(read_lpips((tmp_path / "lpips",)).weights, wanted[0])
    assert_same(read_arcface(tmp_path / "arcface").weights, wanted[1], halved)
    with pytest.raises(ValueError, match="arcface: holds a network of the kind 'iresnet', wanted is 'vgg16'"):
        read_lpips((tmp_path / "arcface",))
    with pytest.raises(ValueError, match="lpips: holds a network of the kind 'vgg16', wanted is 'iresnet'"):
        read_arcface(tmp_path / "lpips")


def test_a_network_with_its_whitening_takes_the_place_of_what_was_converted_before(weights, tmp_path, capsys):
    files, out = [weights / "mb05.pth", weights / "whitening.npz"], tmp_path / "net"
    assert convert("arcface", weights / "backbone.pth", out) == 0
    assert convert("network", "3ddfa", files[0], out, "--whitening", files[1]) == 0
    assert_same(checkpoints.load_released(out), checkpoints.import_3ddfa(*files))
    assert "kind mobilenet" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["net"]
    before = snapshot(out)
    assert convert("network", "fan", weights / "backbone.pth", out) == 2  # what is there stays when the new one fails
    assert snapshot(out) == before


def test_every_importer_of_other_networks_can_be_asked_for():
    asked = get_args(get_type_hints(ConvertNetwork)["kind"])
    assert set(asked) == set(IMPORTERS) and set(WHITENED) <= set(asked)

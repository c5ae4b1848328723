"""Other people's models in the commands: those without texture coordinates are unwrapped, impossible ones refused."""

import json
import warnings
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model
from toy_photos import write_toy_photo

from facejax import cli
from facejax.cli import main
from facejax.engine.models import check_model, load_model
from facejax.export import save_face_model
from facejax.face_model import own_albedo
from facejax.face_model.texture_layout import has_layout, is_unrolled, with_layout
from facejax.images import read_image
from facejax.unwrap.photos import face_layout
from facejax.unwrap.texels import mesh_texels

COMMANDS = {
    "fit": ["fit", "{photos}", "--recipe", "landmarks"],
    "unwrap": ["unwrap", "{photos}/one.png", "--size", "64", "--recipe", "landmarks"],
    "views": ["unwrap", "--views", "{photos}/one.png", "--size", "64", "--recipe", "landmarks"],
    "build-uv-dataset": ["build-uv-dataset", "{photos}", "--size", "64", "--recipe", "landmarks"],
}
ALL = ["--min-seen", "0", "--max-strange", "1", "--min-face-pixels", "1", "--max-bs", "255", "--max-landmark-nme", "50"]


def per_vertex(model):
    """A model without a texture layout, as FLAME's and Basel's are: colours at the vertices."""
    colours = own_albedo(model)
    at = lambda table: jnp.broadcast_to(table.mean(axis=(-3, -2))[..., None, :], (*table.shape[:-3], 760, 3))  # noqa: E731
    colours = replace(colours, mean=at(colours.mean), basis=at(colours.basis))
    topology = replace(model.topology, uv_faces=model.topology.faces)
    return replace(model, albedo=colours, uv=jnp.zeros((760, 2)), topology=topology)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for seed, name in enumerate(("one", "two")):
        write_toy_photo(folder, name, seed)
    return folder


def run(name, photos, out, model, *more):
    words = [word.format(photos=photos) for word in COMMANDS[name]]
    return main([*words, "--landmarks", str(photos), "--model", str(model), "--out", str(out), *more])


@pytest.mark.optimized
def test_a_model_without_texture_coordinates_gives_filled_maps(photos, tmp_path, capfd):
    path = save_face_model(tmp_path / "bare.npz", per_vertex(toy_model()))
    assert run("unwrap", photos, tmp_path / "one", path) == 0
    said = capfd.readouterr()
    assert "nan" not in said.out.lower() + said.err.lower()
    summary = json.loads((tmp_path / "one/one/summary.json").read_text())
    assert 0.2 < summary["quality"]["seen"] <= 1 and None not in summary["quality"].values()
    filled = read_image(tmp_path / "one/one/filled.png")[..., 0]
    assert 0.02 < filled.mean() < 0.5 and abs((filled * np.arange(64)).sum() / filled.sum() - 31.5) < 3  # in the middle
    assert np.ptp(read_image(tmp_path / "one/one/albedo.png")) > 0.1
    assert run("build-uv-dataset", photos, tmp_path / "set", path, *ALL) == 0
    lines = [json.loads(line) for line in (tmp_path / "set/manifest.jsonl").read_text().splitlines()]
    assert all(line["figures"]["seen"] > 0.2 for line in lines) and len(lines) == 2


def ellipsoid_in_two_shells():
    """The toy head with a smaller copy of itself inside, whose triangles come first in the file."""
    model = per_vertex(toy_model())
    count, faces = len(model.mean), model.topology.faces
    topology = replace(
        model.topology,
        faces=jnp.concatenate([faces + count, faces]),
        uv_faces=jnp.concatenate([faces + count, faces]),
        face_part=jnp.zeros(2 * len(faces), jnp.int32),
        landmark_faces=model.topology.landmark_faces + len(faces),
    )
    mean = jnp.concatenate([model.mean, model.mean * jnp.array([[0.5, 1.0, 0.5]])])
    regions = {"face": jnp.concatenate([model.regions["face"], jnp.zeros(count)])}
    return replace(model, mean=mean, uv=jnp.zeros((2 * count, 2)), topology=topology, regions=regions), len(faces)


def test_of_triangles_over_each_other_in_the_cylinder_the_outermost_has_the_texel():
    model, count = ellipsoid_in_two_shells()
    texels = mesh_texels(with_layout(model), 64)
    triangle = np.asarray(texels.triangle)[np.asarray(texels.covered)]
    assert (triangle >= count).mean() > 0.99
    single = mesh_texels(with_layout(per_vertex(toy_model())), 64)
    both = np.asarray(texels.covered & single.covered)
    assert (np.asarray(texels.triangle)[both] - count == np.asarray(single.triangle)[both]).mean() > 0.95


def test_layouts_that_cannot_be_used_are_errors():
    model = per_vertex(toy_model())
    line = replace(toy_model(), uv=toy_model().uv.at[:, 0].set(0.5))
    for flat in (model, line):
        assert not has_layout(flat) and has_layout(with_layout(flat)) and is_unrolled(with_layout(flat))
        with pytest.raises(ValueError, match=r"has no texture coordinates: .*with_layout"):
            face_layout(flat, 64)
    assert has_layout(toy_model()) and not is_unrolled(toy_model())
    pixels = replace(toy_model(), uv=2.0 + 100 * toy_model().uv)
    with pytest.raises(ValueError, match="nothing of its face lies in the unit square"):
        face_layout(pixels, 64)


def changed(**topology):
    return lambda model: replace(model, topology=replace(model.topology, **topology))


NONE = jnp.zeros(0, jnp.int32)
BAD = {
    "no landmarks": (
        lambda model: replace(changed(landmark_faces=NONE, contour_faces=jnp.zeros((0, 0), jnp.int32))(model),
                              landmark_weights=jnp.zeros((0, 3)), contour_weights=jnp.zeros((0, 0, 3)),
                              contour_direction=jnp.zeros((0, 2))),
        "the model has no landmarks, and a face is found by 68",
    ),
    "51 landmarks": (
        lambda model: replace(changed(landmark_faces=model.topology.landmark_faces[17:])(model),
                              landmark_weights=model.landmark_weights[17:]),
        "51 landmarks, not the 68",
    ),
    "one place": (
        lambda model: changed(landmark_faces=jnp.zeros(68, jnp.int32))(model),
        "its 68 landmarks are not those of a face",
    ),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("bad", BAD)
def test_a_model_that_cannot_be_fitted_is_one_line_before_a_photo_is_read(
    command, bad, photos, tmp_path, capfd, monkeypatch
):
    change, message = BAD[bad]
    path = save_face_model(tmp_path / "bad.npz", change(toy_model()))

    def read(*args, **kwargs):
        raise AssertionError("a photo was read")

    monkeypatch.setattr("facejax.images.read._opened", read)
    assert run(command, photos, tmp_path / "out", path) == 2
    said = capfd.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and message in said.err and str(path) in said.err
    assert "facejax convert model IN OUT.npz --landmarks" in said.err and not (tmp_path / "out").exists()


def test_models_without_a_mesh_or_a_face_are_refused():
    model = toy_model()
    with pytest.raises(ValueError, match="--model m: the model has no triangles"):
        check_model(changed(faces=jnp.zeros((0, 3), jnp.int32))(model), "m")
    with pytest.raises(ValueError, match="--model m: its region 'face' is empty"):
        check_model(replace(model, regions={"face": jnp.zeros(760)}), "m")
    check_model(model, "m")


def test_a_model_is_loaded_once_and_again_when_its_file_changes(tmp_path):
    path = save_face_model(tmp_path / "model.npz", toy_model())
    first = load_model(str(path))
    assert load_model(str(path)) is first
    path.unlink()
    save_face_model(path, replace(toy_model(), name="other"))
    assert load_model(str(path)).name == "other"
    with pytest.raises(FileNotFoundError, match=r"nowhere\.npz: no such file"):
        load_model(str(tmp_path / "nowhere.npz"))


def test_warnings_of_internals_do_not_reach_the_command_line(monkeypatch, capfd):
    def noisy(command):
        warnings.warn("overflow encountered in cast", RuntimeWarning, stacklevel=1)
        warnings.warn("jax will change", DeprecationWarning, stacklevel=1)
        return 0

    monkeypatch.setitem(cli.COMMANDS, "info", (cli.COMMANDS["info"][0], noisy))
    monkeypatch.setattr("sys.warnoptions", [])
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert main(["info"]) == 0
    assert capfd.readouterr().err == ""

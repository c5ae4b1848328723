"""dlib's face recogniser: files of our own writing read back, the network against plain sums, dlib itself where it is
installed, and what a fit does with it."""

import importlib.util
import sys
from types import SimpleNamespace
from typing import Any

import dlib_writer as writer
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax import ingredients, nets
from facejax.checkpoints import Released, find_dlib_recognition, import_dlib_recognition, load_released, save_released
from facejax.checkpoints.dlib_files import read_dlib_network
from facejax.fitting import LANDMARKS, LINEAR, RECIPES, Ingredients, dlib_network, identity_network
from facejax.fitting.fit import _identity_distance
from facejax.fitting.scene import Scene
from facejax.images import align
from facejax.nets.dlib_resnet import dlib_resnet_shapes
from facejax.objectives import cosine_distance, descriptor_distance
from facejax.regression.appearance import PORTRAIT, portrait_params, recognised

BLOCKS, SIZE, STEM, FEATURES = ((2, False), (3, True), (3, True)), 40, 2, 4


def draw_weights(seed=0):
    rng = np.random.default_rng(seed)
    weights: list[Any] = []
    inputs, pairs = 3, [(STEM, 7), *((width, 3) for width, _ in BLOCKS for _ in range(2))]
    for width, side in pairs:
        kernel = rng.normal(0, (2 / (inputs * side**2)) ** 0.5, (width, inputs, side, side)).astype("f4")
        vectors = rng.normal(0.0, 0.3, (3, width)).astype("f4") + np.array([[0], [1], [0]], "f4")
        weights.append((kernel, *vectors))
        inputs = width
    return [*weights, rng.normal(0, 1, (inputs, FEATURES)).astype("f4")]


def write(path, **options):
    path.write_bytes(writer.recogniser(draw_weights(), BLOCKS, SIZE, **options))
    return path


@pytest.fixture
def file(tmp_path):
    return write(tmp_path / "net.dat")


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    return import_dlib_recognition(write(tmp_path_factory.mktemp("dlib") / "net.dat"))


# --- the network against sums in numpy --------------------------------------------------------------------------------


def windows(x, side, stride):
    """(C, H, W) -> (C, rows, columns, side, side)."""
    return np.lib.stride_tricks.sliding_window_view(x, (side, side), axis=(1, 2))[:, ::stride, ::stride]


def convolve(x, layer, stride, padding):
    kernel, bias, scale, shift = (np.asarray(part, np.float64) for part in layer)
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    y = np.einsum("nchw,cijhw->nij", kernel, windows(x, kernel.shape[-1], stride)) + bias[:, None, None]
    return y * scale[:, None, None] + shift[:, None, None]


def describe(image, weights):
    """dlib's layers one by one, for one picture (H, W, 3) of display values."""
    *layers, last = weights
    left = iter(layers)
    x = (255 * np.asarray(image, np.float64).transpose(2, 0, 1) - np.array(writer.MEAN)[:, None, None]) / 256
    x = np.maximum(convolve(x, next(left), 2, 0), 0)
    x = windows(x, 3, 2).max(axis=(3, 4))
    for _, halve in BLOCKS:
        y = np.maximum(convolve(x, next(left), 2 if halve else 1, 0 if halve else 1), 0)
        y = convolve(y, next(left), 1, 1)
        short = windows(x, 2, 2).mean(axis=(3, 4)) if halve else x
        total = np.zeros(np.maximum(y.shape, short.shape))
        total[tuple(map(slice, y.shape))] += y
        total[tuple(map(slice, short.shape))] += short
        x = np.maximum(total, 0)
    return x.mean(axis=(1, 2)) @ last


def test_the_network_of_a_file_does_what_dlibs_layers_do(released):
    """Among them maps of which the shortcut's is the larger one, and has fewer channels."""
    assert released.config == nets.DlibResNetConfig(STEM, BLOCKS, SIZE, FEATURES, writer.MEAN)
    images = np.random.default_rng(1).uniform(0, 1, (2, SIZE, SIZE, 3)).astype("f4")
    found = nets.apply_dlib_resnet(released.config, released.network, jnp.asarray(images))
    expected = np.stack([describe(image, draw_weights()) for image in images])
    assert np.std(expected) > 0.1
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_newer_versions_of_the_layers_are_read(released, tmp_path):
    for name in ("con_5", "con_6"):
        found = import_dlib_recognition(write(tmp_path / "new.dat", name=name))
        jax.tree.map(np.testing.assert_array_equal, found, released)


def test_the_default_is_dlibs_network():
    shapes = jax.tree.leaves(dlib_resnet_shapes(nets.DlibResNetConfig()))
    assert len(shapes) == 2 * 29 + 1 and sum(leaf.size for leaf in shapes) == 5_607_488


def test_it_is_kept_as_a_checkpoint(released, tmp_path):
    save_released(tmp_path / "net", released)
    jax.tree.map(np.testing.assert_array_equal, load_released(tmp_path / "net", kind="dlib_resnet"), released)


def test_pictures_of_another_size_are_refused(released):
    with pytest.raises(ValueError, match=r"takes 40: cut them with facejax.images.align.face_chip"):
        nets.apply_dlib_resnet(released.config, released.network, jnp.zeros((1, 39, 39, 3)))


# --- files ------------------------------------------------------------------------------------------------------------


def refused(path, match):
    with pytest.raises(ValueError, match=match) as error:
        import_dlib_recognition(path)
    assert str(error.value).startswith(f"{path}: ") and "\n" not in str(error.value)


def test_other_files_are_refused(file, tmp_path):
    whole = file.read_bytes()
    with pytest.raises(FileNotFoundError, match=r"gone.dat: no such file; docs/weights.md"):
        import_dlib_recognition(tmp_path / "gone.dat")
    for data, match in (
        (b"", "does not begin as one"),
        (b"PK\x03\x04 something", "does not begin as one"),
        (writer.integer(1) + writer.text("loss_multiclass_log_"), "its loss is 'loss_multiclass_log_'"),
        (whole[:-1], "ends within a layer"),
        (whole + b"\0", "1 bytes are left"),
        (whole.replace(b"input_rgb_image_sized", b"input_rgb_image_other"), "its input is"),
        (whole.replace(b"relu_", b"sigm_"), "a layer 'sigm_'"),
        (whole.replace(b"\x0dloss_metric_2", b"\x0closs_metric_"), "its loss is 'loss_metric_'"),
    ):
        file.write_bytes(data)
        refused(file, match)
    refused(write(file, swap=True), "another network than dlib's")


def test_a_file_cannot_ask_for_more_than_it_holds(file):
    """Sizes of a tensor are believed only as far as the file is long."""
    whole = file.read_bytes()
    first = whole.index(b"con_4") + 5
    huge = b"\x08" + b"\xff" * 7 + b"\x7f"
    for data in (whole[: first + 2] + huge * 4, whole[: first + 2] + b"\x01\x00" + huge * 3):
        file.write_bytes(data + bytes(100))
        refused(file, "ends within a layer|not dlib's")
    file.write_bytes(whole.replace(writer.text("con_4"), writer.integer(2**40) + b"con_4"))
    refused(file, "no name of a layer")


def test_weights_that_are_not_finite_are_refused(file):
    weights = draw_weights()
    weights[-1][0, 0] = np.nan
    file.write_bytes(writer.recogniser(weights, BLOCKS, SIZE))
    refused(file, "not finite")


def test_damage_is_an_error_of_one_line_or_other_weights(file):
    """Bytes changed at random in the part that describes, and files cut off anywhere."""
    whole, rng = file.read_bytes(), np.random.default_rng(0)
    for _ in range(60):
        data = bytearray(whole)
        for place in rng.integers(len(whole), size=3):
            data[place] = rng.integers(256)
        file.write_bytes(bytes(data[: rng.integers(len(data))] if rng.random() < 0.2 else data))
        try:
            read_dlib_network(file)
        except ValueError as error:
            assert str(error).startswith(f"{file}: ") and "\n" not in str(error)


# --- dlib itself ------------------------------------------------------------------------------------------------------


def test_dlib_agrees_on_its_own_weights():
    """experiments/check_dlib_identity.py does the same on photographs."""
    dlib: Any = pytest.importorskip("dlib", reason="pip install dlib-bin")
    path = find_dlib_recognition()
    if path is None:
        pytest.skip("pip install 'facejax[identity]'")
    chips = np.random.default_rng(0).integers(0, 256, (2, 150, 150, 3)).astype(np.uint8)
    chips[1] = np.linspace(0, 255, 150)[:, None, None]
    expected = np.array([dlib.face_recognition_model_v1(str(path)).compute_face_descriptor(chip) for chip in chips])
    released = import_dlib_recognition(path)
    found = nets.apply_dlib_resnet(released.config, released.network, jnp.asarray(chips, jnp.float32) / 255)
    np.testing.assert_allclose(found, expected, atol=1e-3)


# --- chips ------------------------------------------------------------------------------------------------------------


def placed_landmarks(size=SIZE):
    """Landmarks whose chip is the picture itself."""
    points = np.full((68, 2), 1.0, "f4")
    points[list(align.DLIB_LANDMARKS)] = (np.array(align.DLIB_POINTS) + 0.25) / 1.5 * size + 0.5
    return jnp.asarray(points)


def test_a_chip_has_the_points_where_dlib_places_them():
    image = jax.random.uniform(jax.random.key(0), (SIZE, SIZE, 3))
    np.testing.assert_allclose(align.face_chip(image, placed_landmarks(), size=SIZE), image, atol=1e-4)
    doubled = jax.image.resize(image, (2 * SIZE, 2 * SIZE, 3), "nearest")
    half = align.face_chip(doubled, 2 * placed_landmarks(), size=SIZE)
    np.testing.assert_allclose(half, image, atol=1e-4)


def test_the_marked_landmarks_are_eyes_and_nose():
    """By name, in a picture: the outer corner of an eye lies beyond the inner one, the nose below and between."""
    right_outer, right_inner, left_outer, left_inner, nose = np.array(align.DLIB_POINTS)
    assert left_outer[0] < left_inner[0] < nose[0] < right_inner[0] < right_outer[0] and nose[1] > 0.6
    assert align.DLIB_LANDMARKS == (45, 42, 36, 39, 33)


# --- in a fit ---------------------------------------------------------------------------------------------------------


def test_half_the_squared_distance_is_the_cosines_on_the_unit_sphere():
    a, b = np.random.default_rng(0).normal(size=(2, 128)).astype("f4")
    expected = 0.5 * np.linalg.norm(a - b) ** 2
    np.testing.assert_allclose(descriptor_distance(jnp.asarray(a), jnp.asarray(b)), expected, rtol=1e-5)
    a, b = (jnp.asarray(x / np.linalg.norm(x)) for x in (a, b))
    np.testing.assert_allclose(descriptor_distance(a, b), cosine_distance(a, b), rtol=1e-5)


def test_both_roles_see_the_chip_and_tell_its_distance(released):
    image, photo = jax.random.uniform(jax.random.key(1), (2, SIZE, SIZE, 3))
    term, metric, mask = dlib_network(released), identity_network(released), jnp.ones((SIZE, SIZE))
    a, b = (term.see(one, placed_landmarks()) for one in (image, photo))
    np.testing.assert_allclose(a, describe(image, draw_weights()), atol=1e-3)
    gap = float(np.linalg.norm(np.asarray(a) - np.asarray(b)))
    assert gap > 0.01
    np.testing.assert_allclose(metric.compare(a, b, mask), gap, rtol=1e-5)
    np.testing.assert_allclose(term.compare(a, b, mask), 0.5 * gap**2, rtol=1e-5)
    with pytest.raises(ValueError, match="import_dlib_recognition returns"):
        dlib_network(Released(nets.Network({}, {}), None, nets.IResNetConfig()))


def test_a_finished_face_is_measured_through_the_networks_eyes(released):
    image, photo = jax.random.uniform(jax.random.key(1), (2, SIZE, SIZE, 3))
    points, network = placed_landmarks(), identity_network(released)
    parts: dict[str, Any] = {"seen": SimpleNamespace(image=photo, landmarks=points), "landmarks": points}
    parts |= {"rendering": SimpleNamespace(color=image), "mask": jnp.ones((SIZE, SIZE))}
    nothing: dict[str, Any] = dict.fromkeys(Scene._fields)
    scene = Scene(**nothing | parts)
    assert _identity_distance(scene, Ingredients()) is None
    found: Any = _identity_distance(scene, Ingredients(networks={"identity": network}))
    expected = np.linalg.norm(describe(image, draw_weights()) - describe(photo, draw_weights()))
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_recipes_take_it_where_it_is_installed(released, monkeypatch):
    monkeypatch.setattr(ingredients, "load_recogniser", lambda: released)
    assert not ingredients.ingredients_for(LANDMARKS).networks
    assert set(ingredients.ingredients_for(LINEAR).networks) == {"identity"}
    assert not ingredients.ingredients_for(LINEAR, measure=False).networks
    found = ingredients.ingredients_for(RECIPES["ffhq_uv_code"]).networks
    names = {"identity": "dlib ResNet", "perceptual": "own encoder", "recognition": "dlib ResNet"}
    assert {role: network.name for role, network in found.items()} == names
    assert found["recognition"].compare is not found["identity"].compare


@pytest.mark.thorough
def test_maps_are_seen_on_the_mean_face(released):
    """Dark and light skin differ, and the landmarks of the face lie in its picture."""
    model, network = toy_model(), identity_network(released)
    params = portrait_params(model)
    a, b = (recognised(network, model, params, jnp.full((8, 8, 3), value)) for value in (0.2, 0.7))
    assert float(jnp.linalg.norm(a - b)) > 0.05 and PORTRAIT == 256


def test_its_package_is_found_without_being_imported(tmp_path, monkeypatch):
    """The package imports pkg_resources, which newer Pythons lack."""
    package = tmp_path / "face_recognition_models"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    assert find_dlib_recognition() is None
    path = write(package / "models" / "dlib_face_recognition_resnet_model_v1.dat")
    assert find_dlib_recognition() == path and "face_recognition_models" not in sys.modules

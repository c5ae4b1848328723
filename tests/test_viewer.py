"""The viewer: what it reads and draws; the page itself where viser is installed."""

import dataclasses
import io
import json
import struct
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from toy import toy_model

from facejax.camera import PerspectiveCamera
from facejax.export import save_params, write_png, write_summary
from facejax.export.material import save_material
from facejax.face_model import neutral_params
from facejax.material import Material, PhotoLayer
from facejax.viewer import results

pytestmark = pytest.mark.optimized


@pytest.fixture(scope="module")
def model():
    return toy_model()


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """Two faces as a fit leaves them, one of them with a stage."""
    out = tmp_path_factory.mktemp("faces")
    params = neutral_params(model, PerspectiveCamera(jnp.asarray(300.0), jnp.zeros(2)))
    for name, amount in (("anna", 0.5), ("sub/bela", 1.0), ("anna/stages/0_landmarks", 0.25)):
        one = dataclasses.replace(params, identity=jnp.full_like(params.identity, amount))
        save_params(out / name / "params.npz", one, model.name)
        write_png(out / name / "albedo.png", np.full((16, 16, 3), amount, np.float32))
    write_png(out / "anna/overlay.png", np.concatenate([np.ones((20, 64, 3)), np.zeros((512, 64, 3))]))
    pose = {"pitch": 1.0, "yaw": -20.0, "roll": 0.0}
    summary = {"image": "anna.jpg", "recipe": "linear", "landmark_nme_percent": 1.234, "psnr_face": None}
    write_summary(out / "anna/summary.json", summary | {"pose_degrees": pose})
    (out / "only_params").mkdir()
    save_params(out / "only_params/params.npz", params, model.name)
    return out


@pytest.fixture(scope="module")
def with_maps(model, tmp_path_factory):
    """A face with maps, whose photograph is shown on the left, one with an older fit's files, and a stage."""
    out = tmp_path_factory.mktemp("maps")
    params = neutral_params(model, PerspectiveCamera(jnp.asarray(300.0), jnp.zeros(2)))
    for name in ("anna", "bela", "anna/stages/0_landmarks"):
        save_params(out / name / "params.npz", params, model.name)
        write_png(out / name / "albedo.png", np.full((16, 16, 3), 0.5))
    grey, up = np.full((16, 16), 0.5, np.float32), np.tile([0.0, 0.0, 1.0], (16, 16, 1))
    material: Any = Material(np.full((16, 16, 3), 0.5), up, grey, grey, grey)  # type: ignore[arg-type]
    shown = (np.arange(16) < 8) * np.ones((16, 1))
    layer = PhotoLayer(np.full((16, 16, 3), 0.25), shown)  # type: ignore[arg-type]
    save_material(out / "anna", material, layer)
    return out


def scene_of(content: bytes) -> dict[str, Any]:
    return json.loads(content[20 : 20 + struct.unpack_from("<I", content, 12)[0]])


def texture(content: bytes) -> np.ndarray:
    """The picture inside of a binary glTF."""
    size = struct.unpack_from("<I", content, 12)[0]
    scene, binary = scene_of(content), content[28 + size :]
    view = scene["bufferViews"][scene["images"][0]["bufferView"]]
    with Image.open(io.BytesIO(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]])) as picture:
        return np.asarray(picture)


def test_faces_and_stages_are_found(folder, model, tmp_path):
    found = results.find_results(folder)
    assert list(found) == ["anna", "sub/bela"]
    assert list(results.find_results(folder / "anna")) == ["anna"]
    face = results.read_result(found["anna"], "anna", model)
    assert list(face.stages()) == ["0_landmarks"] and face.picture("nothing.png") is None
    panel = face.photo_panel()
    assert panel is not None and panel.shape[0] == 512 and not panel.any()
    assert face.figures()["landmarks"] == "1.23 % of the face" and face.figures()["pitch, yaw, roll"] == "1, -20, 0"
    with pytest.raises(ValueError, match="holds no face with params"):
        results.find_results(folder / "only_params")
    with pytest.raises(ValueError, match="no such folder"):
        results.find_results(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="pass its file with --model"):
        results.read_result(found["anna"], "anna", dataclasses.replace(model, name="another"))


def test_sliders_change_the_face(folder, model):
    face = results.read_result(folder / "anna", "anna", model)
    name = model.expression_names[1]
    moved = results.changed(face.params, model, {name: 0.75, "identity 2": -1.5})
    assert float(moved.expression[1]) == 0.75 and float(moved.identity[1]) == -1.5
    assert float(moved.identity[0]) == 0.5 and not np.asarray(face.params.expression).any()
    lamp = dataclasses.replace(face.params, light=jnp.zeros((9, 3)).at[2].set(1.0))  # towards the viewer
    right = results.changed(lamp, model, {"turn": 90.0, "strength": 0.5}).light
    np.testing.assert_allclose(right, jnp.zeros((9, 3)).at[3].set(0.5), atol=1e-6)  # the subject's left


def test_looks(folder, model):
    """Albedo as it is; normals of the front are bluish; the light brightens; the geometry is grey."""
    face = results.read_result(folder / "anna", "anna", model)
    drawn = {look: texture(results.draw_face(model, face.params, face.albedo, look)) for look in face.looks()}
    assert (drawn["albedo"] == 128).all() and np.ptp(drawn["geometry"]) == 0
    middle = drawn["normals"][8, 8]
    assert middle[2] > 230 and 90 < middle[0] < 165
    dark = dataclasses.replace(face.params, light=0.3 * face.params.light)
    assert texture(results.draw_face(model, dark, face.albedo, "shaded")).mean() < 0.8 * drawn["shaded"].mean()


def test_looks_of_a_face_with_maps(with_maps, model):
    """The maps in the page's light, or the photo over the albedo without light; nothing of both without maps."""
    for name in ("bela", "anna/stages/0_landmarks"):
        assert results.read_result(with_maps / name, name, model).looks() == ("albedo", "shaded", "normals", "geometry")
    face = results.read_result(with_maps / "anna", "anna", model)
    assert face.looks() == results.LOOKS and face.maps is not None
    without = dataclasses.replace(face, maps=(face.maps[0], None))
    assert without.looks()[-1] == "material"
    drawn = {look: results.draw_face(model, face.params, face.albedo, look, face.maps) for look in face.looks()}
    (material,) = scene_of(drawn["material"])["materials"]
    assert "normalTexture" in material and "KHR_materials_specular" in material["extensions"]
    assert (texture(drawn["material"]) == 128).all()
    assert scene_of(drawn["photo"])["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    shown = texture(drawn["photo"])
    assert (shown[:, :8] == 64).all() and (shown[:, 8:] == 128).all()
    assert "normalTexture" not in scene_of(drawn["shaded"])["materials"][0]


def test_the_page_offers_the_looks_that_a_face_has(with_maps, model):
    pytest.importorskip("viser")
    from facejax.viewer import view_results

    viewer = view_results(with_maps, model, port=8795)
    try:
        assert viewer.look.options == results.LOOKS
        viewer.look.value = "photo"
        viewer._draw()
        assert scene_of(viewer.drawn)["extensionsUsed"] == ["KHR_materials_unlit"]
        shown = texture(viewer.drawn)
        assert (shown[:, :8] == 64).all()
        viewer.which.value = "bela"
        viewer._show_face()
        assert viewer.look.value == "shaded" and "photo" not in viewer.look.options
        assert viewer.drawn and not (texture(viewer.drawn)[:, :8] == 64).all()
        viewer.which.value = "anna"
        viewer._show_face()
        assert viewer.look.options == results.LOOKS
    finally:
        viewer.close()


def test_the_page(folder, model):
    pytest.importorskip("viser")
    from facejax.viewer import view_results

    viewer = view_results(folder, model, port=8790)
    try:
        assert viewer.address.startswith("http://127.0.0.1:")
        assert viewer.about.content.startswith("- photo: anna.jpg") and viewer.photo.visible
        first = viewer.drawn
        viewer.sliders[model.expression_names[0]].value = 0.9
        viewer._draw()
        assert viewer.drawn != first
        viewer._show_stage()  # as fitted
        assert viewer.drawn == first
        viewer.stage.value = "0_landmarks"
        viewer._show_stage()
        assert viewer.sliders["identity 1"].value == pytest.approx(0.25) and viewer.drawn != first
        viewer.which.value = "sub/bela"
        viewer._show_face()
        assert not viewer.photo.visible and viewer.sliders["identity 1"].value == pytest.approx(1.0)
    finally:
        viewer.close()

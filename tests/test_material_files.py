"""The maps of a skin in the folder of a face: pictures, MTL, glTF, panels and figures."""

import base64
import dataclasses
import io
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.interpolate import RegularGridInterpolator
from test_fitted_files import fitted, write
from test_glb import VALIDATE, parts
from toy import toy_model

import facejax
from facejax.api import FitResult
from facejax.appearance import own_appearance
from facejax.engine.fits import FitJob, FitOptions
from facejax.engine.textures import TextureJob, TextureOptions
from facejax.export.fit_report import _panels
from facejax.export.fitted import FILES, is_face_file
from facejax.export.load import load_face
from facejax.export.material import MAP_FILES, base_color, is_grey, save_material, trusted_share
from facejax.export.overlay import fit_pictures
from facejax.export.seams import tangents
from facejax.face_model import decode_albedo
from facejax.fitting import LANDMARKS, Ingredients
from facejax.lighting import uniform_light
from facejax.material import Material, PhotoLayer
from facejax.rendering import render
from facejax.skin import Keep

SIDE = 32


def skin(side: int = SIDE) -> tuple[Material, PhotoLayer]:
    """Smooth maps that have no symmetry; the photograph shows the left two thirds."""
    across, down = np.meshgrid((np.arange(side) + 0.5) / side, (np.arange(side) + 0.5) / side)
    wave = np.sin(9 * across + 4 * down)
    normal = np.stack([0.3 * wave, 0.2 * np.cos(5 * down), np.ones_like(wave)], -1)
    color = np.stack([0.3 + 0.5 * across, 0.2 + 0.6 * down, 0.5 + 0.3 * wave], -1)
    shown = np.clip((0.7 - across) * 8, 0, 1)
    material = Material(
        albedo=np.clip(0.5 * color + 0.25, 0, 1),  # type: ignore[arg-type]
        normal=normal / np.linalg.norm(normal, axis=-1, keepdims=True),  # type: ignore[arg-type]
        roughness=0.3 + 0.4 * down,  # type: ignore[arg-type]
        specular=0.4 + 0.5 * across,  # type: ignore[arg-type]
        trust=0.9 * shown,  # type: ignore[arg-type]
    )
    return material, PhotoLayer(color, shown)  # type: ignore[arg-type]


def levels(values) -> np.ndarray:
    return np.rint(np.clip(np.asarray(values, np.float32).astype(float), 0, 1) * 255)


def written(folder: Path, files, **options) -> dict[str, Any]:
    material, layer = skin()
    write(folder, toy_model(), files, **({"material": material, "layer": layer} | options))
    return json.loads((folder / "summary.json").read_text())


def test_maps_come_back_to_8_bits(tmp_path):
    material, layer = skin()
    paths = save_material(tmp_path, material, layer)
    assert tuple(path.name for path in paths) == MAP_FILES and all(is_face_file(name) for name in MAP_FILES)
    again, photo = facejax.load_material(tmp_path)
    assert photo is not None
    for name in ("albedo", "roughness", "specular", "trust"):
        np.testing.assert_array_equal(levels(getattr(again, name)), levels(getattr(material, name)))
    np.testing.assert_array_equal(levels(photo.color), levels(layer.color))  # also where it is not shown
    np.testing.assert_array_equal(levels(photo.shown), levels(layer.shown))
    np.testing.assert_allclose(np.linalg.norm(again.normal, axis=-1), 1, atol=1e-6)
    np.testing.assert_allclose(again.normal, material.normal, atol=1.5 / 127.5)
    green = np.asarray(Image.open(tmp_path / "normal.png"))[..., 1]
    np.testing.assert_array_equal(green > 128, levels(0.5 + 0.5 * np.asarray(material.normal)[..., 1]) > 128)
    save_material(tmp_path / "bare", material)
    assert facejax.load_material(tmp_path / "bare")[1] is None


def test_wrong_maps_are_refused_by_name(tmp_path):
    material, layer = skin()
    with pytest.raises(ValueError, match="map roughness has"):
        save_material(tmp_path / "a", dataclasses.replace(material, roughness=np.zeros((8, 8))))
    with pytest.raises(ValueError, match="map trust is not finite"):
        save_material(tmp_path / "a", dataclasses.replace(material, trust=np.full((SIDE, SIDE), np.nan)))
    assert not (tmp_path / "a").exists()
    save_material(tmp_path, material, layer)
    (tmp_path / "specular.png").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"specular\.png: cannot be read"):
        facejax.load_material(tmp_path)
    shutil.copy(tmp_path / "albedo.png", tmp_path / "specular.png")
    with pytest.raises(ValueError, match=r"specular\.png: a picture of mode RGB, not L"):
        facejax.load_material(tmp_path)
    (tmp_path / "specular.png").unlink()
    with pytest.raises(ValueError, match=r"specular\.png: no such map"):
        facejax.load_material(tmp_path)


def test_the_folder_of_a_face_with_maps(tmp_path):
    """The mesh names the maps, the albedo is the material's, and the summary has the figures of both layers."""
    summary = written(tmp_path, FILES)
    names = {"mesh.obj", "mesh.mtl", "face.glb", "neutral.obj", "overlay.png", "params.npz", "summary.json"}
    assert {path.name for path in tmp_path.iterdir()} == names | set(MAP_FILES)
    lines = [line.split() for line in (tmp_path / "mesh.mtl").read_text().splitlines()]
    pairs = {line[0]: line[-1] for line in lines}
    assert len(pairs) == len(lines)
    assert pairs["map_Kd"] == "albedo.png" and pairs["map_Pr"] == "roughness.png" and pairs["Pm"] == "0"
    assert pairs["norm"] == pairs["map_Bump"] == "normal.png"
    assert all((tmp_path / name).exists() for key, name in pairs.items() if key.startswith("map_"))
    assert float(pairs["Pr"]) == pytest.approx(0.5, abs=1e-3) and float(pairs["Ks"]) == pytest.approx(0.325, abs=1e-3)
    mesh: Any = trimesh.load_mesh(tmp_path / "mesh.obj", process=False)
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.image)[..., :3], levels(skin()[0].albedo))
    with Image.open(tmp_path / "overlay.png") as panels:
        assert panels.width == 5 * 512 + 4 * 4
    assert summary["maps"]["size"] == SIDE and 0.2 < summary["maps"]["trusted"] < 0.9
    assert summary["psnr_photo"] != summary["psnr_material"] and 5 < summary["psnr_material"] < 60
    assert summary["psnr_face"] == 20.0
    assert load_face(tmp_path, model=toy_model()).params.identity.shape == (6,)


def test_without_maps_nothing_changes(tmp_path):
    write(tmp_path, toy_model(), FILES)
    assert not {path.name for path in tmp_path.iterdir()} & set(MAP_FILES) - {"albedo.png"}
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert not {"psnr_material", "psnr_photo", "maps"} & summary.keys()
    matte = "newmtl face\nKa 1 1 1\nKd 1 1 1\nKs 0 0 0\nNs 1\nd 1\nillum 1\nmap_Kd albedo.png\n"
    assert (tmp_path / "mesh.mtl").read_text() == matte
    scene, _ = parts(tmp_path / "face.glb")
    assert scene["materials"] == [
        {
            "name": "face",
            "pbrMetallicRoughness": {
                "metallicFactor": 0.0,
                "roughnessFactor": 0.65,
                "baseColorTexture": {"index": 0},
            },
        }
    ]
    with Image.open(tmp_path / "overlay.png") as panels:
        assert panels.width == 4 * 512 + 3 * 4


def test_a_mesh_without_the_files_of_the_maps_does_not_name_them(tmp_path):
    written(tmp_path, ("mesh", "ply"))
    names = {"mesh.obj", "mesh.mtl", "albedo.png", "mesh.ply", "summary.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert "normal.png" not in (tmp_path / "mesh.mtl").read_text()
    model, material = toy_model(), skin()[0]
    mesh: Any = trimesh.load_mesh(tmp_path / "mesh.ply", process=False)
    centres = (np.arange(SIDE) + 0.5) / SIDE
    look = RegularGridInterpolator((centres, centres), np.asarray(material.albedo))
    u, v = np.asarray(model.uv, np.float64).T
    wanted = look(np.clip(np.stack([1 - v, u], axis=1), centres[0], centres[-1]))
    np.testing.assert_allclose(mesh.visual.vertex_colors[:, :3] / 255, wanted, atol=0.51 / 255)


def picture(path: Path, number: int) -> np.ndarray:
    """The picture of a texture inside of a binary glTF."""
    scene, _ = parts(path)
    content = path.read_bytes()
    size = int.from_bytes(content[12:16], "little")
    view = scene["bufferViews"][scene["images"][scene["textures"][number]["source"]]["bufferView"]]
    begin = 28 + size + view["byteOffset"]
    return np.asarray(Image.open(io.BytesIO(content[begin : begin + view["byteLength"]])))


def test_the_glb_has_the_material(tmp_path):
    written(tmp_path, ("glb",))
    path, material = tmp_path / "face.glb", skin()[0]
    scene, _ = parts(path)
    (entry,) = scene["materials"]
    shading = entry["pbrMetallicRoughness"]
    assert shading["metallicFactor"] == 0 and shading["roughnessFactor"] == 1
    assert scene["extensionsUsed"] == list(entry["extensions"]) == ["KHR_materials_specular"]
    specular = entry["extensions"]["KHR_materials_specular"]["specularTexture"]["index"]
    np.testing.assert_array_equal(picture(path, shading["baseColorTexture"]["index"]), levels(material.albedo))
    rough = picture(path, shading["metallicRoughnessTexture"]["index"])
    np.testing.assert_array_equal(rough[..., 1], levels(material.roughness))
    assert not rough[..., 2].any()
    np.testing.assert_array_equal(picture(path, specular)[..., 3], levels(material.specular))
    normal = picture(path, entry["normalTexture"]["index"])
    attributes = scene["meshes"][0]["primitives"][0]["attributes"]
    assert "TANGENT" in attributes
    np.testing.assert_array_equal(normal, np.rint((np.asarray(material.normal) * 0.5 + 0.5) * 255))
    loaded: Any = trimesh.load(path, process=False)
    seen = loaded.geometry["face"].visual.material  # another library
    np.testing.assert_array_equal(np.asarray(seen.normalTexture), normal)
    np.testing.assert_array_equal(np.asarray(seen.metallicRoughnessTexture), rough)


@pytest.mark.parametrize("mirrored", [False, True])
def test_tangents_point_along_u_and_bitangents_along_v(mirrored):
    """On an ellipsoid whose chart is known: against derivatives of the surface, by differences."""
    radii, step = np.array([70.0, 100.0, 90.0]), 1e-4

    def surface(u, v):
        across, up = (-1 if mirrored else 1) * (u - 0.5) * 4, (v - 0.5) * 2
        return radii * np.stack([np.cos(up) * np.sin(across), np.sin(up), np.cos(up) * np.cos(across)], -1)

    grid = np.stack(np.meshgrid(np.linspace(0, 1, 60), np.linspace(0, 1, 60)), -1).reshape(-1, 2)
    start = np.arange(3599).reshape(-1)[np.arange(3599) % 60 < 59][: 59 * 59]
    faces = np.concatenate([start[:, None] + [0, 1, 61], start[:, None] + [0, 61, 60]])
    along_u = (surface(grid[:, 0] + step, grid[:, 1]) - surface(grid[:, 0] - step, grid[:, 1])) / (2 * step)
    along_v = (surface(grid[:, 0], grid[:, 1] + step) - surface(grid[:, 0], grid[:, 1] - step)) / (2 * step)
    points = surface(*grid.T)
    normals = points / radii**2
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    found = tangents(points, normals, grid, faces)
    wanted = along_u / np.linalg.norm(along_u, axis=1, keepdims=True)
    assert (np.sum(found[:, :3] * wanted, axis=1) > 0.99).all()
    assert (np.sum(np.cross(normals, found[:, :3]) * found[:, 3:] * along_v, axis=1) > 0).all()
    assert (found[:, 3] == (-1 if mirrored else 1)).all()


def test_the_photo_look_is_unlit_and_shows_the_photo_over_the_albedo(tmp_path):
    written(tmp_path, ("glb",), look="photo")
    material, layer = skin()
    scene, _ = parts(tmp_path / "face.glb")
    assert len(scene["images"]) == 1 and scene["materials"][0]["extensions"] == {"KHR_materials_unlit": {}}
    base, shown = picture(tmp_path / "face.glb", 0), np.asarray(layer.shown)
    np.testing.assert_array_equal(base[shown == 1], levels(layer.color)[shown == 1])
    np.testing.assert_array_equal(base[shown == 0], levels(material.albedo)[shown == 0])
    assert (shown == 1).sum() > 100 and (shown == 0).sum() > 100
    half = base_color(material, PhotoLayer(skin(64)[1].color, skin(64)[1].shown), "photo")
    assert half.shape == (64, 64, 3) and np.abs(half[::2, ::2] - base / 255).mean() < 0.03
    np.testing.assert_array_equal(base_color(material, None, "photo"), np.asarray(material.albedo, np.float32))


def test_the_validator_finds_nothing(tmp_path):
    """As in test_glb.py."""
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('gltf-validator')"], capture_output=True).returncode:
        pytest.skip("the Khronos validator is not installed: npm install gltf-validator, and set NODE_PATH")
    for look in ("material", "photo"):
        written(tmp_path / look, ("glb",), look=look)
        done = subprocess.run([node, "-e", VALIDATE, str(tmp_path / look / "face.glb")], capture_output=True, text=True)
        issues = json.loads(done.stdout)
        assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]


def test_the_figures_are_those_of_the_pictures(tmp_path):
    """A photograph that is the render of the maps, and one that is the unwrapped photograph without light."""
    model, face = toy_model(), fitted(toy_model())
    material, layer = skin()
    plain = np.broadcast_to(np.array([0.0, 0.0, 1.0]), material.normal.shape)
    material = dataclasses.replace(material, normal=plain, specular=0 * material.specular)
    whole = dataclasses.replace(layer, shown=np.ones((SIDE, SIDE)))
    textures = {"psnr_material": (material.albedo, face.params.light), "psnr_photo": (layer.color, uniform_light(1.0))}
    draw = jax.jit(lambda params, texture: render(model, params, size=(64, 64), texture=texture, edges=False).color)
    found = {}
    for name, (texture, light) in textures.items():
        lit = dataclasses.replace(face.params, light=light)
        photo = np.asarray(draw(lit, jnp.asarray(texture, jnp.float32)))
        write(tmp_path / name, model, (), material=material, layer=whole, photo=photo)
        found[name] = json.loads((tmp_path / name / "summary.json").read_text())
    np.testing.assert_allclose(found["psnr_material"]["maps"]["light"][0], np.asarray(face.params.light)[0], rtol=0.1)
    assert found["psnr_material"]["psnr_material"] > found["psnr_photo"]["psnr_material"] + 3
    assert found["psnr_photo"]["psnr_photo"] > found["psnr_material"]["psnr_photo"] + 5
    for name in textures:
        assert found[name][name] > 30
    write(tmp_path / "bare", model, (), material=material)
    summary = json.loads((tmp_path / "bare/summary.json").read_text())
    assert "psnr_photo" not in summary and summary["maps"]["size"] == SIDE


def test_trust_is_weighed_by_area():
    """By counting random points of the face's surface."""
    model, material = toy_model(), skin(64)[0]
    assert trusted_share(model, np.full((8, 8), 0.25)) == pytest.approx(0.25)
    mesh = trimesh.Trimesh(np.asarray(model.mean), np.asarray(model.faces), process=False)
    points, triangle, *_ = trimesh.sample.sample_surface(mesh, 40_000, seed=0)
    weights = trimesh.triangles.points_to_barycentric(mesh.triangles[triangle], points)
    inside = (np.asarray(model.regions["face"])[np.asarray(model.faces)[triangle]] * weights).sum(1)
    uv = (np.asarray(model.uv)[np.asarray(model.topology.uv_faces)[triangle]] * weights[..., None]).sum(1)
    column, row = np.clip((np.stack([uv[:, 0], 1 - uv[:, 1]]) * 64).astype(int), 0, 63)
    wanted = (np.asarray(material.trust)[row, column] * inside).sum() / inside.sum()
    assert trusted_share(model, material.trust) == pytest.approx(wanted, abs=0.02) and 0.3 < wanted < 0.8


def test_the_panels_name_what_they_show():
    model, face = toy_model(), fitted(toy_model())
    material, layer = skin()
    appearance, photo = own_appearance(model), np.full((64, 64, 3), 0.5, np.float32)
    own = np.asarray(decode_albedo(model, face.params))
    observed = np.asarray(face.landmarks)
    drawn = fit_pictures(model, face.params, appearance, photo, observed, None, None, material, layer)
    captions = ["photo", "maps, lit", "geometry", "albedo", "photo unwrapped"]
    assert list(drawn) == captions
    np.testing.assert_array_equal(drawn["albedo"], material.albedo)
    np.testing.assert_array_equal(drawn["photo unwrapped"], layer.color)
    plain = fit_pictures(model, face.params, appearance, photo, observed, own)
    assert list(plain) == ["photo", "fit over the photo", "geometry", "albedo"]
    mixed = np.abs(plain["fit over the photo"] - drawn["maps, lit"])
    assert mixed[256, 256].max() > 0.01 and mixed[0].max() == 0
    np.testing.assert_allclose(drawn["geometry"], plain["geometry"], atol=2e-3)


def test_a_result_hands_its_maps_on(tmp_path, monkeypatch):
    model, face = toy_model(), fitted(toy_model())
    faces = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], face)
    lists: dict[str, Any] = {"photo": [0], "failures": [], "failed": [], "focal_from": ["estimated"]}
    photos, observed = [np.full((64, 64, 3), 0.5, np.float32)], [np.asarray(face.landmarks)]
    ingredients = Ingredients(appearances={"linear": own_appearance(model)})
    recipe = dataclasses.replace(LANDMARKS, maps=True)
    result = FitResult(model, recipe, photos, observed, faces, {}, ingredients, **lists)
    assert result.material(0) is None
    asked = []
    monkeypatch.setattr(FitResult, "material", lambda self, index, keep: asked.append((index, keep)) or skin())
    result.save_one(0, tmp_path / "a", image="a.jpg", files=("params", "neutral"))
    assert not asked
    keep = Keep(paint=True)
    result.save_one(0, tmp_path / "b", image="a.jpg", files=("maps", "glb"), look="photo", keep=keep)
    assert asked == [(0, keep)] and (tmp_path / "b/photo.png").exists()
    assert parts(tmp_path / "b/face.glb")[0]["extensionsUsed"] == ["KHR_materials_unlit"]


def test_a_face_with_maps_is_relit_if_asked(tmp_path):
    written(tmp_path / "face", ("overlay", "relight"))
    names = {"overlay.png", "relight.png", "summary.json"}
    assert {path.name for path in (tmp_path / "face").iterdir()} == names and all(is_face_file(name) for name in names)
    with Image.open(tmp_path / "face/relight.png") as strip:
        assert strip.width == 5 * round(0.8 * strip.height)
        assert np.asarray(strip, float).std(axis=(0, 1)).min() > 10
        shape = strip.size
    write(tmp_path / "bare", toy_model(), ("relight",))
    assert [path.name for path in (tmp_path / "bare").iterdir()] == ["summary.json"]
    # The report has it below the overlay.
    read = lambda name: (tmp_path / name).read_bytes()  # noqa: E731
    heights = []
    for _ in range(2):
        with Image.open(io.BytesIO(base64.b64decode(_panels(read, "face", 600).split(",")[1]))) as picture:
            heights.append(picture.height)
        (tmp_path / "face/relight.png").unlink(missing_ok=True)
    assert heights[0] - heights[1] == round(600 * shape[1] / shape[0])
    (tmp_path / "face/overlay.png").unlink()
    assert _panels(read, "face", 600) == ""


@pytest.mark.parametrize(
    "given", [{"paint": True}, {"everything": True}, {"look": "photo"}, {"files": ("mesh", "relight")}]
)
def test_options_of_maps_need_a_recipe_that_makes_them(tmp_path, given):
    job = FitJob(FitOptions(out=tmp_path / "out", recipe="linear", **given))
    with pytest.raises(ValueError, match=r"^--(paint|everything|look|files relight) is about .*'linear' makes none"):
        job.load(1)
    assert not (tmp_path / "out").exists()


def test_unwrapping_keeps_paint_in_maps_only(tmp_path):
    job = TextureJob(TextureOptions(out=tmp_path / "out", size=256, paint=True))
    with pytest.raises(ValueError, match="--paint is about the maps of a skin"):
        job.load(1)


def test_pictures_without_colours_are_noticed():
    rng = np.random.default_rng(5)
    skin_color = np.clip(rng.normal([0.7, 0.5, 0.4], [0.1, 0.1, 0.1], (64, 64, 3)), 0.1, 0.95)
    grey = np.round(255 * skin_color[..., 1:2] * np.ones(3)) / 255
    sepia = np.round(255 * np.clip(skin_color[..., 1:2] ** [0.8, 1.0, 1.25], 0, 1)) / 255
    shown = np.ones((64, 64))
    assert not is_grey(PhotoLayer(skin_color, shown))  # type: ignore[arg-type]
    assert is_grey(PhotoLayer(grey, shown)) and is_grey(PhotoLayer(sepia, shown))  # type: ignore[arg-type]
    assert not is_grey(PhotoLayer(grey, 0 * shown))  # type: ignore[arg-type]

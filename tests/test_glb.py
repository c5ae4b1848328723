"""glTF files: read back by another library, and by the Khronos validator where that is installed."""

import dataclasses
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree
from toy import toy_model
from trimesh.visual.color import uv_to_color

from facejax.camera import PerspectiveCamera
from facejax.export import write_glb, write_obj
from facejax.export.fitted import write_face_glb
from facejax.face_model import decode, neutral_params, neutral_vertices
from facejax.face_model.load import load_face_model
from facejax.mesh import vertex_normals

VALIDATE = """
const {validateBytes} = require("gltf-validator");
const bytes = new Uint8Array(require("fs").readFileSync(process.argv[1]));
validateBytes(bytes).then(report => console.log(JSON.stringify(report.issues)));
"""


def quadrants(side: int = 64) -> np.ndarray:
    """A texture whose quarters are red (upper left), green, blue and white."""
    image = np.zeros((side, side, 3), np.float32)
    half = side // 2
    image[:half, :half, 0] = image[:half, half:, 1] = image[half:, :half, 2] = 1.0
    image[half:, half:] = 1.0
    return image


CORNERS = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], float)  # as uv: lower left, lower right, upper right, upper left
COLOURS = np.array([[0, 0, 255], [255, 255, 255], [0, 255, 0], [255, 0, 0]])
FACES = np.array([[0, 1, 2], [0, 2, 3]])


def square(path, writer):
    """Written with the textured side to +z, uv up as y is; read by trimesh."""
    points = np.concatenate([CORNERS * 100, np.zeros((4, 1))], axis=1)
    writer(path, points, FACES, uv=0.1 + 0.8 * CORNERS, texture=quadrants())
    mesh: Any = trimesh.load_mesh(path, process=False)
    return mesh


@pytest.mark.parametrize(("name", "writer", "unit"), [("a.glb", write_glb, 1e-3), ("a.obj", write_obj, 1.0)])
def test_colours_are_where_they_belong(tmp_path, name, writer, unit):
    mesh = square(tmp_path / name, writer)
    material = mesh.visual.material
    image = material.baseColorTexture if name.endswith("glb") else material.image
    colours = uv_to_color(mesh.visual.uv, image)[:, :3]
    order = [int(np.argmin(np.linalg.norm(CORNERS * 100 * unit - point, axis=1))) for point in mesh.vertices[:, :2]]
    np.testing.assert_array_equal(colours, COLOURS[order])
    assert sorted(set(order)) == [0, 1, 2, 3]


@pytest.fixture(scope="module")
def face(tmp_path_factory):
    model = toy_model()
    rng = np.random.default_rng(0)
    params = neutral_params(model, PerspectiveCamera(jnp.asarray(300.0), jnp.zeros(2)))
    identity = jnp.asarray(rng.normal(size=params.identity.shape), jnp.float32)
    expression = jnp.asarray(rng.uniform(0, 1, params.expression.shape), jnp.float32)
    params = dataclasses.replace(params, identity=identity, expression=expression)
    path = tmp_path_factory.mktemp("glb") / "face.glb"
    write_face_glb(path, model, params, texture=quadrants(), posed=True)
    return model, params, path


def parts(path):
    """The scene, and a function that reads an accessor."""
    content = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", content)
    assert magic == b"glTF" and version == 2 and length == len(content)
    size = struct.unpack_from("<I", content, 12)[0]
    scene, binary = json.loads(content[20 : 20 + size]), content[20 + size + 8 :]

    def view(number, kind, columns):
        one = scene["bufferViews"][number]
        rows = np.frombuffer(binary, kind, one["byteLength"] // 4, one["byteOffset"])
        return rows.reshape(-1, columns)

    def read(number):
        accessor = scene["accessors"][number]
        columns = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor["type"]]
        kind = {5126: "<f4", 5125: "<u4"}[accessor["componentType"]]
        if "bufferView" in accessor:
            return view(accessor["bufferView"], kind, columns)
        values: Any = np.zeros((accessor["count"], columns), kind)
        if sparse := accessor.get("sparse"):
            rows = view(sparse["indices"]["bufferView"], "<u4", 1)[:, 0]
            values[rows] = view(sparse["values"]["bufferView"], kind, columns)
        return values

    return scene, read


def test_morph_targets_make_the_fitted_face(face):
    model, params, path = face
    scene, read = parts(path)
    (mesh,), (primitive,) = scene["meshes"], scene["meshes"][0]["primitives"]
    assert mesh["extras"]["targetNames"] == list(model.expression_names)
    np.testing.assert_allclose(mesh["weights"], params.expression, atol=1e-6)
    base = read(primitive["attributes"]["POSITION"])
    moved = base + sum(
        w * read(target["POSITION"]) for w, target in zip(mesh["weights"], primitive["targets"], strict=True)
    )
    seen = {tuple(point) for point in np.round(1e3 * moved, 1).tolist()}
    wanted = {tuple(point) for point in np.round(np.asarray(decode(model, params)), 1).tolist()}
    far = [min(np.abs(np.array(point) - np.array(list(wanted))).max(axis=1)) for point in seen]
    assert max(far) < 0.11 and len(base) >= len(model.mean)
    assert {tuple(p) for p in np.round(1e3 * base, 1).tolist()} == {
        tuple(p) for p in np.round(np.asarray(neutral_vertices(model, params), np.float32), 1).tolist()
    }
    normals = read(primitive["attributes"]["NORMAL"])
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    centre = base.mean(axis=0)
    assert np.mean(np.sum(normals * (base - centre), axis=1) > 0) > 0.95  # outwards
    (node,) = scene["nodes"]
    np.testing.assert_allclose(node["translation"], np.asarray(params.pose.translation) / 1000, atol=1e-6)
    np.testing.assert_allclose(node["rotation"], [0, 0, 0, 1], atol=1e-6)


def test_morph_targets_turn_the_normals_along(face):
    """Summed as viewers do, they are near those of the face with its expression; the neutral ones are not."""
    model, params, path = face
    scene, read = parts(path)
    (primitive,) = scene["meshes"][0]["primitives"]
    rest, weights = read(primitive["attributes"]["NORMAL"]), scene["meshes"][0]["weights"]
    moved = rest + sum(w * read(t["NORMAL"]) for w, t in zip(weights, primitive["targets"], strict=True))
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    base = read(primitive["attributes"]["POSITION"])
    _, vertex = KDTree(np.asarray(neutral_vertices(model, params)) / 1000).query(base)
    wanted = np.asarray(vertex_normals(decode(model, params), model.faces))[vertex]

    def degrees(normals):
        return np.degrees(np.arccos(np.clip(np.sum(normals * wanted, axis=1), -1, 1)))

    bent = degrees(rest) > 1
    assert bent.sum() > 20 and degrees(moved)[bent].mean() < 0.3 * degrees(rest)[bent].mean()
    assert degrees(moved).max() < 15


def test_a_statistical_model_has_no_normals_of_targets(face, tmp_path):
    """They would be those of one standard deviation, which faces exceed on both sides."""
    model, params, _ = face
    write_face_glb(tmp_path / "a.glb", dataclasses.replace(model, blendshapes=False), params, texture=None)
    scene, _ = parts(tmp_path / "a.glb")
    assert [set(target) for target in scene["meshes"][0]["primitives"][0]["targets"]] == [{"POSITION"}] * 3


ARKIT = """
browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft cheekSquintRight
eyeBlinkLeft eyeBlinkRight eyeLookDownLeft eyeLookDownRight eyeLookInLeft eyeLookInRight eyeLookOutLeft eyeLookOutRight
eyeLookUpLeft eyeLookUpRight eyeSquintLeft eyeSquintRight eyeWideLeft eyeWideRight jawForward jawLeft jawOpen jawRight
mouthClose mouthDimpleLeft mouthDimpleRight mouthFrownLeft mouthFrownRight mouthFunnel mouthLeft mouthLowerDownLeft
mouthLowerDownRight mouthPressLeft mouthPressRight mouthPucker mouthRight mouthRollLower mouthRollUpper mouthShrugLower
mouthShrugUpper mouthSmileLeft mouthSmileRight mouthStretchLeft mouthStretchRight mouthUpperUpLeft mouthUpperUpRight
noseSneerLeft noseSneerRight tongueOut
"""  # developer.apple.com/documentation/arkit/arfaceanchor/blendshapelocation


def test_the_default_heads_expressions_are_arkits_but_for_those_that_docs_viewer_names():
    names, arkit = set(load_face_model().expression_names), set(ARKIT.split())
    assert len(arkit) == 52 and arkit - names == {"browInnerUp", "cheekPuff", "tongueOut"}
    halves = {f"{name}{side}" for name in ("browInnerUp", "cheekPuff") for side in ("Left", "Right")}
    assert names - arkit == halves
    page = (Path(__file__).parents[1] / "docs" / "viewer.md").read_text()
    assert all(f"`{name}`" in page for name in ("browInnerUp", "cheekPuff", "tongueOut"))


def test_another_library_reads_it(face):
    model, params, path = face
    scene: Any = trimesh.load(path, process=False)
    mesh = scene.geometry["face"]
    assert len(mesh.faces) == len(model.faces) and mesh.visual.material.baseColorTexture.size == (64, 64)
    np.testing.assert_allclose(
        np.ptp(mesh.vertices, axis=0), np.ptp(np.asarray(neutral_vertices(model, params)), axis=0) / 1000, rtol=1e-4
    )


def test_the_validator_finds_nothing(face, tmp_path):
    """`npm install gltf-validator` in a folder, and NODE_PATH names its node_modules."""
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('gltf-validator')"], capture_output=True).returncode:
        pytest.skip("the Khronos validator is not installed: npm install gltf-validator, and set NODE_PATH")
    square(tmp_path / "a.glb", write_glb)
    still = {"still": np.zeros((3, 3))}
    write_glb(tmp_path / "bare.glb", np.eye(3), np.array([[0, 1, 2]]), targets=still)
    write_glb(tmp_path / "turns.glb", np.eye(3), np.array([[0, 1, 2]]), normals=np.eye(3), targets=still, turns=still)
    head = load_face_model()
    params = neutral_params(head, PerspectiveCamera(jnp.asarray(300.0), jnp.zeros(2)))
    write_face_glb(tmp_path / "head.glb", head, params, texture=quadrants())
    for path in (face[2], *sorted(tmp_path.glob("*.glb"))):
        done = subprocess.run([node, "-e", VALIDATE, str(path)], capture_output=True, text=True)
        issues = json.loads(done.stdout)
        assert issues["numErrors"] == issues["numWarnings"] == 0, issues["messages"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vertices": np.full((3, 3), np.nan)}, "vertices are not finite"),
        ({"faces": np.array([[0, 1, 3]])}, r"faces point outside 0\.\.2"),
        ({"targets": {"smile": np.zeros((2, 3))}}, "target smile has shape"),
        ({"targets": {"smile": np.zeros((3, 3))}, "weights": np.zeros(2)}, "2.* weights for 1 targets"),
        ({"texture": quadrants()}, "a texture needs uv"),
        ({"uv": np.zeros((5, 2))}, "pass uv_faces"),
        ({"targets": {"smile": np.zeros((3, 3))}, "turns": {"smile": np.zeros((3, 3))}}, "turns without normals"),
        ({"normals": np.eye(3), "turns": {"smile": np.zeros((3, 3))}}, "not of the same names as targets"),
    ],
)
def test_what_would_not_load_is_refused(tmp_path, changes, message):
    arguments = {"vertices": np.eye(3), "faces": np.array([[0, 1, 2]])} | changes
    with pytest.raises(ValueError, match=message):
        write_glb(tmp_path / "x.glb", **arguments)
    assert not list(tmp_path.iterdir())

"""ICT-FaceKit: the published folder and the project's .npz of it, on the real data where it is there."""

import json
import tarfile

import jax.numpy as jnp
import loader_files as files
import numpy as np
import pytest
from test_loaders import params_of

from facejax.face_model import decode, landmarks
from facejax.face_model.formats._common import Options
from facejax.face_model.formats.ict import load_ict_folder
from facejax.face_model.load import load_face_model

EXPRESSIONS = ["browDown_L", "jawOpen"]


def write_folder(folder, *, identities=3):
    """An icosahedron with one quad in the .obj dialect of the published files."""
    rng = np.random.default_rng(0)
    mean, triangles = files.icosahedron(10.0)  # centimetres
    folder.mkdir(parents=True)
    names = [f"identity{k:03d}" for k in range(identities)] + EXPRESSIONS
    meshes = {"generic_neutral_mesh": mean} | {name: mean + rng.normal(size=mean.shape) for name in names}
    polygons = [list(face) for face in triangles]
    first, second = next((f, g) for f in range(20) for g in range(f) if len(set(triangles[f]) & set(triangles[g])) == 2)
    quad = join(triangles[first], triangles[second])
    polygons = [quad] + [face for k, face in enumerate(polygons) if k not in (first, second)]
    for name, vertices in meshes.items():
        lines = ["# a comment", "mtllib some.mtl", *(f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices)]
        lines += [f"vt {0.1 * k:.6f} {1 + 0.01 * k:.6f}" for k in range(14)]
        for k, polygon in enumerate(polygons):
            lines += {0: ["usemtl M_Face"], 6: ["usemtl M_BackHead"]}.get(k, [])
            lines.append("f " + " ".join(f"{v + 1}/{(v + k) % 14 + 1}" for v in polygon))
        (folder / f"{name}.obj").write_text("\r\n".join(lines) + "\n")
    table = {"expressions": EXPRESSIONS, "idx_to_landmark_verts": rng.integers(0, 12, 68).tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(table))
    return meshes, triangles, table


def join(a, b):
    """The quad of two triangles, starting at the end of the edge they share, so that it is split along that edge."""
    shared = [v for v in a if v in b]
    start = next(k for k in range(3) if a[k] in shared and a[(k + 2) % 3] in shared)
    other = next(v for v in b if v not in shared)
    return [a[start], a[(start + 1) % 3], a[(start + 2) % 3], other]


def test_a_folder_is_the_meshes_minus_the_neutral_one(tmp_path):
    meshes, triangles, table = write_folder(tmp_path / "FaceXModel")
    model = load_face_model(tmp_path)  # the folder above is recognised too
    neutral = meshes["generic_neutral_mesh"]
    identity, expression = np.array([0.5, -1.0, 2.0]), np.array([0.25, 1.0])
    want = neutral + sum(c * (meshes[f"identity{k:03d}"] - neutral) for k, c in enumerate(identity))
    want = want + sum(c * (meshes[name] - neutral) for c, name in zip(expression, EXPRESSIONS, strict=True))
    np.testing.assert_allclose(decode(model, params_of(model, identity, expression)), 10 * want, atol=1e-3)
    assert model.expression_names == ("browDown_L", "jawOpen") and model.blendshapes
    assert len(model.faces) == 20 and np.ptp(np.asarray(model.topology.uv_faces)) == 13
    assert {frozenset(f) for f in np.asarray(model.faces).tolist()} == {frozenset(f) for f in triangles.tolist()}
    np.testing.assert_allclose(landmarks(model, model.mean), 10 * neutral[table["idx_to_landmark_verts"]], atol=1e-4)
    assert model.part_names == ("Face", "BackHead")
    np.testing.assert_array_equal(model.topology.face_part, np.arange(20) >= 7)
    np.testing.assert_allclose(np.asarray(model.uv)[3], [0.3, 1.03], atol=1e-6)
    fewer = load_face_model(tmp_path / "FaceXModel", identity=2, expression=1)
    assert fewer.identity_names == ("identity000", "identity001") and fewer.expression_names == ("browDown_L",)


def test_missing_meshes_are_named_unless_they_may_be_skipped(tmp_path):
    write_folder(tmp_path / "model")
    folder = tmp_path / "model"
    (folder / "jawOpen.obj").unlink()
    (folder / "identity001.obj").unlink()
    with pytest.raises(FileNotFoundError, match=r"identity001, jawOpen missing \(.obj\); copy them from ICT-FaceKit"):
        load_face_model(folder)
    model = load_ict_folder(folder, Options(), skip_missing=True)
    assert model.identity_names == ("identity000", "identity002") and model.expression_names == ("browDown_L",)
    assert load_face_model(folder, identity=1, expression=1).expression_names == ("browDown_L",)
    (folder / "vertex_indices.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"vertex_indices\.json: no such file; copy it"):
        load_face_model(folder)


@pytest.mark.parametrize("name", ["generic_neutral_mesh.obj", "identity001.obj", "jawOpen.obj", "vertex_indices.json"])
@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5])
def test_truncated_meshes_are_named(name, keep, tmp_path):
    write_folder(tmp_path / "model")
    file = tmp_path / "model" / name
    raw = file.read_text()
    file.write_text(raw[: int(len(raw) * keep * (1 if name.startswith("gen") else 0.5))])
    with pytest.raises(ValueError, match=name.replace(".", r"\.")) as error:
        load_face_model(tmp_path / "model")
    assert "\n" not in str(error.value) and "again" in str(error.value)


@pytest.fixture(scope="module")
def real(shared, tmp_path_factory):
    """The real model from the .npz, and the published sample of .obj files (3 identities, 2 listed expressions)."""
    folder = tmp_path_factory.mktemp("ict")
    with tarfile.open(shared / "ict" / "raw_sample" / "ict_facexmodel_sample.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    whole = load_face_model(shared / "ict" / "ict_facekit.npz")
    return whole, load_ict_folder(folder, Options(), skip_missing=True), folder


def test_the_real_folder_and_npz_agree(real):
    whole, sample, _ = real
    np.testing.assert_allclose(sample.mean, whole.mean, atol=2e-5)
    for key in ("faces", "uv_faces", "face_part", "mirror", "landmark_faces"):
        np.testing.assert_array_equal(getattr(sample.topology, key), getattr(whole.topology, key), err_msg=key)
    np.testing.assert_allclose(sample.uv, whole.uv, atol=1e-6)
    assert sample.part_names == whole.part_names and sample.identity_names[-1] == "identity099"
    assert sample.expression_names == ("eyeBlink_L", "jawOpen")
    for name in ("identity000", "identity099", "jawOpen"):
        theirs, mine = component(whole, name), component(sample, name)
        np.testing.assert_allclose(mine, theirs, atol=6e-3)  # the .npz keeps identities in half precision


def component(model, name):
    """What the named component does at coefficient 1, mm."""
    kind = "identity" if name.startswith("identity") else "expression"
    k = getattr(model, f"{kind}_names").index(name)
    return np.asarray(getattr(model, f"{kind}_basis")[k] * getattr(model, f"{kind}_std")[k])


def test_real_decode_equals_the_source_meshes(real):
    whole, _, folder = real
    lines = (folder / "FaceXModel" / "jawOpen.obj").read_text().splitlines()
    source = np.array([[float(x) for x in line.split()[1:4]] for line in lines if line.startswith("v ")])
    weights = np.zeros(53)
    weights[whole.expression_names.index("jawOpen")] = 1
    np.testing.assert_allclose(decode(whole, params_of(whole, [], weights)), 10 * source, atol=1e-3)


def test_real_landmarks_sit_at_known_places(real):
    whole = real[0]
    marks = np.asarray(landmarks(whole, whole.mean))
    left, right = marks[42:48], marks[36:42]  # the subject's left eye is at +x
    assert left[:, 0].min() > 10 and right[:, 0].max() < -10
    np.testing.assert_allclose(marks[30], [0, 4.1, 130.7], atol=3)  # nose tip
    np.testing.assert_allclose(marks[45] - marks[36], [89.2, 0, 0], atol=0.5)  # outer eye corners
    np.testing.assert_allclose(marks[54] - marks[48], [50.7, 0, 0], atol=0.5)  # mouth corners
    heights = [marks[k, 1] for k in (19, 37, 30, 33, 51, 57, 8)]  # brow, eye, nose, lips, chin: from top to bottom
    assert heights == sorted(heights, reverse=True)
    mirrored = [*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1), 45, 44, 43, 42, 47, 46]
    np.testing.assert_allclose(marks[mirrored] * [-1, 1, 1], marks[:42], atol=0.5)


def test_real_jaw_landmarks_follow_the_outline_of_a_turned_head(real):
    whole = real[0]
    fixed = np.asarray(landmarks(whole, whole.mean))
    yaw = np.radians(40.0)  # to the viewer's left: the right cheek is the far one
    turned = np.asarray(landmarks(whole, whole.mean, jnp.array([np.cos(yaw / 2), 0.0, -np.sin(yaw / 2), 0.0])))
    moved = turned - fixed
    np.testing.assert_array_equal(moved[17:], 0)
    picture = np.array([[np.cos(yaw), 0, -np.sin(yaw)], [0, 1, 0]])  # the viewer's x and y in the head's space
    outward = np.einsum("jc,dc,jd->j", moved[:17], picture, np.asarray(whole.contour_direction))
    assert outward.min() >= -1e-4 and outward[:4].min() > 5
    assert moved[1:4, 2].min() > 5 and moved[13:16, 2].max() < 0  # forward on the far cheek, back on the near one
    assert np.linalg.norm(moved[:17], axis=1).max() < 60


def test_real_jaw_candidates_lie_on_sections_of_the_cheek(real):
    whole = real[0]
    corners = np.asarray(whole.mean)[np.asarray(whole.faces)[np.asarray(whole.topology.contour_faces)]]
    points = np.einsum("jck,jckd->jcd", np.asarray(whole.contour_weights), corners)
    fixed = np.asarray(landmarks(whole, whole.mean))[:17]
    np.testing.assert_allclose(points[:, 0], fixed, atol=1e-3)
    direction = np.asarray(whole.contour_direction)
    np.testing.assert_allclose(np.linalg.norm(direction, axis=1), 1, atol=1e-5)
    assert direction[0, 0] < -0.95 and direction[16, 0] > 0.95 and direction[8, 1] < -0.95
    across = np.einsum("jcd,jd->jc", points[..., :2] - fixed[:, None, :2], direction[:, ::-1] * [-1, 1])
    assert np.abs(across).max() < 1  # mm off the plane that holds the landmark, its direction and z
    reach = np.linalg.norm(points - fixed[:, None], axis=2).max(axis=1)
    assert reach[[1, 2, 14, 15]].min() > 35 and 10 < reach[8] < 20
    np.testing.assert_allclose(reach, reach[::-1], atol=3)  # mm, the mesh is symmetric


def test_real_mirror_map_is_an_involution_onto_the_reflection(real):
    whole = real[0]
    mirror, mean = np.asarray(whole.topology.mirror), np.asarray(whole.mean)
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(mirror)))
    face = np.asarray(whole.regions["face"]) > 0
    assert face.sum() == 9409
    np.testing.assert_allclose(mean[mirror[face]] * [-1, 1, 1], mean[face], atol=0.3)


def test_real_triangles_of_the_face_point_outward(real):
    whole = real[0]
    faces = whole.faces[whole.topology.face_part == whole.part_names.index("Face")]
    a, b, c = (whole.mean[faces[:, k]] for k in range(3))
    normal = jnp.cross(b - a, c - a)
    assert (
        float(normal[:, 2].sum()) > 0 and float((jnp.sum(normal * a, axis=1) > 0).mean()) > 0.85
    )  # lids, nostrils and lips turn inward

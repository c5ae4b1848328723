"""Loaders of the field's face-model files, on small files of the true layouts, against plain float64 numpy."""

from dataclasses import replace

import jax.numpy as jnp
import loader_files as files
import numpy as np
import pytest

from facejax.camera import PerspectiveCamera
from facejax.face_model import MorphableModel, decode, decode_albedo, landmarks, neutral_params, own_albedo
from facejax.face_model.load import load_face_model

WRITERS = {
    "bfm2009": files.write_bfm2009,
    "deep3d": files.write_deep3d,
    "bfm2017": files.write_bfm2017,
    "flame": files.write_flame_pickle,
    "flame-npz": files.write_flame_npz,
    "hifi3dpp": files.write_hifi3dpp,
    "hifi3dpp-realy": files.write_hifi3dpp_realy,
    "gnm": files.write_gnm,
}
ALL = pytest.mark.parametrize("kind", WRITERS)


def params_of(model, identity, expression, albedo=()):
    camera = PerspectiveCamera(focal=jnp.array(1000.0), principal=jnp.zeros(2))
    given = {"identity": identity, "expression": expression}
    given = {key: jnp.asarray(x, jnp.float32) for key, x in given.items()}
    return replace(neutral_params(model, camera), **given, appearance={"albedo": jnp.asarray(albedo, jnp.float32)})


def random_coefficients(truth):
    rng = np.random.default_rng(0)
    return rng.normal(size=len(truth.identity)), rng.normal(size=len(truth.expression))


def vertices_of(truth, identity, expression):
    moved = np.tensordot(identity, truth.identity[: len(identity)], 1)
    moved = moved + np.tensordot(expression, truth.expression[: len(expression)], 1)
    return truth.unit * (truth.mean + moved)


def winding(faces):
    """Triangles up to rotation of their corners."""
    return {tuple(np.roll(face, -int(np.argmin(face)))) for face in np.asarray(faces)}


@ALL
def test_decoded_vertices_equal_the_files_formula_in_millimetres(kind, tmp_path):
    truth = WRITERS[kind](tmp_path)
    model = load_face_model(truth.path)
    assert model.name == kind.split("-")[0]
    identity, expression = random_coefficients(truth)
    got = decode(model, params_of(model, identity, expression))
    want = vertices_of(truth, identity, expression)
    assert np.ptp(want, axis=0).max() > 100  # millimetres: the head is 200 mm across before it is varied
    np.testing.assert_allclose(got, want, atol=3e-3)


@ALL
def test_triangles_are_0_based_and_counter_clockwise_seen_from_outside(kind, tmp_path):
    truth = WRITERS[kind](tmp_path)
    model = load_face_model(truth.path)
    assert winding(model.faces) == winding(truth.faces)
    mean = np.asarray(model.mean)
    a, b, c = (mean[np.asarray(model.faces)[:, k]] for k in range(3))
    outward = np.einsum("ij,ij->i", np.cross(b - a, c - a), (a + b + c) / 3 - mean.mean(axis=0))
    assert (outward > 0).all()


@ALL
def test_fewer_components_are_the_first_and_more_than_the_file_has_are_all(kind, tmp_path):
    truth = WRITERS[kind](tmp_path)
    model = load_face_model(truth.path, identity=2, expression=1, albedo=1)
    identity, expression = random_coefficients(truth)
    got = decode(model, params_of(model, identity[:2], expression[:1]))
    np.testing.assert_allclose(got, vertices_of(truth, identity[:2], expression[:1]), atol=2e-3)
    assert own_albedo(model).count == (1 if isinstance(model, MorphableModel) else 0)
    whole = load_face_model(truth.path, identity=10_000, expression=10_000, albedo=10_000)
    assert len(whole.identity_std) == len(whole.identity_names) == len(truth.identity)
    assert len(whole.expression_std) == len(truth.expression)
    with pytest.raises(ValueError, match="pass at most that many"):
        decode(whole, params_of(whole, np.zeros(len(truth.identity) + 1), []))
    assert len(load_face_model(truth.path, identity=0, expression=0).identity_std) == 0


@pytest.mark.parametrize("kind", ["bfm2009", "deep3d", "bfm2017", "hifi3dpp"])
def test_albedo_is_display_values_between_0_and_1(kind, tmp_path):
    truth = WRITERS[kind](tmp_path)
    model = load_face_model(truth.path)
    coefficients = np.random.default_rng(1).normal(size=len(truth.colour))
    got = decode_albedo(model, params_of(model, [], [], coefficients))
    np.testing.assert_allclose(got, truth.colour_mean + np.tensordot(coefficients, truth.colour, 1), atol=1e-5)


@pytest.mark.parametrize("kind", ["deep3d", "hifi3dpp"])
def test_keypoints_of_the_file_are_the_68_landmarks(kind, tmp_path):
    truth = WRITERS[kind](tmp_path)
    model = load_face_model(truth.path)
    np.testing.assert_allclose(landmarks(model, model.mean), 100 * truth.mean[truth.extra["keypoints"]], atol=1e-4)


def test_deep3d_regions_come_from_its_masks(tmp_path):
    model = load_face_model(files.write_deep3d(tmp_path).path)
    np.testing.assert_array_equal(np.flatnonzero(model.regions["front"]), [0, 2])
    np.testing.assert_array_equal(np.flatnonzero(model.regions["skin"]), [0, 1, 2, 3, 4])


def test_hifi3dpp_keeps_the_texture_layout_of_the_full_head(tmp_path):
    truth = files.write_hifi3dpp(tmp_path)
    model = load_face_model(truth.path)
    np.testing.assert_allclose(model.uv, truth.extra["uv"], atol=1e-6)
    np.testing.assert_array_equal(model.topology.uv_faces, truth.extra["uv_faces"])


def test_gnm_landmarks_uvs_parts_names_and_mirror(tmp_path):
    truth = files.write_gnm(tmp_path)
    model = load_face_model(truth.path)
    np.testing.assert_allclose(landmarks(model, model.mean), 1000 * truth.extra["landmarks"], atol=1e-3)
    np.testing.assert_array_equal(np.asarray(model.uv)[np.asarray(model.topology.uv_faces)], truth.extra["corner_uv"])
    assert model.part_names == ("left_eye", "skin") and model.expression_names[0] == "tongue_0"
    majority = (truth.faces >= 3).sum(axis=1) >= 2
    np.testing.assert_array_equal(model.topology.face_part, majority)
    np.testing.assert_array_equal(model.topology.mirror, np.arange(12)[::-1])
    assert set(model.regions) == {"face", "hockey_mask", "left_eye", "skin"}


def test_bfm2009_takes_expressions_beside_it_and_the_vertices_they_cover(tmp_path):
    truth = files.write_bfm2009(tmp_path)
    kept = np.array([0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 11])
    expression = files.add_guo_expressions(truth, kept)
    model = load_face_model(tmp_path)  # the folder
    coefficients = np.array([0.5, -1.0, 2.0])
    want = 1e-3 * (truth.mean[kept] + np.tensordot(coefficients, expression, 1))
    np.testing.assert_allclose(decode(model, params_of(model, [], coefficients)), want, atol=2e-3)
    whole = truth.faces[(truth.faces != 3).all(axis=1)]
    assert winding(model.faces) == winding(np.searchsorted(kept, whole))
    assert isinstance(model, MorphableModel) and model.albedo.mean.shape == (11, 3)
    assert load_face_model(truth.path, expression=0).mean.shape == (12, 3)
    (tmp_path / "BFM_exp_idx.mat").unlink()
    with pytest.raises(FileNotFoundError, match=r"BFM_exp_idx\.mat.*expression=0"):
        load_face_model(truth.path)


def test_an_expression_file_for_all_vertices_needs_no_selection(tmp_path):
    truth = files.write_bfm2009(tmp_path)
    expression = files.add_guo_expressions(truth, np.arange(12))
    (tmp_path / "BFM_exp_idx.mat").unlink()
    model = load_face_model(truth.path, expression=2)
    got = decode(model, params_of(model, [], [1.0, -1.0]))
    np.testing.assert_allclose(got, 1e-3 * (truth.mean + expression[0] - expression[1]), atol=2e-3)
    raw = (tmp_path / "Exp_Pca.bin").read_bytes()
    (tmp_path / "Exp_Pca.bin").write_bytes(raw[:-8])
    with pytest.raises(ValueError, match=r"Exp_Pca\.bin: not an expression basis, or truncated"):
        load_face_model(truth.path)


@pytest.mark.parametrize("kind", ["bfm2009", "flame"])  # clockwise and counter-clockwise in the file
def test_given_landmarks_follow_the_files_triangles_and_corners(kind, tmp_path):
    truth = WRITERS[kind](tmp_path)
    faces = truth.faces[:, [0, 2, 1]] if kind == "bfm2009" else truth.faces
    rng = np.random.default_rng(5)
    ids, weights = rng.integers(0, 20, 68), rng.dirichlet(np.ones(3), 68)
    model = load_face_model(truth.path, landmarks=(ids, weights))
    want = truth.unit * np.einsum("lk,lkc->lc", weights, truth.mean[faces[ids]])
    np.testing.assert_allclose(landmarks(model, model.mean), want, atol=1e-2)
    on_vertices = load_face_model(truth.path, landmarks=list(rng.integers(0, 12, 68)))
    assert np.asarray(on_vertices.landmark_weights).max(axis=1).min() == 1
    assert load_face_model(truth.path).landmark_weights.shape == (0, 3)


@pytest.mark.parametrize(
    "given",
    [np.arange(5), np.full(68, 99), (np.zeros(68, int), np.zeros((68, 2))), (np.full(68, 20), np.ones((68, 3)))],
)
def test_landmarks_that_do_not_fit_are_one_line_errors(given, tmp_path):
    with pytest.raises(ValueError, match="landmarks= takes 68 vertex indices") as error:
        load_face_model(files.write_deep3d(tmp_path).path, landmarks=given)
    assert "\n" not in str(error.value)


def test_matlab_7_3_files_hold_the_same_model(tmp_path):
    import h5py
    from scipy.io import loadmat

    truth = files.write_deep3d(tmp_path)
    old = loadmat(truth.path)
    path = tmp_path / "front_v73.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, value in old.items():
            if not key.startswith("__"):
                file[key] = value.T
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116))
    a, b = load_face_model(truth.path), load_face_model(path)
    for key in ("mean", "identity_basis", "expression_basis", "landmark_weights"):
        np.testing.assert_array_equal(getattr(a, key), getattr(b, key))

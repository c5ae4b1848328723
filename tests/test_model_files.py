"""Files that lie beside face models: landmarks and masks of FLAME's authors; and Basel's .h5 files of every age."""

import pickle
import sys
import types

import loader_files as files
import numpy as np
import pytest

from facejax.cli import main
from facejax.face_model import MorphableModel, landmarks, own_albedo
from facejax.face_model.formats.landmark_files import read_model_landmarks
from facejax.face_model.load import load_face_model

RNG = np.random.default_rng(0)
IDS, WEIGHTS = RNG.integers(0, 20, 68), RNG.dirichlet(np.ones(3), 68)
TURNED = np.stack([RNG.integers(0, 20, 17) for _ in range(79)])  # a row for each angle; the first one is frontal
TURNED[0] = IDS[:17]
TURNED_WEIGHTS = RNG.dirichlet(np.ones(3), (79, 17))
TURNED_WEIGHTS[0] = WEIGHTS[:17]

FULL = {"full_lmk_faces_idx": IDS[None], "full_lmk_bary_coords": WEIGHTS[None]}
STATIC = {"static_lmk_faces_idx": IDS[17:], "static_lmk_bary_coords": WEIGHTS[17:]}
DYNAMIC = {"dynamic_lmk_faces_idx": TURNED, "dynamic_lmk_bary_coords": TURNED_WEIGHTS}
INNER = {"lmk_face_idx": IDS[17:].astype(np.uint32), "lmk_b_coords": WEIGHTS[17:]}
CONTOUR = {"lmk_face_idx": TURNED, "lmk_b_coords": TURNED_WEIGHTS}


def tensors(arrays):
    """The arrays as PyTorch pickles tensors: a function of `torch` applied to storages, which are refused elsewhere."""
    module = types.ModuleType("torch._utils")
    module._rebuild_tensor_v2 = lambda *args: None  # type: ignore[attr-defined]
    module._rebuild_tensor_v2.__module__ = "torch._utils"
    module._rebuild_tensor_v2.__qualname__ = module._rebuild_tensor_v2.__name__ = "_rebuild_tensor_v2"

    class Tensor:
        def __reduce__(self):
            return module._rebuild_tensor_v2, ((), 0, (79, 17), (17, 1), False, {})

    return module, {name: Tensor() for name in arrays}


def write_npy(path, data, extra=None):
    module, more = tensors(extra or {})
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules |= {"torch": types.ModuleType("torch"), "torch._utils": module}
    try:
        np.save(path, np.array(data | more, dtype=object), allow_pickle=True)
    finally:
        for name, old in before.items():
            sys.modules.pop(name) if old is None else sys.modules.update({name: old})
    return path


def write_pickle(path, data):
    path.write_bytes(pickle.dumps(data, protocol=2))
    return path


def same(found):
    np.testing.assert_array_equal(found[0], IDS)
    np.testing.assert_allclose(found[1], WEIGHTS, atol=1e-6)


@pytest.mark.parametrize(
    ("data", "torches"),
    [(FULL, {}), (FULL | STATIC | DYNAMIC, {}), (FULL | STATIC, DYNAMIC), (STATIC | DYNAMIC, {}),
     ({"full_lmk_faces_idx": IDS, "full_lmk_bary_coords": WEIGHTS}, {}),
     ({"full_lmk_faces_idx": IDS.astype(object), "full_lmk_bary_coords": WEIGHTS.tolist()}, {}),
     ({**STATIC, "dynamic_lmk_faces_idx": TURNED.tolist(), "dynamic_lmk_bary_coords": list(TURNED_WEIGHTS)}, {})],
)  # fmt: skip
def test_decas_embedding_is_read_without_being_executed(data, torches, tmp_path):
    same(read_model_landmarks(write_npy(tmp_path / "landmark_embedding.npy", data, torches)))


def test_flames_51_points_take_their_jaw_from_the_other_file(tmp_path):
    inner = write_pickle(tmp_path / "flame_static_embedding.pkl", INNER)
    with pytest.raises(ValueError, match=r"51 landmarks, without the 17 of the jaw; give flame_dynamic_embedding\.npy"):
        read_model_landmarks(inner)
    jaw = write_npy(tmp_path / "elsewhere.npy", CONTOUR)
    same(read_model_landmarks([inner, jaw]))
    same(read_model_landmarks([jaw, inner]))
    alone = tmp_path / "alone"
    alone.mkdir()
    with pytest.raises(ValueError, match=r"17 landmarks of the jaw alone; give flame_static_embedding\.pkl"):
        read_model_landmarks(write_npy(alone / "jaw.npy", CONTOUR))
    jaw.rename(tmp_path / "flame_dynamic_embedding.npy")
    same(read_model_landmarks(inner))
    same(read_model_landmarks(tmp_path / "flame_dynamic_embedding.npy"))


VERTICES = RNG.integers(0, 12, 68)


@pytest.mark.parametrize(
    "table",
    [VERTICES, VERTICES.astype(np.uint16), VERTICES[None], VERTICES[:, None], VERTICES.astype(float),
     (3 * VERTICES[:, None] + [0, 1, 2]).ravel()],
)  # fmt: skip
def test_vertex_numbers_in_every_form(table, tmp_path):
    np.save(tmp_path / "marks.npy", table)
    np.testing.assert_array_equal(read_model_landmarks(tmp_path / "marks.npy"), VERTICES)


class Evil:
    def __reduce__(self):
        return print, ("executed",)


WRONG = {
    "5 numbers.npy": (np.arange(5), "5 vertex numbers, not the 68"),
    "51 numbers.npy": (np.arange(51), "51 vertex numbers, not the 68"),
    "106 numbers.npy": (np.arange(106), "106 vertex numbers, not the 68"),
    "halves.npy": (np.arange(68) + 0.5, "no vertex numbers"),
    "nan.npy": (np.full(68, np.nan), "no vertex numbers"),
    "words.npy": (np.array(["a"] * 68), "no vertex numbers"),
    "numbers.txt": ("1 2 3", "3 vertex numbers"),
    "words.txt": ("one two", "no landmarks"),
    "empty.npy": (b"", "the file is empty"),
    "short.npy": (b"\x93NUMPY\x01\x00v", "truncated or damaged"),
    "text.pkl": (b"hello", "truncated or damaged"),
    "photo.png": (b"\x89PNG....", "no landmarks"),
    "mediapipe.npz": ({"lmk_face_idx": np.arange(105), "lmk_b_coords": np.ones((105, 3)) / 3}, "105 landmarks, not"),
    "nothing.npz": ({"a": np.ones(3)}, "no landmarks"),
    "shapes.npz": ({"triangles": np.arange(68), "weights": np.ones((60, 3))}, "of shapes"),
    "evil.npy": ({"full_lmk_faces_idx": Evil()}, "the pickle asks for the name builtins.print"),
    "evil.pkl": ({"lmk_face_idx": Evil()}, "the pickle asks for the name builtins.print"),
    "tensors.npy": (None, "51 landmarks, without the 17 of the jaw"),
    "list.pkl": ([1, 2], "holds a list"),
}


@pytest.mark.parametrize("name", WRONG)
def test_files_that_hold_no_68_landmarks_say_so_in_one_line(name, tmp_path, capsys):
    content, message = WRONG[name]
    path = tmp_path / name
    if isinstance(content, bytes | str):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    elif content is None:
        write_npy(path, STATIC, DYNAMIC)
    elif name.endswith("npz"):
        np.savez(path, **content)
    elif name.endswith("pkl"):
        write_pickle(path, content)
    elif isinstance(content, dict):
        write_npy(path, content)
    else:
        np.save(path, content)
    with pytest.raises(ValueError, match=message) as error:
        read_model_landmarks(path)
    assert "\n" not in str(error.value) and name in str(error.value) and "executed" not in capsys.readouterr().out


def test_flame_finds_the_files_of_its_authors_beside_it(tmp_path, capsys):
    truth = files.write_flame_pickle(tmp_path)
    assert load_face_model(truth.path, expression=2).landmark_weights.shape == (0, 3)
    write_pickle(tmp_path / "flame_static_embedding.pkl", INNER)  # the jaw is missing: not used by itself
    assert load_face_model(truth.path, expression=2).landmark_weights.shape == (0, 3)
    write_npy(tmp_path / "flame_dynamic_embedding.npy", CONTOUR)
    model = load_face_model(truth.path, expression=2)
    want = 1000 * np.einsum("lk,lkc->lc", WEIGHTS, truth.mean[truth.faces[IDS]])
    np.testing.assert_allclose(landmarks(model, model.mean), want, atol=1e-2)
    for name in ("flame_static_embedding.pkl", "flame_dynamic_embedding.npy"):
        (tmp_path / name).rename(tmp_path / f"my_{name}")
    options = [
        "--landmarks",
        str(tmp_path / "my_flame_static_embedding.pkl"),
        str(tmp_path / "my_flame_dynamic_embedding.npy"),
    ]
    assert main(["convert", "model", str(truth.path), str(tmp_path / "out.npz"), *options]) == 0
    assert "68 landmarks" in capsys.readouterr().out
    again = load_face_model(tmp_path / "out.npz")
    np.testing.assert_allclose(landmarks(again, again.mean), want, atol=1e-2)


MASKS = {
    "face": np.array([0, 1, 2, 3, 4, 5]), "left_eyeball": np.array([5]), "right_eyeball": np.array([6]),
    "left_ear": np.array([7, 8]), "right_ear": np.array([9]), "scalp": np.array([10], np.int32),
    "none": np.array([], int),
}  # fmt: skip


def test_flames_masks_become_regions(tmp_path):
    truth = files.write_flame_pickle(tmp_path)
    path = write_pickle(tmp_path / "FLAME_masks.pkl", MASKS)
    beside = load_face_model(truth.path, expression=1, identity=1)
    given = load_face_model(truth.path, expression=1, identity=1, masks=path)
    for model in (beside, given):
        assert set(model.regions) == {*MASKS, "eyeballs", "ears"}
        on = {name: np.flatnonzero(np.asarray(mask)).tolist() for name, mask in model.regions.items()}
        assert on["face"] == [0, 1, 2, 3, 4] and on["eyeballs"] == [5, 6] and on["ears"] == [7, 8, 9]
        assert on["scalp"] == [10] and on["none"] == []
    assert main(["convert", "model", str(truth.path), str(tmp_path / "out.npz"), "--masks", str(path)]) == 0
    np.testing.assert_array_equal(load_face_model(tmp_path / "out.npz").regions["face"], given.regions["face"])


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"face": np.array([12])}, "'face' points outside the model's 12 vertices"),
        ({"face": np.array([-1])}, "'face' points outside"),
        ({"face": np.ones(11, bool)}, "is a mask of 11 vertices, but the model has 12"),
        ({"face": np.array(["a"])}, "holds no vertex numbers"),
        ({"skull": np.array([1])}, "no region 'face'"),
        ({}, "no region 'face'"),
    ],
)
def test_masks_of_another_model_are_one_line_errors(masks, message, tmp_path):
    truth = files.write_flame_pickle(tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        load_face_model(truth.path, masks=write_pickle(tmp_path / "masks.pkl", masks))
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="no such file of masks"):
        load_face_model(truth.path, masks=tmp_path / "nowhere.pkl")
    with pytest.raises(ValueError, match="leave masks= out"):
        load_face_model(masks=tmp_path / "masks.pkl")


def test_masks_of_weights_are_taken_as_they_are(tmp_path):
    truth = files.write_flame_pickle(tmp_path)
    np.savez(tmp_path / "masks.npz", face=np.linspace(0, 1, 12), hat=np.arange(12) > 8)
    model = load_face_model(truth.path, expression=1, masks=tmp_path / "masks.npz")
    np.testing.assert_allclose(model.regions["face"], np.linspace(0, 1, 12), atol=1e-6)
    np.testing.assert_array_equal(model.regions["hat"], np.arange(12) > 8)


def change_h5(path, change):
    import h5py

    with h5py.File(path, "r+") as file:
        change(file)


def without(*parts):
    def change(file):
        for part in parts:
            del file[part]

    return change


def with_old_triangles(file):
    """The list of triangles where files of statismo's first versions have it."""
    cells = file["shape/representer/cells"][()]
    for part in ("shape", "color", "expression"):
        if part in file:
            del file[f"{part}/representer"]
    file["shape/representer/reference-mesh/triangle-list"] = cells.T.astype(np.int32)


def with_stds_inside(file):
    for part in ("shape", "color", "expression"):
        basis = file[f"{part}/model/pcaBasis"][()] * np.sqrt(file[f"{part}/model/pcaVariance"][()])
        file[f"{part}/model/pcaBasis"][...] = basis


def cells_only_of_color(file):
    del file["shape/representer"]


@pytest.mark.parametrize(
    ("change", "expressions", "colours"),
    [
        (lambda file: None, 4, 3),
        (without("expression"), 0, 3),
        (without("expression", "color"), 0, 0),
        (without("color"), 4, 0),
        (with_old_triangles, 4, 3),
        (with_stds_inside, 4, 3),
        (cells_only_of_color, 4, 3),
    ],
)
def test_basels_h5_files_of_every_age(change, expressions, colours, tmp_path):
    truth = files.write_bfm2017(tmp_path)
    whole = load_face_model(truth.path)
    change_h5(truth.path, change)
    model = load_face_model(truth.path)
    assert (len(model.expression_std), own_albedo(model).count) == (expressions, colours)
    assert isinstance(model, MorphableModel) == (colours > 0)
    identity = model.identity_basis * model.identity_std[:, None, None]
    np.testing.assert_allclose(identity, whole.identity_basis * whole.identity_std[:, None, None], atol=1e-3)
    np.testing.assert_array_equal(model.faces, whole.faces)
    if expressions:
        np.testing.assert_allclose(model.mean, whole.mean, atol=1e-4)


def test_basel_2009_in_h5_is_the_model_of_the_matlab_file(tmp_path, monkeypatch):
    import h5py

    from facejax.face_model.formats import bfm

    monkeypatch.setattr(bfm, "_VERTICES_2009", 12)
    truth = files.write_bfm2009(tmp_path)
    path = tmp_path / "model2009-publicmm1-bfm.h5"
    shape, shape_std = files.split(truth.identity / 1000)  # millimetres
    colour, colour_std = files.split(truth.colour)
    with h5py.File(path, "w") as file:
        for part, mean, basis, std in [
            ("shape", truth.mean / 1000, shape, shape_std),
            ("color", truth.colour_mean, colour, colour_std),
        ]:
            file[f"{part}/model/mean"] = mean.reshape(-1).astype(np.float32)
            file[f"{part}/model/pcaBasis"], file[f"{part}/model/pcaVariance"] = basis, std**2
            file[f"{part}/representer/cells"] = truth.faces.T.astype(np.uint32)
    for expressions in (False, True):
        if expressions:
            files.add_guo_expressions(truth, np.delete(np.arange(12), 3))
        old, new = load_face_model(truth.path), load_face_model(path)
        assert new.name == old.name == "bfm2009" and len(new.expression_std) == (3 if expressions else 0)
        for name in ("mean", "identity_std", "expression_std", "expression_basis"):
            np.testing.assert_allclose(getattr(new, name), getattr(old, name), rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(own_albedo(new).mean, own_albedo(old).mean, atol=1e-5)

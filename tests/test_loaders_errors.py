"""Damaged, foreign and hostile model files: one-line errors with the file's name and a fix, and nothing executed."""

import builtins
import importlib.resources
import pickle
import re
import zipfile
from typing import Any

import loader_files as files
import numpy as np
import pytest
from scipy.io import loadmat, savemat
from test_loaders import ALL, WRITERS

from facejax.face_model.formats._pickle import UnsafePickleError
from facejax.face_model.load import load_face_model


def one_line(path, pattern, error: type[Exception] = ValueError, **kwargs):
    with pytest.raises(error, match=pattern) as caught:
        load_face_model(path, **kwargs)
    message = str(caught.value)
    assert "\n" not in message and path.name in message and len(message) < 500
    assert ";" in message or ":" in message.split(path.name)[1]  # the problem, then the fix
    return message


@ALL
@pytest.mark.parametrize("keep", [0.2, 0.6, 0.97])
def test_truncated_files_are_named(kind, keep, tmp_path):
    path = WRITERS[kind](tmp_path).path
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    one_line(path, "truncated|damaged")


@ALL
def test_a_damaged_byte_range_never_raises_anything_else(kind, tmp_path):
    path = WRITERS[kind](tmp_path).path
    raw = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for start in rng.integers(0, len(raw) - 40, 12):
        damaged = raw.copy()
        damaged[start : start + 40] = rng.bytes(40)
        path.write_bytes(damaged)
        try:
            load_face_model(path, identity=3, expression=3)  # damaged numbers may still be numbers
        except ValueError as error:
            assert "\n" not in str(error) and path.name in str(error)


@ALL
def test_empty_and_missing_files_are_named(kind, tmp_path):
    path = WRITERS[kind](tmp_path).path
    path.write_bytes(b"")
    one_line(path, "empty.*again")
    path.unlink()
    one_line(path, "no such file", FileNotFoundError)


def test_foreign_files_are_refused_with_what_is_known(tmp_path):
    text, table, archive = tmp_path / "notes.txt", tmp_path / "table.mat", tmp_path / "table.npz"
    text.write_text("v 1 2 3\n")
    savemat(table, {"lm": np.zeros((3, 2))})
    np.savez(archive, vertices=np.zeros((3, 3)))
    one_line(text, "not a .mat, .npz, .h5 or pickle file")
    one_line(table, r"holds lm.*bfm2009.*docs/models\.md")
    one_line(archive, r"holds vertices.*give one of")
    one_line(archive, r"not a FLAME file, or truncated: v_template, shapedirs, f missing", format="flame")
    one_line(tmp_path, "no face model in this folder", FileNotFoundError)
    with zipfile.ZipFile(tmp_path / "empty.npz", "w"):
        pass
    one_line(tmp_path / "empty.npz", "holds nothing")


def test_arguments_out_of_range_name_the_fix(tmp_path):
    with pytest.raises(ValueError, match="format 'flame2' is unknown: use one of ict, bfm2009"):
        load_face_model(tmp_path, format="flame2")
    with pytest.raises(ValueError, match="identity=-1: give a number of components"):
        load_face_model(tmp_path, identity=-1)


def test_the_shipped_head_is_the_default_and_loads_from_its_file(tmp_path):
    packaged = importlib.resources.files("facejax.assets") / "default_head.npz"
    if not packaged.is_file():
        pytest.skip("no assets/default_head.npz: build it with experiments/build_default_head.py")
    path = tmp_path / "head.npz"
    path.write_bytes(packaged.read_bytes())
    shipped, copy = load_face_model(identity=3), load_face_model(path, identity=3, expression=2)
    np.testing.assert_array_equal(shipped.identity_basis, copy.identity_basis)
    assert len(copy.expression_names) == 2 and len(load_face_model().identity_std) > 3
    one_line(path, "brings its own landmarks: leave landmarks= out", landmarks=np.arange(68))
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 100] = bytes(100)
    path.write_bytes(raw)
    one_line(path, "cannot be read as a facejax head.*get it again")


CASES = [
    ("bfm2009", "tl", "drop", "tl missing"),
    ("bfm2009", "tl", lambda x: x - 1, "'tl' points outside the 12 vertices"),
    ("bfm2009", "tl", lambda x: x[:0], "'tl' is empty|expected"),
    ("bfm2009", "shapeMU", lambda x: x[:-1], "'shapeMU' has 35 numbers"),
    ("bfm2009", "shapePC", lambda x: x[:-3], r"'shapePC' has shape \(33, 5\), expected \(36, any\)"),
    ("bfm2009", "shapeEV", lambda x: x[:-1], r"'shapeEV' has shape \(4,\), expected \(5\)"),
    ("bfm2009", "texMU", lambda x: x * np.nan, "albedo mean has values that are not finite"),
    ("deep3d", "idBase", lambda x: x.T, r"'idBase' has shape \(6, 36\)"),
    ("deep3d", "keypoints", lambda x: x + 12, "'keypoints' points outside the 12 vertices"),
    ("deep3d", "meantex", "text", "'meantex' is not numeric"),
    ("hifi3dpp", "head_tri_vt", lambda x: x[:5], r"'head_tri_vt' has shape \(5, 3\), expected \(20, 3\)"),
    ("hifi3dpp-realy", "basis_exp", lambda x: x[:, :-3], "'basis_exp' has shape"),
]


@pytest.mark.parametrize(("kind", "key", "change", "pattern"), CASES)
def test_missing_keys_and_wrong_shapes_name_the_key(kind, key, change, pattern, tmp_path):
    path = WRITERS[kind](tmp_path).path
    data = {name: value for name, value in loadmat(path).items() if not name.startswith("__")}
    if change == "drop":
        del data[key]
    else:
        data[key] = "some text" if change == "text" else change(data[key])
    savemat(path, data)
    one_line(path, pattern)


def test_arrays_of_a_npz_that_hold_objects_are_refused_only_where_needed(tmp_path):
    path = files.write_flame_npz(tmp_path).path  # its joint regressor is an object array, and is not asked for
    assert load_face_model(path, identity=1).mean.shape == (12, 3)
    with np.load(path) as archive:
        data: dict[str, Any] = {name: archive[name] for name in archive.files if name != "J_regressor"}
    data["shapedirs"] = np.array([print], dtype=object)
    np.savez(path, **data)
    one_line(path, "'shapedirs' holds pickled Python objects, which are never loaded")


@pytest.mark.parametrize("kind", ["bfm2017", "matlab73"])
def test_hdf5_files_without_h5py_name_the_extra(kind, tmp_path, monkeypatch):
    path = tmp_path / "model.mat"
    path.write_bytes(b"MATLAB 7.3 MAT-file")
    path = files.write_bfm2017(tmp_path).path if kind == "bfm2017" else path
    real = builtins.__import__

    def without_h5py(name, *args, **kwargs):
        if name == "h5py":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_h5py)
    one_line(path, re.escape("pip install facejax[h5]"))


class Hostile:
    """Its pickle, when loaded by pickle.load, creates the file it is given."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@pytest.mark.parametrize("protocol", range(6))
def test_a_hostile_pickle_is_not_executed(protocol, tmp_path):
    target, path = tmp_path / "executed", tmp_path / "model.pkl"
    path.write_bytes(pickle.dumps({"v_template": np.zeros((4, 3)), "shapedirs": Hostile(target)}, protocol))
    message = one_line(path, "was not executed", UnsafePickleError)
    assert "open" in message and not target.exists()
    pickle.loads(path.read_bytes())["shapedirs"].close()  # the same bytes do execute in the ordinary reader
    assert target.exists()


PROGRAMS = [
    (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
    (b"cbuiltins\neval\n(S'1'\ntR.", "builtins.eval"),
    (b"c__builtin__\ngetattr\n(c__builtin__\nobject\nS'__subclasses__'\ntR.", "builtins.getattr"),
    (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x011\x85R.", "builtins.exec"),
    (b"cnumpy\nload\n(S'x'\ntR.", "numpy.load"),
    (b"cscipy.sparse_like\nsystem\n(tR.", "scipy.sparse_like.system"),
    (b"cnumpy.core.multiarray\n_reconstruct\n(c__builtin__\nset\n(I0\ntS'b'\ntR.", "an array of an unknown class"),
    (b"c_codecs\nencode\n(S'x'\nS'zlib_codec'\ntR.", "bytes in the encoding"),
    (b"ccopy_reg\n_reconstructor\n(cnumpy\nndarray\nc__builtin__\nobject\nNtR.", "an object of an unknown class"),
]


@pytest.mark.parametrize(("program", "asks"), PROGRAMS)
def test_names_and_uses_outside_the_list_are_refused(program, asks, tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(program)
    one_line(path, f"the pickle asks for .*{asks}.*not executed", UnsafePickleError)


@pytest.mark.parametrize("name", [b"scipy.sparse.os\nsystem", b"chumpy.utils\nos.system", b"chumpy\n__builtins__"])
def test_shells_do_nothing_whatever_their_name(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "model.pkl"
    path.write_bytes(b"c" + name + b"\n(S'touch executed'\ntR.")
    one_line(path, "not a dictionary")
    assert [file.name for file in tmp_path.iterdir()] == ["model.pkl"]


@pytest.mark.parametrize("protocol", range(6))
def test_flame_pickles_of_every_protocol_load_without_chumpy(protocol, tmp_path):
    truth = files.write_flame_pickle(tmp_path, protocol)
    raw = truth.path.read_bytes()
    assert b"chumpy.ch" in raw and b"scipy.sparse.csc" in raw
    model = load_face_model(truth.path)
    np.testing.assert_allclose(model.mean, 1000 * truth.mean, rtol=1e-6)
    np.testing.assert_allclose(model.expression_basis, truth.expression, rtol=1e-6)


def test_a_chumpy_expression_that_is_not_an_array_is_named(tmp_path):
    path = tmp_path / "model.pkl"
    path.write_bytes(b"(dS'v_template'\ncchumpy.reordering\nSelect\n(tRsS'shapedirs'\nI1\nsS'f'\nI1\ns.")
    one_line(path, "'v_template' is not numeric")

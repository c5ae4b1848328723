"""Traced programs on disk: a second start traces nothing, and nothing that may be wrong is ever read."""

import os
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy import toy_model

from facejax.camera import Pose
from facejax.face_model import landmarks
from facejax.face_model.load import load_face_model
from facejax.fitting import (
    DEFAULT,
    LANDMARKS,
    LINEAR,
    RECIPES,
    FeatureNetwork,
    Ingredients,
    batches,
    compile_fit,
    prepare_crops,
)
from facejax.ingredients import ingredients_for
from facejax.programs import cached_jit, folders, forget_programs, keys
from facejax.programs.keys import Unknown, describe, program_key
from facejax.programs.traces import compile_program

POSE = Pose(jnp.array([1.0, 0.0, 0.0, 0.0]), jnp.array([0.0, 0.0, -1000.0]))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_traced", tmp_path / "traced")
    monkeypatch.setattr(keys, "_IMPORTED", float("inf"))  # whatever was edited a moment ago
    forget_programs()
    return tmp_path / "traced"


class Moved:
    """A function of a pose that counts how often it is traced."""

    def __init__(self, by: float = 1.0):
        self.by, self.traced = by, 0

    def __call__(self, pose: Pose) -> Pose:
        self.traced += 1
        return replace(pose, translation=pose.translation + self.by)

    def compiled(self, pose: Pose = POSE):
        return compile_program(self, pose, name="moved", closes_over=self.by, results=(Pose,))(pose)


def test_what_was_traced_before_is_not_traced_again(folder):
    first, second = Moved(), Moved()
    before, after = first.compiled(), second.compiled()
    assert (first.traced, second.traced) == (1, 0) and len(list(folder.iterdir())) == 1
    assert isinstance(after, Pose) and np.array_equal(after.translation, [1.0, 1.0, -999.0])
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_all_that_decides_a_program_tells_it_from_others(folder):
    Moved().compiled()
    others = [Moved(2.0), Moved(), Moved(), Moved()]
    assert others[0].compiled().translation[0] == 2.0
    two = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), POSE)
    assert others[1].compiled(two).translation.shape == (2, 3)
    with jax.default_matmul_precision("float32"):
        others[2].compiled()
    others[3].compiled(jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), POSE))
    assert [one.traced for one in others] == [1, 1, 1, 1]


@pytest.mark.parametrize("spoil", ["cut", "noise", "empty", "folder", "another"])
def test_a_file_that_is_not_what_was_written_is_replaced(folder, spoil):
    Moved().compiled()
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    if spoil == "another":
        Moved(5.0).compiled()
        os.replace(next(one for one in folder.iterdir() if one != path), path)
    elif spoil == "folder":
        path.unlink()
        path.mkdir()
    else:
        path.write_bytes({"cut": whole[:-9], "noise": whole[:99] + b"?" * 99 + whole[198:], "empty": b""}[spoil])
    again = Moved()
    assert again.compiled().translation[0] == 1.0 and again.traced == 1
    last = Moved()
    assert last.compiled().translation[0] == 1.0 and last.traced == (spoil == "folder")
    assert not list(folder.glob("*.tmp*"))


def test_what_memory_has_dropped_is_traced_no_more(folder):
    first, later = Moved(), Moved()
    assert cached_jit("moved", results=(Pose,))(first)(POSE).translation[0] == 1.0
    forget_programs()
    assert np.array_equal(cached_jit("moved", results=(Pose,))(later)(POSE).translation, [1.0, 1.0, -999.0])
    assert (first.traced, later.traced) == (1, 0) and len(list(folder.iterdir())) == 1


def test_a_folder_that_cannot_be_written_does_no_harm(folder, caplog):
    folder.write_text("a file")
    assert Moved().compiled().translation[0] == 1.0
    assert "cannot be kept" in caplog.text


def test_without_the_cache_nothing_is_kept(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(folders, "_traced", None)
    one = Moved()
    assert one.compiled().translation[0] == 1.0 and one.traced == 1 and not list(tmp_path.iterdir())


@dataclass(frozen=True)
class Foreign:
    value: int = 0


@pytest.mark.parametrize(
    "value", [lambda x: x, len, np.mean, Foreign(), Foreign, Moved(), {1, 2}, np.float32(1), Moved().compiled]
)
def test_code_from_elsewhere_cannot_be_described(value):
    with pytest.raises(Unknown):
        describe((1, {"nested": [value]}))


def test_descriptions_tell_things_apart():
    values = [1, 1.0, "1", True, None, (1,), [1], {"a": 1, "b": 2}, {"b": 2, "a": 1}, POSE, DEFAULT, LINEAR, describe]
    values += [np.zeros(1), np.zeros(2), np.zeros(1, np.int32), jnp.zeros(1), jnp.zeros(()), jnp.asarray(1.0)]
    assert len({describe(one) for one in values}) == len(values)
    assert describe(replace(DEFAULT, margin=0.31)) != describe(DEFAULT) == describe(replace(DEFAULT))


def test_source_code_that_changed_since_its_import_switches_it_off(folder, monkeypatch):
    program_key()
    monkeypatch.setattr(keys, "_IMPORTED", 0.0)
    with pytest.raises(Unknown, match="changed since"):
        program_key()
    one = Moved()
    assert one.compiled().translation[0] == 1.0 and not folder.exists()


def test_all_that_the_package_fits_with_can_be_described():
    model = load_face_model()
    for recipe in RECIPES.values():
        describe(recipe)
    describe((model, ingredients_for(DEFAULT, model=model), toy_model()))


@pytest.fixture(scope="module")
def crops():
    points = np.asarray(landmarks(toy_model(), toy_model().mean))[:, :2] * [0.25, -0.25] + 32
    return prepare_crops([np.full((64, 64, 3), 0.4)], [points], recipe=SHORT)


SHORT = replace(LANDMARKS, size=64, landmark_steps=2)


@pytest.mark.thorough
def test_a_kept_fit_gives_the_same_numbers(folder, monkeypatch, crops):
    monkeypatch.setattr(folders, "_traced", None)
    plain = fit_anew(crops)
    monkeypatch.setattr(folders, "_traced", folder)
    first = fit_anew(crops)
    monkeypatch.setattr(batches, "fit_crops", None)  # which would be called to trace it
    second = fit_anew(crops)
    for kept in (first, second):
        assert jax.tree.structure(kept) == jax.tree.structure(plain)
        jax.tree.map(np.testing.assert_array_equal, kept, plain)


def test_a_fit_with_a_network_of_ones_own_is_not_kept(folder, monkeypatch, crops):
    mine = FeatureNetwork((), lambda weights, image, points: image, lambda a, b, mask: jnp.mean(a - b), "mine")
    fit_anew(crops, Ingredients(networks={"perceptual": mine}))
    assert not folder.exists()


def fit_anew(crops, ingredients=None):
    ingredients = Ingredients() if ingredients is None else ingredients
    forget_programs()
    return compile_fit(toy_model(), crops, recipe=SHORT, ingredients=ingredients)(toy_model(), crops, ingredients)

"""Checkpoints: what is saved comes back, in the right types, or a one-line error says why not."""

import asyncio
import threading

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest

from facejax.checkpoints import load, save

RNG = np.random.default_rng(0)


def weights(scale=1.0):
    return {
        "conv": {"kernel": scale * RNG.standard_normal((3, 3, 4, 8)).astype(np.float32), "count": np.int32(7)},
        "bf16": RNG.standard_normal(5).astype(ml_dtypes.bfloat16),
    }


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert np.asarray(x).dtype == np.asarray(y).dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


@pytest.fixture
def saved(tmp_path):
    save(tmp_path / "net", weights(), schema="net", version=3, sizes=[1, 2])
    return tmp_path / "net"


def test_arrays_and_metadata_come_back_on_the_host(tmp_path):
    tree = weights()
    save(tmp_path / "net", jax.tree.map(jnp.asarray, tree), schema="net", version=1, sizes=[64, 128], name="a")
    found, metadata = load(tmp_path / "net", schema="net", version=1)
    same(found, tree)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(found))
    assert metadata == {"sizes": [64, 128], "name": "a"}


def test_half_rounds_float32_once_and_nothing_else(tmp_path):
    tree = weights()
    save(tmp_path / "net", tree, schema="net", version=1, half=True)
    found = load(tmp_path / "net", schema="net", version=1).tree
    same(found, tree | {"conv": tree["conv"] | {"kernel": tree["conv"]["kernel"].astype("f2").astype("f4")}})
    bytes_on_disk = sum(file.stat().st_size for file in (tmp_path / "net").rglob("*"))
    assert bytes_on_disk < 2 * tree["conv"]["kernel"].size + 30_000


def test_half_refuses_numbers_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"'conv/kernel' exceeds 65504.*without half"):
        save(tmp_path / "net", weights(1e6), schema="net", version=1, half=True)
    assert not list(tmp_path.iterdir())


def test_a_tree_of_any_structure_comes_back_by_example(tmp_path):
    params = {"a": jnp.ones((2, 3)), "b": [jnp.zeros(4), jnp.zeros((0, 3))]}
    tree = (params, optax.adamw(1e-3).init(params), jax.random.key(5), 12, 0.5, True)
    save(tmp_path / "state", tree, schema="state", version=1)
    example = (*jax.eval_shape(lambda: tree[:2]), jax.random.key(0), 0, 0.0, False)
    found = load(tmp_path / "state", schema="state", version=1, like=example).tree
    same((found[:2], found[3:]), (tree[:2], tree[3:]))
    assert jnp.array_equal(jax.random.normal(found[2]), jax.random.normal(tree[2]))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(found[:2]))


def test_saving_again_replaces(saved):
    save(saved, {"other": np.ones(3)}, schema="net", version=3)
    assert list(load(saved, schema="net", version=3).tree) == ["other"]
    assert [path.name for path in saved.parent.iterdir()] == ["net"]  # nothing is left beside it


def test_a_failed_save_leaves_the_old_checkpoint(saved, monkeypatch):
    from orbax.checkpoint import v1 as ocp

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(ocp, "save", full)
    with pytest.raises(OSError, match="No space"):
        save(saved, {"other": np.ones(3)}, schema="net", version=3)
    assert "conv" in load(saved, schema="net", version=3).tree
    assert [path.name for path in saved.parent.iterdir()] == ["net"]


@pytest.mark.parametrize(
    ("schema", "version", "message"),
    [
        ("head", 3, "holds 'net', wanted is 'head'; give a checkpoint of that kind"),
        ("net", 2, "'net' version 3, this facejax reads version 2; install a newer facejax"),
        ("net", 4, "version 3, this facejax reads version 4; write it again"),
    ],
)
def test_schema_and_version_are_compared(saved, schema, version, message):
    with pytest.raises(ValueError, match=message) as caught:
        load(saved, schema=schema, version=version)
    assert "\n" not in str(caught.value)


def example(**changes):
    return {
        "conv": {"kernel": np.zeros((3, 3, 4, 8), "f4"), "count": np.int32(0)},
        "bf16": jnp.zeros(5, "bfloat16"),
    } | changes


@pytest.mark.parametrize(
    ("like", "message"),
    [
        (example(bf16=jnp.zeros(6, "bfloat16")), r"'bf16' is bfloat16\[5\], wanted is bfloat16\[6\]"),
        (example(bf16=jnp.zeros(5)), r"'bf16' is bfloat16\[5\], wanted is float32\[5\]"),
        (example(head=np.zeros(2), tail=np.zeros(2)), "lacks 'head' and 1 more"),
        ({"conv": example()["conv"]}, "has unknown 'bf16'"),
    ],
)
def test_other_arrays_than_wanted_are_named(saved, like, message):
    load(saved, schema="net", version=3, like=example())
    with pytest.raises(ValueError, match=message):
        load(saved, schema="net", version=3, like=like)


def test_wrong_paths_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such checkpoint"):
        load(tmp_path / "none", schema="net", version=1)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ValueError, match="not a checkpoint"):
        load(tmp_path / "folder", schema="net", version=1)
    with pytest.raises(ValueError, match="exists and is no checkpoint"):
        save(tmp_path / "folder", weights(), schema="net", version=1)


def test_a_checkpoint_of_orbax_alone_is_refused(tmp_path):
    from orbax.checkpoint import v1 as ocp

    ocp.save(tmp_path / "net", {"a": np.ones(3)}, checkpointable_name="tree")
    with pytest.raises(ValueError, match="another program"):
        load(tmp_path / "net", schema="net", version=1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the storage's own threads complain too
@pytest.mark.parametrize("damage", ["truncate", "remove", "metadata"])
def test_damage_is_one_line(saved, damage):
    if damage == "metadata":
        (saved / "_CHECKPOINT_METADATA").write_text('{"custom')
    else:
        largest = max(saved.rglob("*"), key=lambda path: path.stat().st_size if path.is_file() else 0)
        if damage == "remove":
            largest.unlink()
        else:
            largest.write_bytes(largest.read_bytes()[:100])
    with pytest.raises(ValueError, match=r"damaged|another program") as caught:
        load(saved, schema="net", version=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tree", "metadata", "message"),
    [
        ({"a": "text"}, {}, "'a' is a str, not an array"),
        ({}, {}, "holds no numbers"),
        ({"a/b": np.ones(2), "a": {"b": np.ones(2)}}, {}, "two leaves of the tree have one name"),
        (np.ones(2), {}, "has none"),
        ({"a": np.ones(2)}, {"mean": np.ones(2)}, "cannot be written as JSON"),
    ],
)
def test_trees_that_cannot_be_stored_are_refused(tmp_path, tree, metadata, message):
    with pytest.raises(ValueError, match=message):
        save(tmp_path / "net", tree, schema="net", version=1, **metadata)
    assert not list(tmp_path.iterdir())


def test_loading_works_in_notebooks_and_threads(saved):
    """Inside a running event loop, as in Jupyter, and outside the main thread."""

    async def cell():
        return load(saved, schema="net", version=3).tree

    found = [asyncio.run(cell())]
    thread = threading.Thread(target=lambda: found.append(load(saved, schema="net", version=3).tree))
    thread.start()
    thread.join()
    same(found[0], found[1])


def test_a_moved_checkpoint_loads(saved):
    moved = saved.rename(saved.with_name("moved"))
    assert load(moved, schema="net", version=3).metadata == {"sizes": [1, 2]}


def test_a_checkpoint_does_not_tell_where_it_was_written(tmp_path):
    save(tmp_path / "one", {"x": np.ones(3, np.float32)}, schema="s", version=1)
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert files and not any(tmp_path.name.encode() in path.read_bytes() for path in files)
    np.testing.assert_array_equal(load(tmp_path / "one", schema="s", version=1).tree["x"], np.ones(3))

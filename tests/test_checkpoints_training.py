"""A training run that is killed goes on exactly where it was."""

import subprocess
import sys
import time

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from facejax.checkpoints import TrainingStore

pytestmark = pytest.mark.promotes("types")  # optax counts in int32

OPTIMISER = optax.adam(1e-2)


def start():
    params = {"w": jnp.ones((4, 3)), "b": jnp.zeros(3)}
    return {"params": params, "optimiser": OPTIMISER.init(params), "key": jax.random.key(0), "seen": 0}


@jax.jit
def update(params, optimiser, key):
    key, now = jax.random.split(key)
    batch = jax.random.normal(now, (8, 4))
    grads = jax.grad(lambda p: jnp.mean((batch @ p["w"] + p["b"][None] - 1) ** 2))(params)
    updates, optimiser = OPTIMISER.update(grads, optimiser)
    return optax.apply_updates(params, updates), optimiser, key


def train(state, steps):
    for _ in range(steps):
        params, optimiser, key = update(state["params"], state["optimiser"], state["key"])
        state = {"params": params, "optimiser": optimiser, "key": key, "seen": state["seen"] + 8}
    return state


def numbers(state):
    return jax.tree.map(np.asarray, state | {"key": jax.random.key_data(state["key"])})


def test_a_resumed_run_is_bit_for_bit_the_uninterrupted_one(tmp_path):
    store = TrainingStore(tmp_path / "run")
    assert store.restore_latest(start()) is None
    store.save(5, train(start(), 5))
    step, state = TrainingStore(tmp_path / "run").restore_latest(start())  # type: ignore[misc]
    assert step == 5 and state["seen"] == 40
    resumed, straight = numbers(train(state, 5)), numbers(train(start(), 10))
    assert jax.tree.structure(resumed) == jax.tree.structure(straight)
    chex.assert_trees_all_equal(resumed, straight)


def test_the_newest_are_kept(tmp_path):
    store = TrainingStore(tmp_path, keep=2)
    for step in (10, 20, 30, 40):
        store.save(step, {"a": np.full(2, step)})
    assert store.steps() == [30, 40]
    assert store.restore_latest({"a": np.zeros(2, int)})[1]["a"][0] == 40  # type: ignore[index]
    with pytest.raises(ValueError, match="holds step 40, later than 35; resume it or use a new folder"):
        store.save(35, {"a": np.zeros(2)})


def test_leftovers_of_a_killed_process_are_ignored_and_swept(tmp_path):
    store = TrainingStore(tmp_path)
    store.save(1, {"a": np.ones(2)})
    (tmp_path / ".step_000000002.abcd.tmp.orbax-checkpoint-tmp" / "tree").mkdir(parents=True)
    assert store.restore_latest({"a": np.zeros(2)})[0] == 1  # type: ignore[index]
    store.save(3, {"a": np.ones(2)})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000000001", "step_000000003"]


def test_another_configuration_is_an_error(tmp_path):
    store = TrainingStore(tmp_path)
    store.save(1, {"a": np.ones(2)})
    with pytest.raises(ValueError, match="load it with the configuration that wrote it"):
        store.restore_latest({"a": np.ones(3)})
    with pytest.raises(ValueError, match="holds 'training', wanted is 'twodasl'"):
        TrainingStore(tmp_path, schema="twodasl").restore_latest({"a": np.ones(2)})
    with pytest.raises(ValueError, match="at least one"):
        TrainingStore(tmp_path, keep=0)


WRITER = """
import sys
import numpy as np
from facejax.checkpoints import TrainingStore
store = TrainingStore(sys.argv[1])
for step in range(1, 10_000):
    store.save(step, {"a": np.full(1_000_000, step), "b": {"c": np.full(10, step)}})
    print(step, flush=True)
"""


def test_killed_in_the_middle_of_saving_the_newest_step_is_whole(tmp_path):
    like = {"a": np.zeros(1_000_000, int), "b": {"c": np.zeros(10, int)}}
    for wait in (0.0, 0.06):  # somewhere inside the next save
        with subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / f"{wait}"], stdout=subprocess.PIPE) as process:
            assert process.stdout
            reported = [int(process.stdout.readline()) for _ in range(3)][-1]
            time.sleep(wait)
            process.kill()
        found = TrainingStore(tmp_path / f"{wait}").restore_latest(like)
        assert found and found[0] >= reported
        assert np.all(found[1]["a"] == found[0]) and np.all(found[1]["b"]["c"] == found[0])

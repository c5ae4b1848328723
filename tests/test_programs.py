"""Programs: compiled once a process, by one thread, the last ones kept; and the compiler's options."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from facejax.programs import (
    cache,
    cached_jit,
    compile_cached,
    compile_only,
    compiler,
    compiler_options,
    forget_programs,
    jit,
)
from facejax.programs.cache import ProgramCache
from facejax.programs.keys import argument_kinds

PAIR = {"a": jnp.ones(3), "b": jnp.zeros((2, 2), jnp.int32)}


@pytest.fixture(autouse=True)
def no_programs():
    forget_programs()
    yield
    forget_programs()


class Counted:
    """A function of arrays that counts how often it is traced."""

    def __init__(self):
        self.traced = 0

    def __call__(self, x):
        self.traced += 1
        return jax.tree.map(lambda leaf: 2 * leaf, x)


def test_a_program_is_compiled_once_for_each_kind_of_argument():
    counted = Counted()
    double = cached_jit("double")(counted)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(double, [jnp.ones(2), jnp.ones(3)] * 6))
    assert counted.traced == 2
    assert [one.shape for one in answers] == [(2,), (3,)] * 6 and answers[0][0] == 2.0
    for kind in (jnp.ones(2, jnp.int32), PAIR, list(PAIR.values())):
        double(kind)
    assert counted.traced == 5
    with jax.enable_x64(True):
        assert double(np.ones(2)).dtype == jnp.float64
    with jax.default_matmul_precision("float32"):
        double(jnp.ones(2))
    assert counted.traced == 7


def test_what_is_compiled_ahead_is_not_compiled_again():
    """It gives zeros of the right kinds, only in the thread that asks for it, and only as long as it does."""
    counted = Counted()
    double = cached_jit("double")(counted)
    with compile_only():
        told = double(PAIR)
        with ThreadPoolExecutor(1) as pool:
            other = pool.submit(double, PAIR).result()
    found = double(PAIR)
    assert counted.traced == 1
    for some in (other, found):
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, 2 * b), some, PAIR)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, 0 * b, strict=True), told, PAIR)


def test_all_that_is_asked_for_tells_programs_apart():
    x = jax.ShapeDtypeStruct((2,), jnp.float32)
    some = [("add", 1.0), ("add", 2.0), ("other", 1.0)]

    def program(name, by):
        return compile_cached(lambda x: x + by, x, name=name, closes_over=by)

    compiled = [program(*one) for one in some]
    assert [float(one(jnp.zeros(2))[0]) for one in compiled] == [1.0, 2.0, 1.0]
    assert len({id(one) for one in compiled}) == 3
    assert [program(*one) for one in some] == compiled


def test_kinds_of_arguments_are_trees_shapes_types_and_settings():
    kinds = argument_kinds(PAIR)
    assert kinds == argument_kinds({"a": jnp.zeros(3), "b": jnp.ones((2, 2), jnp.int32)})
    others = [{"a": PAIR["a"]}, {**PAIR, "a": jnp.ones(4)}, {**PAIR, "b": PAIR["b"].astype(jnp.int8)}, PAIR["a"]]
    assert all(argument_kinds(one) != kinds for one in others)
    for setting in (
        jax.default_matmul_precision("float32"),
        jax.enable_x64(True),
        jax.default_device(jax.devices()[0]),
    ):
        with setting:
            assert argument_kinds(PAIR) != kinds


def test_the_programs_used_last_are_kept():
    programs, made = ProgramCache(2), []

    def ask(key):
        assert programs.get(key, lambda: made.append(key) or key.upper()) == key.upper()

    for key in "abacab":  # b is dropped for c, c for b
        ask(key)
    assert made == ["a", "b", "c", "b"] and len(programs) == 2
    programs.clear()
    ask("b")
    assert made[-2:] == ["b", "b"]


def test_a_program_that_is_dropped_leaves_memory(monkeypatch):
    monkeypatch.setattr(cache, "_programs", ProgramCache(2))
    add = lambda by: compile_cached(lambda x: x + by, jnp.ones(2), name="add", closes_over=by)  # noqa: E731
    programs = [weakref.ref(add(by)) for by in range(4)]
    gc.collect()
    assert [one() is None for one in programs] == [True, True, False, False]


def test_threads_compile_different_programs_at_the_same_time():
    programs, both = ProgramCache(8), threading.Barrier(2, timeout=20)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda key: programs.get(key, both.wait), "ab"))  # each waits for the other


def test_a_program_that_cannot_be_compiled_is_tried_again():
    programs = ProgramCache(8)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            programs.get("a", lambda: 1 / 0)
    assert programs.get("a", lambda: "a") == "a"


def test_jit_works_alone_inside_other_transformations_and_without_the_option(monkeypatch):
    double = jit(lambda x, *, times=2: x * times, static_argnames="times")
    assert double(1.5) == 3 and double(1.5, times=3) == 4.5
    assert jax.jit(lambda x: double(x))(2.0) == 4
    np.testing.assert_array_equal(jax.vmap(double)(jnp.arange(3)), [0, 2, 4])
    assert jax.grad(double)(1.0) == 2
    compiler._known.cache_clear()
    monkeypatch.setattr(compiler, "_CPU_OPTIONS", {"xla_no_such_option": "1"})
    try:
        assert compiler_options() is None
        assert jit(lambda x: x + 1)(1.0) == 2
    finally:
        compiler._known.cache_clear()

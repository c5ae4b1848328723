"""The compiled programs of a process: there is one way to get a program, and each is compiled once.

A program is identified by its name, by what its function closes over, and by the kinds of its arguments. Only the
`MOST` programs that were used last stay in memory. A dropped one is compiled again when it is needed, which takes
seconds rather than minutes if `cache_compilations` keeps it on disk.
"""

import functools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar, cast

import jax
import numpy as np

from facejax.programs.keys import argument_kinds
from facejax.programs.traces import compile_program

log: logging.Logger = logging.getLogger(__name__)

A = ParamSpec("A")
R = TypeVar("R")

MOST = 16  # a photo takes seven: regressor, fit, five for the files. `linear`'s fit holds 135 MB on a processor


class ProgramCache:
    """The programs used last. Threads may share it: when several need the same program, one of them compiles it."""

    def __init__(self, most: int):
        self.most = most
        self._turn = threading.Lock()
        self._places: OrderedDict[Hashable, _Place] = OrderedDict()  # the one used last at the end

    def get(self, key: Hashable, compile: Callable[[], Any]) -> Any:
        """The program of this key, made by `compile()` if it is not in the cache; its errors pass through."""
        with self._turn:
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
            while len(self._places) > self.most:
                self._places.popitem(last=False)
        with place.turn:
            if place.program is None:
                place.program = compile()
            return place.program

    def in_work(self) -> list[Hashable]:
        """The keys of the programs that are being made now."""
        with self._turn:
            return [key for key, place in self._places.items() if place.program is None and place.turn.locked()]

    def clear(self) -> None:
        with self._turn:
            self._places.clear()

    def __len__(self) -> int:
        return len(self._places)


class _Place:
    """The entry of one program: whoever holds `turn` may compile it."""

    def __init__(self):
        self.turn = threading.Lock()
        self.program: Any = None


_programs = ProgramCache(MOST)
_thread = threading.local()


def compile_cached(
    function: Callable[..., R], *arguments: Any, name: str, closes_over: Hashable = (), results: Sequence[type] = ()
) -> Callable[..., R]:
    """The compiled program of a function for arguments of these kinds, from memory if it is there.

    It is compiled with the options of `facejax.programs.jit`, and traced only if its trace is not on disk
    (`facejax.programs.traces`).

    Args:
        function: pure, and of this library.
        arguments: arrays and trees of them, or `jax.ShapeDtypeStruct` in their place; no tracers.
        name: of the function; unique.
        closes_over: what the function's result depends on besides its arguments; hashable.
        results: the dataclasses (without static fields) and named tuples in its result.

    Returns:
        A function of arguments of the same kinds, all by position.
    """

    def compile():
        log.info("compiling %s", name)
        return compile_program(function, *arguments, name=name, closes_over=closes_over, results=results)

    return _programs.get((name, closes_over, argument_kinds(arguments)), compile)


def cached_jit(name: str, *, results: Sequence[type] = ()) -> Callable[[Callable[A, R]], Callable[A, R]]:
    """`facejax.programs.jit` through `compile_cached`, for functions at the top of one of this library's modules.

    `name`, `results` and the arguments are as there. Errors of the function while it is traced pass through unchanged.
    """

    def decorate(function: Callable[A, R]) -> Callable[A, R]:
        @functools.wraps(function)
        def call(*arguments: A.args, **none: A.kwargs) -> R:
            program = compile_cached(function, *arguments, name=name, results=results)
            if getattr(_thread, "compiles_only", False):
                return jax.device_put(
                    jax.tree.map(lambda one: np.zeros(one.shape, one.dtype), cast(Any, program).out_info)
                )
            return program(*arguments, **none)

        return call

    return decorate


@contextmanager
def compile_only() -> Iterator[None]:
    """In this thread, functions of `cached_jit` are compiled but not run: they return zeros."""
    _thread.compiles_only = True
    try:
        yield
    finally:
        _thread.compiles_only = False


def programs_in_work() -> list[str]:
    """The names of the programs that are being compiled now."""
    return [str(key[0]) for key in _programs.in_work() if isinstance(key, tuple)]


def forget_programs() -> None:
    """Drop all programs in memory; those on disk stay."""
    _programs.clear()

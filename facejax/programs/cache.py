"""Compiled programs that a process keeps: one way to ask for a program, and each is compiled once.

A program is told from others by its name, by what its function closes over, and by the kinds of its arguments. Only the
`MOST` programs that were used last stay in memory. One that was dropped is compiled again when it is asked for, which
takes seconds rather than minutes where `cache_compilations` keeps it on disk.
"""

import functools
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ParamSpec, TypeVar

from facejax.programs.keys import argument_kinds
from facejax.programs.traces import compile_program

log: logging.Logger = logging.getLogger(__name__)

A = ParamSpec("A")
R = TypeVar("R")

MOST = 16  # a photo takes six: regressor, fit, four for the files. `linear`'s fit holds 135 MB on a processor


class ProgramCache:
    """The programs used last. Threads may share it: one of those that want the same program compiles it."""

    def __init__(self, most: int):
        self.most = most
        self._turn = threading.Lock()
        self._places: OrderedDict[Hashable, _Place] = OrderedDict()  # the one used last at the end

    def get(self, key: Hashable, compile: Callable[[], Any]) -> Any:
        """The program of this key, made by `compile()` unless it is there; what that raises is raised."""
        with self._turn:
            place = self._places.setdefault(key, _Place())
            self._places.move_to_end(key)
            while len(self._places) > self.most:
                self._places.popitem(last=False)
        with place.turn:
            if place.program is None:
                place.program = compile()
            return place.program

    def clear(self) -> None:
        with self._turn:
            self._places.clear()

    def __len__(self) -> int:
        return len(self._places)


class _Place:
    """Of one program: whoever holds `turn` may compile it."""

    def __init__(self):
        self.turn = threading.Lock()
        self.program: Any = None


_programs = ProgramCache(MOST)


def compile_cached(
    function: Callable[..., R], *arguments: Any, name: str, closes_over: Hashable = (), results: Sequence[type] = ()
) -> Callable[..., R]:
    """The compiled program of a function for arguments of these kinds, from memory where it is there.

    Compiled with `facejax.programs.jit`'s options, and traced only if no program is kept on disk that it was traced to
    before (`facejax.programs.traces`).

    Args:
        function: pure, and of this library.
        arguments: arrays and trees of them, or `jax.ShapeDtypeStruct` in their place; no tracers.
        name: of the function; no two have the same.
        closes_over: what the function's result depends on beside its arguments; hashable.
        results: the dataclasses that its result is made of, which have no static fields.

    Returns:
        What takes arguments of the same kinds, all by position.
    """

    def compile():
        log.info("compiling %s", name)
        return compile_program(function, *arguments, name=name, closes_over=closes_over, results=results)

    return _programs.get((name, closes_over, argument_kinds(arguments)), compile)


def cached_jit(name: str, *, results: Sequence[type] = ()) -> Callable[[Callable[A, R]], Callable[A, R]]:
    """`facejax.programs.jit` through `compile_cached`, for functions at the top of one of this library's modules.

    `name`, `results` and the arguments as there. What the function raises when it is traced is raised as it is.
    """

    def decorate(function: Callable[A, R]) -> Callable[A, R]:
        @functools.wraps(function)
        def call(*arguments: A.args, **none: A.kwargs) -> R:
            return compile_cached(function, *arguments, name=name, results=results)(*arguments, **none)

        return call

    return decorate


def forget_programs() -> None:
    """Lets go of all programs in memory; those on disk stay."""
    _programs.clear()

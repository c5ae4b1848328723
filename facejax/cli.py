"""The command line: its commands are in a table, each has `--help`."""

import inspect
import logging
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from functools import cache, partial, reduce
from operator import or_
from typing import Annotated, Any

import tyro
from docstring_parser import parse_from_object

from facejax.commands.build_uv_dataset import BuildUvDataset, run_build_uv_dataset
from facejax.commands.convert import CONVERSIONS, run_convert
from facejax.commands.demo import Demo, run_demo
from facejax.commands.evaluate import Evaluate, run_evaluate
from facejax.commands.fit import Fit, run_fit
from facejax.commands.info import Info, run_info
from facejax.commands.measure_textures import MeasureTextures, run_measure_textures
from facejax.commands.regress import Regress, run_regress
from facejax.commands.unwrap import Unwrap, run_unwrap
from facejax.commands.view import View, run_view
from facejax.programs import cache_compilations

Options = type | dict[str, type]  # of a command, or of each command under it
COMMANDS: dict[str, tuple[Options, Callable[[Any], int]]] = {
    "fit": (Fit, run_fit),
    "view": (View, run_view),
    "regress": (Regress, run_regress),
    "unwrap": (Unwrap, run_unwrap),
    "build-uv-dataset": (BuildUvDataset, run_build_uv_dataset),
    "measure-textures": (MeasureTextures, run_measure_textures),
    "evaluate": (Evaluate, run_evaluate),
    "convert": (dict(CONVERSIONS), run_convert),
    "demo": (Demo, run_demo),
    "info": (Info, run_info),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 when some photos failed, 2 when the command is wrong."""
    command = parse(sys.argv[1:] if argv is None else argv)
    run = next(run for options, run in COMMANDS.values() if type(command) in _classes(options))
    cache_compilations()
    try:
        with warnings_as_lines():
            return run(command)
    except (ValueError, OSError) as error:
        print(f"facejax: error: {_one_line(error)}", file=sys.stderr)
        return 2


@contextmanager
def warnings_as_lines() -> Iterator[None]:
    """Print what the package logs as warnings, such as what a photo's file leaves open, like errors: a line each."""
    logger, handler = logging.getLogger("facejax"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("facejax: warning: %(message)s"))
    logger.addHandler(handler)
    before, logger.propagate = logger.propagate, False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


def parse(argv: Sequence[str]) -> Any:
    """The command that the arguments ask for, with its options; nothing is run.

    Exits with a message, as `tyro` does, for arguments that are wrong, for --help and for the completion scripts.
    """
    about = "Batched, differentiable 3D face reconstruction."
    for options, _ in COMMANDS.values():
        for kind in _classes(options):
            for one in filter(is_dataclass, kind.__mro__):
                _describe_options(one)
    return tyro.cli(
        _choice({name: options for name, (options, _) in COMMANDS.items()}, argv),
        prog="facejax",
        description=about,
        args=argv,
    )


def _choice(commands: dict[str, Options], argv: Sequence[str]) -> Any:
    """One of several commands. In the list the first sentence of each is enough; its own help has all."""
    kinds = []
    for name, options in commands.items():
        nested = isinstance(options, dict)
        text = inspect.getdoc(COMMANDS[name][1] if nested else options) or ""
        about = text if name in argv else text.split("\n\n")[0]
        kind = _choice(dict(options), argv) if nested else options
        kinds.append(Annotated[kind, tyro.conf.subcommand(name, description=about)])
    return reduce(or_, kinds)


@cache
def _describe_options(kind: type) -> None:
    """Give `tyro` the options' docstrings as paragraphs, and let it tell a default only where they do not.

    By itself it keeps the line breaks of docstrings that are indented, and says "(default: None)" of everything that
    may be left out.
    """
    for param in parse_from_object(kind).params:
        text = " ".join((param.description or "").split())
        hint = partial(_default_hint, text)
        about = tyro.conf.arg(help=text, help_behavior_hint=hint)
        kind.__annotations__[param.arg_name] = Annotated[kind.__annotations__[param.arg_name], about]


def _default_hint(text: str, default: str) -> str:
    return "" if default in ("None", "") or "default" in text.lower() else f"(default: {default})"


def _classes(options: Options) -> Collection[type]:
    return options.values() if isinstance(options, dict) else [options]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())

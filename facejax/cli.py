"""The command line: its commands are in a table, each has `--help`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import tyro

from facejax.commands.build_uv_dataset import BuildUvDataset, run_build_uv_dataset
from facejax.commands.demo import Demo, run_demo
from facejax.commands.evaluate import Evaluate, run_evaluate
from facejax.commands.fit import Fit, run_fit
from facejax.commands.measure_textures import MeasureTextures, run_measure_textures
from facejax.commands.regress import Regress, run_regress
from facejax.commands.unwrap import Unwrap, run_unwrap

COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "fit": (Fit, run_fit),
    "regress": (Regress, run_regress),
    "unwrap": (Unwrap, run_unwrap),
    "build-uv-dataset": (BuildUvDataset, run_build_uv_dataset),
    "measure-textures": (MeasureTextures, run_measure_textures),
    "evaluate": (Evaluate, run_evaluate),
    "demo": (Demo, run_demo),
}


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 when some photos failed, 2 when the command is wrong."""
    command = tyro.extras.subcommand_cli_from_dict(  # gives the command itself: its class is what is called
        {name: options for name, (options, _) in COMMANDS.items()},
        prog="facejax",
        description="Batched, differentiable 3D face reconstruction.",
        args=argv,
    )
    run = {options: run for options, run in COMMANDS.values()}[type(command)]
    cache_compilations()
    try:
        return run(command)
    except (ValueError, OSError) as error:
        print(f"facejax: error: {_one_line(error)}", file=sys.stderr)
        return 2


def cache_compilations() -> None:
    """Keep compiled programs in FACEJAX_CACHE (default: the user's cache folder), so a second run starts at once.

    An environment variable of jax's own for this (JAX_COMPILATION_CACHE_DIR) wins; an empty FACEJAX_CACHE
    switches it off.
    """
    if "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = os.environ.get("FACEJAX_CACHE", str(Path(base) / "facejax"))
    if folder:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())

"""The command line: its commands are in a table, each has `--help`."""

import sys
from collections.abc import Callable
from typing import Any

import tyro

from facejax.commands.build_uv_dataset import BuildUvDataset, run_build_uv_dataset
from facejax.commands.demo import Demo, run_demo
from facejax.commands.evaluate import Evaluate, run_evaluate
from facejax.commands.fit import Fit, run_fit
from facejax.commands.info import Info, run_info
from facejax.commands.measure_textures import MeasureTextures, run_measure_textures
from facejax.commands.regress import Regress, run_regress
from facejax.commands.unwrap import Unwrap, run_unwrap
from facejax.commands.view import View, run_view
from facejax.compilation import cache_compilations

COMMANDS: dict[str, tuple[type, Callable[[Any], int]]] = {
    "fit": (Fit, run_fit),
    "view": (View, run_view),
    "regress": (Regress, run_regress),
    "unwrap": (Unwrap, run_unwrap),
    "build-uv-dataset": (BuildUvDataset, run_build_uv_dataset),
    "measure-textures": (MeasureTextures, run_measure_textures),
    "evaluate": (Evaluate, run_evaluate),
    "demo": (Demo, run_demo),
    "info": (Info, run_info),
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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())

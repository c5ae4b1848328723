"""The command line: `facejax fit`, `regress`, `evaluate` and `demo`; each has `--help`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import jax
import tyro

from facejax.commands.demo import Demo, run_demo
from facejax.commands.evaluate import Evaluate, run_evaluate
from facejax.commands.fit import Fit, run_fit
from facejax.commands.regress import Regress, run_regress


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 when some photos failed, 2 when the command is wrong."""
    command = tyro.cli(
        Annotated[Fit, tyro.conf.subcommand("fit")]
        | Annotated[Regress, tyro.conf.subcommand("regress")]
        | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
        | Annotated[Demo, tyro.conf.subcommand("demo")],  # type: ignore[arg-type]
        prog="facejax",
        description="Batched, differentiable 3D face reconstruction.",
        args=argv,
    )
    cache_compilations()
    try:
        if isinstance(command, Evaluate):
            return run_evaluate(command)
        if isinstance(command, Regress):
            return run_regress(command)
        return run_fit(command) if isinstance(command, Fit) else run_demo(command)
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

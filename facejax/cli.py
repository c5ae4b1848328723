"""The command line: `facejax fit PHOTO... --landmarks FILE|FOLDER --out DIR` and `facejax demo --out DIR`."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Positional = tyro.conf.Positional


@dataclass(frozen=True)
class Fit:
    """Fit the faces of photographs: a textured 3D face, pose and light for each, under OUT/<stem of the photo>/."""

    photos: Positional[tuple[Path, ...]]
    """photographs, one face each"""
    out: Path
    """folder for the results; each photo gets a folder of its own in it"""
    landmarks: Path | None = None
    """68 points in the iBUG order: one file (.pts, .npy, .npz, .json), or a folder with <stem>.npy and so on"""
    model: str = "default"
    """face model: "default", or the path of a model file or folder (see docs/models.md)"""
    recipe: Literal["linear", "landmarks"] = "linear"
    """what is fitted: landmarks and pixels, or landmarks only"""
    contour: Literal["auto", "static", "moving"] = "auto"
    """jaw points: fixed on the surface (3D annotations), on the visible outline (2D detectors), or what fits better"""
    fov: float | None = None
    """angle in degrees that the longer side of the photos spans, if you know it"""
    batch: int = 8
    """faces fitted at once in one compiled program"""


@dataclass(frozen=True)
class Demo:
    """Render a synthetic portrait of the default head, fit it from scratch, and report the errors against the truth."""

    out: Path
    """folder for the results"""
    seed: int = 0
    """another seed, another face"""


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit status: 0, 1 when some photos failed, 2 when the command is wrong."""
    command = tyro.cli(
        Annotated[Fit, tyro.conf.subcommand("fit")] | Annotated[Demo, tyro.conf.subcommand("demo")],  # type: ignore[arg-type]
        prog="facejax",
        description="Batched, differentiable 3D face reconstruction.",
        args=argv,
    )
    cache_compilations()
    try:
        if isinstance(command, Fit):
            from facejax.commands.fit import run_fit

            return run_fit(command)
        from facejax.commands.demo import run_demo

        return run_demo(command)
    except (ValueError, OSError) as error:
        print(f"facejax: error: {_one_line(error)}", file=sys.stderr)
        return 2


def cache_compilations() -> None:
    """Keep compiled programs in FACEJAX_CACHE (default: the user's cache folder), so a second run starts at once.

    An environment variable of jax's own for this (JAX_COMPILATION_CACHE_DIR) wins; an empty FACEJAX_CACHE
    switches it off.
    """
    import jax

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

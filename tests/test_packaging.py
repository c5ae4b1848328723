"""The package as others get it: all that is there is listed; it is built, installed elsewhere, used, type-checked."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from facejax import kernels
from facejax.cli import COMMANDS
from facejax.commands.info import EXTRAS, LICENCES

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SCORE = 98  # percent of the public names whose type a type checker knows

USE = """
import facejax, facejax.kernels.visibility
from importlib.resources import files
from facejax.generative_renderer import load_gar
from facejax.regression.dense_seer import dense_seer
from facejax.regression.detector import load_detector
from facejax.regression.iris_points import load_iris
from facejax.regression.mesh_points import load_face_mesh
from facejax.regression.mesh_surface import load_mesh_map
from facejax.regression.regressor import load_regressor
from facejax.skin.translator import load_translator
from facejax.texture import load_decoder
model = facejax.load_face_model()
load_regressor(), load_detector(), load_face_mesh(), load_iris(), load_decoder(), load_gar(), dense_seer()
load_mesh_map(), load_translator()
assert (files("facejax") / "py.typed").is_file()
print(facejax.__file__, facejax.kernels.__file__, len(model.mean), sep="\\n")
"""


def test_every_package_is_listed_and_every_listed_one_is_there():
    found = {".".join(one.parent.relative_to(ROOT).parts) for one in (ROOT / "facejax").rglob("__init__.py")}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found | {"facejax.kernels"}


def test_every_asset_has_its_pattern_and_its_licence():
    folder = ROOT / "facejax" / "assets"
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["facejax.assets"]
    packed = {path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}
    there = {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert packed == there
    assert set(LICENCES) == {path.relative_to(folder).parts[0] for path in there} - {"NOTICE", "APACHE-2.0"}
    assert set(EXTRAS) <= set(PROJECT["project"]["optional-dependencies"])


def test_kernels_are_reached_through_the_link():
    link = ROOT / "facejax" / "kernels"
    assert link.is_symlink() and link.resolve() == ROOT / "kernels"
    assert {path.name for path in link.glob("*.py")} == {path.name for path in Path(kernels.__path__[0]).glob("*.py")}


# --- archives ---------------------------------------------------------------------------------------------------------


def run(*line: object, cwd: Path, **more: str) -> str:
    """Output of a command, in an environment that knows nothing of this checkout."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "FACEJAX", "VIRTUAL"))}
    done = subprocess.run(list(map(str, line)), cwd=cwd, env=kept | more, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """Source archive and wheel, the wheel made from the archive alone."""
    pytest.importorskip("build", reason="pip install -e .[dev]")
    folder = tmp_path_factory.mktemp("archives")
    left = shutil.ignore_patterns(".*", "*.egg-info", "__pycache__", "build", "dist", "out")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=left)
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", folder / "source", cwd=folder)
    (archive,), (wheel,) = (folder / "dist").glob("*.tar.gz"), (folder / "dist").glob("*.whl")
    return archive, wheel


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """The interpreter of a new environment that has the wheel, with all that it asks for."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", archives[1], cwd=folder)
    yield python
    shutil.rmtree(folder)  # a gigabyte


def test_the_archives_are_complete(archives):
    with tarfile.open(archives[0]) as archive:
        source = {name.split("/", 1)[-1] for name in archive.getnames()}
    wheel = set(zipfile.ZipFile(archives[1]).namelist())
    code = {str(path.relative_to(ROOT)) for path in (ROOT / "facejax").rglob("*.py")}  # rglob follows no links
    own = {str(path.relative_to(ROOT)) for path in (ROOT / "kernels").glob("*.py")}
    assert code | own <= source and code | {f"facejax/{name}" for name in own} <= wheel
    assets = {str(path.relative_to(ROOT)) for path in (ROOT / "facejax" / "assets").rglob("*") if path.is_file()}
    assets = {name for name in assets if "__pycache__" not in name}
    assert assets | {"facejax/py.typed"} <= source & wheel
    assert {"tests/toy.py", "docs/conf.py", "LICENSE", "NOTICE", "CHANGELOG.md", "MANIFEST.in"} <= source
    assert not [name for name in wheel if not name.startswith(("facejax/", "facejax-"))]
    assert not [name for name in source | wheel if name.endswith(".pyc")]


def test_the_wheel_works_elsewhere(installed):
    home, cache = installed.parents[2], {"FACEJAX_CACHE": ""}
    facejax = installed.with_name("facejax")
    about = run(facejax, "info", cwd=home, **cache)
    assets = about.split("assets\n")[1].split("cache")[0]
    assert all(name in assets for name in LICENCES) and " 0.0 MB" not in assets
    listed = run(facejax, "--help", cwd=home, **cache)
    assert all(f"• {name} " in listed for name in COMMANDS)
    places = run(installed, "-c", USE, cwd=home, **cache).split()
    assert all(Path(place).is_relative_to(home) for place in places[:2]) and int(places[2]) > 1000


def test_a_type_checker_knows_the_public_names(installed):
    if (pyright := shutil.which("pyright")) is None:
        pytest.skip("no pyright here: pip install -e .[dev]")
    path = os.pathsep.join([str(installed.parent), os.environ["PATH"]])  # it asks the first python that it finds
    line = [pyright, "--verifytypes", "facejax", "--ignoreexternal"]
    done = subprocess.run(
        line, cwd=installed.parents[2], env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    found = re.search(r"Type completeness score: ([\d.]+)%", done.stdout)
    assert found and float(found[1]) >= SCORE, done.stdout[-3000:]

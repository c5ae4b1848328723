"""The documentation builds without a warning, misses no page, and what it lists has a docstring."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import facejax
from facejax.cli import COMMANDS

pytestmark = pytest.mark.promotes("ranks", "types")  # as users' own code

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = {path.relative_to(DOCS).with_suffix("").as_posix(): path for path in sorted(DOCS.rglob("*.md"))}
MODULES = re.findall(r"automodule:: (\S+)", (DOCS / "api.md").read_text())


def _modules() -> list[ModuleType]:
    """All but the private ones, and the viewer, which has no functions for users but its command."""
    names = [one.name for one in pkgutil.walk_packages(facejax.__path__, "facejax.")]
    names = [name for name in names if "._" not in name and not name.startswith("facejax.viewer")]
    return [facejax, *map(importlib.import_module, names)]


def _public(module: ModuleType, *, everything: bool = False) -> dict[str, object]:
    """Its functions and classes; with `everything` also those that it only hands on from other modules."""
    home = "facejax" if everything else module.__name__
    return {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and (inspect.isfunction(thing) or inspect.isclass(thing))
        if thing.__module__ == home or (everything and thing.__module__.startswith("facejax."))
    }


def _exports(module: ModuleType) -> bool:
    """Whether its entry in the reference shows what it hands on."""
    entry = f"automodule:: {module.__name__}\n   :members:\n   :imported-members:"
    return entry in (DOCS / "api.md").read_text() or hasattr(module, "__all__")


def test_it_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    extensions = "extensions=myst_parser,sphinx.ext.autodoc,sphinx.ext.napoleon"  # pages of the sources double the time
    line = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", "-D", extensions]
    done = subprocess.run([*line, str(DOCS), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Float[" in (tmp_path / "api.html").read_text()


def test_every_page_is_in_the_index():
    listed = re.findall(r"^([\w/]+)$", (DOCS / "index.md").read_text(), flags=re.MULTILINE)
    assert sorted(listed) == sorted(PAGES.keys() - {"index"})


@pytest.mark.parametrize("page", [page for page, path in PAGES.items() if ">>>" in path.read_text()])
def test_the_examples_of_a_page_say_what_is_so(page):
    text = PAGES[page].read_text().replace("```", "")  # an example ends where its fence does
    _run(doctest.DocTestParser().get_doctest(text, {}, page, page, 0))


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_docstrings_say_what_is_so(name):
    for example in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name)):
        _run(example)


def _run(example: doctest.DocTest) -> None:
    told: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE).run(example, out=told.append)
    assert not told, "".join(told)


def test_every_function_named_by_the_mathematics_exists():
    names = re.findall(r"`facejax\.([\w.]+)`", (DOCS / "mathematics.md").read_text())
    assert len(names) > 15
    for name in names:
        assert pkgutil.resolve_name(f"facejax.{name}") is not None


def test_what_packages_export_is_in_the_reference():
    listed = [importlib.import_module(name) for name in MODULES]
    shown = {id(value) for module in listed for value in _public(module, everything=_exports(module)).values()}
    for package in (module for module in _modules() if hasattr(module, "__path__")):
        missing = [key for key, value in _public(package, everything=True).items() if id(value) not in shown]
        assert not missing, f"{package.__name__} exports {', '.join(missing)}: add their modules to docs/api.md"


@pytest.mark.parametrize("name", [module.__name__ for module in _modules()])
def test_public_names_have_docstrings(name):
    public = _public(importlib.import_module(name))
    bare = [key for key, value in public.items() if not (value.__doc__ or "").strip() or _made_up(key, value)]
    assert not bare, f"{name}: {', '.join(bare)} need a docstring"


def _made_up(name: str, thing: object) -> bool:
    """Dataclasses and named tuples get a docstring from Python that says nothing."""
    return (thing.__doc__ or "").startswith(f"{name}(")


def test_the_architecture_page_names_what_there_is():
    """Files and folders exist, and `file.py`: `name` means that the file defines the name."""
    text = PAGES["architecture"].read_text()
    paths = re.findall(r"`((?:facejax|kernels|tests|experiments|notebooks|docs)/[\w/.]*)`", text)
    named = re.findall(r"`([\w/]+\.py)`: ((?:`\w+`(?:, )?)+)", text)
    assert len(set(paths)) > 50 and len(named) > 50
    assert not [path for path in paths if not (DOCS.parent / path).exists()]
    for path, names in named:
        source = (DOCS.parent / path).read_text()
        for name in re.findall(r"\w+", names):
            assert re.search(rf"^(def|class) {name}\b|^{name}\b.* = ", source, flags=re.MULTILINE), f"{path}: {name}"


def test_every_picture_says_what_makes_it():
    """Each is shown on some page, and the gallery's table names an existing script or command; drawings are by hand."""
    pages = "".join(path.read_text() for path in PAGES.values())
    pictures = {path.name for path in (DOCS / "pictures").iterdir()}
    rows = re.findall(r"^\| (`.+`) \| `(.+?)`", (DOCS / "gallery.md").read_text(), flags=re.MULTILINE)
    made = {name: command for names, command in rows for name in re.findall(r"`(\S+?)`", names)}
    assert {name for name in pictures if not name.endswith(".svg")} == set(made)
    assert all(f"pictures/{name})" in pages for name in pictures)
    for command in made.values():
        words = command.split()
        assert (words[0] == "facejax" and words[1] in COMMANDS) or (DOCS.parent / words[1]).is_file(), command

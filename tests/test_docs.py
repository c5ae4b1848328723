"""The documentation builds without a warning, misses no page, and what it lists has a docstring."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from facejax.cli import COMMANDS

DOCS = Path(__file__).resolve().parents[1] / "docs"
MODULES = re.findall(r"automodule:: (\S+)", (DOCS / "api.md").read_text())


def test_it_builds_without_a_warning(tmp_path):
    pytest.importorskip("sphinx")
    line = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(DOCS), str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Float[" in (tmp_path / "api.html").read_text()


def test_every_page_is_in_the_index():
    listed = set(re.findall(r"^(\w+)$", (DOCS / "index.md").read_text(), flags=re.MULTILINE))
    pages = {path.stem for path in DOCS.glob("*.md")} - {"index"}
    assert pages <= listed


@pytest.mark.parametrize("name", MODULES)
def test_public_names_have_docstrings(name):
    module = importlib.import_module(name)
    public = {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value))
        if value.__module__ == name
    }
    bare = [key for key, value in public.items() if not (value.__doc__ or "").strip() or _made_up(key, value)]
    assert not bare, f"{name}: {', '.join(bare)} need a docstring"


def _made_up(name: str, thing: object) -> bool:
    """Dataclasses and named tuples get a docstring from Python that says nothing."""
    return (thing.__doc__ or "").startswith(f"{name}(")


def test_every_picture_says_what_makes_it():
    """Each is shown on some page, and stands in the gallery's table with a script or a command that there is."""
    pages = "".join(path.read_text() for path in DOCS.glob("*.md"))
    rows = re.findall(r"^\| (`.+`) \| `(.+?)`", (DOCS / "gallery.md").read_text(), flags=re.MULTILINE)
    made = {name: command for names, command in rows for name in re.findall(r"`(\S+?)`", names)}
    assert {path.name for path in (DOCS / "pictures").iterdir()} == set(made)
    for name, command in made.items():
        assert f"(pictures/{name})" in pages, name
        words = command.split()
        assert (words[0] == "facejax" and words[1] in COMMANDS) or (DOCS.parent / words[1]).is_file(), command

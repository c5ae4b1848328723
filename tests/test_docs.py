"""The documentation builds without a warning, misses no page, and what it lists has a docstring."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

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

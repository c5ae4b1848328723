"""Every notebook runs from top to bottom and shows pictures, is the same as its script, and carries no outputs."""

import ast
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.optimized

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
STEMS = [path.stem for path in NOTEBOOKS]
FIRST = "01"  # forty seconds of one core; all take more than five minutes

THOROUGH = pytest.mark.thorough


class Cell(NamedTuple):
    kind: str  # "code" or "markdown"
    source: str


def read_script(path: Path) -> list[Cell]:
    """The cells of a percent script, as jupytext reads the two kinds that are used here."""
    cells = []
    for part in re.split(r"^# %%", path.read_text(), flags=re.MULTILINE)[1:]:
        mark, _, source = part.partition("\n")
        if mark.strip() == "[markdown]":
            cells.append(Cell("markdown", re.sub(r"^# ?", "", source, flags=re.MULTILINE).strip()))
        else:
            assert not mark, f"{path.name}: a cell begins with '# %%{mark}': use '# %%' or '# %% [markdown]'"
            cells.append(Cell("code", source.strip()))
    return cells


def read_notebook(path: Path) -> list[Cell]:
    return [Cell(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(path.read_text())["cells"]]


def carried(path: Path) -> list[int]:
    """Places of the cells that keep what a run left in them."""
    cells = enumerate(json.loads(path.read_text())["cells"])
    return [place for place, cell in cells if cell.get("outputs") or cell.get("execution_count")]


def run(path: Path) -> list[Image.Image]:
    """Execute the cells; the pictures that Jupyter would show, which is what a cell's last line is worth."""
    scope: dict[str, Any] = {"__name__": path.stem}
    pictures = []
    for place, cell in enumerate(read_notebook(path)):
        if cell.kind != "code":
            continue
        name = f"{path.name}, cell {place}"
        *body, last = ast.parse(cell.source).body
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([*body, last], []), name, "exec"), scope)
            continue
        exec(compile(ast.Module(body, []), name, "exec"), scope)
        shown = eval(compile(ast.Expression(last.value), name, "eval"), scope)
        pictures += [shown] if isinstance(shown, Image.Image) else []
    return pictures


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=THOROUGH if path.stem.startswith(FIRST) else pytest.mark.slow) for path in NOTEBOOKS],
    ids=STEMS,
)
def test_it_runs_and_shows_pictures(path):
    pictures = run(path)
    assert len(pictures) >= 2
    for picture in pictures:
        grey = np.asarray(picture.convert("L"), float)
        assert grey.std() > 8, f"picture {pictures.index(picture)} of {path.name} shows nothing"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=STEMS)
def test_it_is_the_same_as_its_script(path):
    assert read_notebook(path) == read_script(path.with_suffix(".py")), "run `jupytext --sync *.py` in notebooks/"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=STEMS)
def test_it_carries_no_outputs(path):
    assert not carried(path), "clear all outputs before saving"


def test_every_script_is_a_notebook():
    assert [path.stem for path in sorted(FOLDER.glob("*.py"))] == STEMS
    assert [stem[:2] for stem in STEMS] == [f"{number:02d}" for number in range(1, len(STEMS) + 1)]


def test_a_changed_cell_and_an_output_are_noticed(tmp_path):
    """The two checks above, on a pair that is spoiled in every way."""
    whole = json.loads(NOTEBOOKS[0].read_text())
    script = read_script(NOTEBOOKS[0].with_suffix(".py"))
    code = next(place for place, cell in enumerate(whole["cells"]) if cell["cell_type"] == "code")
    spoil = {
        "edited": lambda cells: cells[code]["source"].append("\n1 + 1"),
        "missing": lambda cells: cells.pop(),
        "moved": lambda cells: cells.insert(0, cells.pop()),
        "of another kind": lambda cells: cells[code].update(cell_type="raw"),
    }
    path = tmp_path / "spoiled.ipynb"
    for change in spoil.values():
        spoiled = json.loads(json.dumps(whole))
        change(spoiled["cells"])
        path.write_text(json.dumps(spoiled))
        assert read_notebook(path) != script
    whole["cells"][code]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": ["left over"]}]
    path.write_text(json.dumps(whole))
    assert read_notebook(path) == script
    assert carried(path) == [code]


def test_the_table_lists_every_notebook():
    """Number, story with a link, seconds."""
    text = (FOLDER / "README.md").read_text()
    rows = re.findall(r"^\| (\d\d) \| \[[^]]+\]\((\d\d_\w+)\.ipynb\)[^|]* \|$", text, flags=re.MULTILINE)
    assert [stem for _, stem in rows] == STEMS
    assert all(stem.startswith(number) for number, stem in rows)

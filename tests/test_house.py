"""The house itself: public names are documented, and no room imports one above it."""

import ast
import inspect
from pathlib import Path

import pytest

import facejax

ROOT = Path(__file__).parents[1]

# From the ground up: a room may import the rooms before it.
FLOORS = [
    "kernels",
    "atomic mesh camera lighting compilation program_keys kept_programs hosts images",
    "face_model conventions evaluation objectives nets",
    "render checkpoints texture",
    "fitting synthetic",
    "generative_renderer",
    "unwrap",
    "regress",
    "export toolbox",
    "api",
    "engine viewer",
    "commands",
    "cli",
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms.split()}
PUBLIC = [name for name in dir(facejax) if not name.startswith("_") and not inspect.ismodule(getattr(facejax, name))]


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
        modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        rooms |= {module.split(".")[1] for module in modules if module.startswith("facejax.")}
    return rooms


@pytest.mark.parametrize("room", sorted(FLOOR))
def test_no_room_imports_one_above_it(room):
    folder = ROOT / "kernels" if room == "kernels" else ROOT / "facejax" / room
    files = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    assert files
    for path in files:
        above = {other for other in imported_rooms(path) if other != room and FLOOR[other] > FLOOR[room]}
        assert not above, f"{path.name} imports {above}"


def test_every_room_has_a_floor():
    rooms = {
        path.stem for path in (ROOT / "facejax").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    assert rooms - {"__init__", "assets", "kernels"} <= set(FLOOR)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    thing = getattr(facejax, name)
    if callable(thing):
        text = inspect.getdoc(thing) or ""
        assert len(text) > 40 and not text.startswith(f"{name}("), f"facejax.{name} needs a docstring"
    assert f"`{name}`" in (ROOT / "README.md").read_text() or f"facejax.{name}" in (ROOT / "README.md").read_text()


def test_nothing_is_unpickled():
    for path in [*(ROOT / "facejax").rglob("*.py"), *(ROOT / "experiments").rglob("*.py")]:
        text = path.read_text()
        assert "allow_pickle=True" not in text, path
        assert "import pickle" not in text or path.name == "_pickle.py", path
